# Names and attributes, with empty files: against two plain tables with their keys, and against the file system.
#
# rename and delete need files that exist: rename takes those that the creation with 8 clients made, delete those that the creation with
# one client made.
package Workload::metadata;
use strict;
use warnings;

my @systems = qw(difs rows files);
my %parent = ('meta/a/b/c' => 1, 'meta/thousand' => 2, 'meta/new' => 3);

sub run
{
	my ($bench) = @_;
	make_directories($bench);
	stat_and_list($bench);
	changes($bench);
}

sub variant
{
	my ($bench, $name, $directory, %more) = @_;
	return { name => $name, place => $name eq 'rows' ? $parent{$directory} : $bench->place($name, $directory), %more };
}

sub make_directories
{
	my ($bench) = @_;
	for my $directory (sort keys %parent)
	{
		$bench->sql("SELECT difs_mkdir('one:/$directory', parents => true)");
		system('mkdir', '-p', $bench->place('files', $directory)) == 0 or die;
	}
}

sub populate
{
	my ($bench, $name, $directory, $count) = @_;
	my $variant = variant($bench, $name, $directory, operation => 'create', count => $count);
	delete $variant->{name};
	return $bench->populate($name, %$variant);
}

sub stat_and_list
{
	my ($bench) = @_;
	my $objects = $bench->{objects};
	my %first = map { $_ => populate($bench, $_, 'meta/a/b/c', $objects) } @systems;
	populate($bench, $_, 'meta/thousand', 1000) for @systems;
	for my $clients (8, 1)
	{
		my $stat = $bench->compare(
			workload => 'stat', clients => $clients, operation => 'stat', warm => 3, objects => $objects,
			systems => [ map { variant($bench, $_, 'meta/a/b/c', first => $first{$_}) } @systems ]);
		my $list = $bench->compare(
			workload => 'list 1,000', clients => $clients, operation => 'list', warm => 2,
			systems => [ map { variant($bench, $_, 'meta/thousand', first => 1) } @systems ]);
		$bench->{juicefs}{stat} = $stat->{difs} if $clients == 1;
		$bench->{juicefs}{list} = $list->{difs} if $clients == 1;
		next if $clients == 1;
		$bench->claim('difs_stat of a five-component path, 8 clients', 'prepared SELECT of one row by primary key', $stat->{difs},
			$stat->{rows}, unit => '/s', target => 0.75);
		$bench->claim('list of 1,000 names with attributes, 8 clients', 'prepared join of two tables', $list->{difs}, $list->{rows},
			unit => '/s');
	}
}

# The first or second half of what a run of another operation made.
sub half
{
	my ($run, $second) = @_;
	my $objects = int($run->{used} / 2);
	return (first => $run->{first} + $second * $objects, objects => $objects);
}

sub change
{
	my ($bench, $operation, $clients, $made) = @_;
	my $repetition = 0;
	my %turn;
	return $bench->compare(
		workload => $operation, clients => $clients, operation => $operation, warm => 1,
		systems => [
			map {
				my $name = $_;
				my $run = sub { $made->{$name}[ $turn{$name} // 0 ] };
				variant($bench, $name, 'meta/new',
					first => sub { my %half = half($run->(), $clients == 1); return $half{first} },
					objects => sub { my %half = half($run->(), $clients == 1); return $half{objects} })
			} @systems ],
		after => sub { $turn{ $_[0] }++ });
}

sub changes
{
	my ($bench) = @_;
	my %made;
	for my $clients (8, 1)
	{
		$made{$clients} = $bench->compare(
			workload => 'create', clients => $clients, operation => 'create', warm => 3,
			systems => [ map { variant($bench, $_, 'meta/new') } @systems ]);
	}
	$bench->claim('create an empty file, 8 clients', 'prepared INSERT of one row into two tables', $made{8}{difs}, $made{8}{rows},
		unit => '/s', target => 0.7);
	$bench->{juicefs}{create} = $made{1}{difs};
	for my $clients (8, 1)
	{
		my $rename = change($bench, 'rename', $clients, $made{8});
		my $delete = change($bench, 'delete', $clients, $made{1});
		$bench->{juicefs}{rename} = $rename->{difs} if $clients == 1;
		$bench->{juicefs}{unlink} = $delete->{difs} if $clients == 1;
		next if $clients == 1;
		$bench->claim('rename a file, 8 clients', 'prepared UPDATE of one row', $rename->{difs}, $rename->{rows}, unit => '/s');
		$bench->claim('delete an empty file, 8 clients', 'prepared DELETE from two tables', $delete->{difs}, $delete->{rows}, unit => '/s');
	}
}

1;
