# measure.pl - runs the workloads in order and writes the report.  Started by bench/run, which has started all servers.
use strict;
use warnings;
use List::Util qw(sum);
use Bench;
use Bench::Plot;
use Bench::Report;

# How the time is shared, roughly as the workloads need it on an idle machine.  On a busy one this keeps a slow workload from taking the
# others' time.
my %parts = (large => 60, value => 20, mebibyte => 30, small => 50, get => 60, metadata => 60, command => 75, moosefs => 15, matrix => 60);

$| = 1;
my $bench = Bench->new(directory => $ENV{BENCH_DIRECTORY}, form => $ENV{BENCH_FORM});
my @workloads = map { [ $_, m{([a-z]+)\.pl$} ] } sort glob 'bench/workloads/*.pl';
@workloads = grep { $_->[1] =~ /^($ENV{BENCH_ONLY})$/ } @workloads if defined $ENV{BENCH_ONLY};
@workloads = grep { $_->[1] ne 'matrix' } @workloads if $ENV{BENCH_FORM} eq 'quick';
$bench->prepare;
while (my $workload = shift @workloads)
{
	my ($file, $name) = @$workload;
	my $part = $parts{$name} // 5;
	$bench->give_time($part / sum($part, map { $parts{ $_->[1] } // 5 } @workloads));
	$bench->say(sprintf '%-12s after %4d s', $name, $bench->elapsed);
	require "./$file";
	"Workload::$name"->can('run')->($bench);
	$bench->tidy;
}
Bench::Report::write_all($bench);
Bench::Plot::write_all($bench);
