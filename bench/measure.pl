# measure.pl - runs the workloads in order and writes the report.  Started by bench/run, which has started all servers.
use strict;
use warnings;
use Bench;
use Bench::Plot;
use Bench::Report;

$| = 1;
my $bench = Bench->new(directory => $ENV{BENCH_DIRECTORY}, form => $ENV{BENCH_FORM});
$bench->prepare;
for my $file (sort glob 'bench/workloads/*.pl')
{
	next if defined $ENV{BENCH_ONLY} && $file !~ /$ENV{BENCH_ONLY}/;
	require "./$file";
	my ($name) = $file =~ m{([a-z]+)\.pl$};
	$bench->say(sprintf "%-12s after %4d s", $name, $bench->elapsed);
	"Workload::$name"->can("run")->($bench);
}
Bench::Report::write_all($bench);
Bench::Plot::write_all($bench);
