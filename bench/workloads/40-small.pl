# Files of 4 KiB, each in a transaction of its own; and a thousand in one.
package Workload::small;
use strict;
use warnings;

my $lo = 'large object, lo_from_bytea';

sub run
{
	my ($bench) = @_;
	my %target = (32 => [ 2, 1.5 ], 8 => [ 1.3, 1 ], 1 => [ 0.6, 0.5 ]);
	for my $clients (32, 8, 1)
	{
		my $put = $bench->compare(
			workload => 'put', size => 4096, clients => $clients, operation => 'put', warm => 3,
			systems => [qw(difs lo difs-2 bytea files)]);
		my $what = 'put 4 KiB files, own transaction each, ' . Bench::Report::clients_text($clients);
		$bench->claim("$what, 1 replica", $lo, $put->{difs}, $put->{lo}, unit => '/s', target => $target{$clients}[0]);
		$bench->claim("$what, 2 replicas", $lo, $put->{'difs-2'}, $put->{lo}, unit => '/s', target => $target{$clients}[1]);
	}
	batches($bench);
}

sub batches
{
	my ($bench) = @_;
	my %target = (transaction => 1.3, pipeline => 0.8);
	my %text = (transaction => 'call by call', pipeline => 'in libpq pipeline mode');
	for my $mode (qw(transaction pipeline))
	{
		my $put = $bench->compare(
			workload => 'put, 1,000 in a transaction', mode => $mode, size => 4096, operation => 'put', warm => 3,
			count => 1000 * $bench->{batches}, systems => [qw(difs lo bytea)]);
		$bench->claim("put 1,000 x 4 KiB in one transaction, $text{$mode}", "$lo, the same way", $put->{difs}, $put->{lo},
			unit => '/s', target => $target{$mode});
	}
}

1;
