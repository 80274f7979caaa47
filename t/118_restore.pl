# Point-in-time recovery: a base backup and archived WAL, files put, overwritten, copied, renamed and deleted all the time,
# and restores to random moments.  Every file that the restored database lists must read with the digest that it had then.
#
#	DIFS_RESTORE_POINTS	 number of restores (default 3; 50 for the long run)
#	DIFS_RESTORE_STEPS	 number of changes to files (default 120)
#	DIFS_RESTORE_SEED	 seed of the random numbers

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Cwd;
use DifsCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $POINTS = $ENV{DIFS_RESTORE_POINTS} // 3;
my $STEPS = $ENV{DIFS_RESTORE_STEPS} // 120;
my $SEED = $ENV{DIFS_RESTORE_SEED} // 4711;
srand($SEED);
note("seed $SEED");

sub sql { my ($node, $statement) = @_; return $node->safe_psql('postgres', $statement); }

my $cluster = DifsCluster->new('restore', servers => 2, init => { allows_streaming => 1, has_archiving => 1 });
my $node = $cluster->node;
$node->safe_psql('postgres', q{ALTER SYSTEM SET difs.retain = '1h'; SELECT pg_reload_conf()});

# The state of every file as SQL sees it: path, digest. The table travels with the backup, so it is what a restore must find.
my $digests = q{SELECT l.name, md5(difs_get(l.name)) FROM difs_list('/', recursive => true, kind => 'file') l};
$digests =~ s/difs_get\(l\.name\)/difs_get('\/' || ltrim(l.name, '\/'))/;

sql($node, "SELECT difs_put('/f$_', sha512('$_')) FROM generate_series(1, 1)") for 1 .. 5;
$node->backup('base');

my @points;
my $restore_points = 0;
my %wanted = map { int(rand($STEPS)) => 1 } 1 .. 4 * $POINTS;
foreach my $step (0 .. $STEPS - 1)
{
	my $n = int(rand(12));
	my $m = int(rand(12));
	my $size = 1 + int(rand(4)) * int(rand(60_000));
	my @changes = (
		"SELECT difs_put('/f$n', (SELECT string_agg(sha512((i || ' $step')::bytea), '') FROM generate_series(1, $size / 64 + 1) i))",
		"SELECT difs_put('/f$n', (SELECT string_agg(sha512((i || ' $step')::bytea), '') FROM generate_series(1, $size / 64 + 1) i))",
		"SELECT difs_put('/f$n', '')",
		"SELECT difs_delete('/f$n') WHERE difs_exists('/f$n')",
		"SELECT difs_delete('/f$n') WHERE difs_exists('/f$n')",
		"SELECT difs_copy('/f$n', '/f$m') WHERE difs_exists('/f$n')",
		"SELECT difs_rename('/f$n', '/f$m') WHERE difs_exists('/f$n')");
	sql($node, $changes[ rand @changes ]);
	if (rand() < 0.05)
	{
		sql($node, 'SELECT difs_collect()');
	}
	next unless $wanted{$step};
	my $lsn = sql($node, "SELECT pg_create_restore_point('p$restore_points')");
	push @points, { name => 'p' . $restore_points++, lsn => $lsn, files => sql($node, "$digests ORDER BY 1") };
}
my $last_segment = sql($node, 'SELECT max(segment) FROM difs.manifest');
sql($node, 'SELECT pg_switch_wal()');
sql($node, 'CHECKPOINT');

# Restores while the original goes on, and reads them all.
my @chosen = sort { rand() <=> 0.5 } @points;
@chosen = @chosen[ 0 .. $POINTS - 1 ] if @chosen > $POINTS;
my $files = 0;
my $restored;
foreach my $i (0 .. $#chosen)
{
	my $point = $chosen[$i];
	$restored->teardown_node if defined $restored;
	$restored = PostgreSQL::Test::Cluster->new("restored_$i");
	$restored->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$restored->append_conf('postgresql.conf', <<"CONF");
recovery_target_name = '$point->{name}'
recovery_target_action = 'promote'
archive_mode = off
CONF
	$restored->start;
	$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
	is(sql($restored, "$digests ORDER BY 1"), $point->{files}, "restored to $point->{name}, $point->{lsn}: every file reads as it was");
	$files += () = $point->{files} =~ /\n/g;
	$restored->poll_query_until('postgres', 'SELECT NOT held FROM difs.claim') or die 'it holds the claim';
	sql($node, "SELECT difs_put('/goes_on', '$i')");
}
cmp_ok($files, '>', 0, "$files files were read in " . scalar(@chosen) . ' restores');
cmp_ok(scalar(keys %{ { map { $_->{files} => 1 } @points } }), '>', 1, 'control: the files differ from point to point');

# The last one takes over.  What the original has written since is a future that the restored database has not seen: its ids
# must not come again.
my ($stdout, $stderr) = ('', '');
$restored->psql('postgres', "\\set VERBOSITY verbose\nSELECT difs_put('/x', 'x')", stderr => \$stderr);
like($stderr, qr/55000: .*claim/, 'a restored database cannot write');
like($stderr, qr/promoted or restored/, 'and says why');
is(sql($restored, 'SELECT difs_claim()'), 2, 'difs_claim()');
sql($restored, "SELECT difs_put('/new$_', sha512('new $_'))") for 1 .. 20;
my $before = sql($restored, "$digests ORDER BY 1");
is(sql($restored, q{SELECT min(segment >> 41), max(block_group >> 41) FROM difs.manifest WHERE from_version = 1 AND ino IN (SELECT ino FROM difs.dentry WHERE name ~ '^new')}),
	'2|2', 'its ids are of the new epoch');
cmp_ok(sql($restored, q{SELECT min(segment) FROM difs.manifest WHERE segment >> 41 = 2}), '>', $last_segment, 'none of the lost future comes again');
ok($node->poll_query_until('postgres', 'SELECT NOT held FROM difs.claim'), 'the original has lost the claim');
is(sql($restored, "$digests ORDER BY 1"), $before, 'all reads');
$restored->restart;
is(sql($restored, "SELECT held FROM difs.claim") // '', 't', 'the claim outlives a restart')
  if $restored->poll_query_until('postgres', 'SELECT held FROM difs.claim');
$restored->stop;

# Outside of the retention time: what has been collected is an error that names the file, never other bytes.
$node->safe_psql('postgres', 'SELECT difs_claim()');
$node->poll_query_until('postgres', 'SELECT held FROM difs.claim');
sql($node, q{SELECT difs_put('/gone', (SELECT string_agg(sha512(i::text::bytea), '') FROM generate_series(1, 1000) i)); SELECT pg_create_restore_point('outside')});
my $gone = sql($node, q{SELECT ino FROM difs_stat('/gone')});
sql($node, q{SELECT difs_delete('/gone')});
sql($node, q{SELECT pg_switch_wal()});
$node->safe_psql('postgres', q{ALTER SYSTEM SET difs.retain = 0; SELECT pg_reload_conf()});
ok($node->poll_query_until('postgres', "SELECT difs_collect() IS NOT NULL AND NOT EXISTS (SELECT FROM difs.doomed WHERE ino = $gone)"), 'collected with difs.retain = 0')
  or diag sql($node, 'SELECT * FROM difs.collection_blockers');
my $outside = PostgreSQL::Test::Cluster->new('outside');
$outside->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$outside->append_conf('postgresql.conf', "recovery_target_name = 'outside'\nrecovery_target_action = 'promote'\narchive_mode = off\n");
$outside->start;
$outside->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
($stdout, $stderr) = ('', '');
$outside->psql('postgres', "\\set VERBOSITY verbose\nSELECT md5(difs_get('/gone'))", stdout => \$stdout, stderr => \$stderr);
is($stdout, '', 'a file whose bytes have been collected does not read');
like($stderr, qr{(?:XX001|58030): .*"/gone"}, 'the error names it');
$outside->stop;

$node->stop;

# --- pg_upgrade: the files come along, the claim does not

my $old = PostgreSQL::Test::Cluster->new('old');
my $new = PostgreSQL::Test::Cluster->new('new');
my $conf = <<"CONF";
shared_preload_libraries = 'difs'
difs.local_servers = 0
difs.key_file = '$cluster->{key_file}'
difs.health_interval = '200ms'
difs.cache_size = 0
max_worker_processes = 16
CONF
foreach my $cluster_node ($old, $new)
{
	$cluster_node->init;
	$cluster_node->append_conf('postgresql.conf', $conf);
}
$old->start;
sql($old, 'CREATE EXTENSION difs');
sql($old, $_->add_statement) for $cluster->servers;
sql($old, q{SELECT difs_put('/upgraded', sha512('upgraded'))});
$old->stop;
my $bindir = $old->config_data('--bindir');
{
	my $before = Cwd::getcwd();
	chdir(PostgreSQL::Test::Utils::tempdir()) or die $!;
	command_ok([ 'pg_upgrade', '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
		'-p', $old->port, '-P', $new->port, '-s', $old->host ], 'pg_upgrade');
	chdir($before) or die $!;
}
$new->start;
ok($new->poll_query_until('postgres', 'SELECT NOT held FROM difs.claim'), 'the upgraded cluster does not hold the claim');
is(sql($new, q{SELECT difs_get('/upgraded') = sha512('upgraded')}), 't', 'its files can be read');
is(sql($new, 'SELECT difs_claim()'), 2, 'difs_claim() after pg_upgrade');
sql($new, q{SELECT difs_put('/upgraded', 'and written')});
$new->stop;

$cluster->stop;
done_testing();
