# difs is interrupted at random moments: SIGINT, kill -9, a chunk server killed, the database server killed, the network cut: connections to
# all chunk servers are reset, and for a second there are no new ones, or the one to the database is. There is never a half-visible file, neither in the database nor locally; what is tried again succeeds, and digests match.
#
#	DIFS_ROUNDS	number of moments (15; 100 at full length)
#	DIFS_SEED	of the random moments (printed)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use DifsProxy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $rounds = $ENV{DIFS_ROUNDS} // 15;
my $seed = $ENV{DIFS_SEED} // int(rand(1 << 31));
srand $seed;
note "DIFS_SEED=$seed";

my $cluster = DifsCluster->new('interrupted', servers => 3, add => 0, conf => "difs.server_timeout = '10s'\nautovacuum = off\n");
my $difs = DifsCommand->new($cluster);
my $dir = $cluster->dir;
my @proxies = map { DifsProxy->new($_->port) } $cluster->servers;
$cluster->sql(sprintf q{SELECT difs_server_add('%s', '127.0.0.1', %d)}, $cluster->server($_)->name, $proxies[$_]->port) for 0 .. 2;
$cluster->wait_until_alive;
$cluster->sql(q{SELECT difs_volume_create('two', replicas => 2)});

mkdir "$dir/tree";
mkdir "$dir/tree/d$_" for 0 .. 4;
$cluster->write_file(sprintf('tree/d%d/f%d', $_ % 5, $_), DifsCluster::random_bytes(100 + $_ * 13, $_)) for 1 .. 400;
$cluster->write_file("tree/large$_", DifsCluster::random_bytes(25_000_000, "large $_")) for 1 .. 3;
my %digest;
my $tree = DifsCommand::survey("$dir/tree");
$digest{$_} = (split / /, $tree->{$_})[3] for grep { $tree->{$_} =~ /^f/ } keys %$tree;

# how long it takes without
my $began = time;
$difs->done('put', '-r', "$dir/tree", 'two:/whole');
my $put_s = time - $began;
$began = time;
$difs->done('get', '-r', 'two:/whole', "$dir/whole");
my $get_s = time - $began;
is_deeply(DifsCommand::survey("$dir/whole"), $tree, 'undisturbed');

my %did;
foreach my $round (1 .. $rounds)
{
	my $what = (qw(INT KILL chunk database network))[ $round % 5 ];
	my $putting = int($round / 5) % 2 == 0;
	my $after = rand($putting ? $put_s : $get_s);
	my @command = $putting ? ('put', '-rT', $round % 3 ? '--resume' : '-v', "$dir/tree", "two:/r$round") : ('get', '-rT', 'two:/whole', "$dir/r$round");
	my $handle = $difs->start(@command);
	usleep($after * 1e6);
	my $server = $cluster->server($round % 3);
	if ($what eq 'chunk') { $server->kill; }
	elsif ($what eq 'database') { $cluster->node->stop('immediate'); }
	elsif ($what eq 'network') { cut_network($round); }
	else { kill $what, $handle->{KIDS}[0]{PID}; }
	$handle->finish;
	my $status = $handle->full_result(0);
	$did{$what}{ $status == 0 ? 'done' : 'interrupted' }++;
	$server->start if $what eq 'chunk';
	$cluster->node->start if $what eq 'database';
	$_->clear foreach @proxies;
	$cluster->wait_until_alive;

	# what is there is whole
	my $there = $putting ? "$dir/r$round-seen" : "$dir/r$round";
	if ($putting && $cluster->sql("SELECT difs_exists('two:/r$round')") eq 't')
	{
		$difs->done('get', '-r', "two:/r$round", $there);
	}
	my $seen = -d $there ? DifsCommand::survey($there) : {};
	my @bad = grep { $seen->{$_} =~ /^f/ && $_ !~ m{/\.difs-get-[^/]*$} && (!exists $digest{$_} || (split / /, $seen->{$_})[3] ne $digest{$_}) } keys %$seen;
	is_deeply(\@bad, [], sprintf('round %d: %s after %.2f s of %s: no half file', $round, $what, $after, $command[0]));

	# and again
	my ($code, $out, $err) = $difs->run(@command);
	is($code, 0, 'the same again succeeds') or diag $err;
	$difs->done('get', '-rT', "two:/r$round", "$dir/r$round") if $putting;
	my $now = DifsCommand::survey("$dir/r$round");
	delete @$now{ grep { m{/\.difs-get-[^/]*$} } keys %$now };
	is_deeply($now, $tree, 'and all is there');
	$cluster->sql("SELECT difs_delete('two:/r$round', recursive => true)") if $putting;
	system('rm', '-rf', "$dir/r$round", "$dir/r$round-seen");
}
note explain \%did;
ok($did{network}, 'the network was cut');
$cluster->sql(q{SELECT difs_upload_cancel(upload) FROM difs.uploads});
is_deeply([ $cluster->left_behind ], [], 'nothing is left behind on servers');
$cluster->stop;
done_testing();

# To the chunk servers, for the database as well; or between the command and the database.
sub cut_network
{
	my ($number) = @_;
	if (int($number / 5) % 3 == 2)
	{
		$cluster->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()});
		return;
	}
	$_->set(reset => 1, refuse => 1) foreach @proxies;
	usleep(1e6);
	$_->clear foreach @proxies;
	return;
}
