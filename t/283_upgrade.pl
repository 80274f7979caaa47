# Upgrades of the extension: ALTER EXTENSION difs UPDATE gives what a fresh installation gives, keeps the files, and library and SQL
# that do not know each other do nothing.
#
# Each script difs--OLD--NEW.sql of the source is tried: OLD installed, filled, updated.  A revision "1.0.test" that this test makes
# (a complete script from difs--1.0.sql by changing its text, and an update script that was written by hand) shows that the comparison
# finds what an update script forgets.  What needs the library of an older release is in scripts/upgrade-test.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCatalog;
use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = "$FindBin::Bin/..";
chomp(my $directory = `pg_config --sharedir`);
$directory .= '/extension';
plan skip_all => "$directory cannot be written to" unless -w $directory;

my ($current) = slurp_file("$source/difs.control") =~ /^default_version = '([^']+)'/m;
my @written;
END { my $status = $?; unlink @written; $? = $status; }

sub script
{
	my ($versions, $text) = @_;
	my $file = "$directory/difs--$versions.sql";
	push @written, $file;
	open(my $handle, '>', $file) or die "$file: $!";
	print $handle $text;
	close($handle) or die "$file: $!";
	return;
}

my $cluster = DifsCluster->new('upgrade', servers => 1, add => 0, conf => "max_worker_processes = 40\n");
my $node = $cluster->node;

sub database
{
	my ($name, $version) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE template0");
	$node->safe_psql($name, "CREATE EXTENSION difs VERSION '$version'");
	return;
}

sub fails
{
	my ($database, $statement) = @_;
	my $stderr = '';
	$node->psql($database, "\\set VERBOSITY verbose\n$statement;", stderr => \$stderr, on_error_stop => 1);
	return $stderr;
}

# Something in every kind of table that is cheap to fill, and what is seen of it.
sub fill
{
	my ($database) = @_;
	$node->safe_psql($database, $cluster->server(0)->add_statement);
	$node->safe_psql($database, $_) for (
		q{SELECT difs_put('/a/b/small', 'hello', parents => true)},
		q{SELECT difs_put('/a/large', (SELECT string_agg(sha512(i::text::bytea), '') FROM generate_series(1, 40000) i))},
		q{SELECT difs_put('/a/large', 'a second version')},
		q{SELECT difs_append('/a/b/small', ' world')},
		q{SELECT difs_symlink('/a/large', '/link')},
		q{SELECT difs_copy('/a/large', '/copy')},
		q{SELECT difs_volume_create('tiny', inline_limit => 100), difs_put('tiny:/x', 'in the table')},
		q{SELECT difs_hold_until('/copy', '2100-01-01')});
	return;
}

my $CONTENTS = q{SELECT string_agg(concat_ws(' ', v.name, l.name, l.kind, l.size, CASE WHEN l.kind = 'file' THEN md5(difs_get(v.name || ':/' || l.name)) END), E'\n' ORDER BY v.name, l.name)
	FROM difs.volumes v, difs_list(v.name || ':/', recursive => true) l};
sub contents { my ($database) = @_; return $node->safe_psql($database, $CONTENTS); }

# --- what the source has

my @scripts = map { m{/difs--([^/]+)--([^/]+)\.sql$} ? [ $1, $2 ] : () } glob("$source/difs--*--*.sql");
note(scalar(@scripts) . ' update scripts');
foreach my $version (map { m{/difs--((?:(?!--)[^/])+)\.sql$} ? $1 : () } glob("$source/difs--*.sql"))
{
	next if $version eq $current;
	is($node->safe_psql('postgres', "SELECT path IS NOT NULL FROM pg_extension_update_paths('difs') WHERE source = '$version' AND target = '$current'"),
		't', "there is a way from $version to $current");
}
ok(grep({ $_->[1] eq $current } @scripts), "there is a script that leads to $current")
  if $current ne '1.0';

# --- a revision: what its script says of 1.0, once in a whole script and once in an update

my $whole = slurp_file("$source/difs--1.0.sql");
$whole =~ s/(COMMENT ON SCHEMA difs IS) '[^']*'/$1 'another comment'/ or die 'difs--1.0.sql has no comment on its schema';
$whole .= <<'SQL';
CREATE TABLE difs.remark (ino bigint PRIMARY KEY, words text COLLATE "C" NOT NULL CHECK (words <> ''), at timestamptz DEFAULT pg_catalog.now());
COMMENT ON TABLE difs.remark IS 'a table that a revision adds';
COMMENT ON COLUMN difs.remark.words IS 'at least one';
CREATE INDEX remark_words ON difs.remark (words);
SELECT pg_catalog.pg_extension_config_dump('difs.remark', '');
CREATE VIEW difs.remarks AS SELECT words FROM difs.remark WHERE ino > 0;
GRANT SELECT ON difs.remarks TO PUBLIC;
CREATE FUNCTION difs.remark_count() RETURNS bigint LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS 'SELECT count(*) FROM difs.remark';
REVOKE ALL ON FUNCTION difs.remark_count() FROM PUBLIC;
SQL
script('1.0.test', $whole);

# As somebody would write it: other order, ALTER instead of CREATE.
my @update = (
	q{COMMENT ON SCHEMA difs IS 'another comment';},
	q{CREATE TABLE difs.remark (ino bigint, words text COLLATE "C");},
	q{ALTER TABLE difs.remark ADD PRIMARY KEY (ino), ALTER words SET NOT NULL, ADD CHECK (words <> '');},
	q{ALTER TABLE difs.remark ADD at timestamptz DEFAULT pg_catalog.now();},
	q{CREATE INDEX remark_words ON difs.remark (words);},
	q{COMMENT ON TABLE difs.remark IS 'a table that a revision adds';},
	q{COMMENT ON COLUMN difs.remark.words IS 'at least one';},
	q{SELECT pg_catalog.pg_extension_config_dump('difs.remark', '');},
	q{CREATE VIEW difs.remarks AS SELECT words FROM difs.remark WHERE ino > 0;},
	q{GRANT SELECT ON difs.remarks TO PUBLIC;},
	q{CREATE FUNCTION difs.remark_count() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM difs.remark';},
	q{ALTER FUNCTION difs.remark_count() SET search_path = pg_catalog, pg_temp;},
	q{REVOKE ALL ON FUNCTION difs.remark_count() FROM PUBLIC;});
sub update_script { return "\\echo Use ALTER EXTENSION difs UPDATE\\quit\n" . join("\n", @_) . "\n"; }
script('1.0--1.0.test', update_script(@update));

database('fresh', '1.0.test');
database('upgraded', '1.0');
fill('upgraded');
my $before = contents('upgraded');
like($before, qr/large file 16/, 'filled');
$node->safe_psql('upgraded', q{ALTER EXTENSION difs UPDATE TO '1.0.test'});
is_deeply([ DifsCatalog::differences($node, 'upgraded', 'fresh') ], [], 'updated, it is what a fresh installation is');
is(contents('upgraded'), $before, 'and every file reads as before');
$node->safe_psql('upgraded', q{SELECT difs_put('/a/new', 'written after the update')});
is($node->safe_psql('upgraded', q{SELECT convert_from(difs_get('/a/new'), 'UTF8'), (SELECT count(*) FROM difs_fsck(deep => true))}),
	'written after the update|0', 'files are written, and difs_fsck() finds nothing');

# --- dump and restore of what has been updated

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->safe_psql('upgraded', q{INSERT INTO difs.remark VALUES (16, 'the root')});
command_ok([ 'pg_dump', '-d', $node->connstr('upgraded'), '-f', $dump ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->safe_psql('restored', q{CREATE EXTENSION difs VERSION '1.0.test'});
command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is(contents('restored'), contents('upgraded'), 'the dump of an updated database has everything');
is($node->safe_psql('restored', 'SELECT words FROM difs.remark'), 'the root', 'also of a table that the update has added');

# --- the comparison finds what is forgotten: without one statement each

my %found = (
	0 => qr/member schema difs/,
	3 => qr/column difs\.remark 3 at/,
	4 => qr/remark_words/,
	5 => qr/member table difs\.remark/,
	6 => qr/column difs\.remark 2 words/,
	7 => qr/dumped difs\.remark/,
	9 => qr/relation difs\.remarks v|rights for pg_dump view difs\.remarks/,
	11 => qr/function difs\.remark_count\(\)/,
	12 => qr/function difs\.remark_count\(\)/);
$node->safe_psql('postgres', 'CREATE DATABASE forgetful TEMPLATE template0');
foreach my $left_out (sort { $a <=> $b } keys %found)
{
	script('1.0--1.0.forgetful', update_script(map { $_ == $left_out ? () : $update[$_] } 0 .. $#update));
	my @differences = $node->safe_psql('forgetful', q{CREATE EXTENSION difs VERSION '1.0'; ALTER EXTENSION difs UPDATE TO '1.0.forgetful'}) eq ''
	  ? grep({ !/^\w+: extension/ } DifsCatalog::differences($node, 'forgetful', 'fresh')) : ();
	ok(@differences > 0 && !grep({ $_ !~ $found{$left_out} } @differences), "control: what lacks \"$update[$left_out]\" is not the same")
	  or diag(join("\n", @differences));
	$node->safe_psql('forgetful', 'DROP EXTENSION difs');
}

# --- versions that do not fit

script('0.9--1.0', "SELECT 1;\n");
script('1.0--2.0', "SELECT 1;\n");
script('2.0--1.0', "SELECT 1;\n");
database('versions', '1.0');
fill('versions');
$before = contents('versions');

my $error = fails('versions', q{ALTER EXTENSION difs UPDATE TO '2.0'});
like($error, qr/ERROR:  55000: extension difs in database "versions" is of version 2\.0, which the loaded library does not know/,
	'an update beyond what the library knows is refused');
like($error, qr/DETAIL:  The library is of version 1\.0\..*HINT:  Install the package of that version, and restart PostgreSQL/s, 'and says what to do');
is($node->safe_psql('versions', q{SELECT extversion FROM pg_extension WHERE extname = 'difs'}), '1.0', 'nothing has changed');
is(contents('versions'), $before, 'and all reads');
$node->safe_psql('postgres', 'CREATE DATABASE nothing TEMPLATE template0');
like(fails('nothing', q{CREATE EXTENSION difs VERSION '2.0'}), qr/version 2\.0, which the loaded library does not know/,
	'nor can such a version be created');
is($node->safe_psql('nothing', q{CREATE EXTENSION difs; SELECT difs_mkdir('/a') > 0}), 't', 'one that is known can be');

# A package has been replaced: as if the SQL were another release's, which a superuser can pretend.
foreach my $case ([ '0.9', qr/HINT:  Run ALTER EXTENSION difs UPDATE\./ ], [ '2.0', qr/HINT:  Install the package/ ])
{
	my ($version, $hint) = @$case;
	my $log = -s $node->logfile;
	$node->safe_psql('versions', "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'difs'");
	foreach my $statement (q{SELECT difs_put('/x', 'x')}, q{SELECT difs_get('/copy')}, q{SELECT difs_delete('/copy')},
		q{SELECT * FROM difs_list('/')}, q{SELECT difs_collect()}, q{SELECT difs_server_drain('/storage01')})
	{
		my $said = fails('versions', $statement);
		like($said, qr/ERROR:  55000: extension difs in database "versions" is of version \Q$version\E, which the loaded library does not know.*$hint/s,
			"SQL of version $version: $statement is refused");
	}
	$node->restart;
	ok(DifsCluster::poll_until(sub { slurp_file($node->logfile, $log) =~ /ERROR:  extension difs in database "versions" is of version \Q$version\E/ }, 30),
		'the keeper says so in the log');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'difs streamer' AND datname = 'versions'}), '0',
		'nothing is streamed');
	like(fails('versions', q{SELECT difs_put('/x', 'x')}), $hint, 'and after a restart');
	$node->safe_psql('versions', q{ALTER EXTENSION difs UPDATE TO '1.0'});
	ok($node->safe_psql('versions', q{SELECT difs_put('/after', 'x'), difs_delete('/after')}), 'after ALTER EXTENSION difs UPDATE it writes');
	is(contents('versions'), $before, 'and all is there');
}

# A session that has used the tables notices it, too.
{
	my $open = IPC::Run::start([ 'psql', '-qXAt', '-d', $node->connstr('versions') ], '<', \my $in, '>', \my $out, '2>', \my $err,
		IPC::Run::timeout(60));
	$in = "SELECT difs_exists('/copy');\n";
	$open->pump until $out =~ /t/;
	$node->safe_psql('versions', q{UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'difs'; ALTER EXTENSION difs UPDATE TO '1.0'; UPDATE pg_extension SET extversion = '2.0' WHERE extname = 'difs'});
	$in = "SELECT difs_exists('/copy');\n";
	$open->pump until $err =~ /HINT/ || $out =~ /t\nt/;
	like($err, qr/version 2\.0, which the loaded library/, 'an open session looks again after an update');
	$open->finish;
	$node->safe_psql('versions', q{ALTER EXTENSION difs UPDATE TO '1.0'});
}

# --- the claim's file, of a newer release

{
	my $file = $node->data_dir . '/difs_claims/' . $node->safe_psql('versions', q{SELECT replace(uuid::text, '-', '') FROM difs.cluster}) . '.claim';
	my $text = slurp_file($file);
	my $log = -s $node->logfile;
	my $write = sub { open(my $handle, '>', $file) or die "$file: $!"; print $handle $_[0]; close($handle) or die "$file: $!"; };
	$write->($text =~ s/difs claim 1/difs claim 2/r);
	$node->restart;
	ok(DifsCluster::poll_until(sub { slurp_file($node->logfile, $log) =~ /ERROR:  file "difs_claims.*" is of format 2, which this version of difs does not know/ }, 30),
		'the file of a claim that a newer difs has written is not taken for a damaged one');
	is(slurp_file($file), $text =~ s/difs claim 1/difs claim 2/r, 'nor written');
}

$cluster->stop;
done_testing();
