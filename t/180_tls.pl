# TLS between all parties: what is served, who is refused and hears why, what somebody on the wire sees.
#
# DIFS_TLS_MB (default 48): size of the file whose times are compared with TLS and without.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $MB = $ENV{DIFS_TLS_MB} // 48;
my $dir = PostgreSQL::Test::Utils::tempdir();
my @children;

END
{
	my $status = $?;
	kill('KILL', @children) if @children;
	$? = $status;
}

sub openssl
{
	my (@arguments) = @_;
	run_log([ 'openssl', @arguments ], '>', '/dev/null', '2>', "$dir/openssl.log")
	  or die "openssl @arguments: " . slurp_file("$dir/openssl.log");
	return;
}

sub make_ca
{
	my ($name) = @_;
	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', 2,
		'-subj', "/CN=$name", '-keyout', "$dir/$name.key", '-out', "$dir/$name.crt");
	return;
}

# How to ask for a certificate that has expired: OpenSSL 4 takes no days below zero, and before 3.4 there are no dates.
sub expired
{
	return qx(openssl x509 -help 2>&1) =~ /-not_after/ ? ('-not_before', '20200101000000Z', '-not_after', '20200102000000Z') : ('-days', -1);
}

# <name>.crt and <name>.key, by that CA, for those hosts.
sub make_certificate
{
	my ($name, $ca, $hosts, @validity) = @_;
	@validity = ('-days', 2) unless @validity;
	my $mask = umask(0077);
	append_to_file("$dir/$name.ext", "subjectAltName=$hosts\n");
	openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$name",
		'-keyout', "$dir/$name.key.new", '-out', "$dir/$name.csr");
	openssl('x509', '-req', '-in', "$dir/$name.csr", '-CA', "$dir/$ca.crt", '-CAkey', "$dir/$ca.key", '-CAcreateserial',
		@validity, '-extfile', "$dir/$name.ext", '-out', "$dir/$name.crt.new");
	umask($mask);
	rename("$dir/$name.$_.new", "$dir/$name.$_") or die "$dir/$name.$_: $!" foreach ('key', 'crt');
	return;
}

sub tls_options
{
	my ($name, $mode) = @_;
	return ('--tls-cert', "$dir/$name.crt", '--tls-key', "$dir/$name.key", '--tls-ca', "$dir/ca.crt", '--tls', $mode);
}

make_ca($_) foreach ('ca', 'other');
make_certificate('server', 'ca', 'IP:127.0.0.1');
make_certificate('elsewhere', 'ca', 'DNS:elsewhere.example');
make_certificate('expired', 'ca', 'IP:127.0.0.1', expired());
make_certificate('stranger', 'other', 'IP:127.0.0.1');

# All parties with verify-full, and certificates shown on both sides.
my $cluster = DifsCluster->new('tls', servers => 3, options => [ tls_options('server', 'mutual') ], conf => <<"CONF");
difs.tls = 'verify-full'
difs.tls_ca_file = '$dir/ca.crt'
difs.tls_cert_file = '$dir/server.crt'
difs.tls_key_file = '$dir/server.key'
difs.block_group_size = '16MB'
difs.repair_interval = '300ms'
difs.server_timeout = '2s'
CONF
my $node = $cluster->node;

sub set
{
	my ($which, %settings) = @_;
	$which->safe_psql('postgres', "ALTER SYSTEM SET $_ = '$settings{$_}'") foreach sort keys %settings;
	$which->reload;
	return;
}

$cluster->sql(
	"SELECT difs_volume_create('two', replicas => 2, compression => 'none')",
	"SELECT difs_put('two:/file' || n, convert_to(repeat(n || ' is the content ', 50000), 'UTF8')) FROM generate_series(1, 10) n");
my $right = q{SELECT count(*) FROM generate_series(1, 10) n
	WHERE difs_get('two:/file' || n) = convert_to(repeat(n || ' is the content ', 50000), 'UTF8')};
is($cluster->sql($right), 10, 'files are written and read with TLS');
is($cluster->sql("SELECT count(*) FROM difs_fsck(true)"), 0, 'fsck asks the servers with TLS');
is($cluster->sql("SELECT count(*) FROM difs_lost_files()"), 0, 'nothing is lost');

# A server is emptied: the others pull its block groups, from a server that asks for their certificate.
my ($first) = $cluster->servers;
$cluster->sql(sprintf("SELECT difs_server_drain('%s')", $first->name));
ok($node->poll_query_until('postgres', sprintf(
			"SELECT count(*) = 0 FROM difs.block_groups WHERE '%s' = ANY (members)", $first->name)),
	'chunk servers pull from each other with TLS');
is($cluster->sql($right), 10, 'and the files are there');

# Refused in SQL, by the setting; the control is that all is well before and after.
foreach my $case (
	[ 'without TLS', { 'difs.tls' => 'off' }, qr{/storage0\d \(127\.0\.0\.1:\d+\): this server takes connections with TLS only: set difs\.tls} ],
	[ 'with a CA that has not signed it', { 'difs.tls_ca_file' => "$dir/other.crt" },
		qr{/storage0\d \(127\.0\.0\.1:\d+\): TLS: the peer's certificate was not accepted: (self-signed certificate in certificate chain|unable to get local issuer certificate)} ],
	[ 'with a certificate of a strange CA', { 'difs.tls_cert_file' => "$dir/stranger.crt", 'difs.tls_key_file' => "$dir/stranger.key" },
		qr{/storage0\d \(127\.0\.0\.1:\d+\): TLS: .*unknown ca} ],
	[ 'without a certificate', { 'difs.tls_cert_file' => '', 'difs.tls_key_file' => '' }, qr{/storage0\d \(127\.0\.0\.1:\d+\): TLS: .*certificate required} ],
	[ 'with no CA file', { 'difs.tls_ca_file' => '' }, qr{/storage0\d: there is no file with CA certificates} ],
	[ 'with a file that is not there', { 'difs.tls_cert_file' => "$dir/absent.crt" },
		qr{/storage0\d: could not load certificate file "\Q$dir\E/absent\.crt": No such file} ])
{
	my ($what, $settings, $message) = @$case;
	my %before = map { $_ => $cluster->sql("SHOW $_") } keys %$settings;
	set($node, %$settings);
	my ($state, $error) = $cluster->sql_fails("SELECT length(difs_get('two:/file1'))");
	like($error, $message, "a database is refused $what");
	isnt($state, '', 'with an error');
	set($node, %before);
	is($cluster->sql($right), 10, 'and served again');
}
$cluster->wait_until_alive;

# Refused at the first meeting, by what the chunk server has.
my $number = 4;
foreach my $case (
	[ 'whose certificate has expired', [ tls_options('expired', 'required') ], qr/the peer's certificate was not accepted: certificate has expired/ ],
	[ 'whose certificate is for another host', [ tls_options('elsewhere', 'required') ], qr/the peer's certificate was not accepted: IP address mismatch/ ],
	[ 'whose certificate is by another CA', [ tls_options('stranger', 'required') ],
		qr/the peer's certificate was not accepted: unable to get local issuer certificate/ ],
	[ 'without TLS', [], qr/in the TLS handshake: has the server been started with --tls-cert\?/ ])
{
	my ($what, $options, $message) = @$case;
	my $server = DifsCluster::Server->new($cluster, sprintf('/storage%02d', $number++), @$options);
	push @{ $cluster->{servers} }, $server;
	$server->start;
	my ($state, $error) = $cluster->sql_fails($server->add_statement);
	like($error, $message, "a chunk server $what is refused");
	like($error, qr/127\.0\.0\.1:@{[ $server->port ]}/, 'by its address');
	$server->kill;
	$server->{options} = [ tls_options('server', 'required') ];
	$server->start;
	is(($cluster->sql_fails($server->add_statement))[1], '', 'the control: with a right one it is taken');
}

# Certificates are changed without a restart (after one that lets clients without a certificate in, for the database keeps its own).
sub logged
{
	my ($server, $line) = @_;
	return DifsCluster::poll_until(sub { slurp_file($server->{log}) =~ $line });
}
open(my $bundle, '>', "$dir/both.crt") or die "$dir/both.crt: $!";
print $bundle slurp_file("$dir/$_.crt") foreach ('ca', 'other');
close($bundle) or die "$dir/both.crt: $!";
set($node, 'difs.tls_ca_file' => "$dir/both.crt");
foreach my $server ($cluster->servers)
{
	$server->kill;
	$server->{options} = [ tls_options('server', 'required') ];
	$server->start;
}
make_certificate('server', 'other', 'IP:127.0.0.1');
foreach my $server ($cluster->servers)
{
	$server->signal('HUP');
	ok(logged($server, qr/certificates were read again/), $server->name . ' has read its certificates again');
}
is($cluster->sql($right), 10, 'certificates of another CA are taken');
set($node, 'difs.tls_ca_file' => "$dir/ca.crt");
like(($cluster->sql_fails("SELECT difs_get('two:/file1')"))[1], qr/was not accepted/, 'and they are the new ones');
set($node, 'difs.tls_ca_file' => "$dir/other.crt");
is($cluster->sql($right), 10, 'the old CA is not needed any more');
$cluster->stop;

# Somebody on the wire writes down all that passes.
sub start_forwarder
{
	my ($port, $record) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20, Proto => 'tcp') or die "listen: $!";
	my $pid = fork // die "fork: $!";
	if ($pid)
	{
		push @children, $pid;
		return $listener->sockport;
	}
	$SIG{TERM} = 'DEFAULT';
	open(my $file, '>:raw', $record) or POSIX::_exit(1);
	$file->autoflush(1);
	my $select = IO::Select->new($listener);
	my %other;
	while (1)
	{
		foreach my $ready ($select->can_read)
		{
			if ($ready == $listener)
			{
				my $client = $listener->accept or next;
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or next;
				@other{ $client, $server } = ($server, $client);
				$select->add($client, $server);
				next;
			}
			my $peer = $other{$ready} or next;
			if (!sysread($ready, my $bytes, 65536))
			{
				$select->remove($_), delete $other{$_}, close($_) foreach ($ready, $peer);
				next;
			}
			else
			{
				print $file $bytes;
				for (my $at = 0; $at < length($bytes);) { $at += syswrite($peer, $bytes, length($bytes) - $at, $at) // last; }
			}
		}
	}
}

make_certificate('server', 'ca', 'IP:127.0.0.1');
my $watched = DifsCluster->new('watched', servers => 1, options => [ tls_options('server', 'optional') ], add => 0,
	conf => "difs.tls_ca_file = '$dir/ca.crt'\n");
my $record = "$dir/record";
my $port = start_forwarder($watched->server(0)->port, $record);
$watched->sql("SELECT difs_server_add('/storage01', '127.0.0.1', $port)", "SELECT difs_volume_create('raw', compression => 'none')");
$watched->wait_until_alive;
foreach my $mode ('off', 'require', 'verify-full')
{
	my $before = -s $record;
	set($watched->node, 'difs.tls' => $mode);
	ok(DifsCluster::poll_until(sub { $watched->sql("SHOW difs.tls") eq $mode }), "difs.tls = $mode");
	$watched->sql("SELECT difs_put('raw:/$mode', convert_to(repeat('this is a secret of $mode ', 20000), 'UTF8'))");
	is($watched->sql("SELECT difs_get('raw:/$mode') = convert_to(repeat('this is a secret of $mode ', 20000), 'UTF8')"), 't', 'a file goes there and back');
	my $seen = substr(slurp_file($record), $before);
	cmp_ok(length($seen), '>', 2 * 20000 * length("this is a secret of $mode "), 'over the wire that is watched');
	if ($mode eq 'off') { like($seen, qr/this is a secret of off/, 'the control: without TLS, its text is seen'); }
	else { unlike($seen, qr/this is a secret/, 'with TLS, its text is not seen'); }
}

# What it costs: printed, not judged.
$watched->sql(sprintf("UPDATE difs.server SET port = %d", $watched->server(0)->port));
my $bytes = DifsCluster::random_bytes($MB * 1024 * 1024, 180);
my $large = $watched->write_file('large', $bytes);
my %took;
foreach my $mode ('off', 'verify-full')
{
	set($watched->node, 'difs.tls' => $mode);
	$watched->wait_until_alive;
	$watched->sql("SELECT difs_put('raw:/warm', 'x')");
	my $began = time;
	$watched->sql("SELECT difs_put('raw:/large $mode', pg_read_binary_file('$large'))");
	$took{"put $mode"} = time - $began;
	$began = time;
	is($watched->sql("SELECT difs_get('raw:/large $mode') = pg_read_binary_file('$large')"), 't', "$MB MB with difs.tls = $mode");
	$took{"get $mode"} = time - $began;
}
note(sprintf('%s: %.0f MB/s plain, %.0f MB/s with TLS, ratio %.2f', $_, $MB / $took{"$_ off"}, $MB / $took{"$_ verify-full"},
		$took{"$_ off"} / $took{"$_ verify-full"})) foreach ('put', 'get');
$watched->stop;

# An embedded chunk server has the certificate of its database server.
my $embedded = PostgreSQL::Test::Cluster->new('tls_embedded');
my $program = DifsCluster::Server::program();
$embedded->init;
$embedded->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'difs'
difs.server_program = '$program'
difs.server_timeout = '4s'
difs.health_interval = '200ms'
difs.cache_size = 0
difs.tls = 'verify-full'
difs.tls_ca_file = '$dir/ca.crt'
CONF
$embedded->start;
$embedded->safe_psql('postgres', 'CREATE EXTENSION difs');
my ($stdout, $stderr);
$embedded->psql('postgres', "SET difs.staging = never; SELECT difs_put('/a', 'a')", stdout => \$stdout, stderr => \$stderr);
like($stderr, qr/has the server been started with --tls-cert\?/, 'without a certificate an embedded chunk server has no TLS');
set($embedded, 'difs.tls_cert_file' => "$dir/server.crt", 'difs.tls_key_file' => "$dir/server.key");
ok($embedded->poll_query_until('postgres', 'SELECT bool_and(alive) FROM difs.servers'), 'with one it is started again, and has');
is($embedded->safe_psql('postgres', "SELECT difs_put('/b', 'b'); SELECT difs_get('/b')"), "1\n\\x62", 'and is used');
set($embedded, 'difs.tls' => 'off');
ok(DifsCluster::poll_until(sub { $embedded->psql('postgres', "SET difs.staging = never; SELECT difs_put('/c', 'c')", stdout => \$stdout, stderr => \$stderr) == 0 }),
	'difs.tls = off is served as well');
$embedded->stop;
done_testing();
