#!/usr/bin/perl
# power_cut.pl - cuts the power of file systems under load, and asks for every acknowledged byte afterwards.  As root.
#
#	power_cut.pl --work DIR --bin DIR --tools DIR [--cycles N] [--kinds LIST] [--seed N] [--control NAME]
#
# Called by scripts/power-cut, which prepares all that it needs: --bin has PostgreSQL's programs with difs installed, --tools
# what test/faults/Makefile builds.
#
# The file systems are ext4 on loop devices.  The shutdown ioctl, without a flush of the log, makes what was not synced vanish and
# everything else fail with EIO; after that the processes are killed, and the file system is unmounted, mounted, and recovered.
#
#	operations	a chunk server alone: cut after each step of the exercise in turn
#	servers		below three chunk servers, while clients put files
#	postgres	below PostgreSQL
#	both		both at once
#
# Ends with 0 if nothing was lost.  With --control, a safety is left out (a name in fault_points.txt, or postgres.fsync), and it ends
# with 0 if the loss was seen.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use Getopt::Long;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time usleep);

use lib "$FindBin::RealBin/../../t/lib";

my %option = (cycles => 10, kinds => 'operations,servers,postgres,both', seed => 3, control => '');
GetOptions(\%option, 'work=s', 'bin=s', 'tools=s', 'cycles=i', 'kinds=s', 'seed=i', 'control=s') or exit 2;
$ENV{DIFS_FAULT_TOOLS} = $option{tools};
require DifsFaults;

my $shutdown_request = 0x8004587d;	# EXT4_IOC_SHUTDOWN
my $without_log_flush = 2;
my $writers = 3;
my $work = $option{work};
my @as_user = ('setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups');
my $port = 20000 + $$ % 10000;
my %mounted;
my %servers;
my ($total, $lost, $cycles) = (0, 0, 0);

srand($option{seed});
$SIG{INT} = $SIG{TERM} = sub { exit 1 };
$ENV{DIFS_FAULT_FILE} = "$work/control";
write_file("$work/control", $option{control} =~ /^chunkd/ ? "$option{control} skip\n" : '');

# Runs a command that must not fail; returns its output.
sub run
{
	my (@command) = @_;
	open(my $output, '-|', @command) or die "$command[0]: $!";
	my @lines = <$output>;
	close($output) or die "@command failed: $?\n@lines";
	return join '', @lines;
}

sub write_file
{
	my ($path, $text) = @_;
	open(my $file, '>', $path) or die "$path: $!";
	print $file $text;
	close($file) or die "$path: $!";
	return;
}

sub poll_until
{
	my ($condition, $timeout_s) = @_;
	my $deadline = time + $timeout_s;
	until ($condition->())
	{
		return 0 if time > $deadline;
		usleep(10_000);
	}
	return 1;
}

# File systems.  The journal is not committed by time, so that what is not synced does not become durable by luck.
sub make_file_system
{
	my ($name) = @_;
	mkdir("$work/$name");
	run('truncate', '-s', '6G', "$work/$name.img");
	run('mkfs.ext4', '-q', '-F', "$work/$name.img");
	mount_file_system($name);
	run('chown', 'postgres:postgres', "$work/$name");
	return;
}

sub mount_file_system
{
	my ($name) = @_;
	run('mount', '-o', 'loop,commit=300', "$work/$name.img", "$work/$name");
	$mounted{$name} = 1;
	return;
}

sub cut
{
	my ($name) = @_;
	open(my $directory, '<', "$work/$name") or die "$work/$name: $!";
	ioctl($directory, $shutdown_request, pack('L', $without_log_flush)) or die "shutdown of $work/$name: $!";
	return;
}

sub unmount
{
	my ($name) = @_;
	poll_until(sub { system("umount '$work/$name' 2>>'$work/umount.log'") == 0 }, 30) or die "$work/$name is busy";
	delete $mounted{$name};
	return;
}

# A cut has been made and the processes are gone: what is left on the disk is what there is.
sub recover
{
	my ($name) = @_;
	unmount($name);
	mount_file_system($name);
	return;
}

# The chunk server alone.
sub operations
{
	make_file_system('alone');
	my $run = DifsFaults->new('cut');
	$run->{data} = "$work/alone/data";
	foreach my $cycle (1 .. $option{cycles})
	{
		# each step once, or as many of them as there are cycles
		my $step = $cycle <= $run->restart_step && $option{cycles} >= $run->restart_step ? $cycle : 1 + int(rand($run->restart_step));
		$run->reset;
		$run->arm("$option{control} skip") if $option{control};
		$run->start or die 'difsd does not start';
		my @wrong = $run->exercise(0, $step);
		$total += $run->acknowledged;
		cut('alone');
		$run->end('KILL');
		recover('alone');
		push @wrong, $run->start ? $run->check : 'difsd does not start: ' . (split /\n/, DifsFaults::slurp($run->log))[-1];
		$run->end('KILL');
		$cycles++;
		$lost++ if @wrong;
		print "operations, cut after step $step: $_\n" foreach @wrong;
	}
	unmount('alone');
	return;
}

# The servers.
sub start_server
{
	my ($name) = @_;
	my $server = $servers{$name} //= { port => 0, address => "$work/$name.address" };
	unlink $server->{address};
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$work/$name.log");
		open(STDERR, '>&', \*STDOUT);
		exec(@as_user, "$option{tools}/chunkd/difsd", '--name', "/$name", '--data', "$work/servers/$name",
			'--key-file', "$work/key", '--listen', "127.0.0.1:$server->{port}", '--address-file', $server->{address})
		  or POSIX::_exit(127);
	}
	$server->{pid} = $pid;
	poll_until(sub { DifsFaults::slurp($server->{address}) =~ /:(\d+)\n/ and $server->{port} = $1 }, 30)
	  or die "/$name does not start, see $work/$name.log";
	return;
}

sub kill_servers
{
	foreach my $server (grep { $_->{pid} } values %servers)
	{
		kill('KILL', $server->{pid});
		waitpid(delete $server->{pid}, 0);
	}
	return;
}

# PostgreSQL.
sub start_postgres
{
	my $log = "$work/postgres.log";
	return poll_until(
		sub {
			system("@as_user $option{bin}/pg_ctl -s -w -t 60 -D $work/postgres/data -l $log start 2>>$work/pg_ctl.log") == 0;
		},
		60) || die "PostgreSQL does not start, see $log";
}

# The postmaster and its children, by their ids.
sub postgres_pids
{
	my ($postmaster) = DifsFaults::slurp("$work/postmaster.id") =~ /^(\d+)/ or return;
	return ($postmaster,
		grep { DifsFaults::slurp("/proc/$_/stat") =~ /^\d+ \(.*\) \S $postmaster / } map { m{(\d+)} } glob('/proc/[0-9]*'));
}

sub kill_postgres
{
	my @pids = postgres_pids() or return;
	kill('KILL', @pids);
	poll_until(sub { !grep { kill(0, $_) } @pids }, 30) or die 'PostgreSQL does not end';
	unlink "$work/postmaster.id";
	return;
}

# In a power cut nobody runs on.  Here those who did could be told by the kernel, for a sync that was under way when the shutdown came,
# of a success that is none (doc/faults.md), so they are stopped first: a sync under way ends in the kernel, and nobody hears of it.
sub freeze
{
	my ($kind) = @_;
	my @pids = ($kind ne 'servers' ? postgres_pids() : (), $kind ne 'postgres' ? map { $_->{pid} } values %servers : ());
	kill('STOP', @pids);
	# one may have gone meanwhile, or have been started before the postmaster stopped
	kill('STOP', @pids = (@pids, postgres_pids())) if $kind ne 'servers';
	poll_until(sub { !grep { DifsFaults::slurp("/proc/$_/stat") =~ /^\d+ \(.*\) [^TZX]/ } @pids }, 30) or die 'not frozen';
	return;
}

sub note_postmaster
{
	write_file("$work/postmaster.id", DifsFaults::slurp("$work/postgres/data/postmaster.pid"));
	return;
}

sub sql
{
	my (@statements) = @_;
	my $result = run("$option{bin}/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $work, '-p', $port, '-U', 'postgres', '-d', 'postgres',
		map { ('-c', $_) } @statements);
	chomp($result);
	return $result;
}

sub set_up_cluster
{
	make_file_system('servers');
	make_file_system('postgres');
	write_file("$work/key", join('', map { sprintf '%02x', int(rand(256)) } 1 .. 32) . "\n");
	chmod(0600, "$work/key");
	write_file("$work/$_.log", '') foreach qw(postgres storage01 storage02 storage03);
	run('chown', '-R', 'postgres:postgres', map { "$work/$_" } qw(key postgres.log servers postgres control));
	run('chmod', '1777', $work);
	start_server("storage0$_") foreach 1 .. 3;
	run(@as_user, "$option{bin}/initdb", '-A', 'trust', '-U', 'postgres', '-D', "$work/postgres/data");
	open(my $conf, '>>', "$work/postgres/data/postgresql.conf") or die "postgresql.conf: $!";
	print $conf <<"CONF";
shared_preload_libraries = 'difs'
listen_addresses = ''
unix_socket_directories = '$work'
port = $port
restart_after_crash = off
shared_buffers = 32MB
max_worker_processes = 16
difs.local_servers = 0
difs.key_file = '$work/key'
difs.health_interval = '100ms'
difs.server_timeout = '3s'
difs.block_group_size = '16MB'
CONF
	print $conf "fsync = off\n" if $option{control} eq 'postgres.fsync';
	close($conf);
	start_postgres();
	note_postmaster();
	sql('CREATE EXTENSION difs', map { "SELECT difs_server_add('/$_', '127.0.0.1', $servers{$_}{port})" } sort keys %servers);
	wait_for_servers();
	sql(
		q{SELECT difs_volume_create('two', replicas => 2, segment_size => 65536)},
		# what a file must hold follows from its path
		q{CREATE FUNCTION content(path text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
		  SELECT string_agg(sha512(convert_to(path || i, 'UTF8')), '') FROM generate_series(1, 1 + abs(hashtext(path) % 2000)) i $$},
		q{CREATE FUNCTION damage(path text) RETURNS text LANGUAGE plpgsql AS $$
		  BEGIN
			IF difs_get(path) = content(path) THEN RETURN NULL; END IF;
			RETURN 'wrong bytes';
		  EXCEPTION WHEN OTHERS THEN RETURN SQLERRM;
		  END $$},
		'CREATE TABLE acknowledged (path text)', 'CHECKPOINT');
	# what has been set up so far is not what is tested
	run('sync', '-f', "$work/$_") foreach qw(servers postgres);
	return;
}

sub wait_for_servers
{
	poll_until(sub { sql('SELECT count(*) FROM difs.servers WHERE alive') == 3 }, 60) or die 'chunk servers are not alive';
	return;
}

sub start_writers
{
	my ($cycle) = @_;
	my @started;
	foreach my $writer (1 .. $writers)
	{
		my $script = "$work/writer$writer.sql";
		my $output = "$work/writer$writer.out";
		write_file($script, join "\n", map { "SELECT path FROM (SELECT difs_put(path, content(path), parents => true), path "
				. "FROM (VALUES ('two:/c$cycle/w$writer/$_')) v (path)) s;" } 1 .. 1000);
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			open(STDOUT, '>', $output);
			open(STDERR, '>', "$output.err");
			exec("$option{bin}/psql", '-XAtq', '-h', $work, '-p', $port, '-U', 'postgres', '-d', 'postgres', '-f', $script)
			  or POSIX::_exit(127);
		}
		push @started, { pid => $pid, output => $output };
	}
	return @started;
}

sub acknowledged
{
	return map { /^(\S+)\n/mg } map { DifsFaults::slurp($_->{output}) } @_;
}

sub cut_under_load
{
	my ($kind, $cycle) = @_;
	my @names = $kind eq 'both' ? qw(servers postgres) : $kind;
	my @writing = start_writers($cycle);
	my $after = 5 + int(rand(60));
	poll_until(sub { acknowledged(@writing) >= $after }, 60) or die "no load, see $work/writer1.out.err";

	freeze($kind);
	cut($_) foreach @names;
	kill_servers() if $kind ne 'postgres';
	kill_postgres() if $kind ne 'servers';
	kill('TERM', $_->{pid}) foreach @writing;
	waitpid($_->{pid}, 0) foreach @writing;
	my @paths = acknowledged(@writing);

	recover($_) foreach @names;
	if ($kind ne 'postgres')
	{
		start_server($_) foreach sort keys %servers;
	}
	if ($kind ne 'servers')
	{
		start_postgres();
		note_postmaster();
	}
	wait_for_servers();
	return @paths;
}

# The cluster, cut by cut; every tenth time all files that were ever acknowledged are read, else those of the last cycle.
sub cluster_cuts
{
	my ($kind) = @_;
	my @all;
	foreach my $cycle (1 .. $option{cycles})
	{
		my @paths = cut_under_load($kind, "$kind$cycle");
		push @all, @paths;
		$total += @paths;
		$cycles++;
		my @asked = $cycle % 10 == 0 || $cycle == $option{cycles} ? @all : @paths;
		write_file("$work/acknowledged", join '', map { "$_\n" } @asked);
		my $damage = sql('TRUNCATE acknowledged', "\\copy acknowledged FROM '$work/acknowledged'",
			q{SELECT count(*) || ' ' || coalesce(min(path || ': ' || damage), '') FROM
			  (SELECT path, damage(path) FROM acknowledged) a WHERE damage IS NOT NULL});
		$damage =~ /^0 / or print "$kind, cycle $cycle: damaged: $damage\n";
		$lost += $1 if $damage =~ /^(\d+)/;
		last if $option{control} && $lost;
	}
	return;
}

END
{
	my $status = $?;
	if ($$ == $main::main_process)
	{
		kill_servers();
		kill_postgres();
		unmount($_) foreach keys %mounted;
		unlink glob("$work/*.img");
	}
	$? = $status;
}
our $main_process = $$;

my $began = time;
my $cluster = 0;
foreach my $kind (split /,/, $option{kinds})
{
	my ($had_total, $had_lost, $had_cycles) = ($total, $lost, $cycles);
	if ($kind eq 'operations')
	{
		operations();
	}
	else
	{
		set_up_cluster() unless $cluster++;
		cluster_cuts($kind);
	}
	printf "%s: %d cuts, %d acknowledged, %d lost (%.0f s, seed %d%s)\n", $kind, $cycles - $had_cycles, $total - $had_total,
	  $lost - $had_lost, time - $began, $option{seed}, $option{control} ? ", without $option{control}" : '';
}
exit($option{control} ? !$lost : $lost > 0);
