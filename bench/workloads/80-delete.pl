# Deleting large and small files in turn, until COMMIT returns. The large ones are those that were put first of all.
package Workload::delete;
use strict;
use warnings;

my $warm = 4;

sub run
{
	my ($bench) = @_;
	my $numbers = $bench->{large_numbers} or return;
	my @large = @{ $numbers->{difs} };
	my $what = Bench::Report::size_text($bench->{large});
	make_files($bench, @large);
	my $figures = $bench->load('difs', operation => 'delete', directory => 'delete', first => 1, warm => $warm,
		objects => $warm + 2 * @large, count => 2 * @large);
	my @latencies = split /,/, $figures->{latencies};
	my @small = map { { p50 => $latencies[ 2 * $_ ] } } 0 .. $#large;
	my @big = map { { p50 => $latencies[ 2 * $_ + 1 ] } } 0 .. $#large;
	$bench->claim("delete of a $what file, until COMMIT returns", 'delete of a 4 KiB file', \@big, \@small,
		figure => 'p50', unit => 'us', at => 'most', target => 1.5);
	my $lo = $bench->load('lo', operation => 'delete', first => $numbers->{lo}[-1], objects => 1, count => 1);
	$bench->fact("lo_unlink of $what, without the VACUUM that it needs", sprintf '%.0f ms', $lo->{longest} / 1000);
}

# Numbers 1, 2, …: some small ones to warm up, then small, large, small, large.
sub make_files
{
	my ($bench, @large) = @_;
	my $name = sub { sprintf 'one:/delete/%016d', $_[0] };
	$bench->sql("SELECT difs_mkdir('one:/delete')");
	for my $small (1 .. $warm, map { $warm + 1 + 2 * $_ } 0 .. $#large)
	{
		$bench->sql(sprintf q(SELECT difs_put('%s', decode(repeat('5a', 4096), 'hex'))), $name->($small));
	}
	for my $i (0 .. $#large)
	{
		$bench->sql(sprintf q(SELECT difs_rename('one:/objects/%016d', '%s')), $large[$i], $name->($warm + 2 + 2 * $i));
	}
}

1;
