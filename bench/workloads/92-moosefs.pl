# MooseFS through its mount, where it is installed. Its bytes are synced at close, its metadata is in memory and not synced.
package Workload::moosefs;
use strict;
use warnings;

sub run
{
	my ($bench) = @_;
	my $put_what = '4 KiB durable puts, 8 clients';
	my $put_against = 'MooseFS through its mount, fsync at close';
	my @changes = qw(create rename stat);
	my $against = 'MooseFS, metadata in memory, not synced';
	if (!$bench->{has_moosefs})
	{
		my %note = (note => 'MooseFS is not installed');
		$bench->claim($put_what, $put_against, undef, undef, target => 4, %note);
		$bench->claim("$_, 8 clients", $against, undef, undef, target => 1, %note) for @changes;
		return;
	}
	my @systems = qw(difs moosefs);
	$bench->sql(q(SELECT difs_mkdir('one:/moosefs')));
	my %common = (directory => 'moosefs', clients => 8, warm => 1, systems => \@systems, repetitions => 3);
	my $put = $bench->compare(workload => 'put (MooseFS)', size => 4096, operation => 'put', %common);
	$bench->claim($put_what, $put_against, $put->{difs}, $put->{moosefs}, unit => '/s', target => 4);
	my $create = $bench->compare(workload => 'create (MooseFS)', operation => 'create', %common);
	$bench->claim('create, 8 clients', $against, $create->{difs}, $create->{moosefs}, unit => '/s', target => 1);
	for my $operation (qw(stat rename))
	{
		my %turn = map { $_ => 0 } @systems;
		my $runs = $bench->compare(
			workload => "$operation (MooseFS)", operation => $operation, %common,
			systems => [ map { my $name = $_; { name => $name, first => sub { $create->{$name}[ $turn{$name} ]{first} },
						objects => sub { $create->{$name}[ $turn{$name} ]{used} } } } @systems ],
			after => sub { $turn{ $_[0] }++ });
		$bench->claim("$operation, 8 clients", $against, $runs->{difs}, $runs->{moosefs}, unit => '/s', target => 1);
	}
	return;
}

1;
