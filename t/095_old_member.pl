# A member of block groups that comes back with old data, as from a snapshot of its disk, changes nothing: nobody reads anything wrong or old,
# what it lacks is made anew, what has been deleted meanwhile stays deleted, and it does not accept the epoch of the past.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use File::Path qw(remove_tree);
use Test::More;

my $cluster = DifsCluster->new('old_member', servers => 3, conf => <<'CONF');
difs.block_group_size = '16MB'
difs.collect_interval = 0
difs.repair_interval = 0
difs.scrub_interval = 0
difs.server_timeout = '4s'
CONF
my $node = $cluster->node;
my $server = $cluster->server(1);

# The content of a file follows from its name and the time of writing.
$cluster->sql(
	"SELECT difs_volume_create('two', replicas => 2, segment_size => 262144, compression => 'none')",
	'CREATE TABLE written (path text PRIMARY KEY, age text)',
	q{CREATE FUNCTION content(path text, age text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	  $$SELECT convert_to(repeat(md5(path || age), 20000), 'UTF8')$$});

sub put
{
	my ($age, @paths) = @_;
	$cluster->sql(map {
			("SELECT difs_put('$_', content('$_', '$age'))",
				"INSERT INTO written VALUES ('$_', '$age') ON CONFLICT (path) DO UPDATE SET age = '$age'")
		} @paths);
	return;
}

sub all_right
{
	my ($what) = @_;
	is($cluster->sql('SELECT count(*) FROM written WHERE difs_get(path) IS DISTINCT FROM content(path, age)'), 0,
		"$what: all files read right");
	is($cluster->sql(q{SELECT string_agg(name, ' ') FROM difs_list('two:/') WHERE 'two:/' || name NOT IN (SELECT path FROM written)}), '',
		'and no others are there');
	return;
}

sub group_files { return map { m{([^/]+)$} } glob("$server->{data}/*/*.group"); }

# Gives the server its old data back while it is down.
sub back_in_time
{
	my ($snapshot) = @_;
	$server->kill;
	remove_tree($server->{data});
	system('cp', '-a', $snapshot, $server->{data}) == 0 or die 'cp';
	return;
}

my @kept = map { "two:/kept$_" } 1 .. 30;
my @overwritten = map { "two:/overwritten$_" } 1 .. 30;
my @deleted = map { "two:/deleted$_" } 1 .. 30;
put('old', @kept, @overwritten, @deleted);

$server->kill;
my $snapshot = $cluster->dir . '/snapshot';
system('cp', '-a', $server->{data}, $snapshot) == 0 or die 'cp';
$server->start;
$cluster->wait_until_alive;
my %old = map { $_ => 1 } group_files();

# Meanwhile: other content, deletions that are collected, new files in old and new groups, another epoch.
put('new', @overwritten, map { "two:/new$_" } 1 .. 30);
$cluster->sql(map { ("SELECT difs_delete('$_')", "DELETE FROM written WHERE path = '$_'") } @deleted);
is_deeply([ $cluster->left_behind ], [], 'what was deleted is collected');
$cluster->sql('SELECT difs_claim()');
$node->poll_query_until('postgres', 'SELECT held FROM difs.claim');
$cluster->wait_until_alive;
put('new', map { "two:/newer$_" } 1 .. 30);
my %new = map { $_ => 1 } group_files();
cmp_ok(scalar(grep { !$new{$_} || !$old{$_} } keys %{ { %old, %new } }), '>', 0, 'its groups are others than they were');

back_in_time($snapshot);
all_right('while it is away');
$server->start;
$cluster->wait_until_alive;
all_right('the member is back with old data');
my $problems = $cluster->sql(q{SELECT count(*) FROM difs_fsck(deep => true)});
cmp_ok($problems, '>', 0, "control: difs_fsck(deep) sees that its data are old: $problems problems");
put('newest', map { "two:/newest$_" } 1 .. 30);
is_deeply([ $cluster->left_behind(60) ], [], 'the duties make it whole: nothing is missing, damaged, doomed or orphaned');
all_right('afterwards');

# Each copy is as good as the other.
foreach my $other ($cluster->servers)
{
	$other->kill;
	all_right('without ' . $other->name);
	$other->start;
	$cluster->wait_until_alive;
}

$cluster->stop;
done_testing();
