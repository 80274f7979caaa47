# Chunk servers that are dead, frozen, full or not who they should be.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time);

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $TIMEOUT = 4;				# difs.server_timeout, in seconds
my $MARGIN = 4;				# for a slow machine
my $cluster = DifsCluster->new('down', servers => 3,
	conf => "difs.server_timeout = '${TIMEOUT}s'\ndifs.staging = never\n");
my $node = $cluster->node;
my $file = $cluster->write_file('source', DifsCluster::random_bytes(3 * 1024 * 1024 + 5, 'down'));
my $files = 0;

$cluster->sql("SELECT difs_volume_create('two', replicas => 2)");

sub put
{
	my ($count) = @_;
	$cluster->sql("SELECT difs_put('two:/file' || n, pg_read_binary_file('$file')) FROM generate_series($files + 1,"
	  . " $files + $count) AS n");
	$files += $count;
	return;
}

sub all_right
{
	my ($what) = @_;
	is($cluster->sql("SELECT count(*), bool_and(difs_get('two:/file' || n) = pg_read_binary_file('$file')) FROM"
	  . " generate_series(1, $files) AS n"),
		"$files|t", $what);
	return;
}

put(5);
all_right('all servers run');

# Each server dies once, and comes back.
foreach my $server ($cluster->servers)
{
	my $name = $server->name;

	$server->kill;
	put(5);
	all_right("$name is dead: puts and gets go on");
	$server->start;
	$cluster->wait_until_alive;
}
all_right('all servers run again');

# Each freezes once: whoever waits for it finds another within the time-out.
foreach my $server ($cluster->servers)
{
	my $name = $server->name;
	my $began;

	$server->signal('STOP');
	$began = time;
	is($cluster->sql("SELECT bool_and(difs_get('two:/file' || n) = pg_read_binary_file('$file')) FROM"
	  . " generate_series(1, $files) AS n"),
		't', "$name is frozen: gets go on");
	cmp_ok(time - $began, '<', $TIMEOUT / 2 + $MARGIN, 'it was waited for no longer than half the time-out');
	$began = time;
	put(2);
	cmp_ok(time - $began, '<', $TIMEOUT + $MARGIN, "$name is frozen: puts go on");
	$server->signal('CONT');
	$cluster->wait_until_alive;
}
all_right('nothing was lost by freezing');

# All are down. Nothing hangs, nothing is left, and the message helps.
sub all_down
{
	my ($what) = @_;
	my $before = $cluster->sql('SELECT (SELECT count(*) FROM difs.inode), (SELECT count(*) FROM difs.version),'
	  . ' (SELECT count(*) FROM difs.manifest)');
	my ($state, $message, $seconds) = $cluster->sql_fails("SELECT difs_put('two:/never',"
	  . " pg_read_binary_file('$file'))");

	is($state, '58030', "all $what: a put is an error") or diag $message;
	cmp_ok($seconds, '<', $TIMEOUT + $MARGIN, 'in time');
	like($message, qr{/storage0\d}, 'which names servers');
	like($message, qr/HINT:/, 'and says what to do');
	is($cluster->sql('SELECT (SELECT count(*) FROM difs.inode), (SELECT count(*) FROM difs.version), (SELECT'
	  . ' count(*) FROM difs.manifest)'),
		$before, 'no row is left');

	($state, $message, $seconds) = $cluster->sql_fails("SELECT difs_get('two:/file1')");
	is($state, '58030', "all $what: a get is an error") or diag $message;
	cmp_ok($seconds, '<', $TIMEOUT + $MARGIN, 'in time');
	like($message, qr{two:/file1.*/storage0\d.*/storage0\d}s, 'which names file and servers');
	like($message, qr/HINT:/, 'and says what to do');
	return;
}

$_->signal('STOP') for $cluster->servers;
all_down('are frozen');

# A wait can be interrupted.
sub interrupted
{
	my ($what, $statement) = @_;
	my ($state, $message, $seconds) =
	  $cluster->sql_fails(q{SET difs.server_timeout = '60s'}, q{SET statement_timeout = '700ms'}, $statement);

	is($state, '57014', "statement_timeout interrupts $what") or diag $message;
	cmp_ok($seconds, '<', 5, 'at once');

	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe("SET difs.server_timeout = '60s'; SELECT pg_backend_pid()");
	$session->query_until(qr/started/, "\\echo started\n$statement;\n\\echo ended\n");
	ok(DifsCluster::poll_until(sub {
				$cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active' AND"
				  . " wait_event IS NOT NULL") == 1;
		}), "$what waits");
	my $began = time;
	$cluster->sql("SELECT pg_cancel_backend($pid)");
	ok(DifsCluster::poll_until(sub { $cluster->sql("SELECT state = 'active' FROM pg_stat_activity WHERE pid ="
	  . " $pid") eq 'f' }, 10),
		"pg_cancel_backend interrupts $what");
	cmp_ok(time - $began, '<', 5, 'at once');
	return $session;
}
my @sessions = (
	interrupted('a get', "SELECT length(difs_get('two:/file1'))"),
	interrupted('a put', "SELECT difs_put('two:/never', pg_read_binary_file('$file'))"),
	interrupted('difs_read', "SELECT count(*) FROM difs_read('two:/file1')"));

$_->signal('CONT') for $cluster->servers;
$cluster->wait_until_alive;
all_right('after all were frozen, everything is there');
is($cluster->sql("SELECT difs_exists('two:/never')"), 'f', 'and what failed is not');
foreach my $session (@sessions)
{
	$session->query('SELECT 1');	# takes what the interrupted statement has left
	is($session->query("SELECT difs_get('two:/file1') = pg_read_binary_file('$file')"), 't', 'a session reads on'
	  . ' after an interruption');
}

$_->kill for $cluster->servers;
all_down('are dead');
$_->start for $cluster->servers;
$cluster->wait_until_alive;
foreach my $session (@sessions)
{
	is($session->query("SELECT difs_get('two:/file1') = pg_read_binary_file('$file')"), 't', 'a session reads on'
	  . ' after its servers were restarted');
	$session->quit;
}
put(2);
all_right('after all were dead, everything is there');

# A get that began while its servers were down succeeds if they come back in time.
$_->kill for $cluster->servers;
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe("SET difs.server_timeout = '60s'");
$session->query_until(qr/started/, "\\echo started\nSELECT difs_get('two:/file1') = pg_read_binary_file('$file');\n");
$_->start for $cluster->servers;
is($session->query('SELECT 1'), "t\n1", 'a get waits for servers to come back');
$session->quit;

# Servers that must not be added.
my $stranger = DifsCluster::Server->new($cluster, '/stranger');
$stranger->{key_file} = DifsCluster::write_key($cluster->dir . '/other.key');
$stranger->start;
my $unused = PostgreSQL::Test::Cluster::get_free_port();
my $silent = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
my $known = $cluster->server(0);
my @refused = (
	[ "'/stranger', '127.0.0.1', " . $stranger->port, '28000', qr/HINT:.*key/s ],
	[ "'/nobody', '127.0.0.1', $unused", '58030', qr/127\.0\.0\.1:$unused.*HINT:/s ],
	[ "'/silent', '127.0.0.1', " . $silent->sockport, '58030', qr/127\.0\.0\.1:\d+.*HINT:/s ],
	[ "'/other', '127.0.0.1', " . $known->port, '22023', qr{"/storage01", not "/other"} ],
	[ "'/storage01', '127.0.0.1', " . $known->port, '58P02', qr{"/storage01"} ],
	[ "'/memory', '127.0.0.1', " . $known->port . ", tier => 'memory'", '22023', qr/not/ ],
	[ "'storage', '127.0.0.1', 1", '22023', qr/slash/ ],
	[ "'/storage', '127.0.0.1', 0", '22023', qr/port/ ],
	[ "'/storage', '127.0.0.1', 65536", '22023', qr/port/ ],
	[ "'/storage', '', 1", '22023', qr/host/ ],
	[ "'/storage', '127.0.0.1', 1, weight => 0", '22023', qr/weight/ ],
	[ "'/" . 'x' x 255 . "', '127.0.0.1', 1", '42622', qr/255/ ],
	[ "NULL, '127.0.0.1', 1", '22023', qr/name/ ]);
foreach my $case (@refused)
{
	my ($arguments, $expected, $pattern) = @$case;
	my ($state, $message, $seconds) = $cluster->sql_fails("SELECT difs_server_add($arguments)");

	is($state, $expected, 'difs_server_add(' . substr($arguments, 0, 60) . ')') or diag $message;
	like($message, $pattern, 'says why');
	cmp_ok($seconds, '<', $TIMEOUT + $MARGIN, 'in time');
}
is($cluster->sql('SELECT count(*) FROM difs.servers'), 3, 'none was added');
$stranger->kill;
$cluster->sql('CREATE ROLE somebody', 'GRANT EXECUTE ON FUNCTION difs_server_add TO somebody');
is(($cluster->sql_fails('SET ROLE somebody', "SELECT difs_server_add('/a', '127.0.0.1', 1)"))[0], '42501', 'only a'
  . ' superuser may add servers');
$cluster->stop;

# A full server: the put fails, nothing is left, and what fits is still taken.
my $full = DifsCluster->new('full', servers => 1, options => [ '--capacity', '40MB' ],
	conf => "difs.server_timeout = '${TIMEOUT}s'\ndifs.block_group_size = '16MB'\n");
my $large = $full->write_file('large', DifsCluster::random_bytes(64 * 1024 * 1024, 'full'));
$full->sql("SELECT difs_put('/small', 'before')");
my ($state, $message, $seconds) = $full->sql_fails("SELECT difs_import('/large', '$large')");
is($state, '53100', 'a full server: a put is an error') or diag $message;
cmp_ok($seconds, '<', $TIMEOUT + $MARGIN + 10, 'in time');
is($full->sql("SELECT difs_exists('/large')"), 'f', 'no row is left');
is($full->sql("SELECT convert_from(difs_get('/small'), 'UTF8')"), 'before', 'what was there can be read');
$full->stop;

done_testing();
