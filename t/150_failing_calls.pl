# Each system call of the chunk server fails once, the n-th time, for every n:
#
#	phase 1	start-up, group creation, put, get, verify, delete, seal, compaction and drop
#	phase 2	the same, after a restart on what phase 1 left
#	phase 3	repair: pulling from another server, in the place of nothing, of a damaged and of a failed copy; being pulled from;
#			mending segments, a header, an index; scrub
#
# After each: a clean start, and everything that was acknowledged is as it was acknowledged, and nothing wrong is returned; and a failed sync
# or write has been told to somebody.
#
#	DIFS_CALLS_SAMPLE	how many cases (default 100, the same each time; 0 takes all)
#	DIFS_CALLS_SEED		another sample
#	DIFS_CALLS_PHASES	of these phases (default 123)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsFaults;
use Test::More;

my $sample = $ENV{DIFS_CALLS_SAMPLE} // 100;
my $seed = $ENV{DIFS_CALLS_SEED} // 7;
my @phases = grep { ($ENV{DIFS_CALLS_PHASES} // '123') =~ /$_/ } 1 .. 3;
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
my $peer = DifsFaults->new('peer', peer_of => $run);	# in phase 3; its calls do not fail

# Phase 1 begins with an empty directory, 2 with one of each kind of group, 3 with groups to repair.
sub phase_begin
{
	my ($phase) = @_;
	$phase == 1 ? $run->reset : $run->restore($phase == 2 ? 'first' : 'damaged');
	return;
}

# What is wrong: lines.
sub phase_run
{
	my ($phase) = @_;
	return $run->repair('run', $peer) if $phase == 3;
	return $run->exercise($phase == 1 ? (0, $run->restart_step) : ($run->restart_step, $run->steps));
}

sub phase_check
{
	my ($phase) = @_;
	return $phase == 3 ? $run->repair('check', $peer) : $run->check;
}

# What a crash leaves behind, for phase 2 to clean up: a torn tail, and files that nobody has been told of.
sub leave_behind
{
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
	return;
}

$peer->start or die 'the peer does not start';
$run->start or die 'difsd does not start';
is_deeply([ $run->repair('prepare', $peer) ], [], 'groups to repair are prepared');
$run->end('TERM');
DifsFaults::touch($run->journal);
$run->save('damaged');

# Calls of each phase, counted.
my (@counts, @usual);
foreach my $phase (1 .. 3)
{
	next unless grep { $_ == $phase || $_ == 2 && $phase == 1 } @phases;
	phase_begin($phase);
	ok($run->start(count => 1), "phase $phase: difsd starts with calls counted");
	is_deeply([ phase_run($phase) ], [], 'its exercise is right');
	is($run->end('TERM'), 0, 'and it ends');
	$counts[$phase] = $run->call_counts;
	is(scalar(grep { !/ 0$/ } split /\n/, DifsFaults::slurp($run->journal)), 0, 'every step is acknowledged');
	$usual[$phase] = [ $run->complaints ];
	leave_behind() if $phase == 1;
	note("phase $phase: " . join(', ', map { "$_ $counts[$phase]{$_}" } sort keys %{ $counts[$phase] }));
}

my @cases;
foreach my $phase (@phases)
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
		push @wrong, phase_run($phase);
	}
	elsif ($run->{status} != 9 && ($run->{status} & 127 || DifsFaults::slurp($run->log) !~ /could not|cannot/))
	{
		push @wrong, "difsd ended with status $run->{status} and did not say why";
	}
	my $ended = $run->ended;
	push @wrong, "difsd ended with status $run->{status}" if $ended && $run->{status} & 127 && $run->{status} != 9;
	push @wrong, 'a failed call was told to nobody'
	  if $must_be_told{$call} && $way ne 'EINTR' && $way ne 'short' && $way ne 'kill' && $run->calls_hit && !$run->told(@{ $usual[$phase] });
	$run->end('KILL');
	if ($run->start)
	{
		push @wrong, phase_check($phase);
	}
	else
	{
		push @wrong, 'difsd does not start any more: ' . (split /\n/, DifsFaults::slurp($run->log))[-1];
	}
	$run->end('KILL');
	return @wrong;
}

my ($hits, $false) = (0, 0);
my %of_phase;
foreach my $case (@cases)
{
	my @wrong = fail_once(@$case);
	my $figures = $of_phase{ $case->[0] } //= { cases => 0, hits => 0 };
	$figures->{cases}++;
	$figures->{hits}++ if $run->calls_hit;
	$hits++ if $run->calls_hit;
	$false++ if @wrong;
	fail("phase $case->[0], $case->[1] number $case->[2], $case->[3]: " . join('; ', @wrong)) if @wrong;
}
is($false, 0, scalar(@cases) . " cases of $all: 0 false acknowledgements, 0 wrong bytes");
cmp_ok($hits, '>=', 0.9 * @cases, "$hits of them came to the call that fails");
note("phase $_: $of_phase{$_}{cases} cases, $of_phase{$_}{hits} hit") foreach sort keys %of_phase;
note(scalar(@cases) . " cases of $all, $hits hit, $false wrong, seed $seed");

# The control: a server that takes a failed sync for a good one is found out.
my ($noticed, $syncs) = (0, 0);
foreach my $phase (grep { $_ != 2 } @phases)
{
	foreach my $number (1 .. $counts[$phase]{fdatasync})
	{
		phase_begin($phase);
		$run->arm('chunkd.sync.result skip');
		$run->start(fail => "fdatasync $number EIO") or die 'difsd does not start';
		phase_run($phase);
		$syncs++;
		$noticed++ if $run->calls_hit && !$run->told(@{ $usual[$phase] });
		$run->end('KILL');
	}
}
is($noticed, $syncs, "control: all $syncs syncs whose failure is ignored are noticed");

# Another one: with a journal that acknowledges all, and a data directory where nothing is repaired, each thing is missed.
if ($counts[3])
{
	phase_begin(3);
	$run->start or die 'difsd does not start';
	phase_run(3);
	$run->end('KILL');
	my $journal = DifsFaults::slurp($run->journal);
	phase_begin(3);
	open(my $file, '>', $run->journal) or die $run->journal . ": $!";
	print $file $journal;
	close($file);
	$run->start or die 'difsd does not start';
	my $missed = join("\n", $run->repair('check', $peer));
	like($missed, qr/$_/, "control: $_ is missed") foreach 'segment 101 ', 'segment 702 ', 'segment 803 ', 'segment 202 of group 20 ', 'segment 301 ',
	  'segment 302 ', 'segment 501 ', 'segment 502 ', 'group 20 was pulled', 'group 50 was sealed', 'group 30 was mended';
	$run->end('KILL');
}

# A new file takes the place of a group's, and then the sync of the directory fails: which of the two a power cut would leave, nobody knows. So
# the group has failed, and asking again does not make a success of it.
foreach my $case ([ 1, '2', 'compacted' ], [ 3, '14', 'pulled' ])
{
	my ($phase, $group, $what) = @$case;
	my $doubtful = qr/group 0+$group could not be $what: could not sync directory/;
	my $number = 0;
	next unless $counts[$phase];
	do
	{
		phase_begin($phase);
		$run->start(fail => 'fsync ' . ++$number . ' EIO') and phase_run($phase);
		$run->end('KILL');
	} until $number == $counts[$phase]{fsync} || DifsFaults::slurp($run->log) =~ $doubtful;
	like(DifsFaults::slurp($run->log), $doubtful, "fsync number $number is of the directory, after the rename of a group that is $what");
	is(scalar(() = glob($run->data . sprintf('/0101*/%016x.failed', hex $group))), 1, 'the group has failed');
	my @pulls = DifsFaults::slurp($run->journal) =~ /^pull 20 0 0 (-?\d+)$/mg;
	is(scalar(grep { $_ == 0 } @pulls), 0, "no pull in its place is acknowledged, nor the one that follows it (@pulls)");
	ok($run->start, 'difsd starts');
	is_deeply([ phase_check($phase) ], [], 'what was there is there');
	$run->end('KILL');
}

done_testing();
