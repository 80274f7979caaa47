# Placement functions: a volume's block groups, new ones and new copies, are where its function says, and nowhere against it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $MIB = 1048576;
my $cluster = DifsCluster->new('placement', servers => 5, add => 0, conf => <<'CONF');
difs.block_group_size = '16MB'
difs.repair_interval = '1h'
difs.repair_delay = '500ms'
difs.health_interval = '200ms'
difs.server_timeout = '3s'
difs.unstage_interval = '1h'
difs.collect_interval = 0
CONF
my $node = $cluster->node;
my @zone = ('a', 'a', 'b', 'b', 'b');
my @name = map { $_->name } $cluster->servers;
$cluster->sql(map { $cluster->server($_)->add_statement =~ s/\)$/, zone => '$zone[$_]')/r } 0 .. 4);
$cluster->wait_until_alive;
my $source = $cluster->write_file('source', DifsCluster::random_bytes($MIB, 'placement'));
my $large = $cluster->write_file('large', DifsCluster::random_bytes(40 * $MIB, 'large'));

$cluster->sql(
	'CREATE ROLE placer; CREATE ROLE stranger',
	'CREATE SCHEMA rules; GRANT ALL ON SCHEMA rules TO placer; GRANT USAGE ON SCHEMA rules TO PUBLIC',
	'CREATE TABLE rules.calls (who name, volume text, replicas integer, members text[]); GRANT INSERT ON rules.calls TO placer',
	'SET ROLE placer',
	# as in doc/hooks.md; it also notes how it was called
	q{CREATE FUNCTION rules.in_b(volume text, replicas integer, candidates difs.candidate[]) RETURNS text[] LANGUAGE sql AS $$
	    INSERT INTO rules.calls SELECT current_user, volume, replicas, array_agg(server) FILTER (WHERE member) FROM unnest(candidates);
	    SELECT array_agg(server ORDER BY member DESC, open_groups::float8 / weight, server) FROM unnest(candidates) WHERE zone = 'b' $$},
	q{CREATE FUNCTION rules.in_a(volume text, replicas integer, candidates difs.candidate[]) RETURNS text[] LANGUAGE sql AS
	    $$ SELECT array_agg(server) FROM unnest(candidates) WHERE zone = 'a' $$},
	'RESET ROLE',
	"SELECT difs_volume_create('kept', replicas => 2, segment_size => $MIB, compression => 'none', inline_limit => 0)",
	"SELECT difs_volume_create('free', replicas => 2, segment_size => $MIB, compression => 'none', inline_limit => 0)");

sub put
{
	my ($path, $file) = @_;
	return $cluster->sql("SELECT difs_put('$path', pg_read_binary_file('@{[ $file // $source ]}'))");
}

# Zones of the servers that have a file's block groups, each once; 'staged' if there is one of them without.
sub zones
{
	my ($path) = @_;
	return $cluster->sql("SELECT string_agg(DISTINCT coalesce(s.zone, 'staged'), ' ' ORDER BY coalesce(s.zone, 'staged')) FROM difs.manifest m "
		  . "LEFT JOIN difs.block_group g ON g.id = m.block_group LEFT JOIN LATERAL unnest(g.members) AS member (id) ON true "
		  . "LEFT JOIN difs.server s ON s.id = member.id WHERE m.ino = difs_ino('$path')");
}

# Who may set one, and which.
my $set = "SELECT difs_placement_set('kept', 'rules.in_b'::regproc)";
is(($cluster->sql_fails('SET ROLE stranger', $set))[0], '42501', 'a stranger does not set a placement function');
is(($cluster->sql_fails("SELECT difs_placement_set('kept', 'pg_catalog.lower(text)'::regprocedure)"))[0], '42P13', 'not every function is one');
is(($cluster->sql_fails("SELECT difs_placement_set('none', 'rules.in_b'::regproc)"))[0], '58P01', 'a volume that is not there');
put('kept:/before', $large);
is(zones('kept:/before'), 'a b', 'control: without a function, both zones are used');
$cluster->sql($set);
is($cluster->sql("SELECT placement FROM difs.volumes WHERE name = 'kept'"), 'rules.in_b', 'it is set');

# Writes, by SQL and by token.
put('kept:/after', $large);
is(zones('kept:/after'), 'b', 'all of what is written goes where the function says');
put('free:/a', $large);
is(zones('free:/a'), 'a b', '  and what is in another volume goes elsewhere, too');
is($cluster->sql('SELECT DISTINCT who, volume, replicas FROM rules.calls'), 'placer|kept|2', 'it ran with the rights of its owner');
my $upload = $cluster->sql("SELECT upload FROM difs_upload_begin('kept:/direct', 3000, resumable => true)");
is($cluster->sql("SELECT string_agg(DISTINCT s.zone, ' ') FROM difs_upload_place($upload, 0, 1) p JOIN difs.block_group g ON g.id = p.block_group JOIN difs.server s ON s.id = ANY (g.members)"),
	'b', 'clients are sent there as well');
$cluster->sql("SELECT difs_upload_cancel($upload)");
my ($state, $message, undef) = $cluster->sql_fails("SELECT difs_copy('kept:/after', 'free:/copy')");
is($state, '0A000', 'bytes are not shared with a volume that is placed otherwise');

# Functions that say nothing of use: what is written is staged, nothing else suffers, and it goes on when the function is better.
my %bad = (
	fails => [ q{BEGIN RAISE EXCEPTION 'no idea'; END}, qr/failed: no idea/ ],
	divides => [ q{BEGIN RETURN ARRAY[(1 / 0)::text]; END}, qr/failed: division by zero/ ],
	sleeps => [ q{BEGIN PERFORM pg_sleep(3600); RETURN NULL; END}, qr/failed: canceling statement due to statement timeout/ ],
	null => [ q{BEGIN RETURN NULL; END}, qr/returned null/ ],
	none => [ q{BEGIN RETURN '{}'; END}, qr/named 0 of 2 servers/ ],
	twice => [ q{BEGIN RETURN ARRAY[candidates[1].server, candidates[1].server]; END}, qr/named 1 of 2 servers/ ],
	invents => [ q{BEGIN RETURN '{/storage99,/storage98}'; END}, qr/named "\/storage99", which is not among the candidates/ ],
	hole => [ q{BEGIN RETURN ARRAY[candidates[1].server, NULL]; END}, qr/named "", which is not among the candidates/ ],
	forbidden => [ q{BEGIN RETURN ARRAY[pg_read_file('postgresql.conf'), candidates[1].server]; END}, qr/failed: permission denied for function pg_read_file/ ]);
foreach my $name (sort keys %bad)
{
	my ($body, $why) = @{ $bad{$name} };
	my $log = -s $node->logfile;
	$cluster->sql('SET ROLE placer',
		"CREATE OR REPLACE FUNCTION rules.bad(volume text, replicas integer, candidates difs.candidate[]) RETURNS text[] LANGUAGE plpgsql AS \$\$ $body \$\$",
		'RESET ROLE', "SELECT difs_placement_set('kept', 'rules.bad'::regproc)");
	put("kept:/$name");
	is(zones("kept:/$name"), 'staged', "a function that $name: what is written is staged");
	like(slurp_file($node->logfile, $log), qr/could not open a block group: placement function rules\.bad of volume "kept" .*$why/, '  and the log says why');
	put("free:/$name");
	is(zones("free:/$name") =~ s/^a$|^b$/a b/r, 'a b', '  another volume goes on');
}
($state, $message) = $cluster->sql_fails('SET difs.staging = never', "SELECT difs_put('kept:/never', pg_read_binary_file('$source'))");
is($state, '58030', 'without staging a write fails');
is($cluster->sql('SELECT count(*) FROM difs.servers WHERE alive'), 5, 'and the keeper has gone on all the time');

# A better function takes the bad one's place: what is staged moves to where it says.
$cluster->sql('SET ROLE placer', q{CREATE OR REPLACE FUNCTION rules.bad(volume text, replicas integer, candidates difs.candidate[]) RETURNS text[] LANGUAGE sql AS
	$$ SELECT array_agg(server) FROM unnest(candidates) WHERE zone = 'b' $$});
ok(DifsCluster::poll_until(sub { $cluster->sql('SELECT difs_unstage()'); return $cluster->sql('SELECT segments FROM difs.staged') eq '0' }, 60), 'staging empties');
is(join(' ', map { zones("kept:/$_") } sort keys %bad), join(' ', ('b') x keys %bad), '  to where the function says');

# Another function holds for what is written from then on; one that is gone is not got round.
$cluster->sql("SELECT difs_placement_set('kept', 'rules.in_a'::regproc)");
put('kept:/in_a');
is(zones('kept:/in_a'), 'a', 'another function holds at once');
is(zones('kept:/after'), 'b', '  for what is new');
$cluster->sql('DROP FUNCTION rules.in_a', $set);
put('kept:/b again');
is(zones('kept:/b again'), 'b', 'and back');

# Repair: copies of a server that dies are made anew where the function says.
sub on { my ($server) = @_; return $cluster->sql("SELECT count(*) FROM difs.block_groups WHERE '$name[$server]' = ANY (members) AND placed_for = 'kept'"); }
my ($dead) = grep { on($_) > 0 } 2 .. 4;
cmp_ok(on($dead), '>', 0, "$name[$dead] has copies of groups that were placed");
$cluster->sql('TRUNCATE rules.calls');
$cluster->server($dead)->kill;
ok( DifsCluster::poll_until(
		sub { $cluster->sql('SELECT difs_repair()'); return on($dead) == 0 }, 60),
	'  which are made anew when it dies');
is(zones('kept:/after'), 'b', '  where the function says');
is($cluster->sql('SELECT count(*) > 0 AND bool_and(cardinality(members) >= 1) FROM rules.calls WHERE members IS NOT NULL'), 't', '  which was told who has a copy');
is($cluster->sql("SELECT sha256(difs_get('kept:/after')) = sha256(pg_read_binary_file('$large'))"), 't', '  and the file is whole');

# With none left where it may be, a copy stays missing, and says so.
my ($other) = grep { $_ != $dead } 2 .. 4;
$cluster->server($other)->kill;
ok( DifsCluster::poll_until(
		sub {
			$cluster->sql('SELECT difs_repair()');
			return $cluster->sql(q{SELECT count(*) > 0 FROM difs.missing_copies WHERE problem LIKE '%named no server beside those that have the block group%'}) eq 't';
		}, 60),
	'a copy that may be nowhere stays missing, with the reason');
is(zones('kept:/after') =~ /a/ ? 'a' : 'no a', 'no a', '  and is not put elsewhere');
$cluster->server($_)->start foreach $dead, $other;
$cluster->wait_until_alive;

# More volumes with functions than block groups can be open at once.
my $many = 70;
$cluster->sql("SELECT difs_volume_create('v' || n, inline_limit => 0), difs_placement_set('v' || n, 'rules.in_b'::regproc) FROM generate_series(1, $many) n");
my ($failed, $why) = $cluster->sql_fails('SET difs.staging = never', map { "SELECT difs_put('v$_:/f', 'x')" } 1 .. $many);
is("$failed$why", '', "$many volumes with functions can all be written to");
is($cluster->sql("SELECT count(DISTINCT m.block_group) FROM difs.manifest m JOIN difs.block_groups g ON g.id = m.block_group WHERE g.placed_for LIKE 'v%'"), $many,
	'  each has a block group of its own');

# Balancing leaves it alone; without the function the built-in rules hold again, for repair as well.
my $moved = $cluster->sql('SELECT difs_rebalance()');
is(zones('kept:/after'), 'b', "rebalancing ($moved copies) leaves it where it is");
$cluster->sql("SELECT difs_placement_set('kept', NULL)");
is($cluster->sql("SELECT placement IS NULL FROM difs.volumes WHERE name = 'kept'"), 't', 'taken away');
put('kept:/free', $large);
is(zones('kept:/free'), 'a b', '  both zones are used');
$cluster->sql('SELECT difs_repair()');
is($cluster->sql(q{SELECT kind, object, detail FROM difs_fsck(deep => true) WHERE kind <> 'orphan'}), '', 'and nothing is wrong');

$cluster->stop;
done_testing();
