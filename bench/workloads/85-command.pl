# The command difs, which sends large files to chunk servers itself: against the disk, the network and cp. A large file, and a tree of
# many small ones.
package Workload::command;
use strict;
use warnings;
use List::Util qw(min);
use Time::HiRes ();

sub run
{
	my ($bench) = @_;
	large($bench);
	tree($bench);
}

sub timed
{
	my @command = @_;
	my $before = Time::HiRes::time();
	system(@command) == 0 or die "failed: @command\n";
	return Time::HiRes::time() - $before;
}

# What is compared, in turn, three times at most; returns {name => [{seconds, rate}]} of a number of bytes.
sub in_turn
{
	my ($bench, $bytes, %ways) = @_;
	my @names = sort keys %ways;
	my %runs;
	for my $repetition (1 .. min(3, $bench->{repetitions}))
	{
		last if $repetition > 1 && $bench->elapsed > $bench->{until} && ++$bench->{cut_short};
		for my $name (@names)
		{
			my $seconds = $ways{$name}->($repetition);
			push @{ $runs{$name} }, { seconds => $seconds, bytes_rate => $bytes / $seconds };
		}
		push @names, shift @names;
	}
	return \%runs;
}

sub large
{
	my ($bench) = @_;
	my $directory = $bench->{directory};
	my $bytes = $bench->{command};
	my $source = "$directory/command";
	my $what = Bench::Report::size_text($bytes);
	my %unit = (figure => 'bytes_rate', unit => 'MB/s', scale => 1e6);
	my $memory = 0;
	my $difs = sub { memory_of(\$memory, 'difs', @_) };

	system("head -c $bytes /dev/urandom >$source") == 0 or die;
	# before anything is deleted, so that no chunk server is busy with that
	$difs->('put', '-q', $source, 'one:/command0');
	link $source, sprintf('%s/files/%016d', $directory, 1) or die "link: $!";
	my $get = in_turn($bench, $bytes,
		loopback => sub { $bytes / rate($bench->load('files', operation => 'loopback', place => "$directory/files", data => $source, size => $bytes,
					count => 1, first => 1), $bytes) },
		get => sub { $difs->('get', '-q', 'one:/command0', '/dev/null') });
	unlink sprintf('%s/files/%016d', $directory, 1);
	$bench->claim("difs get of $what, in the page cache, checksums verified", 'sendfile over loopback, received into memory', $get->{get}, $get->{loopback},
		%unit, target => 0.6);

	my $put = in_turn($bench, $bytes,
		dd => sub { my $seconds = timed("dd if=$source of=$directory/files/dd bs=1M conv=fdatasync 2>/dev/null"); unlink "$directory/files/dd"; $seconds },
		map { my $volume = $_; $volume => sub { put_once($bench, $volume, $_[0], sub { $difs->('put', '-q', $source, $_[0]) }) } } qw(one two));
	$bench->claim("difs put of $what, 1 replica", 'dd of the same file, fdatasync', $put->{one}, $put->{dd}, %unit, target => 0.75);
	$bench->claim("difs put of $what, 2 replicas on one disk", 'dd of the same file, fdatasync', $put->{two}, $put->{dd}, %unit, target => 0.4);
	unlink $source;
	$bench->fact("most memory of the command difs, put and get of $what", sprintf '%.0f MB', $memory / 1024);
	$bench->sql("SELECT difs_delete('one:/command0')");
}

# Puts one more, which goes again, as it takes much of the disk.
sub put_once
{
	my ($bench, $volume, $number, $put) = @_;
	my $seconds = $put->("$volume:/command$number");
	$bench->sql("SELECT difs_delete('$volume:/command$number')");
	$bench->collect;
	return $seconds;
}

sub rate { return $_[0]{operations} / $_[0]{seconds} * $_[1] }

# Runs a command; remembers the most memory, in KiB, that any has had. Returns seconds.
sub memory_of
{
	my ($most, @command) = @_;
	my $before = Time::HiRes::time();
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		exec @command or die "$command[0]: $!";
	}
	while (1)
	{
		my ($peak) = Bench::Machine::read_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m;
		$$most = $peak if defined $peak && $peak > $$most;
		last if waitpid($pid, 1) != 0;    # WNOHANG
		Time::HiRes::sleep(0.01);
	}
	die "failed: @command\n" if $? != 0;
	return Time::HiRes::time() - $before;
}

sub tree
{
	my ($bench) = @_;
	my $directory = $bench->{directory};
	my $files = $bench->{tree};
	my $bytes = $files * 4096;
	make_tree("$directory/tree", $files);
	my $put = in_turn($bench, $bytes,
		cp => sub { timed("cp -r $directory/tree $directory/files/tree$_[0] && sync -f $directory/files") },
		difs => sub { timed('difs', 'put', '-qr', "$directory/tree", "one:/tree$_[0]") });
	my $get = in_turn($bench, $bytes,
		cp => sub { timed('cp', '-r', "$directory/tree", "$directory/files/again$_[0]") },
		difs => sub { timed('difs', 'get', '-qr', "one:/tree$_[0]", "$directory/files/got$_[0]") });
	my %unit = (figure => 'bytes_rate', unit => 'MB/s', scale => 1e6);
	$bench->claim("difs put of a tree of $files files of 4 KiB", 'cp -r and sync', $put->{difs}, $put->{cp}, %unit, target => 0.333);
	$bench->claim("difs get of a tree of $files files of 4 KiB", 'cp -r', $get->{difs}, $get->{cp}, %unit, target => 0.5);
	system("diff -rq $directory/tree $directory/files/got1 >&2") == 0 or die "what was got is not what was put\n";
	system('rm', '-rf', "$directory/tree", glob "$directory/files/{tree,again,got}[0-9]*");
	$bench->sql("SELECT difs_delete('one:/tree$_', recursive => true)") for 1 .. @{ $put->{difs} };
}

# A hundred files in a directory, none like another.
sub make_tree
{
	my ($top, $files) = @_;
	open my $random, '<', '/dev/urandom' or die;
	mkdir $top or die "$top: $!";
	for my $number (0 .. $files - 1)
	{
		my $in = sprintf '%s/%04d', $top, $number / 100;
		mkdir $in if $number % 100 == 0;
		read $random, my $content, 4096;
		open my $file, '>', sprintf('%s/%02d', $in, $number % 100) or die "$in: $!";
		print $file $content;
		close $file or die;
	}
}

1;
