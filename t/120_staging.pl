# Staging: writes go on while chunk servers are down, survive a crash, can be read, and drain by themselves.
#
# DIFS_STAGING_PUTS is the number of puts while all servers are down (1000).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time);

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $TIMEOUT = 6;				# difs.server_timeout, in seconds
my $PUTS = $ENV{DIFS_STAGING_PUTS} // 1000;
my $cluster = DifsCluster->new('staging', servers => 2,
	conf => "difs.server_timeout = '${TIMEOUT}s'\ndifs.unstage_interval = '1h'\nmax_prepared_transactions = 5\n"
	  . "difs.stream_pool_size = '16MB'\n");
my $node = $cluster->node;
my $source = $cluster->write_file('source', DifsCluster::random_bytes(2 * 1024 * 1024 + 5, 'staging'));
my $large = $cluster->write_file('large', DifsCluster::text_bytes(24 * 1024 * 1024 + 77, 'large'));

$cluster->sql(
	"SELECT difs_volume_create('two', replicas => 2)",
	"SELECT difs_volume_create('raw', compression => 'none')",
	"SELECT difs_volume_create('large', segment_size => 8 * 1024 * 1024)",
	"SELECT difs_volume_create('three', replicas => 3)",
	"SELECT difs_put('/before', pg_read_binary_file('$source'))");

sub staged { return $cluster->sql('SELECT segments FROM difs.staged'); }

sub drained
{
	my ($what) = @_;
	ok(DifsCluster::poll_until(sub { staged() == 0 }, 30), "$what: staging empties by itself");
	is($cluster->sql('SELECT count(*) FROM difs.manifest WHERE block_group = 0'), 0, 'and no manifest row says staged');
	return;
}

sub dead
{
	$_->kill for $cluster->servers;
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM difs.servers WHERE alive') or die 'servers are alive';
	return;
}

sub alive
{
	$_->start for $cluster->servers;
	$cluster->wait_until_alive;
	return;
}

is(staged(), 0, 'with all servers up, nothing is staged');

# All servers are down.
dead();
my ($state, $message, $seconds);
my $began = time;
$cluster->sql("SELECT difs_put('/first', pg_read_binary_file('$source'))");
$seconds = time - $began;
cmp_ok($seconds, '<', $TIMEOUT - 1, 'auto: the first put does not wait for the whole time-out');
note sprintf 'first put: %.2f s', $seconds;
is(staged(), 3, 'its segments are staged');

($state, $message, $seconds) = $cluster->sql_fails(q{SET difs.server_timeout = '2s'}, 'SET difs.staging = never', "SELECT difs_put('/never', 'x')");
is($state, '58030', 'never: a put fails') or diag $message;
is(staged(), 3, 'and stages nothing');

$began = time;
$cluster->sql("DO \$\$ BEGIN FOR n IN 1 .. $PUTS LOOP PERFORM difs_put('/small' || n, convert_to('content ' || n, 'UTF8')); COMMIT; END LOOP; END \$\$");
$seconds = time - $began;
cmp_ok($seconds, '<', 10 + $PUTS / 100, "$PUTS more transactions do not wait for servers");
note sprintf '%d puts while all servers are down: %.2f s', $PUTS, $seconds;
is(staged(), 3 + $PUTS, 'they are staged');
is($cluster->sql("SELECT bytes = (SELECT sum(octet_length(bytes)) FROM difs.staging) AND oldest <= now() FROM difs.staged"),
	't', 'difs.staged counts bytes');

$cluster->sql(
	"SELECT difs_put('raw:/file', pg_read_binary_file('$source'))",
	"SELECT difs_import('large:/file', '$large')",
	"SELECT difs_put('two:/file', pg_read_binary_file('$source'))",
	"SELECT difs_put('/first', pg_read_binary_file('$source') || 'second version')",
	"SELECT difs_copy('/first', '/copy', version => 1)");

sub all_right
{
	my ($what) = @_;
	is($cluster->sql(
			"SELECT bool_and(convert_from(difs_get('/small' || n), 'UTF8') = 'content ' || n) FROM generate_series(1, $PUTS) AS n"),
		't', "$what: small files");
	foreach my $path ('raw:/file', 'two:/file', '/copy')
	{
		is($cluster->sql("SELECT difs_get('$path') = pg_read_binary_file('$source')"), 't', "$what: $path");
	}
	is($cluster->sql("SELECT difs_get('/first') = pg_read_binary_file('$source') || 'second version',"
	  . " difs_get('/first', 1) = pg_read_binary_file('$source')"), 't|t', "$what: versions");
	is($cluster->sql("SELECT difs_get('large:/file') = pg_read_binary_file('$large')"), 't', "$what: large segments");
	is($cluster->sql("SELECT bool_and(difs_get(path, NULL, start, 100000) = substr(pg_read_binary_file(file), start + 1, 100000))"
	  . " FROM (VALUES ('raw:/file', '$source'), ('/copy', '$source'), ('large:/file', '$large')) AS f (path, file),"
	  . " (VALUES (0), (1), (65536), (1048570), (2000000)) AS o (start)"), 't', "$what: ranges");
	is($cluster->sql("SELECT string_agg(data, NULL ORDER BY \"offset\") = pg_read_binary_file('$large') FROM"
	  . " difs_read('large:/file', piece_size => 300000)"), 't', "$what: piece by piece");
	return;
}
all_right('while servers are down');
is($cluster->sql(q{SELECT difs_manifest('/copy')->>'storages'}), '[]', 'the map shows no storage for staged segments');

# Collection, scrub and fsck know what is staged.
my $count = staged();
is($cluster->sql('SELECT kind, object FROM difs_fsck()'), '', 'fsck finds nothing');
is($cluster->sql("SELECT outcome, count(*), count(server) FROM difs_scrub('/first') GROUP BY 1"), 'good|6|0', 'scrub: good, on no server');
$cluster->sql("SELECT difs_put('/doomed', pg_read_binary_file('$source'))", "SELECT difs_copy('/doomed', '/kept')", "SELECT difs_delete('/doomed')");
is(staged(), $count + 3, 'a copy of a deleted file');
$cluster->sql('SELECT difs_collect()');
is($cluster->sql("SELECT difs_get('/kept') = pg_read_binary_file('$source')"), 't', 'keeps what is staged');
$cluster->sql("SELECT difs_delete('/kept')");
ok(DifsCluster::poll_until(sub { $cluster->sql('SELECT difs_collect()'); staged() == $count }), 'when the copy goes, collection takes it');
is($cluster->sql('SELECT count(*) FROM difs.doomed'), 0, 'and the rows, with all servers down');

# Transactions.
$count = staged();
$cluster->sql('BEGIN', "SELECT difs_put('/rolled', pg_read_binary_file('$source'))", 'ROLLBACK');
is(staged(), $count, 'ROLLBACK leaves no row');
is($cluster->sql('BEGIN', "SELECT difs_put('/own', 'mine')", "SELECT convert_from(difs_get('/own'), 'UTF8')", 'COMMIT'),
	"1\nmine", 'a transaction reads its own');
$cluster->sql('BEGIN', "SELECT difs_put('/outer', 'outer')", 'SAVEPOINT s', "SELECT difs_put('/inner', 'inner')",
	"SELECT difs_get('/outer')", 'ROLLBACK TO s', 'COMMIT');
is($cluster->sql("SELECT convert_from(difs_get('/outer'), 'UTF8'), difs_exists('/inner')"), 'outer|f', 'ROLLBACK TO SAVEPOINT');
is(staged(), $count + 2, 'and its rows');
$cluster->sql('BEGIN', "SELECT difs_put('/prepared', 'prepared')", q{PREPARE TRANSACTION 'p'});
$cluster->sql(q{COMMIT PREPARED 'p'});
is($cluster->sql("SELECT convert_from(difs_get('/prepared'), 'UTF8')"), 'prepared', 'PREPARE TRANSACTION');

# Limits. What could never be stored is not staged.
($state, $message) = $cluster->sql_fails("SELECT difs_put('three:/never', 'x')");
is($state, '58030', 'a volume that asks for more servers than there are: a put fails') or diag $message;
$cluster->sql(q{ALTER SYSTEM SET difs.staging_limit = '64MB'}, 'SELECT pg_reload_conf()');
($state, $message) = $cluster->sql_fails("SELECT difs_put('raw:/limit' || n, pg_read_binary_file('$source')) FROM generate_series(1, 64) AS n");
is($state, '53100', 'difs.staging_limit: a put fails') or diag $message;
like($message, qr/difs\.staging_limit.*HINT:/s, 'and says what to do');
is($cluster->sql("SELECT difs_exists('raw:/limit1')"), 'f', 'and leaves nothing');
$cluster->sql("SELECT difs_put('/after_limit', 'x')");
pass('what has been rolled back does not count');
$cluster->sql('ALTER SYSTEM RESET difs.staging_limit', 'SELECT pg_reload_conf()');

# It is in the write-ahead log.
$count = staged();
$node->stop('immediate');
$node->start;
is(staged(), $count, 'staged segments survive a crash of PostgreSQL');
$node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM difs.servers WHERE alive IS NOT NULL') or die 'no keeper';
all_right('after a crash');

# Servers come back while an old snapshot is open.
my $old = $node->background_psql('postgres', on_error_stop => 0);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM difs.staging');
$began = time;
alive();
drained('servers are back');
note sprintf 'drained after %.2f s', time - $began;
is($old->query("SELECT difs_get('two:/file') = pg_read_binary_file('$source'), difs_get('large:/file') = pg_read_binary_file('$large')"),
	't|t', 'an old snapshot still reads what it sees');
is($old->query('SELECT count(*) > 0 FROM difs.staging'), 't', 'namely, staged segments');
$old->query_safe('COMMIT');
$old->quit;
all_right('after staging has emptied');
is($cluster->sql(q{SELECT jsonb_array_length(difs_manifest('two:/file')->'storages')}), 2, 'on two servers');

# One of two servers.
$cluster->server(0)->kill;
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM difs.servers WHERE alive') or die 'server is alive';
$cluster->sql("SELECT difs_put('two:/half', pg_read_binary_file('$source'))", "SELECT difs_put('/whole', 'x')");
is(staged(), 3, 'with one of two servers down, two replicas are staged, one is stored');
is($cluster->sql("SELECT difs_get('two:/half') = pg_read_binary_file('$source')"), 't', 'and can be read');
$cluster->sql("SELECT difs_delete('two:/half')");
$cluster->server(0)->start;
$cluster->wait_until_alive;
drained('the other server is back, and a file is deleted');

# Frozen servers, with puts that were on their way.
$_->signal('STOP') for $cluster->servers;
$began = time;
$cluster->sql("SELECT difs_put('/frozen' || n, pg_read_binary_file('$source')) FROM generate_series(1, 20) AS n");
cmp_ok(time - $began, '<', 2 * $TIMEOUT + 4, 'servers freeze: puts of more than the pool holds end');
note sprintf '20 puts of 2 MB, servers frozen: %.2f s', time - $began;
is(staged(), 60, 'in staging');
is($cluster->sql("SELECT bool_and(difs_get('/frozen' || n) = pg_read_binary_file('$source')) FROM generate_series(1, 20) AS n"),
	't', 'and can be read');
$_->signal('CONT') for $cluster->servers;
drained('servers go on');
is($cluster->sql("SELECT bool_and(difs_get('/frozen' || n) = pg_read_binary_file('$source')) FROM generate_series(1, 20) AS n"),
	't', 'and can be read');

# A subtransaction that writes what an outer one has made, and is rolled back.
dead();
$cluster->sql('BEGIN', "SELECT difs_put('/nested' || n, pg_read_binary_file('$source')) FROM generate_series(1, 3) AS n",
	'SAVEPOINT s', "SELECT length(difs_get('/nested1'))", 'SAVEPOINT t', "SELECT length(difs_get('/nested2'))",
	'RELEASE t', 'ROLLBACK TO s', 'COMMIT');
is(staged(), 9, 'rows that an inner subtransaction had written are written again');
is($cluster->sql("SELECT bool_and(difs_get('/nested' || n) = pg_read_binary_file('$source')) FROM generate_series(1, 3) AS n"),
	't', 'and can be read');

# A row that was damaged, and one that was removed.
my $damaged = $cluster->sql("SELECT m.segment FROM difs.manifest m WHERE ino = (SELECT ino FROM difs_stat('/nested1')) ORDER BY file_offset LIMIT 1");
$cluster->sql("UPDATE difs.staging SET bytes = set_byte(bytes, 70000, get_byte(bytes, 70000) # 1) WHERE segment = $damaged",
	"DELETE FROM difs.staging WHERE segment = (SELECT max(segment) FROM difs.manifest WHERE ino = (SELECT ino FROM difs_stat('/nested2')))");
foreach my $path ('/nested1', '/nested2')
{
	($state, $message) = $cluster->sql_fails("SELECT difs_get('$path')");
	is($state, 'XX001', "$path is damaged, and an error tells") or diag $message;
	like($message, qr/$path/, 'which file');
}
is($cluster->sql("SELECT outcome, count(*) FROM difs_scrub('/nested1') GROUP BY 1 ORDER BY 1"), "good|2\nlost|1", 'scrub finds the damage');
is($cluster->sql("SELECT DISTINCT outcome FROM difs_scrub('/nested3')"), 'good', 'and only that');
like($cluster->sql('SELECT kind, detail FROM difs_fsck()'), qr/^missing staged segment\|difs\.staging does not have it$/, 'fsck finds the gap');
is($cluster->sql("SELECT difs_get('/nested1', NULL, 100, 1000) = substr(pg_read_binary_file('$source'), 101, 1000)"), 't',
	'blocks beside the damaged one can be read');
alive();
ok(DifsCluster::poll_until(sub { staged() == 1 }, 30), 'what is damaged is not moved');
is($cluster->sql("SELECT segment = $damaged FROM difs.staging"), 't', 'and stays');
$cluster->sql("DELETE FROM difs.manifest WHERE block_group = 0");
$cluster->sql('SELECT difs_unstage()');
is(staged(), 0, 'what no manifest row names is dropped');

# always
$cluster->sql('SET difs.staging = always', "SELECT difs_put('/always', 'always')");
is($cluster->sql("SELECT convert_from(difs_get('/always'), 'UTF8')"), 'always', 'always: stored');
$cluster->sql('SET difs.staging = always', "SELECT difs_put('/always' || n, 'always') FROM generate_series(1, 100) AS n", 'SELECT difs_unstage()');
drained('always');
is($cluster->sql("SELECT count(*) FROM generate_series(1, 100) AS n WHERE convert_from(difs_get('/always' || n), 'UTF8') = 'always'"),
	100, 'and read');

# A file that is being written is left alone, and moved later.
$cluster->sql('SET difs.staging = always', "SELECT difs_put('/locked', 'x')");
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe("BEGIN; SELECT FROM difs.inode WHERE ino = (SELECT ino FROM difs_stat('/locked')) FOR NO KEY UPDATE");
my $moved = $cluster->sql('SELECT segments FROM difs.staged') ? $cluster->sql('SELECT difs_unstage()') : -1;
$writer->query_safe('COMMIT');
$writer->quit;
cmp_ok($moved, '<=', 0, 'a file that somebody writes is not moved') or diag $moved;
$cluster->sql('SELECT difs_unstage()');
is(staged(), 0, 'until that has ended');

# Servers freeze while a round goes on: who writes a file that the round is about to move does not wait for it.
$cluster->sql('SELECT difs_unstage()', 'SET difs.staging = always', "SELECT difs_put('/busy', 'x')");
$_->signal('STOP') for $cluster->servers;
my $round = $node->background_psql('postgres', on_error_stop => 0);
$round->query_until(qr/started/, "\\echo started\nSELECT difs_unstage();\n");
ok(DifsCluster::poll_until(sub { $cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'difs keeper: unstage'"
	  . " AND backend_xid IS NOT NULL AND wait_event IS NOT NULL") == 1 }, 20), 'a round waits for frozen servers');
$began = time;
$cluster->sql('SET difs.staging = always', "SELECT difs_put('/busy', 'y')");
cmp_ok(time - $began, '<', 1.5, 'a file that it moves can be written meanwhile');
$_->signal('CONT') for $cluster->servers;
$round->quit;
$cluster->wait_until_alive;
ok(DifsCluster::poll_until(sub { staged() == 0 || !$cluster->sql('SELECT difs_unstage()') && staged() == 0 }, 30), 'servers go on: all is moved');
is($cluster->sql("SELECT convert_from(difs_get('/busy'), 'UTF8'), convert_from(difs_get('/busy', 1), 'UTF8')"), 'y|x', 'and can be read');

# Slots and memory have all come back: the whole pool can be used at once.
is($cluster->sql("SELECT difs_put('large:/again', pg_read_binary_file('$large'))"), 1, 'the pool is free again');
$cluster->stop;
done_testing();
