# Versions that go one by one, retention, markers and trash, as the keeper sees them: what nobody can want any more is collected, and
# what a snapshot or a hold still wants is not.
#
# DIFS_VERSIONS: how many versions of one file (default 1500; the long run is 10000).
# DIFS_MIXED: how many statements each of eight clients makes in the mixed load (default 250; the long run is 10000).
# DIFS_TREE: how many files in the tree that goes to the trash (default 500).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time);

use DifsCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $VERSIONS = $ENV{DIFS_VERSIONS} // 1500;
my $MIXED = $ENV{DIFS_MIXED} // 250;
my $TREE = $ENV{DIFS_TREE} // 500;
my $cluster = DifsCluster->new('versions', servers => 1, conf => <<'CONF');
difs.collect_interval = 0
autovacuum = off
CONF
my $node = $cluster->node;

sub collect
{
	my %row;
	@row{qw(doomed segments orphans groups bytes waiting)} = split /\|/, $cluster->sql('SELECT * FROM difs_collect()');
	return \%row;
}

# Nothing is wrong, and nothing is left of what is gone: as many segments on the server as the manifest names.
sub clean
{
	my ($what) = @_;
	ok(DifsCluster::poll_until(sub { collect(); $cluster->sql('SELECT count(*) FROM difs.doomed') == 0 }, 30), "$what: nothing waits")
	  or diag($cluster->sql('SELECT * FROM difs.collection_blockers'));
	is($cluster->sql('SELECT * FROM difs_fsck(deep => true, digests => true)'), '', "$what: fsck finds nothing");
	is($cluster->sql('SELECT count(*) FROM difs.version WHERE version < 0'), 0, "$what: no version is left that was let go of");
	return;
}

sub content
{
	my ($path, $version) = @_;
	return $cluster->sql("SELECT convert_from(difs_get('$path', $version), 'UTF8')");
}

sub numbers
{
	my ($path) = @_;
	return $cluster->sql("SELECT string_agg(version::text, ' ' ORDER BY version) FROM difs_versions('$path')");
}

sub manifest_rows
{
	my ($path) = @_;
	return $cluster->sql("SELECT count(*) FROM difs.manifest WHERE ino = (difs_stat('$path')).ino");
}

# One version goes, the others stay: deleted, replaced, restored.
{
	$cluster->sql("SELECT difs_put('/f', convert_to('v' || n, 'UTF8')) FROM generate_series(1, 5) AS n");
	$cluster->sql("SELECT difs_delete('/f', version => 2)");
	my $result = collect();
	is("$result->{doomed} $result->{segments}", '1 1', 'a version that was deleted is collected with its segment');
	is(join(' ', map { content('/f', $_) } 1, 3, 4, 5), 'v1 v3 v4 v5', 'the others are there');
	$cluster->sql("SELECT difs_put('/f', 'third', version => 3)", "SELECT difs_put('/f', 'fifth', version => 5)");
	$result = collect();
	is("$result->{doomed} $result->{segments}", '2 2', 'what was replaced is collected');
	is(join(' ', map { content('/f', $_) } 1, 3, 4, 5), 'v1 third v4 fifth', 'what replaced it is there');
	$cluster->sql("SELECT difs_put('/f', 'Third', version => 3)");
	is(collect()->{segments}, 1, 'what was replaced a second time is collected');
	is(join(' ', map { content('/f', $_) } 1, 3, 4, 5), 'v1 Third v4 fifth', 'what replaced it is there');

	my $before = manifest_rows('/f');
	is($cluster->sql("SELECT difs_restore('/f', 1)"), 6, 'an old version comes back as a new one');
	is(manifest_rows('/f'), $before, 'without a row in the manifest');
	$cluster->sql("SELECT difs_delete('/f', version => 1)");
	is(collect()->{segments}, 0, 'the old one goes without its segment');
	is(content('/f', 6), 'v1', 'as the new one shares it');
	$cluster->sql("SELECT difs_copy('/f', '/copy', version => 3)", "SELECT difs_delete('/f', version => 6)");
	is(collect()->{segments}, 1, 'with which it goes');
	$cluster->sql("SELECT difs_delete('/f', version => 3)");
	$result = collect();
	is("$result->{segments} $result->{waiting}", '0 1', 'a copy in another file keeps what a version let go of');
	is(content('/copy', 1), 'Third', 'and can be read');
	$cluster->sql("SELECT difs_delete('/copy')");
	clean('one by one');
	is(numbers('/f'), '4 5', 'the versions that are left');

	# deleted and made again, while nothing has been collected
	$cluster->sql("SELECT difs_delete('/f', version => 5)", "SELECT difs_put('/f', 'five, again', version => 5)",
		"SELECT difs_delete('/f', version => 5)", "SELECT difs_put('/f', 'and again', version => 5)");
	is(collect()->{segments}, 2, 'contents of one number go one by one');
	is(content('/f', 5), 'and again', 'but for the last');
	$cluster->sql("SELECT difs_put('/f', 'once more', version => 5)", "SELECT difs_delete('/f')");
	clean('a file with numbers that were used again');
	is($cluster->sql("SELECT count(*) FROM difs.manifest"), 0, 'no manifest row is left');
}

# Who has seen a version reads it, however it goes; and so does a hold of a backup.
{
	$cluster->sql("SELECT difs_put('/seen', convert_to('v' || n, 'UTF8')) FROM generate_series(1, 4) AS n",
		"SELECT difs_restore('/seen', 1)");
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	$cluster->sql("SELECT difs_delete('/seen', version => 1)", "SELECT difs_put('/seen', 'new', version => 2)",
		"SELECT difs_retain('/seen', 2)", "SELECT difs_delete('/seen', version => 5)");
	is(numbers('/seen'), '4', 'the history is shorter now');
	my $result = collect();
	is("$result->{segments} $result->{waiting}", '0 5', 'nothing is collected that a snapshot sees');
	is($session->query_safe("SELECT string_agg(convert_from(difs_get('/seen', version), 'UTF8'), ' ' ORDER BY version) FROM difs_versions('/seen')"),
		'v1 v2 v3 v4 v1', 'and the snapshot reads it');
	$session->query_safe('COMMIT');
	$session->quit;
	clean('snapshot');
	$cluster->sql(q{SELECT difs_hold('backup')});
	$cluster->sql("SELECT difs_put('/seen', 'five')", "SELECT difs_delete('/seen', version => 4)");
	collect() for 1 .. 2;
	is($cluster->sql("SELECT count(*) FROM difs.version WHERE version < 0"), 1, 'what goes under a hold stays');
	is($cluster->sql("SELECT kind || ' ' || holder FROM difs.collection_blockers"), 'hold backup', 'and the view says why');
	$cluster->sql(q{SELECT difs_release('backup')});
	clean('hold');
	is(manifest_rows('/seen'), 1, 'one version, one segment');
}

# Deleted in a subtransaction whose xid is beyond the horizon, though that of its transaction is not: the dead row of the version keeps nothing.
{
	$cluster->sql('CREATE TABLE note (n int)', "SELECT difs_put('/sub', convert_to('v' || n, 'UTF8')) FROM generate_series(1, 2) AS n");
	my ($one, $other) = map { $node->background_psql('postgres') } 1, 2;
	$one->query_safe('BEGIN; INSERT INTO note VALUES (1)');
	$other->query_safe('BEGIN; INSERT INTO note VALUES (2)');
	$one->query_safe("SAVEPOINT s; SELECT difs_delete('/sub', version => 1); COMMIT");
	is(collect()->{segments}, 1, 'a version that was deleted in a subtransaction is collected');
	$other->query_safe('COMMIT');
	$_->quit for $one, $other;
	clean('subtransaction');
	is(manifest_rows('/sub'), 1, 'one segment is left');
}

# What time alone makes old, the keeper lets go of; a marker that is all that is left goes with its file.
{
	$cluster->sql("SELECT difs_volume_create('timed', versioning => true, keep_for => '1 hour')",
		"SELECT difs_put('timed:/f', convert_to('v' || n, 'UTF8')) FROM generate_series(1, 3) AS n",
		"SELECT difs_put('timed:/gone', 'x'), difs_delete('timed:/gone')",
		"SELECT difs_put('timed:/held', 'x'), difs_put('timed:/held', 'y'), difs_hold_until('timed:/held', now() + '1 day')",
		"SELECT difs_put('timed:/own', 'x'), difs_put('timed:/own', 'y'), difs_retain('timed:/own', keep_for => '1 day')");
	collect();
	is($cluster->sql("SELECT count(*) FROM difs_versions('timed:/gone')"), 2, 'within the time, nothing goes');
	# as if all this had been two hours ago
	$cluster->sql(q{UPDATE difs.version SET mtime = mtime - interval '2 hours'}, q{UPDATE difs.expiring SET due = due - interval '2 hours'});
	clean('by time');
	is(numbers('timed:/f'), '3', 'old versions have gone');
	is($cluster->sql('SELECT count(*) FROM difs.dentry WHERE parent < 0'), 0, 'and so has the deleted file');
	is(numbers('timed:/held'), '1 2', 'but nothing of a file that is held');
	is(numbers('timed:/own'), '1 2', 'nor of one with a retention of its own');

	$cluster->sql("SELECT difs_volume_create('none', versioning => true, keep_for => '0')", "SELECT difs_put('none:/f', 'x'), difs_delete('none:/f')");
	clean('a marker that is all that is left');
	is($cluster->sql("SELECT count(*) FROM difs.inode i JOIN difs.volume v ON v.id = i.volume WHERE name = 'none' AND kind = 'f'"), 0, 'goes with its file');

	# another retention of a volume: all files are looked at
	$cluster->sql("SELECT difs_volume_create('later')", "SELECT difs_put('later:/f', convert_to('v' || n, 'UTF8')) FROM generate_series(1, 5) AS n");
	$cluster->sql("UPDATE difs.volume SET keep_versions = 2 WHERE name = 'later'");
	clean('another retention');
	is(numbers('later:/f'), '4 5', 'a new rule of the volume counts for what is there');
	$cluster->sql("SELECT difs_hold_until('later:/f', now() + '1 hour')", "SELECT difs_put('later:/g' || n, 'x'), difs_put('later:/g' || n, 'y') FROM generate_series(1, 600) AS n",
		"SELECT difs_volume_alter('later', keep_versions => 1)");
	clean('another retention by its function');
	is(numbers('later:/f'), '4 5', 'what is held stays');
	is($cluster->sql("SELECT count(*) FROM difs.version v JOIN difs.inode i ON i.ino = v.ino AND i.kind = 'f' WHERE i.volume = (SELECT id FROM difs.volume WHERE name = 'later')"),
		602, 'of all others, one version each is left');
	is($cluster->sql("SELECT count(*) FROM difs.expiring e JOIN difs.volume v ON v.root = e.ino"), 0, 'and the keeper has done with the volume');
}

# A volume that is dropped takes its history and its trash along.
{
	$cluster->sql("SELECT difs_volume_create('ending', versioning => true, trash_for => '1 day', journal => true)",
		"SELECT difs_put('ending:/d' || n || '/f', 'x', parents => true), difs_delete('ending:/d' || n || '/f') FROM generate_series(1, 5) AS n",
		"SELECT difs_put('ending:/t/u/f' || n, 'x', parents => true), difs_put('ending:/t/f', 'x'), difs_put('ending:/h', 'x') FROM generate_series(1, 5) AS n",
		"SELECT difs_link('ending:/h', 'ending:/t/h'), difs_delete('ending:/d1', recursive => true), difs_delete('ending:/t', recursive => true), difs_delete('ending:/h')",
		"SELECT difs_symlink('nowhere', 'ending:/s'), difs_delete('ending:/s')");
	my $volume = $cluster->sql("SELECT id FROM difs.volume WHERE name = 'ending'");
	$cluster->sql("SELECT difs_volume_drop('ending', force => true)");
	is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'a volume with history and trash is dropped: fsck finds nothing');
	collect() foreach 1 .. 3;
	clean('dropped');
	is($cluster->sql("SELECT (SELECT count(*) FROM difs.inode WHERE volume = $volume), (SELECT count(*) FROM difs.discarded WHERE volume = $volume),"
		  . " (SELECT count(*) FROM difs.dropped), (SELECT count(*) FROM difs.dentry WHERE abs(parent) NOT IN (SELECT ino FROM difs.inode))"), '0|0|0|0', 'and nothing is left of it');
}

# Trash: purged after its time, but not what a foreign key names, which does not keep the rest.
{
	$cluster->sql("SELECT difs_volume_create('bin', trash_for => '0')", "SELECT difs_put('bin:/a', 'a'), difs_put('bin:/b', 'b'), difs_put('bin:/d/f', 'f', parents => true)",
		'CREATE TABLE picture (ino bigint REFERENCES difs.inode)', "INSERT INTO picture SELECT ino FROM difs_stat('bin:/a')");
	$cluster->sql("SELECT difs_delete('bin:/' || name, recursive => true) FROM (VALUES ('a'), ('b'), ('d')) AS v (name)");
	collect();
	is($cluster->sql("SELECT string_agg(path, ' ' ORDER BY path) FROM difs.trash WHERE volume = 'bin'"), '/a', 'what has been in the trash for long enough is gone, but for what a key names');
	$cluster->sql('DELETE FROM picture');
	clean('trash');
	is($cluster->sql("SELECT count(*) FROM difs.trash"), 0, 'the trash is empty');
}

# Whether the first change of a page after a checkpoint brings the whole page into WAL; the old value comes back when the test has measured.
sub full_page_writes
{
	my ($value) = @_;
	$node->append_conf('postgresql.conf', "full_page_writes = $value");
	$node->reload;
	ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW full_page_writes') eq $value }, 30), "full_page_writes is $value");
	return;
}

# A tree goes to the trash in no more time and WAL than a file: rows are counted, not seconds, and not images of pages either, of which
# a row needs one or two by chance.
{
	full_page_writes('off');
	$cluster->sql("SELECT difs_volume_create('tree', trash_for => '1 hour', digest => 'none')",
		"SELECT count(difs_put('tree:/t/d' || n % 10 || '/f' || n, 'x', parents => true)) FROM generate_series(1, $TREE) AS n",
		"SELECT difs_put('tree:/one/f', 'x', parents => true)");
	my %wal;
	foreach my $path ('one', 't')
	{
		$cluster->sql('CHECKPOINT');
		$cluster->sql("SELECT difs_mkdir('tree:/warm'), difs_put('tree:/warm/f', 'x'), difs_delete('tree:/warm', recursive => true)");
		my $from = $cluster->sql('SELECT pg_current_wal_insert_lsn()');
		my $began = time;
		is($cluster->sql("SELECT difs_delete('tree:/$path', recursive => true)"), 1, "/$path goes to the trash");
		note(sprintf('%s: %.1f ms', $path, (time - $began) * 1000));
		$wal{$path} = $cluster->sql("SELECT pg_current_wal_insert_lsn() - '$from'");
	}
	note("WAL bytes: directory with one file $wal{one}, with $TREE files $wal{t}");
	cmp_ok($wal{t}, '<', $wal{one} + 10000, 'a tree costs what a file costs');
	full_page_writes('on');
	$cluster->sql("SELECT difs_undelete('tree:/t')");
	is($cluster->sql("SELECT count(*) FROM difs_list('tree:/t', recursive => true)"), $TREE + 10, 'and comes back as it was');
	$cluster->sql("SELECT difs_delete('tree:/t', recursive => true)");
	is($cluster->sql("SELECT sum(difs_purge(id)) FROM difs.trash WHERE path = '/t'"), $TREE + 11, 'or goes for good');
	$cluster->sql("SELECT difs_purge(id) FROM difs.trash");
	clean('tree');
}

# Many versions of one file.
{
	my $began = time;
	$cluster->sql("SELECT difs_put('/many', convert_to('v' || n, 'UTF8')) FROM generate_series(1, $VERSIONS) AS n");
	note(sprintf('%d versions put in %.1f s', $VERSIONS, time - $began));
	is($cluster->sql("SELECT count(*), min(version), max(version) FROM difs_versions('/many')"), "$VERSIONS|1|$VERSIONS", "$VERSIONS versions of one file");
	is(content('/many', $_), "v$_", "version $_") for 1, int($VERSIONS / 2), $VERSIONS;
	$began = time;
	$cluster->sql("SELECT difs_retain('/many', 10)");
	note(sprintf('all but ten let go of in %.1f s', time - $began));
	is(numbers('/many'), join(' ', $VERSIONS - 9 .. $VERSIONS), 'retention leaves ten');
	$began = time;
	is(collect()->{segments}, $VERSIONS - 10, 'and all others are collected');
	note(sprintf('collected in %.1f s', time - $began));
	$began = time;
	$cluster->sql("SELECT difs_put('/many', 'x') FROM generate_series(1, 300)");
	note(sprintf('300 puts at the limit of ten in %.1f s', time - $began));
	is($cluster->sql("SELECT count(*) FROM difs_versions('/many')"), 10, 'each put lets go of one');
	clean('many versions');
	is(manifest_rows('/many'), 10, 'ten segments are left');
}

# All of it comes back from a dump: policies, history, trash, holds, and the numbers go on.
{
	$cluster->sql("SELECT difs_volume_create('dumped', versioning => true, keep_versions => 5, keep_for => '1 day', trash_for => '2 days')",
		"SELECT difs_put('dumped:/d/f', 'x', parents => true), difs_put('dumped:/d/f', 'y', version => 1), difs_delete('dumped:/d/f')",
		"SELECT difs_put('dumped:/t/f', 'x', parents => true), difs_delete('dumped:/t', recursive => true)",
		"SELECT difs_put('dumped:/held', 'x'), difs_write_once('dumped:/held', '2101-01-01'), difs_put('dumped:/f', 'x'), difs_put('dumped:/f', 'y')");
	my $dump = $cluster->dir . '/dump.sql';
	$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
	$cluster->sql('CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
	foreach my $what ('difs.trash', 'difs.volumes', 'difs.file_policies', 'difs.expiring', 'difs.dentry', 'difs.version', 'difs.inode', 'difs.trash_id',
		q{difs_versions('dumped:/d/f')})
	{
		my $query = "SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM $what AS t";
		$query = 'SELECT last_value FROM difs.trash_id' if $what eq 'difs.trash_id';
		isnt($node->safe_psql('restored', $query), '', "$what is not empty");
		is($node->safe_psql('restored', $query), $cluster->sql($query), "$what comes back");
	}
	is($node->safe_psql('restored', 'SELECT * FROM difs_fsck()'), '', 'fsck finds nothing there');
	$cluster->sql('DROP DATABASE restored');
}

# Eight clients do everything to a few names at once: nothing is left that should not be, and no error but those that say that a file is there,
# is not there, or that somebody was faster.
{
	$cluster->sql("SELECT difs_volume_create('mixed_' || n, versioning => n % 2 = 1, journal => n % 3 = 1, quota_exact => n = 4, quota_bytes => CASE WHEN n > 1 THEN 100000 END, keep_versions => CASE WHEN n / 2 % 2 = 1 THEN 3 END,"
		  . " trash_for => CASE WHEN n / 4 = 1 THEN interval '1 hour' END, digest => 'none') FROM generate_series(0, 7) AS n",
		"SELECT difs_mkdir('mixed_' || n || ':/d' || i) FROM generate_series(0, 7) AS n, generate_series(1, 3) AS i",
		"SELECT difs_quota_set('mixed_' || n || ':/d1') FROM generate_series(6, 7) AS n",
		'CREATE TABLE outcome (statement text, state text)');
	my $script = $cluster->write_file('mixed.sql', <<'SQL');
\set v random(0, 7)
\set d random(1, 3)
\set e random(1, 3)
\set f random(1, 2)
\set g random(1, 2)
\set n random(1, 12)
\set o random(1, 100)
SELECT attempt(:o, 'mixed_' || :v || ':/d' || :d || '/f' || :f, 'mixed_' || :v || ':/d' || :e || '/f' || :g, 'mixed_' || :v || ':/d' || :d, :n);
SQL
	my $attempt = <<'SQL';
CREATE FUNCTION attempt(choice int, path text, other text, directory text, n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	statement text;
BEGIN
	statement := CASE
		WHEN choice <= 22 THEN format('SELECT difs_put(%L, repeat(''x'', %s)::bytea, parents => true)', path, choice)
		WHEN choice <= 30 THEN format('SELECT difs_link(%L, %L)', path, other)
		WHEN choice <= 40 THEN format('SELECT difs_put(%L, %L, version => %s)', path, choice, n)
		WHEN choice <= 52 THEN format('SELECT difs_delete(%L)', path)
		WHEN choice <= 62 THEN format('SELECT difs_delete(%L, version => %s)', path, n)
		WHEN choice <= 72 THEN format('SELECT difs_undelete(%L)', path)
		WHEN choice <= 80 THEN format('SELECT difs_rename(%L, %L)', path, other)
		WHEN choice <= 86 THEN format('SELECT difs_restore(%L, %s)', path, n)
		WHEN choice <= 90 THEN format('SELECT difs_copy(%L, %L)', path, other)
		WHEN choice <= 93 THEN format('SELECT difs_retain(%L, %s)', path, n)
		WHEN choice <= 96 THEN format('SELECT difs_delete(%L, recursive => true)', directory)
		WHEN choice <= 98 THEN format('SELECT difs_undelete(%L)', directory)
		ELSE 'SELECT difs_purge(max(id)) FROM difs.trash HAVING count(*) > 5'
	END;
	EXECUTE statement;
	RETURN '00000';
EXCEPTION WHEN OTHERS THEN
	INSERT INTO outcome VALUES (statement || ': ' || SQLERRM, SQLSTATE);
	RETURN SQLSTATE;
END $$;
SQL
	$cluster->sql($attempt);
	$node->command_ok(
		[ 'pgbench', '--no-vacuum', '--client', 8, '--jobs', 2, '--transactions', $MIXED, '--file', $script, '--port', $node->port, '--host', $node->host, 'postgres' ],
		'eight clients');
	is($cluster->sql(q{SELECT string_agg(DISTINCT state || ' ' || statement, E'\n') FROM outcome WHERE state NOT IN ('58P01', '58P02', '40001', '40P01', '2BP01', '42809', '0A000')}),
		'', 'no error but those that are to be expected');
	note('outcomes: ' . $cluster->sql(q{SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM outcome GROUP BY state) AS s}));
	collect();
	is($cluster->sql('SELECT * FROM difs_fsck(deep => true, digests => true)'), '', 'and all is well');
	cmp_ok($cluster->sql(q{SELECT count(*) FROM difs.version v JOIN difs.inode i ON i.ino = v.ino JOIN difs.volume ON volume.id = i.volume WHERE name LIKE 'mixed%'}),
		'>', 0, 'files are left');
	$cluster->sql("SELECT difs_delete('mixed_' || n || ':/' || name, recursive => true) FROM generate_series(0, 7) AS n, difs_list('mixed_' || n || ':/')",
		'SELECT difs_purge(id) FROM difs.trash');
	clean('mixed load');
	is($cluster->sql(q{SELECT count(*) FROM difs.manifest WHERE ino NOT IN (SELECT ino FROM difs.inode)}), 0, 'and nothing is left of what was');
}

$cluster->stop;
done_testing();
