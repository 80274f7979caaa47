# What README and doc/ say is so: functions with their arguments, who may call them, views, settings and their defaults, commands, options of
# difsd, messages of the wire, links, messages that are explained, and every example in SQL runs (t/lib/DifsDocs.pm says how).
# Each comparison is also made with a document in which something was changed, and must find it.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use DifsDocs;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = abs_path("$FindBin::RealBin/..");
my $cluster = DifsCluster->new('documentation', servers => 0, add => 0, conf => "difs.local_servers = 1\n");
my $node = $cluster->node;

sub in_tree { return map { s{^\Q$tree/\E}{}r } map { glob "$tree/$_" } @_; }
sub document { return DifsDocs::document($tree, @_); }

my $readme = document('README.md');
my $administration = document('doc/administration.md');
my $troubleshooting = document('doc/troubleshooting.md');

# A document with something else in the place of some text.
sub changed
{
	my ($document, $text, $other) = @_;
	my $changed = $document->{text};
	$changed =~ s/\Q$text\E/$other/g or die "$document->{name} does not have $text";
	return document($document->{name}, $changed);
}

# What one list of names has and the other one has not.
sub differences
{
	my ($documented, $real) = @_;
	my %documented = map { $_ => 1 } @$documented;
	my %real = map { $_ => 1 } @$real;
	return ((map { "not documented: $_" } sort grep { !$documented{$_} } keys %real),
		map { "there is no $_" } sort grep { !$real{$_} } keys %documented);
}

sub rows { return map { [ split /\|/, $_, -1 ] } split /\n/, $cluster->sql(@_); }

# A comparison finds nothing in the document, and what was changed in the other ones: [text, other text, what is found].
sub agrees
{
	my ($what, $find, $document, @mistakes) = @_;
	is(join("\n", $find->($document)), '', $what);
	foreach my $mistake (@mistakes)
	{
		my ($text, $other, $found) = @$mistake;
		like(join("\n", $find->(changed($document, $text, $other))), $found, "  control: $text");
	}
	return;
}

# Functions: each signature stands in the table, and the columns that it says to return. Trigger functions of our own tables are nobody's to call.
$cluster->sql('CREATE ROLE stranger');
my @functions = rows(q{
	SELECT p.proname,
	       (SELECT string_agg(a.name, ' ' ORDER BY a.nr) FROM unnest(p.proargnames, coalesce(p.proargmodes, array_fill('i'::"char", ARRAY[p.pronargs])))
	        WITH ORDINALITY a(name, mode, nr) WHERE a.mode = 'i'),
	       coalesce((SELECT string_agg(a.name, ' ' ORDER BY a.nr) FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY a(name, mode, nr) WHERE a.mode IN ('o', 't')),
	                (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
	                 WHERE t.oid = p.prorettype AND a.attnum > 0 AND NOT a.attisdropped)),
	       CASE WHEN has_function_privilege('stranger', p.oid, 'EXECUTE') THEN 'all'
	            WHEN has_function_privilege('pg_monitor', p.oid, 'EXECUTE') THEN 'monitor'
	            ELSE 'granted' END
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'difs') AND p.pronamespace <> 'difs'::regnamespace
	  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid)});

sub wrong_functions
{
	my ($document) = @_;
	my @documented = map { [ DifsDocs::signature($_) ] } grep { /^difs_\w+\(/ } map { DifsDocs::quoted($_->[0]) } DifsDocs::table($document, 'function', 'what it does');
	my %columns = map { ("$_->[0]($_->[1])" => $_->[2]) } @functions;
	return (differences([ map { "$_->[0]($_->[1])" } @documented ], [ map { "$_->[0]($_->[1])" } @functions ]),
		map { "$_->[0] does not return $_->[2], but " . ($columns{"$_->[0]($_->[1])"} || 'one value') }
		  grep { defined $_->[2] && ($columns{"$_->[0]($_->[1])"} // $_->[2]) ne $_->[2] } @documented);
}
agrees('functions, their arguments and columns', \&wrong_functions, $readme,
	[ 'difs_get(path, version,', 'difs_get(path, revision,', qr/^not documented: difs_get\(path version .*^there is no difs_get\(path revision/ms ],
	[ 'setof (kind, object, detail, hint)', 'setof (kind, object, hint)', qr/^difs_fsck does not return kind object hint, but kind object detail hint$/m ],
	[ '`difs_compact() → files`', '`difs_dance() → files`', qr/^not documented: difs_compact\(\)\nthere is no difs_dance\(\)$/m ]);

# Who may call them. Of those who must be granted a function, "superuser" have a check of their own, which no catalog shows.
sub wrong_rights
{
	my ($document) = @_;
	my @documented;
	foreach my $row (DifsDocs::table($document, 'functions', 'who may call them'))
	{
		my ($who) = $row->[1] =~ /^(all|monitor|granted|superuser)\b/ or next;
		push @documented, map { "$_: " . ($who eq 'superuser' ? 'granted' : $who) } DifsDocs::quoted($row->[0]);
	}
	return differences(\@documented, [ map { "$_->[0]: $_->[3]" } @functions ]);
}
agrees('who may call them', \&wrong_rights, $readme,
	[ '`difs_fsck` `difs_scrub` ', '`difs_scrub` ', qr/^not documented: difs_fsck: granted$/m ],
	[ "| `difs_lost_files` `difs_files_to_repair` | monitor |", "| `difs_lost_files` `difs_files_to_repair` | all |", qr/^there is no difs_lost_files: all$/m ]);

# Views, and who may look at them.
my @views = rows(q{
	SELECT 'difs.' || relname,
	       CASE WHEN has_table_privilege('stranger', oid, 'SELECT') THEN 'all' WHEN has_table_privilege('pg_monitor', oid, 'SELECT') THEN 'monitor' ELSE 'superuser' END
	FROM pg_class WHERE relkind = 'v' AND relnamespace = 'difs'::regnamespace});

sub wrong_views
{
	my ($document) = @_;
	my ($who) = map { $_->[1] } grep { $_->[0] eq 'views' } DifsDocs::table($document, 'functions', 'who may call them');
	my %who = $who =~ /`(difs\.\w+)` (all|superuser)/g;
	my @documented = map { DifsDocs::quoted($_->[0]) } DifsDocs::table($document, 'view', '');
	return differences([ map { "$_: " . ($who{$_} // 'monitor') } @documented ], [ map { "$_->[0]: $_->[1]" } @views ]);
}
agrees('views', \&wrong_views, $readme,
	[ '| `difs.holds` |', '| `difs.handles` |', qr/^not documented: difs.holds: monitor\nthere is no difs.handles: monitor$/m ],
	[ '`difs.trash` all', '`difs.trash` hidden', qr/^there is no difs.trash: monitor$/m ]);

# Settings: name, default, and whether they are those of the start or of a session. What an empty default means may be said in words.
my %units = (B => 1, kB => 1024, MB => 1024**2, GB => 1024**3, ms => 0.001, s => 1, min => 60, h => 3600, day => 86400, days => 86400);
my @settings = rows(q{SELECT name, boot_val, coalesce(unit, ''), context FROM pg_settings WHERE name LIKE 'difs.%'});

sub plain
{
	my ($value, $unit) = @_;
	return $1 * $units{$2} if $value =~ /^(\d+) ?([A-Za-z]+)$/ && $units{$2};
	return $value * $units{$unit} if $unit ne '' && $value =~ /^\d+$/;
	return $value;
}

sub wrong_settings
{
	my ($document) = @_;
	my (%documented, @wrong);
	foreach my $row (DifsDocs::table($document, 'setting', 'default'))
	{
		$documented{$_} = $row foreach DifsDocs::quoted($row->[0]);
	}
	foreach my $setting (@settings)
	{
		my ($name, $default, $unit, $context) = @$setting;
		my (undef, $said, $text) = @{ $documented{$name} // next };
		$said =~ s/`//g;
		$default = sprintf '%04o', $default if $name eq 'difs.umask';
		push @wrong, "$name: the default is $default $unit, not $said" if $default ne '' && plain($default, $unit) ne plain($said, $unit);
		my $scope = $text =~ /Restart$/ ? 'postmaster' : $text =~ /Session$/ ? 'user' : $text =~ /Superuser$/ ? 'superuser' : 'sighup';
		push @wrong, "$name is of $context, not $scope" if $scope ne $context;
	}
	return (differences([ keys %documented ], [ map { $_->[0] } @settings ]), @wrong);
}
agrees('settings and their defaults', \&wrong_settings, $readme,
	[ '| `difs.repair_delay` | 10 min |', '| `difs.repair_delay` | 10 s |', qr/^difs.repair_delay: the default is 600000 ms, not 10 s$/m ],
	[ '| `difs.umask` |', '| `difs.mask` |', qr/^not documented: difs.umask\nthere is no difs.mask$/m ],
	[ 'fails. Session |', 'fails |', qr/^difs.staging is of user, not sighup$/m ]);

# Each setting is also in tuning.md.
sub wrong_tuning { return differences([ map { DifsDocs::quoted($_->[0]) } DifsDocs::table($_[0], 'setting', 'change it') ], [ map { $_->[0] } @settings ]); }
agrees('settings, and when to change them', \&wrong_tuning, document('doc/tuning.md'), [ '| `difs.umask` |', '| |', qr/^not documented: difs.umask$/m ]);

# Commands of difs, from its help.
my ($help) = run_command([ DifsCommand::program(), '--help' ]);
my @commands = $help =~ /^  ([a-z]+) +\S/mg;
ok(@commands > 15, scalar(@commands) . ' commands');

sub wrong_commands { return differences([ map { DifsDocs::quoted($_->[0]) } DifsDocs::table($_[0], 'command', 'what it does') ], \@commands); }
agrees('commands of difs', \&wrong_commands, $readme, [ '`du` `versions` |', '`du` |', qr/^not documented: versions$/m ]);

# The man page has each, too.
my ($manual) = slurp_file("$tree/client/difs/difs.1") =~ /^\.SH COMMANDS\n(.*?)^\.SH /ms;
is(join("\n", differences([ map { /(?:^\.B |\\fB)([a-z]+)/g } $manual =~ /^\.TP\n(\.B .*)$/mg ], \@commands)), '', 'commands of difs in its man page');

# Options of difsd, from its help.
my ($options) = run_command([ DifsCluster::Server::program(), '--help' ]);
my @options = $options =~ /^  (--[a-z-]+)/mg;

sub wrong_options { return differences([ map { /^(--[a-z-]+)/ } map { DifsDocs::quoted($_->[0]) } DifsDocs::table($_[0], 'option of `difsd`') ], \@options); }
agrees('options of difsd', \&wrong_options, $administration, [ '`--zone ZONE`', '`--zones ZONE`', qr/^not documented: --zone\nthere is no --zones$/m ]);

# Messages of the wire, with their numbers.
my %messages = map { /DIFS_MESSAGE_(\w+) = (\d+)/g } slurp_file("$tree/common/wire.h");
my @messages = map { "$messages{$_} $_" } keys %messages;

sub wrong_messages { return differences([ map { "$_->[0] $_->[1]" } grep { $_->[0] ne '' } DifsDocs::table($_[0], @{ $_[1] }) ], \@messages); }
foreach ([ 'ARCHITECTURE.md', [ '', 'message', 'sent by' ] ], [ 'doc/wire-protocol.md', [ 'number', 'message' ] ])
{
	my ($name, $heading) = @$_;
	agrees("messages in $name", sub { wrong_messages($_[0], $heading) }, document($name), [ '| MEND |', '| AMEND |', qr/^not documented: 23 MEND\nthere is no 23 AMEND$/m ]);
}

# What troubleshooting.md quotes is said by the product: each … stands for what the message names.
my $sources = join "\n", map { slurp_file("$tree/$_") } in_tree('src/*.c', 'worker/*.c', 'chunkd/*.c', 'common/*.c', 'client/*.c', 'client/*/*.c');
$sources =~ s/"\s*\n\s*"//g;
$sources =~ s/\\"/"/g;

sub wrong_quotes
{
	my ($document) = @_;
	return map { "nothing says: $_" } grep {
		my $pattern = join '[^\n]*?', map { quotemeta } split /…/, $_, -1;
		$sources !~ /$pattern/
	} map { DifsDocs::quoted($_->[0]) } DifsDocs::table($document, 'message', 'what it means and what to do');
}
agrees('messages that are explained', \&wrong_quotes, $troubleshooting,
	[ '`this database does not hold the claim', '`this database does not own the claim', qr/^nothing says: this database does not own the claim/m ]);

# Links.
my @documents = map { document($_) } in_tree('README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'doc/*.md', '*/README.md');
foreach my $document (@documents)
{
	is(join("\n", DifsDocs::broken_links($document)), '', "links of $document->{name}");
}
is(join("\n", DifsDocs::broken_links(document('doc/a.md', "# One two\n[a](#one-two) [b](#three) [c](../README.md#limits) [d](../none.md) [e](../README.md#none) `[f](g)`\n"))),
	"doc/a.md: #three: there is no such heading\ndoc/a.md: ../none.md: there is no such file\ndoc/a.md: ../README.md#none: there is no such heading",
	'  control: those that lead nowhere');
my %linked = map { $_ => 1 } DifsDocs::links($readme);
is(join("\n", grep { !$linked{$_} } in_tree('doc/*.md')), '', 'README leads to each document in doc/');

# The map of the sources has each file.
my ($map) = document('ARCHITECTURE.md')->{text} =~ /^(## A map.*?)^## /ms;
my @mapped = $map =~ /(\w+)\.c\b/g;
my %files = map { m{/(\w+)\.c$} => 1 } in_tree('src/*.c', 'client/*.c');
is(join("\n", differences(\@mapped, [ keys %files ])), '', 'the map of the sources in ARCHITECTURE.md has each file of src/ and client/');

# Examples: each document in a database of its own, with the extension, an embedded server, and two more that are known to nobody yet.
my %variables;
foreach my $number (2, 3)
{
	my $server = DifsCluster::Server->new($cluster, "/storage0$number");
	push @{ $cluster->{servers} }, $server->start;
	$variables{"server$number"} = "'127.0.0.1', " . $server->port;
}

# Runs the examples of a document; returns what failed.
my $databases = 0;
# --- the maps of the other folders

sub unmapped
{
	my ($map, @files) = @_;
	my %named = map { $_ => 1 } slurp_file("$tree/$map") =~ /\b([a-z][a-z0-9_]*\.c)\b/g;
	return grep { !$named{ s{.*/}{}r } } @files;
}
my %maps = ('worker/README.md' => 'worker', 'chunkd/README.md' => 'chunkd', 'client/README.md' => 'client/difs');
foreach my $map (sort keys %maps)
{
	is(join(' ', unmapped($map, in_tree("$maps{$map}/*.c"))), '', "$map names every file of $maps{$map}/");
}
is(join(' ', unmapped('worker/README.md', 'worker/keeper.c', 'worker/unheard_of.c')), 'worker/unheard_of.c', '  control: one that it does not name');

sub failing_examples
{
	my ($document) = @_;
	my ($database, $runs, @failed) = (undef, 0);
	foreach my $example (DifsDocs::examples($document))
	{
		next if $example->{not_run};
		undef $database if $example->{new_database};
		if (!defined $database)
		{
			$database = 'example' . ++$databases;
			$node->safe_psql('postgres', "CREATE DATABASE $database");
			$node->safe_psql($database, 'CREATE EXTENSION difs') unless $example->{new_database};
		}
		my $stderr = '';
		my $status = $example->{language} eq 'sh' ? shell($database, $example, \$stderr) : $node->psql($database, DifsDocs::statements($example), stderr => \$stderr, timeout => 60,
			extra_params => [ map { ('-v', "$_=$variables{$_}") } sort keys %variables ]);
		push @failed, "$document->{name}, line $example->{line}: $stderr" if $status != 0;
		$runs++;
	}
	note("$document->{name}: $runs examples") if $runs;
	return @failed;
}

# In a directory of its own, which is the home as well, with some pictures.
sub shell
{
	my ($name, $example, $stderr) = @_;
	my $home = PostgreSQL::Test::Utils::tempdir();
	local %ENV = (%ENV, HOME => $home, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $name);
	foreach my $directory ("$home/pictures", "$home/photos")
	{
		mkdir $directory;
		PostgreSQL::Test::Utils::append_to_file("$directory/$_.jpg", $_ x 100_000) for 1 .. 3;
	}
	IPC::Run::run([ 'bash', '-e', '-c', "cd; " . DifsDocs::statements($example) ], '<', \undef, '>', \my $out, '2>', $stderr, IPC::Run::timeout(60));
	return $? >> 8;
}

foreach my $document (grep { $_->{name} =~ m{^(README|doc/[\w-]+)\.md$} } @documents)
{
	is(join("\n", failing_examples($document)), '', "examples in $document->{name}") if DifsDocs::examples($document);
}
like(join("\n", failing_examples(document('doc/a.md', "Text\n\n```sql\nSELECT 1;\n```\n<!-- not run: never -->\n```sql\nSELECT 1/0;\n```\n\n```sql\nSELECT difs_dance();\n```\n\n```sh\ndifs dance\n```\n"))),
	qr/\Adoc\/a\.md, line 12: [^\n]*function difs_dance\(\) does not exist.*doc\/a\.md, line 16: difs: [^\n]*dance/s, '  control: some that fail');

done_testing();
