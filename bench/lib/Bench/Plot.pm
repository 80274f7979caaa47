# Plot.pm - SVG plots of the figures, by gnuplot: medians, with bars from the least to the greatest.
package Bench::Plot;
use strict;
use warnings;
use Bench::Report;
use Bench::Statistics;
use Bench::Systems;

my @order = qw(difs difs-2 difs-plain lo bytea files rows moosefs);

sub points
{
	my ($cells, $name, $x, $y) = @_;
	my %best;
	for my $cell (@$cells)
	{
		my $runs = $cell->{runs}{$name} or next;
		my $summary = Bench::Statistics::summary(map { $y->($cell, $_) } @$runs);
		$best{ $x->($cell) } = [ $x->($cell), @$summary{qw(median min max)} ];
	}
	return map { $best{$_} } sort { $a <=> $b } keys %best;
}

# One plot: a line for each system that has any points.
sub plot
{
	my ($bench, $file, $title, $labels, $cells, $x, $y) = @_;
	my (@blocks, @lines);
	for my $name (@order)
	{
		my @points = points($cells, $name, $x, $y) or next;
		my $number = @blocks;
		push @blocks, join('', map { "@$_\n" } @points) . "\n\n";
		push @lines, sprintf q('$data' index %d using 1:2:3:4 with yerrorlines title '%s'), $number, Bench::Systems::get($name)->{label};
		$lines[-1] =~ s/'\$data'/\$data/;
	}
	return unless @lines;
	gnuplot("set terminal svg size 900,520\nset output '$bench->{directory}/results/$file.svg'\nset title '$title'\n"
		  . "set logscale xy\nset xlabel '$labels->[0]'\nset ylabel '$labels->[1]'\nset key outside right\nset grid\n$labels->[2]\n"
		  . '$data << END' . "\n" . join('', @blocks) . "END\nplot " . join(', ', @lines) . "\n");
}

sub gnuplot
{
	my ($script) = @_;
	open my $gnuplot, '|-', 'gnuplot' or die "gnuplot: $!";
	print $gnuplot $script;
	close $gnuplot or die "gnuplot failed\n";
}

# How far each claim is from its target: 1 and above holds.
sub plot_claims
{
	my ($bench) = @_;
	my @claims = grep { defined $_->{target} && $_->{ratio} } @{ $bench->{claims} };
	return unless @claims;
	my $row = 0;
	my $data = '';
	for my $claim (reverse @claims)
	{
		my @parts = map { $claim->{at} eq 'most' ? $claim->{target} / ($_ || 1e-9) : $_ / $claim->{target} } @{ $claim->{ratio} }{qw(median min max)};
		my ($low, $high) = sort { $a <=> $b } @parts[ 1, 2 ];
		my $label = $claim->{absolute} ? $claim->{what} : "$claim->{what} / $claim->{against}";
		$data .= sprintf "%g %d %g %g \"%s\"\n", $parts[0], $row++, $low, $high, $label;
	}
	gnuplot(sprintf "set terminal svg size 1200,%d noenhanced\nset output '%s/results/claims.svg'\n"
		  . "set title 'median ratio as a multiple of its target; right of 1 it holds'\nset lmargin at screen 0.6\nset rmargin at screen 0.97\nset logscale x\nset grid x\nunset key\n"
		  . "set yrange [-1:%d]\nset arrow from 1, graph 0 to 1, graph 1 nohead lw 2\nset ytics font ',9'\n\$data << END\n%sEND\n"
		  . "plot \$data using 1:2:3:4:ytic(5) with xerrorbars pt 7\n", 120 + 22 * $row, $bench->{directory}, $row, $data);
}

sub write_all
{
	my ($bench) = @_;
	my $size = sub { $_[0]{size} };
	my $clients = sub { $_[0]{clients} };
	my $megabytes = sub { $_[1]{bytes_rate} / 1e6 };
	my $rate = sub { $_[1]{rate} };
	my $sizes = "set xtics ('1 KiB' 1024, '4 KiB' 4096, '64 KiB' 65536, '1 MiB' 1048576, '16 MiB' 16777216)";
	for my $workload (qw(put get))
	{
		my @cells = grep { $_->{workload} eq $workload } @{ $bench->{cells} };
		for my $number (1, 8, 32)
		{
			my @some = grep { $_->{clients} == $number } @cells;
			next if keys %{ { map { $_->{size} => 1 } @some } } < 2;
			plot($bench, "$workload-by-size-$number", "$workload, " . Bench::Report::clients_text($number), [ 'size', 'MB/s', $sizes ],
				\@some, $size, $megabytes);
		}
		plot($bench, "$workload-4k-by-clients", "$workload of 4 KiB files", [ 'clients', 'operations a second', "set xtics (1, 8, 32)\nset xrange [0.8:40]" ],
			[ grep { $_->{size} == 4096 } @cells ], $clients, $rate);
	}
	plot_claims($bench);
}

1;
