# WAL, database and server bytes, without checkpoints in between: each system puts a little first, and what is measured comes after it.
package Workload::space;
use strict;
use warnings;

my @tables = map { "difs.$_" } qw(inode dentry version manifest);

sub run
{
	my ($bench) = @_;
	$bench->collect;
	large($bench);
	small($bench);
}

sub state_of
{
	my ($bench, $name) = @_;
	my $sums = join ' + ', map { "pg_total_relation_size('$_')" } @tables;
	my ($wal, $database, $metadata) = split /\|/, $bench->sql(
		"SELECT pg_current_wal_insert_lsn() - '0/0', pg_database_size(current_database()), $sums");
	return { wal => $wal, database => $database, metadata => $metadata,
		servers => Bench::Machine::disk_bytes(glob "$bench->{directory}/storage0*") };
}

# What putting these objects added.
sub growth
{
	my ($bench, $name, %options) = @_;
	my $before = state_of($bench, $name);
	my $figures = $bench->load($name, operation => 'put', clients => 1, %options, first => $bench->next_number($name, 0));
	my $after = state_of($bench, $name);
	$bench->next_number($name, $figures->{used});
	return { map { $_ => $after->{$_} - $before->{$_} } keys %$after };
}

sub add_row
{
	my ($bench, $what, $name, $growth, $payload) = @_;
	push @{ $bench->{space} }, { what => $what, system => $name, map { $_ => $growth->{$_} / $payload } keys %$growth };
}

sub large
{
	my ($bench) = @_;
	my $size = $bench->{large};
	my $what = Bench::Report::size_text($size);
	my %bound = ('difs' => [ '1 MiB', 0.002 ], 'difs-4m' => [ '4 MiB', 0.0006 ]);
	for my $name (qw(difs difs-4m difs-2))
	{
		growth($bench, $name, operation => 'import', count => 1, size => $size);
		my $growth = growth($bench, $name, operation => 'import', count => 1, size => $size);
		add_row($bench, "put $what", $name, $growth, $size);
		next unless $bound{$name};
		$bench->claim_value("WAL per payload byte, $bound{$name}[0] segments", 'large object: see the table of bytes',
			$growth->{wal} / $size, target => $bound{$name}[1]);
	}
	my $lo_bytes = $size / 8;
	my $growth = growth($bench, 'lo', operation => 'import', count => 1, size => $lo_bytes);
	add_row($bench, 'put ' . Bench::Report::size_text($lo_bytes), 'lo', $growth, $lo_bytes);
	my $text = growth($bench, 'difs-text', operation => 'import', count => 1, size => $bench->{text}, data => "$bench->{directory}/text");
	add_row($bench, 'put text, ' . Bench::Report::size_text($bench->{text}), 'difs-text', $text, $bench->{text});
}

sub small
{
	my ($bench) = @_;
	my $count = $bench->{objects};
	for my $name (qw(difs difs-2 lo bytea))
	{
		growth($bench, $name, count => 100, size => 4096);
		my $growth = growth($bench, $name, count => $count, size => 4096);
		add_row($bench, 'put 4 KiB files', $name, $growth, $count * 4096);
		$bench->{lo_file_wal} = $growth->{wal} / $count if $name eq 'lo';
		next unless $name eq 'difs';
		$bench->{file_wal} = $growth->{wal} / $count;
		$bench->fact('metadata of a 4 KiB file (tables and indexes, one segment, 16-character name)',
			sprintf '%.0f bytes', $growth->{metadata} / $count);
	}
	$bench->claim_value('WAL bytes per 4 KiB file', sprintf('large object: %.0f', $bench->{lo_file_wal}), $bench->{file_wal}, target => 1500);
}

1;
