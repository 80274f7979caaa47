
=pod

=head1 NAME

DifsFaults - a chunk server alone, built with fault points, and the programs of test/faults that drive it

=head1 SYNOPSIS

  my $run = DifsFaults->new('calls');
  $run->start(env => { FAIL_CALL => 'fdatasync 2 EIO' }, preload => 1);
  $run->exercise(0, $run->restart_step);
  $run->end('KILL');
  $run->start;
  is_deeply([ $run->check ], []);

=cut

package DifsFaults;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time usleep);

my $top = abs_path(dirname(__FILE__) . '/../..');
my $built;
my @runs;

# Builds what is needed, once; returns the directory. DIFS_FAULT_TOOLS names one that has been built before.
sub tools
{
	return $built if $built;
	$built = $ENV{DIFS_FAULT_TOOLS} // tempdir('difs-faults-XXXXXX', TMPDIR => 1, CLEANUP => 1);
	delete local @ENV{ 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL' };
	system('make', '-s', '-C', "$top/test/faults", "B=$built") == 0 or die 'the tools of fault tests cannot be built';
	return $built;
}

# Names of a kind ('point' or 'safety') in fault_points.txt.
sub points
{
	my ($kind, $prefix) = @_;
	open(my $file, '<', "$top/fault_points.txt") or die "fault_points.txt: $!";
	return map { /^(\S+)\s+$kind\s/ && index($1, $prefix // '') == 0 ? $1 : () } <$file>;
}

# peer_of: another one, whose key it has, and beside which it runs.
sub new
{
	my ($class, $name, %with) = @_;
	my $directory = tempdir("difs-$name-XXXXXX", TMPDIR => 1, CLEANUP => 1);
	my $self = bless { directory => $directory, data => "$directory/data", port => 0 }, $class;
	$self->{tools} = tools();
	open(my $key, '>', "$directory/key") or die "$directory/key: $!";
	print $key $with{peer_of} ? slurp("$with{peer_of}{directory}/key") : join('', map { sprintf '%02x', int(rand(256)) } 1 .. 32), "\n";
	close($key);
	chmod(0600, "$directory/key");
	($self->{restart_step}, $self->{steps}) = split ' ', `$self->{tools}/exercise count`;
	push @runs, $self;
	return $self;
}

sub restart_step { return $_[0]{restart_step}; }
sub steps { return $_[0]{steps}; }
sub data { return $_[0]{data}; }
sub log { return "$_[0]{directory}/log"; }
sub journal { return "$_[0]{directory}/journal"; }
sub control { return "$_[0]{directory}/control"; }

# Forgets all: an empty data directory, journal and log.
sub reset
{
	my ($self) = @_;
	$self->end('KILL');
	remove_tree($self->{data});
	unlink $self->journal, $self->log, $self->control, "$self->{directory}/hits", glob($self->control . '.*');
	return;
}

# Keeps the present state under a name, or returns to it.
sub save
{
	my ($self, $name) = @_;
	system('cp', '-a', $self->{data}, $self->journal, "$self->{directory}/$name") == 0 or die 'cp'
	  if make_path("$self->{directory}/$name");
	return;
}

sub restore
{
	my ($self, $name) = @_;
	$self->reset;
	system('cp', '-a', "$self->{directory}/$name/data", "$self->{directory}/$name/journal", $self->{directory}) == 0
	  or die 'cp';
	return;
}

# What fault points shall do: "name action n" for each line.
sub arm
{
	my ($self, @lines) = @_;
	unlink glob($self->control . '.*');
	open(my $file, '>', $self->control) or die $self->control . ": $!";
	print $file map { "$_\n" } @lines;
	close($file);
	return;
}

sub hit
{
	my ($self, $point) = @_;
	return -e $self->control . ".$point";
}

# Starts difsd; false if it ended instead of listening.  fail: the value of FAIL_CALL; count: counts calls.
sub start
{
	my ($self, %with) = @_;
	my $address = "$self->{directory}/address";
	unlink $address;
	pipe(my $stdin, my $hold) or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<&', $stdin) or POSIX::_exit(126);
		open(STDOUT, '>>', $self->log) or POSIX::_exit(126);
		open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
		close($hold);
		$ENV{DIFS_FAULT_FILE} = $self->control;
		$ENV{FAIL_LOG} = "$self->{directory}/hits";
		$ENV{FAIL_CALL} = $with{fail} if $with{fail};
		$ENV{LD_PRELOAD} = "$self->{tools}/fail_calls.so" if $with{fail} || $with{count};
		exec("$self->{tools}/chunkd/difsd", '--name', '/storage01', '--data', $self->{data}, '--key-file',
			"$self->{directory}/key", '--listen', '127.0.0.1:0', '--address-file', $address, '--exit-with-stdin')
		  or POSIX::_exit(127);
	}
	@{$self}{ 'pid', 'stdin', 'status' } = ($pid, $hold, undef);
	my $deadline = time + 30;
	while (!$self->ended && !(($self->{port}) = slurp($address) =~ /:(\d+)\n/))
	{
		die "difsd neither listens nor ends, see $self->{directory}/log" if time > $deadline;
		usleep(2000);
	}
	return !$self->ended;
}

# Whether it has ended by itself.
sub ended
{
	my ($self) = @_;
	return 1 unless $self->{pid};
	return 0 if waitpid($self->{pid}, WNOHANG) == 0;
	$self->{status} = $?;
	delete $self->{pid};
	return 1;
}

# Ends it by a signal; returns the status.
sub end
{
	my ($self, $signal) = @_;
	unless ($self->ended)
	{
		CORE::kill($signal, $self->{pid});
		waitpid($self->{pid}, 0);
		$self->{status} = $?;
		delete $self->{pid};
	}
	close(delete $self->{stdin}) if $self->{stdin};
	return $self->{status};
}

# Takes steps of the exercise; returns what went wrong: lines.
sub exercise
{
	my ($self, $first, $last) = @_;
	return $self->tool('exercise', 'run', $self->journal, $self->{port}, "$self->{directory}/key", $first, $last);
}

# Has the steps of repair prepared, taken or checked (test/faults/repair.c) between this server and a peer; returns what is wrong: lines.
sub repair
{
	my ($self, $mode, $peer) = @_;
	return $self->tool('repair', $mode, $self->journal, "$self->{directory}/key", map { @{$_}{qw(port data)} } $self, $peer);
}

# What is not as the journal says: lines.
sub check
{
	my ($self) = @_;
	return $self->tool('exercise', 'check', $self->journal, $self->{port}, "$self->{directory}/key");
}

sub tool
{
	my ($self, $tool, @arguments) = @_;
	open(my $output, '-|', "$self->{tools}/$tool", @arguments) or die "$tool: $!";
	my @lines = <$output>;
	close($output) or @lines or push @lines, "$tool failed: $?\n";
	chomp(@lines);
	return @lines;
}

# Errors and warnings in the log, without the time.
sub complaints
{
	my ($self) = @_;
	return map { /\b((?:error|warning)\b.*)/i ? $1 : () } split /\n/, slurp($self->log);
}

# Whether anybody was told of a failure: a step that was not acknowledged, a server that ended, or a line in its log that would not be
# there without the failure.
sub told
{
	my ($self, @usual) = @_;
	my %usual = map { $_ => 1 } @usual;
	return 1 if $self->{status} || grep { !$usual{$_} } $self->complaints;
	return scalar grep { !/ 0$/ } split /\n/, slurp($self->journal);
}

sub acknowledged
{
	my ($self) = @_;
	return scalar grep { / 0$/ } split /\n/, slurp($self->journal);
}

sub calls_hit { return slurp("$_[0]{directory}/hits") =~ /^hit$/m; }

# { call => count } of a run with count => 1 that has been ended by TERM.
sub call_counts
{
	my ($self) = @_;
	return { map { /^(\w+) (\d+)$/ ? ($1 => $2) : () } split /\n/, slurp("$self->{directory}/hits") };
}

sub touch
{
	my ($path) = @_;
	open(my $file, '>>', $path) or die "$path: $!";
	close($file);
	return;
}

sub slurp
{
	my ($path) = @_;
	open(my $file, '<', $path) or return '';
	local $/;
	return <$file> // '';
}

END
{
	my $status = $?;
	$_->end('KILL') foreach @runs;
	$? = $status;
}

1;
