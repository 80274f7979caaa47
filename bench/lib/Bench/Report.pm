# Report.pm - the figures as text, as JSON, and as the table for README.
package Bench::Report;
use strict;
use warnings;
use JSON::PP ();
use List::Util qw(max);
use POSIX ();
use Bench::Statistics;
use Bench::Systems;

my $begin = '<!-- bench: begin; the output of make bench -->';
my $end = '<!-- bench: end -->';

# Published by JuiceFS's authors, microseconds an operation: another machine, and not measured here.
my %juicefs = (create => 844, stat => 350, rename => 1478, unlink => 1280, list => 18414);

sub size_text
{
	my ($bytes) = @_;
	return sprintf '%.3g GiB', $bytes / 2**30 if $bytes >= 2**30;
	return sprintf '%.3g MiB', $bytes / 2**20 if $bytes >= 2**20;
	return sprintf '%.3g KiB', $bytes / 1024;
}

sub clients_text { return $_[0] == 1 ? '1 client' : "$_[0] clients" }

# Three significant digits, without an exponent.
sub number
{
	my ($value) = @_;
	return '-' unless defined $value;
	return '0' if $value == 0;
	my $digits = 2 - POSIX::floor(POSIX::log10(abs $value));
	my $text = $digits >= 0 ? sprintf "%.${digits}f", $value : sprintf '%.0f', $value;
	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub claim_cells
{
	my ($claim) = @_;
	my $figure = sub { $_[0] ? number($_[0]{median} / $claim->{scale}) . ($claim->{unit} ? " $claim->{unit}" : '') : '-' };
	my $ratio = $claim->{ratio};
	my $range = !$ratio ? '-' : $claim->{absolute} ? number($ratio->{median})
		: sprintf '%s (%s-%s)', map { number($ratio->{$_}) } qw(median min max);
	my $target = !defined $claim->{target} ? '' : ($claim->{at} eq 'most' ? 'at most ' : 'at least ') . $claim->{target};
	my $holds = defined $claim->{holds} ? ($claim->{holds} ? 'yes' : '**no**') : $target ? 'not measured' : '';
	$holds .= ": $claim->{note}" if defined $claim->{note} && $target;
	return ($claim->{what}, $claim->{against}, $figure->($claim->{ours}), $figure->($claim->{theirs}), $range, $target, $holds);
}

my @claim_titles = ('what', 'against', 'difs', 'the other', 'ratio (min-max)', 'target', 'holds');

# Columns as wide as their widest cell; the first ones to the left, the others to the right.
sub table
{
	my ($left, @rows) = @_;
	my @widths;
	for my $row (@rows) { $widths[$_] = max($widths[$_] // 0, length($row->[$_] // '')) for 0 .. $#$row }
	my $text = '';
	for my $row (@rows)
	{
		my $line = join '  ', map { sprintf $_ < $left ? "%-$widths[$_]s" : "%$widths[$_]s", $row->[$_] // '' } 0 .. $#widths;
		$line =~ s/ +$//;
		$text .= "$line\n";
	}
	return "$text\n";
}

sub markdown
{
	my (@rows) = @_;
	my $titles = shift @rows;
	return join '', map { '| ' . join(' | ', @$_) . " |\n" } $titles, [ map { '---' } @$titles ], @rows;
}

sub cell_rows
{
	my ($bench) = @_;
	my @rows = ([ 'workload', 'size', 'clients', 'system', 'ops/s', 'MB/s', 'min-max', 'p50 us', 'p95 us', 'p99 us', 'CPU us/op',
			'WAL/op', 'WAL/byte', 'peak MiB', 'of lo' ]);
	for my $cell (@{ $bench->{cells} })
	{
		my $runs = $cell->{runs};
		for my $name (sort { ($a =~ /^difs/ ? 0 : 1) <=> ($b =~ /^difs/ ? 0 : 1) || $a cmp $b } keys %$runs)
		{
			push @rows, [ $cell->{workload} . ($cell->{mode} ? ", $cell->{mode}" : ''), $cell->{size} ? size_text($cell->{size}) : '',
				$cell->{clients} // 1, $name, run_figures($cell, $runs->{$name}, $runs->{lo} // $runs->{rows}) ];
		}
	}
	return @rows;
}

sub run_figures
{
	my ($cell, $runs, $reference) = @_;
	my $median = sub { my ($figure) = @_; return Bench::Statistics::median(map { $_->{$figure} } @$runs) };
	my $rate = Bench::Statistics::summary(map { $_->{rate} } @$runs);
	my $scale = $cell->{size} ? $cell->{size} / 1e6 : 1;
	my $large = $cell->{size} && $cell->{size} >= 2**20;
	my $ratio = $reference && Bench::Statistics::ratios([ map { $_->{rate} } @$runs ], [ map { $_->{rate} } @$reference ]);
	return (number($rate->{median}), $cell->{size} ? number($rate->{median} * $scale) : '',
		join('-', map { number($rate->{$_} * ($large ? $scale : 1)) } qw(min max)),
		(map { sprintf '%.0f', $median->($_) } qw(p50 p95 p99)), sprintf('%.0f', $median->('cpu') * 1e6), number($median->("wal_each")),
		number($median->('wal_ratio')), sprintf('%.0f', $median->('peak') / 2**20), $ratio ? number($ratio->{median}) : '');
}

sub space_rows
{
	my ($bench) = @_;
	return ([ 'what', 'system', 'WAL bytes', 'database bytes', 'server bytes' ],
		map { [ $_->{what}, $_->{system}, map { number($_) } @$_{qw(wal database servers)} ] } @{ $bench->{space} // [] });
}

sub juicefs_rows
{
	my ($bench) = @_;
	my @rows = ([ 'operation, 1 client, us', 'difs, p50', 'JuiceFS on PostgreSQL 15.3 (from elsewhere, another machine)' ]);
	for my $operation (qw(create stat rename unlink list))
	{
		my $runs = $bench->{juicefs}{$operation} or next;
		push @rows, [ $operation eq 'list' ? 'list of 1,000' : $operation,
			sprintf('%.0f', Bench::Statistics::median(map { $_->{p50} } @$runs)), $juicefs{$operation} ];
	}
	return @rows;
}

sub durable_rows
{
	my ($bench) = @_;
	my %used = map { $_ => 1 } map { keys %{ $_->{runs} } } @{ $bench->{cells} };
	delete $used{'lo-server'};
	return ([ 'system', 'what it is', 'is an acknowledged write on disk?' ],
		map { my $system = Bench::Systems::get($_); [ $_, $system->{label}, $system->{durable} ] } sort keys %used);
}

# Where and how: without it no figure means anything.
sub heading
{
	my ($bench) = @_;
	my $busy = $bench->{load_before} > 0.3
		? sprintf('The machine was busy with other things (%.1f runnable processes a core before the start)', $bench->{load_before})
		: 'The machine was idle before the start';
	return sprintf "%s, `make %s`: %s. PostgreSQL %s, fsync %s, shared_buffers %s, difs.cache_size %s. %d repetitions, in turn; "
		. "medians; ratios pair by pair. %s. Took %d s%s.",
		POSIX::strftime('%Y-%m-%d', localtime), $bench->{form} eq 'full' ? 'bench' : "bench-$bench->{form}",
		Bench::Machine::describe(), (map { $bench->sql("SHOW $_") } qw(server_version fsync shared_buffers)),
		$bench->{has_cache} ? $bench->sql('SHOW difs.cache_size') : '(not in this build)', $bench->{repetitions}, $busy,
		$bench->elapsed,
		$bench->{cut_short} ? ", which is why $bench->{cut_short} comparisons have fewer repetitions" : "";
}

sub summary_markdown
{
	my ($bench) = @_;
	my @facts = map { "- $_->{what}: $_->{value}\n" } @{ $bench->{facts} };
	return join "\n", $begin, heading($bench), '', markdown(\@claim_titles, map { [ claim_cells($_) ] } @{ $bench->{claims} }),
		'Bytes for each payload byte:', '', markdown(space_rows($bench)), markdown(juicefs_rows($bench)),
		join('', @facts), $end, '';
}

sub text
{
	my ($bench) = @_;
	return join "\n", heading($bench), '', table(4, cell_rows($bench)), table(3, durable_rows($bench));
}

sub write_file
{
	my ($path, $text) = @_;
	open my $file, '>', $path or die "$path: $!";
	print $file $text;
	close $file or die "$path: $!";
}

sub write_all
{
	my ($bench) = @_;
	my $directory = "$bench->{directory}/results";
	my $summary = summary_markdown($bench);
	my $text = text($bench);
	my %record = map { $_ => $bench->{$_} } qw(form repetitions cells claims facts space load_before);
	$record{heading} = heading($bench);
	write_file("$directory/figures.txt", $text);
	write_file("$directory/summary.md", $summary);
	write_file("$directory/figures.json", JSON::PP->new->canonical->pretty->allow_nonref->encode(\%record));
	print $text, $summary;
}

1;
