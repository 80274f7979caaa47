# before_put where sql/hooks_before_put.sql does not come: the helpers of difs_insert(), whose sessions are a superuser's, clients that send to chunk
# servers directly, prepared transactions, sessions that know of an older function, and dump and restore.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('hooks', servers => 2, conf => "difs.insert_retries = 0\nmax_prepared_transactions = 2\n");
my $node = $cluster->node;
my $inbox = $cluster->dir . '/inbox';
mkdir($inbox) or die;
$node->append_conf('postgresql.conf', "difs.insert_directory = '$inbox'\n");
$node->reload;
my $arguments = 'path text, ino bigint, version integer, size bigint, media_type text, owner regrole';

# An executable is refused by its content.
$cluster->sql('CREATE SCHEMA rules', 'GRANT USAGE ON SCHEMA rules TO PUBLIC', 'CREATE ROLE asks LOGIN', 'GRANT EXECUTE ON FUNCTION difs_insert TO asks',
	"CREATE FUNCTION rules.no_executables($arguments) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
		IF public.difs_get(path, version, length => 4) = '\\x7f454c46' THEN
			RAISE EXCEPTION '% is an executable', path USING ERRCODE = 'check_violation';
		END IF; END \$\$",
	"SELECT difs_volume_create('rules', before_put => 'rules.no_executables'::regproc)", "SELECT difs_chmod('rules:/', '0777')");

sub write_inbox
{
	my ($name, $bytes) = @_;
	open(my $file, '>', "$inbox/$name") or die;
	binmode $file;
	print $file $bytes;
	close($file) or die;
	return;
}

# ($state, $error) of a process that has ended, asked for by a role.
sub insert
{
	my ($path, $name) = @_;
	my $process = $cluster->sql('SET ROLE asks', "SELECT difs_insert('$path', 'file:$name')");
	$process =~ s/\D//g;
	DifsCluster::poll_until(sub { $cluster->sql("SELECT state FROM difs_check($process)") =~ /^(?:done|failed)$/ }, 60);
	return split /\|/, $cluster->sql("SELECT state, error FROM difs_check($process)"), 2;
}

my $random = DifsCluster::random_bytes(3_000_003, 'hooks');
write_inbox('good', $random);
write_inbox('bad', "\x7fELF$random");
{
	my ($state, $error) = insert('rules:/good', 'good');
	is($state, 'done', 'difs_insert(): what passes comes');
	($state, $error) = insert('rules:/bad', 'bad');
	is($state, 'failed', 'difs_insert(): what is refused does not');
	like($error, qr/^rules:\/bad is an executable/, 'and its message is the function\'s');
	is($cluster->sql(q{SELECT difs_exists('rules:/bad')}), 'f', 'nor is there a file');
}

# Directly from a client: the function reads what is on the chunk servers.
{
	my $difs = DifsCommand->new($cluster);
	$difs->done('put', "$inbox/good", 'rules:/direct');
	my ($code, undef, $error) = $difs->run('put', "$inbox/bad", 'rules:/direct_bad');
	isnt($code, 0, 'an upload is refused');
	like($error, qr/rules:\/direct_bad is an executable/, 'with the function\'s message');
	is($cluster->sql(q{SELECT difs_exists('rules:/direct'), difs_exists('rules:/direct_bad')}), 't|f', 'and leaves no file');
	is($cluster->sql(q{SELECT kind, object, detail FROM difs_fsck(deep => true) WHERE kind <> 'orphan'}), '', 'nothing is wrong, and what was refused is collected as of any abort');
}

# An explicit version number: the one that is replaced is asked about.
{
	$cluster->sql(q{SELECT difs_put('rules:/numbered', 'one'), difs_put('rules:/numbered', 'two')}, q{SELECT difs_put('rules:/numbered', 'again', version => 1)});
	my ($state, $message) = $cluster->sql_fails(q{SELECT difs_put('rules:/numbered', '\x7f454c46', version => 1)});
	is($state, '23514', 'a version with a number of its own is refused');
	is($cluster->sql(q{SELECT convert_from(difs_get('rules:/numbered', 1), 'UTF8')}), 'again', 'and what it was to replace stays');
}

# In a helper, nothing that the function leaves behind becomes the superuser's deed: what it defers to the commit, what it sets, whom it wants to be.
$cluster->sql('CREATE TABLE rules.became (who text, how text)', 'GRANT INSERT ON rules.became TO PUBLIC',
	'CREATE TABLE rules.trap (n int)', 'GRANT INSERT ON rules.trap TO PUBLIC',
	'CREATE FUNCTION rules.spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO rules.became VALUES (current_user, \'deferred\'); RETURN NULL; END $$',
	'CREATE CONSTRAINT TRIGGER spring AFTER INSERT ON rules.trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rules.spring()',
	"CREATE FUNCTION rules.leave($arguments) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
		IF path ~ 'deferred' THEN INSERT INTO rules.trap VALUES (1); END IF;
		IF path ~ 'role' THEN RESET ROLE; END IF;
		IF path ~ 'session' THEN SET SESSION AUTHORIZATION DEFAULT; END IF;
		IF path ~ 'temporary' THEN CREATE TEMP TABLE t (n int); END IF;
		IF path ~ 'set' THEN PERFORM set_config('search_path', 'rules', false); END IF;
		INSERT INTO rules.became VALUES (current_user, path);
	END \$\$",
	"SELECT difs_volume_alter('rules', before_put => 'rules.leave'::regproc)");
write_inbox('small', 'small');
{
	my ($state, $error) = insert('rules:/deferred', 'small');
	is($state, 'failed', 'a deferred trigger');
	like($error, qr/cannot fire deferred trigger within security-restricted operation/, 'is refused in a helper');
	$cluster->sql('SET ROLE asks', q{SELECT difs_put('rules:/deferred', 'x')});
	is($cluster->sql(q{SELECT who FROM rules.became WHERE how = 'deferred'}), 'asks', 'control: in a session it fires, as who puts');
	foreach my $what (qw(role session temporary))
	{
		($state, $error) = insert("rules:/$what", 'small');
		like($error // $state, qr/cannot (?:set|create) .*security-(?:restricted|definer)/, "$what in a helper");
	}
	is((insert('rules:/set', 'small'))[0], 'done', 'a setting ends with the function');
	is($cluster->sql(q{SELECT string_agg(DISTINCT who, ' ') FROM rules.became}), 'asks', 'nobody was anybody else');
}

# A session that has used the volume hears of another function; a prepared transaction has asked before it was prepared.
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe(q{SELECT difs_put('rules:/known', '1')});
	$cluster->sql("SELECT difs_volume_alter('rules', before_put => 'rules.no_executables'::regproc)");
	$session->query(q{SELECT difs_put('rules:/known', '\x7f454c46')});
	$session->quit;
	is($cluster->sql(q{SELECT version FROM difs_stat('rules:/known')}), 1, 'a session that knew the volume asks the new function');
	$cluster->sql('BEGIN', q{SELECT difs_put('rules:/prepared', 'x')}, q{PREPARE TRANSACTION 'hook'});
	$cluster->sql(q{COMMIT PREPARED 'hook'});
	is($cluster->sql(q{SELECT difs_exists('rules:/prepared')}), 't', 'prepared and committed');
}

# By name: a restored database asks its own function.
{
	my $dump = $cluster->dir . '/dump.sql';
	$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
	$cluster->sql('CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
	is($node->safe_psql('restored', q{SELECT before_put FROM difs.volumes WHERE name = 'rules'}), 'rules.no_executables', 'the volume has it');
	$cluster->sql('DROP FUNCTION rules.no_executables');
	my ($state, $message) = $cluster->sql_fails(q{SELECT difs_put('rules:/f', '')});
	is($state, '42883', 'dropped, it refuses');
	is($node->safe_psql('restored', q{SELECT to_regprocedure(before_put || '(text, bigint, integer, bigint, text, regrole)') IS NOT NULL FROM difs.volumes WHERE name = 'rules'}),
		't', 'and the name is that of the restored database\'s own function');
}

$cluster->stop;
done_testing();
