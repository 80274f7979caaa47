
=pod

=head1 NAME

DifsCommand - the command difs, and trees of files, for TAP tests

=head1 SYNOPSIS

  my $difs = DifsCommand->new($cluster);
  my ($code, $out, $err) = $difs->run('put', '-r', $tree, '/');
  my $list = $difs->json('ls', '/');

=cut

package DifsCommand;

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA;
use File::Basename qw(dirname);
use File::Find;
use IO::Pty;
use IPC::Run;
use JSON;
use POSIX ();
use Test::More;

# The program: the one in this tree, else the installed one.
sub program
{
	my $tree = abs_path(dirname(__FILE__) . '/../../client/difs/difs');
	return $ENV{DIFS_COMMAND} if $ENV{DIFS_COMMAND};
	return $tree if defined $tree && -x $tree;
	chomp(my $bin = `pg_config --bindir`);
	return "$bin/difs";
}

sub new
{
	my ($class, $cluster) = @_;
	return bless { cluster => $cluster }, $class;
}

# The environment in which it finds the server.
sub environment
{
	my ($self) = @_;
	my $node = $self->{cluster}->node;
	return (PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres');
}

# Runs it; ($exit_code, $stdout, $stderr). A first argument that is a reference to a string is its standard input.
sub run
{
	my ($self, @arguments) = @_;
	my $input = ref $arguments[0] ? shift @arguments : \'';
	local %ENV = (%ENV, $self->environment);
	my ($out, $err) = ('', '');
	IPC::Run::run([ program(), @arguments ], '<', $input, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# The same, and it must succeed; its standard output.
sub done
{
	my ($self, @arguments) = @_;
	my ($code, $out, $err) = $self->run(@arguments);
	my $said = join ' ', grep { !ref } @arguments;
	is($code, 0, "difs $said") or diag $err;
	return $out;
}

# What it says with --json, decoded.
sub json
{
	my ($self, $command, @arguments) = @_;
	return decode_json($self->done($command, '--json', @arguments));
}

# Starts it; an IPC::Run handle.
sub start
{
	my ($self, @arguments) = @_;
	local %ENV = (%ENV, $self->environment);
	my ($out, $err) = ('', '');
	return IPC::Run::start([ program(), @arguments ], '<', \'', '>', \$out, '2>', \$err);
}

# Runs it on a pseudo terminal of so many lines and columns; when the pattern is seen, act(pid, terminal) is called, once.
# (wait status, all that came, whether the terminal echoes afterwards)
sub on_terminal
{
	my ($self, $size, $pattern, $act, @arguments) = @_;
	my $pty = IO::Pty->new;
	my $slave = $pty->slave;
	$pty->set_winsize(@$size);
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		$pty->make_slave_controlling_terminal;
		open(STDIN, '<&', $slave);
		open(STDOUT, '>&', $slave);
		open(STDERR, '>&', $slave);
		close $pty;
		%ENV = (%ENV, $self->environment);
		exec(program(), @arguments) or POSIX::_exit(127);
	}
	my $all = '';
	my $status;
	while (1)
	{
		my $ended = waitpid($pid, POSIX::WNOHANG()) == $pid;
		$status = $? if $ended;
		my $ready = '';
		vec($ready, fileno($pty), 1) = 1;
		while (select(my $now = $ready, undef, undef, $ended ? 0 : 0.2) > 0)
		{
			sysread($pty, my $piece, 4096) or last;
			$all .= $piece;
			next unless $act && $all =~ $pattern;
			$act->($pid, $pty);
			$act = undef;
		}
		last if $ended;
	}
	my $termios = POSIX::Termios->new;
	$termios->getattr(fileno($slave));
	return ($status, $all, ($termios->getlflag & POSIX::ECHO()) != 0);
}

# What a tree has in it: { name => "kind mode mtime digest-or-target" }.
sub survey
{
	my ($top) = @_;
	my %found;
	find({ no_chdir => 1, wanted => sub {
		my $name = substr($_, length $top);
		my @status = lstat $_;
		my $kind = -l _ ? 'l' : -d _ ? 'd' : -f _ ? 'f' : '?';
		$found{$name} = $kind eq 'l' ? 'l ' . readlink($_)
		  : join ' ', $kind, sprintf('%04o', $status[2] & 07777), $status[9], $kind eq 'f' ? digest($_) : '';
	} }, $top);
	return \%found;
}

sub digest
{
	my ($name) = @_;
	return Digest::SHA->new(1)->addfile($name, 'b')->hexdigest;
}

1;
