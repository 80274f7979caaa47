# Metrics that the launcher serves (difs.metrics_port): what they say of a database and its chunk servers, that promtool is content, that the
# setting is followed; and the samples that the keeper takes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsMetrics;
use HTTP::Tiny;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $cluster = DifsCluster->new('metrics_database', servers => 3,
	conf => "difs.metrics_port = $port\ndifs.sample_interval = '300ms'\ndifs.repair_interval = '300ms'\ndifs.repair_delay = '1h'\ndifs.collect_interval = 0\n");
my $node = $cluster->node;
my $url = "http://127.0.0.1:$port/metrics";
$cluster->sql("SELECT difs_volume_create('two', replicas => 2)");

# A sample of the page becomes what it should be.
sub becomes
{
	my ($name, $check, $what) = @_;
	my $value;
	ok(DifsCluster::poll_until(sub { $value = { DifsMetrics::fetch($url) }->{$name} // 'missing'; $value ne 'missing' && $check->($value) }, 30), $what)
	  or diag("$name is $value");
	return;
}

# What happens is seen.
$cluster->sql(map { "SELECT difs_put('two:/$_', decode(repeat('5a', 100000), 'hex'))" } 1 .. 10);
$cluster->sql(q{SELECT length(difs_get('two:/1'))});
becomes('difs_stream_stored_total{database="postgres"}', sub { $_[0] == 10 }, 'segments stored');
my %metrics = DifsMetrics::fetch($url);
is($metrics{'difs_databases'}, 1, 'one database');
is($metrics{'difs_build_info{version="1.0"}'}, 1, 'version');
is($metrics{'difs_claim_held{database="postgres"}'}, 1, 'it holds the claim');
is($metrics{"difs_server_up{database=\"postgres\",server=\"/storage0$_\"}"}, 1, "/storage0$_ is up") foreach 1 .. 3;
my $puts = 0;
$puts += $metrics{"difs_request_duration_seconds_count{database=\"postgres\",server=\"/storage0$_\",operation=\"put\"}"} foreach 1 .. 3;
is($puts, 20, 'requests by server and operation');
is($puts, $cluster->sql(q{SELECT sum(operations) FROM difs.stat_io WHERE operation = 'put'}), 'as difs.stat_io says');
is($metrics{'difs_stream_queued{database="postgres"}'}, 0, 'nothing waits');
is($metrics{'difs_staged_bytes{database="postgres"}'}, 0, 'nothing is staged');
cmp_ok($metrics{'difs_server_free_bytes{database="postgres",server="/storage01"}'}, '>', 0, 'free space');
becomes('difs_block_groups{database="postgres",state="open"}', sub { $_[0] >= 1 }, 'open block groups, by the last sample');
becomes('difs_duty_rounds_total{database="postgres",duty="sample"}', sub { $_[0] >= 2 }, 'rounds of a duty');
becomes('difs_duty_ended_timestamp_seconds{database="postgres",duty="repair"}', sub { abs($_[0] - time) < 60 }, 'when one ended');

# promtool, secrets, other databases.
$cluster->sql(q{CREATE DATABASE "odd ""name\\"});
$node->safe_psql('odd "name\\', 'CREATE EXTENSION difs');
becomes('difs_claim_held{database="odd \"name\\\\"}', sub { $_[0] == 1 }, 'a database with a name that is to be quoted');
my $page = DifsMetrics::page($url);
my ($status, $said) = DifsMetrics::promtool($page, 'check', 'metrics');
is("$status$said", '0', 'promtool finds nothing to complain about');
my ($key) = slurp_file($cluster->{key_file}) =~ /([0-9a-f]{64})/;
my $uuid = $cluster->sql('SELECT uuid FROM difs.claim') =~ s/-//gr;
unlike($page, qr/\Q$key\E|\Q$uuid\E|\Q$cluster->{dir}\E|two:/, 'no key, no identity, no directory, no file is named');
$cluster->sql(q{DROP DATABASE "odd ""name\\"});
becomes('difs_databases', sub { $_[0] == 1 }, 'a dropped database goes');

# A server dies, segments are staged, files are to be repaired.
$cluster->sql('SELECT difs_repair()');
$cluster->server($_)->kill foreach 1, 2;
becomes('difs_server_up{database="postgres",server="/storage02"}', sub { $_[0] == 0 }, 'a server that is down');
$cluster->sql("SET difs.server_timeout = '1s'", q{SELECT difs_put('two:/staged', convert_to(repeat('staged', 10000), 'UTF8'))});
becomes('difs_staged_bytes{database="postgres"}', sub { $_[0] > 0 }, 'staged bytes');
becomes('difs_copies_missing{database="postgres"}', sub { $_[0] >= 1 }, 'copies that are missing');
becomes('difs_files_to_repair{database="postgres"}', sub { $_[0] >= 1 }, 'and files to repair');
$cluster->server($_)->start foreach 1, 2;
becomes('difs_staged_bytes{database="postgres"}', sub { $_[0] == 0 }, 'they come back, and nothing is staged any more');
becomes('difs_copies_missing{database="postgres"}', sub { $_[0] == 0 }, 'nor missing');

# What is deleted waits to be collected.
$cluster->sql(q{SELECT difs_delete('two:/2')});
becomes('difs_doomed{database="postgres"}', sub { $_[0] >= 1 }, 'deleted content');
$cluster->sql('SELECT difs_collect()');
becomes('difs_doomed{database="postgres"}', sub { $_[0] == 0 }, 'is collected');

# Samples.
cmp_ok($cluster->sql('SELECT count(*) FROM difs.stat_samples'), '>=', 5, 'samples');
is($cluster->sql('SELECT count(DISTINCT server) FROM difs.stat_server_samples'), 3, 'of each server');
is($cluster->sql('SELECT sum(n) FROM difs.stat_samples, unnest(write_histogram) n WHERE taken = (SELECT max(taken) FROM difs.stat_samples)'),
	$cluster->sql(q{SELECT sum(operations) FROM difs.stat_io WHERE operation = 'put'}), 'with histograms');
$cluster->sql(q{UPDATE difs.sample SET taken = taken - interval '8 days' WHERE taken = (SELECT min(taken) FROM difs.sample)});
ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM difs.stat_samples WHERE taken < now() - interval '7 days')}), 'old ones go');
$cluster->sql('ALTER SYSTEM SET difs.sample_interval = 0', 'SELECT pg_reload_conf()');
ok(DifsCluster::poll_until(sub { my $count = $cluster->sql('SELECT count(*) FROM difs.sample'); sleep 2; $count == $cluster->sql('SELECT count(*) FROM difs.sample') }, 20),
	'none are taken with difs.sample_interval = 0');

# The setting is followed; a port that is in use is said, and tried again; the server is well whatever clients do.
my @silent = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) } 1 .. 16;
$cluster->sql(q{SELECT difs_put('/meanwhile', 'x')});
is($cluster->sql(q{SELECT convert_from(difs_get('/meanwhile'), 'UTF8')}), 'x', 'files are served while connections for metrics are used up');
ok(DifsCluster::poll_until(sub { eval { DifsMetrics::page($url) } }, 40), 'who says nothing is closed');
my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!;
my $other = $taken->sockport;
my $log = -s $node->logfile;
$cluster->sql("ALTER SYSTEM SET difs.metrics_port = $other", 'SELECT pg_reload_conf()');
ok($node->wait_for_log(qr/WARNING: .*difs: metrics are not served: could not listen for metrics on "127\.0\.0\.1:$other": Address already in use/, $log), 'a port that is in use');
close $taken;
ok($node->wait_for_log(qr{difs: metrics are at http://127\.0\.0\.1:$other/metrics}, $log), 'is tried again');
ok(eval { DifsMetrics::page("http://127.0.0.1:$other/metrics") }, 'and serves then');
ok(!eval { DifsMetrics::page($url) }, 'the old one does not');
$cluster->sql('ALTER SYSTEM SET difs.metrics_port = 0', 'SELECT pg_reload_conf()');
ok(DifsCluster::poll_until(sub { !eval { DifsMetrics::page("http://127.0.0.1:$other/metrics") } }, 20), 'with 0 there are none');
is($cluster->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'difs launcher'}), 1, 'the launcher is there');

$cluster->stop;
done_testing();
