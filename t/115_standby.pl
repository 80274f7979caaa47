# Reads on a physical standby, promotion, and the old primary that comes back: with outside chunk servers and with embedded
# ones, difs_claim() by hand and difs.auto_claim.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

sub sql { my ($node, $statement) = @_; return $node->safe_psql('postgres', $statement); }

sub fails
{
	my ($node, $statement) = @_;
	my ($stdout, $stderr) = ('', '');
	$node->psql('postgres', "\\set VERBOSITY verbose\n$statement;", stdout => \$stdout, stderr => \$stderr);
	my ($state) = $stderr =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return ($state // 'no error', $stderr);
}

sub held_is
{
	my ($node, $held, $name) = @_;
	return ok($node->poll_query_until('postgres', 'SELECT coalesce(held::text, \'none\') FROM difs.claim', $held), $name);
}

# The process ids of chunk servers that are children of a node's processes.
sub difsd_of
{
	my ($node) = @_;
	my $directory = $node->data_dir . '.difs';
	return grep { $_ } map { /^\s*(\d+) .*difsd.*\Q$directory\E/ ? $1 : () } `ps -A -o pid= -o args=`;
}

# All files of the list are read on a node with the digests of the table kept.
sub all_readable
{
	my ($node, $name) = @_;
	is(sql($node, q{SELECT count(*) FILTER (WHERE md5(difs_get(path)) IS DISTINCT FROM digest) || ' of ' || (count(*) > 0)::text FROM kept}),
		'0 of true', "$name: every file reads with its digest");
	is(sql($node, q{SELECT count(*) FROM difs_list('/', recursive => true, kind => 'file') l WHERE NOT EXISTS (SELECT FROM kept WHERE path = l.name OR path = '/' || l.name)}),
		'0', "$name: difs_list() has no other");
	return;
}

sub keep
{
	my ($node, $path, $size) = @_;
	sql($node, qq{
		SELECT difs_put('$path', (SELECT string_agg(sha512((i || '$path')::bytea), '') FROM generate_series(1, $size / 64) i), parents => true);
		DELETE FROM kept WHERE path = '$path';
		INSERT INTO kept SELECT '$path', md5(difs_get('$path'))});
	return;
}

# --- outside servers

my $cluster = DifsCluster->new('standby', servers => 2, conf => "difs.collect_interval = 0\n", init => { allows_streaming => 1 });
my $primary = $cluster->node;
sql($primary, 'CREATE TABLE kept (path text, digest text)');
keep($primary, "/f$_", 100_000 * $_) for 1 .. 5;
my $standby = DifsNode::standby_of($primary, 'one');
keep($primary, '/later/g', 3_000_000);
keep($primary, '/f1', 50_000);
$primary->wait_for_catchup($standby);

all_readable($standby, 'a standby');
is(sql($standby, q{SELECT size FROM difs_stat('/later/g')}), sql($primary, q{SELECT size FROM difs_stat('/later/g')}), 'difs_stat()');
is(sql($standby, q{SELECT count(*) > 1 FROM difs_read('/later/g', piece_size => 1000000)}), 't', 'difs_read()');
is(sql($standby, q{SELECT md5(difs_get('/later/g', "offset" => 1234567, length => 70000))}),
	sql($primary, q{SELECT md5(difs_get('/later/g', "offset" => 1234567, length => 70000))}), 'a range');
is(sql($standby, q{SELECT difs_exists('/f2'), (SELECT count(*) FROM difs_versions('/f1'))}), 't|2', 'difs_exists() and difs_versions()');
is(sql($standby, 'SELECT held IS NULL, epoch FROM difs.claim'), 't|1', 'nobody holds a claim on a standby');
my ($state) = fails($standby, q{SELECT difs_put('/x', 'x')});
is($state, '25006', 'a standby refuses to write, as PostgreSQL does');
($state) = fails($standby, 'SELECT difs_claim()');
is($state, '25006', 'and to claim');
unlike(slurp_file($standby->logfile), qr/difs launcher/, 'no worker of difs runs there');

# a group that repair or a full disk has replaced since is found: rows are read anew
keep($primary, '/f2', 200_000);
$primary->wait_for_catchup($standby);
all_readable($standby, 'the standby, later');

# promotion, while the primary is cut off but alive
$standby->promote;
all_readable($standby, 'just promoted');
held_is($standby, 'false', 'a promoted standby does not hold the claim');
like(sql($standby, 'SELECT problem FROM difs.claim'), qr/promoted or restored/, 'the view says why');
my $message;
($state, $message) = fails($standby, q{SELECT difs_put('/x', 'x')});
is($state, '55000', 'it cannot write yet');
like($message, qr/promoted or restored.*\n.*difs_claim\(\)/s, 'the error says why, and what to do');
keep($primary, '/of_the_old_primary', 1000);
pass('until it is claimed, the old primary goes on');
is(sql($standby, 'SELECT difs_claim()'), 2, 'difs_claim()');
keep($standby, '/of_the_new_primary', 100_000);
all_readable($standby, 'the new primary');
held_is($primary, 'false', 'the old primary has lost the claim');
($state, $message) = fails($primary, q{SELECT difs_put('/x', 'x')});
is($state, '55000', 'it is refused');
like($message, qr/Another server has claimed the files/, 'with a clear error');
$primary->restart;
held_is($primary, 'false', 'also after a restart');
all_readable($primary, 'the old primary');

# what the old primary wrote after the others had left is of a future that was not: the holder of the claim collects it
ok(DifsCluster::poll_until(sub { sql($standby, 'SELECT difs_collect()'); (fails($primary, q{SELECT difs_get('/of_the_old_primary')}))[0] eq 'XX001' }),
	'collection by the new primary takes what only the old one knows');
sql($primary, q{SELECT difs_get(path) FROM kept WHERE path <> '/of_the_old_primary'});
pass('and nothing else');
all_readable($standby, 'the new primary, after collection');
is(sql($standby, q{SELECT count(*) FROM difs.manifest GROUP BY segment HAVING count(*) > 1}), '', 'no segment id twice');
$primary->stop;

# an old primary that was down meanwhile, and hears of it when it comes back
my $third = DifsNode::standby_of($standby, 'two', "difs.auto_claim = on\n");
keep($standby, '/before_the_crash', 100_000);
$standby->wait_for_catchup($third);
$standby->stop('immediate');
my $began = time;
$third->promote;
held_is($third, 'true', 'with difs.auto_claim a promoted standby takes the claim by itself');
keep($third, '/auto', 1000);
note(sprintf 'first write %.1f s after promotion', time - $began);
is(sql($third, 'SELECT epoch FROM difs.claim'), 3, 'in a new epoch');
all_readable($third, 'after failover');
$standby->append_conf('postgresql.conf', "difs.auto_claim = on\n");
$standby->start;
held_is($standby, 'false', 'the old primary learns that it has lost the claim');
($state) = fails($standby, q{SELECT difs_put('/x', 'x')});
is($state, '55000', 'and is refused');
held_is($third, 'true', 'it does not take the claim back');
keep($third, '/and_on', 1000);
$_->stop for $standby, $third;
$cluster->stop;

# --- embedded servers

my $key_file = DifsCluster::write_key(PostgreSQL::Test::Utils::tempdir() . '/key');
my $single = DifsNode::with_embedded('embedded', "difs.key_file = '$key_file'\ndifs.advertise_address = '127.0.0.2'\n",
	init => { allows_streaming => 1 });
sql($single, 'CREATE EXTENSION difs; CREATE TABLE kept (path text, digest text)');
keep($single, "/e$_", 300_000) for 1 .. 3;
is(sql($single, 'SELECT DISTINCT host FROM difs.server'), '127.0.0.2', 'embedded servers announce difs.advertise_address');
my $listening = join("\n", `ss -Hltn 2>/dev/null`);
SKIP:
{
	skip 'no ss', 1 if $listening eq '';
	my @ports = split /\n/, sql($single, 'SELECT port FROM difs.server');
	is(scalar(grep { my $port = $_; $listening =~ /127\.0\.0\.2:$port\b/ } @ports), 2, 'and listen there');
}
my $reader = DifsNode::standby_of($single, 'embedded_standby');
$single->wait_for_catchup($reader);
all_readable($reader, 'a standby of a server with embedded chunk servers');
is(scalar(difsd_of($reader)), 0, 'no embedded server is started on a standby');
is(scalar(difsd_of($single)), 2, 'where two run on the primary');

$reader->promote;
held_is($reader, 'false', 'promoted, it does not hold the claim');
ok($reader->poll_query_until('postgres', 'SELECT count(*) = 2 FROM difs.servers WHERE alive'), 'it reaches the embedded servers of the old primary');
ok(DifsCluster::poll_until(sub { return difsd_of($reader) == 2 }), 'and starts embedded ones of its own');
all_readable($reader, 'promoted');
is(sql($reader, q{SELECT string_agg(host || ':' || port, ',' ORDER BY id) FROM difs.server}),
	sql($single, q{SELECT string_agg(host || ':' || port, ',' ORDER BY id) FROM difs.server}),
	'its empty stores do not take the place of those that have the data');
ok(DifsCluster::poll_until(sub { return slurp_file($reader->logfile) =~ /embedded chunk server \/storage01 is not used in this database/ }),
	'the log says that they are not used');
is(sql($reader, 'SELECT difs_claim()'), 2, 'it can claim');
keep($reader, '/e4', 300_000);
all_readable($reader, 'the new primary');
held_is($single, 'false', 'the old primary has lost the claim');
all_readable($single, 'the old primary');
$_->stop for $reader, $single;

done_testing();
