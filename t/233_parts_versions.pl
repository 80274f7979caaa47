# Versions that share parts go one by one: each waits for its own rows only, whatever keeps those of the others. Many rows at once, rings of
# copies, retention of appended files, and compaction after versions were deleted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('parts', servers => 1,
	conf => "difs.collect_interval = 0\ndifs.compact_interval = 0\nautovacuum = off\n");
$cluster->sql("SELECT difs_volume_create('v', segment_size => 4096, compression => 'none')",
	"SELECT difs_volume_create('i', inline_limit => 100)", "SELECT difs_volume_create('r', keep_versions => 2)");

sub text { my ($path, $version) = @_; return $cluster->sql("SELECT convert_from(difs_get('$path', $version), 'UTF8')"); }
sub waiting { return $cluster->sql('SELECT difs_collect()', 'SELECT count(*) FROM difs.doomed') =~ /(\d+)$/ ? $1 : undef; }
sub rows { my ($path) = @_; return $cluster->sql("SELECT count(*) FROM difs.manifest WHERE ino = (difs_stat('$path')).ino"); }

sub clean
{
	my ($what) = @_;
	ok(DifsCluster::poll_until(sub { return waiting() == 0 }, 30), "$what: nothing waits")
	  or diag $cluster->sql('SELECT * FROM difs.collection_blockers');
	is($cluster->sql('SELECT kind, object, detail FROM difs_fsck(deep => true, digests => true)'), '', "$what: fsck");
}

# Of versions that share parts, one has a copy: the others do not wait for it.
foreach my $volume (qw(v i))
{
	my $f = "$volume:/f";
	$cluster->sql("SELECT difs_append('$f', convert_to(n || ' ', 'UTF8')) FROM generate_series(1, 4) AS n",
		"SELECT difs_put('$f', 'all new')", "SELECT difs_copy('$f', '$volume:/copy', version => 2)",
		"SELECT difs_delete('$f', version => n) FROM generate_series(1, 4) AS n");
	cmp_ok(waiting(), '<=', 4, "$volume: four versions of parts go, with a copy of the second");
	is(text("$volume:/copy", 1), '1 2 ', 'that can be read');
	my $left = waiting();
	cmp_ok($left, '>', 0, 'what it shares waits');
	$cluster->sql("SELECT difs_put('$f', convert_to('all new, ' || n, 'UTF8')) FROM generate_series(6, 9) AS n",
		"SELECT difs_delete('$f', version => n) FROM generate_series(5, 8) AS n");
	is(waiting(), $left, 'versions that share nothing with it do not wait');
	is(text($f, 9), 'all new, 9', 'the current one is there');
	$cluster->sql("SELECT difs_delete('$volume:/copy')");
	clean("$volume: without the copy");
	is($cluster->sql("SELECT count(*) FROM difs_versions('$f')"), 1, 'one version is left');
}

# More rows than a batch of collection has.
{
	$cluster->sql("SELECT difs_put('v:/piece', '0123456789')",
		"SELECT difs_concat(array_fill('v:/piece'::text, ARRAY[9000]), 'v:/many') FROM generate_series(1, 3)",
		"SELECT difs_copy('v:/many', 'v:/many copy', version => 1)",
		"SELECT difs_delete('v:/many', version => 1)", "SELECT difs_delete('v:/many', version => 2)");
	is(rows('v:/many'), 27_000, 'a file of many rows');
	is(waiting(), 1, 'of two versions, the one that has a copy waits');
	is(rows('v:/many'), 18_000, 'and keeps its rows');
	is($cluster->sql("SELECT md5(difs_get('v:/many copy')) = md5(difs_get('v:/many'))"), 't', 'the copy is whole');
	$cluster->sql("SELECT difs_delete('v:/many copy')");
	is(waiting(), 1, 'the copy goes');
	is(waiting(), 0, 'and what it kept after it');
	is(rows('v:/many'), 9_000, 'with its rows');
	$cluster->sql("SELECT difs_delete('v:/many')");
	clean('many rows');
}

# Each of two files has let go of a version with content of its own and of one with the other's.
{
	$cluster->sql((map {; "SELECT difs_put('v:/$_', convert_to('$_', 'UTF8'))" } qw(a b)), "SELECT difs_copy('v:/a', 'v:/b', version => 1)",
		"SELECT difs_copy('v:/b', 'v:/a', version => 1)", "SELECT difs_put('v:/a', 'new')", "SELECT difs_put('v:/b', 'new')",
		(map {; "SELECT difs_delete('v:/$_', version => 1)", "SELECT difs_delete('v:/$_', version => 2)" } qw(a b)));
	clean('a ring of copies');
}

# Retention is for versions that were written in part, too.
{
	$cluster->sql("SELECT difs_append('r:/log', convert_to(n || E'\\n', 'UTF8')) FROM generate_series(1, 50) AS n");
	is($cluster->sql("SELECT string_agg(version::text, ' ' ORDER BY version) FROM difs_versions('r:/log')"), '49 50', 'the newest two stay');
	clean('retention');
	is(text('r:/log', 50), join('', map { "$_\n" } 1 .. 50), 'content is whole');
	$cluster->sql("SELECT difs_write('r:/log', 0, 'ONE')", "SELECT difs_truncate('r:/log', 3)");
	clean('after an overwrite');
	is(text('r:/log', 52), 'ONE', 'only what is left is there');
	is(rows('r:/log') <= 52, 1, 'old rows have gone');
}

# The current version is one after which others were deleted: compaction leaves it, and the next write begins anew.
{
	$cluster->sql("SELECT difs_append('v:/log', convert_to(to_char(n, 'FM000'), 'UTF8')) FROM generate_series(1, 60) AS n",
		"SELECT difs_delete('v:/log', version => n) FROM generate_series(41, 60) AS n");
	is($cluster->sql('SELECT difs_compact()'), 0, 'compaction leaves rows to versions that were deleted');
	is(text('v:/log', 40), join('', map { sprintf '%03d', $_ } 1 .. 40), 'the version before is current');
	is($cluster->sql("SELECT difs_append('v:/log', '!')"), 61, 'the next write has a new number');
	is(text('v:/log', 61), join('', map { sprintf '%03d', $_ } 1 .. 40) . '!', 'and none of the deleted content');
	is($cluster->sql('SELECT difs_compact()'), 1, 'which is put together');
	is(text('v:/log', $_), join('', map { sprintf '%03d', $_ } 1 .. $_), "version $_ is as it was") foreach 1, 20, 40;
	is(text('v:/log', 61), join('', map { sprintf '%03d', $_ } 1 .. 40) . '!', 'and the new one, too');
	clean('compaction');
	$cluster->sql("SELECT difs_delete('v:/log')");
	clean('the end');
}

$cluster->stop;
done_testing();
