
=pod

=head1 NAME

DifsHttp - a small HTTP server on the loopback, for tests of difs_insert()

=head1 SYNOPSIS

  my $http = DifsHttp->new($directory);
  $http->url('/ok/1000000');      # what $http->content(1000000) returns
  $http->requests('/ok/1000000'); # how often, and with which Range, it has been asked for
  $http->open_gate;

=head1 DESCRIPTION

A process for each connection, one request for each.  What is served:

  /ok/N            N bytes, with an ETag and ranges
  /weak/N          the same without an ETag, and without ranges
  /reset/N         the same as /ok, but the first answer is torn off in the middle, by RST
  /short/N         the same as /weak, with the first answer torn off
  /torn/N          torn off at the first byte, each time
  /changed/N       as /reset, with another ETag for the second time
  /gate/N          half of it; the rest once the gate is open
  /slow/N          one byte a tenth of a second
  /endless         without a length, for ever
  /status/N        that status
  /to/URL          redirects there
  /again           redirects to itself

=cut

package DifsHttp;

use strict;
use warnings;

use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use POSIX ();
use Time::HiRes qw(usleep);

use DifsCluster;

my @servers;

sub new
{
	my ($class, $dir) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 50, ReuseAddr => 1)
	  or die "cannot listen: $!";
	my $self = bless { port => $listener->sockport, log => "$dir/http." . $listener->sockport, gate => "$dir/gate" }, $class;
	$self->{pid} = fork // die "fork: $!";
	if ($self->{pid} == 0)
	{
		@servers = ();
		$SIG{CHLD} = 'IGNORE';
		$SIG{TERM} = 'DEFAULT';
		my $parent = getppid;
		while (getppid == $parent)
		{
			my $ready = '';
			vec($ready, fileno($listener), 1) = 1;
			next unless select($ready, undef, undef, 1) > 0;
			my $peer = $listener->accept or next;
			next if fork;
			$SIG{PIPE} = 'IGNORE';
			close($listener);
			$self->serve($peer);
			POSIX::_exit(0);
		}
		POSIX::_exit(0);
	}
	close($listener);
	push @servers, $self;
	return $self;
}

sub port { return $_[0]{port}; }
sub url { return "http://127.0.0.1:$_[0]{port}$_[1]"; }
sub content { return DifsCluster::random_bytes($_[1], 'http'); }

# The Range of each request for a path, '-' where there was none.
sub requests
{
	my ($self, $path) = @_;
	open(my $file, '<', $self->{log}) or return ();
	return map { /^\Q$path\E (\S+)$/ ? $1 : () } <$file>;
}

sub open_gate
{
	my ($self) = @_;
	open(my $file, '>', $self->{gate}) or die "$self->{gate}: $!";
	return;
}

sub close_gate { unlink $_[0]{gate}; return; }

sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	kill('TERM', $self->{pid});
	waitpid(delete $self->{pid}, 0);
	return;
}

END
{
	my $status = $?;
	$_->stop foreach @servers;
	$? = $status;
}

sub serve
{
	my ($self, $peer) = @_;
	$peer->autoflush(1);
	my ($request, %header) = (scalar(<$peer>) // return);
	while (defined(my $line = <$peer>))
	{
		last if $line =~ /^\r?\n$/;
		$header{ lc $1 } = $2 if $line =~ /^([^:]+):\s*(.*?)\r?\n$/;
	}
	my ($path) = $request =~ m{^GET (\S+)};
	my $before = $self->requests($path);
	open(my $log, '>>', $self->{log}) or die;
	syswrite($log, "$path " . ($header{range} // '-') . "\n");
	close($log);

	return print $peer "HTTP/1.1 302 Found\r\nLocation: $1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" if $path =~ m{^/to/(.*)};
	return print $peer "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" if $path eq '/again';
	return print $peer "HTTP/1.1 $1 So\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n" if $path =~ m{^/status/(\d+)};
	if ($path eq '/endless')
	{
		print $peer "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
		my $piece = 'endless ' x 8192;
		1 while print $peer $piece;
		return;
	}

	my ($kind, $size) = $path =~ m{^/(\w+)/(\d+)} or return;
	my $ranges = $kind =~ /^(?:ok|reset|changed|gate)$/;
	my $etag = $kind eq 'changed' ? "\"$before\"" : '"e"';
	my $from = 0;
	$from = $1 if $ranges && ($header{range} // '') =~ /^bytes=(\d+)-$/ && ($header{'if-range'} // $etag) eq $etag;
	my $bytes = substr(content($self, $size), $from);
	my $length = length($bytes);
	print $peer 'HTTP/1.1 ', $from > 0 ? '206 Partial Content' : '200 OK', "\r\nConnection: close\r\nContent-Length: $length\r\n",
	  $ranges ? "ETag: $etag\r\n" : '',
	  $from > 0 ? "Content-Range: bytes $from-" . ($size - 1) . "/$size\r\n" : '', "\r\n";
	my $half = int($length / 2);
	if ($kind eq 'torn' || ($kind =~ /^(?:reset|short|changed)$/ && !$before))
	{
		$self->write_all($peer, substr($bytes, 0, $kind eq 'torn' ? 0 : $half));
		usleep(300_000);    # what has been sent shall be read
		setsockopt($peer, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
		return close($peer);
	}
	if ($kind eq 'gate')
	{
		$self->write_all($peer, substr($bytes, 0, $half));
		until (-e $self->{gate}) { return if $self->peer_is_gone($peer); usleep(20_000); }
		return $self->write_all($peer, substr($bytes, $half));
	}
	if ($kind eq 'slow')
	{
		foreach my $byte (split //, $bytes)
		{
			return if $self->peer_is_gone($peer) || !print $peer $byte;
			usleep(100_000);
		}
		return;
	}
	return $self->write_all($peer, $bytes);
}

sub peer_is_gone
{
	my ($self, $peer) = @_;
	my $ready = '';
	vec($ready, fileno($peer), 1) = 1;
	return select($ready, undef, undef, 0) > 0;    # it has nothing to say but that
}

sub write_all
{
	my ($self, $peer, $bytes) = @_;
	my $at = 0;
	while ($at < length($bytes))
	{
		my $done = syswrite($peer, $bytes, 65536, $at) or return;
		$at += $done;
	}
	return;
}

1;
