# Statistics.pm - medians, ranges, and ratios of what was measured in turn.
package Bench::Statistics;
use strict;
use warnings;
use List::Util qw(min max);

sub median
{
	my @sorted = sort { $a <=> $b } grep { defined } @_;
	return undef unless @sorted;
	my $middle = int(@sorted / 2);
	return @sorted % 2 ? $sorted[$middle] : ($sorted[ $middle - 1 ] + $sorted[$middle]) / 2;
}

# {median, min, max}
sub summary
{
	my @values = grep { defined } @_;
	return undef unless @values;
	return { median => median(@values), min => min(@values), max => max(@values) };
}

# The n-th of one divided by the n-th of the other: both were measured right after each other, so what the machine did meanwhile
# hits both.
sub ratios
{
	my ($ours, $theirs) = @_;
	my $pairs = min(scalar @$ours, scalar @$theirs);
	return summary(map { $theirs->[$_] ? $ours->[$_] / $theirs->[$_] : undef } 0 .. $pairs - 1);
}

1;
