
=pod

=head1 NAME

DifsCluster - a PostgreSQL node with difs and its chunk servers, for TAP tests

=head1 SYNOPSIS

  my $cluster = DifsCluster->new('read', servers => 3);
  $cluster->sql(q{SELECT difs_put('/a', 'hello')});
  $cluster->server(0)->kill;
  $cluster->server(0)->start;
  $cluster->stop;

=head1 DESCRIPTION

Everything that is started is stopped when the test ends, however it ends: by
process id, and chunk servers end by themselves when their standard input does.

=cut

package DifsCluster;

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(sha512);
use File::Basename qw(dirname);
use IO::Handle;
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @clusters;

# servers: number of chunk servers; options: of each difsd; conf: text for postgresql.conf;
# add: 0 leaves the servers unknown to the database
sub new
{
	my ($class, $name, %with) = @_;
	my $self = bless { name => $name, servers => [], dir => abs_path(PostgreSQL::Test::Utils::tempdir()) }, $class;
	push @clusters, $self;

	$self->{key_file} = write_key("$self->{dir}/cluster.key");
	push @{ $self->{servers} },
	  DifsCluster::Server->new($self, sprintf('/storage%02d', $_), @{ $with{options} // [] })
	  for 1 .. $with{servers} // 1;
	$_->start for $self->servers;

	my $node = $self->{node} = PostgreSQL::Test::Cluster->new($name);
	$node->init(%{ $with{init} // {} });
	# tests look at what chunk servers have: what is read must come from there
	$node->append_conf('postgresql.conf', <<"CONF" . ($with{conf} // ''));
difs.cache_size = 0
shared_preload_libraries = 'difs'
difs.local_servers = 0
difs.key_file = '$self->{key_file}'
difs.health_interval = '200ms'
difs.server_timeout = '10s'
difs.block_group_size = '64MB'
max_worker_processes = 16
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION difs');
	if ($with{add} // 1)
	{
		$self->sql($_->add_statement) for $self->servers;
		$self->wait_until_alive;
	}
	return $self;
}

sub node { return $_[0]{node}; }
sub servers { return @{ $_[0]{servers} }; }
sub server { return $_[0]{servers}[ $_[1] ]; }
sub dir { return $_[0]{dir}; }

# The server with that storage name.
sub named
{
	my ($self, $name) = @_;
	my ($server) = grep { $_->{name} eq $name } $self->servers;
	return $server;
}

# The result of a statement that must not fail.
sub sql
{
	my ($self, @statements) = @_;
	return $self->{node}->safe_psql('postgres', join(";\n", @statements));
}

# ($sqlstate, $message, $seconds) of statements the last of which is to fail; the state is '' if it did not.
sub sql_fails
{
	my ($self, @statements) = @_;
	my $began = time;
	my ($stdout, $stderr) = ('', '');
	$self->{node}->psql(
		'postgres', "\\set VERBOSITY verbose\n" . join(";\n", @statements) . ';',
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 1);
	my ($state) = $stderr =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return ($state // '', $stderr, time - $began);
}

# Waits until the keeper has found every server alive.
sub wait_until_alive
{
	my ($self) = @_;
	$self->{node}->poll_query_until('postgres',
		'SELECT count(*) = ' . scalar($self->servers) . ' FROM difs.servers WHERE alive')
	  or die 'chunk servers are not alive';
	return;
}

# Runs the keeper's duties until there is nothing left to do: what is left after the deadline, or what difs_fsck(deep) finds; lines.
# Deleted files wait as long as a copy needs their segments: those are not meant.
sub left_behind
{
	my ($self, $timeout_s) = @_;
	my @left;
	poll_until(sub {
			$self->sql('SELECT difs_unstage()', 'SELECT difs_repair()', 'SELECT difs_scrub_all()', 'SELECT difs_collect()');
			@left = grep { !/^0 / } split /\n/, $self->sql(
				q{SELECT concat_ws(E'\n', doomed || ' more collected', orphans || ' more orphans') FROM difs_collect()},
				q{SELECT count(*) || ' doomed' FROM difs.doomed WHERE ino NOT IN (SELECT ino FROM difs.collection_blockers WHERE kind = 'copy')},
				q{SELECT count(*) || ' staged' FROM difs.staging},
				q{SELECT problem::text FROM difs_fsck(deep => true) problem});
			return !@left;
		}, $timeout_s // 30);
	return @left;
}

# Waits until a condition holds; false after the deadline.
sub poll_until
{
	my ($condition, $timeout_s) = @_;
	my $deadline = time + ($timeout_s // 60);
	until ($condition->())
	{
		return 0 if time > $deadline;
		usleep(20_000);
	}
	return 1;
}

# Stops everything.
sub stop
{
	my ($self) = @_;
	$self->{node}->stop('fast', fail_ok => 1) if $self->{node};
	$_->kill for $self->servers;
	return;
}

END
{
	my $status = $?;
	foreach my $cluster (@clusters)
	{
		$_->kill foreach $cluster->servers;
	}
	$? = $status;
}

# Incompressible bytes, the same for the same seed.
sub random_bytes
{
	my ($length, $seed) = @_;
	my $bytes = '';
	my $blocks = int(($length + 63) / 64);
	$bytes .= sha512("$seed $_") for 1 .. $blocks;
	return substr($bytes, 0, $length);
}

# Compressible bytes, about two to one, of which no range looks like another.
sub text_bytes
{
	my ($length, $seed) = @_;
	return substr(unpack('H*', random_bytes(int($length / 2) + 1, $seed)), 0, $length);
}

# Writes a file that the PostgreSQL server can read; returns its name.
sub write_file
{
	my ($self, $name, $bytes) = @_;
	my $path = "$self->{dir}/$name";
	open(my $file, '>:raw', $path) or die "$path: $!";
	print $file $bytes or die "$path: $!";
	close($file) or die "$path: $!";
	return $path;
}

sub write_key
{
	my ($path) = @_;
	open(my $random, '<:raw', '/dev/urandom') or die "/dev/urandom: $!";
	read($random, my $key, 32) == 32 or die "/dev/urandom: $!";
	my $mask = umask(0077);
	open(my $file, '>', $path) or die "$path: $!";
	print $file unpack('H*', $key), "\n";
	close($file) or die "$path: $!";
	umask($mask);
	return $path;
}

# Where the stored form of a file's segments lies: a list of { segment, group, servers => [DifsCluster::Server …] }.
sub segments
{
	my ($self, $path) = @_;
	my $rows = $self->sql(qq{
		SELECT m.segment, m.block_group, m.stored_length, array_to_string(g.members, ',')
		FROM difs.manifest m JOIN difs.block_groups g ON g.id = m.block_group
		WHERE m.ino = (SELECT ino FROM difs_stat('$path'))
		  AND m.from_version = (SELECT version FROM difs_stat('$path'))
		ORDER BY m.file_offset});
	return map {
		my ($segment, $group, $stored_length, $members) = split /\|/;
		{
			segment => $segment,
			group => $group,
			stored_length => $stored_length,
			servers => [ map { $self->named($_) } split /,/, $members ]
		}
	} split /\n/, $rows;
}

package DifsCluster::Server;

use strict;
use warnings;

use POSIX qw(:sys_wait_h);

sub new
{
	my ($class, $cluster, $name, @options) = @_;
	(my $plain = $name) =~ s{/}{}g;
	return bless {
		name => $name,
		data => "$cluster->{dir}/$plain",
		key_file => $cluster->{key_file},
		address_file => "$cluster->{dir}/$plain.address",
		log => "$PostgreSQL::Test::Utils::log_path/$cluster->{name}_$plain.log",
		options => [@options],
		environment => {},
		port => 0
	}, $class;
}

sub name { return $_[0]{name}; }
sub port { return $_[0]{port}; }
sub pid { return $_[0]{pid}; }

# The program: DIFSD names one, else the one in this tree, else the installed one.
sub program
{
	my $tree = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../chunkd/difsd');
	return $ENV{DIFSD} if $ENV{DIFSD};
	return $tree if defined $tree && -x $tree;
	chomp(my $bin = `pg_config --bindir`);
	return "$bin/difsd";
}

# Starts it, on the port that it had before if any, and waits until it listens.
sub start
{
	my ($self) = @_;
	unlink $self->{address_file};
	pipe(my $stdin, $self->{stdin}) or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<&', $stdin) or POSIX::_exit(126);
		open(STDOUT, '>>', $self->{log}) or POSIX::_exit(126);
		open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
		close($self->{stdin});
		@ENV{ keys %{ $self->{environment} } } = values %{ $self->{environment} };
		exec(program(),
			'--name', $self->{name}, '--data', $self->{data}, '--key-file', $self->{key_file},
			'--listen', "127.0.0.1:$self->{port}", '--address-file', $self->{address_file},
			'--exit-with-stdin', @{ $self->{options} })
		  or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	DifsCluster::poll_until(sub { waitpid($pid, WNOHANG) != 0 || $self->read_address }, 30)
	  && $self->{port}
	  or die "$self->{name} does not start, see $self->{log}";
	return $self;
}

sub read_address
{
	my ($self) = @_;
	open(my $file, '<', $self->{address_file}) or return 0;
	my $line = <$file> // return 0;
	return 0 unless $line =~ /:(\d+)\s*\n/;
	$self->{port} = $1;
	return 1;
}

# Sends a signal by name.
sub signal
{
	my ($self, $signal) = @_;
	CORE::kill($signal, $self->{pid}) if $self->{pid};
	return $self;
}

# Kills it, as a power cut would, and waits until it is gone.
sub kill
{
	my ($self) = @_;
	return $self unless $self->{pid};
	CORE::kill('KILL', $self->{pid});
	waitpid($self->{pid}, 0);
	delete $self->{pid};
	close(delete $self->{stdin});
	return $self;
}

# Asks it to end, and waits until it has; returns its exit status.
sub terminate
{
	my ($self) = @_;
	CORE::kill('TERM', $self->{pid});
	waitpid($self->{pid}, 0);
	delete $self->{pid};
	close(delete $self->{stdin});
	return $?;
}

sub add_statement
{
	my ($self) = @_;
	return "SELECT difs_server_add('$self->{name}', '127.0.0.1', $self->{port})";
}

# Name of the file of a block group.
sub group_file
{
	my ($self, $group) = @_;
	my ($file) = glob(sprintf('%s/*/%016x.group', $self->{data}, $group));
	return $file // die sprintf('%s does not hold group %016x', $self->{name}, $group);
}

# ($file, $offset, $header_size) of a segment's record in its group file.
sub record_of
{
	my ($self, $segment) = @_;
	my $file = $self->group_file($segment->{group});
	my $wanted = 'DSEG' . '.{4}' . quotemeta(pack('Q<', $segment->{segment}));
	my $blocks = int(($segment->{stored_length} + 65535) / 65536);

	open(my $handle, '<:raw', $file) or die "$file: $!";
	my $bytes = do { local $/; <$handle> };
	while ($bytes =~ /$wanted/gs)
	{
		return ($file, $-[0], 64 + 4 * $blocks) if $-[0] % 64 == 0;
	}
	die "segment $segment->{segment} is not in $file";
}

# Flips one bit of a byte of the header.
sub flip_header
{
	my ($self, $segment, $offset) = @_;
	my (undef, undef, $header_size) = $self->record_of($segment);
	return $self->flip($segment, $offset - $header_size);
}

# Flips one bit of a byte: at an offset in the stored form, or, if negative, counted from the end of the header.
sub flip
{
	my ($self, $segment, $offset) = @_;
	my ($file, $at, $header_size) = $self->record_of($segment);

	open(my $handle, '+<:raw', $file) or die "$file: $!";
	seek($handle, $at + $header_size + $offset, 0) or die "$file: $!";
	read($handle, my $byte, 1) == 1 or die "$file: $!";
	seek($handle, -1, 1) or die "$file: $!";
	print $handle chr(ord($byte) ^ 0x10);
	close($handle) or die "$file: $!";
	return;
}

1;
