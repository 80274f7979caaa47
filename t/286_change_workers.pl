# The workers of doc/hooks.md, as they stand there: each change is handled once, whoever dies or fails in between, and the mirror is what its source is.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsDocs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('change_workers', servers => 1);
my $node = $cluster->node;
my $tree = abs_path("$FindBin::RealBin/..");

foreach my $example (DifsDocs::examples(DifsDocs::document($tree, 'doc/hooks.md')))
{
	is($node->psql('postgres', DifsDocs::statements($example), on_error_stop => 1), 0, "the example in line $example->{line} runs");
}

# Works until there is nothing that is over and not done. What other processes have under way (the keeper) holds changes up.
sub work
{
	my ($worker, $caught_up) = @_;
	return DifsCluster::poll_until(sub { $cluster->sql("CALL work.run('$worker')"); return $cluster->sql($caught_up) eq 't' }, 60);
}

# Up to a cursor that did not exist before.
sub catch_up
{
	my ($worker) = @_;
	$cluster->sql(q{SELECT difs_put('documents:/mark', 'mark')});
	return work($worker, "SELECT c.cursor = (SELECT max(format('%s/%s/%s', epoch, xid, seq)) FROM (SELECT * FROM difs.journal ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1) j)"
		  . " FROM work.checkpoint c WHERE worker = '$worker'");
}

# Queues.
{
	ok(catch_up('scan'), 'the scan worker has caught up');
	$cluster->sql('DELETE FROM work.scan', q{SELECT difs_put('documents:/clean', 'nothing')}, q{SELECT difs_put('documents:/ill', 'a virus'), difs_append('documents:/ill', ' more')});
	$cluster->sql('BEGIN', q{SELECT difs_put('documents:/rolled back', 'x')}, 'ROLLBACK');
	ok(catch_up('scan'), 'and again');
	is($cluster->sql(q{SELECT string_agg(path || ' ' || version, ', ' ORDER BY path, version) FROM work.scan WHERE path <> 'documents:/mark'}),
		'documents:/clean 1, documents:/ill 1, documents:/ill 2', 'each version that was committed is queued');
	my ($scanner) = map { $_->{lines} } grep { $_->{lines} =~ /what a scanner does/ } DifsDocs::examples(DifsDocs::document($tree, 'doc/hooks.md'));
	die "doc/hooks.md does not say what a scanner does" unless defined $scanner;
	$scanner =~ s/.*?-- what a scanner does/--/s;
	$cluster->sql($scanner) for 1 .. 4;
	is($cluster->sql(q{SELECT string_agg(version || ' ' || verdict, ', ' ORDER BY path, version) FROM work.scan WHERE path <> 'documents:/mark'}),
		'1 clean, 1 infected, 2 infected', 'and scanned');
	is($cluster->sql(q{SELECT convert_from(difs_get('thumbnails:/' || difs_ino('documents:/photo.png')), 'UTF8')}), 'a large', 'a thumbnail was drawn');
	$cluster->sql(q{SELECT difs_delete('documents:/photo.png')});
	ok(catch_up('thumbnail'), 'the thumbnail worker has caught up');
	is($cluster->sql(q{SELECT count(*) FROM difs_list('thumbnails:/')}), 0, 'and the thumbnail goes with its file');
}

# At least once, here exactly once: a worker that is killed in the middle has done nothing, and the next one does it all. One that fails at a change goes on.
$cluster->sql('CREATE TABLE work.handled (path text, version integer, pid integer DEFAULT pg_backend_pid())',
	q{CREATE FUNCTION work.count(volume text, action text, ino bigint, path text, from_path text, version integer) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO work.handled VALUES (path, version);
		IF path = '/fails' THEN RAISE EXCEPTION 'cannot handle %', path; END IF;
		IF path = '/stops' AND EXISTS (SELECT FROM work.stop) THEN PERFORM pg_sleep(600); END IF; END $$},
	'CREATE TABLE work.stop ()', 'INSERT INTO work.stop DEFAULT VALUES',
	q{INSERT INTO work.checkpoint SELECT 'count', volume, 'count', cursor FROM work.checkpoint WHERE worker = 'thumbnail'});
{
	$cluster->sql("SELECT difs_put('documents:/n' || n, 'x') FROM generate_series(1, 5) n");
	$cluster->sql(q{SELECT difs_put('documents:/fails', 'x')});
	$cluster->sql(q{SELECT difs_put('documents:/stops', 'x')});
	my $worker = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $worker->query('SELECT pg_backend_pid()');
	$worker->query_until(qr/begun/, "\\echo begun\nCALL work.run('count');\n\\echo called\n");
	my $stuck = DifsCluster::poll_until(sub {
		my $asleep = $cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND wait_event = 'PgSleep'");
		return $asleep eq '1' || ($cluster->sql("SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'idle'
			&& do { $worker->query_until(qr/begun/, "\\echo begun\nCALL work.run('count');\n"); 0 });
	}, 60);
	ok($stuck, 'a worker is in the middle of its changes');
	is($node->psql('postgres', q{CALL work.run('count')}), 0, 'a second one finds it at work and leaves');
	$cluster->sql("SELECT pg_terminate_backend($pid)");
	ok(DifsCluster::poll_until(sub { $cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' }, 30), 'and is killed');
	eval { $worker->quit };
	is($cluster->sql(q{SELECT count(*) FROM work.handled WHERE path = '/stops'}), 0, 'what it was at is not done');
	$cluster->sql('DELETE FROM work.stop');
	ok(catch_up('count'), 'the next one goes on');
	is($cluster->sql(q{SELECT string_agg(path, ' ' ORDER BY path) FROM work.handled WHERE path <> '/mark'}), '/n1 /n2 /n3 /n4 /n5 /stops',
		'and each change was handled exactly once');
	is($cluster->sql(q{SELECT worker, path, error FROM work.failed}), 'count|/fails|cannot handle /fails', 'one that fails is noted, and holds up nobody');
}

# The mirror, after all kinds of changes; and once more from the beginning, which changes nothing.
sub listing
{
	my ($volume) = @_;
	return $cluster->sql(qq{SELECT string_agg(l.name || ' ' || l.kind || ' ' || CASE l.kind WHEN 'file' THEN convert_from(difs_get('$volume:/' || l.name), 'UTF8') ELSE '' END,
		E'\\n' ORDER BY l.name) FROM difs_list('$volume:/', recursive => true) l});
}

{
	$cluster->sql(q{SELECT difs_put('documents:/a/b/c', 'one', parents => true), difs_put('documents:/a/d', 'two'), difs_mkdir('documents:/empty')});
	ok(catch_up('mirror'), 'the mirror has caught up');
	is(listing('documents_mirror'), listing('documents'), 'it is what its source is');
	$cluster->sql(q{SELECT difs_rename('documents:/a', 'documents:/z')});
	$cluster->sql(q{SELECT difs_append('documents:/z/b/c', ' more')});
	$cluster->sql(q{SELECT difs_delete('documents:/z/d'), difs_mkdir('documents:/z/d'), difs_put('documents:/z/d/e', 'in the place of a file')});
	$cluster->sql(q{SELECT difs_rmdir('documents:/empty'), difs_put('documents:/empty', 'no directory')});
	$cluster->sql(q{SELECT difs_put('documents:/gone/soon', '', parents => true), difs_delete('documents:/gone', recursive => true)});
	isnt(listing('documents_mirror'), listing('documents'), 'control: it is not, before its worker has run');
	ok(catch_up('mirror'), 'it has caught up');
	is(listing('documents_mirror'), listing('documents'), 'and is what its source is');
	$cluster->sql(q{UPDATE work.checkpoint SET cursor = NULL WHERE worker = 'mirror'});
	ok(catch_up('mirror'), 'all changes once more');
	is(listing('documents_mirror'), listing('documents'), 'change nothing');
	is($cluster->sql(q{SELECT count(*) FROM work.failed WHERE worker = 'mirror'}), 0, 'and none has failed')
	  or diag($cluster->sql(q{SELECT * FROM work.failed}));
}

$cluster->stop;
done_testing();
