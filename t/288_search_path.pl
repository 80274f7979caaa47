# CREATE EXTENSION into a schema that others can write to: nothing in the install script is looked up there.
#
# The schema gets, before, an operator for each pair of common types and a function for each name that the script calls, with other
# types of arguments than pg_catalog's have: so whatever stands in the script without pg_catalog, and with arguments that do not match
# to the letter, finds the trap instead.  What the extension's objects have been bound to is in pg_depend.  (That functions in SQL and
# PL/pgSQL have a search_path of their own is in sql/perm_catalog.sql.)

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @TYPES = qw(smallint integer bigint oid regrole regclass text "char" name boolean timestamptz interval pg_lsn xid8 bytea jsonb uuid numeric float8);
my @COMPARISONS = qw(= <> < > <= >=);
my @OTHERS = qw(+ - * / & | || ~~ !~~ ~ -> ->> @> << >>);

my $script = slurp_file("$FindBin::Bin/../difs--1.0.sql");
$script =~ s/--.*//g;
my %called = map { $_ => 1 } $script =~ /\b([a-z][a-z0-9_]*)\(/g;

my $node = PostgreSQL::Test::Cluster->new('traps');
$node->init;
$node->start;
sub sql { return $node->safe_psql('postgres', join(";\n", @_)); }

# Traps answer NULL of a type that fits most places; where it does not, CREATE EXTENSION fails, which is found as well.
sql('CREATE SCHEMA open_to_all', 'GRANT CREATE ON SCHEMA open_to_all TO PUBLIC');
my @traps;
foreach my $left (@TYPES)
{
	foreach my $right (@TYPES)
	{
		my $suffix = join('_', map { s/\W//gr } $left, $right);
		push @traps, "CREATE FUNCTION open_to_all.trap_$suffix($left, $right) RETURNS boolean LANGUAGE sql AS 'SELECT NULL::boolean'";
		push @traps, "CREATE OPERATOR open_to_all.$_ (FUNCTION = open_to_all.trap_$suffix, LEFTARG = $left, RIGHTARG = $right)"
		  foreach @COMPARISONS, @OTHERS;
	}
}
my @names = split /\n/, sql(q{SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a')});
foreach my $name (grep { $called{$_} } @names)
{
	my $quoted = qq{"$name"};
	push @traps, "CREATE FUNCTION open_to_all.$quoted($_) RETURNS boolean LANGUAGE sql AS 'SELECT NULL::boolean'" foreach @TYPES;
	foreach my $left (@TYPES) { push @traps, "CREATE FUNCTION open_to_all.$quoted($left, $_) RETURNS boolean LANGUAGE sql AS 'SELECT NULL::boolean'" foreach @TYPES; }
}
my $file = PostgreSQL::Test::Utils::tempdir() . '/traps.sql';
PostgreSQL::Test::Utils::append_to_file($file, join(";\n", @traps) . ";\n");
command_ok([ 'psql', '-qX1', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], 'traps');
note(scalar(@traps) . ' traps, for ' . join(' ', sort grep { $called{$_} } @names));

my $BOUND = q{SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, 0)
	FROM pg_depend d LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
	LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
	WHERE coalesce(p.pronamespace, o.oprnamespace) = 'open_to_all'::regnamespace AND d.classid <> 'pg_operator'::regclass
	AND NOT EXISTS (SELECT FROM pg_depend own WHERE own.classid = d.refclassid AND own.objid = d.refobjid AND own.deptype = 'e')
	ORDER BY 1};
is(sql($BOUND), '', 'nothing uses a trap yet');
my ($stdout, $stderr) = ('', '');
$node->psql('postgres', 'CREATE EXTENSION difs SCHEMA open_to_all', stdout => \$stdout, stderr => \$stderr);
is($stderr, '', 'CREATE EXTENSION in a schema of traps');
is(sql($BOUND), '', 'nothing of the extension uses a trap');
is(sql(q{SELECT open_to_all.difs_mkdir('/a') > 0}), 't', 'and its functions work');

# Control: what the traps are for.
sql(q{SET search_path = open_to_all, pg_temp; CREATE VIEW open_to_all.careless AS SELECT 1::smallint = 1::oid AS same, pg_has_role('a'::text, 'b'::name) AS has});
like(sql($BOUND), qr/careless uses operator .*=\(smallint,oid\)/, 'control: an operator that is looked up in the schema is found');
like(sql($BOUND), qr/careless uses function .*pg_has_role\(text,name\)/, 'control: and a function');

$node->stop;
done_testing();
