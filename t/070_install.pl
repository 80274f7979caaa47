# Installation: without preloading, with the embedded server, dump and restore, and what functions say when something is missing.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub fails
{
	my ($node, $statement) = @_;
	my $stderr = '';
	$node->psql('postgres', "\\set VERBOSITY verbose\n$statement;", stderr => \$stderr, on_error_stop => 1);
	return $stderr;
}

# not preloaded
my $node = PostgreSQL::Test::Cluster->new('plain');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION difs');
is($node->safe_psql('postgres', q{SELECT name FROM difs.volumes}), 'main', 'not preloaded: the extension is created');
is($node->safe_psql('postgres', q{SELECT difs_mkdir('/a') > 0, difs_put('/a/empty', ''), (SELECT count(*) FROM difs_list('/a'))}),
	't|1|1', 'not preloaded: names work');
my $error = fails($node, q{SELECT difs_put('/a/b', 'data')});
like($error, qr/ERROR:  55000: difs is not loaded at server start/, 'not preloaded: data does not');
like($error, qr/HINT:  Add difs to shared_preload_libraries/, 'and the hint says what to set');
is($node->safe_psql('postgres', q{SELECT difs_exists('/a/b')}), 'f', 'and nothing is left');

# preloaded: the first put after CREATE EXTENSION
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'difs'\n");
$node->restart;
is($node->safe_psql('postgres', q{SELECT difs_put('/a/b', 'data'), difs_get('/a/b')}), '1|\x64617461',
	'preloaded: the embedded chunk server takes data at once');
ok(-s $node->data_dir . '.difs/cluster.key', 'the key is beside the data directory, not in it');

# the transaction that creates the extension is too early
$node->safe_psql('postgres', 'CREATE DATABASE early');
my $stderr = '';
$node->psql('early', "BEGIN; CREATE EXTENSION difs; SET difs.server_timeout = '1s'; SELECT difs_put('/x', 'x');", stderr => \$stderr);
like($stderr, qr/the workers of difs are not running in this database/, 'too early: a clear error');
like($stderr, qr/once CREATE EXTENSION difs has been committed/, 'that says when');

# dump and restore of the rows
$node->safe_psql('postgres', q{SELECT difs_volume_create('other', segment_size => 4096), difs_put('other:/c/d', 'more', parents => true)});
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
unlike(slurp_file($dump), qr/64617461/, 'no payload in the dump');
command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
my $names = q{SELECT string_agg(path, ' ' ORDER BY path) FROM (
	SELECT v.name || ':/' || l.name AS path FROM difs.volumes v, difs_list(v.name || ':/', recursive => true) l) s};
is($node->safe_psql('restored', $names), $node->safe_psql('postgres', $names), 'all names are there');
is($node->safe_psql('restored', 'SELECT uuid FROM difs.cluster'), $node->safe_psql('postgres', 'SELECT uuid FROM difs.cluster'),
	'the cluster is the same');

$node->stop;
done_testing();
