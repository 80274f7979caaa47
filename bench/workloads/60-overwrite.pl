# 4 KiB written into the middle of a large file: what it costs in WAL.
package Workload::overwrite;
use strict;
use warnings;

sub run
{
	my ($bench) = @_;
	my $numbers = $bench->{large_numbers} or return;
	my %text = (figure => 'wal_each', unit => 'bytes', at => 'most', target => 0.25);
	my $what = 'overwrite 4 KiB inside a ' . Bench::Report::size_text($bench->{large}) . ' file, WAL bytes';
	my @systems = ('lo', $bench->{has_write} ? 'difs' : (), 'files');
	my $count = 500;
	my $write = $bench->compare(
		workload => 'overwrite 4 KiB', size => 4096, span => $bench->{large}, operation => 'write', count => $count, warm => 3,
		systems => [ map { { name => $_, first => $numbers->{$_}[-1] } } @systems ]);
	$bench->claim($what, 'lo_put', $write->{difs}, $write->{lo}, %text,
		($bench->{has_write} ? () : (note => 'this build has no difs_write')));
}

1;
