# scale.pl - the same operations in a store that grows.  Started by bench/run, which has started PostgreSQL and one chunk server.
#
# Files of 512 bytes, each a segment of its own, all in one directory.  At each size the operations are measured in turn with a yardstick
# that does not grow, a SELECT of one row of a table of a thousand, because the sizes are minutes apart on a machine that others share:
# what is compared between sizes is an operation's time as a multiple of the yardstick's, run by run.  Then the chunk server is stopped
# (SIGTERM) and killed (SIGKILL), and started again: until it listens, and until a file can be read.
use strict;
use warnings;
use List::Util qw(max min);
use Time::HiRes ();
use Bench;
use Bench::Plot;

my @sizes = map { $_ * 1000 } split ' ', $ENV{SCALE_THOUSANDS} // '10 1000 10000';
my $seconds = $ENV{SCALE_SECONDS} // 1500;
my $repetitions = 5;
my $size = 512;
my $step = 100_000;

# name, operation, and what it works on: some of the files there are, or new ones; what is renamed or deleted is not read after
my @operations = (
	{ name => 'put', operation => 'put', new => 1 },
	{ name => 'get', operation => 'get' },
	{ name => 'stat', operation => 'stat' },
	{ name => 'rename', operation => 'rename', once => 1 },
	{ name => 'delete', operation => 'delete', renamed => 1, once => 1 },
	{ name => 'list 1,000 from the middle', sql => 1 });

$| = 1;
my $bench = Bench->new(directory => $ENV{BENCH_DIRECTORY}, form => 'tiny');
my (@rows, @missed);
my $first = 100_000_000;
my $count = 0;

prepare();
for my $files (@sizes)
{
	unless (fill($files))
	{
		push @missed, $files;
		next;
	}
	$bench->say(sprintf '%d files after %d s', $count, $bench->elapsed);
	$bench->sql('CHECKPOINT');
	$bench->sql('VACUUM ANALYZE difs.' . $_) for qw(inode dentry version manifest);
	push @rows, measure_all();
}
report();

sub prepare
{
	system("head -c 67108864 /dev/urandom >$bench->{directory}/payload") == 0 or die;
	$bench->{payload} = "$bench->{directory}/payload";
	$bench->sql(Bench::Systems::tables());
	$bench->sql(Bench::Systems::volumes());
	$bench->sql("SELECT difs_mkdir('one:/objects')");
	$bench->load('rows', operation => 'create', count => 1000, first => 1, place => 1);
}

# In steps, so that time can be looked at. False if it ends before.
sub fill
{
	my ($files) = @_;
	while ($count < $files)
	{
		return 0 if $bench->elapsed > $seconds;
		my $more = min($step, $files - $count);
		my $figures = $bench->load('difs', operation => 'put', mode => 'pipeline', batch => 1000, clients => 4, size => $size,
			count => $more, first => $first + $count);
		$count += $figures->{used};
	}
	return 1;
}

# Microseconds of an operation over a yardstick's, the median of the repetitions; and what there is beside.
sub measure_all
{
	my %row = (files => $count, raw => {}, relative => {});
	my %new = (first => $first + 1_000_000_000 + $count, moved => $first + int($count / 3));
	for my $repetition (1 .. $repetitions)
	{
		for my $operation (@operations)
		{
			my $yard = 1e6 / rate($bench->load('rows', operation => 'stat', warm => 10, seconds => 0.3, objects => 1000, first => 1, place => 1));
			my $cost = cost($operation, \%new);
			push @{ $row{raw}{ $operation->{name} } }, $cost;
			push @{ $row{relative}{ $operation->{name} } }, $cost / $yard;
		}
	}
	my $server = Bench::Machine::read_file("$bench->{directory}/pid1");
	chomp $server;
	$row{memory} = Bench::Machine::private_bytes($server);
	$row{database} = $bench->sql(join(' + ', map { "pg_total_relation_size('difs.$_')" } qw(inode dentry version manifest)) =~ s/^/SELECT /r);
	$row{disk} = Bench::Machine::disk_bytes("$bench->{directory}/storage01");
	$row{$_} = restart($_) for qw(TERM KILL);
	$row{memory_restarted} = Bench::Machine::private_bytes(Bench::Machine::read_file("$bench->{directory}/pid1") =~ /(\d+)/);
	return \%row;
}

sub rate { return $_[0]{operations} / $_[0]{seconds} }

sub cost
{
	my ($operation, $new) = @_;
	my %common = (operation => $operation->{operation}, size => $size);
	return list_page() if $operation->{sql};
	if ($operation->{new})
	{
		my $figures = $bench->load('difs', %common, count => 500, first => $new->{first});
		$new->{first} += $figures->{used};
		return 1e6 / rate($figures);
	}
	if ($operation->{once})
	{
		# renames some of those in the middle, and the next operation deletes the new ones of this repetition
		my $from = $operation->{renamed} ? $new->{first} - 500 : $new->{moved};
		my $figures = $bench->load('difs', %common, count => $operation->{renamed} ? 400 : 200, first => $from,
			objects => $operation->{renamed} ? 400 : 200);
		$new->{moved} += 200 unless $operation->{renamed};
		return 1e6 / rate($figures);
	}
	return 1e6 / rate($bench->load('difs', %common, warm => 10, seconds => 0.5, first => $first + $count - int($count / 3), objects => int($count / 3)));
}

# By key from the middle of the directory: ten pages in one session.
sub list_page
{
	my $after = sprintf '%016d', $first + int($count / 2);
	my $statement = "SELECT count(*) FROM difs_list('one:/objects', after => '$after', max => 1000);";
	open my $psql, '-|', 'psql', '-qXAt', '-c', '\timing on', (map { ('-c', $statement) } 1 .. 6) or die "psql: $!";
	my @times = map { /^Time: ([\d.]+) ms/ ? $1 : () } <$psql>;
	close $psql or die "list failed\n";
	shift @times;    # the first opens the tables
	return 1000 * Bench::Statistics::median(@times);
}

# Seconds until the chunk server listens again, and until a file that is not in the cache is read.
sub restart
{
	my ($signal) = @_;
	my ($pid) = Bench::Machine::read_file("$bench->{directory}/pid1") =~ /(\d+)/;
	kill $signal, $pid;
	while (-d "/proc/$pid" && Bench::Machine::read_file("/proc/$pid/stat") !~ /\) Z/) { Time::HiRes::sleep(0.005) }
	my $began = Time::HiRes::time();
	system("$bench->{directory}/chunkd1") == 0 or die "the chunk server does not start\n";
	my $listens = Time::HiRes::time() - $began;
	my $path = sprintf 'one:/objects/%016d', $first + ($signal eq 'TERM' ? 11 : 17);
	$bench->sql("SELECT length(difs_get('$path'))");
	return { listens => $listens, reads => Time::HiRes::time() - $began };
}

sub report
{
	my @names = map { $_->{name} } @operations;
	my $text = "Files of $size bytes in one directory, one chunk server; " . Bench::Machine::describe() . ".\n\n";
	$text .= '| files | ' . join(' | ', map { "$_, us (yardsticks)" } @names) . " |\n|" . ' --- |' x (@names + 1) . "\n";
	for my $row (@rows)
	{
		$text .= '| ' . grouped($row->{files}) . ' | ' . join(' | ', map {
			sprintf '%.0f (%.2f)', map { Bench::Statistics::median(@$_) } $row->{raw}{$_}, $row->{relative}{$_} } @names) . " |\n";
	}
	$text .= "\n| files | database bytes a file | server's disk, bytes a file | server's memory, MB (a million segments) | after a restart, MB"
		. " | start after SIGTERM, s: listens, reads | after SIGKILL |\n|" . ' --- |' x 7 . "\n";
	for my $row (@rows)
	{
		$text .= sprintf "| %s | %.0f | %.0f | %.1f (%.1f) | %.1f | %.2f, %.2f | %.2f, %.2f |\n", grouped($row->{files}), $row->{database} / $row->{files},
			$row->{disk} / $row->{files}, $row->{memory} / 1e6, $row->{memory} / $row->{files}, $row->{memory_restarted} / 1e6,
			map { @{ $row->{$_} }{qw(listens reads)} } qw(TERM KILL);
	}
	$text .= "\nNot reached in $seconds s: " . join(', ', map { grouped($_) . ' files' } @missed) . " ($count were there).\n" if @missed;
	if (@rows > 1)
	{
		my %growth = map { $_ => Bench::Statistics::median(@{ $rows[-1]{relative}{$_} }) / Bench::Statistics::median(@{ $rows[0]{relative}{$_} }) } @names;
		$text .= sprintf "\nCost with %s files over that with %s: %s.\n", grouped($rows[-1]{files}), grouped($rows[0]{files}),
			join(', ', map { sprintf '%s %.2f', $_, $growth{$_} } @names);
	}
	print $text;
	write_file('scale.md', $text);
	write_file('scale.json', json());
	plots(@names);
}

sub grouped
{
	my ($number) = @_;
	1 while $number =~ s/^(\d+)(\d{3})/$1,$2/;
	return $number;
}

sub json
{
	require JSON::PP;
	return JSON::PP->new->pretty->canonical->encode({ rows => \@rows, not_reached => \@missed });
}

sub plots
{
	my @names = @_;
	return unless @rows > 1;
	my $head = "set terminal svg size 900,520 noenhanced\nset logscale x\nset xlabel 'files'\nset key outside right\nset grid\n";
	my $data = join '', map { my $row = $_; join(' ', $row->{files}, map { Bench::Statistics::median(@{ $row->{relative}{$_} }) } @names) . "\n" } @rows;
	Bench::Plot::gnuplot($head . "set output '$bench->{directory}/results/scale-cost.svg'\nset logscale y\nset ylabel 'time, in SELECTs of one row'\n"
		  . "\$data << END\n${data}END\nplot " . join(', ', map { "\$data using 1:" . ($_ + 2) . " with linespoints title '$names[$_]'" } 0 .. $#names) . "\n");
	$data = join '', map { "$_->{files} $_->{TERM}{listens} $_->{KILL}{listens} " . $_->{memory} / 1e6 . "\n" } @rows;
	Bench::Plot::gnuplot($head . "set output '$bench->{directory}/results/scale-start.svg'\nset ylabel 'seconds, MB'\nset yrange [0:*]\n\$data << END\n${data}END\n"
		  . "plot \$data using 1:2 with linespoints title 'start after SIGTERM, s', \$data using 1:3 with linespoints title 'start after SIGKILL, s',"
		  . " \$data using 1:4 with linespoints title 'memory, MB'\n");
}

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>', "$bench->{directory}/results/$name" or die "$name: $!";
	print $file $text;
	close $file or die "$name: $!";
}
