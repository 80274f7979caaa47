# Statistics: what the views difs.stat_* say is what was done, to which server, whoever did it; it outlives a restart, and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $MIB = 1048576;
my $cluster = DifsCluster->new('stat', servers => 2,
	conf => "difs.staging = never\ndifs.server_timeout = '3s'\ndifs.collect_interval = 0\ndifs.repair_interval = '1h'\ndifs.scrub_interval = 0\nrestart_after_crash = on\n");
my $node = $cluster->node;
my ($first, $second) = map { $_->name } $cluster->servers;

# The one row of a query as a hash; nothing if there is no row.
sub row
{
	my ($query) = @_;
	my $json = $cluster->sql("SELECT coalesce((SELECT string_agg(key || '=' || coalesce(value, ''), E'\\n') FROM ($query) AS r, json_each_text(to_json(r))), '')");
	return map { split /=/, $_, 2 } split /\n/, $json;
}

sub io
{
	my ($server, $operation) = @_;
	my %row = row("SELECT *, (SELECT sum(n) FROM unnest(histogram) n) AS counted, cardinality(histogram) AS buckets FROM difs.stat_io "
		  . "WHERE server = '$server' AND operation = '$operation'");
	return \%row;
}
sub streamer { my %row = row('TABLE difs.stat_streamer'); return \%row; }

sub put
{
	my ($path, $bytes) = @_;
	my $source = $cluster->write_file('source', $bytes);
	$cluster->sql("SELECT difs_put('$path', pg_read_binary_file('$source'))");
	return;
}
sub get { return $cluster->sql("SELECT length(difs_get('$_[0]'))"); }

# Nothing is counted but what happens.
$cluster->sql("SELECT difs_volume_create('one', replicas => 1, segment_size => $MIB, compression => 'none', inline_limit => 0)");
$cluster->sql("SELECT difs_volume_create('two', replicas => 2, segment_size => $MIB, compression => 'none', inline_limit => 0)");
$cluster->sql('SELECT difs_stat_reset()');
is($cluster->sql("SELECT count(*) FROM difs.stat_io WHERE operation <> 'call'"), 0, 'at first there are no reads and writes');
is(streamer()->{sent}, 0, 'and nothing was sent');

# A write: each copy counts at its server, the segment once in the streamer.
put('two:/a', DifsCluster::random_bytes(3 * $MIB, 'stat'));
foreach my $server ($first, $second)
{
	my $put = io($server, 'put');
	is($put->{operations}, 3, "$server: three segments were put");
	is($put->{bytes}, 3 * $MIB, '  with their bytes');
	is($put->{errors}, 0, '  without an error');
	is($put->{counted}, 3, '  each is in the histogram');
	is($put->{buckets}, 20, '  which has 20 places');
	ok($put->{time_ms} > 0, '  it took some time');
	ok($put->{p50_ms} > 0 && $put->{p99_ms} >= $put->{p50_ms}, '  and there are quantiles');
	ok($put->{time_ms} / 3 <= $put->{p99_ms}, '  the mean is below the bound of the slowest');
}
my $streamer = streamer();
is($streamer->{running}, 'true', 'the streamer runs');
is($streamer->{$_}, 0, "nothing is on its way: $_") foreach qw(queued queued_bytes in_flight in_flight_bytes);
is($streamer->{oldest}, '', '  so there is no oldest one');
is($streamer->{stored}, 3, 'the streamer has stored three segments');
is($streamer->{sent}, 3, '  in as many tries');
is($streamer->{stored_bytes}, 3 * $MIB, '  bytes of one copy');
is($streamer->{tried_again} + $streamer->{failed}, 0, '  none has failed');
ok($streamer->{batches} >= 1 && $streamer->{batches} <= 3, "  batches: $streamer->{batches}");
ok($streamer->{storing_ms} > 0, '  it took some time');

# Reads: each segment from one of the servers.
is(get('two:/a'), 3 * $MIB, 'a read');
sub reads { my ($what) = @_; return $cluster->sql("SELECT coalesce(sum($what), 0) FROM difs.stat_io WHERE operation = 'get'"); }
is(reads('operations'), 3, 'three segments were got');
is(reads('bytes'), 3 * $MIB, '  with their bytes');
$cluster->sql(q{SELECT difs_get('two:/a', "offset" => 10, length => 10)});
is(reads('operations'), 4, 'a range is a request');
cmp_ok(reads('bytes') - 3 * $MIB, '<', $MIB, '  of less than a segment');

$cluster->sql('SET difs.track = off', "SELECT length(difs_get('two:/a'))");
is(reads('operations'), 4, 'with difs.track off, nothing is counted');

# Whoever asks: upkeep.
$cluster->sql("SELECT difs_delete('two:/a')");
$cluster->sql('SELECT count(*) FROM difs_collect()');
ok($cluster->sql("SELECT sum(operations) FROM difs.stat_io WHERE operation = 'call'") > 0, 'collection asks servers');

# Servers, and what was done with each.
foreach my $server ($first, $second)
{
	my %seen = row("SELECT * FROM difs.stat_servers WHERE name = '$server'");
	my ($get, $put) = (io($server, 'get'), io($server, 'put'));
	is("$seen{alive} $seen{state}", 'true active', "$server is alive");
	is($seen{writes}, 3, '  writes');
	is($seen{written_bytes}, 3 * $MIB, '  and their bytes');
	is($seen{reads}, $get->{operations} // 0, '  reads');
	is($seen{read_bytes}, $get->{bytes} // 0, '  and their bytes');
	cmp_ok(abs($seen{write_ms} - $put->{time_ms} / 3), '<', 0.001, '  the time of a write');
	is($seen{errors}, 0, '  no errors');
}

# Syncs of their disks, and the time that these took, as the keeper has heard of it.
sub synced { return $cluster->sql("SELECT string_agg(name, ' ') FROM difs.stat_servers WHERE syncs > 0 AND sync_ms > 0 AND sync_ms < 1000 * extract(epoch FROM now() - pg_postmaster_start_time())"); }
ok(DifsCluster::poll_until(sub { return (synced() // '') =~ /\Q$first\E.*\Q$second\E|\Q$second\E.*\Q$first\E/ }, 20), 'both servers have synced, which took time, and not more than there was');
my %sync = row('SELECT sync_ms, (SELECT sum(sync_ms) / sum(syncs) FROM difs.servers) AS expected FROM difs.stat_streamer');
ok($sync{sync_ms} > 0 && abs($sync{sync_ms} - $sync{expected}) <= $sync{expected}, "the mean of one: $sync{sync_ms} ms");

# Duties: the round before and the next one.
sub duty { my %row = row("SELECT *, next - ended AS pause FROM difs.stat_keeper WHERE duty = '$_[0]'"); return \%row; }
is($cluster->sql("SELECT string_agg(duty, ' ' ORDER BY duty) FROM difs.stat_keeper"), 'claim collect compact place repair sample scrub unstage', 'all duties are there');
my $collect = duty('collect');
is("$collect->{rounds} $collect->{running} $collect->{outcome}", '1 false done', 'a round of collection has run');
is($collect->{next}, '', '  with no interval, there is no next one');
ok($collect->{took_ms} > 0, '  it took some time');
is(duty('claim')->{started} . duty('claim')->{ended} . duty('claim')->{outcome}, '', 'what has not run has no times');
$cluster->sql('SELECT difs_repair()');
my $repair = duty('repair');
is("$repair->{running} $repair->{outcome} $repair->{problem} $repair->{pause}", 'false done  01:00:00', 'the next round of repair is an interval after the last one');

my $lock = $node->background_psql('postgres', on_error_stop => 0);
$lock->query('BEGIN; LOCK TABLE difs.missing');
my $asker = $node->background_psql('postgres', on_error_stop => 0);
$asker->query_until(qr/begun/, "\\echo begun\nSELECT difs_repair();\n");
ok(DifsCluster::poll_until(sub { return duty('repair')->{running} eq 'true' }, 20), 'a round that waits for a lock is running');
is(duty('repair')->{rounds}, $repair->{rounds} + 1, '  and counted');
is(duty('repair')->{next}, '', '  there is no next one yet');
ok(DifsCluster::poll_until(sub { return $cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'difs keeper: repair' AND wait_event_type = 'Lock'") eq '1' }, 20),
	'  its process says what it is');
$cluster->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'difs keeper: repair'");
ok(DifsCluster::poll_until(sub { return duty('repair')->{running} eq 'false' }, 20), 'one that is killed has ended');
is(duty('repair')->{outcome} . ': ' . duty('repair')->{problem}, 'failed: it was stopped', '  and failed');
$lock->quit;
$asker->quit;
$cluster->sql('SELECT difs_repair()');
is(duty('repair')->{outcome} . duty('repair')->{problem}, 'done', 'the next one has not');

# The log has a line for each change of state: of duties, groups and servers.
sub logged { my ($pattern) = @_; return DifsCluster::poll_until(sub { return slurp_file($node->logfile) =~ $pattern }, 20); }
is(() = slurp_file($node->logfile) =~ /a round of "repair" has failed: it was stopped/g, 1, 'log: a duty that failed');
is(() = slurp_file($node->logfile) =~ /a round of "repair" has ended well again/g, 1, 'log: it recovered');
ok(logged(qr/LOG:  difs: block group \d+ is open$/m), 'log: a block group is open');
my $third = DifsCluster::Server->new($cluster, '/storage03')->start;
push @{ $cluster->{servers} }, $third;
my $name = $third->name;
unlike(slurp_file($node->logfile), qr/\Q$name\E/, 'log: nothing of a server that is not known');
$cluster->sql($third->add_statement);
ok(logged(qr/difs: chunk server \Q$name\E \(\S+\) has been added$/m), 'log: a server was added');
ok(logged(qr/difs: chunk server \Q$name\E\S* .*is up$/m), 'log: it is up');
$cluster->sql("SELECT difs_server_drain('$name')");
ok(logged(qr/difs: chunk server \Q$name\E is to be emptied/), 'log: it is to be emptied');
ok(logged(qr/difs: chunk server \Q$name\E is drained/), 'log: it is drained');
$cluster->sql("SELECT difs_server_remove('$name')");
ok(logged(qr/difs: chunk server \Q$name\E \(\S+\) has been removed$/m), 'log: it was removed');
(pop @{ $cluster->{servers} })->kill;

# Processes say what they are, in ps and in pg_stat_activity.
is($cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'difs keeper' AND backend_type = 'difs keeper'"), 1, 'the keeper in pg_stat_activity');
my $titles = join "\n", split /\n/, `ps -o args= --ppid @{[ $node->{_pid} ]}`;
like($titles, qr/difs $_/, "ps shows it: $_") foreach 'keeper for database \d+', 'streamer for database \d+', 'launcher';

# What waits, and what fails: with one of two servers stopped, the segment is in flight.
my $stopped = $cluster->server(1);
$stopped->signal('STOP');
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $source = $cluster->write_file('waiting', DifsCluster::random_bytes($MIB, 'stat'));
$writer->query_until(qr/begun/, "\\echo begun\nSELECT difs_put('two:/b', pg_read_binary_file('$source'));\n");
ok(DifsCluster::poll_until(sub { my $now = streamer(); return $now->{in_flight} == 1 && $now->{in_flight_bytes} == $MIB && $now->{oldest} ne '' }, 10),
	'a segment is in flight while a server is silent');
ok(DifsCluster::poll_until(sub { return io($second, 'put')->{errors} >= 1 }, 20), 'the silent server has an error');
is(io($first, 'put')->{errors}, 0, '  and the other one has none');
ok(DifsCluster::poll_until(sub { my $now = streamer(); return $now->{tried_again} >= 1 && $now->{failed} == 1 && $now->{in_flight} + $now->{queued} == 0 }, 30),
	'the segment failed, and is not on its way any more');
$stopped->signal('CONT');
$writer->quit;
$cluster->wait_until_alive;
ok(logged(qr/difs: block group \d+ is sealed$/m), 'log: a group that lost a member is sealed');

# A restart keeps the numbers, a reload nothing else; the file is gone once it was read.
my $file = $node->data_dir . '/pg_stat/difs.stat';
my $before = $cluster->sql("SELECT array_agg(s ORDER BY s) FROM (SELECT server, operation, operations, bytes, errors, time_ms, histogram, since FROM difs.stat_io WHERE operation <> 'call') s");
my $stored = streamer();
$node->stop;
ok(-s $file, 'a shutdown leaves a file');
$node->start;
ok(!-e $file, '  which the start removes');
$cluster->wait_until_alive;
is($cluster->sql("SELECT array_agg(s ORDER BY s) FROM (SELECT server, operation, operations, bytes, errors, time_ms, histogram, since FROM difs.stat_io WHERE operation <> 'call') s"),
	$before, 'requests are as they were before');
is(streamer()->{$_}, $stored->{$_}, "the streamer, too: $_") foreach qw(stored stored_bytes failed batches since);
put('one:/c', DifsCluster::random_bytes($MIB, 'stat'));
is(streamer()->{stored}, $stored->{stored} + 1, 'and it goes on');

# A damaged file is ignored.
foreach my $damage ([ 'changed', sub { my ($bytes) = @_; substr($bytes, 200, 1) ^= "\x01"; return $bytes } ], [ 'cut short', sub { return substr($_[0], 0, -8) } ], [ 'empty', sub { return '' } ])
{
	my ($name, $change) = @$damage;
	put('one:/d', DifsCluster::random_bytes($MIB, 'stat'));
	ok(streamer()->{stored} >= 1, "$name: something is counted");
	$node->stop;
	my $bytes = slurp_file($file);
	open my $out, '>:raw', $file or die "$file: $!";
	print $out $change->($bytes);
	close $out;
	my $log = -s $node->logfile;
	$node->start;
	$cluster->wait_until_alive;
	is(streamer()->{stored}, 0, '  a file that was damaged is ignored');
	ok(!-e $file, '  and removed');
	like(slurp_file($node->logfile, $log), qr/ignoring the file "pg_stat\/difs.stat", which is damaged/, '  as the log says');
}

# A crash begins anew.
put('one:/e', DifsCluster::random_bytes($MIB, 'stat'));
is(streamer()->{stored}, 1, 'before a crash');
$node->stop('immediate');
unlink $file;
$node->start;
$cluster->wait_until_alive;
is(streamer()->{stored}, 0, 'after it, nothing is counted');

# Reset, and who may; another database has numbers of its own.
put('one:/f', DifsCluster::random_bytes($MIB, 'stat'));
$cluster->sql('CREATE ROLE watcher; CREATE ROLE stranger; GRANT pg_monitor TO watcher');
is(($cluster->sql_fails('SET ROLE stranger', 'TABLE difs.stat_io'))[0], '42501', 'a stranger does not see them');
is($cluster->sql('SET ROLE watcher; SELECT stored FROM difs.stat_streamer'), 1, 'a monitor does');
is(($cluster->sql_fails('SET ROLE watcher', 'SELECT difs_stat_reset()'))[0], '42501', 'but may not reset them');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION difs');
ok(DifsCluster::poll_until(sub { return $node->safe_psql('other', 'SELECT stored FROM difs.stat_streamer') eq '0' }, 20), 'another database has its own');
$node->safe_psql('other', 'SELECT difs_stat_reset()');
is(streamer()->{stored}, 1, '  and a reset there changes nothing here');
my $since = streamer()->{since};
$cluster->sql('SELECT difs_stat_reset()');
is(streamer()->{stored}, 0, 'a reset');
is($cluster->sql("SELECT count(*) FROM difs.stat_io WHERE operation <> 'call'"), 0, '  of requests, too');
ok($cluster->sql("SELECT since > '$since' FROM difs.stat_streamer") eq 't', '  says when it was');

# The extension made anew is another one, with nothing counted.
put('one:/g', DifsCluster::random_bytes($MIB, 'stat'));
$node->safe_psql('postgres', 'DROP EXTENSION difs CASCADE');
$node->safe_psql('postgres', 'CREATE EXTENSION difs');
ok(DifsCluster::poll_until(sub { return $cluster->sql('SELECT stored FROM difs.stat_streamer') eq '0' }, 20), 'CREATE EXTENSION begins anew');

$cluster->stop;
done_testing();
