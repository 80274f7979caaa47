# Bad input to difs: files that change while they are read, no permission, no space, unknown hosts, a wrong key, names that are not UTF-8,
# loops of links, large directories, names of the wrong kind, broken pipes; and how much memory a large file takes.
#
#	DIFS_ENTRIES	files in one directory (3,000; 100,000 at full length)
#	DIFS_LARGE_MB	size of the large file (256; 1,024 at full length)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $entries = $ENV{DIFS_ENTRIES} // 3000;
my $large_mb = $ENV{DIFS_LARGE_MB} // 256;
my $cluster = DifsCluster->new('bad', servers => 1, conf => "difs.block_group_size = '2GB'\n");
my $difs = DifsCommand->new($cluster);
my $dir = $cluster->dir;
my ($code, $out, $err);

# a file that changes while it is read: every read of it comes before another change
{
	my $name = $cluster->write_file('changing', DifsCluster::random_bytes(60_000_000, 'changing'));
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		# its modification time moves on, whenever somebody looks
		while (getppid() != 1)
		{
			open(my $file, '+<:raw', $name) or POSIX::_exit(1);
			syswrite($file, 'x');
			close $file;
			usleep(1000);
		}
		POSIX::_exit(0);
	}
	($code, $out, $err) = $difs->run('put', $name, '/changing');
	kill 'KILL', $pid;
	waitpid($pid, 0);
	is($code, 1, 'a file that changes while it is read is refused');
	like($err, qr/"\Q$name\E" changed while it was read/, 'and named');
	is($cluster->sql(q{SELECT difs_exists('/changing')}), 'f', 'nothing of it is there');
	$difs->done('put', $name, '/changing');
}

# no permission, locally and in the database; the rest is done
SKIP:
{
	skip 'root may read everything', 4 if $> == 0;
	mkdir "$dir/some";
	$cluster->write_file("some/$_", $_) for qw(a b c);
	mkdir "$dir/some/d";
	chmod 0, "$dir/some/b", "$dir/some/d";
	($code, $out, $err) = $difs->run('put', '-r', "$dir/some", '/');
	is($code, 1, 'files that may not be read');
	like($err, qr{"$dir/some/b".*Permission denied}, 'are named') or diag $err;
	like($err, qr{"$dir/some/d".*Permission denied}, 'directories, too');
	is($cluster->sql(q{SELECT string_agg(name, ',') FROM difs_list('/some')}), 'a,c,d', 'the others are put');
	chmod 0755, "$dir/some/d";
	mkdir "$dir/closed", 0555;
	($code, $out, $err) = $difs->run('get', '/some/a', "$dir/closed/a");
	is($code, 1, 'a directory that may not be written to');
	like($err, qr/Permission denied/, 'is said');
}
$cluster->sql('CREATE ROLE stranger LOGIN', q{SELECT difs_chmod('/', '0755')});
($code, $out, $err) = $difs->run('-U', 'stranger', 'put', "$0", '/x');
is($code, 1, 'no permission in the database');
like($err, qr{may not|permission|denied}i, 'is said') or diag $err;

# no space locally: a limit on the size of files
{
	local %ENV = (%ENV, $difs->environment);
	my $program = DifsCommand::program();
	IPC::Run::run([ 'sh', '-c', "ulimit -f 10000; exec $program get /changing $dir/limited" ], '>', \$out, '2>', \$err);
	is($? >> 8, 1, 'no space for a local file');
	like($err, qr/File too large|No space/, 'is said');
	ok(!-e "$dir/limited" && !glob("$dir/.difs-get-*"), 'nothing of it is there');
}

# the other end
is(($difs->run('-h', 'no-such-host.invalid', 'ls'))[0], 2, 'an unknown host');
{
	my $server = $cluster->server(0);
	my $right = $server->{key_file};
	$server->{key_file} = DifsCluster::write_key("$dir/wrong.key");
	$server->kill->start;
	$cluster->sql(q{ALTER SYSTEM SET difs.server_timeout = '1s'}, q{ALTER SYSTEM SET difs.staging = never}, 'SELECT pg_reload_conf()');
	$cluster->node->poll_query_until('postgres', 'SELECT NOT alive FROM difs.servers');
	($code, $out, $err) = $difs->run('put', "$dir/changing", '/wrong-key');
	is($code, 1, 'a chunk server with another key');
	like($err, qr{/storage01}, 'is named') or diag $err;
	is($cluster->sql(q{SELECT difs_exists('/wrong-key')}), 'f', 'nothing is there');
	$server->{key_file} = $right;
	$server->kill->start;
	$cluster->wait_until_alive;
	$cluster->sql(q{ALTER SYSTEM RESET ALL}, 'SELECT pg_reload_conf()');
}

# names
mkdir "$dir/names";
$cluster->write_file("names/$_", 'x') for 'good', "latin\xfc", "a\x80b", "new\nline", '%percent', "quote'\"\\";
($code, $out, $err) = $difs->run('put', '-r', "$dir/names", '/');
is($code, 1, 'names that are not UTF-8');
is(() = $err =~ /is not UTF-8/g, 2, 'each is reported');
is($cluster->sql(q{SELECT count(*) FROM difs_list('/names')}), 4, 'the others are put');
is(($difs->run('ls', "/latin\xfc"))[0], 1, 'also on the command line');
mkdir "$dir/loop";
mkdir "$dir/loop/in";
symlink '..', "$dir/loop/in/up";
symlink 'self', "$dir/loop/in/self";
$difs->done('put', '-r', "$dir/loop", '/');
is($cluster->sql(q{SELECT difs_readlink('/loop/in/up')}), '..', 'links are kept as they are');
($code, $out, $err) = $difs->run('put', '-rL', "$dir/loop", '/followed');
is($code, 1, 'loops of links that are followed');
like($err, qr/leads back to a directory above it/, 'are found');
like($err, qr/Too many levels/, 'also those of a link to itself');
is(($difs->run('put', '-T', $0, '/loop'))[0], 1, 'a put onto a directory');
mkdir "$dir/target";
mkdir "$dir/target/changing";
($code, $out, $err) = $difs->run('get', '/changing', "$dir/target/");
is($code, 1, 'a get onto a directory');
like($err, qr/Is a directory/, 'is said');
IPC::Run::run([ 'mkfifo', "$dir/names/fifo" ]);
($code, $out, $err) = $difs->run('put', '-r', "$dir/names", '/fifo');
like($err, qr/neither file, directory nor symbolic link/, 'a pipe is left out');

# a directory with many files
mkdir "$dir/many";
for my $i (1 .. $entries)
{
	open(my $file, '>', "$dir/many/f$i") or die $!;
	print $file $i;
	close $file;
}
my $began = time;
$difs->done('put', '-r', "$dir/many", '/');
note(sprintf '%d files in %.1f s', $entries, time - $began);
is($cluster->sql(q{SELECT count(*) FROM difs_list('/many')}), $entries, "$entries files in one directory");
$difs->done('get', '-r', '/many', "$dir/many-back");
is_deeply(DifsCommand::survey("$dir/many-back"), DifsCommand::survey("$dir/many"), 'and back');

# a broken pipe
{
	local %ENV = (%ENV, $difs->environment);
	my $program = DifsCommand::program();
	# whoever runs this test may have SIGPIPE ignored, which is inherited
	$SIG{PIPE} = 'DEFAULT';
	IPC::Run::run([ 'perl', '-e', '$SIG{PIPE} = "DEFAULT"; exec @ARGV', 'bash', '-c', "$program cat /changing | head -c 10 | wc -c; echo \${PIPESTATUS[0]}" ], '>', \$out, '2>', \$err);
	is($out, "10\n141\n", 'a broken pipe ends it by SIGPIPE');
	is($err, '', 'without a word');
	IPC::Run::run([ 'bash', '-c', "$program ls -R / >/dev/full" ], '>', \$out, '2>', \$err);
	is($? >> 8, 1, 'a full standard output');
}

# memory, of a large file and of one that does not say how large it is
{
	open(my $file, '>:raw', "$dir/large") or die $!;
	my $block = DifsCluster::random_bytes(1 << 20, 'block');
	for my $i (1 .. $large_mb)
	{
		print $file pack('Q', $i), substr($block, 8);
	}
	close $file;
	local %ENV = (%ENV, $difs->environment);
	my $program = DifsCommand::program();
	foreach my $way ("put $dir/large /large", "put - /stream <$dir/large", "get /large $dir/large-back", "cat /large >$dir/stream-back")
	{
		my $handle = IPC::Run::start([ 'sh', '-c', "exec $program $way" ], '>', \$out, '2>', \$err);
		my $pid = $handle->{KIDS}[0]{PID};
		my $peak = 0;
		while ($handle->pumpable)
		{
			my $status = slurp_file_or_nothing("/proc/$pid/status");
			$peak = $1 if $status =~ /VmHWM:\s+(\d+) kB/ && $1 > $peak;
			$handle->pump_nb;
			usleep(5000);
		}
		$handle->finish;
		is($handle->full_result(0), 0, $way) or diag $err;
		cmp_ok($peak, '<', 256 * 1024, sprintf('%d MiB take %.0f MiB of memory', $large_mb, $peak / 1024));
		note(sprintf '%s: VmHWM %.1f MiB; %s', $way, $peak / 1024, $out);
	}
	is(DifsCommand::digest("$dir/large-back"), DifsCommand::digest("$dir/large"), 'the large file is what it was');
	is(DifsCommand::digest("$dir/stream-back"), DifsCommand::digest("$dir/large"), 'and through a pipe');
}

sub slurp_file_or_nothing
{
	my ($name) = @_;
	open(my $file, '<', $name) or return '';
	local $/;
	return <$file> // '';
}

$cluster->stop;
done_testing();
