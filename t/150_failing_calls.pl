# Each system call of the chunk server fails once, the n-th time, for every n: in start-up, group creation, put, get, verify, delete,
# seal, compaction and drop, and after a restart on what the first run left.  After each: a clean start, and everything that was
# acknowledged is as it was acknowledged, and nothing wrong is returned; and a failed sync or write has been told to somebody.
#
# By default a sample, the same each time; DIFS_CALLS_SAMPLE=0 takes all, DIFS_CALLS_SEED another sample.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsFaults;
use Test::More;

my $sample = $ENV{DIFS_CALLS_SAMPLE} // 90;
my $seed = $ENV{DIFS_CALLS_SEED} // 7;
srand($seed);

# how each call can fail; what is not listed fails with EIO and kills
my %ways = (
	pwritev => [qw(EIO ENOSPC EINTR short kill)],
	pread => [qw(EIO EINTR short kill)],
	preadv2 => [qw(EIO EINTR short kill)],
	openat => [qw(EIO EMFILE ENOSPC kill)],
	open => [qw(EIO EMFILE kill)],
	ftruncate => [qw(EIO ENOSPC kill)],
	fallocate => [qw(EIO ENOSPC EINTR kill)],
	fsync => [qw(EIO ENOSPC kill)],
	fdatasync => [qw(EIO ENOSPC kill)],
	mmap => [qw(ENOMEM)],
	send => [qw(ECONNRESET EINTR short kill)],
	receive => [qw(ECONNRESET EINTR short kill)],
	flock => [qw(EINTR EIO kill)],
);
my %must_be_told = map { $_ => 1 } qw(pwritev fsync fdatasync renameat);

my $run = DifsFaults->new('calls');

# Calls of the two phases, counted: all from an empty directory on, and on a data directory with one of each kind of group.
sub phase_begin
{
	my ($phase) = @_;
	$phase == 1 ? $run->reset : $run->restore('first');
	return;
}

sub phase_steps
{
	my ($phase) = @_;
	return $phase == 1 ? (0, $run->restart_step) : ($run->restart_step, $run->steps);
}

my @counts;
foreach my $phase (1, 2)
{
	phase_begin($phase);
	ok($run->start(count => 1), "phase $phase: difsd starts with calls counted");
	is_deeply([ $run->exercise(phase_steps($phase)) ], [], 'its exercise is right');
	is($run->end('TERM'), 0, 'and it ends');
	$counts[$phase] = $run->call_counts;
	is(scalar(grep { !/ 0$/ } split /\n/, DifsFaults::slurp($run->journal)), 0, 'every step is acknowledged');
	next if $phase == 2;
	# a torn tail and what crashes leave behind, for the second phase to clean up
	my ($cluster) = glob($run->data . '/0101*');
	open(my $tail, '>>', "$cluster/0000000000000004.group") or die $!;
	print $tail 'torn' x 1000;
	close($tail);
	foreach my $name ('0000000000000009.group.tmp', '0000000000000002.group.new', '0000000000000009.index')
	{
		open(my $left, '>', "$cluster/$name") or die $!;
		close($left);
	}
	$run->save('first');
}
note('phase 1: ' . join(', ', map { "$_ $counts[1]{$_}" } sort keys %{ $counts[1] }));
note('phase 2: ' . join(', ', map { "$_ $counts[2]{$_}" } sort keys %{ $counts[2] }));

my @cases;
foreach my $phase (1, 2)
{
	foreach my $call (sort keys %{ $counts[$phase] })
	{
		foreach my $way (@{ $ways{$call} // [qw(EIO kill)] })
		{
			push @cases, map { [ $phase, $call, $_, $way ] } 1 .. $counts[$phase]{$call};
		}
	}
}
my $all = @cases;
if ($sample > 0 && $sample < @cases)
{
	# every rename that fails, as what is on disk changes there; of the rest, half are syncs and writes that fail
	my @renames = grep { $_->[1] eq 'renameat' && $_->[3] eq 'EIO' } @cases;
	my @heart = grep { $must_be_told{ $_->[1] } && $_->[3] ne 'kill' } @cases;
	@cases = (@renames, map { $_->[rand @$_] } ((\@heart) x ($sample / 2), (\@cases) x ($sample / 2)));
}

# (what is wrong: lines) of one case
sub fail_once
{
	my ($phase, $call, $number, $way) = @_;
	phase_begin($phase);
	my @wrong;
	if ($run->start(fail => "$call $number $way"))
	{
		push @wrong, $run->exercise(phase_steps($phase));
	}
	elsif ($run->{status} != 9 && ($run->{status} & 127 || DifsFaults::slurp($run->log) !~ /could not|cannot/))
	{
		push @wrong, "difsd ended with status $run->{status} and did not say why";
	}
	my $ended = $run->ended;
	push @wrong, "difsd ended with status $run->{status}" if $ended && $run->{status} & 127 && $run->{status} != 9;
	push @wrong, 'a failed call was told to nobody'
	  if $must_be_told{$call} && $way ne 'EINTR' && $way ne 'short' && $way ne 'kill' && $run->calls_hit && !$run->told;
	$run->end('KILL');
	if ($run->start)
	{
		push @wrong, $run->check;
	}
	else
	{
		push @wrong, 'difsd does not start any more: ' . (split /\n/, DifsFaults::slurp($run->log))[-1];
	}
	$run->end('KILL');
	return @wrong;
}

my ($hits, $false) = (0, 0);
foreach my $case (@cases)
{
	my @wrong = fail_once(@$case);
	$hits++ if $run->calls_hit;
	$false++ if @wrong;
	fail("phase $case->[0], $case->[1] number $case->[2], $case->[3]: " . join('; ', @wrong)) if @wrong;
}
is($false, 0, scalar(@cases) . " cases of $all: 0 false acknowledgements, 0 wrong bytes");
cmp_ok($hits, '>=', 0.9 * @cases, "$hits of them came to the call that fails");
note(scalar(@cases) . " cases of $all, $hits hit, $false wrong, seed $seed");

# The control: a server that takes a failed sync for a good one is found out.
my $noticed = 0;
my $syncs = $counts[1]{fdatasync};
foreach my $number (1 .. $syncs)
{
	phase_begin(1);
	$run->arm('chunkd.sync.result skip');
	$run->start(fail => "fdatasync $number EIO") or die 'difsd does not start';
	$run->exercise(phase_steps(1));
	$noticed++ if $run->calls_hit && !$run->told;
	$run->end('KILL');
}
is($noticed, $syncs, "control: all $syncs syncs whose failure is ignored are noticed");

done_testing();
