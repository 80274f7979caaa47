# Machine.pm - what the operating system knows of the servers' processes: processor time, private memory; and of directories: space.
package Bench::Machine;
use strict;
use warnings;
use POSIX ();

my $ticks_per_second = POSIX::sysconf(&POSIX::_SC_CLK_TCK);

sub read_file
{
	my ($path) = @_;
	open my $file, '<', $path or return '';
	local $/;
	my $text = <$file>;
	return $text // '';
}

# These processes and their children. A child may have been started by any thread.
sub with_children
{
	return @_, map { split " ", read_file($_) } map { glob "/proc/$_/task/*/children" } @_;
}

# Seconds of processor time that these processes, their living children and the children that they have waited for have used.
sub cpu_seconds
{
	my @parents = @_;
	my %is_parent = map { $_ => 1 } @parents;
	my $ticks = 0;
	for my $pid (with_children(@parents))
	{
		my ($fields) = read_file("/proc/$pid/stat") =~ /\) (.*)/s or next;
		my @fields = split ' ', $fields;
		$ticks += $fields[11] + $fields[12];
		$ticks += $fields[13] + $fields[14] if $is_parent{$pid};
	}
	return $ticks / $ticks_per_second;
}

# Private memory in bytes.  Shared memory is a setting of the server and the same for all that use it.
sub private_bytes
{
	my $kilobytes = 0;
	for my $pid (@_)
	{
		$kilobytes += $1 if read_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	}
	return $kilobytes * 1024;
}

# Bytes that a directory takes on disk.
sub disk_bytes
{
	my ($bytes) = `du -s -B1 @_ | awk '{ sum += \$1 } END { printf "%.0f", sum }'` =~ /(\d+)/;
	return $bytes;
}

sub describe
{
	my ($model) = read_file('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)$/m;
	my ($memory) = read_file('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/m;
	my ($system) = read_file('/etc/os-release') =~ /^PRETTY_NAME="(.*)"/m;
	my $cores = () = read_file('/proc/cpuinfo') =~ /^processor/mg;
	my ($filesystem) = `df --output=fstype $ENV{BENCH_DIRECTORY} | tail -1` =~ /(\S+)/;
	return sprintf '%d cores (%s), %.0f GiB, %s, %s', $cores, $model // 'unknown', $memory / 1048576, $filesystem, $system // '';
}

# Runnable processes of the last minute for each core, before anything is measured: above 0.3 or so others are busy here.
sub load_before
{
	my ($minute) = split ' ', read_file('/proc/loadavg');
	my $cores = () = read_file('/proc/cpuinfo') =~ /^processor/mg;
	return $minute / $cores;
}

1;
