# Every size with every number of clients, put and get; only in the full form. A run is bounded in bytes as well as in time, because
# what large files leave stays until the end.
package Workload::matrix;
use strict;
use warnings;

my $mebibyte = 1024 * 1024;
my $run_bytes = 128 * $mebibyte;

sub run
{
	my ($bench) = @_;
	for my $size (1024, 4096, 65536, $mebibyte, 16 * $mebibyte)
	{
		my $objects = List::Util::max(4, List::Util::min($bench->{objects} / 5, $run_bytes / 2 / $size));
		my @get = (qw(difs lo bytea files), $bench->{has_cache} ? 'difs-plain' : ());
		my %first = map { $_ => $bench->populate($_, size => $size, count => $objects) } @get;
		for my $clients (1, 8, 32)
		{
			my %common = (size => $size, clients => $clients, repetitions => List::Util::min(3, $bench->{repetitions}),
				seconds => $bench->{seconds} / 2, warm => 1);
			$bench->compare(workload => 'put', %common, operation => 'put', both => 1,
				count => List::Util::max(2 * $clients, int($run_bytes / $size)), systems => [qw(difs lo difs-2 bytea files)]);
			$bench->compare(workload => 'get', %common, operation => 'get', objects => $objects,
				systems => [ map { { name => $_, first => $first{$_} } } @get ]);
		}
		system('find', "$bench->{directory}/files/objects", '-type', 'f', '-size', '+' . ($mebibyte - 1) . 'c', '-delete') if $size >= $mebibyte;
	}
	return;
}

1;
