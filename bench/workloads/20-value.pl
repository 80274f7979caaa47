# One large value in one call.
package Workload::value;
use strict;
use warnings;

sub run
{
	my ($bench) = @_;
	my %once = (count => 1, size => $bench->{value});
	my $put = $bench->compare(workload => 'put one value', %once, operation => 'put', checkpoint => 1, systems => [qw(difs bytea)]);
	my $get = $bench->compare(
		workload => 'get one value', %once, operation => 'get',
		systems => [ map { { name => $_, first => $put->{$_}[0]{first} } } qw(difs bytea) ]);
	my $what = 'one value of ' . Bench::Report::size_text($bench->{value});
	my %unit = (figure => 'bytes_rate', unit => 'MB/s', scale => 1e6);
	$bench->claim("put $what", 'bytea EXTERNAL', $put->{difs}, $put->{bytea}, %unit, target => 1.8);
	$bench->claim("get $what", 'bytea EXTERNAL', $get->{difs}, $get->{bytea}, %unit, target => 0.95);
}

1;
