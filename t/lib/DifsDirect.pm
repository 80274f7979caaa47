
=pod

=head1 NAME

DifsDirect - a client that sends and fetches segments itself, for TAP tests

=head1 SYNOPSIS

  my $direct = DifsDirect->new($cluster);
  my $session = $direct->session;               # stays open
  $session->query('BEGIN');
  my $upload = $direct->begin($session, '/f', length $bytes);
  $direct->send($session, $upload, $bytes);     # all segments, to all servers; receipts are kept
  $direct->commit($session, $upload);
  is($direct->get($session, '/f'), $bytes);

=head1 DESCRIPTION

SQL goes through a session of psql, segments through test/direct/direct.c, which has no key.

=cut

package DifsDirect;

use strict;
use warnings;

use DifsCluster;
use File::Temp qw(tempdir);
use FindBin;
use IPC::Open2;
use PostgreSQL::Test::Utils;

my $program;

sub build
{
	return $program if defined $program;
	my $built = tempdir('difs-direct-XXXXXX', TMPDIR => 1, CLEANUP => 1);
	system('make', '-s', '-C', "$FindBin::RealBin/../test/direct", "B=$built") == 0 or die 'test/direct cannot be built';
	return $program = "$built/direct";
}

sub new
{
	my ($class, $cluster) = @_;
	my $self = bless { cluster => $cluster, dir => tempdir('difs-direct-XXXXXX', TMPDIR => 1, CLEANUP => 1), files => 0 }, $class;
	$self->start;
	return $self;
}

# The client's process, with its connections.
sub start
{
	my ($self) = @_;
	my ($out, $in);
	$self->{pid} = open2($out, $in, build());
	@$self{qw(out in)} = ($out, $in);
	return;
}

sub end
{
	my ($self, $signal) = @_;
	return unless $self->{pid};
	kill $signal, $self->{pid} if $signal;
	close $self->{in};
	waitpid $self->{pid}, 0;
	$self->{pid} = 0;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@, $!);
	$self->end('KILL');
	return;
}

# One command of direct.c; its answer.
sub command
{
	my ($self, @words) = @_;
	my $in = $self->{in};
	my $out = $self->{out};
	local $SIG{PIPE} = 'IGNORE';
	print $in join(' ', @words), "\n";
	$in->flush;
	my $answer = <$out> // 'failed: the client is gone';
	chomp $answer;
	return $answer;
}

# A session that stays: query() dies after an error, try() returns (result, message).
sub session
{
	my ($self, %with) = @_;
	return DifsDirect::Session->new($with{node} // $self->{cluster}->node, %with);
}

sub literal { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }

# size undef: of unknown length. with: more named arguments, as SQL.
sub begin
{
	my ($self, $session, $path, $size, %with) = @_;
	my $arguments = join '', map { ", $_ => $with{$_}" } sort keys %with;
	my ($id, $segment_size, $compression, $level, $replicas) = split /\|/,
	  $session->query(sprintf 'SELECT * FROM difs_upload_begin(%s, %s%s)', literal($path), $size // 'NULL', $arguments);
	return { id => $id, segment_size => $segment_size, level => $level, replicas => $replicas, receipts => [] };
}

# Rows { number, segment, group, epoch, servers, token }.
sub place
{
	my ($self, $session, $upload, $first, $count, $avoid) = @_;
	my $result = $session->query(sprintf q{SELECT number, segment, block_group, epoch, array_to_string(servers, ','), encode(token, 'hex')
		FROM difs_upload_place(%s, %d, %d%s)}, $upload->{id}, $first, $count, $avoid ? ", ARRAY[$avoid]::bigint[]" : '');
	return map { my %row; @row{qw(number segment group epoch servers token)} = split /\|/; $row{servers} = [split /,/, $row{servers}]; \%row }
	  split /\n/, $result;
}

sub file_of
{
	my ($self, $bytes) = @_;
	my $file = sprintf '%s/%d', $self->{dir}, $self->{files}++;
	open my $handle, '>:raw', $file or die "$file: $!";
	print $handle $bytes;
	close $handle or die "$file: $!";
	return $file;
}

# Sends one placed segment of a file to some servers (all); the answers.
sub put
{
	my ($self, $upload, $place, $file, $offset, $length, @servers) = @_;
	return map { $self->command('put', $place->{token}, $_, $file, $offset, $length, $upload->{level}) }
	  @servers ? @servers : @{ $place->{servers} };
}

# Sends numbers (all) of a content, and keeps the receipts in $upload->{receipts}; places anew what fails. Returns how often that was.
sub send
{
	my ($self, $session, $upload, $bytes, @numbers) = @_;
	my $size = $upload->{segment_size};
	my $file = $self->file_of($bytes);
	my $again = 0;
	@numbers = 0 .. int((length($bytes) + $size - 1) / $size) - 1 unless @numbers;
	foreach my $number (@numbers)
	{
		my $length = length($bytes) - $number * $size;
		my @avoid;
		$length = $size if $length > $size;
		for (;;)
		{
			my ($place) = $self->place($session, $upload, $number, 1, join ',', @avoid);
			my @answers = $self->put($upload, $place, $file, $number * $size, $length);
			my @receipts = map { /^ok ([0-9a-f]+)$/ ? $1 : () } @answers;
			if (@receipts == @answers)
			{
				push @{ $upload->{receipts} }, @receipts;
				last;
			}
			push @avoid, $place->{group};
			die "cannot send segment $number: @answers" if ++$again > 100;
		}
	}
	return $again;
}

sub receipts_sql
{
	my (@receipts) = @_;
	return 'ARRAY[' . join(', ', map { "decode('$_', 'hex')" } @receipts) . ']::bytea[]';
}

# Hands the receipts over.
sub register
{
	my ($self, $session, $upload) = @_;
	my $count = $session->query(sprintf 'SELECT difs_upload_receipts(%s, %s)', $upload->{id}, receipts_sql(@{ $upload->{receipts} }));
	$upload->{receipts} = [];
	return $count;
}

sub commit_sql
{
	my ($upload, $size) = @_;
	return sprintf 'SELECT difs_upload_commit(%s, %s, %s)', $upload->{id}, receipts_sql(@{ $upload->{receipts} }), $size // 'NULL';
}

sub commit
{
	my ($self, $session, $upload, $size) = @_;
	return $session->query(commit_sql($upload, $size));
}

# A whole upload in one transaction; the version.
sub upload
{
	my ($self, $session, $path, $bytes, %with) = @_;
	$session->query('BEGIN');
	my $upload = $self->begin($session, $path, length $bytes, %with);
	$self->send($session, $upload, $bytes);
	my $version = $self->commit($session, $upload);
	$session->query('COMMIT');
	return $version;
}

# Rows of difs_locate(), as hashes.
sub locate
{
	my ($self, $session, $path, $offset, $length, $version) = @_;
	my @names = qw(file_offset length segment segment_offset block_group epoch stored_length raw_length codec crc servers token data);
	my $result = $session->query(sprintf q{SELECT file_offset, length, segment, segment_offset, block_group, epoch, stored_length, raw_length,
		codec, crc, array_to_string(servers, ','), encode(token, 'hex'), encode(data, 'hex') FROM difs_locate(%s, %s, %s, %s)}, literal($path),
		$offset // 0, $length // 'NULL', $version // 'NULL');
	return map { my %row; @row{@names} = split /\|/, $_, -1; $row{servers} = [split /,/, $row{servers}]; \%row } split /\n/, $result;
}

# The bytes of a range, from the servers; holes are zeros.
sub get
{
	my ($self, $session, $path, $offset, $length, $version) = @_;
	my $size = $session->query(sprintf 'SELECT size FROM difs_stat(%s, %s)', literal($path), $version // 'NULL');
	$offset //= 0;
	my $end = defined $length && $offset + $length < $size ? $offset + $length : $size;
	my $bytes = "\0" x ($end - $offset);
	foreach my $row ($self->locate($session, $path, $offset, $length, $version))
	{
		my $piece;
		if ($row->{token} eq '')
		{
			$piece = pack 'H*', $row->{data};
		}
		else
		{
			my @failed;
			foreach my $server (@{ $row->{servers} })
			{
				my $file = sprintf '%s/got%d', $self->{dir}, $self->{files}++;
				my $answer = $self->command('get', $row->{token}, $server, @$row{qw(segment_offset length stored_length raw_length codec crc)}, $file, 0);
				if ($answer =~ /^ok/)
				{
					$piece = slurp_file($file);
					last;
				}
				push @failed, $answer;
			}
			die "cannot get segment $row->{segment}: @failed" unless defined $piece;
		}
		substr($bytes, $row->{file_offset} - $offset, $row->{length}) = $piece;
	}
	return $bytes;
}

package DifsDirect::Session;

use strict;
use warnings;

sub new
{
	my ($class, $node, %with) = @_;
	my $psql = $node->background_psql($with{database} // 'postgres', on_error_stop => 0, timeout => 120,
		$with{user} ? (extra_params => ['-U', $with{user}]) : ());
	my $self = bless { psql => $psql }, $class;
	$self->{psql}->query('\set VERBOSITY verbose');
	return $self;
}

sub try
{
	my ($self, $statement) = @_;
	my $psql = $self->{psql};
	$psql->{stderr} = '';
	my $result = $psql->query($statement);
	my $message = $psql->{stderr};
	$psql->{stderr} = '';
	return ($result, $message =~ /(?:ERROR|FATAL):\s|connection/ || !$psql->{run}->pumpable ? "$message\n" : '');
}

sub query
{
	my ($self, $statement) = @_;
	my ($result, $message) = $self->try($statement);
	die "$statement\n$message" if $message ne '';
	return $result;
}

# Begins a statement that will wait: its result comes in front of that of the next query.
sub send
{
	my ($self, $statement) = @_;
	$self->{psql}{stdin} .= "$statement;\n";
	$self->{psql}{run}->pump_nb;
	return;
}

# The SQLSTATE, '' if it succeeds.
sub fails
{
	my ($self, $statement) = @_;
	my ($result, $message) = $self->try($statement);
	return $message =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/ ? $1 : '';
}

sub quit { my ($self) = @_; $self->{psql}->quit; return; }

1;
