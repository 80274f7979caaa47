# The upgrade that users make (doc/administration.md, "Upgrades"), from the release in OLD_INSTALL to this one: library, embedded
# chunk servers, SQL.  Run by scripts/upgrade-test.

use strict;
use warnings;

use DifsCatalog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('upgraded', install_path => $ENV{OLD_INSTALL} // die 'OLD_INSTALL is not set');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'difs'\nmax_worker_processes = 30\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION difs');
my $old = $node->safe_psql('postgres', q{SELECT extversion FROM pg_extension WHERE extname = 'difs'});
$node->safe_psql('postgres', $_) for (
	q{SELECT difs_put('/a/b/small', 'hello', parents => true)},
	q{SELECT difs_put('/a/large', (SELECT string_agg(sha512(i::text::bytea), '') FROM generate_series(1, 200000) i))},
	q{SELECT difs_put('/many/' || i, sha512(i::text::bytea), parents => true) FROM generate_series(1, 500) i},
	q{SELECT difs_put('/a/large', 'a second version')},
	q{SELECT difs_append('/a/b/small', ' world')},
	q{SELECT difs_copy('/a/large', '/copy', version => 1)},
	q{SELECT difs_symlink('/a/large', '/link')},
	q{SELECT difs_delete('/many/7')},
	q{SELECT difs_volume_create('tiny', inline_limit => 100), difs_put('tiny:/x', 'in the table')});

sub contents
{
	return $node->safe_psql('postgres', q{SELECT v.name, l.name, l.kind, l.size, CASE WHEN l.kind = 'file' THEN md5(difs_get(v.name || ':/' || l.name)) END
		FROM difs.volumes v, difs_list(v.name || ':/', recursive => true) l ORDER BY 1, 2});
}
my $before = contents();
like($before, qr/copy\|file\|12800000/, "filled by $old");
$node->stop;

# the new package
$node->{_install_path} = undef;
$node->start;
if ($node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'difs'}) ne $old)
{
	my $stderr = '';
	$node->psql('postgres', q{SELECT difs_get('/copy')}, stderr => \$stderr);
	like($stderr, qr/ALTER EXTENSION difs UPDATE/, 'before ALTER EXTENSION, the library says what to do');
	$node->safe_psql('postgres', 'ALTER EXTENSION difs UPDATE');
}
$node->safe_psql('postgres', 'CREATE DATABASE fresh TEMPLATE template0');
$node->safe_psql('fresh', 'CREATE EXTENSION difs');
my @differences = DifsCatalog::differences($node, 'postgres', 'fresh');
is(scalar(@differences), 0, 'updated, it is what a fresh installation is') or diag(join("\n", @differences));
is(contents(), $before, 'every file reads as before');
is($node->safe_psql('postgres', q{SELECT difs_put('/a/large', 'a third version')}), '3', 'files are written');
is($node->safe_psql('postgres', q{SELECT count(*) FROM difs_fsck(deep => true)}), '0', 'and difs_fsck() finds nothing');
$node->restart;
is($node->safe_psql('postgres', q{SELECT convert_from(difs_get('/a/large'), 'UTF8')}), 'a third version', 'and so after a restart');
$node->stop;
done_testing();
