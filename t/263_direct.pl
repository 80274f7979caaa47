# Large files go between difs and chunk servers directly: that they do, also compressed and with replicas; when servers are killed under way;
# where no server can be reached; and several files at once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cluster = DifsCluster->new('direct_command', servers => 4, conf => "difs.server_timeout = '5s'\n");
my $difs = DifsCommand->new($cluster);
my $dir = $cluster->dir;
$cluster->sql(q{SELECT difs_volume_create('two', replicas => 2, compression => 'zstd', compression_level => 1)},
	q{SELECT difs_volume_create('small', replicas => 2, segment_size => 4096)},
	q{SELECT difs_volume_create('medium', segment_size => 16777216, compression => 'none')},
	q{SELECT difs_volume_create('large', segment_size => 67108864, compression => 'none')});
my $random = $cluster->write_file('random', DifsCluster::random_bytes(40_000_003, 'random'));
my $text = $cluster->write_file('text', DifsCluster::text_bytes(40_000_003, 'text'));

# What chunk servers have received into is kept for what comes next, and given back when nothing does.
sub given_back
{
	my $bytes = 0;
	foreach my $server ($cluster->servers)
	{
		my %kib = slurp_file('/proc/' . $server->pid . '/status') =~ /^(VmHWM|VmRSS):\s+(\d+) kB/mg;
		$bytes += ($kib{VmHWM} - $kib{VmRSS}) * 1024;
	}
	return $bytes;
}
$difs->done('put', $random, 'medium:/random');
ok(DifsCluster::poll_until(sub { given_back() >= 16 << 20 }), 'chunk servers give memory back');

foreach my $volume (qw(main two small large))
{
	foreach my $file ($random, $text)
	{
		my ($name) = $file =~ m{([^/]+)$};
		next if $volume eq 'small' && $name eq 'text';
		$difs->done('put', $file, "$volume:/$name");
		is($difs->json('versions', "$volume:/$name")->[0]{version}, 1, 'one version');
		$difs->done('get', "$volume:/$name", "$dir/back");
		is(DifsCommand::digest("$dir/back"), DifsCommand::digest($file), "$name in $volume is what it was");
		my $range = $difs->done('cat', '--range', '3999999:1234567', "$volume:/$name");
		ok($range eq substr(slurp_file($file), 3999999, 1234567), 'and so is a range');
		$difs->done('--no-direct', 'get', "$volume:/$name", "$dir/back2");
		is(DifsCommand::digest("$dir/back2"), DifsCommand::digest($file), 'read through the database server, too');
	}
}
cmp_ok($cluster->sql(q{SELECT sum(stored_length) FROM difs.manifest WHERE ino = difs_ino('two:/text')}), '<', 30_000_000,
	'text is stored compressed');
$cluster->sql(q{SELECT difs_write('/random', 100000000, 'end')});
$difs->done('get', '/random', "$dir/holes");
is(-s "$dir/holes", 100_000_003, 'a file with a hole');
is($cluster->sql(q{SELECT count(*) FROM difs_fsck(deep => true, digests => true)}), 0, 'nothing is wrong');

my $before = DifsCommand::digest($random);
$difs->done('--no-direct', 'put', $random, '/indirect');
is($cluster->sql(q{SELECT size FROM difs_stat('/indirect')}), -s $random, '--no-direct');

# a server is killed while a file is put, and while it is got
foreach my $round (1 .. 2)
{
	my $victim = $cluster->server($round % 4);
	my $put = $difs->start('put', $random, $text, $random, 'two:/');
	usleep(30_000 * $round);
	$victim->kill;
	$put->finish;
	is($put->full_result(0), 0, "round $round: a server is killed while files are put");
	$difs->done('get', 'two:/random', "$dir/killed");
	is(DifsCommand::digest("$dir/killed"), $before, 'they are whole, and can be got without it');
	$victim->start;
	$cluster->wait_until_alive;
	my $get = $difs->start('get', 'two:/random', 'two:/text', "$dir/");
	usleep(20_000 * $round);
	$victim->kill;
	$get->finish;
	is($get->full_result(0), 0, "round $round: a server is killed while files are got");
	is(DifsCommand::digest("$dir/random"), $before, 'they are what they were');
	$victim->start;
	$cluster->wait_until_alive;
}

# a damaged copy: the other one is taken
$difs->done('put', $random, 'two:/');
my ($segment) = $cluster->segments('two:/random');
$segment->{servers}[0]->flip($segment, 1000);
$difs->done('get', 'two:/random', "$dir/damaged");
is(DifsCommand::digest("$dir/damaged"), $before, 'one copy is damaged: the other one is taken');
$segment->{servers}[1]->flip($segment, 1000);
unlink "$dir/damaged";
my ($code, $out, $err) = $difs->run('get', 'two:/random', "$dir/damaged");
is($code, 1, 'both are: it fails');
ok(!-e "$dir/damaged", 'and nothing is there');

# several at once
my @handles = map { $difs->start('put', $random, "/parallel-$_") } 1 .. 4;
$_->finish for @handles;
is(join(' ', map { $_->full_result(0) } @handles), '0 0 0 0', 'four at once');
is($cluster->sql(q{SELECT count(DISTINCT size) FROM difs_list('/', pattern => 'parallel-*')}), 1, 'all are whole');

# resume: what was stored before is not sent again
{
	my $large = $cluster->write_file('resumed', DifsCluster::random_bytes(150_000_000, 'resumed'));
	utime 981173106, 981173106, $large;
	my $stored = 0;
	for my $round (1 .. 20)
	{
		my $put = $difs->start('put', '--resume', $large, '/resumed');
		DifsCluster::poll_until(sub { $cluster->sql(q{SELECT coalesce(sum(segments), 0) FROM difs.uploads}) > 0 || !$put->pumpable }, 10);
		kill 'KILL', $put->{KIDS}[0]{PID};
		$put->finish;
		$stored = $cluster->sql(q{SELECT coalesce(sum(segments), 0) FROM difs.uploads});
		last if $stored > 0;
		$cluster->sql(q{SELECT difs_delete('/resumed') WHERE difs_exists('/resumed')});
	}
	cmp_ok($stored, '>', 0, 'an upload that was killed has stored something');
	is($difs->json('check', '/resumed')->[0]{state}, 'in progress', 'check says so');
	is($cluster->sql(q{SELECT difs_exists('/resumed')}), 'f', 'nothing is to be seen of it');
	my $puts = $cluster->sql(q{SELECT count(*) FROM difs_list('/')});
	$difs->done('put', '--resume', $large, '/resumed');
	$difs->done('get', '/resumed', "$dir/resumed-back");
	is(DifsCommand::digest("$dir/resumed-back"), DifsCommand::digest($large), 'resumed, it is what it was');
	is($cluster->sql('SELECT count(*) FROM difs.uploads'), 0, 'no upload is left');
	is($difs->json('check', '/resumed')->[0]{state}, 'done', 'check says so');
}

# the client has no network, and reaches the database by a socket of its file system: bytes go through that
SKIP:
{
	skip 'no network namespaces here', 4 if system('unshare -cn true 2>/dev/null') != 0;
	my $alone = "$dir/alone";
	$cluster->write_file('alone', sprintf("#!/bin/sh\nexec unshare -cn '%s' \"\$@\"\n", DifsCommand::program()));
	chmod 0755, $alone;
	local $ENV{DIFS_COMMAND} = $alone;
	$difs->done('put', $random, 'two:/alone');
	$difs->done('get', 'two:/alone', "$dir/alone-back");
	is(DifsCommand::digest("$dir/alone-back"), $before, 'no chunk server can be reached: it is what it was');
	is($cluster->sql('SELECT count(*) FROM difs.upload'), 0, 'and no upload is left');
}

$cluster->stop;
done_testing();
