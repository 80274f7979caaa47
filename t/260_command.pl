# Every command of difs, its exit codes, its JSON, and through pipes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use JSON;
use PostgreSQL::Test::Utils;
use Test::More;

my @closed;
END { chmod 0700, @closed; }		# so that they can be removed

my $cluster = DifsCluster->new('command', servers => 2);
my $difs = DifsCommand->new($cluster);
my $dir = $cluster->dir;

@closed = map { "$dir/$_/closed" } qw(tree back part exported);

# a tree with all kinds of things
mkdir "$dir/tree";
mkdir "$dir/tree/$_" for 'empty', 'sub', 'sub/deep', 'closed';
my $many = $cluster->write_file('tree/large', DifsCluster::random_bytes(3_000_000, 'large'));
$cluster->write_file('tree/text', DifsCluster::text_bytes(2_000_000, 'text'));
$cluster->write_file("tree/sub/f$_", DifsCluster::random_bytes($_ * 97, $_)) for 0 .. 250;
$cluster->write_file('tree/sub/deep/Grüße und mehr', 'hello');
$cluster->write_file('tree/sub/deep/note.tmp', 'to be left out');
$cluster->write_file('tree/closed/inside', 'x');
symlink 'f1', "$dir/tree/sub/link";
symlink '/nowhere', "$dir/tree/sub/broken";
chmod 0604, "$dir/tree/sub/f7";
chmod 0500, "$dir/tree/closed";
utime 981173106, 981173106, "$dir/tree/sub/f8", "$dir/tree/empty";
my $tree = DifsCommand::survey("$dir/tree");

# trees, there and back
like($difs->done('put', '-r', "$dir/tree", '/'), qr/^put 256 files, \d.* MiB in [\d.]+ s \(/, 'a summary');
$difs->done('get', '-r', '/tree', "$dir/back");
is_deeply(DifsCommand::survey("$dir/back"), $tree, 'a tree is what it was, with modes and times');
is($cluster->sql(q{SELECT max(version) FROM difs_list('/', recursive => true)}), 1, 'each file has one version');
my $summary = $difs->json('put', '-r', "$dir/tree", '/');
is_deeply([ @$summary{qw(did files directories links failed)} ], [ 'put', 256, 5, 2, 0 ], 'the summary as JSON');
is($cluster->sql(q{SELECT version FROM difs_stat('/tree/sub/f3')}), 2, 'again: one more version');
$difs->done('put', '-rn', "$dir/tree", '/');
is($cluster->sql(q{SELECT version FROM difs_stat('/tree/sub/f3')}), 2, '--no-clobber leaves them alone');
$difs->done('put', '-r', '--exclude', '*.tmp', '--exclude', 'sub/f1*', '--batch', 7, "$dir/tree", '/excluded');
is($cluster->sql(q{SELECT count(*) FROM difs_list('/excluded/sub', pattern => 'f*', recursive => true)}), 140, '--exclude, in small batches');
is($cluster->sql(q{SELECT difs_exists('/excluded/sub/deep/note.tmp')}), 'f', '--exclude, of names');
$difs->done('get', '-r', '--exclude', 'sub', '/tree', "$dir/part");
is_deeply([ sort keys %{ DifsCommand::survey("$dir/part") } ], [ '', '/closed', '/closed/inside', '/empty', '/large', '/text' ], 'get --exclude');
like($difs->done('put', '-r', '--dry-run', "$dir/tree", '/dry'), qr{would make directory /dry/sub}, '--dry-run says what it would do');
is($cluster->sql(q{SELECT difs_exists('/dry')}), 'f', 'and does nothing');
$difs->done('put', '-r', '--no-preserve', "$dir/tree/sub", '/plain');
is($cluster->sql(q{SELECT mode, mtime > now() - interval '1 hour' FROM difs_stat('/plain/f7')}), '420|t', '--no-preserve');

# files, and where they go
$difs->done('put', $many, '/one');
$difs->done('put', $many, "$dir/tree/text", '/tree/empty');
is($cluster->sql(q{SELECT string_agg(name, ',') FROM difs_list('/tree/empty')}), 'large,text', 'several into a directory');
$difs->done('put', '-P', $many, '/made/on/the/way');
is(($difs->run('put', $many, "$dir/tree/text", '/one'))[0], 1, 'several into a file');
is(($difs->run('put', "$dir/tree", '/x'))[0], 1, 'a directory without -r');
is(($difs->run('put', '-T', $many, '/tree'))[0], 1, 'a file in place of a directory');
is(($difs->run('put', "$dir/none", '/x'))[0], 1, 'a file that is not there');
$difs->done('put', '--media-type', 'image/png', $many, '/media');
is($cluster->sql(q{SELECT difs_getattr('/media')}), '{"media_type": "image/png"}', '--media-type');
$difs->done('get', '/one', "$dir/one");
is(DifsCommand::digest("$dir/one"), DifsCommand::digest($many), 'get of a file');
$difs->done('get', '--range', '1000000:50', '/one', "$dir/range");
is(-s "$dir/range", 50, 'get of a range');

# pipes
for my $length (0, 10, 262_144, 262_145, 9_000_001)
{
	my $bytes = DifsCluster::random_bytes($length, "pipe $length");
	$difs->done(\$bytes, 'put', '-', '/pipe');
	ok($difs->done('cat', '/pipe') eq $bytes, "$length bytes through standard input and output");
	ok($difs->done('get', '/pipe', '-') eq $bytes, 'get to standard output is the bytes and nothing else');
}
is($difs->done('cat', '--version', 2, '/pipe'), DifsCluster::random_bytes(10, 'pipe 10'), 'an old version');
is(length $difs->done('cat', '--range', '4k:100', '/pipe'), 100, 'a range');
is(($difs->run(\'x', 'put', '-', '/tree'))[0], 1, 'standard input onto a directory');

# what there is
is_deeply([ map { $_->{name} } @{ $difs->json('ls', '/tree') } ], [qw(closed empty large sub text)], 'ls');
my ($entry) = @{ $difs->json('ls', '/tree/sub/f7') };
is_deeply([ @$entry{qw(kind size mode version)} ], [ 'file', 679, '0604', 2 ], 'ls of a file, as JSON');
like($difs->done('ls', '-l', '/tree'), qr/^dr-x------ \S+ +0 .* closed\/$/m, 'ls -l');
like($difs->done('ls', '-lh', '/tree'), qr/ 2\.9M .* large$/m, 'ls -lh');
is(scalar(split /\n/, $difs->done('ls', '-R', '/tree/sub')), 256, 'ls -R');
like($difs->done('tree', '/tree/sub/deep'), qr/├── .*\n└── note\.tmp\n\n0 directories, 2 files/, 'tree');
is($difs->json('stat', '/one')->[0]{size}, 3_000_000, 'stat');
like($difs->done('stat', '/one'), qr/Size: 3000000 \(2\.9 MiB\)  Version: 1/, 'stat for people');
is(scalar @{ $difs->json('versions', '/pipe') }, 5, 'versions');
is($difs->json('du', '-s', '/tree/sub')->[0]{files}, 253, 'du');
is(scalar @{ $difs->json('servers') }, 2, 'servers');
is($difs->json('df')->[0]{server}, '/storage01', 'df');
like($difs->done('df'), qr/^main +1/m, 'df of volumes');
like($difs->done('top'), qr{/storage02}, 'top, once if it is no terminal');
is($difs->json('check', '/one')->[0]{state}, 'done', 'check');
is(($difs->run('check', '/none'))[0], 1, 'check of what never came');
$cluster->sql(q{SELECT difs_insert('/refused', 'http://127.0.0.1:9/x')});
DifsCluster::poll_until(sub { $cluster->sql(q{SELECT state FROM difs_check('/refused'::text)}) eq 'failed' }, 60);
my ($check_code, $check_out) = $difs->run('check', '/refused');
is($check_code, 1, 'check of an insert that has failed');
like($check_out, qr/failed.*127\.0\.0\.1/, 'and says why');

# speed of this installation
my $bench = $difs->json('bench', '-c', 2, '--size', '4k');
is_deeply([ map { "$_->{operation} $_->{system}" } @{ $bench->{results} } ],
	[ map { ("$_ difs", "$_ large object", "$_ bytea") } qw(put get) ], 'bench: files, large objects and bytea');
cmp_ok($_->{rate}, '>', 0, sprintf 'bench: %s %s: %.0f/s', @$_{qw(operation system rate)}) foreach @{ $bench->{results} };
is($cluster->sql(q{SELECT (SELECT count(*) FROM difs_list('/', pattern => 'difs-bench*')) + (SELECT count(*) FROM pg_largeobject_metadata)
	+ (SELECT count(*) FROM pg_class WHERE relname LIKE 'difs_bench%')}), 0, 'and nothing is left of it');

# names
$difs->done('mkdir', '-p', '-m', '750', '/n/a/b');
is($cluster->sql(q{SELECT mode FROM difs_stat('/n/a/b')}), 488, 'mkdir -m');
is(($difs->run('mkdir', '/n'))[0], 1, 'mkdir of what is there');
$difs->done('cp', '/one', '/n/copy');
$difs->done('cp', '/one', '/n/a/');
$difs->done('cp', '-r', '/tree', '/n');
is($cluster->sql(q{SELECT (difs_du('/n/tree')).files = (difs_du('/tree')).files}), 't', 'cp -r');
is(($difs->run('cp', '-r', '/n', '/n/a/n'))[0], 1, 'cp of a directory into itself');
is(($difs->run('cp', '/tree', '/x'))[0], 1, 'cp of a directory without -r');
$difs->done('mv', '/n/copy', '/n/moved');
is(($difs->run('mv', '/n/copy', '/n/moved'))[0], 1, 'mv of what is gone');
$difs->done('mv', '/n/moved', '/n/a');
is($cluster->sql(q{SELECT difs_exists('/n/a/moved')}), 't', 'mv into a directory');
is(($difs->run('rm', '/n'))[0], 1, 'rm of a directory without -r');
is(($difs->run('rm', '/none'))[0], 1, 'rm of what is not there');
$difs->done('rm', '-f', '/none');
$difs->done('rm', '-r', '/n');
is($cluster->sql(q{SELECT difs_exists('/n')}), 'f', 'rm -r');
SKIP:
{
	skip 'this build has no difs_restore', 2 unless $cluster->sql(q{SELECT count(*) FROM pg_proc WHERE proname = 'difs_restore'}) > 0;
	$difs->done('restore', '--version', 2, '/pipe');
	is($difs->done('cat', '/pipe'), DifsCluster::random_bytes(10, 'pipe 10'), 'restore');
}

# damage, and exit codes
$cluster->left_behind;
like($difs->done('fsck', '--deep', '--digests'), qr/nothing is wrong/, 'fsck');
like($difs->done('scrub', '-r', '/tree'), qr/every copy is good/, 'scrub');
my ($segment) = $cluster->segments('/tree/sub/f200');
$_->flip($segment, 100) for @{ $segment->{servers} };
my ($code, $out, $err) = $difs->run('scrub', '/tree/sub/f200');
is($code, 3, 'scrub finds damage: exit code 3');
like($out, qr{/tree/sub/f200 +2 +/storage0\d +(damaged|lost)}, 'and says where');
is(($difs->run('nonsense'))[0], 64, 'an unknown command: 64');
is(($difs->run('ls', '--nonsense'))[0], 64, 'an unknown option: 64');
is(($difs->run('put', 'x'))[0], 64, 'missing arguments: 64');
is(($difs->run('-d', 'dbname=none', 'ls'))[0], 2, 'no database: 2');
is(($difs->run('-h', 'no-such-host.invalid', 'ls'))[0], 2, 'no host: 2');
like($difs->done('--help'), qr/^  import /m, 'help');
like($difs->done('--version'), qr/^difs 1\.0$/, 'version');
foreach my $command (qw(put get cat ls tree cp mv rm mkdir stat versions restore du df servers check scrub fsck top report bench import export))
{
	like($difs->done($command, '--help'), qr/^Usage: difs $command .*--json/s, "help of $command");
}

# libpq's service file
$cluster->write_file('service', sprintf("[files]\nhost=%s\nport=%d\ndbname=postgres\n", $cluster->node->host, $cluster->node->port));
{
	local $ENV{PGSERVICEFILE} = "$dir/service";
	local *DifsCommand::environment = sub { return (PGHOST => '/nowhere', PGPORT => 1) };
	like($difs->done('-d', 'service=files', 'ls'), qr/^one$/m, 'a service file');
}

# import and export
$cluster->sql(q{SELECT lo_from_bytea(0, decode(repeat(md5(i::text), i), 'hex')) FROM generate_series(0, 20) AS i});
like($difs->done('import', '--from-large-objects', '/lo'), qr/^imported and compared 21 files/, 'large objects');
is($cluster->sql(q{SELECT count(*) FROM pg_largeobject_metadata WHERE lo_get(oid) = difs_get('/lo/' || oid)}), 21, 'they are the same');
is(($difs->run('import', '--from-large-objects', '/lo'))[0], 1, 'nothing that is there is overwritten');
$cluster->sql(q{CREATE TABLE picture (id int, data bytea)}, q{INSERT INTO picture SELECT i, decode(repeat(md5(i::text), 100 * i), 'hex') FROM generate_series(1, 9) AS i},
	q{INSERT INTO picture VALUES (10, NULL)});
like($difs->done('import', '--from-bytea', 'picture', 'data', q{'/pictures/' || id || '.bin'}), qr/^imported and compared 9 files/, 'a bytea column');
is($cluster->sql(q{SELECT bool_and(data = difs_get('/pictures/' || id || '.bin')) FROM picture WHERE data IS NOT NULL}), 't', 'they are the same');
($code, $out, $err) = $difs->run('import', '--from-bytea', 'picture', 'data', q{'/same'});
is($code, 1, 'two rows with one path');
like($err, qr/nothing was imported/, 'it says so');
is($cluster->sql(q{SELECT difs_exists('/same')}), 'f', 'and nothing was');
like($difs->done('import', "$dir/tree", '/imported'), qr/^imported and compared 256 files/, 'a directory');
like($difs->done('export', '/imported', "$dir/exported"), qr/^exported and compared 256 files/, 'and out again');
is_deeply(DifsCommand::survey("$dir/exported"), $tree, 'it is what it was');

# a file that is damaged everywhere is not given out
($code, $out, $err) = $difs->run('get', '/tree/sub/f200', "$dir/damaged");
is($code, 1, 'a damaged file');
ok(!-e "$dir/damaged", 'nothing of it is there');

$cluster->stop;
done_testing();
