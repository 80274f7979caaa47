# The claim: who holds it can write, everybody else can only read.  A copy of the data directory beside the original, a copy
# of a database, a dump in another cluster, and the original after others have taken over.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $NO_CLAIM = '55000';

sub sql { my ($node, $statement, $database) = @_; return $node->safe_psql($database // 'postgres', $statement); }

# ($sqlstate, $message) of a statement that is to fail.
sub fails
{
	my ($node, $statement, $database) = @_;
	my ($stdout, $stderr) = ('', '');
	$node->psql($database // 'postgres', "\\set VERBOSITY verbose\n$statement;", stdout => \$stdout, stderr => \$stderr);
	my ($state) = $stderr =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return ($state // 'no error', $stderr);
}

sub held_is
{
	my ($node, $held, $name, $database) = @_;
	return ok($node->poll_query_until($database // 'postgres', 'SELECT coalesce(held::text, \'none\') FROM difs.claim', $held), $name);
}

# Everything that changes something is refused, and everything can be read.
sub reads_only
{
	my ($node, $name, $database) = @_;
	my %refused;
	foreach my $statement (
		q{SELECT difs_put('/new', 'x')}, q{SELECT difs_put('/a', '')}, q{SELECT difs_delete('/a')}, q{SELECT difs_mkdir('/d')},
		q{SELECT difs_rename('/a', '/b')}, q{SELECT difs_copy('/a', '/c')})
	{
		my ($state, $message) = fails($node, $statement, $database);
		$refused{$statement} = "$state $message" unless $state eq $NO_CLAIM && $message =~ /does not hold the claim/ && $message =~ /difs_claim\(\)/;
	}
	is_deeply(\%refused, {}, "$name: nothing can be changed");
	is(sql($node, q{SELECT md5(difs_get('/a'))}, $database), sql($node, q{SELECT digest FROM kept WHERE path = '/a'}, $database), "$name: all can be read");
	return;
}

# A new cluster that is a copy of a stopped one's data directory.
sub copy_of
{
	my ($name, $from, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	rmdir $node->data_dir;
	PostgreSQL::Test::RecursiveCopy::copypath($from->data_dir, $node->data_dir, filterfn => sub { return $_[0] ne 'postmaster.pid' });
	chmod(0700, $node->data_dir) or die $node->data_dir . ": $!";
	$node->append_conf('postgresql.conf', 'port = ' . $node->port . "\n" . ($conf // ''));
	return $node;
}

# Who holds the claim collects what only the others know, as t/115 shows; here both go on with theirs.
my $cluster = DifsCluster->new('fence', servers => 3, conf => "difs.collect_interval = 0\n");
my $original = $cluster->node;
my $payload = q{(SELECT string_agg(sha512(i::text::bytea), '') FROM generate_series(1, 4000) i)};
sql($original, 'CREATE TABLE kept (path text, digest text)');
sql($original, 'UPDATE difs.volume SET replicas = 3');	# one of the servers is killed later, whichever it is
sql($original, "SELECT difs_put('/a', $payload)");
sql($original, 'UPDATE difs.volume SET replicas = 1');
sql($original, "INSERT INTO kept SELECT '/a', md5(difs_get('/a'))");

# --- the first claim

is(sql($original, 'SELECT epoch, held, problem IS NULL FROM difs.claim'), '1|t|t', 'a new database holds the claim');
is(sql($original, 'SELECT count(DISTINCT storage) FROM difs.server'), 3, 'each server has an identity of its own');
$original->restart;
held_is($original, 'true', 'and still does after a restart');
$original->stop('immediate');
$original->start;
held_is($original, 'true', 'and after a crash');
sql($original, q{SELECT difs_put('/b', 'after the restarts')});
{
	my ($state, $message) = fails($original, 'BEGIN; SELECT difs_claim(); COMMIT');
	is($state, '25001', 'difs_claim() refuses a transaction block');
	sql($original, 'CREATE ROLE somebody LOGIN; GRANT EXECUTE ON FUNCTION difs_claim() TO somebody');
	($state) = fails($original, 'SET ROLE somebody; SELECT difs_claim()');
	is($state, '42501', 'and who is not a superuser');
	sql($original, 'DROP OWNED BY somebody; DROP ROLE somebody');
	($state) = fails($original, 'SELECT difs.claim_first()');
	is($state, '55000', 'the first claim cannot be made again');
}
is(sql($original, 'SELECT difs_claim()'), 2, 'who holds the claim may claim again');
sql($original, q{SELECT difs_put('/b', 'of the second epoch')});
is(sql($original, q{SELECT max(segment) >> 41 FROM difs.manifest}), 2, 'ids begin with the new epoch');

# --- a copy of the data directory beside the original

$original->stop;
my $copy = copy_of('copy', $original);
$original->start;
$copy->start;
held_is($copy, 'false', 'a copy does not hold the claim');
reads_only($copy, 'a copy');
like(sql($copy, 'SELECT problem FROM difs.claim'), qr/copy of the one/, 'the view says why');
{
	my ($state, $message) = fails($copy, q{SELECT difs_put('/new', 'x')});
	like($message, qr/DETAIL:.*copy of the one in which the claim was made/, 'and so does the error');
}
ok($copy->poll_query_until('postgres', 'SELECT count(*) = 3 FROM difs.servers WHERE alive'), 'its keeper sees the servers');
sql($original, q{SELECT difs_put('/c', 'the original goes on')});
held_is($original, 'true', 'the original is not disturbed');

# without a majority nothing changes
$cluster->server($_)->kill for 0, 1;
{
	my $began = time;
	my ($state, $message) = fails($copy, q{SET difs.server_timeout = '2s'; SELECT difs_claim()});
	is($state, '58030', 'a claim needs a majority of the servers');
	like($message, qr{/storage01.*/storage02}s, 'the error names those that are missing');
	unlike($message, qr{/storage03 }, 'and not the one that is there');
	cmp_ok(time - $began, '<', 10, 'it does not wait for long');
}
$cluster->server($_)->start for 0, 1;
$cluster->wait_until_alive;
is(sql($original, 'SELECT epoch, held FROM difs.claim'), '2|t', 'an attempt that fails takes nothing from the holder');
sql($original, q{SELECT difs_put('/c', 'and on')});

# one of three servers does not hear of it
$cluster->server(2)->kill;
is(sql($copy, q{SET difs.server_timeout = '2s'; SELECT difs_claim()}), 3, 'a majority is enough');
sql($copy, q{SELECT difs_put('/of_the_copy', 'x')});
held_is($copy, 'true', 'the copy holds the claim');
held_is($original, 'false', 'the original has lost it');
reads_only($original, 'the original');
like(sql($original, 'SELECT problem FROM difs.claim'), qr/Another server has claimed/, 'the view says so');
like(slurp_file($original->logfile), qr/has lost the claim to its files.*\n.*obeys epoch 3, this database has epoch 2/, 'and the log');

# the loss is remembered even if no server can tell of it
$cluster->server($_)->kill for 0, 1;
$original->append_conf('postgresql.conf', 'difs.auto_claim = on');
$original->restart;
$cluster->server($_)->start for 0, 1, 2;
held_is($original, 'false', 'a loss outlives a restart');
ok($original->poll_query_until('postgres', 'SELECT count(*) = 3 FROM difs.servers WHERE alive'), 'its keeper sees all servers');
reads_only($original, 'the original after a restart, with difs.auto_claim');
is(sql($copy, 'SELECT epoch, held FROM difs.claim'), '3|t', 'difs.auto_claim does not take the claim back');
ok($copy->poll_query_until('postgres', 'SELECT count(*) = 3 FROM difs.servers WHERE alive'), 'the server that was down obeys the new holder');
sql($copy, 'SELECT difs_volume_create(\'three\', replicas => 3)');
sql($copy, q{SELECT difs_put('three:/on_all', 'x')});

# back again
is(sql($original, 'SELECT difs_claim()'), 4, 'the original can claim again');
held_is($copy, 'false', 'then the copy has lost it');
sql($original, q{SELECT difs_put('/d', 'back')});
is(sql($original, q{SELECT convert_from(difs_get('/c'), 'UTF8')}), 'and on', 'what it had written is there');
is(sql($original, q{SELECT count(*) = count(DISTINCT segment) FROM difs.manifest}), 't', 'no segment id twice');
$copy->stop;

# --- a copy of a database

sql($original, q{CREATE DATABASE twin TEMPLATE postgres});
is(sql($original, q{SELECT md5(difs_get('/a')) = (SELECT digest FROM kept WHERE path = '/a')}, 'twin'), 't', 'a copied database can be read');
sql($original, 'DROP DATABASE twin');

# --- a dump, restored into another cluster over the same servers

my $dump = "$PostgreSQL::Test::Utils::tmp_check/fence.sql";
$original->command_ok([ 'pg_dump', '-d', $original->connstr('postgres'), '-f', $dump ], 'pg_dump');
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'difs'
difs.local_servers = 0
difs.key_file = '$cluster->{key_file}'
difs.health_interval = '200ms'
difs.cache_size = 0
difs.collect_interval = 0
max_worker_processes = 16
CONF
$other->start;
sql($other, 'CREATE DATABASE restored');
$other->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('restored'), '-f', $dump ], 'restored into another cluster');
held_is($other, 'false', 'the restored database does not hold the claim', 'restored');
reads_only($other, 'a restored database', 'restored');
sql($original, q{SELECT difs_put('/e', 'the original goes on')});
is(sql($other, 'SELECT difs_claim()', 'restored'), 5, 'difs_claim() adopts the files');
sql($other, q{SELECT difs_put('/adopted', 'x')}, 'restored');
is(sql($other, q{SELECT convert_from(difs_get('/adopted'), 'UTF8')}, 'restored'), 'x', 'files can be written and read');
held_is($original, 'false', 'the old cluster has lost the claim');
reads_only($original, 'the old cluster');

# the same dump in another database of the new cluster: a copy, too
sql($other, 'CREATE DATABASE again');
$other->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('again'), '-f', $dump ], 'restored a second time');
is(sql($other, q{SELECT md5(difs_get('/a')) = (SELECT digest FROM kept WHERE path = '/a')}, 'again'), 't', 'its files can be read');
reads_only($other, 'the second copy, while the first holds the claim', 'again');
sql($other, 'DROP DATABASE restored');	# with its claim, and so with all files of that uuid
fails($other, q{SELECT difs_put('/x', 'x')}, 'again');	# which asks for its workers
held_is($other, 'false', 'it does not inherit the claim of a database that is dropped', 'again');
my ($state, $message) = fails($other, q{SELECT difs_put('/x', 'x')}, 'again');
is($state, '55000', 'and cannot write');
ok(DifsCluster::poll_until(sub { (($state, $message) = fails($other, q{SELECT difs_get('/a')}, 'again'))[0] eq 'XX001' }),
	'who drops the database that holds the claim drops the files of all copies');
like($message, qr{file "/a" is damaged}, 'the error names the file');
$other->stop;

# --- a storage that is not the one that it says it is

$original->safe_psql('postgres', 'SELECT difs_claim()');
held_is($original, 'true', 'the original has the claim again');
my $server = $cluster->server(2);
$server->kill;
rename($server->{data}, "$server->{data}.away") or die $!;
$server->start;
ok($original->poll_query_until('postgres', q{SELECT problem ~ 'another storage' FROM difs.servers WHERE name = '/storage03'}),
	'an empty store under the old name is not used');
$server->kill;
rename($server->{data}, "$server->{data}.empty") or die $!;
rename("$server->{data}.away", $server->{data}) or die $!;
$server->start;
$cluster->wait_until_alive;
pass('the right one is');

$cluster->stop;

# --- embedded servers: a copy of the data directory with all its settings, started beside the original

my $local = PostgreSQL::Test::Utils::tempdir() . '/local';
my $embedded = DifsNode::with_embedded('embedded', "difs.local_directory = '$local'\n");
sql($embedded, 'CREATE EXTENSION difs; CREATE TABLE kept (path text, digest text)');
sql($embedded, "SELECT difs_put('/a', $payload)");
sql($embedded, "INSERT INTO kept SELECT '/a', md5(difs_get('/a'))");
my $addresses = q{SELECT string_agg(name || ' ' || host || ':' || port || ' ' || storage, ',' ORDER BY id) FROM difs.server};
$embedded->stop;
my $twin = copy_of('embedded_copy', $embedded);
$embedded->start;
ok($embedded->poll_query_until('postgres', 'SELECT count(*) = 2 FROM difs.servers WHERE alive'), 'the original runs');
my $before = sql($embedded, $addresses);
my $addresses_on_disk = join '', map { slurp_file("$local/storage0$_.address") } 1, 2;
$twin->start;
held_is($twin, 'false', 'its copy does not hold the claim');
ok($twin->poll_query_until('postgres', 'SELECT count(*) = 2 FROM difs.servers WHERE alive'), 'the copy reaches the servers of the original');
reads_only($twin, 'a copy with embedded servers');
ok(DifsCluster::poll_until(sub { return slurp_file($twin->logfile) =~ /\Q$local\E" belongs to the data directory/ }),
	'it starts none in the directory of the original, and says why');
is(scalar(() = `ps -A -o args=` =~ /difsd.*\Q$local\E\/storage/g), 2, 'only the servers of the original run');
is(sql($twin, $addresses), $before, 'it leaves the rows of the servers alone');
is(join('', map { slurp_file("$local/storage0$_.address") } 1, 2), $addresses_on_disk, 'and their files');

# with a directory of its own, its stores are empty, and do not take the place of those that have the data
$twin->append_conf('postgresql.conf', "difs.local_directory = '$local.twin'\ndifs.key_file = '$local/cluster.key'\n");
$twin->restart;
ok(DifsCluster::poll_until(sub { return slurp_file($twin->logfile) =~ /embedded chunk server \/storage01 is not used in this database/ }),
	'empty stores of its own are not used');
is(sql($twin, $addresses), $before, 'the rows of the servers are as they were');
reads_only($twin, 'a copy with stores of its own');
sql($embedded, q{SELECT difs_put('/b', 'the original goes on')});
$twin->stop;

# control: it is the file that keeps a copy from writing.  With one that says what it would say if the copy had made the
# claim, nothing and nobody can tell the copy from the original.
my $birth = sub {
	my ($inode, $seconds, $text) = split /\|/, `stat -c '%i|%W|%w' $_[0]`;
	return sprintf('%s %d.%s', $inode, $seconds, $text =~ /\.(\d{9})/ ? $1 : '000000000');
};
my ($file) = glob($twin->data_dir . '/difs_claims/*.claim');
my $forged = slurp_file($file);
append_to_file("$file.new", '');
chomp(my $place = `realpath @{[ $twin->data_dir ]}`);
$forged =~ s/^file .*/'file ' . $birth->("$file.new")/me;
$forged =~ s/^directory .*/'directory ' . $birth->($twin->data_dir . '\/PG_VERSION')/me;
$forged =~ s/^path .*/path $place/m;
append_to_file("$file.new", $forged);
rename("$file.new", $file) or die "$file: $!";
$twin->start;
held_is($twin, 'true', 'control: with a forged file the copy takes itself for the original');
sql($twin, q{SELECT difs_put('/forged', 'x')});
pass('control: and writes');
$_->stop for $twin, $embedded;
done_testing();
