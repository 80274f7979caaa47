# The disk of one chunk server of three goes bad under a write load: it is full, read-only, or its syncs fail.  No transaction fails, others take
# over, difs.servers says of this server what is wrong with it, what is missing is made anew elsewhere, and when the disk is well again,
# so is the server, by itself.
#
# The disk is test/faults/fail_calls.c in difsd: the program sees what a kernel would tell it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time);

use DifsCluster;
use DifsLoad;
use DifsFaults;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('disks', servers => 3, conf => <<'CONF');
difs.block_group_size = '16MB'
difs.repair_interval = '500ms'
difs.server_timeout = '3s'
difs.staging = never
CONF
my $node = $cluster->node;
my $server = $cluster->server(1);
my $disk = $cluster->dir . '/disk';
my $hits = $cluster->dir . '/hits';

$server->{environment} = { LD_PRELOAD => DifsFaults::tools() . '/fail_calls.so', FAIL_DISK => $disk, FAIL_LOG => $hits };
$server->kill->start;
$cluster->wait_until_alive;

$cluster->sql(
	"SELECT difs_volume_create('two', replicas => 2, compression => 'none')",
	"SELECT difs_volume_create('three', replicas => 3, compression => 'none')");
my $load = DifsLoad->new($cluster, rate => 60);

sub disk
{
	my ($word) = @_;
	unlink $hits, "$disk.new";
	unlink $disk;
	return if $word eq 'well';
	append_to_file("$disk.new", $word);
	rename("$disk.new", $disk) or die "$disk: $!";
	return;
}

sub problems { return $cluster->sql(q{SELECT name || ': ' || problem FROM difs.servers WHERE problem IS NOT NULL}); }

sub bad_disk
{
	my ($word, $says) = @_;
	$load->start;
	$load->wait_written(30);
	is(problems(), '', 'all servers are well');
	disk($word);
	my $began = time;
	ok(DifsCluster::poll_until(sub { problems() ne '' }), "a disk is $word: difs.servers says so");
	like(problems(), qr{^/storage02: $says}, 'of this server, and no other: ' . problems());
	ok(DifsCluster::poll_until(sub { -s $hits }), 'calls do fail');
	$load->wait_written(100);
	ok(DifsCluster::poll_until(sub {
				$cluster->sql(q{SELECT count(*) FROM difs.block_groups WHERE state = 'open' AND replicas = 2 AND '/storage02' = ANY (members)}) == 0;
			}), 'others take over: it has no open block groups');
	note(sprintf 'after %.1f s', time - $began);
	is($load->stop, 0, 'no transaction has failed');
	$load->all_right("a disk is $word");
	# a copy that is whole may wait for room to be sealed
	ok(DifsCluster::poll_until(sub {
				$cluster->sql('SELECT difs_repair()');
				return $cluster->sql(q{SELECT count(*) FROM difs.missing WHERE reason <> 'away'}) == 0;
			}, 20), 'nothing is missing') or diag($cluster->sql('SELECT * FROM difs.missing_copies'));
	$load->all_right('after repair');

	# the control: where no other can take over, the put fails, and says why
	my ($state, $message) = $cluster->sql_fails("SELECT difs_put('three:/$word', content(1))");
	like($message, qr{/storage02 .*$says}, 'control: with three replicas of three servers the error says why');
	like($state, qr/^(?:53100|58030)$/, "its code is $state");

	disk('well');
	ok(DifsCluster::poll_until(sub {
				$node->psql('postgres', "SELECT difs_put('three:/$word', content(1))") == 0 && problems() eq '';
			}), 'the disk is well: the server takes part again, and difs.servers says nothing more');
	is($cluster->sql("SELECT difs_get('three:/$word') = content(1)"), 't', 'the file reads right');
	return;
}

bad_disk('full', qr/.*(?:No space left on device|full)/);
bad_disk('read-only', qr/.*Read-only file system/);
bad_disk('failing', qr/.*(?:Input\/output error|has failed)/);

# What was acknowledged meanwhile is on two good disks: the server dies, with all that it has.
my $before = $load->written;
$server->kill;
$load->all_right("without the server, $before files");
$server->start;
$cluster->wait_until_alive;
is_deeply([ $cluster->left_behind ], [], 'in the end nothing is missing, orphaned or damaged');

$cluster->stop;
done_testing();
