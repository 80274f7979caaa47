# Compaction: a file that was written in many small parts is put together, and whoever could see it before still can.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('compact', servers => 2,
	conf => "difs.collect_interval = 0\ndifs.compact_interval = 0\ndifs.block_group_size = '16MB'\n");
my $node = $cluster->node;
$cluster->sql("SELECT difs_volume_create('v', segment_size => 65536, compression => 'none')");

sub segments { return $cluster->sql("SELECT segments FROM difs_versions('$_[0]') LIMIT 1"); }
sub digest { return $cluster->sql("SELECT md5(difs_get('$_[0]'" . ($_[1] ? ", version => $_[1]" : '') . '))'); }
sub healthy { is($cluster->sql("SELECT kind, object, detail FROM difs_fsck(deep => true) WHERE kind <> 'orphan'"), '', "fsck: $_[0]"); }

# Appends, then overwrites, each a version; the text is its own control.
$cluster->sql(map { "SELECT difs_append('v:/log', convert_to(repeat('line $_ ', 40), 'UTF8'))" } 1 .. 400);
$cluster->sql(map { "SELECT difs_write('v:/log', " . $_ * 997 . ", 'overwritten $_')" } 1 .. 50);
my $log = join '', map { "line $_ " x 40 } 1 .. 400;
substr($log, $_ * 997, length "overwritten $_") = "overwritten $_" for 1 .. 50;
my $first = join '', map { "line $_ " x 40 } 1 .. 100;
is($cluster->sql("SELECT convert_from(difs_get('v:/log'), 'UTF8')"), $log, 'a log of 400 appends and 50 overwrites');
my $before = segments('v:/log');
cmp_ok($before, '>', 450, 'is in many parts');
is($cluster->sql('SELECT count(*) FROM difs.fragmented'), 1, 'which is noted');

# Copies, of all and of a part, and a version that is older.
$cluster->sql("SELECT difs_copy('v:/log', 'v:/copy')", q{SELECT difs_copy('v:/log', 'v:/part', "offset" => 5000, length => 5000)});
my %digest = map { $_ => digest("v:/$_") } qw(log copy part);
my $was = $cluster->sql("SELECT version, size, mtime, mode FROM difs_stat('v:/log')");

# A writer is not disturbed.
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query("BEGIN; SELECT difs_append('v:/log', 'not committed');");
is($cluster->sql('SELECT difs_compact()'), 1, 'the copy of a part is put together');
is(segments('v:/part') . '|' . segments('v:/log'), "1|$before", 'and a file that is being written is left alone');
$writer->query('ROLLBACK;');

# Snapshots from before.
my $old = $node->background_psql('postgres', on_error_stop => 0);
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM difs.inode;');
$writer->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM difs.inode;');

is($cluster->sql('SELECT difs_compact()'), 1, 'afterwards it is put together');
cmp_ok(segments('v:/log'), '<=', 4, 'in whole segments');
note "rows of the current version: $before before, " . segments('v:/log') . ' after';
is($cluster->sql("SELECT version, size, mtime, mode FROM difs_stat('v:/log')"), $was, 'and is the version that it was');
is(digest("v:/$_"), $digest{$_}, "$_ reads the same") foreach qw(log copy part);
is($cluster->sql("SELECT convert_from(difs_get('v:/log', version => 100), 'UTF8')"), $first, 'and so does an older version');
is($cluster->sql('SELECT difs_compact(), (SELECT count(*) FROM difs.fragmented)'), '0|0', 'there is nothing left to do');
$cluster->sql('SELECT difs_collect()');
is($old->query("SELECT md5(difs_get('v:/log')), md5(difs_get('v:/copy')), (SELECT segments FROM difs_versions('v:/log') LIMIT 1);"),
	"$digest{log}|$digest{copy}|$before", 'an old snapshot reads the parts, after collection as well');
$writer->query("SELECT difs_append('v:/log', 'too late');");
like($writer->{stderr}, qr/could not serialize access/, 'and cannot write to what is no longer as it sees it');
$writer->query('ROLLBACK;');
healthy('with the old snapshot open');
$old->query('COMMIT;');
$_->quit foreach $old, $writer;

# What the old versions and the copy of a part do not need goes; then they go, too.
my $rows = $cluster->sql('SELECT count(DISTINCT segment) FROM difs.manifest');
$cluster->sql('SELECT difs_collect()');
healthy('after collection');
is($cluster->sql('SELECT count(*) FROM difs.doomed'), 0, 'nothing is left to be collected');
cmp_ok($cluster->sql('SELECT count(DISTINCT segment) FROM difs.manifest'), '<=', $rows, 'segments go that nobody needs');
$cluster->sql("SELECT difs_delete('v:/log', version => n) FROM generate_series(1, 449) AS n", 'SELECT difs_collect()');
is($cluster->sql("SELECT count(*) FROM difs_versions('v:/log')"), 1, 'old versions are deleted');
is($cluster->sql("SELECT count(*) FROM difs.manifest WHERE ino = (difs_stat('v:/log')).ino"), segments('v:/log'), 'with their rows');
is(digest("v:/$_"), $digest{$_}, "$_ reads the same") foreach qw(log copy part);
healthy('after the old versions have gone');

# Holes stay holes; a file of a few parts is not touched; appends go on.
$cluster->sql(map { "SELECT difs_write('v:/sparse', " . $_ * 1_000_000 . ", '$_')" } 1 .. 40);
$cluster->sql(map { "SELECT difs_append('v:/few', '$_')" } 1 .. 10);
my $sparse = digest('v:/sparse');
$cluster->sql('SELECT difs_compact()', map { "SELECT difs_append('v:/log', '$_')" } 1 .. 3);
is(segments('v:/sparse') . '|' . segments('v:/few'), '40|10', 'holes are not filled, and few parts are left');
is(digest('v:/sparse'), $sparse, 'and zeros are read');
is($cluster->sql("SELECT right(convert_from(difs_get('v:/log'), 'UTF8'), 5)"), substr($log . '123', -5), 'appends go on');

# One whose bytes are kept for a restore.
$cluster->sql(q{ALTER SYSTEM SET difs.retain = '1h'}, 'SELECT pg_reload_conf()');
$cluster->sql(map { "SELECT difs_append('v:/kept', repeat('$_', 100)::bytea)" } 1 .. 50);
$cluster->sql('SELECT difs_compact()', 'SELECT difs_collect()', 'SELECT difs_collect()');
is(segments('v:/kept'), 1, 'with difs.retain: a file is put together');
cmp_ok($cluster->sql("SELECT count(*) FROM difs.manifest WHERE ino IN (SELECT ino FROM difs.doomed WHERE version IS NULL)"), '>=', 50,
	'and its parts are kept');
$cluster->sql(q{ALTER SYSTEM RESET difs.retain}, q{ALTER SYSTEM SET difs.compact_interval = '500ms'}, 'SELECT pg_reload_conf()');

# By itself.
$cluster->sql(map { "SELECT difs_append('v:/itself', repeat('$_', 100)::bytea)" } 1 .. 50);
ok(DifsCluster::poll_until(sub { segments('v:/itself') == 1 }), 'it happens by itself');
$cluster->sql("SELECT difs_delete('v:/' || name) FROM difs_list('v:/')");
ok(DifsCluster::poll_until(sub {
	$cluster->sql('SELECT difs_collect()');
	return $cluster->sql('SELECT (SELECT count(*) FROM difs.doomed) + (SELECT count(*) FROM difs.manifest)') eq '0';
}), 'all is deleted: no row is left');
is($cluster->sql('SELECT kind, object, detail FROM difs_fsck(deep => true)'), '', 'nor a segment on a server');

$cluster->stop;
done_testing();
