# Many clients write parts of the same few files at once, while the keeper collects, puts together and moves what is staged.
#
# Every write is of whole records of ten bytes, so whatever is read must be whole records or zeros; old versions are let go of
# meanwhile. DIFS_DATA_SECONDS (12) makes it longer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = $ENV{DIFS_DATA_SECONDS} // 12;
my $cluster = DifsCluster->new('stress', servers => 2,
	conf => "difs.collect_interval = '700ms'\ndifs.compact_interval = '500ms'\ndifs.unstage_interval = '600ms'\ndifs.block_group_size = '16MB'\nmax_worker_processes = 24\n");
my $node = $cluster->node;
$cluster->sql("SELECT difs_volume_create('v', segment_size => 4096, compression => 'none')",
	"SELECT difs_volume_create('t', segment_size => 4096, inline_limit => 500)", <<'SQL');
CREATE FUNCTION records(count integer) RETURNS bytea LANGUAGE sql VOLATILE AS $$
	SELECT convert_to(string_agg(to_char(floor(random() * 1e9), 'FM000000000') || E'\n', ''), 'UTF8') FROM generate_series(1, count)
$$;
-- what is true of every content
CREATE FUNCTION is_whole(content bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT length(content) % 10 = 0 AND replace(encode(content, 'escape'), '\000\000\000\000\000\000\000\000\000\000', '') ~ '^([0-9]{9}\n)*$'
$$;
CREATE FUNCTION step(op integer, a integer, b integer, at integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	f text := CASE a % 2 WHEN 0 THEN 'v' ELSE 't' END || ':/f' || a;
	g text := CASE b % 2 WHEN 0 THEN 'v' ELSE 't' END || ':/f' || b;
	content bytea;
BEGIN
	PERFORM set_config('difs.staging', CASE WHEN random() < 0.1 THEN 'always' ELSE 'auto' END, true);
	CASE
		WHEN op < 30 THEN PERFORM difs_append(f, records(1 + at % 7));
		WHEN op < 60 THEN PERFORM difs_write(f, at * 10, records(1 + at % 50));
		WHEN op < 70 THEN PERFORM difs_truncate(f, at * 10);
		WHEN op < 75 THEN PERFORM difs_put(f, records(1 + at));
		WHEN op < 80 THEN PERFORM difs_copy(f, g);
		WHEN op < 85 THEN PERFORM difs_copy(f, g, "offset" => at * 5 / 10 * 10, length => at * 10);
		WHEN op < 88 THEN PERFORM difs_concat(ARRAY[f, g], g) FROM difs_stat(g) WHERE size < 100000;
		WHEN op < 90 THEN PERFORM difs_delete(f);
		WHEN op < 93 THEN
			PERFORM difs_delete(f, version => v.version) FROM difs_versions(f) AS v WHERE random() < 0.3;
		WHEN op < 95 THEN PERFORM difs_restore(f, v.version) FROM (SELECT version FROM difs_versions(f) ORDER BY random() LIMIT 1) AS v;
		WHEN op < 96 THEN PERFORM difs_put(f, records(1 + at), version => v.version) FROM (SELECT version FROM difs_versions(f) ORDER BY random() LIMIT 1) AS v;
		ELSE
			content := difs_get(f);
			IF NOT is_whole(content) THEN
				RAISE EXCEPTION 'file % is damaged: %', f, content;
			END IF;
	END CASE;
EXCEPTION WHEN undefined_file THEN NULL;
END $$;
SQL
my $script = $cluster->write_file('step.sql',
	"\\set op random(0, 99)\n\\set a random(1, 6)\n\\set b random(1, 6)\n\\set at random(0, 1500)\nSELECT step(:op, :a, :b, :at);\n");
my @common = ('-n', '-T', $SECONDS, '-p', $node->port, '-h', $node->host, '-f', $script);
my @runs = map { { command => $_, out => '', err => '' } }
	([ 'pgbench', '-c', 5, @common, 'postgres' ],
	[ 'env', "PGOPTIONS=-c default_transaction_isolation=repeatable\\ read", 'pgbench', '-c', 3, '--max-tries=0', @common, 'postgres' ]);
$_->{run} = IPC::Run::start($_->{command}, '>', \$_->{out}, '2>', \$_->{err}) foreach @runs;
foreach my $run (@runs)
{
	ok($run->{run}->finish, 'clients end without an error') or diag $run->{err};
	unlike($run->{err}, qr/aborted/, 'none of them gives up') or diag $run->{err};
	note join ', ', grep { /transactions (actually )?processed|failed|retried/ } split /\n/, $run->{out};
}
note 'files put together: ' . (() = slurp_file($node->logfile) =~ /files put together/g) . ' rounds, collected: '
	. (() = slurp_file($node->logfile) =~ /difs: collected/g) . ' rounds, moved: ' . (() = slurp_file($node->logfile) =~ /staged segments moved/g) . ' rounds';
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'no deadlock');

$cluster->sql("ALTER SYSTEM SET difs.collect_interval = 0", "ALTER SYSTEM SET difs.compact_interval = 0", 'SELECT pg_reload_conf()');
my $WHOLE = "SELECT count(*) FILTER (WHERE NOT is_whole(difs_get(volume || name, version => v.version))), count(*) > 0"
	. " FROM (VALUES ('v:/'), ('t:/')) AS volume (volume), difs_list(volume) AS l, difs_versions(volume || name) AS v"
	. ' WHERE NOT v.deleted';
my $FSCK = "SELECT kind, object, detail FROM difs_fsck(deep => true, digests => true) WHERE kind <> 'orphan'";
is($cluster->sql($WHOLE), '0|t', 'every version is whole');
is($cluster->sql($FSCK), '', 'fsck');
$cluster->sql('SELECT difs_unstage()', 'SELECT difs_compact()', 'SELECT difs_collect()', 'SELECT difs_collect()');
is($cluster->sql($WHOLE), '0|t', 'also after collection');
is($cluster->sql($FSCK), '', 'fsck');
$cluster->sql("SELECT difs_delete(volume || name) FROM (VALUES ('v:/'), ('t:/')) AS volume (volume), difs_list(volume)");
ok(DifsCluster::poll_until(sub {
	$cluster->sql('SELECT difs_collect()');
	return $cluster->sql('SELECT (SELECT count(*) FROM difs.doomed) + (SELECT count(*) FROM difs.manifest) + (SELECT count(*) FROM difs.inline)'
		. ' + (SELECT count(*) FROM difs.version) + (SELECT count(*) FROM difs.staging)') eq '0';
}), 'all is deleted: no row is left') or diag $cluster->sql("SELECT 'doomed', count(*) FROM difs.doomed UNION ALL SELECT 'manifest', count(*) FROM difs.manifest"
	. " UNION ALL SELECT 'inline', count(*) FROM difs.inline UNION ALL SELECT 'version', count(*) FROM difs.version UNION ALL SELECT 'staging', count(*) FROM difs.staging");
ok(DifsCluster::poll_until(sub {
	return $cluster->sql('SELECT kind, object, detail FROM difs_fsck(deep => true)', 'SELECT FROM difs_collect()') !~ /\S/;
}), 'nor a segment on a server, of rolled back writes neither') or diag $cluster->sql('SELECT kind, object, detail FROM difs_fsck(deep => true)');

$cluster->stop;
done_testing();
