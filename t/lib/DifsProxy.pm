
=pod

=head1 NAME

DifsProxy - a bad network between a client and one chunk server, for TAP tests

=head1 SYNOPSIS

  my $proxy = DifsProxy->new($server->port);
  $cluster->sql("SELECT difs_server_add('/storage01', '127.0.0.1', " . $proxy->port . ")");
  $proxy->set(latency => 0.3);
  $proxy->set(hold => 1);			# a black hole: nothing arrives, nothing is closed
  $proxy->clear;				# what was held goes on its way
  my $bytes = $proxy->seen('down');

=head1 DESCRIPTION

A process of its own, one select loop, no threads. It ends with the test: when its
control socket does. "Down" is from the server to the client, "up" the other way.

Settings, in force from set() until clear() or another set(); they apply to present
and new connections:

  latency  => s   down bytes arrive so much later (bandwidth is not limited)
  jitter   => s   and up to so much later than that, in order
  loss     => p   of pieces of 1,448 bytes, in both directions, this part is lost and sent again after 200, 400,
                  800 ms, while all behind it wait: what TCP makes of lost packets
  rate     => n   bytes a second in each direction of each connection, in pieces of 100 at most: they crawl
  hold     => 1   nothing is forwarded
  refuse   => 1   new connections are reset
  reset    => 1   present connections are reset now, new ones at once
  cut      => n   each connection is reset after n more down bytes
  flip     => n   in each connection, a bit of the n-th down byte from now on is flipped (and of each n-th, with flip_again => 1)
  flip_up  => n   the same for up bytes

set(reset => 0) and so on ends one of them. stats() returns names and numbers: connections (accepted so far), open, up and down (bytes
forwarded); seen() one of them.

=cut

package DifsProxy;

use strict;
use warnings;

use Fcntl;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket;
use Time::HiRes qw(time);

use constant QUEUE_BYTES => 8 * 1024 * 1024;	# more is not read before some has left
use constant PIECE_BYTES => 64 * 1024;
use constant PACKET_BYTES => 1448;

sub new
{
	my ($class, $target_port) = @_;
	my $listener = IO::Socket::INET->new(Listen => 128, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!";
	socketpair(my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
	$_->autoflush(1) for $mine, $its;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		close($mine);
		eval { serve($listener, $its, $target_port); };
		print STDERR "DifsProxy: $@" if $@;
		POSIX::_exit(0);		# without the END blocks of the test
	}
	close($its);
	my $port = $listener->sockport;
	close($listener);
	return bless { pid => $pid, port => $port, control => $mine }, $class;
}

sub port { return $_[0]{port}; }
sub pid { return $_[0]{pid}; }

sub set
{
	my ($self, %settings) = @_;
	$self->ask("set $_ $settings{$_}") for sort keys %settings;
	return $self;
}

sub clear { $_[0]->ask('clear'); return $_[0]; }

# Closes all present connections in an orderly way.
sub close_all { $_[0]->ask('close'); return $_[0]; }

sub stats { return split / /, $_[0]->ask('stats'); }

# One of the numbers.
sub seen { my %all = $_[0]->stats; return $all{ $_[1] }; }

sub stop
{
	my ($self) = @_;
	$self->ask('quit');			# later children of the test may hold its end of the control socket, too
	close($self->{control});
	waitpid($self->{pid}, 0);
	return;
}

sub ask
{
	my ($self, $line) = @_;
	my $control = $self->{control};
	print $control "$line\n" or die "DifsProxy: $!";
	my $reply = <$control> // die 'DifsProxy has ended';
	chomp $reply;
	return $reply;
}

# What follows runs in the proxy's process.

my (%set, %stats, @pairs);

# A direction of a connection: from -> to, queue of [ due, bytes ].
sub direction
{
	my ($from, $to, $down) = @_;
	return { from => $from, to => $to, down => $down, queue => [], queued => 0, last_due => 0, seen => 0, ended => 0 };
}

sub serve
{
	my ($listener, $control, $target_port) = @_;
	local $SIG{PIPE} = 'IGNORE';
	local $SIG{$_} = 'DEFAULT' for qw(INT TERM);
	nonblocking($_) for $listener, $control;
	%stats = (connections => 0, up => 0, down => 0);
	my $commands = '';

	while (1)
	{
		my ($readable, $writable, $timeout) = interest($listener, $control);
		my ($can_read, $can_write) = IO::Select->select($readable, $writable, undef, $timeout);
		my %ready = map { fileno($_) => 1 } @{ $can_read // [] };

		if ($ready{ fileno($control) })
		{
			my $got = sysread($control, $commands, 4096, length $commands);
			return if defined $got && $got == 0;
			while ($commands =~ s/^(.*)\n//)
			{
				my $line = $1;
				syswrite($control, obey($line) . "\n");
				return if $line eq 'quit';
			}
		}
		accept_one($listener, $target_port) if $ready{ fileno($listener) };
		foreach my $pair (@pairs)
		{
			foreach my $direction (@{ $pair->{directions} })
			{
				receive($pair, $direction) if !$pair->{gone} && $ready{ fileno($direction->{from}) // -1 };
				forward($pair, $direction) if !$pair->{gone};
			}
		}
		@pairs = grep { !$_->{gone} } @pairs;
	}
}

# ($readable, $writable, $timeout) for select.
sub interest
{
	my ($listener, $control) = @_;
	my $readable = IO::Select->new($listener, $control);
	my $writable = IO::Select->new;
	my $next;

	foreach my $direction (map { @{ $_->{directions} } } @pairs)
	{
		$readable->add($direction->{from}) if !$direction->{ended} && $direction->{queued} < QUEUE_BYTES && !$set{hold};
		next if $set{hold} || !@{ $direction->{queue} };
		my $due = $direction->{queue}[0][0];
		$writable->add($direction->{to}) if $due <= time;
		$next = $due if $due > time && (!defined $next || $due < $next);
	}
	my $timeout = defined $next ? $next - time : undef;
	$timeout = 0 if defined $timeout && $timeout < 0;
	return ($readable, $writable, $timeout);
}

sub obey
{
	my ($line) = @_;
	my ($verb, $name, $value) = split / /, $line;

	if ($verb eq 'set')
	{
		$set{$name} = $value;
		if ($name =~ /^(cut|flip|flip_up)$/)
		{
			$_->{seen} = 0 for map { @{ $_->{directions} } } @pairs;
		}
		if ($name eq 'reset' && $value)
		{
			drop($_, 1) for @pairs;
		}
		return 'ok';
	}
	if ($verb eq 'clear')
	{
		%set = ();
		return 'ok';
	}
	if ($verb eq 'close')
	{
		drop($_, 0) for @pairs;
		return 'ok';
	}
	return 'ok' if $verb eq 'quit';
	return join ' ', %stats, open => scalar @pairs if $verb eq 'stats';
	return "unknown: $line";
}

sub accept_one
{
	my ($listener, $target_port) = @_;
	my $client = $listener->accept or return;
	$stats{connections}++;
	my $server;
	$server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target_port, Timeout => 5)
	  unless $set{refuse} || $set{reset};
	if (!$server)
	{
		reset_close($client);
		return;
	}
	foreach my $socket ($client, $server)
	{
		nonblocking($socket);
		setsockopt($socket, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1);
	}
	push @pairs, { directions => [ direction($client, $server, 0), direction($server, $client, 1) ] };
	return;
}

sub receive
{
	my ($pair, $direction) = @_;
	my $got = sysread($direction->{from}, my $bytes, PIECE_BYTES);
	if (!defined $got)
	{
		drop($pair, 1) unless $!{EAGAIN} || $!{EINTR};
		return;
	}
	if ($got == 0)
	{
		$direction->{ended} = 1;
		return;
	}
	damage($direction, \$bytes);
	if ($direction->{down} && $set{cut} && $direction->{seen} + $got >= $set{cut})
	{
		$bytes = substr($bytes, 0, $set{cut} - $direction->{seen});
		$pair->{cut} = 1;
	}
	$direction->{seen} += $got;
	push @{ $direction->{queue} }, pieces($direction, $bytes);
	$direction->{queued} += length $bytes;
	return;
}

# Flips bits.
sub damage
{
	my ($direction, $bytes) = @_;
	my $n = $direction->{down} ? $set{flip} : $set{flip_up};
	return unless $n;
	for (my $at = $n; $at <= $direction->{seen} + length $$bytes; $at += $n)
	{
		next if $at <= $direction->{seen};
		my $index = $at - $direction->{seen} - 1;
		substr($$bytes, $index, 1) = chr(ord(substr($$bytes, $index, 1)) ^ 0x10);
		last unless $set{flip_again};
	}
	return;
}

# When which bytes are due.
sub pieces
{
	my ($direction, $bytes) = @_;
	my $late = $direction->{down} ? ($set{latency} // 0) + ($set{jitter} ? rand($set{jitter}) : 0) : 0;
	my $loss = $set{loss} // 0;
	my $size = $set{rate} ? 100 : PACKET_BYTES;
	my @pieces;

	foreach my $packet ($loss || $set{rate} ? unpack("(a$size)*", $bytes) : $bytes)
	{
		my $due = time + $late;
		$direction->{last_due} = ($direction->{last_due} > $due ? $direction->{last_due} : $due) + length($packet) / $set{rate} if $set{rate};
		for (my $again = 0.2; $loss && rand() < $loss && $again < 2; $again *= 2)
		{
			$due += $again;
		}
		$due = $direction->{last_due} if $due < $direction->{last_due};
		$direction->{last_due} = $due;
		push @pieces, [ $due, $packet ];
	}
	return @pieces;
}

sub forward
{
	my ($pair, $direction) = @_;
	my $queue = $direction->{queue};

	while (@$queue && !$set{hold} && $queue->[0][0] <= time)
	{
		my $sent = syswrite($direction->{to}, $queue->[0][1]);
		if (!defined $sent)
		{
			drop($pair, 1) unless $!{EAGAIN} || $!{EINTR};
			return;
		}
		$stats{ $direction->{down} ? 'down' : 'up' } += $sent;
		$direction->{queued} -= $sent;
		substr($queue->[0][1], 0, $sent) = '';
		shift @$queue if $queue->[0][1] eq '';
	}
	return if @$queue;
	drop($pair, 1) if $pair->{cut} && $direction->{down};
	drop($pair, 0) if $direction->{ended};
	return;
}

sub drop
{
	my ($pair, $hard) = @_;
	return if $pair->{gone};
	$pair->{gone} = 1;
	foreach my $direction (@{ $pair->{directions} })
	{
		$hard ? reset_close($direction->{from}) : close($direction->{from});
	}
	return;
}

sub reset_close
{
	my ($socket) = @_;
	setsockopt($socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
	close($socket);
	return;
}

sub nonblocking
{
	my ($handle) = @_;
	fcntl($handle, F_SETFL, fcntl($handle, F_GETFL, 0) | O_NONBLOCK) or die "fcntl: $!";
	return;
}

1;
