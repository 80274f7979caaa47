# Collection: what nobody can see any more goes, with its space; what somebody can see, or has asked to keep, stays.
#
# DIFS_ABORTED_PUTS: how many puts are aborted (default 400; the long run is 10000). Of few, the ends of segments that are not whole pages may
# stay in groups with much that lives; from 10000 on, space must be back to a block group's header.

use strict;
use warnings;

use File::Find;
use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time);

use DifsCluster;
use DifsNode;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $ABORTED_PUTS = $ENV{DIFS_ABORTED_PUTS} // 400;
my $GROUP_HEADER = 4096;
my $cluster = DifsCluster->new('collect', servers => 3, init => { allows_streaming => 'logical' }, conf => <<'CONF');
difs.collect_interval = 0
difs.server_timeout = '4s'
max_prepared_transactions = 10
autovacuum = off
CONF
my $node = $cluster->node;
my $file = $cluster->write_file('source', DifsCluster::random_bytes(3 * 1024 * 1024 + 5, 'collect'));
my $number = 0;

$cluster->sql("SELECT difs_volume_create('two', replicas => 2)", 'CREATE DATABASE other');

# Bytes that the servers' files take on the disk, without the room for small records to come.
sub disk_use
{
	my $bytes = 0;
	find({ no_chdir => 1, wanted => sub { $bytes += 512 * ((lstat)[12] // 0) - room($_) if -f } }, map { $_->{data} } $cluster->servers);
	return $bytes;
}

# Whole pages of zeros at the end of a block group that is open, at most those that a commit writes ahead.
sub room
{
	my ($path) = @_;
	return 0 if $path !~ s/\.group$/.index/ || -e $path || !open(my $handle, '<:raw', $_[0]);
	my ($length, $zeros, $page, $bytes) = (-s $handle, 0, 4096);
	while ($zeros < 256 * 1024 && $zeros + $page <= $length)
	{
		seek($handle, $length - $zeros - $page, 0);
		last unless read($handle, $bytes, $page) && $bytes eq "\0" x $page;
		$zeros += $page;
	}
	return $zeros;
}

sub files
{
	return scalar(map { glob("$_->{data}/*/*.group $_->{data}/*/*.index") } $cluster->servers);
}

# Holes are punched, and groups rewritten, after the answer. A group that is sealed meanwhile gets an index of its own, and another group is
# opened in its place: a page each, on each server. slack: what may stay in groups that are not worth to be rewritten.
sub space_is_back
{
	my ($before, $files, $what, $slack) = @_;
	my $allowed = sub { $before + ($slack // 0) + $GROUP_HEADER * (1 + (files() > $files ? files() - $files : 0)) };
	my $back = DifsCluster::poll_until(sub { disk_use() <= $allowed->() }, 20);
	my $after = disk_use();
	ok($back, "$what: space is back");
	diag("$what: disk use before $before in $files files, after $after in " . files());
	return;
}

# One round: (doomed, segments, orphans, groups, bytes, waiting).
sub collect
{
	my %row;
	@row{qw(doomed segments orphans groups bytes waiting)} = split /\|/, $cluster->sql('SELECT * FROM difs_collect()');
	return \%row;
}

# As often as it takes for the queue to be empty.
sub collect_all
{
	my ($what) = @_;
	ok(DifsCluster::poll_until(sub { collect(); $cluster->sql('SELECT count(*) FROM difs.doomed') == 0 }, 30),
		"$what: nothing waits any more")
	  or diag($cluster->sql('SELECT * FROM difs.collection_blockers'));
	return;
}

sub put
{
	my $path = 'two:/file' . ++$number;
	$cluster->sql("SELECT difs_put('$path', pg_read_binary_file('$file'))");
	return $path;
}

# A file is kept by somebody, who is named, as long as it takes; then it goes.
sub kept_by
{
	my ($kind, $holder, $path, $release) = @_;
	my $result;

	# twice: with standbys, slots and holds the first round only settles
	$result = collect() for 1 .. 2;
	is($result->{waiting}, 1, "$kind: the file waits");
	is($result->{segments}, 0, 'and all its segments are there');
	my $blockers = $cluster->sql("SELECT kind || ' ' || holder FROM difs.collection_blockers");
	like($blockers, qr/^$kind $holder$/m, 'and the view says why');
	unlike($blockers, qr/^round/m, 'and not that it goes');
	$release->();
	collect_all($kind);
	is($cluster->sql('SELECT count(*) FROM difs.manifest m WHERE NOT EXISTS (SELECT FROM difs.inode i WHERE i.ino = m.ino)'),
		0, 'no row of the manifest is left');
	return;
}

sub delete_file
{
	my ($path) = @_;
	$cluster->sql("SELECT difs_delete('$path')");
	return;
}

# What is deleted gives its space back.
{
	put();
	my ($before, $files) = (disk_use(), files());
	my @paths = map { put() } 1 .. 30;
	my $full = disk_use();
	cmp_ok($full - $before, '>', 2 * 30 * 3 * 1024 * 1024, 'thirty files on two servers each take space');
	delete_file($_) for @paths;
	cmp_ok(disk_use(), '>=', $full, 'which is still taken after they are deleted');
	my $result = collect();
	is($result->{doomed}, 30, 'thirty files are collected');
	is($result->{segments}, 120, 'with their segments');
	is($result->{waiting}, 0, 'none has to wait');
	cmp_ok($result->{bytes}, '==', 2 * 30 * (3 * 1024 * 1024 + 5), 'and their bytes on two servers');
	space_is_back($before, $files, 'deleted files', $before / 8);
	is($cluster->sql("SELECT difs_get('two:/file1') = pg_read_binary_file('$file')"), 't', 'what was not deleted can be read');
	is($cluster->sql('SELECT (SELECT count(*) FROM difs.version WHERE ino NOT IN (SELECT ino FROM difs.inode)),'
		  . ' (SELECT count(*) FROM difs.manifest WHERE ino NOT IN (SELECT ino FROM difs.inode))'),
		'0|0', 'no row of what was is left');
	$result = collect();
	is(join(',', map { $result->{$_} } qw(doomed segments orphans waiting)), '0,0,0,0', 'another round finds nothing');
}

# An old snapshot, here and in another database; a prepared transaction.
foreach my $database ('postgres', 'other')
{
	my $path = put();
	my $session = $node->background_psql($database);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	delete_file($path);
	kept_by('transaction', "pid $pid", $path, sub {
		is($session->query_safe("SELECT difs_get('$path') = pg_read_binary_file('$file')"), 't', 'the old snapshot reads it')
		  if $database eq 'postgres';
		$session->query_safe('COMMIT');
	});
	$session->quit;
}
{
	my $path = put();
	$cluster->sql('CREATE TABLE note (n int)', 'BEGIN', 'INSERT INTO note VALUES (1)', q{PREPARE TRANSACTION 'old one'});
	delete_file($path);
	kept_by('prepared transaction', 'old one', $path, sub { $cluster->sql(q{COMMIT PREPARED 'old one'}) });
}

# A prepared deletion is none, and a prepared put keeps its segments, which no committed row names.
{
	my $path = put();
	$cluster->sql('BEGIN', "SELECT difs_delete('$path')", q{PREPARE TRANSACTION 'deletion'});
	collect();
	is($cluster->sql("SELECT difs_get('$path') = pg_read_binary_file('$file')"), 't', 'a prepared deletion deletes nothing');
	$cluster->sql(q{COMMIT PREPARED 'deletion'});
	collect_all('prepared deletion');

	my $prepared = 'two:/prepared';
	$cluster->sql('BEGIN', "SELECT difs_put('$prepared', pg_read_binary_file('$file'))", q{PREPARE TRANSACTION 'put'});
	is(collect()->{orphans}, 0, 'segments of a prepared put are no orphans');
	$cluster->sql(q{COMMIT PREPARED 'put'});
	collect();
	is($cluster->sql("SELECT difs_get('$prepared') = pg_read_binary_file('$file')"), 't', 'and can be read');
	$cluster->sql('BEGIN', "SELECT difs_put('$prepared', pg_read_binary_file('$file'))", q{PREPARE TRANSACTION 'put'});
	$cluster->sql(q{ROLLBACK PREPARED 'put'});
	is(collect()->{orphans}, 8, 'after ROLLBACK PREPARED they are, on both servers');
}

# Replication slots: of a standby that is away, and a logical one.
{
	$cluster->sql(q{SELECT pg_create_physical_replication_slot('away', true)});
	my $path = put();
	delete_file($path);
	kept_by('replication slot', 'away', $path, sub { $cluster->sql(q{SELECT pg_drop_replication_slot('away')}) });
	$cluster->sql(q{SELECT pg_create_logical_replication_slot('decoder', 'test_decoding')});
	$path = put();
	delete_file($path);
	kept_by('replication slot', 'decoder', $path, sub { $cluster->sql(q{SELECT pg_drop_replication_slot('decoder')}) });
}

# Holds, by place and by time, and one that is not committed yet; retention.
{
	$cluster->sql(q{SELECT difs_hold('backup')});
	my $path = put();
	delete_file($path);
	kept_by('hold', 'backup', $path, sub { is($cluster->sql(q{SELECT difs_release('backup')}), 't', 'a hold is released') });
	is($cluster->sql(q{SELECT difs_release('backup')}), 'f', 'once');

	$cluster->sql(q{SELECT difs_hold('today', since => now())});
	is($cluster->sql(q{SELECT name, lsn IS NULL, since < now() FROM difs.holds}), 'today|t|t', 'holds are shown');
	is(($cluster->sql_fails(q{SELECT difs_hold('today')}))[0], '42710', 'a hold has a name of its own');
	$path = put();
	delete_file($path);
	kept_by('hold', 'today', $path, sub { $cluster->sql(q{SELECT difs_release('today')}) });

	my $session = $node->background_psql('postgres');
	$session->query_safe(q{BEGIN; SELECT difs_hold('soon')});
	$path = put();
	delete_file($path);
	is(collect()->{doomed}, 0, 'a hold that is not committed yet counts');
	$session->query_safe('ROLLBACK');
	$session->quit;
	collect_all('hold rolled back');

	$node->append_conf('postgresql.conf', q{difs.retain = '1h'});
	$node->reload;
	$path = put();
	delete_file($path);
	kept_by('retention', 'difs.retain', $path, sub {
		$node->append_conf('postgresql.conf', q{difs.retain = '0'});
		$node->reload;
	});
}

# A copy keeps the segments, not the file; and gives them back when it goes.
{
	my $path = put();
	$cluster->sql("SELECT difs_copy('$path', 'two:/copy')", "SELECT difs_copy('two:/copy', 'two:/copy2')");
	my ($ino) = split /\|/, $cluster->sql("SELECT ino FROM difs_stat('two:/copy')");
	delete_file($path);
	kept_by('copy', "inode $ino", $path, sub {
		is($cluster->sql("SELECT difs_get('two:/copy') = pg_read_binary_file('$file')"), 't', 'the copy can be read');
		delete_file('two:/copy');
		collect();
		is($cluster->sql("SELECT difs_get('two:/copy2') = pg_read_binary_file('$file')"), 't', 'and the second one after the first is gone');
		delete_file('two:/copy2');
	});
}

# Two deleted files, each with a version that is a copy of the other, do not keep one another.
{
	my ($one, $two) = (put(), put());
	$cluster->sql("SELECT difs_copy('$one', '$two')", "SELECT difs_copy('$two', '$one', version => 1)");
	is($cluster->sql("SELECT count(*) FROM difs.version AS a JOIN difs.version AS b ON a.map_ino = b.ino AND b.map_ino = a.ino"), 2, 'a ring of copies');
	delete_file($_) foreach $one, $two;
	collect_all('a ring of copies');
}

# A server that is away keeps its files in the tables, and they go when it is back.
{
	my $path = put();
	my ($segment) = $cluster->segments($path);
	my $server = $segment->{servers}[0];
	$server->kill;
	$node->poll_query_until('postgres', q{SELECT NOT alive FROM difs.servers WHERE name = '} . $server->name . q{'});
	delete_file($path);
	kept_by('server', $server->name, $path, sub {
		$server->start;
		$cluster->wait_until_alive;
	});
}

# A standby: behind, then with an old snapshot and no feedback, then with feedback.
{
	my $standby = DifsNode::standby_of($node, 'collect_standby', "max_standby_streaming_delay = -1\nhot_standby_feedback = off\n");
	$node->wait_for_catchup($standby);

	my $path = put();
	$node->wait_for_catchup($standby);
	$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
	delete_file($path);
	kept_by('standby', 'collect_standby', $path, sub {
		is($standby->safe_psql('postgres', "SELECT difs_get('$path') = pg_read_binary_file('$file')"), 't',
			'a standby that is behind reads it');
		$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
	});

	$path = put();
	$node->wait_for_catchup($standby);
	my $session = $standby->background_psql('postgres');
	$session->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT difs_exists('$path')");
	delete_file($path);
	kept_by('standby', 'collect_standby', $path, sub {
		is($session->query_safe("SELECT difs_get('$path') = pg_read_binary_file('$file')"), 't',
			'an old snapshot of a standby without feedback reads it');
		$session->query_safe('COMMIT');
	});
	$session->quit;

	$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1\n");
	$standby->reload;
	$path = put();
	$node->wait_for_catchup($standby);
	$session = $standby->background_psql('postgres');
	$session->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT difs_exists('$path')");
	ok($node->poll_query_until('postgres', 'SELECT backend_xmin IS NOT NULL FROM pg_stat_replication'), 'feedback arrives');
	delete_file($path);
	kept_by('standby', 'collect_standby', $path, sub {
		is($session->query_safe("SELECT difs_get('$path') = pg_read_binary_file('$file')"), 't',
			'an old snapshot of a standby with feedback reads it');
		$session->query_safe('COMMIT');
	});
	$session->quit;
	$standby->stop;
}

# Starts a client (psql) that puts one file after the other in a transaction, and kills it (kill -9) while it does so, after a number of
# puts.  Its backend then ends by itself.
sub put_and_kill_client
{
	my ($puts, $body) = @_;
	my $output = "$cluster->{dir}/killed.out";
	my @puts = map { "SELECT difs_put('two:/client' || n, $body) FROM (VALUES ($_)) AS v (n);\n\\echo done $_\n" } 1 .. $puts + 5000;
	my $script = $cluster->write_file('killed.sql', join('', "BEGIN;\n", @puts, "COMMIT;\n"));
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDOUT, '>', $output) or POSIX::_exit(126);
		exec('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . " application_name='killed client'", '-f', $script)
		  or POSIX::_exit(127);
	}
	ok(DifsCluster::poll_until(sub { -e $output && PostgreSQL::Test::Utils::slurp_file($output) =~ /^done $puts$/m }, 300),
		"a client has put $puts files");
	is($cluster->sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killed client'}), 1, 'and goes on');
	kill('KILL', $pid);
	waitpid($pid, 0);
	is($? & 127, 9, 'it is killed');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'killed client'}),
		'its backend ends');
	is($cluster->sql(q{SELECT difs_exists('two:/client1')}), 'f', 'what it has put is not there');
	return;
}

# Rolled back, failed, to a savepoint, with a backend that is ended, and with a client that is killed: nothing of it stays.
{
	collect();
	my ($before, $files) = (disk_use(), files());
	my $body = "substr(pg_read_binary_file('$file'), 1, (n * 7919) % 100000 + 100)";
	my $fifth = int($ABORTED_PUTS / 5);
	my $began = time;

	$cluster->sql('BEGIN', "SELECT count(difs_put('two:/rolled' || n, $body)) FROM generate_series(1, $fifth) AS n", 'ROLLBACK');
	$cluster->sql_fails("SELECT count(difs_put('two:/failed' || n, $body)), 1 / (count(*) - $fifth) FROM generate_series(1, $fifth) AS n");
	$cluster->sql('BEGIN', 'SAVEPOINT s', "SELECT count(difs_put('two:/savepoint' || n, $body)) FROM generate_series(1, $fifth) AS n",
		'ROLLBACK TO s', "SELECT difs_put('two:/savepoint', 'kept')", 'COMMIT');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe("BEGIN; SELECT count(difs_put('two:/ended' || n, $body)) FROM generate_series(1, $fifth) AS n");
	$cluster->sql("SELECT pg_terminate_backend($pid, 10000)");
	eval { $session->quit };
	put_and_kill_client($fifth, $body);

	my $full = disk_use();
	my $result = collect();
	cmp_ok($result->{orphans}, '>=', 2 * $fifth, 'aborted puts leave orphans, which are collected');
	is($cluster->sql(q{SELECT convert_from(difs_get('two:/savepoint'), 'UTF8')}), 'kept', 'what was put after ROLLBACK TO is there');
	delete_file('two:/savepoint');
	collect_all('aborted puts');
	collect();
	space_is_back($before, $files, "$ABORTED_PUTS aborted puts", $ABORTED_PUTS < 10000 ? $before / 8 : 0);
	diag(sprintf('%d aborted puts, %d orphans: disk use %d before, %d then, %d after (%.1f s)',
			$ABORTED_PUTS, $result->{orphans}, $before, $full, disk_use(), time - $began));
	is($cluster->sql("SELECT difs_get('two:/file1') = pg_read_binary_file('$file')"), 't', 'what was there before can be read');
}

# A round dies half-way, and so does PostgreSQL: the next one does the rest.
{
	my @paths = map { put() } 1 .. 6;
	my ($server) = $cluster->servers;
	delete_file($_) for @paths;
	$server->signal('STOP');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/started/, "\\echo started\nSELECT difs_collect();\n");
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'difs keeper: collect'}),
		'a round is under way');
	$node->stop('immediate');
	$server->signal('CONT');
	eval { $session->quit };
	$node->start;
	$cluster->wait_until_alive;
	collect_all('after a crash');
	is($cluster->sql("SELECT difs_get('two:/file1') = pg_read_binary_file('$file')"), 't', 'what was not deleted can be read');
}

# DROP EXTENSION and DROP DATABASE leave nothing on the servers, once they are committed.
sub groups_of
{
	my ($uuid) = @_;
	$uuid =~ tr/-//d;
	return scalar(map { glob("$_->{data}/$uuid/*.group") } $cluster->servers);
}
sub groups_on
{
	my ($server, $uuid) = @_;
	$uuid =~ tr/-//d;
	return scalar(() = glob("$server->{data}/$uuid/*.group"));
}
{
	my $other = sub { return $node->safe_psql('other', join(";\n", @_)) };
	my $kept = $cluster->sql('SELECT uuid FROM difs.cluster');
	my $groups = groups_of($kept);
	my $fill = sub {
		$other->('CREATE EXTENSION difs');
		$other->($_->add_statement) for $cluster->servers;
		$other->("SELECT difs_volume_create('two', replicas => 2)", "SELECT difs_put('two:/a', pg_read_binary_file('$file'))");
		return $other->('SELECT uuid FROM difs.cluster');
	};

	my $uuid = $fill->();
	cmp_ok(groups_of($uuid), '>', 0, 'another database has block groups');
	$other->('BEGIN', 'DROP EXTENSION difs', 'ROLLBACK');
	$other->('BEGIN', 'SAVEPOINT s', 'DROP EXTENSION difs', 'ROLLBACK TO s', 'COMMIT');
	is($other->("SELECT difs_get('two:/a') = pg_read_binary_file('$file')"), 't', 'DROP EXTENSION that is rolled back drops nothing');
	$other->('DROP EXTENSION difs');
	ok(DifsCluster::poll_until(sub { groups_of($uuid) == 0 }, 30), 'DROP EXTENSION leaves no block group on any server');

	$uuid = $fill->();
	cmp_ok(groups_of($uuid), '>', 0, 'it has some again');
	my $server = $cluster->server(1);
	$server->kill;
	$cluster->sql('DROP DATABASE other');
	ok(DifsCluster::poll_until(sub { groups_of($uuid) <= groups_on($server, $uuid) }, 30),
		'DROP DATABASE leaves none on servers that run');
	$node->restart;
	$server->start;
	ok(DifsCluster::poll_until(sub { groups_of($uuid) == 0 }, 90), 'and none on one that was away, once it is back')
	  or diag(join(' ', glob($node->data_dir . '.difs/dropped/*')));
	$cluster->wait_until_alive;
	is($cluster->sql("SELECT difs_get('two:/file1') = pg_read_binary_file('$file')"), 't', 'and nothing of others is gone');
	ok(DifsCluster::poll_until(sub { (() = glob($node->data_dir . '.difs/dropped/*')) == 0 }, 10), 'no note of it is left');
}

$cluster->stop;
done_testing();
