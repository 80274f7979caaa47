# difs_insert(): the database fetches content itself, once, whatever happens meanwhile.
#
# An HTTP server of the test's own (DifsHttp) does what good and bad servers do.  What must hold: the file has the bytes, or it is as it was
# before, and the state that difs_check() tells is the one of the file.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsHttp;
use Digest::SHA;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = DifsCluster->new('insert', servers => 1,
	conf => "difs.insert_private_addresses = on\ndifs.max_inserts = 3\ndifs.insert_timeout = 5\ndifs.insert_retries = 2\n"
	  . "max_prepared_transactions = 5\n");
my $node = $cluster->node;
my $http = DifsHttp->new($cluster->dir);
my $directory = $cluster->dir . '/inbox';
mkdir($directory) or die;
mkdir("$directory/below") or die;
$node->append_conf('postgresql.conf', "difs.insert_directory = '$directory'\n");
$node->reload;

sub insert
{
	my ($path, $source, $more) = @_;
	return $cluster->sql("SELECT difs_insert('$path', '$source'" . ($more // '') . ')');
}

sub check { return $cluster->sql("SELECT " . ($_[1] // 'state') . " FROM difs_check($_[0]::bigint)"); }

sub reaches
{
	my ($process, $state, $what) = @_;
	my $ended = DifsCluster::poll_until(sub { check($process) =~ /^(?:done|failed|cancelled)$/ || check($process) eq $state }, 60);
	is(check($process), $state, $what) or diag(check($process, 'difs_check'));
	return;
}

sub content_is
{
	my ($path, $bytes, $what) = @_;
	is($cluster->sql("SELECT encode(sha256(difs_get('$path')), 'hex')"), Digest::SHA::sha256_hex($bytes), $what);
	return;
}

sub missing { return $cluster->sql("SELECT difs_exists('$_[0]')") eq 'f'; }

# What succeeds, and what can be seen of it.
{
	my $size = 9_000_001;
	my $process = insert('/whole', $http->url("/ok/$size"));
	like($process, qr/^\d+$/, 'difs_insert() returns a number at once');
	reaches($process, 'done', 'and the file comes');
	content_is('/whole', $http->content($size), 'with the bytes of the source');
	is(check($process, q{concat_ws(' ', path, segments > 1, bytes, total_bytes, version, error IS NULL, requested <= started, started <= ended, role)}),
		"main:/whole t $size $size 1 t t t postgres", 'difs_check() tells of it');
	is($cluster->sql(qq{SELECT process FROM difs_check('//whole'::text)}), $process, 'by its path, too');
	is($cluster->sql("SELECT count(*) FROM difs.inserts WHERE process = $process AND source LIKE '%/ok/$size'"), 1, 'and difs.inserts shows it');

	my $again = insert('/whole', $http->url('/weak/5'));
	reaches($again, 'done', 'a second one makes a second version');
	is($cluster->sql(q{SELECT version FROM difs_stat('/whole')}), 2, 'of the file');
	is($cluster->sql(q{SELECT process FROM difs_check('/whole'::text)}), $again, 'and difs_check() finds the newest process of a path');
	reaches(insert('/empty', $http->url('/ok/0')), 'done', 'an empty file');
	is($cluster->sql(q{SELECT size FROM difs_stat('/empty')}), 0, 'comes as well');
	reaches(insert('/made/for/it', $http->url('/ok/10'), ', parents => true'), 'done', 'directories are made if asked for');
	reaches(insert('/redirected', $http->url('/to/' . $http->url('/ok/70000'))), 'done', 'a redirection is followed');
	content_is('/redirected', $http->content(70000), 'to its end');
}

# States, one after the other, and progress while the transaction is open.
{
	my $size = 10_000_000;
	my ($process, $state) = split /\|/, $node->safe_psql('postgres',
		"BEGIN; SELECT id, (SELECT state FROM difs_check(id)) FROM difs_insert('/gate', '" . $http->url("/gate/$size") . "') AS id; COMMIT");
	is($state, 'accepted', 'within its transaction it is accepted');
	ok(DifsCluster::poll_until(sub { check($process, 'bytes') == $size / 2 }, 30), 'others see how far it has come')
	  or diag(check($process, 'difs_check'));
	is(check($process, q{concat_ws(' ', state, segments > 0, total_bytes, version IS NULL, ended IS NULL)}), "in progress t $size t t",
		'in progress');
	ok(missing('/gate'), 'and nothing of the file');
	$http->open_gate;
	reaches($process, 'done', 'until it is done');
	content_is('/gate', $http->content($size), 'and whole');
	$http->close_gate;
}

# A rollback: nothing happens.
{
	$cluster->sql('BEGIN', "SELECT difs_insert('/rolled', '" . $http->url('/ok/77') . "')", 'ROLLBACK');
	$cluster->sql('BEGIN', 'SAVEPOINT s', "SELECT difs_insert('/rolled', '" . $http->url('/ok/77') . "')", 'ROLLBACK TO s', 'COMMIT');
	my $process = insert('/later', $http->url('/ok/78'));
	reaches($process, 'done', 'what came later is done');
	is(scalar($http->requests('/ok/77')), 0, 'and what was rolled back was never asked for');
	is($cluster->sql(q{SELECT count(*) FROM difs.inserts WHERE path = 'main:/rolled'}), 0, 'nor is there a process');

	$cluster->sql('BEGIN', "SELECT difs_insert('/prepared', '" . $http->url('/ok/79') . "')", q{PREPARE TRANSACTION 'p'});
	usleep(300_000);
	is(scalar($http->requests('/ok/79')), 0, 'a prepared one waits');
	$cluster->sql(q{COMMIT PREPARED 'p'});
	ok(DifsCluster::poll_until(sub { $cluster->sql(q{SELECT state FROM difs_check('/prepared'::text)}) eq 'done' }, 30),
		'for COMMIT PREPARED, in whatever session');
}

# Bad servers.
{
	my $process = insert('/none', $http->url('/status/404'));
	reaches($process, 'failed', 'status 404');
	like(check($process, 'error'), qr/HTTP status 404/, 'is said to be one');
	is(scalar($http->requests('/status/404')), 1, 'and not asked for again');
	$process = insert('/none', $http->url('/status/204'));
	reaches($process, 'failed', 'status 204');
	like(check($process, 'error'), qr/status 204, and not with its content/, 'is no content');
	$process = insert('/none', $http->url('/status/503'));
	reaches($process, 'failed', 'status 503');
	cmp_ok(scalar($http->requests('/status/503')), '>', 2, 'is asked for again');

	reaches(insert('/reset', $http->url('/reset/8000000')), 'done', 'a connection that breaks in the middle');
	content_is('/reset', $http->content(8_000_000), 'changes nothing');
	my @ranges = $http->requests('/reset/8000000');
	note("asked for: @ranges");
	is(scalar(@ranges), 2, 'it is made again');
	like($ranges[1], qr/^bytes=[1-9]\d*-$/, 'for the rest');

	reaches(insert('/short', $http->url('/short/8000000')), 'done', 'if there is no asking for the rest');
	content_is('/short', $http->content(8_000_000), 'all of it is fetched again');
	is(join(' ', $http->requests('/short/8000000')), '- -', 'from the beginning');
	is($cluster->sql(q{SELECT max(version) FROM difs_versions('/short')}), 1, 'into one version');

	reaches(insert('/changed', $http->url('/changed/8000000')), 'done', 'content that has changed meanwhile');
	content_is('/changed', $http->content(8_000_000), 'is fetched anew');
	is(($http->requests('/changed/8000000'))[2], '-', 'and not put together from two');

	$process = insert('/none', $http->url('/torn/1000'));
	reaches($process, 'failed', 'a server that never gets to send anything is given up');
	$process = insert('/none', $http->url('/again'));
	reaches($process, 'failed', 'so is one that redirects in a circle');
	like(check($process, 'error'), qr/redirects more than/, 'with that reason');
	$process = insert('/none', 'http://127.0.0.1:1/');
	reaches($process, 'failed', 'one that is not there');
	$process = insert('/none', 'http://no.such.host.invalid/');
	reaches($process, 'failed', 'one that has no address');
	ok(missing('/none'), 'none of them leaves a file');
}

# What must not be reached.
{
	$cluster->write_file('secret', 'secret');
	symlink($cluster->dir . '/secret', "$directory/leads_out") or die;
	symlink('below/in', "$directory/leads_in") or die;
	symlink('..', "$directory/below/up") or die;
	$cluster->write_file('inbox/below/in', 'inside');
	foreach my $source ('file:../secret', 'file:///../secret', 'file:below/../../secret', 'file:leads_out', 'file:below/up/../secret')
	{
		my $process = insert('/none', $source);
		reaches($process, 'failed', "$source fails");
		like(check($process, 'error'), qr/leads out of difs.insert_directory/, 'since it leads out');
	}
	foreach my $source ('file:below/in', 'file:/below/in', 'file:///below/in', 'FILE:below/up/below/in', 'file:leads_in')
	{
		reaches(insert('/inside', $source), 'done', "$source is inside");
		is($cluster->sql(q{SELECT convert_from(difs_get('/inside'), 'UTF8')}), 'inside', 'and read');
	}
	my $process = insert('/none', 'file:below');
	reaches($process, 'failed', 'a directory is not');
	$process = insert('/none', 'file:' . $cluster->dir . '/secret');
	reaches($process, 'failed', 'an absolute name is one below the directory');

	$process = insert('/none', $http->url('/to/file:///etc/passwd'));
	reaches($process, 'failed', 'a redirection to file: is not followed');
	like(check($process, 'error'), qr/redirects to what is not allowed/, 'with that reason');
	$node->append_conf('postgresql.conf', 'difs.insert_private_addresses = off');
	$node->reload;
	my $before = () = $http->requests('/ok/66');
	ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW difs.insert_private_addresses') eq 'off' }, 10), 'private addresses are off');
	foreach my $host ('127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '2130706433')
	{
		$process = insert('/none', "http://$host:" . $http->port . '/ok/66');
		reaches($process, 'failed', "$host is private");
		like(check($process, 'error'), qr/not a public address/, 'and not connected to');
	}
	is(scalar(() = $http->requests('/ok/66')), $before, 'the server has heard of none');
	ok(missing('/none'), 'and no file is there');
	$node->append_conf('postgresql.conf', 'difs.insert_private_addresses = on');
	$node->reload;
}

# https: only with a certificate by a CA that is believed, and from there to no http:.
{
	my $dir = $cluster->dir;
	system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
		  . " -keyout $dir/https.key -out $dir/https.crt 2>$dir/openssl.log") == 0 or die slurp_file("$dir/openssl.log");
	mkdir("$dir/www");
	$cluster->write_file('www/good', "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nsecure");
	$cluster->write_file('www/down', "HTTP/1.0 302 Found\r\nLocation: " . $http->url('/ok/5') . "\r\nContent-Length: 0\r\n\r\n");
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		chdir("$dir/www") or POSIX::_exit(126);
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', "$dir/s_server.log");
		open(STDERR, '>&', \*STDOUT);
		exec('openssl', 's_server', '-accept', "127.0.0.1:$port", '-cert', "$dir/https.crt", '-key', "$dir/https.key", '-HTTP', '-quiet')
		  or POSIX::_exit(127);
	}
	DifsCluster::poll_until(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }, 30);
	my $process = insert('/none', "https://localhost:$port/good");
	reaches($process, 'failed', 'https: with a certificate by nobody');
	like(check($process, 'error'), qr/certificate|CA cert/i, 'is not believed');
	$node->append_conf('postgresql.conf', "difs.insert_ca_file = '$dir/https.crt'\n");
	$node->reload;
	ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW difs.insert_ca_file') ne '' }, 10), 'a CA');
	reaches(insert('/secure', "https://localhost:$port/good"), 'done', 'and by one that is believed it is');
	is($cluster->sql(q{SELECT convert_from(difs_get('/secure'), 'UTF8')}), 'secure', 'with its content');
	$process = insert('/none', "https://127.0.0.1:$port/good");
	reaches($process, 'failed', 'not under another name');
	$process = insert('/none', "https://localhost:$port/down");
	reaches($process, 'failed', 'and it does not lead to http:');
	like(check($process, 'error'), qr/redirects to what is not allowed/, 'with that reason');
	kill('KILL', $pid);
	waitpid($pid, 0);
}

# Too large, by its length or without one; nothing of it stays.
{
	$node->append_conf('postgresql.conf', "difs.insert_max_size = '10MB'\n");
	$node->reload;
	ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW difs.insert_max_size') eq '10MB' }, 10), 'a limit');
	foreach my $source ('/ok/10485761', '/endless')
	{
		my $process = insert('/large', $http->url($source));
		reaches($process, 'failed', "$source is too large");
		like(check($process, 'error'), qr/more than 10485760 bytes/, 'and says so');
	}
	reaches(insert('/most', $http->url('/ok/10485760')), 'done', 'what just fits is taken');
	$cluster->sql(q{SELECT difs_volume_create('tight', quota_bytes => 1000)});
	my $process = insert('tight:/f', $http->url('/ok/1001'));
	reaches($process, 'failed', 'what is more than the quota');
	like(check($process, 'error'), qr/quota of "tight:\/" is used up/, 'is refused');
	reaches(insert('tight:/f', $http->url('/ok/1000')), 'done', 'and what is not is taken');
	ok(missing('/large'), 'no file is left of what was refused');
}

# Cancelling: what waits, what is slow, and what has ended; and a cancellation that is rolled back.
{
	my $process = insert('/slow', $http->url('/slow/1000'));
	ok(DifsCluster::poll_until(sub { check($process, 'bytes') > 0 }, 30), 'a slow server');
	my $helper = $cluster->sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'difs insert'});
	like($helper, qr/^\d+$/, 'has a helper');
	my $began = time;
	is($cluster->sql("SELECT difs_insert_cancel($process)"), 't', 'is cancelled');
	ok(DifsCluster::poll_until(sub { $cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $helper AND state = 'active'") == 0 }, 10),
		'and its helper lets go');
	note(sprintf 'after %.2f s', time - $began);
	is(check($process), 'cancelled', 'that is its state');
	is($cluster->sql("SELECT difs_insert_cancel($process)"), 'f', 'once');
	ok(missing('/slow'), 'there is no file');

	$process = insert('/slow', $http->url('/gate/200'));
	ok(DifsCluster::poll_until(sub { check($process, 'bytes') == 100 }, 30), 'one that is under way');
	$cluster->sql('BEGIN', 'SAVEPOINT s', "SELECT difs_insert_cancel($process)", 'ROLLBACK TO s', 'COMMIT');
	is(check($process), 'in progress', 'goes on if its cancellation is rolled back');
	$http->open_gate;
	reaches($process, 'done', 'to its end');
	$http->close_gate;
	is($cluster->sql("SELECT difs_insert_cancel($process)"), 'f', 'and cannot be cancelled then');

	# the helper is at the end, and the cancellation is not yet committed
	$process = insert('/race', $http->url('/gate/300'));
	ok(DifsCluster::poll_until(sub { check($process, 'bytes') == 150 }, 30), 'another one');
	my $psql = $node->background_psql('postgres');
	$psql->query_safe("BEGIN; SELECT difs_insert_cancel($process)");
	$http->open_gate;
	ok(DifsCluster::poll_until(sub { $cluster->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'difs insert' AND wait_event_type = 'Lock'}) == 1 }, 30),
		'waits for who is about to cancel it');
	$psql->query_safe('COMMIT');
	$psql->quit;
	is(check($process), 'cancelled', 'the cancellation counts');
	usleep(300_000);
	ok(missing('/race'), 'and there is no file');
	$http->close_gate;
}

# Rights: at the call, and when it is done.
{
	$cluster->sql('CREATE ROLE asks', 'CREATE ROLE other', q{SELECT difs_mkdir('/asks')}, q{SELECT difs_chown('/asks', 'asks')},
		'GRANT EXECUTE ON FUNCTION difs_insert TO asks');
	my $as = sub { return $cluster->sql('SET ROLE asks', "SELECT difs_insert('/asks/$_[0]', '" . $http->url($_[1]) . "')"); };
	my $process = $as->('f', '/ok/5');
	reaches($process, 'done', 'who may insert, inserts');
	is($cluster->sql(q{SELECT owner FROM difs_stat('/asks/f')}), 'asks', 'as the role that asked');
	is($cluster->sql('SET ROLE other', "SELECT count(*) FROM difs_check($process)"), 0, 'others do not see it');
	my ($state) = $cluster->sql_fails('SET ROLE other', "SELECT difs_insert_cancel($process)");
	is($state, '42704', 'and cannot cancel it');

	foreach my $loss (q{SELECT difs_chown('/asks', 'postgres')}, 'REVOKE EXECUTE ON FUNCTION difs_insert FROM asks')
	{
		$process = $as->('g', '/gate/100000');
		ok(DifsCluster::poll_until(sub { check($process, 'bytes') == 50000 }, 30), 'one is under way');
		$cluster->sql($loss);
		my $queued = $loss =~ /REVOKE/ ? $process : undef;
		$http->open_gate;
		reaches($process, $queued ? 'done' : 'failed', "$loss: at its end it counts what is right then");
		$http->close_gate;
		$cluster->sql(q{SELECT difs_chown('/asks', 'asks')});
	}
	$cluster->sql('GRANT EXECUTE ON FUNCTION difs_insert TO asks', 'ALTER SYSTEM SET difs.max_inserts = 0', 'SELECT pg_reload_conf()');
	ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW difs.max_inserts') eq '0' }, 10), 'nothing is begun');
	$process = $as->('h', '/ok/5');
	$cluster->sql('REVOKE EXECUTE ON FUNCTION difs_insert FROM asks', 'ALTER SYSTEM RESET difs.max_inserts', 'SELECT pg_reload_conf()');
	reaches($process, 'failed', 'what was asked for by who may not any more is not begun');
	like(check($process, 'error'), qr/may not call difs_insert\(\) any more/, 'and says so');
}

# Two hundred at once: each once, no more at a time than there may be.
{
	my $most = 0;
	my $highest = $cluster->sql('SELECT max(process) FROM difs.inserts');
	$cluster->sql(q{SELECT difs_mkdir('/many')},
		"SELECT count(difs_insert('/many/' || i, '" . $http->url('/ok/') . "' || (i * 100))) FROM generate_series(1, 200) i");
	ok(DifsCluster::poll_until(sub {
			my $busy = $cluster->sql('SELECT count(*) FROM difs.insert_progress()');
			$most = $busy if $busy > $most;
			return $cluster->sql("SELECT count(*) FROM difs.inserts WHERE process > $highest AND state IN ('accepted', 'in progress')") == 0;
		}, 60), 'two hundred come to an end');
	is($cluster->sql("SELECT string_agg(DISTINCT state, ' ') FROM difs.inserts WHERE process > $highest"), 'done', 'all of them well');
	is($cluster->sql(q{SELECT count(*), min(version), max(version), sum(size) FROM difs_list('/many')}), '200|1|1|2010000', 'each once');
	cmp_ok($most, '<=', 3, "no more than three at a time ($most)");
	$cluster->sql('ALTER SYSTEM SET difs.insert_queue = 1', 'SELECT pg_reload_conf()');
	ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW difs.insert_queue') eq '1' }, 10), 'a shorter queue');
	my ($state) = $cluster->sql_fails(
		"SELECT difs_insert('/q1', '" . $http->url('/slow/500') . "')", "SELECT difs_insert('/q2', '" . $http->url('/ok/5') . "')");
	is($state, '53400', 'a role cannot have more than fits into it');
	$cluster->sql('ALTER SYSTEM RESET difs.insert_queue', 'SELECT pg_reload_conf()',
		q{SELECT difs_insert_cancel(process) FROM difs.inserts WHERE path = 'main:/q1'});
}

# The server is killed in the middle: it is begun again, and inserted once.
foreach my $size (6_000_000, 64)
{
	my $path = "/killed$size";
	my $process = insert($path, $http->url("/gate/$size"));
	ok(DifsCluster::poll_until(sub { check($process, 'bytes') == $size / 2 }, 30), "$size bytes are under way");
	$node->kill9;
	ok(DifsCluster::poll_until(sub { delete $node->{_pid}; $node->start(fail_ok => 1) }, 60), 'PostgreSQL is back');
	$cluster->wait_until_alive;
	$http->open_gate;
	reaches($process, 'done', 'and come after a crash, too');
	content_is($path, $http->content($size), 'whole');
	is($cluster->sql("SELECT max(version) FROM difs_versions('$path')"), 1, 'and once');
	is(scalar(() = $http->requests("/gate/$size")), 2, 'begun twice');
	$http->close_gate;
}
# A helper alone is ended: the same.
{
	my $process = insert('/ended', $http->url('/gate/5000'));
	ok(DifsCluster::poll_until(sub { check($process, 'bytes') == 2500 }, 30), 'one is under way');
	$cluster->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'difs insert'});
	$http->open_gate;
	reaches($process, 'done', 'its helper is ended, and the next one goes on');
	is($cluster->sql(q{SELECT max(version) FROM difs_versions('/ended')}), 1, 'once');
	$http->close_gate;
}

# A database that is dropped does not wait for what it fetches.
{
	$cluster->sql('CREATE DATABASE dropped');
	$node->safe_psql('dropped', 'CREATE EXTENSION difs');
	$node->safe_psql('dropped', $cluster->server(0)->add_statement);
	my $process = $node->safe_psql('dropped', "SELECT difs_insert('/f', '" . $http->url('/gate/7000') . "')");
	ok(DifsCluster::poll_until(sub { $node->safe_psql('dropped', "SELECT bytes FROM difs_check($process)") == 3500 }, 30), 'another database fetches');
	$cluster->sql('DROP DATABASE dropped');
	is($cluster->sql(q{SELECT count(*) FROM pg_database WHERE datname = 'dropped'}), 0, 'and is dropped');
	ok(DifsCluster::poll_until(sub { $cluster->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'difs insert'}) == 0 }, 30),
		'with its helper');
}

# Old processes go; a dump has none of them, but their numbers.
{
	$node->append_conf('postgresql.conf', "difs.insert_keep = 1\n");
	$node->reload;
	ok(DifsCluster::poll_until(sub {
			$cluster->sql("SELECT difs_insert('/old', '" . $http->url('/ok/1') . "')");
			return $cluster->sql(q{SELECT count(*) FROM difs.inserts WHERE ended < now() - interval '30 s'}) == 0
			  && $cluster->sql(q{SELECT count(*) FROM difs.inserts}) < 100;
		}, 90), 'processes that have ended long ago are cleared');
	my $last = insert('/old', $http->url('/ok/1'));
	my ($dump) = run_command([ 'pg_dump', '-d', $node->connstr('postgres') ]);
	unlike($dump, qr/^COPY difs\.insert_process .*\n(?!\\\.)/m, 'a dump has no processes');
	like($dump, qr/setval\('difs\.insert_id', $last, true\)/, 'but how far their numbers have come');
}

is(join("\n", $cluster->left_behind(60)), '', 'nothing is left behind');
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'and difs_fsck() finds nothing');
$cluster->stop;
done_testing();
