# Parts of files, against a model: random writes, appends, truncations, copies, ranges, concatenations, versions restored, deleted
# and put under numbers that were used before, files deleted and brought back, rollbacks, staging, collection and compaction; every version of every file is compared, also by snapshots that are older; then all is
# deleted, and nothing is left on the chunk servers. And what an overwrite costs.
#
# DIFS_DATA_STEPS (300) and DIFS_DATA_SEED (from the clock) change the random part.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $STEPS = $ENV{DIFS_DATA_STEPS} // 300;
my $SEED = $ENV{DIFS_DATA_SEED} // time;
srand($SEED);
note "DIFS_DATA_SEED=$SEED";

my $cluster = DifsCluster->new('data', servers => 2,
	conf => "difs.collect_interval = 0\ndifs.compact_interval = 0\ndifs.unstage_interval = 0\ndifs.block_group_size = '16MB'\nautovacuum = off\n");
my $node = $cluster->node;
$cluster->sql("SELECT difs_volume_create('plain', segment_size => 4096, compression => 'none')",
	"SELECT difs_volume_create('tiny', segment_size => 8192, inline_limit => 3000, digest => 'sha256')",
	"SELECT difs_volume_create('marked', segment_size => 4096, inline_limit => 500, versioning => true)", "SELECT difs_mkdir('marked:/d')");

sub healthy
{
	my ($name, $arguments) = @_;
	is($cluster->sql('SELECT kind, object, detail FROM difs_fsck(' . ($arguments // '') . ") WHERE kind <> 'orphan'"), '', "fsck: $name");
}

#
# The model: path -> { version -> content }, the current version's number and the last that was given, and which versions are delete markers; with
# one of those as the current one the file is hidden.
#
my %files;
my $compacted = 0;
my $session = $node->background_psql('postgres', on_error_stop => 0);

sub query
{
	my ($sql) = @_;
	my $result = $session->query($sql);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	die "$sql\n$error" if $error =~ /ERROR|FATAL/;
	return $result;
}

sub bytes
{
	my ($length) = @_;
	return rand() < 0.5 ? chr(97 + int(rand(26))) x $length : DifsCluster::random_bytes($length, rand());
}

sub literal { return "decode('" . unpack('H*', $_[0]) . "', 'hex')"; }
sub pick { my @from = sort @_; return $from[ rand @from ]; }
sub some_path { return pick('plain:/f', 'tiny:/f', 'marked:/d/f') . int(rand(4)); }
sub visible { return grep { defined $files{$_}{bytes}{ $files{$_}{current} } } keys %files; }
sub existing { return pick(visible()); }
sub current { my ($path) = @_; my $file = $files{$path}; return $file ? $file->{bytes}{ $file->{current} } : undef; }

# The version that takes the place of the current one.
sub before
{
	my ($path) = @_;
	my $file = $files{$path};
	my ($before) = sort { $b <=> $a } grep { $_ < $file->{current} } keys %{ $file->{bytes} }, keys %{ $file->{markers} };
	return $before;
}

sub made
{
	my ($path, $bytes) = @_;
	my $file = $files{$path} //= { current => 0, last => 0, bytes => {}, markers => {} };
	$file->{current} = ++$file->{last};
	$file->{bytes}{ $file->{current} } = $bytes;
	return $file->{current};
}

sub overwrite
{
	my ($old, $at, $bytes) = @_;
	$old .= "\0" x ($at - length $old) if $at > length $old;
	substr($old, $at, length $bytes) = $bytes;
	return $old;
}

# Each makes one change of the model, and returns the statement that does the same and the version that it must return.
my %change = (
	put => sub {
		my $path = some_path();
		my $bytes = bytes(int(rand(20_000)));
		return ("difs_put('$path', " . literal($bytes) . ')', made($path, $bytes));
	},
	append => sub {
		my $path = some_path();
		my $bytes = bytes(1 + int(rand(rand() < 0.7 ? 200 : 9000)));
		return ("difs_append('$path', " . literal($bytes) . ')', made($path, (current($path) // '') . $bytes));
	},
	write => sub {
		my $path = some_path();
		my $old = current($path) // '';
		my $at = int(rand(length($old) * 1.2 + 100));
		my $bytes = bytes(1 + int(rand(rand() < 0.7 ? 300 : 12_000)));
		return ("difs_write('$path', $at, " . literal($bytes) . ')', made($path, overwrite($old, $at, $bytes)));
	},
	truncate => sub {
		my $path = existing();
		my $old = current($path);
		my $size = int(rand(length($old) * 1.3 + 10));
		$size++ if $size == length $old;
		return ("difs_truncate('$path', $size)", made($path, $size < length $old ? substr($old, 0, $size) : overwrite($old, $size, '')));
	},
	copy => sub {
		my ($from, $to) = (existing(), some_path());
		my $version = pick(keys %{ $files{$from}{bytes} });
		return ("difs_copy('$from', '$to', version => $version)", made($to, $files{$from}{bytes}{$version}));
	},
	range => sub {
		my ($from, $to) = (existing(), some_path());
		my $version = pick(keys %{ $files{$from}{bytes} });
		my $bytes = $files{$from}{bytes}{$version};
		my $offset = int(rand(length($bytes) + 1));
		my $length = int(rand(length($bytes)));
		return (qq{difs_copy('$from', '$to', version => $version, "offset" => $offset, length => $length)},
			made($to, substr($bytes, $offset, $length)));
	},
	concat => sub {
		my @from = map { existing() } 1 .. 1 + int(rand(3));
		my $to = some_path();
		my $bytes = join '', map { current($_) } @from;
		$bytes = '', @from = () if length $bytes > 200_000;
		return ("difs_concat('{" . join(',', @from) . "}', '$to')", made($to, $bytes));
	},
	restore => sub {
		my $path = existing();
		my $version = pick(keys %{ $files{$path}{bytes} });
		return ("difs_restore('$path', $version)", made($path, $files{$path}{bytes}{$version}));
	},
	# content for a number that was used before, or one that leaves some out
	number => sub {
		my $path = existing();
		my $file = $files{$path};
		my $version = pick(keys %{ $file->{bytes} }, $file->{current} + 1 + int(rand(4)));
		my $bytes = bytes(int(rand(rand() < 0.5 ? 400 : 20_000)));
		$file->{bytes}{$version} = $bytes;
		$file->{current} = $version if $version > $file->{current};
		$file->{last} = $version if $version > $file->{last};
		return ("difs_put('$path', " . literal($bytes) . ", version => $version)", $version);
	},
	# one version, perhaps the current or the last one
	delete_version => sub {
		my $path = existing();
		my $file = $files{$path};
		my $version = pick(keys %{ $file->{bytes} });
		my $before = before($path);
		# leave no markers alone
		$version = (sort { $a <=> $b } keys %{ $file->{bytes} })[0] if defined $before && $file->{markers}{$before};
		if ($version == $file->{current})
		{
			return put_again($path) if keys %{ $file->{markers} };
			$before // delete $files{$path};
			$file->{current} = $before;
		}
		delete $file->{bytes}{$version};
		return ("difs_delete('$path', version => $version)", 1);
	});

sub put_again { my ($path) = @_; return ("difs_put('$path', '')", made($path, '')); }

my @changes = (qw(put copy range concat restore number number), ('delete_version') x 3, ('append') x 4, ('write') x 8, ('truncate') x 2);

sub change
{
	my $kind = visible() ? $changes[ rand @changes ] : 'put';
	my ($call, $version) = $change{$kind}->();
	is(query("SELECT $call;"), $version, $kind) or diag substr($call, 0, 200);
}

sub remember { return { map { my $path = $_; $path => { %{ $files{$path} }, bytes => { %{ $files{$path}{bytes} } }, markers => { %{ $files{$path}{markers} } } } } keys %files }; }

my %other = (
	rollback => sub {
		my $before = remember();
		query('BEGIN;');
		change() for 1 .. 3;
		query('ROLLBACK;');
		%files = %$before;
	},
	savepoint => sub {
		query('BEGIN;');
		change() for 1 .. 2;
		my $before = remember();
		query('SAVEPOINT s;');
		change() for 1 .. 3;
		if (rand() < 0.5)
		{
			query('ROLLBACK TO s;');
			%files = %$before;
		}
		change();
		query('COMMIT;');
	},
	delete => sub {
		my $path = existing();
		query("SELECT difs_delete('$path');");
		if ($path =~ /^marked/)
		{
			my $file = $files{$path};
			$file->{current} = ++$file->{last};
			$file->{markers}{ $file->{current} } = 1;
		}
		else
		{
			delete $files{$path};
		}
	},
	undelete => sub {
		my ($path) = grep { !defined current($_) && defined $files{$_}{bytes}{ before($_) } } sort keys %files;
		return if !defined $path;
		my $before = before($path);
		delete $files{$path}{markers}{ $files{$path}{current} };
		$files{$path}{current} = $before;
		query("SELECT difs_undelete('$path');");
	},
	# some of those that are not the current one
	thin => sub {
		my $path = existing();
		my @old = grep { $_ != $files{$path}{current} } keys %{ $files{$path}{bytes} };
		foreach my $version (splice @old, 0, int(rand(@old + 1)))
		{
			delete $files{$path}{bytes}{$version};
			query("SELECT difs_delete('$path', version => $version);");
		}
	},
	collect => sub { query('SELECT difs_collect();'); },
	compact => sub { $compacted += query('SELECT difs_compact();'); },
	stage => sub { query('SET difs.staging = ' . pick('always', 'auto') . ';'); },
	unstage => sub { query('SELECT difs_unstage();'); });

# What a session must see of a state of the model.
sub compare
{
	my ($reader, $state, $name) = @_;
	my @asked;
	foreach my $path (sort keys %$state)
	{
		push @asked, map { [ $path, $_, md5_hex($state->{$path}{bytes}{$_}) ] } sort { $a <=> $b } keys %{ $state->{$path}{bytes} };
	}
	my $expected = join "\n", map { join '|', @$_ } @asked;
	my $got = @asked ? $reader->(
		'SELECT path, version, md5(difs_get(path, version => version)) FROM (VALUES '
		. join(', ', map { "('$_->[0]', $_->[1])" } @asked) . ') AS asked (path, version);') : '';
	ok($got eq $expected, "$name: " . scalar(@asked) . ' versions') or diag "expected\n$expected\ngot\n$got";
}

my @snapshots;

sub open_snapshot
{
	my $reader = $node->background_psql('postgres', on_error_stop => 0);
	$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM difs.inode;');
	push @snapshots, { reader => $reader, state => remember() };
}

sub close_snapshot
{
	my $snapshot = shift @snapshots;
	my $reader = $snapshot->{reader};
	compare(sub { $reader->query($_[0]) }, $snapshot->{state}, 'an old snapshot');
	$reader->query('COMMIT;');
	$reader->quit;
}

foreach my $step (1 .. $STEPS)
{
	change();
	$other{ pick(keys %other) }->() if rand() < 0.25 && visible();
	open_snapshot() if @snapshots < 2 && rand() < 0.05;
	close_snapshot() if @snapshots && rand() < 0.05;
	if ($step % 75 == 0)
	{
		compare(\&query, \%files, "step $step");
		healthy("step $step", 'digests => true');
	}
}
note 'rows: ' . $cluster->sql('SELECT count(*), count(DISTINCT segment), count(DISTINCT ino) FROM difs.manifest')
	. ', versions: ' . $cluster->sql('SELECT count(*) FROM difs.version');
note "put together by compaction: $compacted";
close_snapshot() while @snapshots;
query('SELECT difs_collect();');
compare(\&query, \%files, 'after collection');
healthy('after collection', 'deep => true, digests => true');

# A dump has all of it.
if (grep { /^tiny/ } keys %files)
{
	my $inline = $cluster->sql('SELECT count(*), sum(length(bytes)) FROM difs.inline');
	command_like([ 'pg_dump', '-p', $node->port, '-h', $node->host, '--data-only', '-t', 'difs.inline', 'postgres' ],
		qr/COPY difs\.inline/, "a dump has the tiny ones: $inline");
}

# All is deleted: segments go with the last row that names them.
query("SELECT difs_delete('$_');") foreach grep { !/^marked/ } keys %files;
query("SELECT difs_delete('marked:/d', recursive => true);");	# with its history
$session->quit;
ok(DifsCluster::poll_until(sub {
	$cluster->sql('SELECT difs_unstage()', 'SELECT difs_collect()');
	return $cluster->sql('SELECT (SELECT count(*) FROM difs.doomed) + (SELECT count(*) FROM difs.manifest) + (SELECT count(*) FROM difs.inline)'
		. ' + (SELECT count(*) FROM difs.version) + (SELECT count(*) FROM difs.staging)') eq '0';
}), 'all is deleted: no row is left');
is($cluster->sql('SELECT kind, object, detail FROM difs_fsck(deep => true)'), '', 'nor a segment on a server');

#
# What an overwrite of 4 KiB costs in the write-ahead log, beside lo_put(): without images of whole pages, which depend on checkpoints.
#
$cluster->sql("ALTER SYSTEM SET full_page_writes = off", 'SELECT pg_reload_conf()');
my $source = $cluster->write_file('16MiB', DifsCluster::random_bytes(16 * 1024 * 1024, 'wal'));
$cluster->sql("SELECT difs_import('/part', '$source')",
	"SELECT difs_concat(array_fill('/part'::text, ARRAY[64]), '/gigabyte')",
	"SELECT lo_from_bytea(4711, pg_read_binary_file('$source'))");
is($cluster->sql("SELECT size, segments FROM difs_versions('/gigabyte')"), '1073741824|1024', 'a file of 1 GiB, without moving a byte');

sub wal_of
{
	my ($call, $unit) = @_;
	my @costs;
	foreach my $i (1 .. 15)
	{
		my $at = $unit * int(rand(16_000_000 / $unit));
		my $block = literal(DifsCluster::random_bytes(4096, "$call $i"));
		my $before = $cluster->sql('SELECT pg_current_wal_insert_lsn()');
		$cluster->sql(sprintf "SELECT $call", $at, $block);
		push @costs, $cluster->sql("SELECT pg_current_wal_insert_lsn() - '$before'");
	}
	return (sort { $a <=> $b } @costs)[7];
}
my $DIFS = q{difs_write('/gigabyte', 629145600 + %d, %s)};
my $LO = 'lo_put(4711, %d, %s)';
my ($difs, $lo) = (wal_of($DIFS, 1), wal_of($LO, 1));
note "write-ahead log of overwriting 4 KiB inside 1 GiB, anywhere: difs $difs bytes, lo_put $lo bytes";
note sprintf 'at multiples of 4 KiB: difs %d bytes, lo_put %d bytes', wal_of($DIFS, 4096), wal_of($LO, 4096);
note sprintf 'of appending 4 KiB: difs %d bytes', wal_of(q{difs_append('/gigabyte', %2$s)}, 1);
cmp_ok($difs, '<=', $lo / 4, 'overwriting 4 KiB inside 1 GiB costs at most a quarter of what lo_put() does');
healthy('at the end');

$cluster->stop;
done_testing();
