# PostgreSQL servers beside the one of a DifsCluster: standbys, and servers that start their chunk servers themselves.
#
#	my $standby = DifsNode::standby_of($primary, 'read_standby', "hot_standby_feedback = off\n");
#	my $node = DifsNode::with_embedded('embedded', "difs.key_file = '$key_file'\n", init => {allows_streaming => 1});
#
# They run. The caller stops them, or they stop at the end of the test.

package DifsNode;

use strict;
use warnings;

use DifsCluster;
use PostgreSQL::Test::Cluster;

# A hot standby that streams from $primary, made of a base backup taken now; it may be behind.
sub standby_of
{
	my ($primary, $name, $conf) = @_;
	$primary->backup("for_$name");
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$standby->init_from_backup($primary, "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', $conf // '');
	$standby->start;
	return $standby;
}

# A server with two embedded chunk servers; init: what goes to PostgreSQL::Test::Cluster::init().
sub with_embedded
{
	my ($name, $conf, %with) = @_;
	my $program = DifsCluster::Server::program();
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%{ $with{init} // {} });
	$node->append_conf('postgresql.conf', <<"CONF" . ($conf // ''));
shared_preload_libraries = 'difs'
difs.local_servers = 2
difs.server_program = '$program'
difs.health_interval = '200ms'
difs.cache_size = 0
difs.block_group_size = '16MB'
max_worker_processes = 16
CONF
	$node->start;
	return $node;
}

1;
