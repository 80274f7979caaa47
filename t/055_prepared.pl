# A prepared transaction outlives everything: PostgreSQL and all chunk servers are killed and started again, and collection, repair and the
# emptying of staging run, before somebody else commits it, or rolls it back. Committed, every byte is there; rolled back, nothing stays.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('prepared', servers => 3, conf => <<'CONF');
max_prepared_transactions = 10
difs.collect_interval = 0
difs.repair_interval = '500ms'
difs.unstage_interval = '1h'
CONF
my $node = $cluster->node;
my $bytes = 5 * 1024 * 1024 + 77;
my %source = map { $_ => $cluster->write_file($_, DifsCluster::random_bytes($bytes, $_)) } qw(old new);
my %digest = map { $_ => md5_hex(DifsCluster::random_bytes($bytes, $_)) } qw(old new);

# Each is prepared twice, to be committed and to be rolled back: puts on servers, staged ones, and both in one transaction (reading has what
# was put before sent to the servers).
my %prepared = (
	servers => sub { "SELECT difs_put('two:/$_[0]/new', " . source('new') . ')', "SELECT difs_put('two:/$_[0]/changed', " . source('new') . ')' },
	staged => sub { q{SET LOCAL difs.staging = 'always'}, $_[1]->($_[0]) },
	both => sub {
		"SELECT difs_put('two:/$_[0]/first', " . source('new') . ')', "SELECT difs_get('two:/$_[0]/first') IS NULL",
		  q{SET LOCAL difs.staging = 'always'}, $_[1]->($_[0]);
	},
);
my @kinds = sort keys %prepared;
my @ends = qw(commit rollback);

sub source { return "pg_read_binary_file('$source{$_[0]}')"; }

sub digest_of { return $cluster->sql("SELECT md5(difs_get('two:/$_[0]'))"); }

sub collected_orphans
{
	return (split /\|/, $cluster->sql('SELECT * FROM difs_collect()'))[2];
}

# The duties, several times, as the first round after a start may only look around; the number of orphans that were collected.
sub all_duties
{
	my $orphans = 0;
	foreach my $round (1 .. 3)
	{
		$cluster->sql('SELECT difs_unstage()', 'SELECT difs_repair()', 'SELECT difs_scrub_all()');
		$orphans += collected_orphans();
	}
	return $orphans;
}

sub nothing_is_to_be_seen
{
	my ($when, @gids) = @_;
	foreach my $gid (@gids)
	{
		is(digest_of("$gid/changed"), $digest{old}, "$when, $gid: the file is as it was");
		is($cluster->sql("SELECT difs_exists('two:/$gid/new') OR difs_exists('two:/$gid/first')"), 'f', 'and the new ones are not there');
	}
	return;
}

sub crash
{
	$node->kill9;
	$_->kill foreach $cluster->servers;
	$_->start foreach $cluster->servers;
	ok(DifsCluster::poll_until(sub { delete $node->{_pid}; $node->start(fail_ok => 1) }, 60), 'PostgreSQL is back');
	$cluster->wait_until_alive;
	return;
}

$cluster->sql(q{SELECT difs_volume_create('two', replicas => 2, segment_size => 1024 * 1024)});
# What ends with the crash, as it is not prepared, for comparison: six segments on two servers each.
my $lost = $node->background_psql('postgres', on_error_stop => 0);
$lost->query_safe("BEGIN; SELECT difs_put('two:/lost', " . source('new') . "); SELECT md5(difs_get('two:/lost'))");

my @gids = map { my $kind = $_; map { "$kind-$_" } @ends } @kinds;
foreach my $gid (@gids)
{
	my ($kind) = split /-/, $gid;
	$cluster->sql("SELECT difs_put('two:/$gid/changed', " . source('old') . ', parents => true)');
	$cluster->sql('BEGIN', $prepared{$kind}->($gid, $prepared{servers}), "PREPARE TRANSACTION '$gid'");
}
foreach my $crash (1, 2)
{
	crash();
	eval { $lost->quit } if $crash == 1;
	is($cluster->sql('SELECT count(*) FROM pg_prepared_xacts'), scalar @gids, "crash $crash: all prepared transactions are there");
	is(all_duties(), $crash == 1 ? 12 : 0, 'collection takes what was not prepared, and nothing else');
	nothing_is_to_be_seen("crash $crash", @gids);
}

# From sessions that know nothing of them.
foreach my $kind (@kinds)
{
	my $gid = "$kind-commit";
	$cluster->sql("COMMIT PREPARED '$gid'");
	is(digest_of("$gid/$_"), $digest{new}, "$gid: $_ is there") foreach qw(new changed), $kind eq 'both' ? 'first' : ();
}
cmp_ok($cluster->sql('SELECT segments FROM difs.staged'), '>=', 2 * 2 * 6, 'some of it is staged still');
crash();
nothing_is_to_be_seen('after another crash', map { "$_-rollback" } @kinds);
$cluster->sql("ROLLBACK PREPARED '$_-rollback'") foreach @kinds;
nothing_is_to_be_seen('rolled back', map { "$_-rollback" } @kinds);
is(all_duties(), 3 * 12, 'and what they have put on servers is collected: three files');
is_deeply([ $cluster->left_behind(60) ], [], 'then nothing is left: no orphan, nothing staged, nothing missing, deep fsck is empty');
foreach my $kind (@kinds)
{
	my $gid = "$kind-commit";
	is(digest_of("$gid/$_"), $digest{new}, "$gid: $_ is right, from chunk servers") foreach qw(new changed), $kind eq 'both' ? 'first' : ();
}

$cluster->stop;
done_testing();
