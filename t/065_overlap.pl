# A transaction's puts overlap and wait once: a thousand of them take few syncs at the server, while a thousand transactions take one each.
# And the memory tier: the whole store in RAM, which syncs nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('overlap', servers => 1);
my $node = $cluster->node;
my $count = 1000;

# (puts, syncs) of the server once it has counted so many more puts
sub counters
{
	my ($server, $puts) = @_;
	$node->poll_query_until('postgres', "SELECT puts >= $puts FROM difs.servers WHERE name = '$server'")
	  or die "the server has not seen $puts puts";
	return split /\|/, $cluster->sql("SELECT puts, syncs FROM difs.servers WHERE name = '$server'");
}

my ($puts, $syncs) = counters('/storage01', 0);
my $script = $cluster->write_file('one.sql',
	join('', "BEGIN;\n", (map { "SELECT difs_put('/one/$_', 'content $_', parents => true);\n" } 1 .. $count), "COMMIT;\n"));
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
	"$count puts in one transaction");
my ($puts_one, $syncs_one) = counters('/storage01', $puts + $count);
$script = $cluster->write_file('many.sql',
	join('', (map { "SELECT difs_put('/many/$_', 'content $_', parents => true);\n" } 1 .. $count)));
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
	"$count puts in as many transactions");
my ($puts_many, $syncs_many) = counters('/storage01', $puts_one + $count);

$syncs_many -= $syncs_one;
$syncs_one -= $syncs;
cmp_ok($syncs_many, '>=', $count, "control: one sync for each transaction ($syncs_many)");
cmp_ok($syncs_one, '<', $count * 0.7, "one transaction: its puts share syncs ($syncs_one)");

# memory tier
my $memory = DifsCluster::Server->new($cluster, '/memory01', '--tier', 'memory');
push @{ $cluster->{servers} }, $memory;
$memory->start;
$cluster->sql("SELECT difs_server_add('/memory01', '127.0.0.1', " . $memory->port . ", tier => 'memory')",
	q{SELECT difs_volume_create('ram', tier => 'memory')});
$cluster->wait_until_alive;
$cluster->sql(q{SELECT count(difs_put('ram:/' || i, convert_to('in memory ' || i, 'UTF8'))) FROM generate_series(1, 100) i});
is($cluster->sql(q{SELECT count(*) FROM generate_series(1, 100) i WHERE difs_get('ram:/' || i) = convert_to('in memory ' || i, 'UTF8')}),
	'100', 'memory tier: what was put is read');
my (undef, $memory_syncs) = counters('/memory01', 100);
is($memory_syncs, '0', 'memory tier: no sync');
is($cluster->sql(q{SELECT DISTINCT members FROM difs.block_groups WHERE tier = 'memory'}), '{/memory01}', 'memory tier: its servers only');
my @files = map { glob("$_/*/*.group") } $memory->{data};
is(scalar(@files), 0, 'memory tier: no file on disk');

$cluster->stop;
done_testing();
