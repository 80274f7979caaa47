# Repair and placement: servers that die for good, come back, are emptied, removed and added, under load.
#
# DIFS_REPAIR_SECONDS: how long the load runs before and after the death of a server (default 1).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time usleep);

use DifsCluster;
use DifsLoad;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = $ENV{DIFS_REPAIR_SECONDS} // 1;
my $cluster = DifsCluster->new('repair', servers => 3, conf => <<'CONF');
difs.block_group_size = '16MB'
difs.repair_interval = '500ms'
difs.repair_delay = '1s'
difs.server_timeout = '4s'
CONF
my $node = $cluster->node;

$cluster->sql("SELECT difs_volume_create('two', replicas => 2, compression => 'none')");
my $load = DifsLoad->new($cluster, rate => 40);

sub set
{
	my ($setting, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $setting = '$value'");
	$node->reload;
	return;
}

# The control: a statement that fails is counted.
sub load_is_watched
{
	$load->start;
	ok(DifsCluster::poll_until(sub { $load->clients == 4 }), 'four clients are at work');
	$cluster->sql('ALTER FUNCTION content(bigint) RENAME TO content_away');
	ok(DifsCluster::poll_until(sub { $load->clients == 0 }, 20), 'control: clients whose statements fail are missed');
	$cluster->sql('ALTER FUNCTION content_away(bigint) RENAME TO content');
	cmp_ok($load->stop, '>', 0, 'and counted');
	return;
}

# Until nothing is missing: the seconds that it took, undef if it did not happen.  alone: nobody asks for a round of repair,
# the keeper has to think of it itself.
sub wait_redundant
{
	my ($timeout_s, $alone) = @_;
	my $began = time;
	my $done = DifsCluster::poll_until(sub {
			$cluster->sql('SELECT difs_repair()') unless $alone;
			return $cluster->sql(q{SELECT NOT EXISTS (SELECT FROM difs.missing AS m JOIN difs.block_group AS g ON g.id = m.block_group
			   WHERE replicas = 2) AND NOT EXISTS
			  (SELECT FROM difs.block_group AS g, unnest(members) AS m LEFT JOIN difs.server_health() AS h ON h.id = m
			   WHERE g.state = 'sealed' AND replicas = 2 AND alive IS NOT TRUE)}) eq 't';
		}, $timeout_s);
	diag($cluster->sql('SELECT m.*, g.members, g.state, g.generation FROM difs.missing m LEFT JOIN difs.block_group g ON g.id = m.block_group'),
		"\n", $cluster->sql('SELECT * FROM difs.servers')) unless $done;
	return $done ? time - $began : undef;
}

# Segments that are whole records in a server's file of a group.
sub segments_of
{
	my ($server, $group) = @_;
	my %found;
	my $file = (glob(sprintf('%s/*/%016x.group', $server->{data}, $group)))[0] // return \%found;
	open(my $handle, '<:raw', $file) or return \%found;
	my $bytes = do { local $/; <$handle> };
	while ($bytes =~ /DSEG.{4}(.{8})/gs)
	{
		$found{ unpack('Q<', $1) } = 1 if $-[0] % 64 == 0;
	}
	return \%found;
}

# Every member of every sealed group has every segment that a file needs: the number of copies that do not.
sub lacking
{
	my $lacking = 0;
	my $groups = 0;
	foreach my $row (split /\n/, $cluster->sql(q{
		SELECT g.id, g.replicas, array_to_string(g.members, ','), string_agg(m.segment::text, ',')
		FROM difs.block_groups g JOIN difs.manifest m ON m.block_group = g.id WHERE g.state = 'sealed' GROUP BY 1, 2, 3}))
	{
		my ($group, $replicas, $members, $segments) = split /\|/, $row;
		my @members = map { $cluster->named($_) } split /,/, $members;
		$groups++;
		$lacking++ if @members != $replicas;
		foreach my $member (@members)
		{
			my $found = $member ? segments_of($member, $group) : {};
			$lacking++ if grep { !$found->{$_} } split /,/, $segments;
		}
	}
	note("$groups sealed block groups looked at, $lacking copies lack something");
	return $lacking;
}

# Reads everything with each server stopped in turn: each of two copies is as good as the other.
sub redundant
{
	my ($what) = @_;
	set('difs.repair_delay', '1h');
	is(lacking(), 0, "$what: all copies are whole");
	foreach my $server (grep { $_->pid } $cluster->servers)
	{
		$server->kill;
		$load->all_right("$what, without " . $server->name);
		$server->start;
		$cluster->node->poll_query_until('postgres', "SELECT alive FROM difs.servers WHERE name = '" . $server->name . "'");
	}
	set('difs.repair_delay', '1s');
	return;
}

sub group_files
{
	my ($server) = @_;
	return scalar(my @files = glob("$server->{data}/*/*.group"));
}

sub add_server
{
	my $server = DifsCluster::Server->new($cluster, sprintf('/storage%02d', $cluster->servers + 1));
	push @{ $cluster->{servers} }, $server;
	$server->start;
	$cluster->sql($server->add_statement);
	$node->poll_query_until('postgres', "SELECT alive FROM difs.servers WHERE name = '$server->{name}'");
	return $server;
}

# One of three servers dies for good under load.
$cluster->sql(q{INSERT INTO written SELECT nextval('number') FROM generate_series(1, 700)},
	q{SELECT count(difs_put('two:/file' || number, content(number))) FROM written});
load_is_watched();
$load->start;
my $dead = $cluster->server(1);
$load->wait_written(20);

# The control: while nobody repairs, nothing is repaired, and the checks below say so.
set('difs.repair_interval', '0');
usleep(600_000);
$dead->kill;
my $died = time;
$load->wait_written(20);
is($cluster->sql("SELECT count(*) > 1 FROM difs.block_groups WHERE state = 'sealed' AND '/storage02' = ANY (members)"),
	't', 'control: without repair, groups keep the dead member');
set('difs.repair_interval', '500ms');
my $seconds = wait_redundant(60, 'alone');
ok(defined $seconds, 'a server died under load: full redundancy is back without a person');
diag(sprintf('full redundancy is back %.1f s after the death of a server, %.1f s after repair was allowed', time - $died, $seconds // -1));
$load->wait_written(20);
usleep($SECONDS * 1_000_000);
is($load->stop, 0, 'and no transaction has failed');
ok(DifsCluster::poll_until(sub {
			$cluster->sql("SELECT count(*) FROM difs.block_groups WHERE '/storage02' = ANY (members)") == 0;
		}), 'no group names it any more, open ones neither');
redundant('after a death');
note($load->written . ' files, ' . $cluster->sql('SELECT count(*) FROM difs.block_group') . ' block groups');

# It comes back with what it had: that is dropped, and nobody gets anything wrong.
my $old = group_files($dead);
cmp_ok($old, '>', 1, "it has $old copies of old");
$load->start;
$dead->start;
$cluster->wait_until_alive;
ok(DifsCluster::poll_until(sub {
			my $named = $cluster->sql("SELECT count(*) FROM difs.block_groups WHERE '/storage02' = ANY (members)");
			return group_files($dead) <= $named;
		}), 'the old member is back: its old copies are dropped');
$load->wait_written(20);
is($load->stop, 0, 'nobody has noticed');
$load->all_right('the old member is back');

# A member that loses its data, one that has older data, one that was down when its groups were sealed.
set('difs.repair_delay', '1h');
set('difs.repair_interval', '0');
my $server = $cluster->server(0);
ok(defined wait_redundant(60), 'nothing is missing');
my $group = $cluster->sql("SELECT min(id) FROM difs.block_groups WHERE state = 'sealed' AND '/storage01' = ANY (members)");
my $file = $server->group_file($group);
(my $index = $file) =~ s/group$/index/;
$server->kill;
unlink $file, $index;
$server->start;
$cluster->wait_until_alive;
like($cluster->sql("SELECT difs_repair()"), qr/^[1-9]/, 'a copy that is gone is made anew');
ok(-e $file, 'where it was');
my $whole = -s $file;
$server->kill;
truncate $file, $whole / 2;
unlink $index;
$server->start;
$cluster->wait_until_alive;
cmp_ok(lacking(), '>', 0, 'control: a copy with older data lacks something');
set('difs.repair_interval', '500ms');
ok(defined wait_redundant(60), 'nothing is missing again');
is(lacking(), 0, 'it lacks nothing any more');
is($cluster->sql("SELECT '/storage01' = ANY (members) FROM difs.block_groups WHERE id = $group"), 't', 'and is still a member');

# Both members have lost what a server that is no member still has: it is pulled from there, and dropped only then.
{
	set('difs.repair_interval', '0');
	my ($number, $names) = split /\|/, $cluster->sql(q{SELECT g.id, array_to_string(g.members, ',') FROM difs.block_groups g
		WHERE state = 'sealed' AND replicas = 2 AND (SELECT count(*) FROM difs.manifest WHERE block_group = g.id) > 3 ORDER BY id LIMIT 1});
	my @members = map { $cluster->named($_) } split /,/, $names;
	my ($other) = grep { my $name = $_->name; !grep { $_->name eq $name } @members } $cluster->servers;
	my ($from) = $members[0]->group_file($number);
	my ($to) = glob("$other->{data}/*/*.group");
	$to =~ s{[^/]*$}{};
	$_->kill foreach @members, $other;
	foreach my $suffix ('group', 'index')
	{
		(my $part = $from) =~ s/group$/$suffix/;
		(my $name = $part) =~ s{.*/}{};
		open(my $out, '>:raw', "$to$name") or die "$to$name: $!";
		print $out slurp_file($part);
		close($out) or die "$to$name: $!";
	}
	foreach my $member (@members)
	{
		my $part = $member->group_file($number);
		truncate($part, 4096) or die "$part: $!";
		$part =~ s/group$/index/;
		unlink($part) or die "$part: $!";
	}
	$_->start foreach @members, $other;
	$cluster->wait_until_alive;
	cmp_ok(lacking(), '>', 0, 'control: both members lack something that a third server has');
	set('difs.repair_interval', '500ms');
	ok(DifsCluster::poll_until(sub { $cluster->sql('SELECT difs_repair()'); lacking() == 0 }, 60), 'they have it again');
	ok(DifsCluster::poll_until(sub { $cluster->sql("SELECT difs_repair()"); !-e sprintf('%s%016x.group', $to, $number) }, 30),
		'and then the third copy is dropped');
	$load->all_right('after that');
}

$load->start;
my $open = '';
ok(DifsCluster::poll_until(sub {
			$open = $cluster->sql("SELECT array_to_string(array_agg(id), ',') FROM difs.block_groups WHERE state = 'open' AND '/storage01'"
			  . ' = ANY (members)');
			return $open ne '' && !grep { !(() = glob(sprintf('%s/*/%016x.group', $server->{data}, $_))) } split /,/, $open;
		}), 'groups are open on a server');
set('difs.repair_interval', '0');
set('difs.repair_delay', '1s');
$server->kill;
$load->wait_written(10);
ok(DifsCluster::poll_until(sub {
			$cluster->sql("SELECT count(*) FROM difs.block_group WHERE state = 'open' AND id IN ($open)") == 0;
		}, 30), 'groups with a member that is down for long are sealed');
set('difs.repair_delay', '1h');
$server->start;
$cluster->wait_until_alive;
set('difs.repair_interval', '500ms');
ok(DifsCluster::poll_until(sub {
			$cluster->sql('SELECT difs_repair()');
			return !grep { $file = $server->group_file($_); $file =~ s/group$/index/; !-e $file } split /,/, $open;
		}), "groups that were sealed while a member was down are sealed there too: $open");
is($load->stop, 0, 'no transaction has failed');
redundant('after all that');

# Files that have fewer copies than they should.
set('difs.repair_delay', '1h');
$cluster->sql("SELECT difs_volume_create('one')", "SELECT difs_put('one:/a/b', content(1), parents => true)",
	"SELECT difs_copy('two:/file1', 'two:/copy')");
my $back = wait_redundant(120);
ok(defined $back, 'nothing is missing');
cmp_ok($back // 999, '<', 30, 'soon');

is($cluster->sql('SELECT count(*) FROM difs_files_to_repair()'), 0, 'no file is to be repaired');
my ($first) = map { $_->{servers} } $cluster->segments('two:/file1');
$first->[0]->kill;
ok(DifsCluster::poll_until(sub {
			$cluster->sql('SELECT difs_repair()');
			$cluster->sql("SELECT count(*) FROM difs_files_to_repair() WHERE path IN ('two:/file1', 'two:/copy') AND missing = 1 AND volume = 'two' AND"
			  . ' cardinality(groups) = 1') == 2;
		}), 'difs_files_to_repair() lists a file whose server is down, and its copy');
like($cluster->sql('SELECT groups_missing, copies_missing, bytes_missing FROM difs.repair_progress'),
	qr/^[1-9]\d*\|[1-9]\d*\|[1-9]\d*$/, 'difs.repair_progress counts');
$first->[0]->start;
$cluster->wait_until_alive;
ok(defined wait_redundant(30), 'and nothing once it is back');
is($cluster->sql('SELECT count(*) FROM difs_files_to_repair()'), 0, 'no file is to be repaired');
set('difs.repair_delay', '1s');

# A fourth server, and the first one is drained under load.
my ($state, $message) = $cluster->sql_fails("SELECT difs_server_remove('/storage01')");
is($state, '2BP01', 'a server with copies cannot be removed') or diag $message;
like($message, qr/difs_server_drain/, 'the hint says what to do');
($state) = $cluster->sql_fails("SELECT difs_server_drain('/nowhere')");
is($state, '42704', 'nor can one be drained that does not exist');
my $fourth = add_server();
$load->start;
$load->wait_written(10);
cmp_ok($cluster->sql("SELECT difs_server_drain('/storage01')"), '>', 0, 'draining has something to do');
my $began = time;
ok(DifsCluster::poll_until(sub { $cluster->sql("SELECT state FROM difs.servers WHERE name = '/storage01'") eq 'drained' }),
	'a server is drained while clients read and write');
note(sprintf('drained in %.1f s', time - $began));
$load->wait_written(10);
is($load->stop, 0, 'no transaction has failed');
is($cluster->sql("SELECT count(*) FROM difs.block_groups WHERE '/storage01' = ANY (members)"), 0, 'no group names it');
ok(DifsCluster::poll_until(sub { group_files($server) == 0 }), 'it has no copies any more');
$cluster->sql("SELECT difs_server_remove('/storage01')");
is($cluster->sql("SELECT count(*) FROM difs.servers WHERE name = '/storage01'"), 0, 'it is removed');
$server->kill;
$load->all_right('a server has been drained and removed');
ok(defined wait_redundant(30), 'nothing is missing');
is(lacking(), 0, 'all copies are whole');

# Rebalancing.
my $fifth = add_server();
sub spread
{
	return map { (split /\|/)[1] } split /\n/, $cluster->sql(q{SELECT s.name, coalesce(sum(g.bytes), 0) FROM difs.server s
	  LEFT JOIN difs.block_group g ON s.id = ANY (g.members) AND g.state = 'sealed' WHERE s.state = 'active' GROUP BY 1 ORDER BY 1});
}
# Groups that were sealed while nobody answered have no sizes: they must not count as full ones.
$cluster->sql(q{UPDATE difs.block_group SET segments = NULL, bytes = NULL WHERE state = 'sealed'
	  AND id IN (SELECT id FROM difs.block_group WHERE state = 'sealed' AND replicas = 2 ORDER BY bytes LIMIT 3)});
$cluster->sql('SELECT difs_repair()');
is($cluster->sql("SELECT count(*) FROM difs.block_group WHERE state = 'sealed' AND bytes IS NULL"), 0, 'sizes that nobody knew are asked for');
my @before = spread();
my $largest = $cluster->sql('SELECT max(bytes) FROM difs.block_group');
my $moved = $cluster->sql('SELECT difs_rebalance()');
my @after = spread();
cmp_ok($moved, '>', 0, "rebalancing moves copies: $moved; bytes before: @before; after: @after");
my ($low, $high, $sum) = ($after[0], $after[0], 0);
foreach my $bytes (@after)
{
	$low = $bytes if $bytes < $low;
	$high = $bytes if $bytes > $high;
	$sum += $bytes;
}
cmp_ok($high - $low, '<=', 0.1 * $sum / @after + $largest, 'servers are within a tenth, or one block group');
is($cluster->sql('SELECT difs_rebalance()'), 0, 'once is enough');
$load->all_right('after rebalancing');
is(lacking(), 0, 'all copies are whole');

# The last copy: force is needed, and only what has another copy comes back.
my ($only) = $cluster->segments('one:/a/b');
my $holder = $only->{servers}[0];
($state, $message) = $cluster->sql_fails("SELECT difs_server_remove('$holder->{name}')");
like($message, qr/DETAIL:.*only copy of.*\b$only->{group}\b/s, 'the groups that only this server has are listed');
$cluster->sql("SELECT difs_server_remove('$holder->{name}', force => true)");
$holder->kill;
ok(DifsCluster::poll_until(sub {
			$cluster->sql('SELECT difs_repair()');
			$cluster->sql('SELECT count(*) FROM difs.missing JOIN difs.block_group ON id = block_group WHERE replicas = 2') == 0;
		}), 'a server was removed by force: what has another copy is made anew');
is($cluster->sql("SELECT path FROM difs_files_to_repair()"), 'one:/a/b', 'what has none is listed');
like($cluster->sql("SELECT problem FROM difs.missing_copies WHERE block_group = $only->{group}"), qr/no server/, 'and why');
$load->all_right('a server was removed by force');

# A segment that is damaged in the only copy that is left is not copied as it is, and never returned.
set('difs.repair_delay', '1h');
my ($segment) = $cluster->segments('two:/file2');
my ($left, $lost) = @{ $segment->{servers} };
$left->flip($segment, 10);
$lost->kill;
set('difs.repair_delay', '1s');
ok(defined wait_redundant(60), 'a server dies, and the other copy has a damaged segment: the group has two members again');
is(($cluster->sql_fails("SELECT difs_get('two:/file2')"))[0], 'XX001', 'the damaged segment is an error, on both');
is($cluster->sql(q{SELECT count(*) FROM written WHERE number <> 2 AND difs_get('two:/file' || number) IS DISTINCT FROM content(number)}),
	0, 'all other files read right');

$cluster->stop;
done_testing();
