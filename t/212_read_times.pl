# Reads that move atime (difs.atime = relatime): they neither fail on a standby nor wait for WAL that a write would wait for.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
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

$cluster->sql(map { "SELECT difs_put('/$_', 'content')", "SELECT difs_touch('/$_', atime => $old, mtime => $old)" } qw(a b c));
$primary->poll_query_until('postgres', 'SELECT held FROM difs.claim') or die 'the claim is not known to be held';

$primary->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('reads_standby');
$standby->init_from_backup($primary, 'standby', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', q{SELECT convert_from(difs_get('/a'), 'UTF8') FROM generate_series(1, 3)}),
	join("\n", ('content') x 3), 'a standby reads');
is(moved($primary, '/a'), 'f', 'and moves nothing');
is($cluster->sql(q{SELECT convert_from(difs_get('/a'), 'UTF8')}), 'content', 'the primary reads');
is(moved($primary, '/a'), 't', 'and moves atime');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(moved($standby, '/a'), 't', 'which the standby sees');
$standby->stop;

# A standby that is not there: who waits for it waits for ever, so the time-outs decide nothing but how long the control takes.
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT setting = 'nobody' FROM pg_settings WHERE name = 'synchronous_standby_names'});
my ($stdout, $stderr);
$primary->psql('postgres', q{SET statement_timeout = '2s'; SELECT difs_touch('/c')}, stdout => \$stdout, stderr => \$stderr);
like($stderr, qr/canceling (?:the )?wait for synchronous replication/, 'control: a write waits');
$primary->psql('postgres', q{SET statement_timeout = '100s'; SELECT convert_from(difs_get('/b'), 'UTF8')}, stdout => \$stdout, stderr => \$stderr);
is($stderr, '', 'a read does not');
is($stdout, 'content', 'and has the content');
is(moved($primary, '/b'), 't', 'and moves atime');
$primary->psql('postgres', q{SET statement_timeout = '2s'; BEGIN; SELECT difs_get('/c'); SELECT difs_touch('/a'); COMMIT}, stdout => \$stdout, stderr => \$stderr);
like($stderr, qr/canceling (?:the )?wait for synchronous replication/, 'who has written, too, waits for what he has written');
$primary->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$primary->reload;
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'nothing is wrong');

$cluster->stop;
done_testing();
