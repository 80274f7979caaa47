# difsd --register: chunk servers make themselves known to the database, however late that comes, and say so again when they have moved.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $cluster = DifsCluster->new('register', servers => 0);
my $node = $cluster->node;
my $conninfo = sprintf "host='%s' port=%d dbname=postgres user=registrar", $node->host, $node->port;
$cluster->sql('CREATE ROLE registrar LOGIN', 'GRANT EXECUTE ON FUNCTION difs_server_register TO registrar');

sub server
{
	my ($name, @options) = @_;
	my $server = DifsCluster::Server->new($cluster, $name, @options);
	push @{ $cluster->{servers} }, $server;
	return $server;
}

# Waits until the log of a server has a line, from a place on; returns whether, and where the log ends then.
sub says
{
	my ($server, $pattern, $what) = @_;
	my $text = '';
	my $from = $server->{read} // 0;
	ok(DifsCluster::poll_until(sub { $text = substr(slurp_file($server->{log}), $from); $text =~ $pattern }, 60), $what) or diag($text);
	$server->{read} = $from + length($text);
	return;
}

sub row { return $cluster->sql("SELECT concat_ws(' ', host, port, zone, tier, state) FROM difs.servers WHERE name = '$_[0]'"); }

# It starts before the database does, serves, and registers as soon as it can.
my $first = server('/storage01', '--register', $conninfo, '--zone', 'rack1');
$node->stop;
$first->start;
says($first, qr/ warning \/storage01: not registered yet: the database cannot be reached: .*\n/, 'without a database it says so');
ok(IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $first->port), 'and serves all the same');
$node->start;
says($first, qr/ info \/storage01: registered in database postgres as 127\.0\.0\.1:\d+ \(added\)/, 'once the database is there, it is registered');
is(row('/storage01'), '127.0.0.1 ' . $first->port . ' rack1 disk active', 'with its address, zone and tier');
$cluster->wait_until_alive;
$cluster->sql(q{SELECT difs_put('/f', 'kept')});
is($cluster->sql(q{SELECT convert_from(difs_get('/f'), 'UTF8')}), 'kept', 'and used');

# Again, and elsewhere.
$cluster->sql(q{UPDATE difs.server SET zone = 'rack9', weight = 7});
$first->kill;
$first->start;
says($first, qr/\(known\)/, 'when it starts again, it is known');
$first->kill;
my $before = $first->{port};
$first->{port} = 0;
my $occupied = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $before, Listen => 1, ReuseAddr => 1);
$first->start;
isnt($first->port, $before, 'it starts on another port');
says($first, qr/\(moved\)/, 'and has moved');
is(row('/storage01'), '127.0.0.1 ' . $first->port . ' rack9 disk active', 'its row has the new address; what else is in it is the administrator\'s');
is($cluster->sql('SELECT count(*) FROM difs.server'), 1, 'it is the same server');
$cluster->wait_until_alive;
is($cluster->sql(q{SELECT convert_from(difs_get('/f'), 'UTF8')}), 'kept', 'with the same data');
close($occupied);
$cluster->sql(q{SELECT difs_server_drain('/storage01')});
$first->kill;
$first->start;
says($first, qr/\(known\)/, 'a server that is drained');
like(row('/storage01'), qr/ drain(?:ing|ed)$/, 'stays so');
$cluster->sql(q{SELECT difs_server_drain('/storage01', undo => true)});

# An address of its own, and the memory tier.
my $named = server('/storage02', '--register', $conninfo, '--advertise', 'localhost:0', '--tier', 'memory', '--capacity', '100MB');
$named->start;
says($named, qr/registered in database postgres as localhost:\d+ \(added\)/, '--advertise says where it is');
is(row('/storage02'), 'localhost ' . $named->port . '  memory active', 'and that is what the database knows');

# What is not taken.
{
	my $other = server('/storage01', '--register', $conninfo);
	$other->{data} .= '.other';
	$other->{address_file} .= '.other';
	$other->{log} .= '.other';
	$other->start;
	says($other, qr/not registered yet: .*does not have the data directory that is known by that name/, 'another one by the same name is not taken');
	is(row('/storage01'), '127.0.0.1 ' . $first->port . ' rack9 disk active', 'and changes nothing');
	is($other->terminate, 0, 'it can be ended while it tries');
	pop @{ $cluster->{servers} };

	my $stranger = server('/storage03', '--register', $conninfo);
	$stranger->{key_file} = DifsCluster::write_key($cluster->dir . '/other.key');
	$stranger->start;
	says($stranger, qr/not registered yet: the database does not take it: .*could not connect to chunk server/, 'nor one with another key');
	$stranger->kill;
	pop @{ $cluster->{servers} };

	my ($state) = $cluster->sql_fails('SET ROLE registrar', qq{SELECT difs_server_register('/storage09', '127.0.0.1', } . $first->port . ')');
	is($state, '22023', 'nor one by a name that it does not have');
	($state) = $cluster->sql_fails('SET ROLE registrar', q{SELECT difs_server_add('/storage09', '127.0.0.1', 1)});
	is($state, '42501', 'and the role can do nothing else');
	is($cluster->sql('SELECT count(*) FROM difs.server'), 2, 'there are the two servers still');
}

# What hinders it may pass: rights, the extension.
{
	$cluster->sql('REVOKE EXECUTE ON FUNCTION difs_server_register FROM registrar');
	my $late = server('/storage04', '--register', $conninfo);
	$late->start;
	says($late, qr/not registered yet: the database does not take it: .*permission denied/, 'without the right it says so');
	$cluster->sql('GRANT EXECUTE ON FUNCTION difs_server_register TO registrar');
	says($late, qr/\(added\)/, 'and tries again');
	(my $template = $conninfo) =~ s/dbname=postgres/dbname=template1/;
	my $elsewhere = server('/storage05', '--register', $template);
	$elsewhere->start;
	says($elsewhere, qr/not registered yet: the database does not take it: it does not have the extension difs/, 'a database without difs');
	is($elsewhere->terminate, 0, 'is tried until the server is ended');
	pop @{ $cluster->{servers} };
	$cluster->wait_until_alive;
}

# A database that takes the connection and is silent holds up neither the server nor its end.
{
	my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5) or die;
	my $server = server('/storage06', '--register', 'host=127.0.0.1 dbname=postgres port=' . $silent->sockport);
	$server->start;
	ok(my $peer = $silent->accept, 'it connects');
	ok(IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port), 'and serves');
	my $began = time;
	is($server->terminate, 0, 'and ends when it is told to');
	note(sprintf 'after %.1f s', time - $began);
	unlike(substr(slurp_file($server->{log}), 0), qr/error|not registered/, 'without a word of complaint');
	pop @{ $cluster->{servers} };
}

# Options that do not go together.
foreach my $case (
	[ '--advertise and --zone are of use with --register only', '--listen', '127.0.0.1:0', '--zone', 'z' ],
	[ 'all addresses: say with --advertise', '--listen', '0.0.0.0:0', '--register', 'dbname=x' ],
	[ '--register needs a connection string', '--listen', '127.0.0.1:0', '--register', '' ],
	[ 'is not of the form HOST:PORT', '--listen', '127.0.0.1:0', '--register', 'dbname=x', '--advertise', 'here' ])
{
	my ($message, @options) = @$case;
	my ($stdout, $stderr) = run_command([ DifsCluster::Server::program(), '--name', '/s', '--data', '/nowhere', '--key-file', '/nowhere', @options ]);
	like($stderr, qr/\Q$message\E/, $message);
}

is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'difs_fsck() finds nothing');
$cluster->stop;
done_testing();
