# Keys are changed without downtime: chunk servers learn the new one, then the database uses it, then the old one goes, and
# with it the connections that it had proved.
# DIFS_ROTATIONS (default 2): how often.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $ROTATIONS = $ENV{DIFS_ROTATIONS} // 2;
my $WRITERS = 2;
my $SESSIONS = 2;

my $cluster = DifsCluster->new('security', servers => 2);
my $node = $cluster->node;
my @servers = $cluster->servers;
my $load_ends = $cluster->dir . '/load_ends';

# Each chunk server has a key file of its own, as on machines of their own.
foreach my $server (@servers)
{
	$server->kill;
	$server->{key_file} = $cluster->dir . '/key' . $server->name =~ s{/}{_}r;
	write_keys($server->{key_file}, read_keys(node_key_file()));
	$server->start;
}
$cluster->wait_until_alive;
$cluster->sql("SELECT difs_volume_create('two', replicas => 2)");

sub node_key_file { return $cluster->{key_file}; }

sub read_keys
{
	my ($path) = @_;
	return grep { /^[0-9a-f]{64}$/ } split /\n/, slurp_file($path);
}

# Replaces a key file, as an administrator should: never half written, never readable by others.
sub write_keys
{
	my ($path, @keys) = @_;
	my $mask = umask(0077);
	open(my $file, '>', "$path.new") or die "$path: $!";
	print $file "$_\n" foreach @keys;
	close($file) or die "$path: $!";
	umask($mask);
	rename("$path.new", $path) or die "$path: $!";
	return;
}

sub new_key
{
	my ($key) = read_keys(DifsCluster::write_key($cluster->dir . '/fresh.key'));
	return $key;
}

# Lets a server read its key file, and waits until its log says that it has.
sub reload
{
	my ($server, $line) = @_;
	my $before = length(slurp_file($server->{log}));
	$server->signal('HUP');
	ok(DifsCluster::poll_until(sub { substr(slurp_file($server->{log}), $before) =~ $line }),
		$server->name . ' has read its key file');
	return;
}

# Starts a session that puts and reads files, a new connection to the chunk servers every few of them, until the load ends.
sub start_writer
{
	my ($number) = @_;
	my $writer = { out => '', error => '' };
	my $script = $cluster->write_file("writer$number.sh", <<"SCRIPT");
i=0
while [ ! -e '$load_ends' ]; do
	i=\$((i + 1))
	psql -X -q -A -t -v ON_ERROR_STOP=1 -d postgres -h @{[ $node->host ]} -p @{[ $node->port ]} -c "
		SELECT difs_put('two:/w$number.' || \$i || '.' || n, convert_to(repeat(n || ' $number ', 20000), 'UTF8')) FROM generate_series(1, 5) n" -c "
		SELECT CASE WHEN difs_get('two:/w$number.' || \$i || '.' || n) = convert_to(repeat(n || ' $number ', 20000), 'UTF8')
			THEN 'right' ELSE 'wrong' END FROM generate_series(1, 5) n" || echo failed
done
SCRIPT
	$writer->{run} = IPC::Run::start(['sh', $script], '<', \undef, '>', \$writer->{out}, '2>', \$writer->{error});
	return $writer;
}

# Sessions that stay, and so would their connections to the chunk servers.
sub start_sessions
{
	my $script = $cluster->write_file('session.sql', <<'SQL');
SELECT nextval('session') AS n \gset
SELECT difs_put('two:/s' || :n, convert_to(repeat(:n || ' session ', 20000), 'UTF8'));
SELECT 1 / (CASE WHEN difs_get('two:/s' || :n) = convert_to(repeat(:n || ' session ', 20000), 'UTF8') THEN 1 ELSE 0 END);
SQL
	my $sessions = { out => '' };
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGAPPNAME} = 'session';
	$cluster->sql('CREATE SEQUENCE session');
	$sessions->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $SESSIONS, '-T', 600, '-f', $script, 'postgres' ],
		'<', \undef, '>', \$sessions->{out}, '2>&1');
	return $sessions;
}

sub sessions_done { return $cluster->sql('SELECT last_value FROM session'); }

# How many connections with a removed key a server has closed.
sub closed_connections
{
	my ($server) = @_;
	return scalar(() = slurp_file($server->{log}) =~ /closed: its key was removed/g);
}

# The error of a get with this key in the database's key file; '' if there is none.
sub error_with
{
	my ($key) = @_;
	my @present = read_keys(node_key_file());
	write_keys(node_key_file(), $key);
	my (undef, $message) = $cluster->sql_fails("SELECT length(difs_get('two:/probe'))");
	write_keys(node_key_file(), @present);
	return $message;
}

$cluster->sql("SELECT difs_put('two:/probe', convert_to(repeat('probe ', 20000), 'UTF8'))");
is(error_with(read_keys(node_key_file())), '', 'control: the key in force is taken');
like(error_with(new_key()), qr/the key is not one of this server's/, 'a strange key is refused');

my ($old, $new);
my $sessions = start_sessions();
my @writers = map { start_writer($_) } 1 .. $WRITERS;
my $counted = sub { my $done = 0; foreach (@writers) { $_->{run}->pump_nb; $done += () = $_->{out} =~ /right/g; } return $done; };
my $progress = sub {
	my ($what) = @_;
	my $before = $counted->();
	my $sessions_before = sessions_done();
	ok(DifsCluster::poll_until(sub { $counted->() >= $before + 10 * $WRITERS && sessions_done() > $sessions_before + 2 * $SESSIONS }),
		"$what: reads and writes go on");
};
$progress->('before');

foreach my $rotation (1 .. $ROTATIONS)
{
	my $began = time;
	($old) = read_keys(node_key_file());
	$new = new_key();

	foreach my $server (@servers)
	{
		write_keys($server->{key_file}, $old, $new);
		reload($server, qr/key file was read again: 2 keys/);
	}
	$progress->('servers take both keys');
	write_keys(node_key_file(), $new);
	$progress->('the database uses the new key');
	foreach my $server (@servers)
	{
		my $closed = closed_connections($server);
		write_keys($server->{key_file}, $new);
		reload($server, qr/key file was read again: 1 keys/);
		ok(DifsCluster::poll_until(sub { closed_connections($server) > $closed }),
			$server->name . ' has closed connections with the old key');
	}
	$progress->('servers take the new key only');
	note(sprintf('rotation %d took %.1f s, %d files read back so far', $rotation, time - $began, $counted->()));
}

# A broken key file changes nothing.
append_to_file($servers[0]{key_file}, "not a key\n");
reload($servers[0], qr/key file was not read again, the former keys stay in force: line 2 of key file/);
$progress->('a key file is broken');

append_to_file($load_ends, '');
$_->{run}->finish foreach @writers;
is($cluster->sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'session'}), $SESSIONS,
	'no session has failed') or note($sessions->{out});
$sessions->{run}->signal('TERM');
$sessions->{run}->finish;
my $all = join('', map { $_->{out} . $_->{error} } @writers);
unlike($all, qr/wrong|failed|ERROR|FATAL/, 'no operation has failed');
is(error_with($new), '', 'the new key is taken');
like(error_with($old), qr/the key is not one of this server's/, 'the old key is refused');
$cluster->wait_until_alive;
is($cluster->sql("SELECT count(*) FROM difs.servers WHERE alive"), scalar(@servers), 'all chunk servers are alive');

$cluster->stop;

# An embedded chunk server reads its key file when the configuration is reloaded.
my $embedded = PostgreSQL::Test::Cluster->new('embedded');
my $program = DifsCluster::Server::program();
$embedded->init;
$embedded->append_conf('postgresql.conf', "shared_preload_libraries = 'difs'\ndifs.server_program = '$program'\n");
$embedded->start;
$embedded->safe_psql('postgres', "CREATE EXTENSION difs; SELECT difs_put('/a', 'a')");
my $key_file = $embedded->data_dir . '.difs/cluster.key';
write_keys($key_file, new_key(), read_keys($key_file));
$embedded->reload;
ok(DifsCluster::poll_until(sub { slurp_file($embedded->logfile) =~ /key file was read again: 2 keys/ }),
	'a reload reaches embedded chunk servers');
is($embedded->safe_psql('postgres', "SELECT difs_put('/b', 'b'); SELECT difs_get('/a')"), "1\n\\x61", 'and the new key works');
$embedded->stop;
done_testing();
