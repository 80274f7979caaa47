# Views of progress say what is going on while it does: repair, draining, the scrub, collection and pull insert; and views that are asked about
# one file, volume or server look it up by index.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsHttp;
use PostgreSQL::Test::Utils;
use Test::More;

my $MIB = 1048576;
my $cluster = DifsCluster->new('progress', servers => 3, conf => <<'CONF');
difs.block_group_size = '16MB'
difs.repair_interval = '1h'
difs.collect_interval = 0
difs.scrub_interval = 0
difs.health_interval = '200ms'
difs.server_timeout = '8s'
CONF
my $node = $cluster->node;
my ($first) = map { $_->name } $cluster->servers;
my $source = $cluster->write_file('source', DifsCluster::random_bytes(30 * $MIB, 'progress'));
$cluster->sql("SELECT difs_volume_create('two', replicas => 2, segment_size => $MIB, compression => 'none')",
	map { "SELECT difs_put('two:/f$_', pg_read_binary_file('$source'))" } 1 .. 3);

sub set
{
	my ($setting, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $setting = '$value'");
	$node->reload;
	return;
}

# Asks until a query is true.
sub seen
{
	my ($condition, $what) = @_;
	ok(DifsCluster::poll_until(sub { return $cluster->sql("SELECT coalesce(($condition), false)") eq 't' }, 60), $what)
	  or diag($cluster->sql('SELECT duty, running, phase, done, total, problem FROM difs.stat_keeper'));
	return;
}

sub in_background
{
	my ($statement) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\n$statement;\n");
	return $session;
}

# Draining: slow enough to be watched.
is($cluster->sql('SELECT count(*) FROM difs.drain_progress'), 0, 'nothing is being emptied');
set('difs.repair_rate', '4MB');
my $copies = $cluster->sql("SELECT difs_server_drain('$first')");
cmp_ok($copies, '>', 1, "$first has $copies copies, and is to be emptied");
seen("SELECT server = '$first' AND copies = $copies AND running AND phase = 'making copies' AND total > 0 AND waiting > 0 FROM difs.drain_progress", 'draining is seen');
seen("SELECT running AND phase = 'making copies' AND total > 0 AND copies_to_move > 0 FROM difs.repair_progress", 'and so is the round of repair that does it');
seen("SELECT copies < $copies AND done > 0 FROM difs.drain_progress", 'it gets on');
seen("SELECT copied > 0 AND running FROM difs.repair_progress", '  and copies are counted while it runs');
set('difs.repair_rate', '0');
ok( DifsCluster::poll_until(
		sub { $cluster->sql('SELECT difs_repair()'); return $cluster->sql("SELECT state FROM difs.servers WHERE name = '$first'") eq 'drained' }, 60),
	'until it is done');
is($cluster->sql('SELECT count(*) FROM difs.drain_progress'), 0, '  and gone from the view');
is($cluster->sql("SELECT running, phase FROM difs.stat_keeper WHERE duty = 'repair'"), 'f|', '  a round that has ended is in no phase');
$cluster->sql("SELECT difs_server_drain('$first', undo => true)");

# The scrub.
set('difs.scrub_rate', '4MB');
my $scrub = in_background('SELECT difs_scrub_all()');
seen('SELECT running AND groups_total > 1 FROM difs.scrub_progress', 'the scrub is seen');
seen('SELECT running AND groups_done > 0 AND groups_done < groups_total FROM difs.scrub_progress', '  and gets on');
set('difs.scrub_rate', '0');
seen('SELECT NOT running AND groups_done = groups_total FROM difs.scrub_progress', '  to its end');
$scrub->quit;

# Collection: a server that is silent holds it up.
$cluster->sql("SELECT difs_delete('two:/f1')");
$cluster->server(1)->signal('STOP');
my $collect = in_background('SELECT * FROM difs_collect()');
seen("SELECT running AND phase = 'deleted content' FROM difs.collection_progress", 'collection is seen, and its phase');
seen("SELECT running AND phase = 'deleted content' FROM difs.stat_keeper WHERE duty = 'collect'", '  in stat_keeper, too');
$cluster->server(1)->signal('CONT');
$cluster->wait_until_alive;
$collect->quit;
ok( DifsCluster::poll_until(
		sub { $cluster->sql('SELECT difs_collect()'); return $cluster->sql('SELECT count(*) FROM difs.doomed') eq '0' }, 60),
	'it is done at the end');
is($cluster->sql("SELECT running, phase IS NULL, outcome, problem IS NULL FROM difs.collection_progress"), 'f|t|done|t', '  and the view says how it ended');
$cluster->sql("SELECT difs_delete('two:/f2')");
my $counts = $cluster->sql('SELECT doomed, segments, orphans, groups, bytes FROM difs_collect()');
is($cluster->sql('SELECT doomed, segments, orphans, groups, bytes FROM difs.collection_progress'), $counts, "  with the counts of the round: $counts");
like($counts, qr/^1\|30\|/, '  which are not zero');

# Pull insert.
my $http = DifsHttp->new($cluster->dir);
set('difs.insert_private_addresses', 'on');
my $process = $cluster->sql(sprintf "SELECT difs_insert('two:/pulled', '%s')", $http->url("/gate/@{[ 4 * $MIB ]}"));
seen("SELECT state = 'in progress' AND bytes > 0 AND bytes < total_bytes FROM difs.inserts WHERE process = $process", 'an insert is seen');
$http->open_gate;
seen("SELECT state = 'done' AND bytes = 4 * $MIB FROM difs.inserts WHERE process = $process", '  to its end');

# Views that are asked about one file, one volume or one server find it by index: no sequential scan of a table that grows with what is stored.
my @large = qw(inode dentry version manifest block_group doomed file_policy expiring discarded usage journal lock missing scrub staging inventory);
$cluster->sql("SELECT difs_put('main:/d/f' || n, 'x', parents => true) FROM generate_series(1, 300) n", 'ANALYZE');
sub scanned
{
	my ($query) = @_;
	my $plan = $cluster->sql('SET enable_seqscan = off', "EXPLAIN $query");
	return join ' ', grep { $plan =~ /Seq Scan on $_\b/ } @large;
}
is(scanned('SELECT * FROM difs.manifest WHERE length = 5'), 'manifest', 'control: a query that no index helps is noticed');
foreach my $query (
	"SELECT * FROM difs.file_policies WHERE ino = 20",
	"SELECT * FROM difs.trash WHERE id = 3",
	"SELECT * FROM difs.volumes WHERE name = 'two'",
	"SELECT * FROM difs.block_groups WHERE id = 7",
	"SELECT * FROM difs.missing_copies WHERE block_group = 7",
	"SELECT * FROM difs.inserts WHERE process = 3",
	"SELECT * FROM difs.uploads WHERE upload = 3",
	"SELECT * FROM difs.stat_volumes WHERE name = 'two'",
	"SELECT * FROM difs.quotas WHERE path = 'two:/'",
	"SELECT * FROM difs.locks WHERE path = 'two:/f1'",
	"SELECT difs_stat('two:/f1')")
{
	is(scanned($query), '', $query);
}

$cluster->stop;
done_testing();
