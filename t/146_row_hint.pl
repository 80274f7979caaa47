# Rows are looked for where they were found last (src/row_hint.c): without the index, and right whatever has happened to them since: other
# snapshots, rename, delete, rollback, prepared transactions, vacuum, rewriting, truncation, eviction, another database, many at once.
#
#	DIFS_HINT_SECONDS	how long readers compare while writers change everything (default 8)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = $ENV{DIFS_HINT_SECONDS} // 8;
my $cluster = DifsCluster->new('row_hint', servers => 1,
	conf => "difs.collect_interval = 0\nmax_prepared_transactions = 2\nautovacuum = off\nshared_buffers = 2MB\n");
my $node = $cluster->node;
my ($session, $old) = map { $node->background_psql('postgres', on_error_stop => 1) } 1 .. 2;

sub content { return $session->query_safe("SELECT convert_from(difs_get('$_[0]'), 'UTF8')"); }
sub missing { return is($session->query_safe("SELECT difs_exists('$_[0]')"), 'f', "$_[0] $_[1]"); }
sub put { return $cluster->sql("SELECT difs_put('$_[0]', '$_[1]')"); }

# Indexes that one call of difs_get() has locked.
sub indexes
{
	my ($level, $path) = @_;
	$session->query_safe("BEGIN ISOLATION LEVEL $level");
	$session->query_safe("SELECT difs_get('$path')");
	my $names = $session->query_safe(q{SELECT string_agg(DISTINCT relation::regclass::text, ' ') FROM pg_locks
		WHERE pid = pg_backend_pid() AND relation::regclass::text ~ '^difs[.](dentry|inode|manifest)_pkey$'});
	$session->query_safe('COMMIT');
	return $names;
}

$cluster->sql("SELECT difs_mkdir('/d/e', parents => true)");
put("/d/e/$_", "content $_") for 1 .. 5;
is(content('/d/e/1'), 'content 1', 'found by the index');
my @by_index = grep { $_ ne '' } map { indexes('READ COMMITTED', '/d/e/1') } 1 .. 20;
cmp_ok(scalar @by_index, '<', 10, 'then mostly without one: of 20 calls, with an index ' . @by_index);
my @serializable = grep { $_ eq 'difs.dentry_pkey difs.inode_pkey difs.manifest_pkey' } map { indexes('SERIALIZABLE', '/d/e/1') } 1 .. 20;
is(scalar @serializable, 20, 'SERIALIZABLE always asks the indexes');

# What others do, and an old snapshot that goes on seeing what it saw.
sub both
{
	my ($name, $do, $new) = @_;
	my $query = q{SELECT string_agg(n || '=' || coalesce(convert_from(difs_get('/d/e/' || n), 'UTF8'), ''), ' ' ORDER BY n)
		FROM (SELECT n FROM generate_series(1, 9) AS n WHERE difs_exists('/d/e/' || n) OFFSET 0) AS there};
	$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $before = $old->query_safe($query);
	$session->query_safe($query);
	$do->();
	is($session->query_safe($query), $new, "$name: seen") for 1 .. 2;
	is($old->query_safe($query), $before, "$name: not by an old snapshot") for 1 .. 2;
	is($session->query_safe($query), $new, "$name: seen beside it");
	$old->query_safe('COMMIT');
	is($old->query_safe($query), $new, "$name: and after it");
	return;
}
my $rest = '2=content 2 3=content 3 4=content 4 5=content 5';
both('overwritten', sub { put('/d/e/1', 'other') }, "1=other $rest");
both('renamed', sub { $cluster->sql("SELECT difs_rename('/d/e/1', '/d/e/9')") }, "$rest 9=other");
both('exchanged', sub { $cluster->sql("SELECT difs_rename('/d/e/9', '/d/e/2')") }, '2=other 3=content 3 4=content 4 5=content 5');
both('deleted', sub { $cluster->sql("SELECT difs_delete('/d/e/2')") }, '3=content 3 4=content 4 5=content 5');
both('made anew', sub { put('/d/e/2', 'again') }, '2=again 3=content 3 4=content 4 5=content 5');
both('written in part', sub { $cluster->sql("SELECT difs_write('/d/e/3', 2, 'XX')") }, '2=again 3=coXXent 3 4=content 4 5=content 5');
both('directory replaced', sub { $cluster->sql("SELECT difs_rename('/d/e', '/d/f'), difs_mkdir('/d/e')"); put('/d/e/7', 'seven') }, '7=seven');

# Rows of several versions, all visible at once, for one place of one file.
$cluster->sql(q{SELECT difs_volume_create('kept', keep_versions => 10)});
put('kept:/v', 'version 1');
$cluster->sql("SELECT difs_write('kept:/v', 8, '$_')") for 2 .. 5;
foreach my $version (1 .. 5, 5, 4, 4, 1 .. 5)
{
	is($session->query_safe("SELECT convert_from(difs_get('kept:/v', $version), 'UTF8')"), "version $version", "version $version");
}

# Rollback, of a savepoint and of all; a prepared transaction.
$session->query_safe('BEGIN');
$session->query_safe(q{SAVEPOINT s; SELECT difs_rename('/d/e/7', '/d/e/8')});
is(content('/d/e/8'), 'seven', 'seen by the transaction that renames');
$session->query_safe('ROLLBACK TO s');
is(content('/d/e/7'), 'seven', 'rolled back to a savepoint');
missing('/d/e/8', 'is gone again');
$session->query_safe(q{SELECT difs_put('/d/e/7', 'rolled back')});
is(content('/d/e/7'), 'rolled back', 'overwritten by the transaction');
is($cluster->sql(q{SELECT convert_from(difs_get('/d/e/7'), 'UTF8')}), 'seven', 'which others do not see');
$session->query_safe('ROLLBACK');
is(content('/d/e/7'), 'seven', 'and nobody once it is rolled back');
$cluster->sql(q{BEGIN; SELECT difs_rename('/d/e/7', '/d/e/8'); SELECT difs_put('/d/e/8', 'prepared'); PREPARE TRANSACTION 'p'});
is(content('/d/e/7'), 'seven', 'a prepared transaction is not seen');
missing('/d/e/8', 'is not there yet');
$cluster->sql(q{COMMIT PREPARED 'p'});
is(content('/d/e/8'), 'prepared', 'and is seen once it is committed');
missing('/d/e/7', 'is gone');

# Rows go, and others come into their places; then there is no such block any more.
$cluster->sql(q{SELECT difs_mkdir('/many')});
my $fill = q{SELECT count(difs_put('/many/' || i, convert_to('%s ' || i, 'UTF8'))) FROM generate_series(%d, %d) AS i};
my $right = q{SELECT count(*) FILTER (WHERE convert_from(difs_get('/many/' || i), 'UTF8') = '%s ' || i) FROM generate_series(%d, %d) AS i};
my $there = q{SELECT count(*) FILTER (WHERE difs_exists('/many/' || i)) FROM generate_series(%d, %d) AS i};
$cluster->sql(sprintf $fill, 'first', 1, 600);
is($session->query_safe(sprintf $right, 'first', 1, 600), 600, '600 files');
foreach my $turn (1 .. 3)
{
	$cluster->sql(q{SELECT count(difs_delete('/many/' || i)) FROM generate_series(301, 600) AS i});
	$cluster->sql('SELECT difs_collect()');
	$cluster->sql("VACUUM difs.$_") for qw(dentry inode manifest);
	is($session->query_safe(sprintf $there, 301, 600), 0, 'deleted, and vacuumed');
	$cluster->sql(sprintf $fill, "turn $turn", 601 - $turn, 900);
	is($session->query_safe(sprintf $right, 'first', 1, 300), 300, 'others in their places: those that were there');
	is($session->query_safe(sprintf $right, "turn $turn", 601 - $turn, 900), 300 + $turn, 'and those that came');
	$cluster->sql(sprintf q{SELECT count(difs_delete('/many/' || i)) FROM generate_series(%d, 900) AS i}, 601 - $turn);
	$cluster->sql(sprintf $fill, 'first', 301, 600);
	is($session->query_safe(sprintf $right, 'first', 1, 600), 600, 'and again');
}
foreach my $command ('VACUUM FULL', 'CLUSTER', 'VACUUM FREEZE')
{
	$cluster->sql($command eq 'CLUSTER' ? "CLUSTER difs.$_ USING ${_}_pkey" : "$command difs.$_") for qw(dentry inode manifest);
	is($session->query_safe(sprintf $right, 'first', 1, 600), 600, "after $command");
}
my $size = $cluster->sql(q{SELECT pg_relation_size('difs.dentry')});
$cluster->sql(q{SELECT count(difs_delete('/many/' || i)) FROM generate_series(1, 600) AS i});
$cluster->sql('VACUUM (TRUNCATE) difs.dentry');
cmp_ok($cluster->sql(q{SELECT pg_relation_size('difs.dentry')}), '<', $size, 'the table has become shorter');
is($session->query_safe(sprintf $there, 1, 600), 0, 'names that were in what was cut off are not found');

# Another database, with the same numbers and names.
$cluster->sql(q{CREATE DATABASE twin});
$node->safe_psql('twin', 'CREATE EXTENSION difs');
put('/same', 'here');
$node->safe_psql('twin', q{SELECT difs_mkdir('/same')});
is(content('/same'), 'here', 'a name in this database') for 1 .. 2;
is($node->safe_psql('twin', q{SELECT kind FROM difs_stat('/same')}), 'directory', 'and in another one') for 1 .. 2;
$_->quit for $session, $old;

# Writers and vacuum, and readers who compare each name with what SQL sees under the same snapshot.
$cluster->sql(q{SELECT difs_mkdir('/s')});
$cluster->sql(q{CREATE FUNCTION bytes(size int) RETURNS bytea LANGUAGE sql AS $$ SELECT convert_to(repeat(chr(97 + size % 26), size), 'UTF8') $$});
my $files = $cluster->dir;
sub script
{
	my ($name, $text) = @_;
	append_to_file("$files/$name.sql", $text);
	return "$files/$name.sql";
}
my $put = script('put', <<'SQL');
\set n random(1, 30)
\set size random(1, 3000)
SELECT difs_put('/s/' || :n, bytes(:size));
SQL
my $change = script('change', <<'SQL');
\set n random(1, 30)
\set m random(1, 30)
\set back random(1, 2)
BEGIN;
DO $$ BEGIN PERFORM pg_advisory_xact_lock(1); END $$;
SELECT CASE WHEN difs_exists('/s/' || :n) AND :n <> :m THEN difs_rename('/s/' || :n, '/s/' || :m) END;
SAVEPOINT s;
SELECT CASE WHEN difs_exists('/s/' || :m) THEN difs_delete('/s/' || :m) END;
\if :back = 1
ROLLBACK TO s;
\endif
COMMIT;
SQL
my $vacuum = script('vacuum', "VACUUM difs.dentry;\nVACUUM difs.inode;\nVACUUM difs.manifest;\n");
my $read = script('read', <<'SQL');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1 / (count(*) FILTER (WHERE difs_exists('/s/' || n) <> (d.ino IS NOT NULL)) = 0)::int FROM generate_series(1, 30) AS n
	LEFT JOIN difs.dentry AS d ON d.name = n::text AND d.parent = difs_ino('/s');
SELECT 1 / (count(*) FILTER (WHERE (difs_stat('/s/' || d.name)).ino <> d.ino OR difs_get('/s/' || d.name) <> bytes(i.size::int)) = 0)::int
	FROM difs.dentry AS d JOIN difs.inode AS i USING (ino) WHERE d.parent = difs_ino('/s');
COMMIT;
SQL
my $output = '';
my $ran = IPC::Run::run([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-T', $SECONDS, '-c', 6, '-j', 2, '--max-tries=100',
	'-f', "$put\@4", '-f', "$change\@4", '-f', "$vacuum\@1", '-f', "$read\@4", 'postgres' ], '>&', \$output);
ok($ran, "six clients for $SECONDS s: readers find what SQL finds") or diag($output);
note($output);
unlike($output, qr/ERROR|aborted/, 'without an error');
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'and nothing is wrong') if $ran;
$cluster->stop;
done_testing();
