# Block groups: where the keeper opens them, what it does when it cannot, and what becomes of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use Test::More;

my $cluster = DifsCluster->new(
	'groups',
	servers => 4,
	add => 0,
	conf => "difs.server_timeout = '3s'\ndifs.block_group_size = '16MB'\ndifs.staging = never\n");
my $node = $cluster->node;
my @zones = ('a', 'a', 'b', 'b');
my $files = 0;

sub wait_for
{
	my ($condition, $name) = @_;
	ok($node->poll_query_until('postgres', "SELECT ($condition)::boolean"), $name);
	return;
}

# Stores files of 1 MB that do not compress.
sub put
{
	my ($count, $volume) = @_;
	$cluster->sql("SELECT difs_put('$volume:/f' || n, (SELECT string_agg(sha512((n || ' ' || i)::bytea), ''::bytea)"
		  . " FROM generate_series(1, 16384) i)) FROM generate_series($files + 1, $files + $count) n");
	$files += $count;
	return;
}

sub put_fails
{
	my ($volume) = @_;
	return $cluster->sql_fails("SELECT difs_put('$volume:/no', 'no')");
}

# Nobody there.
my ($state, $message) = put_fails('main');
is($state, '58030', 'without a chunk server a put fails');
like($message, qr/1 replica on tier disk is asked for, but there is no chunk server/, 'and the error says so');

# Zones.
$cluster->sql(map { (my $add = $cluster->server($_)->add_statement) =~ s/\)$/, zone => '$zones[$_]')/; $add } 0 .. 3);
$cluster->wait_until_alive;
$cluster->sql("SELECT difs_volume_create('two', replicas => 2)");
put(40, 'two');
is( $cluster->sql(q{
		SELECT count(*) FROM difs.block_group g
		WHERE replicas = 2 AND (SELECT count(DISTINCT zone) FROM difs.server WHERE id = ANY (g.members)) <> 2}),
	'0', 'members of a group are in different zones');
is($cluster->sql('SELECT count(DISTINCT m) FROM difs.block_group, unnest(members) m'),
	'4', 'groups are spread over all servers');
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'open' AND replicas = 2", 'some are in stock');
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'sealed' AND segments > 0 AND bytes > 0",
	'full ones are sealed and have their sizes');

# A server that is draining gets no new groups.
$cluster->sql("UPDATE difs.server SET state = 'draining' WHERE name = '/storage01'");
wait_for("SELECT state = 'draining' FROM difs.servers WHERE name = '/storage01' AND alive", 'a server is draining');
my $keeper = $cluster->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'difs keeper'");
$cluster->sql("SELECT pg_terminate_backend($keeper)");
wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'difs keeper' AND pid <> $keeper",
	'the keeper is another one, which has read the rows');
my $last = $cluster->sql('SELECT max(id) FROM difs.block_group');
put(40, 'two');
is($cluster->sql("SELECT count(*) > 0 FROM difs.block_group WHERE id > $last"), 't', 'there are new groups');
cmp_ok($cluster->sql("SELECT count(*) FROM difs.block_group WHERE id > $last"), '<', 30,
	'not more than are needed: a change of a server\'s row does no harm to connections');
is( $cluster->sql(qq{
		SELECT count(*) FROM difs.block_group
		WHERE id > $last AND (SELECT id FROM difs.server WHERE name = '/storage01') = ANY (members)}),
	'0', 'but none on the server that is draining');
$cluster->sql("UPDATE difs.server SET state = 'active' WHERE name = '/storage01'");

# A zone is lost: groups within the other one, rather than none.
$last = $cluster->sql('SELECT max(id) FROM difs.block_group');
$cluster->server($_)->kill for 2, 3;
wait_for("SELECT count(*) = 2 FROM difs.servers WHERE NOT alive AND problem <> ''", 'two servers are found to be down');
put(5, 'two');
is($cluster->sql("SELECT DISTINCT array(SELECT unnest(members) ORDER BY 1) FROM difs.block_groups WHERE id > $last AND"
	  . " state = 'open' AND replicas = 2"),
	'{/storage01,/storage02}', 'groups are opened in the remaining zone')
  or diag($cluster->sql('SELECT id, state, members FROM difs.block_groups ORDER BY id'));

# Too few.
$cluster->server(1)->kill;
my $seconds;
($state, $message, $seconds) = put_fails('two');
is($state, '58030', 'with one server of four a put of two replicas fails');
like($message, qr/2 replicas on tier disk are asked for, but only 1 of 4 servers is usable/, 'the error says what is missing');
like($message, qr/\/storage03 \(127\.0\.0\.1:\d+\): \w/, 'and why');
cmp_ok($seconds, '<', 6, 'within difs.server_timeout');
put(3, 'main');
is($cluster->sql("SELECT difs_exists('two:/no')"), 'f', 'nothing is left of what failed');

# No such tier.
$cluster->sql("SELECT difs_volume_create('quick', tier => 'memory')");
($state, $message) = put_fails('quick');
is($state, '58030', 'no server of a tier: a put fails');
like($message, qr/1 replica on tier memory is asked for, but only 0 of 4 servers are usable/, 'and the error says so');

# They come back.
$cluster->server($_)->start for 1, 2, 3;
$cluster->wait_until_alive;
put(3, 'two');
is($cluster->sql("SELECT count(*) FROM generate_series(1, 80) n WHERE length(difs_get('two:/f' || n)) = 1048576"),
	'80', 'everything is there');

# Sealed rows agree with what is in the tables.
is( $cluster->sql(q{
		SELECT count(*) FROM difs.block_group g
		WHERE state = 'sealed' AND segments < (SELECT count(*) FROM difs.manifest WHERE block_group = g.id)}),
	'0', 'no sealed group has fewer segments than the manifest says');

# Open groups of a server that was killed together with PostgreSQL are sealed, those of others are taken over.
$node->stop('immediate');
$cluster->server(0)->kill;
$node->start;
wait_for(q{SELECT count(*) = 0 FROM difs.block_group
	WHERE state = 'open' AND (SELECT id FROM difs.server WHERE name = '/storage01') = ANY (members)},
	'groups of a dead server are sealed after a restart');
put(2, 'two');
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'open'", 'others are open');

# A group that cannot be made on all members has never been one: repair has nothing to look for.
$cluster->server(0)->start;
$cluster->wait_until_alive;
wait_for("SELECT count(*) >= 2 FROM difs.block_group WHERE state = 'open' AND replicas = 2", 'the stock is full again');
$cluster->sql("SELECT difs_volume_create('four', replicas => 4)");
$cluster->sql("SELECT difs_repair()");
my $missing = $cluster->sql('SELECT count(*) FROM difs.missing');
my @directories = map { grep { -d } glob("$_->{data}/*") } map { $cluster->server($_) } 2, 3;
my $log = -s $node->logfile;
chmod 0500, @directories;
($state, $message) = put_fails('four');
chmod 0700, @directories;
is($state, '58030', 'where no group can be made, a put fails');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $log), qr/could not create block group/, 'since a server could not make it');
wait_for('SELECT count(*) = 0 FROM difs.block_group WHERE replicas = 4', 'it leaves no row');
$cluster->sql('SELECT difs_repair()');
is($cluster->sql('SELECT count(*) FROM difs.missing'), $missing, 'and nothing that is missing');

$cluster->stop;
done_testing();
