# difs_fsck(): a healthy store gives no row, and each planted inconsistency is found, by its kind and object; the rollback of
# the plant, or its repair, is the control.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('fsck', servers => 3, conf => "difs.scrub_interval = 0\ndifs.block_group_size = '16MB'\n");
my $node = $cluster->node;

# A store with everything in it: versions, copies, directories, deleted files, an aborted put.
$cluster->sql("SELECT difs_volume_create('two', replicas => 2, segment_size => 65536, compression => 'none', digest => 'sha256')");
my $random = $cluster->write_file('random', DifsCluster::random_bytes(1_000_000, 'fsck'));
my $DATA = "pg_read_binary_file('$random')";
$cluster->sql(
	"SELECT difs_mkdir('two:/dir/deep', parents => true)",
	"SELECT difs_put('two:/dir/deep/file', $DATA)",
	"SELECT difs_put('two:/dir/deep/file', $DATA)",
	"SELECT difs_copy('two:/dir/deep/file', 'two:/dir/copy', version => 1)",
	"SELECT difs_put('two:/gone', $DATA)",
	"SELECT difs_copy('two:/gone', 'two:/kept')",
	"SELECT difs_delete('two:/gone')",
	"SELECT difs_put('two:/empty', '')",
	q{SELECT difs_copy('two:/dir/deep/file', 'two:/part', "offset" => 100, length => 1000)},
	"SELECT difs_volume_create('tiny', inline_limit => 100)",
	"SELECT difs_put('tiny:/file', 'tiny')",
	"SELECT difs_put('/main', 'text')");

sub problems
{
	my ($arguments, @before) = @_;
	return $node->safe_psql('postgres', join(";\n", 'BEGIN', @before,
		"SELECT kind || '|' || coalesce(object, '') || '|' || coalesce(detail, '') FROM difs_fsck($arguments)", 'ROLLBACK'));
}

is(problems(''), '', 'a healthy store has no problem');
is(problems('deep => true, digests => true'), '', 'nor a deep one');
is($cluster->sql("SELECT count(*) FROM difs_fsck() WHERE hint IS NULL"), '0', 'hints are there');

my $FILE = "(SELECT ino FROM difs_stat('two:/dir/deep/file'))";
my $DIR = "(SELECT ino FROM difs_stat('two:/dir'))";
my $file = $cluster->sql("SELECT $FILE");
my $dir = $cluster->sql("SELECT $DIR");
my $GROUP = "(SELECT min(block_group) FROM difs.manifest WHERE ino = $file)";

# kind, what is done, what the row must name
my @plants = (
	[ 'entry without inode', "INSERT INTO difs.dentry VALUES ($dir, 'x', 999999)", qr/"x" of inode $dir\|inode 999999/ ],
	[ 'entry without directory', "UPDATE difs.dentry SET parent = 999998 WHERE ino = $file", qr/"file" of inode 999998/ ],
	[ 'entry without directory', "UPDATE difs.dentry SET parent = $file WHERE name = 'copy'", qr/"copy".*not a directory/ ],
	[ 'inode without entry', "DELETE FROM difs.dentry WHERE ino = $file", qr/inode $file/ ],
	[ 'unreachable inode', "UPDATE difs.dentry SET parent = (SELECT ino FROM difs.dentry WHERE name = 'deep') WHERE ino = $dir",
		qr/inode $file/ ],
	[ 'wrong link count', "UPDATE difs.inode SET nlink = 7 WHERE ino = $file", qr/inode $file \(two:\/dir\/deep\/file\)\|nlink is 7/ ],
	[ 'wrong link count', "INSERT INTO difs.dentry SELECT root, 'second', $dir FROM difs.volume WHERE name = 'two'", qr/inode $dir/ ],
	[ 'inode without volume', "UPDATE difs.inode SET volume = 99 WHERE ino = $file", qr/inode $file.*volume 99/ ],
	[ 'volume without root', "UPDATE difs.volume SET root = 999997 WHERE name = 'two'", qr/volume "two"/ ],
	[ 'volume without root', "UPDATE difs.volume SET root = $file WHERE name = 'two'", qr/volume "two".*not a directory/ ],
	[ 'version without inode', "DELETE FROM difs.inode WHERE ino = $file", qr/version 1 of inode $file/ ],
	[ 'inode without current version', "DELETE FROM difs.version WHERE ino = $file AND version = 2", qr/inode $file.*version 2/ ],
	[ 'wrong size', "UPDATE difs.inode SET size = size + 1 WHERE ino = $file", qr/inode $file.*1000001/ ],
	[ 'wrong extent', "UPDATE difs.inode SET extent = 4096 WHERE ino = $file", qr/inode $file.*version 2.*4096/ ],
	[ 'copy of nothing', "UPDATE difs.version SET map_ino = 999996 WHERE map_ino = $file", qr/two:\/dir\/copy.*999996/ ],
	[ 'wrong manifest', "DELETE FROM difs.manifest WHERE ino = $file AND from_version = 2 AND file_offset = 65536",
		qr/version 2 of inode $file.*15 rows of the manifest instead of 16.*934464 of 1000000/ ],
	[ 'wrong manifest', "UPDATE difs.manifest SET length = length + 1 WHERE ino = $file AND from_version = 2 AND file_offset = 0",
		qr/version 2 of inode $file.*overlap/ ],
	[ 'wrong manifest', "UPDATE difs.manifest SET length = length + 9 WHERE ino = $file AND from_version = 2 AND file_offset = 983040",
		qr/version 2 of inode $file.*reach to 1000009/ ],
	[ 'wrong manifest', "UPDATE difs.manifest SET length = length - 1 WHERE ino = $file AND from_version = 2 AND file_offset = 0",
		qr/version 2 of inode $file.*cover 999999/ ],
	[ 'wrong manifest', "UPDATE difs.version SET holes = 7 WHERE ino = $file AND version = 2",
		qr/version 2 of inode $file.*cover 1000000 of 999993/ ],
	[ 'wrong manifest', "UPDATE difs.version SET extent = 4096 WHERE ino = $file AND version = 2",
		qr/version 2 of inode $file.*65536 bytes, more than/ ],
	[ 'wrong part of segment', "UPDATE difs.manifest SET segment_offset = 1 WHERE ino = $file AND from_version = 2 AND file_offset = 0",
		qr/of inode $file\|the 65536 bytes at 0 begin at 1 of its 65536/ ],
	[ 'wrong part of segment', "UPDATE difs.manifest SET to_version = 2 WHERE ino = $file AND from_version = 2 AND file_offset = 0",
		qr/of inode $file/ ],
	[ 'rows disagree', "UPDATE difs.manifest m SET crc = crc + 1 FROM difs_stat('two:/part') s WHERE m.ino = s.ino", qr/segment \d+\|its rows name 2/ ],
	[ 'wrong inline content', "UPDATE difs.inline SET bytes = 'longer'", qr/tiny:\/file.*6 of 4 bytes/ ],
	[ 'wrong inline content', "DELETE FROM difs.inline", qr/tiny:\/file.*does not have it/ ],
	[ 'inline content without version', "INSERT INTO difs.inline VALUES ($file, 2, 'x')", qr/version 2 of inode $file/ ],
	[ 'manifest without version', "UPDATE difs.manifest SET from_version = 9 WHERE ino = $file AND from_version = 2 AND file_offset = 0",
		qr/of inode $file.*65536 bytes at 0/ ],
	[ 'unknown block group', "UPDATE difs.manifest SET block_group = 77 WHERE ino = $file AND from_version = 2 AND file_offset = 0",
		qr/inode $file\|block group 77/ ],
	[ 'unknown server', "UPDATE difs.block_group SET members[1] = 55 WHERE id = $GROUP", qr/block group \d+\|member 55/ ],
	[ 'unknown server', "UPDATE difs.server SET state = 'removed' WHERE id = (SELECT members[1] FROM difs.block_group WHERE id = $GROUP)",
		qr/block group \d+\|member/ ],
	[ 'wrong members', "UPDATE difs.block_group SET members[2] = members[1] WHERE id = $GROUP", qr/1 different members instead of 2/ ],
	[ 'doomed and alive', "INSERT INTO difs.doomed VALUES ($file, NULL, '1', '0/0', now())", qr/inode $file.*the inode is/ ],
	[ 'doomed and alive', "INSERT INTO difs.doomed VALUES ($file, 2, '1', '0/0', now())", qr/inode $file.*current version, 2/ ],
	[ 'lost segment', "INSERT INTO difs.lost_segment SELECT segment, block_group, now() FROM difs.manifest WHERE ino = $file AND file_offset = 0"
		. " AND from_version = 1", qr/version 1 of two:\/dir\/(copy|deep\/file)\|no good copy/ ],
	[ 'wrong target', "UPDATE difs.inode SET target = 'x' WHERE ino = $file", qr/inode $file.*only symbolic links/ ],
	[ 'wrong target', "SELECT difs_symlink('x', 'two:/link'); UPDATE difs.inode SET target = NULL WHERE kind = 'l'", qr/two:\/link.*without a target/ ],
	[ 'wrong attributes', "UPDATE difs.inode SET attrs = '[]' WHERE ino = $file", qr/inode $file.*of type array/ ],
	map { [ 'sequence behind', "ALTER SEQUENCE difs.$_ RESTART WITH 1" . ($_ eq 'ino' ? '6' : ''), qr/difs\.$_\|/ ] }
	  qw(ino volume_id server_id block_group_id));

foreach my $plant (@plants)
{
	my ($kind, $statement, $row) = @$plant;
	my $found = problems('', $statement);
	ok($found =~ /^\Q$kind\E\|.*$row/m, "$kind: $statement") or diag $found;
}
is(problems(''), '', 'and nothing is left when the plants are rolled back');
note(scalar(@plants) . ' plants, ' . keys(%{ { map { $_->[0] => 1 } @plants } }) . ' kinds');

# Doomed content may have gone in part; copies of it have not.
is(problems('', "DELETE FROM difs.manifest m USING difs.doomed d WHERE m.ino = d.ino AND NOT EXISTS"
	  . " (SELECT FROM difs.version v WHERE v.map_ino = m.ino)"), '', 'what is collected in part is no problem');
like(problems('', "DELETE FROM difs.manifest m USING difs.doomed d WHERE m.ino = d.ino"), qr/copy of nothing\|.*two:\/kept/,
	'but what a copy needs is');

# Rights: whoever may execute it needs nothing else; nobody else may.
$cluster->sql("CREATE ROLE checker", "GRANT EXECUTE ON FUNCTION difs_fsck TO checker");
is($cluster->sql("SET ROLE checker", "SELECT count(*) FROM difs_fsck(deep => true)"), '0', 'a role that may execute it');
is(($cluster->sql_fails("CREATE ROLE nobody", "SET ROLE nobody", "SELECT difs_fsck()"))[0], '42501', 'one that may not');
is(($cluster->sql_fails("SELECT difs_fsck(NULL)"))[0], '22023', 'null is an error');

# Deep: rows against servers.
sub deep_like
{
	my ($pattern, $what, @before) = @_;
	my $found = problems('deep => true', @before);
	ok($found =~ /^$pattern/m, $what) or diag $found;
	return $found;
}

my ($segment) = $cluster->segments('two:/dir/deep/file');
my $group = $segment->{group};
my ($one, $two) = @{ $segment->{servers} };
my ($other) = grep { $_ != $one && $_ != $two } $cluster->servers;
my $id = "(SELECT id FROM difs.server WHERE name = '" . $other->name . "')";

deep_like(qr/missing group\|block group $group on \Q$other->{name}\E/, 'a member that has nothing',
	"UPDATE difs.block_group SET members[1] = $id WHERE id = $group");
deep_like(qr/stray group\|block group $group on \Q$one->{name}\E/, 'a server that is no member',
	"UPDATE difs.block_group SET members[1] = $id WHERE id = $group");
deep_like(qr/unknown group\|block group $group on /, 'a group without a row', "DELETE FROM difs.block_group WHERE id = $group");
deep_like(qr/wrong length\|segment $segment->{segment} .* on \Q$one->{name}\E.*65536 bytes, the manifest says 65535/, 'another length',
	"UPDATE difs.manifest SET stored_length = 65535 WHERE segment = $segment->{segment}");
deep_like(qr/missing segment\|segment 12345 of block group $group on \Q$one->{name}\E\|missing/, 'a segment that is not there',
	"UPDATE difs.manifest SET segment = 12345 WHERE segment = $segment->{segment}");
my $damaged = $segment->{segment};
is(problems('deep => true'), '', 'nothing is left of these');

$one->flip($segment, 100);
is($cluster->sql("SELECT difs.copy_outcome((SELECT id FROM difs.server WHERE name = '$one->{name}'), $group, $damaged)"), 'damaged',
	'a flipped bit is found when it is read');
deep_like(qr/damaged segment\|segment $damaged of block group $group on \Q$one->{name}\E\|damaged/, 'then the server lists it');
is($cluster->sql("SELECT string_agg(outcome, ' ' ORDER BY outcome) FROM difs_scrub('two:/dir/deep/file') WHERE segment = $damaged"),
	'good mended', 'difs_scrub() mends it');
is(problems('deep => true'), '', 'and it is none any more');

# An orphan: of a transaction that has been rolled back, once nobody can see it; not before it has ended.
$cluster->sql("BEGIN", "SELECT difs_put('two:/aborted', $DATA)", "SELECT length(difs_get('two:/aborted'))", "ROLLBACK");
my $orphans = $cluster->sql("SELECT count(*) FROM difs_fsck(deep => true) WHERE kind = 'orphan'");
is($orphans, '32', 'orphans of an aborted put: 16 segments on two servers');
is($cluster->sql("BEGIN", "SELECT length(difs_get('two:/empty')) + difs_put('two:/running', $DATA)", "SELECT length(difs_get('two:/running'))",
	"SELECT count(*) FROM difs_fsck(deep => true) WHERE kind = 'orphan'", "ROLLBACK") =~ /32$/ ? 1 : 0, 1,
	'segments of a transaction that runs are none');

# Digests: rows that are consistent, but lead to the wrong bytes.
like(problems('digests => true', "UPDATE difs.version SET digest = sha256('x') WHERE ino = $file AND version = 2"),
	qr/^wrong digest\|version 2 of two:\/dir\/deep\/file\|/, 'a wrong digest');
like(problems('digests => true', "UPDATE difs.manifest SET crc = crc + 1 WHERE segment = $damaged"),
	qr/^unreadable version\|version 2 of two:\/dir\/deep\/file\|/, 'a version that cannot be read');

# A server that is away is said to be.
$two->kill;
$node->poll_query_until('postgres', "SELECT NOT alive FROM difs.servers WHERE name = '$two->{name}'");
deep_like(qr/unreachable server\|\Q$two->{name}\E\|/, 'a server that is down');
$two->start;
$cluster->wait_until_alive;

# A file of a group that is gone from the disk.
$two->kill;
unlink($two->group_file($group)) or die "unlink: $!";
$two->start;
$cluster->wait_until_alive;
deep_like(qr/missing group\|block group $group on \Q$two->{name}\E/, 'a group file that is gone');

$cluster->stop;
done_testing();
