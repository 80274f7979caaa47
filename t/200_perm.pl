# Who may do what, with real logins: each function with just the rights that it needs, and with each of them missing; changes of rights and
# open sessions, on a standby, too; the README's example; dump and restore.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('perm', servers => 1, init => { allows_streaming => 1 });
my $node = $cluster->node;
my $import = $cluster->write_file('import', 'imported');
my $export = $cluster->dir . '/exported';

# ($sqlstate, $message, $output) of statements of a role that logs in; the state is '' if they did not fail.
sub as
{
	my ($role, @statements) = @_;
	my ($stdout, $stderr) = ('', '');
	$node->psql(
		'postgres', "\\set VERBOSITY verbose\n" . join(";\n", @statements) . ';',
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 1, extra_params => [ '-U', $role ]);
	my ($state) = $stderr =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return ($state // '', $stderr, $stdout);
}

sub fsck_is_empty { return is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'fsck finds nothing: ' . shift); }

# The example of the README runs.
my ($example) = slurp_file("$FindBin::Bin/../README.md") =~ /## Who may do what.*?```sql\n(.*?)```/s;
like($cluster->sql($example), qr/^Dear Bob$/m, 'the example of the README runs');
is((as('bob', q{SELECT difs_list('/home/alice')}))[0], '42501', 'and gives no more than it says') if $cluster->sql('ALTER ROLE alice LOGIN; ALTER ROLE bob LOGIN') eq '';

# Each function with just what it needs: letters of rwx on d (directory), f (file in it), e (empty directory in it), t (directory with a file in
# it), o (another directory), p (file in that); all are in /m, of which x is needed always.
my %object = (m => '/m', d => '/m/d', f => '/m/d/f', e => '/m/d/e', t => '/m/d/t', o => '/m/o', p => '/m/o/p');
my @matrix = (
	[ difs_put => q{'/m/d/new', 'x'}, d => 'wx' ],
	[ difs_put => q{'/m/d/f', 'x'}, d => 'x', f => 'w' ],
	[ difs_put => q{'/m/d/f', 'x', if_version => 1}, d => 'x', f => 'w' ],
	[ difs_put => q{'/m/d/a/b/new', 'x', parents => true}, d => 'wx' ],
	[ difs_put => q{'/m/d/t/new', 'x', parents => true}, d => 'x', t => 'wx' ],
	[ difs_import => qq{'/m/d/new', '$import'}, d => 'wx' ],
	[ difs_import => qq{'/m/d/f', '$import'}, d => 'x', f => 'w' ],
	[ difs_insert => q{'/m/d/new', 'http://localhost/'}, d => 'wx' ],
	[ difs_insert => q{'/m/d/f', 'http://localhost/'}, d => 'x', f => 'w' ],
	[ difs_insert => q{'/m/d/a/b/new', 'http://localhost/', parents => true}, d => 'wx' ],
	[ difs_mkdir => q{'/m/d/new'}, d => 'wx' ],
	[ difs_mkdir => q{'/m/d/a/b', parents => true}, d => 'wx' ],
	[ difs_rmdir => q{'/m/d/e'}, d => 'wx' ],
	[ difs_delete => q{'/m/d/f'}, d => 'wx' ],
	[ difs_delete => q{'/m/d/e'}, d => 'wx' ],
	[ difs_delete => q{'/m/d/t', recursive => true}, d => 'wx', t => 'rwx' ],
	[ difs_delete => q{'/m/d/f', version => 1}, d => 'wx', f => 'w' ],
	[ difs_put => q{'/m/d/f', 'x', version => 1}, d => 'x', f => 'w' ],
	[ difs_restore => q{'/m/d/f', 1}, d => 'x', f => 'rw' ],
	[ difs_rename => q{'/m/d/f', '/m/d/new'}, d => 'wx' ],
	[ difs_rename => q{'/m/d/f', '/m/o/new'}, d => 'wx', o => 'wx' ],
	[ difs_rename => q{'/m/d/f', '/m/o/p'}, d => 'wx', o => 'wx' ],
	[ difs_rename => q{'/m/d/t', '/m/o/t'}, d => 'wx', o => 'wx' ],
	[ difs_copy => q{'/m/d/f', '/m/o/new'}, d => 'x', f => 'r', o => 'wx' ],
	[ difs_copy => q{'/m/d/f', '/m/o/p'}, d => 'x', f => 'r', o => 'x', p => 'w' ],
	[ difs_append => q{'/m/d/f', 'x'}, d => 'x', f => 'w' ],
	[ difs_append => q{'/m/d/new', 'x'}, d => 'wx' ],
	[ difs_write => q{'/m/d/f', 1, 'x'}, d => 'x', f => 'w' ],
	[ difs_truncate => q{'/m/d/f', 1}, d => 'x', f => 'w' ],
	[ difs_concat => q{ARRAY['/m/d/f'], '/m/o/new'}, d => 'x', f => 'r', o => 'wx' ],
	[ difs_link => q{'/m/d/f', '/m/o/new'}, d => 'x', f => 'rw', o => 'wx' ],
	[ difs_symlink => q{'/nowhere', '/m/d/new'}, d => 'wx' ],
	[ difs_readlink => q{'/m/d/l'}, d => 'x' ],
	[ difs_ino => q{'/m/d/f'}, d => 'x' ],
	[ difs_setattr => q{'/m/d/f', '{"a": 1}'}, d => 'x', f => 'w' ],
	[ difs_getattr => q{'/m/d/f'}, d => 'x', f => 'r' ],
	[ difs_touch => q{'/m/d/f'}, d => 'x', f => 'w' ],
	[ difs_lock => q{'/m/d/f', 'exclusive', length => 10}, d => 'x', f => 'w' ],
	[ difs_lock => q{'/m/d/f', 'shared', 'owner', owner => 'eve', ttl => '1 hour', length => 10}, d => 'x', f => 'r' ],
	[ difs_unlock => q{'/m/d/f'}, d => 'x' ],
	[ difs_unlock => q{'/m/d/f', 'somebody', 100, 1}, d => 'x', f => 'w' ],
	[ difs_du => q{'/m/d/t'}, d => 'x', t => 'rx' ],
	[ difs_path => q{(SELECT number FROM numbers)}, d => 'x' ],
	[ difs_paths => q{(SELECT number FROM numbers)}, d => 'x' ],
	[ difs_list => q{'/m/d'}, d => 'r' ],
	[ difs_list => q{'/m/d', recursive => true}, d => 'r' ],
	[ difs_list => q{'/m/d/f'}, d => 'x' ],
	[ difs_stat => q{'/m/d/f'}, d => 'x' ],
	[ difs_stat => q{'/m/d/f', 1}, d => 'x' ],
	[ difs_stat => q{'/m/d'} ],
	[ difs_access => q{'/m/d/f'}, d => 'x' ],
	[ difs_exists => q{'/m/d/f'}, d => 'x' ],
	[ difs_exists => q{'/m/d/none'}, d => 'x' ],
	[ difs_get => q{'/m/d/f'}, d => 'x', f => 'r' ],
	[ difs_get => q{'/m/d/f', 1}, d => 'x', f => 'r' ],
	[ difs_get_many => q{'{/m/d/f}'}, d => 'x', f => 'r' ],
	[ difs_read => q{'/m/d/f'}, d => 'x', f => 'r' ],
	[ difs_export => qq{'/m/d/f', '$export'}, d => 'x', f => 'r' ],
	[ difs_versions => q{'/m/d/f'}, d => 'x', f => 'r' ],
	[ difs_manifest => q{'/m/d/f', details => true}, d => 'x', f => 'r' ],
	[ difs_locate => q{'/m/d/f'}, d => 'x', f => 'r' ],
	[ difs_upload_begin => q{'/m/d/new'}, d => 'wx' ],
	[ difs_upload_begin => q{'/m/d/f', 1}, d => 'x', f => 'w' ],
	[ difs_upload_begin => q{'/m/d/a/b/new', parents => true}, d => 'wx' ],
	[ difs_upload_place => q{(SELECT empty + 1 FROM eves_uploads), 0, 1}, d => 'x', f => 'w' ],
	[ difs_upload_commit => q{(SELECT empty FROM eves_uploads)}, d => 'x', f => 'w' ],
	# and these need to own f, which eve does in their turn
	[ difs_touch => q{'/m/d/f', mtime => now()}, d => 'x', own => 1 ],
	[ difs_retain => q{'/m/d/f', 1}, d => 'x', own => 1 ],
	[ difs_hold_until => q{'/m/d/f', now() + '1 hour'}, d => 'x', own => 1 ],
	[ difs_write_once => q{'/m/d/f', now() + '1 hour'}, d => 'x', own => 1 ],
	[ difs_chmod => q{'/m/d/f', '0600'}, d => 'x', own => 1 ],
	[ difs_chown => q{'/m/d/f', "group" => 'eve'}, d => 'x', own => 1 ],
	[ difs_grant => q{'/m/d/f', 'bob', 'r'}, d => 'x', own => 1 ],
	[ difs_revoke => q{'/m/d/f', 'carol'}, d => 'x', own => 1 ]);

$cluster->sql(
	'CREATE ROLE eve LOGIN IN ROLE pg_read_server_files, pg_write_server_files', 'CREATE ROLE carol LOGIN', 'GRANT EXECUTE ON FUNCTION difs_insert TO eve',
	q{SELECT difs_mkdir('/m/d/e', parents => true), difs_mkdir('/m/o')},
	q{SELECT difs_put('/m/d/f', 'file'), difs_put('/m/o/p', 'old'), difs_put('/m/d/t/g', '', parents => true)},
	q{SELECT difs_grant('/m/d/f', 'carol', 'w')},
	q{SELECT difs_symlink('f', '/m/d/l')}, q{SELECT difs_lock('/m/d/f', 'exclusive', 'owner', owner => 'somebody', ttl => '1 day', "offset" => 100, length => 1)},
	q{CREATE TABLE numbers AS SELECT difs_ino('/m/d/f') AS number}, 'GRANT SELECT ON numbers TO PUBLIC');

# Gives others these rights, and nothing else; the owner has none, so that it is the others' that count whoever owns it.
sub set_rights
{
	my (%rights) = @_;
	my $owner = $rights{own} ? 'eve' : 'carol';
	$cluster->sql("SELECT difs_chown('/m/d/f', '$owner')",
		map { my $may = $rights{$_} // ''; "SELECT difs_chmod('$object{$_}', 'a=,a+$may')" } sort keys %object);
	return;
}

# Two uploads of eve, with one number after the other.
set_rights(m => 'x', d => 'x', f => 'w');
$cluster->sql('CREATE TABLE eves_uploads (empty bigint)', 'GRANT ALL ON eves_uploads TO eve');
as('eve', q{INSERT INTO eves_uploads SELECT upload FROM difs_upload_begin('/m/d/f', 0, resumable => true)},
	q{SELECT difs_upload_begin('/m/d/f', 1, resumable => true)});

# These ask only whose upload it is (t/250_upload.pl).
my %tried = map { $_ => 1 } qw(difs_upload_receipts difs_upload_cancel difs_upload_resume);
foreach my $case (@matrix)
{
	my ($function, $arguments, %needs) = @$case;
	my $call = "$function($arguments)";
	my ($first) = $arguments =~ m{^'([^']*)'};
	my @attempt = ('BEGIN', "SELECT $call", 'ROLLBACK');
	$needs{m} = 'x';
	$tried{$function} = 1;

	set_rights(%needs);
	my ($state, $message) = as('eve', @attempt);
	is($state, '', "$call with " . join(', ', map { "$_ $needs{$_}" } sort keys %needs)) or diag($message);
	foreach my $name (sort keys %needs)
	{
		foreach my $letter (split //, $needs{$name})
		{
			my %less = %needs;
			$name eq 'own' ? delete $less{own} : $less{$name} =~ s/$letter//;
			set_rights(%less);
			($state, $message) = as('eve', @attempt);
			ok($state eq '42501' && $message =~ m{permission denied for (?:"(?:main:)?/m[^"]*"|a directory on the way)}, "$call without $letter on $name")
			  or diag("$state $message");
		}
	}
}
# it is not for everybody, and what is for everybody about it (sql/insert.sql) looks at roles, not at files
$cluster->sql('REVOKE EXECUTE ON FUNCTION difs_insert FROM eve');
# what is in the trash has no path (sql/perm_versions.sql), others ask for the volume's owner, or find less (sql/perm_volumes.sql)
my $names = join(',', qw(volume_visible trash_visible difs_name_hash difs_undelete difs_purge difs_find_by_hash difs_quota_set difs_quota_drop difs_changes difs_volume_alter
	difs_volume_drop canonical_path insert_progress insert_visible difs_check difs_insert_cancel), keys %tried);
is($cluster->sql(
		"SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'difs') AND has_function_privilege('public', p.oid, 'EXECUTE')
		AND proname <> ALL ('{$names}')"),
	'', 'every function that everybody may call was tried');
$cluster->sql('CREATE SCHEMA eve AUTHORIZATION eve', 'GRANT EXECUTE ON FUNCTION difs_unlink_on_delete() TO eve');
is((as('eve', 'CREATE TABLE eve.rows (file bigint)',
	"CREATE TRIGGER t AFTER DELETE ON eve.rows FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('file')",
	'INSERT INTO eve.rows SELECT number FROM numbers', 'DELETE FROM eve.rows'))[0], '42501', 'a trigger removes no file that the user may not remove');
is((as('carol', "SELECT difs_import('/m/x', '$import')"))[0], '42501', 'files of the server are for their readers');

# All others are closed to eve, and so are the tables.
my @closed = split /\n/, $cluster->sql(
	q{SELECT p.oid::regproc || '(' || (SELECT coalesce(string_agg(CASE WHEN p.proisstrict THEN '''' || CASE WHEN t::regtype::text LIKE '%[]' THEN '{}' ELSE '1' END || '''::' ELSE 'NULL::' END || t::regtype, ', '), '') FROM unnest(p.proargtypes) AS t) || ')'
	  FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
	  WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'difs') AND p.prorettype <> 'trigger'::regtype
	  AND NOT has_function_privilege('public', p.oid, 'EXECUTE')});
cmp_ok(scalar(@closed), '>', 15, 'functions are closed');
is((as('eve', "SELECT $_"))[0], '42501', "$_ is closed") foreach @closed;
foreach my $relation (split /\n/, $cluster->sql(
	q{SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
	  WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'difs') AND c.relkind IN ('r', 'v', 'S')}))
{
	is((as('eve', "SELECT * FROM $relation"))[0], $relation =~ /^difs\.(?:volumes|trash|uploads|inserts)$/ ? '' : '42501', "$relation and eve");
}

# Open sessions: what is taken away is gone for the next call, in transactions of every kind.
$cluster->sql(q{SELECT difs_chmod('/m', '0711'), difs_chmod('/m/d', '0755'), difs_chmod('/m/d/f', '0644')},
	q{CREATE ROLE club}, q{GRANT club TO eve}, q{SELECT difs_chown('/m/d/f', 'carol')});
my @changes = (
	[ 'search on a directory', q{difs_chmod('/m/d', 'o-x')}, q{difs_chmod('/m/d', 'o+x')} ],
	[ 'read on a file', q{difs_chmod('/m/d/f', 'o-r')}, q{difs_chmod('/m/d/f', 'o+r')} ]);
foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	foreach my $change (@changes)
	{
		my ($what, $take, $give) = @$change;
		my $eve = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'eve' ]);
		$eve->query("BEGIN ISOLATION LEVEL $level");
		like($eve->query(q{SELECT convert_from(difs_get('/m/d/f'), 'UTF8')}), qr/^file$/, "$level, $what: may read");
		$eve->query('SAVEPOINT s');
		$cluster->sql("SELECT $take");
		is($eve->query(q{SELECT convert_from(difs_get('/m/d/f'), 'UTF8')}), '', "$level, $what: not after it was taken away");
		like($eve->{stderr}, qr/permission denied for "\/m\/d\/f"/, 'and the error says so');
		$eve->{stderr} = '';
		$eve->query('ROLLBACK TO s');
		$cluster->sql("SELECT $give");
		like($eve->query(q{SELECT convert_from(difs_get('/m/d/f'), 'UTF8')}), qr/^file$/, "$level, $what: again after it was given");
		$eve->query('COMMIT');
		$eve->quit;
	}
}

# The same for memberships, and the volume's owner.
$cluster->sql(q{SELECT difs_chmod('/m/d', '0750'), difs_chown('/m/d', "group" => 'club')});
my $eve = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'eve' ]);
$eve->query('BEGIN');
like($eve->query(q{SELECT difs_exists('/m/d/f')}), qr/t/, 'a member may search');
$eve->query('SAVEPOINT s');
$cluster->sql('REVOKE club FROM eve');
is($eve->query(q{SELECT difs_exists('/m/d/f')}), '', 'not any more');
$eve->query('ROLLBACK TO s');
my $owner = $cluster->sql(q{SELECT owner FROM difs.volumes WHERE name = 'main'});
$cluster->sql(q{UPDATE difs.volume SET owner = 'eve' WHERE name = 'main'});
like($eve->query(q{SELECT difs_exists('/m/d/f')}), qr/t/, 'the owner of the volume may');
$cluster->sql(qq{UPDATE difs.volume SET owner = '$owner' WHERE name = 'main'});
is($eve->query(q{SELECT difs_exists('/m/d/f')}), '', 'and may not when another one is');
$eve->query('ROLLBACK');
$eve->quit;

# A standby hears of changes with the commit.
my $standby = DifsNode::standby_of($node, 'perm_standby');
$cluster->sql(q{SELECT difs_chmod('/m/d', '0755')});
$node->wait_for_catchup($standby, 'replay');
$eve = $standby->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'eve' ]);
$eve->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
like($eve->query(q{SELECT convert_from(difs_get('/m/d/f'), 'UTF8')}), qr/^file$/, 'a standby: may read');
$eve->query('SAVEPOINT s');
$cluster->sql(q{SELECT difs_chmod('/m/d', '0700')});
$node->wait_for_catchup($standby, 'replay');
is($eve->query(q{SELECT convert_from(difs_get('/m/d/f'), 'UTF8')}), '', 'a standby: not after it was taken away');
like($eve->{stderr}, qr/permission denied for "\/m\/d\/f"/, 'and the error says so');
$eve->{stderr} = '';
$eve->query('ROLLBACK');
$eve->quit;
$standby->stop;

# A writer that waits for another one is checked again.
$cluster->sql(q{GRANT club TO eve}, q{SELECT difs_chmod('/m/d', '0777'), difs_chmod('/m/d/f', '0666')});
my $holder = $node->background_psql('postgres');
$holder->query(q{BEGIN; SELECT difs_put('/m/d/f', 'held'), difs_chmod('/m/d/f', '0644')});
$eve = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'eve' ]);
$eve->query_until(qr/started/, "\\echo started\nSELECT difs_put('/m/d/f', 'by eve');\n\\echo done\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'eve' AND wait_event_type = 'Lock'}), 'eve waits');
$holder->query('COMMIT');
$eve->query_until(qr/done/, "\n");
like($eve->{stderr}, qr/permission denied for "\/m\/d\/f"/, 'and is refused after all');
$eve->{stderr} = '';
$eve->quit;
$holder->quit;
is($cluster->sql(q{SELECT convert_from(difs_get('/m/d/f'), 'UTF8')}), 'held', 'nothing was written');
fsck_is_empty('after all attempts');

# What runs before the workers do needs no rights on tables either.
$cluster->sql('CREATE DATABASE fresh');
is($node->safe_psql('fresh', q{BEGIN; CREATE EXTENSION difs; SELECT difs_chown('/', 'eve'); SET LOCAL ROLE eve; SELECT difs_mkdir('/x') > 0; COMMIT}),
	"1\nt", 'an ordinary role is the first to write');

# Rights have names in a dump, so they are right where the numbers are others; and roles are known to be named there.
$cluster->sql(q{SELECT difs_chown('/m/d/f', "group" => 'club'), difs_grant('/m/d', 'carol', 'rx')});
my $dump = $cluster->dir . '/dump';
my $rights = q{SELECT a.* FROM unnest('{/,/m,/m/d,/m/d/f,/home/alice/letter}'::text[]) AS path, difs_access(path) AS a};
my $before = $cluster->sql($rights);
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', 'postgres', '-p', $node->port, '-h', $node->host ], 'dump');
unlike(slurp_file($dump), qr/\n\d+\t\d+\t[fdl]\t\d+\t\d+\t/, 'no owner is a number');
like(slurp_file($dump), qr/\n\d+\t\d+\tf\t\d+\talice\t/, 'but a name');
$cluster->sql('CREATE DATABASE again');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'again', '-p', $node->port, '-h', $node->host, '-f', $dump ], 'restore');
is($node->safe_psql('again', $rights), $before, 'the same rights');
$cluster->sql("SELECT difs_reassign('bob', 'alice')");
my (undef, $refused) = $cluster->sql_fails('DROP ROLE bob');
like($refused, qr/database again/, 'a restored database is known to name its roles');
$node->safe_psql('again', "SELECT difs_reassign('bob', 'alice')");
is(($cluster->sql_fails('DROP ROLE bob'))[0], '', 'a role that no database names can be dropped');
fsck_is_empty('in the end');

$cluster->stop;
done_testing();
