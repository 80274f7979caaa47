
=pod

=head1 NAME

DifsCatalog - what the extension consists of in a database, as text that can be compared

=head1 SYNOPSIS

  my @differences = DifsCatalog::differences($node, 'upgraded', 'fresh');

=head1 DESCRIPTION

A line for each object of the extension and each property that an update script may forget: definitions, columns with their
numbers, defaults, constraints, indexes, triggers, sequences, owners, rights (also as pg_dump takes them for those of the
extension itself), comments, what pg_dump is to take of tables.  Numbers of objects (OIDs) are not part of it.

=cut

package DifsCatalog;

use strict;
use warnings;

# Each query returns lines; "member" is what belongs to the extension.
my @QUERIES = (
	q{SELECT 'extension ' || x.extversion || ' relocatable ' || x.extrelocatable || ' in ' || x.extnamespace::regnamespace
	    || ' ' || coalesce(obj_description(x.oid, 'pg_extension'), '') FROM pg_extension x WHERE x.extname = 'difs'},
	q{SELECT 'member ' || pg_describe_object(classid, objid, objsubid)
	    || ' ' || coalesce((SELECT c.description FROM pg_description c WHERE c.classoid = m.classid AND c.objoid = m.objid AND c.objsubid = 0), 'no comment')
	  FROM member m},
	q{SELECT 'function ' || p.oid::regprocedure || ' of ' || p.proowner::regrole || ' ' || coalesce(p.proacl::text, 'default rights')
	    || E'\n' || pg_get_functiondef(p.oid)
	  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND objid = p.oid WHERE p.prokind <> 'a'},
	q{SELECT 'schema ' || n.nspname || ' of ' || n.nspowner::regrole || ' ' || coalesce(n.nspacl::text, 'default rights')
	  FROM member JOIN pg_namespace n ON classid = 'pg_namespace'::regclass AND objid = n.oid},
	q{SELECT 'relation ' || r.oid::regclass || ' ' || r.relkind::text || ' of ' || r.relowner::regrole || ' ' || coalesce(r.relacl::text, 'default rights')
	    || ' ' || coalesce(r.reloptions::text, '') || ' ' || r.relpersistence::text
	  FROM member JOIN pg_class r ON classid = 'pg_class'::regclass AND objid = r.oid},
	q{SELECT 'column ' || a.attrelid::regclass || ' ' || a.attnum || ' ' || CASE WHEN a.attisdropped THEN 'dropped' ELSE
	    a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || CASE WHEN a.attnotnull THEN 'not null' ELSE '' END
	    || ' collation ' || a.attcollation || ' storage ' || a.attstorage::text || ' ' || coalesce(a.attacl::text, '')
	    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || coalesce(' comment ' || col_description(a.attrelid, a.attnum), '') END
	  FROM member JOIN pg_attribute a ON classid = 'pg_class'::regclass AND objid = a.attrelid AND a.attnum > 0
	  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum},
	q{SELECT 'view ' || r.oid::regclass || ' ' || pg_get_viewdef(r.oid)
	  FROM member JOIN pg_class r ON classid = 'pg_class'::regclass AND objid = r.oid WHERE r.relkind = 'v'},
	q{SELECT 'sequence ' || s.seqrelid::regclass || ' ' || concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
	  FROM member JOIN pg_sequence s ON classid = 'pg_class'::regclass AND objid = s.seqrelid},
	q{SELECT 'constraint ' || c.conrelid::regclass || ' ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
	  FROM member JOIN pg_constraint c ON classid = 'pg_class'::regclass AND objid = c.conrelid},
	q{SELECT 'index ' || pg_get_indexdef(i.indexrelid)
	  FROM member JOIN pg_index i ON classid = 'pg_class'::regclass AND objid = i.indrelid},
	q{SELECT 'trigger ' || t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
	  FROM member JOIN pg_trigger t ON classid = 'pg_class'::regclass AND objid = t.tgrelid WHERE NOT t.tgisinternal},
	q{SELECT 'rule ' || pg_get_ruledef(w.oid)
	  FROM member JOIN pg_rewrite w ON classid = 'pg_class'::regclass AND objid = w.ev_class WHERE w.rulename <> '_RETURN'},
	q{SELECT 'rights for pg_dump ' || pg_describe_object(i.classoid, i.objoid, i.objsubid) || ' ' || i.initprivs::text
	  FROM member JOIN pg_init_privs i ON i.classoid = classid AND i.objoid = objid},
	q{SELECT 'dumped ' || t.r::regclass || ' ' || t.c FROM pg_extension x, unnest(x.extconfig, x.extcondition) t(r, c) WHERE x.extname = 'difs'});

# The text, a reference to a list of lines and multi-line definitions, sorted.
sub describe
{
	my ($node, $database) = @_;
	my @lines;
	foreach my $query (@QUERIES)
	{
		push @lines, split /\x1e/, $node->safe_psql($database, qq{SET search_path = pg_catalog, pg_temp;
			WITH member AS (SELECT d.classid, d.objid, d.objsubid FROM pg_depend d JOIN pg_extension x ON d.refobjid = x.oid
			  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND x.extname = 'difs')
			SELECT string_agg(line, E'\\x1e') FROM ($query) l(line)});
	}
	return [ sort @lines ];
}

# What only one of two databases has: "first: …", "second: …".
sub differences
{
	my ($node, $first, $second) = @_;
	my ($mine, $theirs) = map { describe($node, $_) } $first, $second;
	my %mine = map { $_ => 1 } @$mine;
	my %theirs = map { $_ => 1 } @$theirs;
	return ((map { "$first: $_" } grep { !$theirs{$_} } @$mine), (map { "$second: $_" } grep { !$mine{$_} } @$theirs));
}

1;
