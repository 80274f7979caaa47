# difs is interrupted at random moments: SIGINT, kill -9, a chunk server killed, the database server killed. There is never a half-visible
# file, neither in the database nor locally; what is tried again succeeds, and digests match.
#
#	DIFS_ROUNDS	number of moments (12; 100 at full length)
#	DIFS_SEED	of the random moments (printed)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $rounds = $ENV{DIFS_ROUNDS} // 12;
my $seed = $ENV{DIFS_SEED} // int(rand(1 << 31));
srand $seed;
note "DIFS_SEED=$seed";

my $cluster = DifsCluster->new('interrupted', servers => 3, conf => "difs.server_timeout = '10s'\nautovacuum = off\n");
my $difs = DifsCommand->new($cluster);
my $dir = $cluster->dir;
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
	my $what = (qw(INT KILL chunk database))[ $round % 4 ];
	my $putting = int($round / 4) % 2 == 0;
	my $after = rand($putting ? $put_s : $get_s);
	my @command = $putting ? ('put', '-rT', $round % 3 ? '--resume' : '-v', "$dir/tree", "two:/r$round") : ('get', '-rT', 'two:/whole', "$dir/r$round");
	my $handle = $difs->start(@command);
	usleep($after * 1e6);
	my $server = $cluster->server($round % 3);
	if ($what eq 'chunk') { $server->kill; }
	elsif ($what eq 'database') { $cluster->node->stop('immediate'); }
	else { kill $what, $handle->{KIDS}[0]{PID}; }
	$handle->finish;
	my $status = $handle->full_result(0);
	$did{$what}{ $status == 0 ? 'done' : 'interrupted' }++;
	$server->start if $what eq 'chunk';
	$cluster->node->start if $what eq 'database';
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
$cluster->sql(q{SELECT difs_upload_cancel(upload) FROM difs.uploads});
is_deeply([ $cluster->left_behind ], [], 'nothing is left behind on servers');
$cluster->stop;
done_testing();
