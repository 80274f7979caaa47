# A directory of a million entries against one of a thousand: what one operation touches is counted in pages, so that the result does not
# depend on the machine; times are printed. And renaming a directory with all of them below: two rows of difs.dentry.
#
#	DIFS_ENTRIES	number of entries in the large directory (1,000,000)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $large = $ENV{DIFS_ENTRIES} // 1_000_000;
my $small = 1000;

my $cluster = DifsCluster->new(
	'large', servers => 1,
	conf => <<'CONF');
shared_buffers = '1GB'
max_wal_size = '8GB'
autovacuum = off
CONF
my $node = $cluster->node;

# Files without content, as rows.
sub fill
{
	my ($directory, $count) = @_;
	$cluster->sql(
		'BEGIN',
		"SELECT difs_mkdir('$directory')",
		"CREATE TEMP TABLE made AS SELECT nextval('difs.ino') AS ino, i FROM generate_series(1, $count) AS i",
		"INSERT INTO difs.inode SELECT ino, 1, 'f', 420, 10, 1, 1, 0, now(), now(), now(), now() FROM made",
		"INSERT INTO difs.version SELECT ino, 1, 0, 0, 1, 0, NULL, NULL, false, 10, now() FROM made",
		"INSERT INTO difs.dentry SELECT difs_ino('$directory'), 'name ' || lpad(i::text, 10, '0'), ino FROM made",
		'COMMIT');
	return;
}

my $began = time;
fill('/small', $small);
fill('/large', $large);
$cluster->sql('VACUUM ANALYZE difs.inode, difs.dentry, difs.version');
note(sprintf('%d entries made in %.0f s', $large, time - $began));

# Makes pg_temp.pages(statement): pages that a statement touches; the rest of its work hangs on them.
my $pages = q{
	CREATE FUNCTION pg_temp.pages(statement text) RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE
		plan json;
	BEGIN
		EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || statement INTO plan;
		RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::integer + (plan #>> '{0,Plan,Shared Read Blocks}')::integer;
	END $$};

# (pages, µs) of one call: medians of many in one session, whose caches are warm. %s in a call is a number that is new each time.
sub cost
{
	my ($call) = @_;
	my $result = $cluster->sql(
		$pages,
		qq{CREATE FUNCTION pg_temp.run(OUT pages integer, OUT us double precision) LANGUAGE plpgsql AS \$\$
		DECLARE
			call text = 'SELECT ' || \$call\$$call\$call\$;
			began timestamptz;
			took double precision[];
			touched integer[];
		BEGIN
			FOR i IN 1..10 LOOP
				EXECUTE replace(call, '%s', i::text);
			END LOOP;
			FOR i IN 11..31 LOOP
				touched = touched || pg_temp.pages(replace(call, '%s', i::text));
			END LOOP;
			FOR i IN 101..300 LOOP
				began = clock_timestamp();
				EXECUTE replace(call, '%s', i::text);
				took = took || extract(epoch FROM clock_timestamp() - began)::double precision;
			END LOOP;
			us = (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) * 1e6 FROM unnest(took) AS t);
			pages = (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY t) FROM unnest(touched) AS t);
		END \$\$},
		'SELECT * FROM pg_temp.run()');
	return split /\|/, $result;
}

my @operations = (
	[ 'create', "difs_mkdir('DIR/new %s')" ],
	[ 'put', "difs_put('DIR/put %s', '')" ],
	[ 'look up', "difs_stat('DIR/new %s')" ],
	[ 'look up what is not there', "difs_exists('DIR/none %s')" ],
	[ 'rename', "difs_rename('DIR/new %s', 'DIR/renamed %s')" ],
	[ 'link', "difs_link('DIR/put %s', 'DIR/link %s')" ],
	[ 'delete of one of two names', "difs_delete('DIR/link %s')" ],
	[ 'delete', "difs_delete('DIR/put %s')" ]);

foreach my $operation (@operations)
{
	my ($name, $call) = @$operation;
	my ($small_pages, $small_us) = cost($call =~ s{DIR}{/small}gr);
	my ($large_pages, $large_us) = cost($call =~ s{DIR}{/large}gr);
	cmp_ok($large_pages, '<=', 2 * $small_pages, "$name: $large_pages pages among $large entries, $small_pages among $small");
	note(sprintf('%s: %.2f times as long (%.0f and %.0f us)', $name, $large_us / $small_us, $large_us, $small_us));
}

sub pages
{
	my ($statement) = @_;
	return $cluster->sql($pages, "SELECT pg_temp.pages(\$\$$statement\$\$) FROM generate_series(1, 3)") =~ s/.*\n//sr;
}

# a page of 1,000 entries
my @page;
foreach my $after ('', sprintf('name %010d', $large / 2))
{
	my $statement = "SELECT count(*), min(name) FROM difs_list('/large', after => '$after', max => 1000)";
	my $began_page = time;
	$cluster->sql($statement) for 1 .. 5;
	my $took = time - $began_page;
	push @page, { pages => pages($statement), took => $took, result => $cluster->sql($statement) };
}
is($page[1]{result}, sprintf('1000|name %010d', $large / 2 + 1), 'a page from the middle');
cmp_ok($page[1]{pages}, '<=', 2 * $page[0]{pages}, "a page from the middle: $page[1]{pages} pages, from the start $page[0]{pages}");
note(sprintf('a page from the middle takes %.2f times as long as from the start', $page[1]{took} / $page[0]{took}));

# rename of the directory with all that
foreach my $directory ('/large', '/small')
{
	my $changes = $cluster->sql(
		'BEGIN',
		"DO \$\$ BEGIN PERFORM difs_rename('$directory', '$directory renamed'); END \$\$",
		"SELECT string_agg(relname || ' ' || n_tup_ins || ' ' || n_tup_upd || ' ' || n_tup_del, ', ' ORDER BY relname)
		FROM pg_stat_xact_user_tables WHERE schemaname = 'difs' AND n_tup_ins + n_tup_upd + n_tup_del > 0",
		"DO \$\$ BEGIN PERFORM difs_rename('$directory renamed', '$directory'); END \$\$",
		'COMMIT');
	is($changes, 'dentry 1 0 1', "rename of $directory: a row of difs.dentry comes and one goes, and nothing else");
}
my ($small_pages, $small_us) = cost("difs_rename('/small', '/s'), difs_rename('/s', '/small')");
my ($large_pages, $large_us) = cost("difs_rename('/large', '/l'), difs_rename('/l', '/large')");
cmp_ok($large_pages, '<=', 2 * $small_pages, "rename of the directory: $large_pages pages with $large entries below, $small_pages with $small");
note(sprintf('rename of the directory: %.0f us with %d entries below, %.0f us with %d', $large_us / 2, $large, $small_us / 2, $small));

# what walks
foreach my $walk (
	[ 'difs_du', "SELECT files FROM difs_du('/large')" ],
	[ 'difs_find_by_hash', "SELECT difs_find_by_hash(difs_name_hash('/large/zzz'), '/large')" ])
{
	my $began_walk = time;
	$cluster->sql($walk->[1]);
	my $took = time - $began_walk;
	note(sprintf('%s of %d entries: %.1f s, %.0f ns each', $walk->[0], $large, $took, $took / $large * 1e9));
}
my ($files, $directories) = split /\|/, $cluster->sql("SELECT files, directories FROM difs_du('/large')");
is($files, $large, 'difs_du counts the files');
is($directories, 1 + 231, 'and directories');

$began = time;
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'nothing is wrong');
note(sprintf('difs_fsck: %.0f s', time - $began));

$cluster->stop;
done_testing();
