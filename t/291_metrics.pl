# difsd --metrics: what it counts, that promtool is content with it, that nothing secret stands there, and that clients of HTTP do no harm.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsMetrics;
use HTTP::Tiny;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('metrics', servers => 1, options => [ '--metrics', '0' ]);
my $server = $cluster->server(0);
my $url = DifsMetrics::url_in($server->{log});
like($url, qr{^http://127\.0\.0\.1:\d+/metrics$}, 'the log says where metrics are: on this machine alone');
my ($port) = $url =~ /:(\d+)/;

# What is counted.
my %before = DifsMetrics::fetch($url);
$cluster->sql(map { "SELECT difs_put('/$_', decode(repeat('5a', 100000), 'hex'))" } 1 .. 20);
$cluster->sql(q{ALTER SYSTEM SET difs.staging = 'never'}, q{SELECT pg_reload_conf()});
my $text = DifsCluster::random_bytes(300_000, 'metrics');
my $file = $cluster->write_file('file', $text);
$cluster->sql("SELECT difs_put('/random', pg_read_binary_file('$file'))");
$cluster->sql(q{SELECT length(difs_get('/random'))});
my %after;
ok(DifsCluster::poll_until(sub { %after = DifsMetrics::fetch($url); ($after{'difsd_request_duration_seconds_count{message="get"}'} // 0) > 0 }, 20), 'a get is counted');
is($after{'difsd_request_duration_seconds_count{message="put"}'} - $before{'difsd_request_duration_seconds_count{message="put"}'}, 21, 'puts are counted');
is($after{'difsd_segments'} - $before{'difsd_segments'}, 21, 'and segments');
cmp_ok($after{'difsd_received_bytes_total{message="put"}'}, '>=', 300_000, 'bytes that came');
cmp_ok($after{'difsd_sent_bytes_total{message="get"}'}, '>=', 300_000, 'bytes that went');
cmp_ok($after{'difsd_request_duration_seconds_sum{message="put"}'}, '>', $before{'difsd_request_duration_seconds_sum{message="put"}'}, 'time of puts');
is($after{'difsd_request_duration_seconds_bucket{message="put",le="+Inf"}'}, $after{'difsd_request_duration_seconds_count{message="put"}'}, 'in a histogram');
cmp_ok($after{'difsd_sync_duration_seconds_count'}, '>', $before{'difsd_sync_duration_seconds_count'}, 'syncs');
cmp_ok($after{'difsd_sync_duration_seconds_sum'}, '>', $before{'difsd_sync_duration_seconds_sum'}, 'and their time');
cmp_ok($after{'difsd_used_bytes'}, '>=', 300_000, 'space used');
cmp_ok($after{'difsd_free_bytes'}, '>', 0, 'space free');
cmp_ok($after{'difsd_block_groups{state="open"}'}, '>=', 1, 'open block groups');
cmp_ok($after{'difsd_index_memory_bytes'}, '>', 0, 'memory of their indexes');
cmp_ok($after{'difsd_connections'}, '>=', 1, 'connections');
is($after{'difsd_clusters'}, 1, 'one database');
my ($build) = grep { /^difsd_build_info/ } keys %after;
like($build, qr/version="1\.0",name="\/storage01",tier="disk"/, 'build and name');
cmp_ok(abs(time - $after{process_start_time_seconds}), '<', 300, 'when it was started');
note("fsyncs: $after{difsd_sync_duration_seconds_count} in $after{difsd_sync_duration_seconds_sum} s");

# Errors and strangers.
is($after{'difsd_connections_refused_total{reason="authentication"}'}, 0, 'nobody was refused so far');
my $other = DifsCluster::Server->new($cluster, '/storage08', '--metrics', '0');
push @{ $cluster->{servers} }, $other;
$other->{key_file} = DifsCluster::write_key("$cluster->{dir}/other.key");
$other->start;
my ($state) = $cluster->sql_fails("SELECT difs_server_add('/storage08', '127.0.0.1', " . $other->port . ')');
isnt($state, '', 'a server with another key refuses this database');
cmp_ok({ DifsMetrics::fetch(DifsMetrics::url_in($other->{log})) }->{'difsd_connections_refused_total{reason="authentication"}'}, '>=', 1, 'and counts that');
my $stranger = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) or die $!;
syswrite($stranger, DifsCluster::random_bytes(100, 'stranger'));
close $stranger;

# What promtool thinks.
my $page = DifsMetrics::page($url);
my ($status, $said) = DifsMetrics::promtool($page, 'check', 'metrics');
is($status, 0, 'promtool finds nothing to complain about') or diag($said);
is($said, '', 'not even a style');
($status, $said) = DifsMetrics::promtool($page =~ s/difsd_sent_bytes_total/difsd_sent_kilobytes/gr, 'check', 'metrics');
isnt($status, 0, "  control: a name that is not as it should be: $said");

# No secrets: neither the key nor a database's identity.
my ($key) = slurp_file($cluster->{key_file}) =~ /([0-9a-f]{64})/;
my $uuid = $cluster->sql('SELECT uuid FROM difs.claim') =~ s/-//gr;
ok($key && $uuid, 'there are secrets');
unlike($page, qr/\Q$key\E|\Q$uuid\E|\Q$cluster->{dir}\E/, 'the page has none of them');

# It can be read, and nothing else.
my $http = HTTP::Tiny->new(timeout => 20);
is($http->head($url)->{status}, 200, 'HEAD');
is($http->post($url, { content => 'x' })->{status}, 405, 'POST is refused');
isnt($http->post($url, { content => 'x' x 1_000_000 })->{status}, 200, 'however much it is');
is($http->delete($url)->{status}, 405, 'DELETE, too');
is($http->get($url =~ s{/metrics}{/secrets}r)->{status}, 404, 'there is nothing else');
my $headers = $http->get($url)->{headers};
like($headers->{'content-type'}, qr{^text/plain; version=0\.0\.4; charset=utf-8$}, 'as Prometheus wants it');

# Hostile clients: as many as there may be that say nothing, one that sends a header without end, garbage.
my @silent = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10) } 1 .. 24;
syswrite($_, "GET /metrics HTTP/1.1\r\nHost: x\r\n") foreach grep { defined } @silent[ 0 .. 7 ];
$cluster->sql(q{SELECT difs_put('/meanwhile', 'x')});
is($cluster->sql(q{SELECT convert_from(difs_get('/meanwhile'), 'UTF8')}), 'x', 'files are served while connections for metrics are used up');
sub open_descriptors { my @all = glob "/proc/$_[0]/fd/*"; return scalar @all; }
cmp_ok(open_descriptors($server->pid), '<', 16 + 40, 'which are few');
ok(DifsCluster::poll_until(sub { eval { DifsMetrics::page($url) } }, 40), 'who says nothing is closed, and the page is served again');
close $_ foreach grep { defined } @silent;

my $endless = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die $!;
$SIG{PIPE} = 'IGNORE';
syswrite($endless, "GET /metrics HTTP/1.1\r\n" . join('', map { "X-$_: " . ('y' x 1000) . "\r\n" } 1 .. 100));
sysread($endless, my $refusal, 100);
like($refusal, qr{^HTTP/1\.[01] 4\d\d }, 'a header without end is refused');
my $garbage = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die $!;
syswrite($garbage, DifsCluster::random_bytes(100_000, 'garbage'));
close $garbage;
ok(eval { DifsMetrics::page($url) }, 'the page is served after that') or diag($@);
is($cluster->sql(q{SELECT count(*) FROM difs.servers WHERE alive}), 1, 'and the server is well');

# Who does not ask for it does not get it; addresses that are none are not taken.
my $quiet = DifsCluster::Server->new($cluster, '/storage09');
push @{ $cluster->{servers} }, $quiet;
$quiet->start;
is(DifsMetrics::url_in($quiet->{log}), undef, 'without --metrics there are none');
my ($out, $err) = run_command([ DifsCluster::Server::program(), '--metrics', 'nowhere' ]);
like($err, qr/"nowhere" is not of the form \[HOST:\]PORT/, 'an address that is none');
my $again = DifsCluster::Server->new($cluster, '/storage10', '--metrics', "127.0.0.1:$port");
ok(!eval { $again->start }, 'a port that is in use');
like(slurp_file($again->{log}), qr/could not start: could not listen for metrics on "127\.0\.0\.1:$port": Address already in use/, 'is a reason not to start');

$cluster->stop;
done_testing();
