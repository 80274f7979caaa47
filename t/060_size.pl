# What large contents cost: WAL, database, memory of the backend; and what does not fit.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use Digest::SHA;
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $mb = 1024 * 1024;
my $size_mb = 256;

# the pool is a sixteenth of what goes through it
my $cluster = DifsCluster->new('size', servers => 1, conf => "difs.stream_pool_size = '16MB'\nmax_wal_size = '4GB'\n");
my $node = $cluster->node;
$cluster->sql(q{SELECT difs_volume_create('raw', compression => 'none')});

my $source = "$cluster->{dir}/source";
{
	open(my $random, '<:raw', '/dev/urandom') or die "/dev/urandom: $!";
	open(my $file, '>:raw', $source) or die "$source: $!";
	for (1 .. $size_mb)
	{
		read($random, my $piece, $mb) == $mb or die "/dev/urandom: $!";
		print $file $piece or die "$source: $!";
	}
	close($file) or die "$source: $!";
}

# Runs a statement in a backend of its own; returns its result and by how much, at most, its private memory grew, in MB.
sub growth_mb
{
	my ($statement, @settings) = @_;
	my $pid_file = "$cluster->{dir}/backend";
	my $go_file = "$cluster->{dir}/go";
	unlink $pid_file, $go_file;
	my $script = $cluster->write_file('statement.sql',
		join(";\n", @settings, "COPY (SELECT pg_backend_pid()) TO '$pid_file'") . ";\n"
		  . "\\! until [ -e $go_file ]; do :; done\n$statement;\n");
	my $out = "$cluster->{dir}/statement.out";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDOUT, '>', $out) or POSIX::_exit(126);
		exec('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script) or POSIX::_exit(127);
	}
	DifsCluster::poll_until(sub { -s $pid_file }, 30) or die 'the backend does not start';
	chomp(my $backend = slurp_file($pid_file));
	my $before = private_kb($backend);
	my $most = $before;
	open(my $go, '>', $go_file) or die "$go_file: $!";
	close($go);
	while (waitpid($pid, WNOHANG) == 0)
	{
		my $now = private_kb($backend);
		$most = $now if $now > $most;
		usleep(1000);
	}
	is($?, 0, "ran: $statement");
	chomp(my $result = slurp_file($out));
	return ($result, ($most - $before) / 1024);
}

sub private_kb
{
	my ($pid) = @_;
	open(my $file, '<', "/proc/$pid/status") or return 0;
	my ($kb) = map { /^RssAnon:\s+(\d+)/ } <$file>;
	return $kb // 0;
}

# WAL and database
$cluster->sql('CHECKPOINT');
my $lsn = $cluster->sql('SELECT pg_current_wal_insert_lsn()');
my $database = $cluster->sql('SELECT pg_database_size(current_database())');
my (undef, $import_mb) = growth_mb("SELECT difs_import('raw:/big', '$source')");
my $wal = $cluster->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$lsn')");
my $grown = $cluster->sql("SELECT pg_database_size(current_database()) - $database");
my $payload = $size_mb * $mb;
cmp_ok($wal, '<', $payload / 100, sprintf('WAL of %d MB: %d bytes, %.5f a payload byte', $size_mb, $wal, $wal / $payload));
cmp_ok($grown, '<', $payload / 100, sprintf('the database grew by %d bytes', $grown));
cmp_ok($import_mb, '<', 64, sprintf('difs_import of %d MB through a pool of 16 MB: %.1f MB of memory', $size_mb, $import_mb));

# reading
my ($sum, $read_mb) = growth_mb(q{SELECT sum(length(data)) FROM (SELECT (difs_read('raw:/big')).*) s});
is($sum, $payload, 'difs_read returns all of it');
cmp_ok($read_mb, '<', 64, sprintf('difs_read: %.1f MB of memory', $read_mb));
(undef, $read_mb) = growth_mb(q{SELECT count(*) FROM difs_read('raw:/big')});
cmp_ok($read_mb, '<', 64, sprintf('difs_read in FROM: %.1f MB of memory', $read_mb));
my (undef, $get_mb) = growth_mb(q{SELECT md5(difs_get('raw:/big', length => 128 * 1024 * 1024))});
cmp_ok($get_mb, '<', 2 * 128 + 32, sprintf('difs_get of 128 MB: %.1f MB of memory', $get_mb));
cmp_ok($get_mb, '>=', 120, 'control: the value itself is seen');
my $target = "$cluster->{dir}/target";
my ($exported, $export_mb) = growth_mb("SELECT difs_export('raw:/big', '$target')");
cmp_ok($export_mb, '<', 64, sprintf('difs_export: %.1f MB of memory', $export_mb));
is(Digest::SHA->new(256)->addfile($target, 'b')->hexdigest, Digest::SHA->new(256)->addfile($source, 'b')->hexdigest,
	'what was exported equals what was imported');
unlink $source, $target;

# a put as a value, several times the pool
is($cluster->sql(
		q{CREATE TABLE value AS SELECT string_agg(sha512(int4send(i)), '') AS data FROM generate_series(1, 1024 * 1024) i},
		q{SELECT difs_put('raw:/value', data) FROM value},
		q{SELECT difs_get('raw:/value') = data FROM value}),
	"1\nt", 'a value of 64 MB goes through a pool of 16 MB');

# segments as large as they get
$cluster->sql(q{SELECT difs_volume_create('huge', compression => 'none', segment_size => 134217728)});
my ($state, $message) = $cluster->sql_fails(q{SELECT difs_put('huge:/value', data || data) FROM value});
is($state, '54000', 'a segment that could never fit into the pool is refused');
like($message, qr/difs\.stream_pool_size/, 'and the message says what to raise');
is($cluster->sql(q{SELECT difs_exists('huge:/value')}), 'f', 'and leaves nothing');
$node->append_conf('postgresql.conf', "difs.stream_pool_size = '200MB'\ndifs.block_group_size = '256MB'\n");
$node->restart;
is($cluster->sql(
		q{SELECT difs_put('huge:/value', data || data) FROM value},
		q{SELECT difs_get('huge:/value') = data || data FROM value},
		q{SELECT segments FROM difs_versions('huge:/value')}),
	"1\nt\n1", 'with a larger one, a segment of 128 MiB is stored and read');
is($cluster->sql(
		q{SELECT difs_volume_create('tiny', compression => 'none', segment_size => 4096) > 0},
		q{SELECT difs_put('tiny:/value', substring(data FROM 1 FOR 20000001)) FROM value},
		q{SELECT difs_get('tiny:/value') = substring(data FROM 1 FOR 20000001) FROM value},
		q{SELECT segments FROM difs_versions('tiny:/value')}),
	"t\n1\nt\n4883", 'and segments of 4 KiB');

$cluster->stop;
done_testing();
