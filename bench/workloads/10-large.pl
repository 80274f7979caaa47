# One large file, put and read in pieces; the same with text that compresses.
package Workload::large;
use strict;
use warnings;

sub run
{
	my ($bench) = @_;
	my $size = $bench->{large};
	my $what = Bench::Report::size_text($size);
	my %once = (count => 1, size => $size);
	my @more = $bench->{form} eq 'full' ? { name => 'lo', as => 'lo-server', operation => 'import_server' } : ();
	my $put = $bench->compare(
		workload => 'put, streamed', %once, operation => 'import', checkpoint => 1,
		systems => [ 'difs', 'lo', 'difs-2', { name => 'files', operation => 'put' }, 'difs-4m', @more ]);
	my $cp = time_cp($bench);
	$bench->{large_numbers} = { map { my $name = $_; $name => [ map { $_->{first} } @{ $put->{$name} } ] } keys %$put };
	my $get = $bench->compare(
		workload => 'get, streamed', %once, operation => 'read',
		systems => [ map { { name => $_, first => $bench->{large_numbers}{$_}[0], ($_ eq 'files' ? (operation => 'get') : ()) } }
			qw(difs lo difs-2 files difs-4m) ]);
	my %unit = (figure => 'bytes_rate', unit => 'MB/s', scale => 1e6);
	my $lo = 'large object, lo_write in 1 MiB pieces';
	$bench->claim("put $what (difs_import), 1 replica", $lo, $put->{difs}, $put->{lo}, %unit, target => 5);
	$bench->claim("put $what (difs_import), 2 replicas on one disk", $lo, $put->{'difs-2'}, $put->{lo}, %unit, target => 3);
	$bench->claim("put $what (difs_import), 1 replica", 'plain file, write and fdatasync', $put->{difs}, $put->{files}, %unit);
	$bench->claim("put $what (difs_import), 1 replica", 'lo_import of the same file', $put->{difs}, $put->{'lo-server'}, %unit) if @more;
	$bench->claim("get $what (difs_read)", 'large object, lo_read in 1 MiB pieces', $get->{difs}, $get->{lo}, %unit, target => 2.5);
	$bench->fact("cp of the payload, $what, not synced", sprintf '%.0f MB/s', $size / $cp / 1e6);
	compare_text($bench, %unit);
}

# Median of three; not synced, which is what cp is.
sub time_cp
{
	my ($bench) = @_;
	my @seconds;
	for (1 .. 3)
	{
		my $before = Time::HiRes::time();
		system('cp', $bench->{payload}, "$bench->{directory}/files/copy") == 0 or die;
		push @seconds, Time::HiRes::time() - $before;
		unlink "$bench->{directory}/files/copy";
	}
	return Bench::Statistics::median(@seconds);
}

sub compare_text
{
	my ($bench, %unit) = @_;
	my %once = (count => 1, size => $bench->{text}, data => "$bench->{directory}/text");
	my $put = $bench->compare(
		workload => 'put text, streamed', %once, operation => 'import', checkpoint => 1,
		systems => [ 'difs-text', 'lo' ]);
	my $get = $bench->compare(
		workload => 'get text, streamed', %once, operation => 'read',
		systems => [ map { { name => $_, first => $put->{$_}[0]{first} } } qw(difs-text lo) ]);
	my $what = Bench::Report::size_text($bench->{text});
	$bench->claim("put $what of text, zstd", 'large object', $put->{'difs-text'}, $put->{lo}, %unit);
	$bench->claim("get $what of text, zstd", 'large object', $get->{'difs-text'}, $get->{lo}, %unit);
}

1;
