# Reading 4 KiB: whole files, and places in a large one; from the shared cache, if this build has one, and from a chunk server.
package Workload::get;
use strict;
use warnings;

my $no_cache = 'this build has no shared cache';

sub run
{
	my ($bench) = @_;
	files($bench);
	ranges($bench);
}

sub files
{
	my ($bench) = @_;
	my @systems = (qw(difs lo bytea difs-plain files));
	my %first = map { $_ => $bench->populate($_, size => 4096, count => $bench->{objects}, clients => 8) } @systems;
	my @note = $bench->{has_cache} ? () : (note => $no_cache);
	# once through everything, so that the cache has what it will have, and everything is what was put
	$bench->load($_, operation => 'get', size => 4096, first => $first{$_}, objects => $bench->{objects},
		count => 2 * $bench->{objects}, clients => 8, check => 1) for @systems;
	for my $clients ($bench->{form} eq 'full' ? (32, 8, 1) : (8, 1))
	{
		my $get = $bench->compare(
			workload => 'get', size => 4096, clients => $clients, operation => 'get', warm => 3, objects => $bench->{objects},
			systems => [ map { { name => $_, first => $first{$_} } } @systems ]);
		next if $clients == 32;
		my $what = 'get 4 KiB files from the shared cache, ' . Bench::Report::clients_text($clients);
		$bench->claim($what, 'large object, lo_get', $get->{difs}, $get->{lo}, unit => '/s', target => 1, @note);
		$bench->claim($what, 'bytea column by primary key', $get->{difs}, $get->{bytea}, unit => '/s', target => 0.8, @note);
		$bench->claim('get 4 KiB files from a chunk server, ' . Bench::Report::clients_text($clients), 'large object, lo_get',
			$get->{'difs-plain'}, $get->{lo}, unit => '/s', ($clients == 8 ? (target => 0.5) : ()));
	}
}

sub ranges
{
	my ($bench) = @_;
	my $numbers = $bench->{large_numbers} or return;
	my $size = $bench->{large};
	my %first = map { $_ => $numbers->{$_}[0] } qw(difs lo files);
	my @note = $bench->{has_cache} ? () : (note => $no_cache);
	$first{'difs-plain'} = $bench->{has_cache} ? $bench->populate('difs-plain', operation => 'import', size => $size, count => 1, clients => 1)
		: $first{difs};
	# each segment once, so that it is in the cache; and compared
	$bench->load($_, operation => 'range', size => 4096, span => $size, first => $first{$_}, count => $size / 65536, check => 1)
		for keys %first;
	for my $clients ($bench->{form} eq 'full' ? (1, 8, 32) : (1, 8))
	{
		my $range = $bench->compare(
			workload => 'get 4 KiB ranges', size => 4096, span => $size, clients => $clients, operation => 'range', warm => 3,
			systems => [ map { { name => $_, first => $first{$_} } } qw(difs lo difs-plain files) ]);
		next if $clients == 32;
		my $what = 'random 4 KiB range of a ' . Bench::Report::size_text($size) . ' file, ' . Bench::Report::clients_text($clients);
		$bench->claim("$what, cached", 'lo_get range', $range->{difs}, $range->{lo}, unit => '/s', @note,
			($clients == 1 ? (target => 1) : ()));
		$bench->claim("$what, from a chunk server", 'lo_get range', $range->{'difs-plain'}, $range->{lo}, unit => '/s',
			($clients == 1 ? (target => 0.4) : ()));
	}
}

1;
