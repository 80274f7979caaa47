# Files of 1 MiB.
package Workload::mebibyte;
use strict;
use warnings;

sub run
{
	my ($bench) = @_;
	my $size = 1024 * 1024;
	my @systems = qw(difs lo bytea difs-2 files);
	my %unit = (figure => 'bytes_rate', unit => 'MB/s', scale => 1e6);
	my $put = $bench->compare(workload => 'put', size => $size, clients => 8, operation => 'put', warm => 1, systems => \@systems);
	my $objects = 64;
	my %first = map { $_ => $bench->populate($_, size => $size, count => $objects) } @systems;
	my $get = $bench->compare(
		workload => 'get', size => $size, clients => 8, operation => 'get', warm => 2, objects => $objects,
		systems => [ map { { name => $_, first => $first{$_} } } @systems ]);
	$bench->claim('put 1 MiB files, 8 clients, 1 replica', 'large object', $put->{difs}, $put->{lo}, %unit, target => 4);
	$bench->claim('put 1 MiB files, 8 clients, 1 replica', 'bytea EXTERNAL', $put->{difs}, $put->{bytea}, %unit, target => 2);
	$bench->claim('get 1 MiB files, 8 clients', 'large object', $get->{difs}, $get->{lo}, %unit, target => 2);
	$bench->claim('get 1 MiB files, 8 clients', 'bytea EXTERNAL', $get->{difs}, $get->{bytea}, %unit, target => 0.9);
}

1;
