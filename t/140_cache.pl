# The shared cache: it serves reads, it is right after whatever happens to names, versions and identities, and a scan does not empty it.
#
#	DIFS_CACHE_SECONDS	how long 16 clients read while a small cache evicts (default 5)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5 qw(md5_hex);
use DifsCluster;
use DifsNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = $ENV{DIFS_CACHE_SECONDS} // 5;
my $BLOCK = 65536;
my $cluster = DifsCluster->new('cache', servers => 2, init => { allows_streaming => 1 },
	conf => "difs.cache_size = '8MB'\ndifs.server_timeout = '2s'\ndifs.staging = never\ndifs.collect_interval = 0\n"
	  . "restart_after_crash = on\nmax_connections = 40\n");
my $node = $cluster->node;

my @columns = qw(size_bytes used_bytes hot_bytes blocks hits hit_bytes misses kept evicted);

sub state_of
{
	my ($of) = @_;
	my %state;
	@state{@columns} = split(/\|/, ($of // $node)->safe_psql('postgres', 'TABLE difs.stat_cache'));
	return \%state;
}

# What a function does to the counters.
sub change
{
	my ($do, $of) = @_;
	my $before = state_of($of);
	$do->();
	my $after = state_of($of);
	return { map { $_ => $after->{$_} - $before->{$_} } @columns };
}

sub digest
{
	my ($path, $version) = @_;
	return $cluster->sql("SELECT md5(difs_get('$path', " . ($version // 'NULL') . '))');
}

# A read gives these bytes, and so many blocks of them come from the cache, or go there.
sub read_is
{
	my ($path, $bytes, $name, %counts) = @_;
	my $got;
	my $change = change(sub { $got = digest($path) });
	is($got, md5_hex($bytes), "$name: the bytes are right");
	is($change->{$_}, $counts{$_}, "$name: $_") foreach sort keys %counts;
	return;
}

sub put
{
	my ($path, $bytes) = @_;
	(my $file = $path) =~ tr{/:}{__};
	my $source = $cluster->write_file("put$file", $bytes);
	$cluster->sql("SELECT difs_put('$path', pg_read_binary_file('$source'))");
	return $source;
}

sub restart_with
{
	my ($size) = @_;
	$node->append_conf('postgresql.conf', "difs.cache_size = '$size'\n");
	$node->restart;
	$cluster->wait_until_alive;
	return;
}

sub servers_down { $_->kill for $cluster->servers; return }
sub servers_up { $_->start for $cluster->servers; $cluster->wait_until_alive; return }

$cluster->sql("SELECT difs_volume_create('raw', replicas => 2, compression => 'none')",
	"SELECT difs_volume_create('zstd', replicas => 2, compression => 'zstd')",
	"SELECT difs_volume_create('vast', replicas => 1, compression => 'zstd', segment_size => 16 * 1024 * 1024)");

# Blocks in, blocks out, and what they take.
my $small = DifsCluster::random_bytes(4096, 'small');
my $large = DifsCluster::random_bytes(5 * $BLOCK + 5, 'large');
my $text = DifsCluster::text_bytes(4 * $BLOCK, 'text');
put('raw:/small', $small);
my $large_source = put('raw:/large', $large);
my $text_source = put('zstd:/text', $text);
is(state_of()->{size_bytes}, 8 * 1024 * 1024, 'the cache is as large as the setting says');
read_is('raw:/small', $small, 'first read of 4 KiB', hits => 0, kept => 1, used_bytes => 4096);
read_is('raw:/small', $small, 'second read of 4 KiB', hits => 1, misses => 0, kept => 0, hit_bytes => 4096);
read_is('raw:/large', $large, 'first read of several blocks', hits => 0, kept => 6, used_bytes => 5 * $BLOCK + 4096);
read_is('raw:/large', $large, 'second read of several blocks', hits => 6, misses => 0, kept => 0);
read_is('zstd:/text', $text, 'first read of a compressed segment', hits => 0, kept => 4, used_bytes => 4 * $BLOCK);
read_is('zstd:/text', $text, 'second read of a compressed segment', hits => 4, misses => 0, kept => 0);

# Without any chunk server, what is cached can be read, and nothing else.
put('raw:/other', 'never read');
servers_down();
is(digest('raw:/small'), md5_hex($small), 'all servers down: what is cached is read');
is(($cluster->sql_fails("SELECT difs_get('raw:/other')"))[0], '58030', 'control: what is not cached is not');
foreach my $file ([ 'raw:/large', $large_source, length $large ], [ 'zstd:/text', $text_source, length $text ])
{
	my ($path, $source, $size) = @$file;
	is($cluster->sql(qq{SELECT count(*) FROM (SELECT (random() * $size)::int AS o, (random() * 100000)::int AS l FROM generate_series(1, 200)) AS range
		WHERE difs_get('$path', NULL, o, l) IS DISTINCT FROM substr(pg_read_binary_file('$source'), o + 1, l)}),
		0, "all servers down: 200 random ranges of $path are right");
}
servers_up();

# A range of a raw file brings its blocks only, one of a compressed file all of the segment.
put('raw:/range', $large);
put('zstd:/range', $text);
my $change = change(sub { $cluster->sql("SELECT difs_get('raw:/range', NULL, $BLOCK - 10, 20)") });
is($change->{kept}, 2, 'a range over the bounds of two blocks keeps both');
$change = change(sub { $cluster->sql("SELECT difs_get('raw:/range', NULL, 10, 2 * $BLOCK)") });
is_deeply([ @$change{qw(hits misses kept)} ], [ 2, 1, 1 ], 'the next range takes these and fetches the third');
$change = change(sub { $cluster->sql("SELECT difs_get('zstd:/range', NULL, 10, 20)") });
is($change->{kept}, 4, 'a range of a compressed segment keeps all that had to be decompressed');

# Names, versions, snapshots.
my $old = $node->background_psql('postgres', on_error_stop => 1);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$old->query_safe("SELECT length(difs_get('raw:/small'))");
$cluster->sql("SELECT difs_rename('raw:/small', 'raw:/renamed')");
read_is('raw:/renamed', $small, 'right after rename', hits => 1, kept => 0);
is(($cluster->sql_fails("SELECT difs_get('raw:/small')"))[0], '58P01', 'the old name is gone, cached or not');
$cluster->sql("SELECT difs_copy('raw:/renamed', 'raw:/copy')");
read_is('raw:/copy', $small, 'right after copy', hits => 1, kept => 0);
my $newer = DifsCluster::random_bytes(4096, 'newer');
put('raw:/renamed', $newer);
read_is('raw:/renamed', $newer, 'right after overwrite', hits => 0, kept => 1);
is(digest('raw:/renamed', 1), md5_hex($small), 'the version before is still itself');
is($cluster->sql("BEGIN; SELECT length(difs_put('raw:/copy', 'in doubt')::text); SELECT md5(difs_get('raw:/copy')); ROLLBACK; SELECT md5(difs_get('raw:/copy'))"),
	join("\n", 1, md5_hex('in doubt'), md5_hex($small)), 'what a transaction wrote is read in it, and not after its rollback');
$cluster->sql("SELECT difs_delete('raw:/renamed')", "SELECT difs_delete('raw:/copy')", 'SELECT difs_collect()');
is(($cluster->sql_fails("SELECT difs_get('raw:/renamed')"))[0], '58P01', 'right after delete there is no such file');
is($old->query_safe("SELECT md5(difs_get('raw:/small'))"), md5_hex($small), 'an old snapshot reads it under its old name, after a round of collection');
$old->query_safe('COMMIT');
$old->quit;
$cluster->sql('SELECT difs_collect()');
is(($cluster->sql_fails("SELECT difs_get('raw:/renamed', 1)"))[0], '58P01', 'and when it is collected, nobody reads it');
$node->safe_psql('postgres', 'CREATE ROLE stranger');
$cluster->sql("SELECT difs_chmod('raw:/large', '0600')");
is(($cluster->sql_fails('SET ROLE stranger', "SELECT difs_get('raw:/large')"))[0], '42501', 'who may not read the file gets nothing from the cache');

# Bad bytes on servers: the cache has good ones, but does not hide them from who looks for them.
put('raw:/rotten', $large);
digest('raw:/rotten');
my ($segment) = $cluster->segments('raw:/rotten');
my $flipped = $cluster->sql(q{SELECT count(*) FROM difs_fsck(digests => true)});
is($flipped, 0, 'nothing is wrong at first') or diag $cluster->sql('SELECT * FROM difs_fsck(digests => true)');
$_->flip($segment, 100) for @{ $segment->{servers} };
is(digest('raw:/rotten'), md5_hex($large), 'damaged on all servers, and cached');
isnt($cluster->sql('SELECT count(*) FROM difs_fsck(digests => true)'), 0, 'a check of digests reads past the cache');
$cluster->sql("SELECT difs_delete('raw:/rotten')");

# Two databases, and two lives of the extension in one, use the same ids for other bytes.
sub in_other { return $node->safe_psql('other', join(";\n", @_)); }
sub wait_for_other { $node->poll_query_until('other', 'SELECT count(*) = 2 FROM difs.servers WHERE alive') or die; return }
$node->safe_psql('postgres', 'CREATE DATABASE other');
my %segments;
foreach my $life (1, 2)
{
	in_other('DROP EXTENSION IF EXISTS difs', 'CREATE EXTENSION difs');
	in_other($_->add_statement) for $cluster->servers;
	wait_for_other();
	in_other("SELECT difs_put('/same', convert_to('life $life', 'UTF8'))");
	my $id = in_other('SELECT segment FROM difs.manifest');
	$segments{$id}++;
	is(in_other("SELECT convert_from(difs_get('/same'), 'UTF8') FROM generate_series(1, 3)"), join("\n", ("life $life") x 3),
		"life $life of the extension reads its own bytes (segment $id)");
}
is(scalar keys %segments, 1, 'although the segment had the same id');

# One session that lives through a change of identity.
my $session = $node->background_psql('other', on_error_stop => 1);
is($session->query_safe("SELECT convert_from(difs_get('/same'), 'UTF8')"), 'life 2', 'a session reads');
in_other('DROP EXTENSION difs', 'CREATE EXTENSION difs');
in_other($_->add_statement) for $cluster->servers;
wait_for_other();
in_other("SELECT difs_put('/same', 'life 3')");
is($session->query_safe("SELECT convert_from(difs_get('/same'), 'UTF8')"), 'life 3', 'and reads on, in the next life of the extension');
$session->quit;
in_other('DROP EXTENSION difs');

# Failover: a standby has a cache of its own, and goes on with it.
my $standby = DifsNode::standby_of($node, 'standby', "difs.auto_claim = off\n");
$node->wait_for_catchup($standby, 'replay');
my $on_standby = sub { return $standby->safe_psql('postgres', join(";\n", @_)) };
$on_standby->("SELECT md5(difs_get('raw:/large'))");
$change = change(sub { is($on_standby->("SELECT md5(difs_get('raw:/large'))"), md5_hex($large), 'a standby reads') }, $standby);
is($change->{hits}, 6, 'from its cache');
put('raw:/large', $newer);
$node->wait_for_catchup($standby, 'replay');
is($on_standby->("SELECT md5(difs_get('raw:/large'))"), md5_hex($newer), 'what was replayed a moment ago is what it reads');
$node->stop;
$standby->promote;
is($on_standby->("SELECT md5(difs_get('raw:/large')) || md5(difs_get('raw:/large', 1))"), md5_hex($newer) . md5_hex($large),
	'right after promotion, both versions');
$standby->poll_query_until('postgres', 'SELECT held IS NOT NULL FROM difs.claim') or die;
$on_standby->('SELECT difs_claim()');
$on_standby->("SELECT difs_put('raw:/large', convert_to('after the claim', 'UTF8'))");
is($on_standby->("SELECT convert_from(difs_get('raw:/large'), 'UTF8') FROM generate_series(1, 2)"), "after the claim\nafter the claim",
	'after the claim, what was written after it');
$standby->stop;
$node->start;
$cluster->sql('SELECT difs_claim()');
$node->poll_query_until('postgres', 'SELECT held FROM difs.claim') or die;
$cluster->wait_until_alive;
is(digest('raw:/large'), md5_hex($newer), 'the old primary, which claims again, reads what it had written');

# A crash of PostgreSQL: the cache begins empty.
digest('raw:/large') for 1, 2;
cmp_ok(state_of()->{blocks}, '>', 0, 'there is something in the cache');
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
my $started = $cluster->sql('SELECT pg_postmaster_start_time()');
kill 'KILL', $pid;
ok(DifsCluster::poll_until(sub { my $blocks; return $node->psql('postgres', 'SELECT blocks FROM difs.stat_cache', stdout => \$blocks) == 0 && $blocks == 0 }, 30),
	'after a backend was killed it is empty');
is($cluster->sql('SELECT pg_postmaster_start_time()'), $started, 'without a restart of the postmaster');
$victim->{run}->finish if $victim->{run};
$cluster->wait_until_alive;
read_is('raw:/large', $newer, 'after the crash', hits => 0, kept => 1);

# Scans. The hot set, 2 MiB, has been read a few times; then four times the cache is read once, in three ways.
$cluster->sql("SELECT difs_mkdir('raw:/hot'), difs_mkdir('raw:/cold')",
	"SELECT difs_put('raw:/hot/' || i, decode(repeat(md5(i::text), 256), 'hex')) FROM generate_series(1, 512) AS i",
	"SELECT difs_put('raw:/cold/' || i, decode(repeat(md5(i::text), 4096), 'hex')) FROM generate_series(1, 512) AS i");
put('raw:/long', DifsCluster::random_bytes(32 * 1024 * 1024, 'long'));
put('zstd:/long', DifsCluster::text_bytes(32 * 1024 * 1024, 'long'));
restart_with('8MB');
my $read_hot = sub { $cluster->sql("SELECT sum(length(difs_get('raw:/hot/' || i))) FROM generate_series(1, 512) AS i") };
my %scan = (
	'of files' => "SELECT sum(length(difs_get('raw:/cold/' || i))) FROM generate_series(1, 512) AS i",
	'of one file, by small ranges' =>
	  "SELECT sum(length(difs_get('raw:/long', NULL, i * 8192, 8192))) FROM generate_series(0, 4095) AS i",
	'of one compressed file, by small ranges' =>
	  "SELECT sum(length(difs_get('zstd:/long', NULL, i * 65536, 65536))) FROM generate_series(0, 511) AS i");
$read_hot->() for 1 .. 3;
foreach my $name (sort keys %scan)
{
	my $scanned = change(sub { $cluster->sql($scan{$name}) });
	my $hot = change($read_hot);
	note("scan $name: $scanned->{kept} blocks put in, $scanned->{evicted} put out; then of 512 hot files $hot->{hits} are there");
	cmp_ok($scanned->{kept}, '>=', 512, "a scan $name goes through the cache");
	cmp_ok($hot->{hits}, '>=', 0.97 * 512, 'and leaves the hot set there');
}
my $cold = change(sub { $cluster->sql($scan{'of files'}) });
cmp_ok($cold->{hits}, '<', 0.2 * 512, "control: what was scanned is not there ($cold->{hits} of 512)");
foreach my $path ('raw:/long', 'zstd:/long')
{
	my $bypass = change(sub { $cluster->sql("SELECT sum(length(data)) FROM difs_read('$path')", "SELECT length(difs_get('$path'))") });
	is_deeply([ @$bypass{qw(kept evicted)} ], [ 0, 0 ], "$path is too large to be kept");
}

# A part of a large compressed segment is not kept, and right.
my $vast = DifsCluster::text_bytes(10 * 1024 * 1024, 'vast');
put('vast:/file', $vast);
$change = change(sub {
	is($cluster->sql("SELECT md5(difs_get('vast:/file', NULL, 7000000, 5000)) FROM generate_series(1, 2)"),
		join("\n", (md5_hex(substr($vast, 7000000, 5000))) x 2), 'a part of a large compressed segment');
});
is($change->{kept}, 0, 'is not kept');

# The working set changes: what is asked for again moves in.
$cluster->sql("SELECT sum(length(difs_get('raw:/cold/' || i))) FROM generate_series(1, 48) AS i") for 1 .. 8;
my $moved = change(sub { $cluster->sql("SELECT sum(length(difs_get('raw:/cold/' || i))) FROM generate_series(1, 48) AS i") });
cmp_ok($moved->{hits}, '>=', 40, "another hot set of 3 MiB has moved in ($moved->{hits} of 48)");

# Many readers, and a cache of 1 MiB that has to evict all the time.
restart_with('1MB');
$cluster->sql(
	q{CREATE TABLE kept AS SELECT n, (CASE n % 2 WHEN 0 THEN 'raw' ELSE 'zstd' END) || ':/many' || n AS path, decode(string_agg(md5((n * 100000 + j)::text), ''), 'hex') AS bytes
		FROM generate_series(1, 200) AS n, generate_series(0, CASE WHEN n % 4 < 2 THEN 12000 ELSE 300 END) AS j GROUP BY n},
	'ALTER TABLE kept ADD PRIMARY KEY (n)',
	'SELECT count(difs_put(path, bytes)) FROM kept');
my $script = $cluster->write_file('readers.sql', "\\set n random_exponential(1, 200, 3)\n"
	  . "SELECT 1 / (difs_get(path) = bytes)::int FROM kept WHERE n = :n;\n"
	  . "SELECT 1 / (difs_get(path, NULL, 70000, 4000) = substr(bytes, 70001, 4000))::int FROM kept WHERE n = :n;\n");
my ($out, $err);
my $many = change(sub {
	IPC::Run::run([ 'pgbench', '-n', '-c', '16', '-j', '2', '-T', $SECONDS, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \$out, '2>', \$err);
});
is($?, 0, '16 clients read the right bytes') or diag $err;
like($out, qr/number of failed transactions: 0 /, 'none failed');
cmp_ok($many->{$_}, '>', 0, "meanwhile $_: $many->{$_}") for qw(hits evicted);
cmp_ok(state_of()->{used_bytes}, '<=', 1024 * 1024, 'and the cache has not grown');

# A value that difs_get() found in the cache is copied when it is used. Its blocks may have left by then.
my $promised = DifsCluster::random_bytes(100_000, 'promised');
put('raw:/promised', $promised);
$cluster->sql("SELECT difs_copy('raw:/promised', 'raw:/witness')");
my $crowd_source = $cluster->write_file('crowd', DifsCluster::random_bytes(12_000, 'crowd'));
$cluster->sql("SELECT count(difs_put('raw:/crowd/' || i, pg_read_binary_file('$crowd_source'), parents => true)) FROM generate_series(1, 240) AS i");
digest('raw:/promised');
read_is('raw:/promised', $promised, 'before it is crowded out', hits => 2, misses => 0);
is($cluster->sql(q{SELECT md5(value), others, length(value) FROM (SELECT difs_get('raw:/promised') AS value,
	(SELECT count(difs_get(path)) FROM (SELECT 'raw:/crowd/' || crowd * 60 + i AS path FROM generate_series(0, 3) AS crowd, generate_series(1, 8) AS round,
		generate_series(1, 60) AS i ORDER BY crowd, round, i OFFSET 0) AS crowds) AS others,
	difs_delete('raw:/promised') OFFSET 0) AS late}),
	md5_hex($promised) . '|1920|100000', 'a value is right although its blocks have left the cache and its file has been deleted before it is used');
$change = change(sub { digest('raw:/witness') });
cmp_ok($change->{misses}, '>', 0, 'control: they had, as a copy of the file shows, which has the same blocks');

# Off.
restart_with('0');
is_deeply(state_of(), { map { $_ => 0 } @columns }, 'a cache of size 0 is none');
is(digest('raw:/large'), md5_hex($newer), 'files are read without it') for 1, 2;
$cluster->sql("SELECT difs_put('raw:/huge', decode(repeat('00112233', 9 * 1024 * 1024), 'hex'))");
is($cluster->sql("SELECT difs_get('raw:/huge') = decode(repeat('00112233', 9 * 1024 * 1024), 'hex')"), 't', 'a value that is read when it is used');
servers_down();
is(($cluster->sql_fails("SELECT difs_get('raw:/large')"))[0], '58030', 'control: from chunk servers');
is($cluster->sql("SELECT length(difs_get('raw:/huge'))"), 36 * 1024 * 1024, 'the length of a huge value does not need its bytes');
is(($cluster->sql_fails("SELECT $_"))[0], '58030', "but this does: $_") for "difs_get('raw:/huge')", "md5(difs_get('raw:/huge'))";
my ($code, $output, $errors) = $node->psql('postgres', "SELECT difs_get('raw:/huge'); SELECT 'alive'", on_error_stop => 0);
like($errors, qr/could not|cannot|no answer|not.*read/i, 'an error amid a result is reported');
is($output, 'alive', 'and the session goes on');

$cluster->stop;
done_testing();
