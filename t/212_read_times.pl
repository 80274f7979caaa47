# Reads that move atime (difs.atime = relatime): they neither fail on a standby nor wait for WAL that a write would wait for.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsNode;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('reads', servers => 1, init => { allows_streaming => 1 }, conf => "difs.atime = relatime\n");
my $primary = $cluster->node;
my $old = q{'2001-01-01Z'};

sub moved
{
	my ($node, $path) = @_;
	return $node->safe_psql('postgres', "SELECT atime > $old FROM difs_stat('$path')");
}

$cluster->sql(map {; "SELECT difs_put('/$_', 'content')", "SELECT difs_touch('/$_', atime => $old, mtime => $old)" } qw(a b c));
$primary->poll_query_until('postgres', 'SELECT held FROM difs.claim') or die 'the claim is not known to be held';

my $standby = DifsNode::standby_of($primary, 'reads_standby');
is($standby->safe_psql('postgres', q{SELECT convert_from(difs_get('/a'), 'UTF8') FROM generate_series(1, 3)}),
	join("\n", ('content') x 3), 'a standby reads');
is(moved($primary, '/a'), 'f', 'and moves nothing');
is($cluster->sql(q{SELECT convert_from(difs_get('/a'), 'UTF8')}), 'content', 'the primary reads');
is(moved($primary, '/a'), 't', 'and moves atime');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(moved($standby, '/a'), 't', 'which the standby sees');
$standby->stop;

# A standby that is not there: who waits for it would wait for ever. Returns whether the statements did, and what they returned.
sub waits_for_standby
{
	my (@statements) = @_;
	my ($stdout, $stderr, $waited) = ('', '', 0);
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $primary->connstr('postgres') . ' application_name=waiter', map { ('-c', $_) } @statements ],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	DifsCluster::poll_until(sub {
		$waited ||= $cluster->sql(q{
			SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event = 'SyncRep'});
		$session->pump_nb if $session->pumpable;
		return !$session->pumpable; }) or die "it does not end: @statements";
	$session->finish;
	chomp($stdout);
	return ($waited, $stdout);
}

$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT setting = 'nobody' FROM pg_settings WHERE name = 'synchronous_standby_names'})
  or die 'no synchronous standby';
is((waits_for_standby(q{SELECT difs_touch('/c')}))[0], 1, 'control: a write waits for its WAL');
is_deeply([ waits_for_standby(q{SELECT convert_from(difs_get('/b'), 'UTF8')}) ], [ 0, 'content' ], 'a read does not');
is(moved($primary, '/b'), 't', 'and moves atime');
is((waits_for_standby('BEGIN', q{SELECT difs_get('/c')}, q{SELECT difs_touch('/a')}, 'COMMIT'))[0], 1, 'who has written, too, waits for what he has written');
$primary->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$primary->reload;
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'nothing is wrong');

$cluster->stop;
done_testing();
