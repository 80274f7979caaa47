# Workers and embedded chunk servers: who starts, who starts again, who makes way, whoever is killed.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('workers');
my $program = DifsCluster::Server::program();
$node->init;
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'difs'
difs.local_servers = 2
difs.server_program = '$program'
difs.max_databases = 3
difs.health_interval = '200ms'
difs.block_group_size = '16MB'
difs.server_timeout = '20s'
max_worker_processes = 16
restart_after_crash = on
CONF
$node->start;
my $directory = $node->data_dir . '.difs';

# A condition in SQL that must come true.
sub wait_for
{
	my ($condition, $name, $database) = @_;
	ok($node->poll_query_until($database // 'postgres', "SELECT ($condition)::boolean"), $name);
	return;
}

sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database // 'postgres', $statement);
}

# Also while the server starts anew after a crash.
sub wait_for_server
{
	return DifsCluster::poll_until(sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 });
}

# The process id of a worker, by its title: the streamer is not connected, so pg_stat_activity does not have it. '' if there is none.
# Not the processes of duties, which are named after their keeper: "…: collect".
sub worker
{
	my ($type, $database) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my $oid = defined $database ? sql("SELECT oid FROM pg_database WHERE datname = '$database'") : '\d+';
	my $title = $type eq 'launcher' ? qr/difs launcher/ : qr/difs $type for database $oid\b(?!:)/;
	my @pids = map { /^\s*(\d+)\s+$postmaster\s+.*$title/ ? $1 : () } `ps -A -o pid= -o ppid= -o args=`;
	return join(' ', @pids);
}

sub wait_for_other
{
	my ($type, $pid, $name) = @_;
	ok(DifsCluster::poll_until(sub { worker($type) =~ /^\d+$/ && worker($type) ne $pid }), $name);
	return;
}

# The process id that the launcher has logged last for a chunk server.
sub server_pid
{
	my ($name) = @_;
	my @pids = slurp_file($node->logfile) =~ m{chunk server \Q$name\E \(\S+\) started, pid (\d+)}g;
	return $pids[-1];
}

sub ports
{
	return sql(q{SELECT string_agg(name || ' ' || port, ', ' ORDER BY name) FROM difs.server});
}

sub wait_for_all_alive
{
	wait_for('SELECT count(*) = 2 FROM difs.servers WHERE alive', $_[0]);
	return;
}

# Stores and reads something new.
my $files = 0;
sub works
{
	my ($name, $database) = @_;
	my $path = '/works' . ++$files;
	sql("SELECT difs_put('$path', convert_to(repeat('$path ', 1000), 'UTF8'))", $database);
	is(sql("SELECT convert_from(difs_get('$path'), 'UTF8') = repeat('$path ', 1000)", $database), 't', $name);
	return;
}

sub file_mode { return sprintf('%04o', (stat($_[0]))[2] & 07777); }

# CREATE EXTENSION, and it works.
ok(DifsCluster::poll_until(sub { worker('launcher') ne '' }), 'the launcher runs before anybody has the extension');
is(worker('keeper'), '', 'no keeper does');
sql('CREATE EXTENSION difs');
sql("SELECT difs_put('/first', 'first')");
is(sql("SELECT difs_get('/first')"), '\x6669727374', 'the first put works right after CREATE EXTENSION');
is(sql('SELECT string_agg(name, \' \' ORDER BY name) FROM difs.servers WHERE embedded'),
	'/storage01 /storage02', 'embedded servers are known');
wait_for_all_alive('and alive');
isnt(worker('keeper', 'postgres'), '', 'a keeper runs');
isnt(worker('streamer'), '', 'a streamer runs');
is(file_mode($directory), '0700', 'the directory of the embedded servers is private');
is(file_mode("$directory/cluster.key"), '0600', 'and so is the key');

# Groups: the class that is in use has some in stock, and a full one is sealed.
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'open'", 'block groups are kept in stock');
sql("SELECT difs_put('/big' || n, (SELECT string_agg(sha512((n || ' ' || i)::bytea), ''::bytea) FROM generate_series(1, 80000) i))"
	  . ' FROM generate_series(1, 8) n');
wait_for("SELECT count(*) >= 1 FROM difs.block_group WHERE state = 'sealed' AND segments > 0 AND bytes > 0",
	'a full block group is sealed and has its sizes');
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'open'", 'and others are open');

# A chunk server dies.
my $ports = ports();
my $pid = server_pid('/storage01');
kill('KILL', $pid);
ok(DifsCluster::poll_until(sub { server_pid('/storage01') != $pid }), 'a killed chunk server is started again');
wait_for_all_alive('and comes back to life');
is(ports(), $ports, 'on its former port');
like(slurp_file($node->logfile), qr{chunk server /storage01, pid $pid, was terminated by signal 9}, 'the log says so');
works('puts work after a chunk server has been killed');
is(sql("SELECT difs_get('/first')"), '\x6669727374', 'what was stored before is there');

# One hangs: it is found out, and the other one is used.
$pid = server_pid('/storage02');
kill('STOP', $pid);
wait_for("SELECT NOT alive AND problem LIKE 'no answer%' FROM difs.servers WHERE name = '/storage02'",
	'a frozen chunk server is found to be down');
works('puts go on at the other one') for 1 .. 3;
kill('CONT', $pid);
wait_for_all_alive('it is up again when it goes on');

# Keeper and streamer are ended.
foreach my $type ('keeper', 'streamer')
{
	my $before = worker($type);
	kill('TERM', $before);
	wait_for_other($type, $before, "a $type that was terminated is started again");
	works("puts work with the new $type");
}

# The launcher ends: keeper and streamer stay, embedded servers come anew.
my $keeper = worker('keeper');
$pid = server_pid('/storage01');
sql('SELECT pg_terminate_backend(' . worker('launcher') . ')');
ok(DifsCluster::poll_until(sub { server_pid('/storage01') != $pid }), 'the next launcher starts chunk servers');
wait_for_all_alive('which come to life');
is(worker('keeper'), $keeper, 'the keeper has stayed');
works('puts work with the new launcher');
sql("SELECT pg_terminate_backend($keeper)");
wait_for_other('keeper', $keeper, 'the new launcher looks after the keepers that it has found');

# Keeper and launcher are killed: PostgreSQL starts all anew.
foreach my $type ('keeper', 'launcher')
{
	$pid = server_pid('/storage01');
	kill('KILL', worker($type));
	ok(DifsCluster::poll_until(sub { server_pid('/storage01') != $pid }), "all is started anew after the $type was killed");
	wait_for_server();
	wait_for_all_alive('chunk servers come back');
	ok(DifsCluster::poll_until(sub { !kill(0, $pid) }), 'the former chunk server has gone');
	is(sql("SELECT difs_get('/first')"), '\x6669727374', 'what was stored before is there');
	works('puts work');
}

# A restart: open block groups are taken over, and ports are kept.
$ports = ports();
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'open'", 'block groups are open');
my $open = sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM difs.block_group WHERE state = 'open'");
$pid = server_pid('/storage01');
$node->restart;
ok(DifsCluster::poll_until(sub { !kill(0, $pid) }), 'chunk servers end with the server');
wait_for_all_alive('chunk servers are alive after a restart');
works('puts work after a restart');
is(ports(), $ports, 'ports are the same');
is(sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM difs.block_group WHERE state = 'open'"),
	$open, 'open block groups are taken over');

# The postmaster is killed.
$pid = server_pid('/storage01');
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
$node->kill9;
ok(DifsCluster::poll_until(sub { !kill(0, $postmaster) }), 'the postmaster has gone');
ok(DifsCluster::poll_until(sub { !kill(0, $pid) }), 'chunk servers end when the postmaster has been killed');
$node->start;
wait_for_all_alive('they are alive after the next start');
is(sql("SELECT difs_get('/first')"), '\x6669727374', 'what was stored before is there');
works('puts work');

# A port that somebody else has taken meanwhile.
$node->stop;
my ($port) = $ports =~ m{/storage01 (\d+)};
my $squatter = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1, ReuseAddr => 1)
  or die "port $port: $!";
$node->start;
wait_for("SELECT port <> $port FROM difs.server WHERE name = '/storage01'", 'a server whose port is taken gets another one');
wait_for_all_alive('and is alive there');
is(sql("SELECT difs_get('/first')"), '\x6669727374', 'its data is found there');
works('puts work');
close($squatter);

# The extension goes and comes.
sql('DROP EXTENSION difs CASCADE');
ok(DifsCluster::poll_until(sub { worker('keeper') . worker('streamer') eq '' }), 'keeper and streamer end after DROP EXTENSION');
sql('CREATE EXTENSION difs');
works('puts work after the extension has been created again');
my $cluster = sql('SELECT uuid FROM difs.cluster');
sql('BEGIN; DROP EXTENSION difs CASCADE; CREATE EXTENSION difs; COMMIT');
isnt(sql('SELECT uuid FROM difs.cluster'), $cluster, 'dropped and created in one transaction: it is another one');
works('puts work in it');
sql('BEGIN; DROP EXTENSION difs CASCADE; ROLLBACK');
works('puts work after a DROP EXTENSION that was rolled back');
unlike(slurp_file($node->logfile), qr/relation "difs\.\w+" does not exist/, 'no worker has looked for tables that are gone');

# Databases with workers can be renamed, copied and dropped.
sql('CREATE DATABASE one');
sql('CREATE EXTENSION difs', 'one');
works('puts work in a second database', 'one');
sql('ALTER DATABASE one RENAME TO two');
works('and after it was renamed', 'two');
sql('CREATE ROLE nobody');
my ($status, undef, $message) = $node->psql('postgres', 'SET ROLE nobody; DROP DATABASE two');
isnt($status, 0, 'who does not own a database cannot drop it');
$keeper = worker('keeper', 'two');
isnt($keeper, '', 'and does not disturb its workers');
sql('CREATE DATABASE three TEMPLATE two');
works('puts work in a database that was copied', 'two');
is(sql("SELECT difs_get('/works' || ($files - 1)) = difs_get('/works' || ($files - 1), 1)", 'three'), 't', 'its copy can be read');
($status, undef, $message) = $node->psql('three', "SET difs.server_timeout = '2s'; SELECT difs_put('/x', 'x')");
like($message, qr/does not hold the claim.*copy/s, 'but not written');
like(slurp_file($node->logfile), qr/is a copy of another one/, 'and the log says why');
sql('DROP DATABASE three');
$node->safe_psql('postgres', "SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''");
sql('ALTER DATABASE two SET TABLESPACE elsewhere');
works('puts work in a database that was moved', 'two');
sql('DROP DATABASE two WITH (FORCE)');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'two'"), '0', 'a database with workers can be dropped');
sql('BEGIN; ALTER DATABASE postgres CONNECTION LIMIT 50; ROLLBACK');
works('the other database works all the while');

# A statement that fails leaves nothing blocked.
sql('CREATE DATABASE four');
sql('CREATE EXTENSION difs', 'four');
works('puts work in a third database', 'four');
($status, undef, $message) = $node->psql('postgres', 'BEGIN; DROP DATABASE four');
like($message, qr/cannot run inside a transaction block/, 'DROP DATABASE fails in a transaction block');
works('workers come back after that', 'four');

# Every entry in use.
sql('CREATE DATABASE five');
sql('CREATE EXTENSION difs', 'five');
works('puts work in a fourth database', 'five');
sql('CREATE DATABASE six');
sql('CREATE EXTENSION difs', 'six');
($status, undef, $message) = $node->psql('six', "SET difs.server_timeout = '1s'; SELECT difs_put('/x', 'x')");
like($message, qr/workers of difs are not running/, 'one database too many: the error says so');
like(slurp_file($node->logfile), qr/all entries for databases are in use.*difs\.max_databases/s, 'and the log names the setting');
sql('DROP DATABASE five');
works('a database that is dropped makes room for another', 'six');

$node->stop;
done_testing();
