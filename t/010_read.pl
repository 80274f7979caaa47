# Reading: ranges at every edge, raw and compressed, small and large segments, versions, pieces, cursors, export, memory,
# a standby.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsNode;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('read', servers => 2, init => { allows_streaming => 1 });
my $node = $cluster->node;
my $KB = 1024;
my $MB = 1024 * 1024;

# Stores a file and compares ranges of it with the same ranges of the source, all in one query; the ranges are around the
# edges of blocks, segments and the file.
sub check_ranges
{
	my ($path, $source, $size, $segment_size) = @_;
	my @offsets = map { ($_ - 1, $_, $_ + 1) } (1, 4 * $KB, 64 * $KB, $segment_size, 2 * $segment_size, $size);
	my @lengths = (0, 1, 4 * $KB, 64 * $KB + 1, $segment_size, $segment_size + 1);

	$cluster->sql("SELECT difs_put('$path', pg_read_binary_file('$source'))");
	my $counts = $cluster->sql(
		'WITH ranges AS MATERIALIZED (SELECT DISTINCT at, length'
		  . ' FROM unnest(ARRAY[' . join(',', @offsets) . ']::bigint[]) AS at,'
		  . ' unnest(ARRAY[' . join(',', @lengths) . "]::bigint[]) AS length WHERE at >= 0 AND at <= $size + 1)"
		  . " SELECT count(*) > 20, count(*) FILTER (WHERE difs_get('$path', NULL, at, length)"
		  . " IS DISTINCT FROM pg_read_binary_file('$source', at, length)) FROM ranges");
	is($counts, 't|0', "all ranges of $path are right");
	is($cluster->sql("SELECT difs_get('$path') = pg_read_binary_file('$source')"), 't', "$path is right as a whole");
	return;
}

foreach my $compression ('none', 'zstd')
{
	foreach my $segment_size (4 * $KB, 64 * $KB, 1 * $MB, 8 * $MB)
	{
		my $volume = "v_${compression}_$segment_size";
		my $size = 2 * $segment_size + 12345;
		my $bytes = $compression eq 'none'
		  ? DifsCluster::random_bytes($size, $volume)
		  : DifsCluster::text_bytes($size, $volume);
		my $source = $cluster->write_file($volume, $bytes);

		$cluster->sql("SELECT difs_volume_create('$volume', replicas => 2, segment_size => $segment_size,"
		  . " compression => '$compression')");
		check_ranges("$volume:/file", $source, $size, $segment_size);
	}
}

# Files that are smaller than anything.
foreach my $size (0, 1, 4095, 4096, 4097)
{
	my $source = $cluster->write_file("small_$size", DifsCluster::random_bytes($size, $size));

	is($cluster->sql("SELECT difs_put('/small_$size', pg_read_binary_file('$source'))",
			"SELECT difs_get('/small_$size') = pg_read_binary_file('$source'), octet_length(difs_get('/small_$size'))"),
		"1\nt|$size", "a file of $size bytes");
}

# Past the end.
is($cluster->sql("SELECT octet_length(difs_get('/small_4096', \"offset\" => 5000)),"
		  . " octet_length(difs_get('/small_4096', \"offset\" => 4000, length => 9223372036854775807)),"
		  . " octet_length(difs_get('/small_4096', \"offset\" => 9223372036854775807, length => 9223372036854775807)),"
		  . " octet_length(difs_get('/small_4096', \"offset\" => 4096))"),
	'0|96|0|0', 'a range past the end returns what is there');

# Versions.
$cluster->sql("SELECT difs_put('/versions', convert_to('version ' || n, 'UTF8')) FROM generate_series(1, 5) AS n");
is($cluster->sql("SELECT string_agg(convert_from(difs_get('/versions', n), 'UTF8'), ',') FROM generate_series(1, 5)"
  . " AS n"),
	join(',', map { "version $_" } 1 .. 5), 'every version can be read');
is($cluster->sql("SELECT convert_from(difs_get('/versions'), 'UTF8')"), 'version 5', 'the current version is the last');

# Own writes, in one transaction and in one statement, and after a savepoint was rolled back.
is($cluster->sql(
		'BEGIN', "SELECT difs_put('/own', 'first')", "SELECT convert_from(difs_get('/own'), 'UTF8')",
		'SAVEPOINT a', "SELECT difs_put('/own', 'second')", "SELECT convert_from(difs_get('/own'), 'UTF8')",
		'ROLLBACK TO a', "SELECT convert_from(difs_get('/own'), 'UTF8')", 'COMMIT',
		"SELECT convert_from(difs_get('/own'), 'UTF8')"),
	"1\nfirst\n2\nsecond\nfirst\nfirst", 'a transaction reads its own writes');

# Errors.
$cluster->sql("SELECT difs_mkdir('/directory')");
my %errors = (
	"SELECT difs_get('/nothing')" => '58P01',
	"SELECT difs_get('/nothing/at/all')" => '58P01',
	"SELECT difs_get('nowhere:/file')" => '58P01',
	"SELECT difs_get('/versions', 6)" => '58P01',
	"SELECT difs_get('/versions', 0)" => '58P01',
	"SELECT difs_get('/versions', -1)" => '58P01',
	"SELECT difs_get('/directory')" => '42809',
	"SELECT difs_get('/')" => '42809',
	"SELECT difs_get('/versions/')" => '42809',
	"SELECT difs_get('/versions', NULL, -1)" => '22023',
	"SELECT difs_get('/versions', NULL, 0, -1)" => '22023',
	"SELECT difs_get('/versions', NULL, -9223372036854775808)" => '22023',
	"SELECT difs_get('/versions', NULL, NULL)" => '22023',
	"SELECT difs_get(NULL)" => '22023',
	"SELECT difs_get('')" => '22023',
	"SELECT difs_get('versions')" => '22023',
	"SELECT * FROM difs_read('/versions', piece_size => 4095)" => '22023',
	"SELECT * FROM difs_read('/versions', piece_size => 67108865)" => '22023',
	"SELECT * FROM difs_read('/versions', piece_size => NULL)" => '22023',
	"SELECT * FROM difs_read('/versions', NULL, -1)" => '22023',
	"SELECT * FROM difs_read('/nothing')" => '58P01',
	"SELECT difs_export('/versions', 'relative')" => '22023',
	"SELECT difs_export('/versions', NULL)" => '22023',
	"SELECT difs_export('/nothing', '/tmp/difs_export_nothing')" => '58P01',
	"SELECT difs_export('/versions', '/nonexistent_directory/file')" => '58P01',
);
foreach my $statement (sort keys %errors)
{
	my ($state, $message) = $cluster->sql_fails($statement);
	is($state, $errors{$statement}, $statement) or diag $message;
}

# Pieces.
my $size = 20 * $MB + 77;
my $source = $cluster->write_file('pieces', DifsCluster::text_bytes($size, 'pieces'));
foreach my $volume ('main', 'v_zstd_' . 8 * $MB, 'v_none_' . 8 * $MB)
{
	$cluster->sql("SELECT difs_import('$volume:/pieces', '$source')");
	is($cluster->sql("SELECT count(*), sum(octet_length(data)), bool_and(data = pg_read_binary_file('$source',"
	  . " \"offset\", 1048576))"
			  . " FROM difs_read('$volume:/pieces', piece_size => 1048576)"),
		"21|$size|t", "difs_read of $volume");
}
is($cluster->sql("SELECT string_agg(\"offset\" || ' ' || octet_length(data), ', ' ORDER BY \"offset\")"
		  . " FROM difs_read('/pieces', \"offset\" => 100, length => 10000, piece_size => 4096)"),
	'100 4096, 4196 4096, 8292 1808', 'difs_read of a range');
is($cluster->sql("SELECT count(*) FROM difs_read('/small_0')"), '0', 'difs_read of an empty file has no row');

# A cursor reads the file as it was when it was first fetched from, whatever is committed meanwhile; also one that outlives
# its transaction.
sub check_cursor
{
	my ($what, $query, $hold) = @_;
	my $reader = $node->background_psql('postgres', on_error_stop => 1);

	$cluster->sql("SELECT difs_put('/cursor', convert_to(repeat('old ', 4096), 'UTF8'))");
	$reader->query_safe("BEGIN; DECLARE c CURSOR $hold FOR $query;");
	is($reader->query_safe('FETCH 1 FROM c'), 'old ', "$what: first piece") unless $hold;
	$reader->query_safe('SAVEPOINT a; SELECT 1; ROLLBACK TO a;');
	$reader->query_safe('COMMIT') if $hold;
	$cluster->sql("SELECT difs_put('/cursor', convert_to(repeat('new ', 4096), 'UTF8'))");
	is($reader->query_safe('FETCH 2 FROM c'), "old \nold ", "$what: later pieces are of the same version");
	$reader->query_safe($hold ? 'CLOSE c' : 'COMMIT');
	is($reader->query_safe("SELECT convert_from(difs_get('/cursor', NULL, 0, 4), 'UTF8')"), 'new ', "$what: then"
	  . " the new one is seen");
	$reader->quit;
	return;
}
my $row = q{convert_from(substr(data, 1, 4), 'UTF8')};
check_cursor('cursor', "SELECT $row FROM difs_read('/cursor', piece_size => 4096)", '');
check_cursor('cursor over a target list', "SELECT $row FROM (SELECT difs_read('/cursor', piece_size => 4096) AS"
  . " piece OFFSET 0) AS r, LATERAL (SELECT (r.piece).data) AS d", '');
check_cursor('cursor with hold', "SELECT $row FROM difs_read('/cursor', piece_size => 4096)", 'WITH HOLD');
is($cluster->sql("SELECT (difs_read('/pieces', piece_size => 4096)).\"offset\" LIMIT 2"), "0\n4096", 'difs_read'
  . ' ends early');
unlike(slurp_file($node->logfile), qr/snapshot.*leak|leak.*snapshot/i, 'no snapshot was left behind');

# Export.
my $target = $cluster->dir . '/exported';
is($cluster->sql("SELECT difs_export('/pieces', '$target')"), $size, 'difs_export returns the size');
is(sha256_hex(slurp_binary($target)), sha256_hex(slurp_binary($source)), 'the exported file is right');
is($cluster->sql("SELECT difs_export('/versions', '$target', 2)"), 9, 'difs_export of a version, over a file');
is(slurp_binary($target), 'version 2', 'that version was exported');
$cluster->sql("SELECT difs_export('/small_0', '$target')");
is(-s $target, 0, 'an empty file can be exported');
is_deeply([ glob($cluster->dir . '/*.difs.*') ], [], 'no temporary file is left');
$cluster->sql('CREATE ROLE nobody_special', 'GRANT EXECUTE ON FUNCTION difs_export TO nobody_special');
is(($cluster->sql_fails('SET ROLE nobody_special', "SELECT difs_export('/pieces',"
  . " '$target')"))[0], '42501', 'export is privileged');

# Memory: what a backend's peak grows by, in kB. The buffers that it touches are counted, too, and few.
sub peak_growth_kb
{
	my ($statement) = @_;
	my $peak = q{SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)')};
	my @lines = split /\n/, $cluster->sql("SELECT octet_length(difs_get('/small_1'))", $peak, $statement, $peak);
	return $lines[-1] - $lines[1];
}
SKIP:
{
	skip 'no /proc/self/status', 6 unless -r '/proc/self/status';
	my $large = 96 * $MB;
	my $file = $cluster->write_file('large', DifsCluster::text_bytes($large, 'large'));
	foreach my $segment_size (1 * $MB, 64 * $MB)
	{
		my $volume = "large_$segment_size";
		$cluster->sql("SELECT difs_volume_create('$volume', segment_size => $segment_size)",
			"SELECT difs_import('$volume:/file', '$file')");
		my $growth = peak_growth_kb("SELECT octet_length(difs_get('$volume:/file'))");
		cmp_ok($growth, '<', (2 * $large + 32 * $MB) / $KB, "memory of difs_get with segments of $segment_size bytes");
		$growth = peak_growth_kb("SELECT sum(octet_length((piece).data)) FROM (SELECT difs_read('$volume:/file') AS"
		  . " piece OFFSET 0) AS r");
		cmp_ok($growth, '<', 64 * $MB / $KB, "memory of difs_read with segments of $segment_size bytes");
		is($cluster->sql("SELECT bool_and(data = pg_read_binary_file('$file', \"offset\", 4194304)) FROM"
		  . " difs_read('$volume:/file')"),
			't', "difs_read with segments of $segment_size bytes is right");
	}
}

# A standby reads from the same servers, and writes nothing.
my $standby = DifsNode::standby_of($node, 'read_standby');
$cluster->sql("SELECT difs_put('/late', convert_to('after the backup', 'UTF8'))");
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT convert_from(difs_get('/late'), 'UTF8')"), 'after the backup', 'a'
  . ' standby reads');
is($standby->safe_psql('postgres', "SELECT bool_and(data = pg_read_binary_file('$source', \"offset\", 4194304))"
  . " FROM difs_read('/pieces')"),
	't', 'a standby reads in pieces');
is($standby->safe_psql('postgres', 'SELECT count(*), count(alive) FROM difs.servers'), '2|0', 'a standby has no'
  . ' keeper, and says so');
my ($status, $output, $message) = $standby->psql('postgres', "SELECT difs_server_add('/late', '127.0.0.1', 1)");
like($message, qr/recovery|read-only/, 'a standby takes no server');
$standby->stop;

$cluster->stop;
done_testing();

sub slurp_binary
{
	my ($name) = @_;
	open(my $file, '<:raw', $name) or die "$name: $!";
	local $/;
	return <$file> // '';
}
