# Forged, replayed, superseded, foreign and malformed frames and greetings: none is obeyed, and the next honest client is served.
#
# DIFS_HOSTILE_FRAMES frames (default 100,000), DIFS_HOSTILE_SEED.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsFaults;
use Test::More;

my $frames = $ENV{DIFS_HOSTILE_FRAMES} // 100_000;
my $seed = $ENV{DIFS_HOSTILE_SEED} // 11;
my $run = DifsFaults->new('hostile');

# (whether something was obeyed, lines)
sub attack
{
	my ($count, @armed) = @_;
	$run->reset;
	$run->arm(@armed);
	$run->start or die 'difsd does not start';
	my @lines = $run->tool('hostile', $run->{port}, "$run->{directory}/key", $count, $seed);
	my $alive = !$run->ended;
	my $status = $run->end('TERM');
	return ($lines[-1] // '', $alive && $status == 0, @lines);
}

my ($result, $fine, @lines) = attack($frames);
note($_) foreach @lines;
like($result, qr/^\d+ frames, 0 obeyed, 0 hung, the honest client is served$/, "$frames hostile frames: $result");
ok($fine, 'the server has gone on, and ends when it is asked to');
is(scalar(grep { /was answered|no challenge/ } @lines), 0, 'each refusal is the right one');

# The controls: with a check left out, the same frames are obeyed.
foreach my $safety ('chunkd.greeting.proof', 'chunkd.request.epoch', 'chunkd.put.checksum')
{
	($result) = attack(1500, "$safety skip");
	unlike($result, qr/ 0 obeyed/, "control: without $safety: $result");
	ok($run->hit($safety), 'which was left out');
}

done_testing();
