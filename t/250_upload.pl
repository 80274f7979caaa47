# The direct path: clients send segments to chunk servers themselves, and fetch them from there (src/upload.h, common/token.h): what is left
# of uploads that end well, in a rollback, in a crash or never, and who may begin, go on with and commit one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsDirect;
use DifsNode;
use Digest::MD5 qw(md5_hex);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = DifsCluster->new('upload', servers => 3, init => { allows_streaming => 1 }, conf => <<'CONF');
difs.collect_interval = 0
difs.repair_interval = 0
difs.block_group_size = '16MB'
CONF
my $node = $cluster->node;
my $direct = DifsDirect->new($cluster);
my $session = $direct->session;
my $seed = 0;

sub bytes { return DifsCluster::random_bytes($_[0], 'upload' . $seed++); }
sub md5 { my ($path) = @_; return $cluster->sql("SELECT md5(difs_get('$path'))"); }

# As the servers say after now.
sub used
{
	my $now = $cluster->sql('SELECT clock_timestamp()');
	DifsCluster::poll_until(sub { $cluster->sql("SELECT bool_and(last_seen > '$now') FROM difs.servers") eq 't' }, 20);
	return $cluster->sql('SELECT sum(used_bytes) FROM difs.servers');
}

sub bytes_of { my ($path) = @_; return pack 'H*', $cluster->sql("SELECT encode(difs_get('$path'), 'hex')"); }
sub collect { return $cluster->sql('SELECT orphans FROM difs_collect()'); }

# Until the servers have no more than so much beside what they had.
sub given_back
{
	my ($before, $most) = @_;
	return DifsCluster::poll_until(sub { collect(); return used() - $before <= $most }, 20);
}

sub restart_session
{
	eval { $session->quit };
	$session = $direct->session;
	return;
}

$cluster->sql(q{SELECT difs_volume_alter('main', replicas => 2, segment_size => 65536)}, q{SELECT difs_put('/first', '1')});

# Up and down: nothing of it goes through PostgreSQL.
{
	my $bytes = bytes(1_000_000);
	is($direct->upload($session, '/f', $bytes, media_type => q{'text/plain'}), 1, 'an upload is the first version of a file');
	is(md5('/f'), md5_hex($bytes), 'difs_get() reads it');
	ok($direct->get($session, '/f') eq $bytes, 'a client fetches it by token');
	ok($direct->get($session, '/f', 70_000, 200_000) eq substr($bytes, 70_000, 200_000), 'and a range of it');
	is($cluster->sql(q{SELECT difs_getattr('/f') ->> 'media_type'}), 'text/plain', 'it has its media type');
	my $second = DifsCluster::text_bytes(300_000, 'compressible');
	$cluster->sql(q{SELECT difs_volume_alter('main', compression => 'zstd', compression_level => 3)});
	is($direct->upload($session, '/f', $second), 2, 'another is the second version');
	ok($direct->get($session, '/f') eq $second && $direct->get($session, '/f', undef, undef, 1) eq $bytes, 'both versions can be fetched');
	is($cluster->sql(q{SELECT bool_and(stored_length < raw_length) FROM difs_locate('/f')}), 't', 'which the client has compressed');
	$cluster->sql(q{SELECT difs_volume_alter('main', compression => 'none')});

	is($direct->upload($session, '/d/e/empty', '', parents => 'true'), 1, 'an empty file, and directories on its way');
	is($cluster->sql(q{SELECT size FROM difs_stat('/d/e/empty')}), 0, 'has no bytes');
	$session->query('BEGIN');
	my $unknown = $direct->begin($session, '/unknown', undef);
	my $three = bytes(3 * 65536);
	$direct->send($session, $unknown, $three);
	is($direct->register($session, $unknown), 6, 'receipts can be handed over earlier');
	is($direct->commit($session, $unknown), 1, 'an upload of unknown length');
	$session->query('COMMIT');
	is(md5('/unknown'), md5_hex($three), 'has what was sent');
}

# What difs_locate() says of files that are not whole segments.
{
	my $bytes = bytes(300_000);
	$direct->upload($session, '/parts', $bytes);
	$cluster->sql(q{SELECT difs_write('/parts', 100000, '\x0102030405')}, q{SELECT difs_write('/parts', 400000, 'end')});
	substr($bytes, 100_000, 5) = "\1\2\3\4\5";
	$bytes .= "\0" x 100_000 . 'end';
	ok($direct->get($session, '/parts') eq $bytes, 'parts, holes and whole segments together');
	is($cluster->sql(q{SELECT count(*) FROM difs_locate('/parts') WHERE (token IS NULL) = (data IS NULL)}), 0, 'each row has bytes or a token');
	is($cluster->sql(q{SELECT file_offset, length, token IS NULL FROM difs_locate('/parts', 65536, 65536)}),
		"65536|34464|t\n100000|5|f\n100005|31067|t", 'what is a part of a segment comes as bytes: nobody can fetch what is beside it');
	$cluster->sql(q{SELECT difs_volume_alter('main', inline_limit => 100)}, q{SELECT difs_put('/tiny', 'tiny')}, q{SELECT difs_volume_alter('main', inline_limit => 0)},
		q{SET difs.staging = always; SELECT difs_put('/staged', 'staged'); RESET difs.staging});
	ok($direct->get($session, '/tiny') eq 'tiny', 'a tiny file');
	ok($direct->get($session, '/staged') eq 'staged', 'a staged one');
	is($cluster->sql(q{SELECT count(*) FROM difs_locate('/parts', 403003)}), 0, 'nothing lies behind the end');
	$direct->upload($session, '/kept', bytes(100_000));
	my $old = $direct->session;
	$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $before = $old->query(q{SELECT string_agg(segment::text, ',') FROM difs_locate('/kept')});
	$direct->upload($session, '/kept', bytes(100_000));
	is($old->query(q{SELECT string_agg(segment::text, ',') FROM difs_locate('/kept')}), $before, 'an old snapshot is shown what it sees');
	$old->query('COMMIT');
	$old->quit;
}

# A rollback, of a savepoint too, leaves nothing.
{
	collect();
	my $before = used();
	$session->query('BEGIN');
	my $upload = $direct->begin($session, '/never', 1_000_000);
	$direct->send($session, $upload, bytes(1_000_000));
	$direct->register($session, $upload);
	is($direct->commit($session, $upload), 1, 'it is committed, its transaction is not');
	ok(DifsCluster::poll_until(sub { used() - $before > 1_900_000 }, 20), 'its bytes are on the servers');
	collect();
	is($session->query(q{SELECT md5(difs_get('/never'))}), $cluster->sql(q{SELECT NULL}) . $session->query(q{SELECT md5(difs_get('/never'))}),
		'and stay there while it runs');
	$session->query('ROLLBACK');
	is($cluster->sql(q{SELECT difs_exists('/never')}), 'f', 'after a rollback there is no file');
	ok(given_back($before, 300_000), 'and after a collection no bytes');

	$before = used();
	$session->query('BEGIN');
	$session->query('SAVEPOINT a');
	my $inner = $direct->begin($session, '/inner', 200_000);
	$direct->send($session, $inner, bytes(200_000));
	$session->query('ROLLBACK TO a');
	$session->query('SAVEPOINT b');
	is($session->fails(DifsDirect::commit_sql($inner)), '58P01', 'an upload of a savepoint that was rolled back is gone');
	$session->query('ROLLBACK TO b');
	my $outer = $direct->begin($session, '/outer', 100_000);
	my $bytes = bytes(100_000);
	$direct->send($session, $outer, $bytes);
	$session->query('SAVEPOINT c');
	$direct->commit($session, $outer);
	$session->query('ROLLBACK TO c');
	is($direct->commit($session, $outer), 1, 'a commit that was rolled back to a savepoint can be done again');
	$session->query('COMMIT');
	is(md5('/outer'), md5_hex($bytes), 'and the transaction has what was not rolled back');
	ok(given_back($before, 100_000 * 2 + 100_000), 'what was rolled back is collected');

	$session->query('BEGIN');
	my $forgotten = $direct->begin($session, '/forgotten', 100_000);
	$direct->send($session, $forgotten, bytes(100_000));
	$session->query('COMMIT');
	is($session->fails(DifsDirect::commit_sql($forgotten)), '58P01', 'an upload that is not resumable ends with its transaction');
	collect();
	is($cluster->sql('SELECT count(*) FROM difs.upload'), 0, 'and leaves no row');
}

# An upload goes on after the client, the session and a server were killed, and after a crash of PostgreSQL.
{
	my $bytes = bytes(8 * 65536 - 1000);
	ok(DifsCluster::poll_until(sub { collect() == 0 }, 20), 'nothing is left of what was before');
	$session->query('BEGIN');
	my $upload = $direct->begin($session, '/resumed', length $bytes, resumable => 'true');
	$session->query('COMMIT');
	$direct->send($session, $upload, $bytes, 0 .. 2);
	is($direct->register($session, $upload), 6, 'three of eight segments are stored');
	$direct->send($session, $upload, $bytes, 3);	# its receipts are lost
	$direct->end('KILL');
	$node->stop('immediate');
	$node->start;
	$cluster->wait_until_alive;
	$direct->start;
	restart_session();
	is(collect(), 0, 'collection takes nothing that may be committed yet');
	is($cluster->sql(q{SELECT problem::text FROM difs_fsck(deep => true) problem}), '', 'and fsck finds nothing wrong');
	is($session->query(q{SELECT upload, done FROM difs_upload_resume('/resumed')}), "$upload->{id}|{[0,3)}", 'three are found to be there');
	is($cluster->sql(q{SELECT path, size, segments FROM difs.uploads}), 'main:/resumed|' . length($bytes) . '|3', 'the view shows it');
	$upload->{receipts} = [];
	my $victim = $cluster->server(0);
	$victim->kill;
	my $again = $direct->send($session, $upload, $bytes, 3 .. 5);
	note("$again places were no good while a server was down");
	$victim->start;
	$cluster->wait_until_alive;
	$direct->send($session, $upload, $bytes, 6 .. 7);
	is($direct->commit($session, $upload), 1, 'the rest is sent, and it is committed');
	is(md5('/resumed'), md5_hex($bytes), 'all is there');
	is($session->fails(DifsDirect::commit_sql($upload)), '58P01', 'once');
	collect();
	is(md5('/resumed'), md5_hex($bytes), 'also after a collection, which takes what was sent in vain');
	is($cluster->sql('SELECT count(*) FROM difs.receipt'), 0, 'receipts are gone');
}

# Resumable uploads that nobody goes on with expire; cancelled ones end at once.
{
	collect();
	my $before = used();
	my $upload = $direct->begin($session, '/cancelled', 500_000, resumable => 'true');
	$direct->send($session, $upload, bytes(500_000));
	$direct->register($session, $upload);
	is($session->query("SELECT difs_upload_cancel($upload->{id})"), '', 'an upload is cancelled');
	is($session->fails(DifsDirect::commit_sql($upload)), '58P01', 'and cannot be committed');
	ok(given_back($before, 200_000), 'its bytes go');

	$before = used();
	$cluster->sql(q{ALTER SYSTEM SET difs.upload_expire = '1s'}, 'SELECT pg_reload_conf()');
	ok(DifsCluster::poll_until(sub { $session->query('SHOW difs.upload_expire') eq '1s' }), 'uploads are to expire after a second');
	$upload = $direct->begin($session, '/expired', 500_000, resumable => 'true');
	eval { $direct->send($session, $upload, bytes(500_000)) };
	ok(DifsCluster::poll_until(sub { $session->query('SELECT expires < clock_timestamp() FROM difs.uploads') ne 'f' }), 'it expires');
	is($session->fails("SELECT * FROM difs_upload_resume($upload->{id})"), '58P01', 'nobody can go on with it');
	is($session->fails(q{SELECT * FROM difs_upload_resume('/expired')}), '58P01', 'and is not found by its path');
	ok(given_back($before, 200_000), 'its bytes go');
	is($cluster->sql('SELECT count(*) FROM difs.upload'), 0, 'and its row');
	$cluster->sql('ALTER SYSTEM RESET difs.upload_expire', 'SELECT pg_reload_conf()');
	ok(DifsCluster::poll_until(sub { $session->query('SHOW difs.upload_expire') eq '1d' }), 'a day again');
}

# Rights and quotas hold from the beginning to the end.
{
	$cluster->sql('CREATE ROLE alice LOGIN', 'CREATE ROLE bob LOGIN', q{SELECT difs_mkdir('/alice')}, q{SELECT difs_chown('/alice', 'alice')},
		q{SELECT difs_put('/secret', 'secret')}, q{SELECT difs_chmod('/secret', '0600')});
	my $alice = $direct->session;
	my $bob = $direct->session;
	$alice->query('SET SESSION AUTHORIZATION alice');
	$bob->query('SET SESSION AUTHORIZATION bob');
	is($bob->fails(q{SELECT * FROM difs_upload_begin('/alice/f', 10)}), '42501', 'who may not write may not begin');
	is($bob->fails(q{SELECT * FROM difs_upload_begin('/alice/new/f', 10, parents => true)}), '42501', 'nor below directories to be made');
	is($bob->fails(q{SELECT * FROM difs_locate('/secret')}), '42501', 'who may not read is shown no place');
	my $bytes = bytes(100_000);
	my $upload = $direct->begin($alice, '/alice/f', 100_000, resumable => 'true');
	foreach my $call ("* FROM difs_upload_place($upload->{id}, 0, 1)", "difs_upload_cancel($upload->{id})", "* FROM difs_upload_resume($upload->{id})",
		"difs_upload_receipts($upload->{id}, '{}')", "difs_upload_commit($upload->{id})")
	{
		is($bob->fails("SELECT $call"), '42501', "nobody else may go on with it: $call");
	}
	is($bob->fails(q{SELECT * FROM difs_upload_resume('/alice/f')}), '58P01', 'or find it');
	is($bob->query('SELECT count(*) FROM difs.uploads'), 0, 'or see it');
	is($alice->query('SELECT owner FROM difs.uploads'), 'alice', 'its owner does');
	$direct->send($alice, $upload, $bytes);
	$cluster->sql(q{SELECT difs_chown('/alice', 'bob')});
	is($alice->fails("SELECT * FROM difs_upload_place($upload->{id}, 0, 1)"), '42501', 'a right that was taken away meanwhile is gone for places');
	is($alice->fails(DifsDirect::commit_sql($upload)), '42501', 'and for the commit');
	$cluster->sql(q{SELECT difs_chown('/alice', 'alice')});
	is($direct->commit($alice, $upload), 1, 'and there again when it is given back');

	$cluster->sql(q{SELECT difs_volume_create('small', quota_bytes => 300000, replicas => 1, segment_size => 65536)});
	is($session->fails(q{SELECT * FROM difs_upload_begin('small:/f', 300001)}), '53400', 'more than the quota cannot be begun');
	my $large = $direct->begin($session, 'small:/f', undef, resumable => 'true');
	is($session->fails("SELECT * FROM difs_upload_place($large->{id}, 4, 2)"), '53400', 'nor be given places, if it was not known before');
	$direct->send($session, $large, bytes(200_000));
	$cluster->sql(q{SELECT difs_put('small:/g', convert_to(repeat('g', 150000), 'UTF8'))});
	is($session->fails(DifsDirect::commit_sql($large)), '53400', 'nor be committed, if another has used it up');
	$cluster->sql(q{SELECT difs_delete('small:/g')});
	is($direct->commit($session, $large), 1, 'until that is gone');
	is($cluster->sql(q{SELECT problem::text FROM difs_fsck() problem}), '', 'and what is used is counted right');
	$_->quit for $alice, $bob;
}

# Receipts are believed for what they are for only.
{
	my $bytes = bytes(3 * 65536);
	my $one = $direct->begin($session, '/one', length $bytes, resumable => 'true');
	my $two = $direct->begin($session, '/two', length $bytes, resumable => 'true');
	$direct->send($session, $one, $bytes);
	my @receipts = @{ $one->{receipts} };
	is($session->fails(DifsDirect::commit_sql({ id => $two->{id}, receipts => \@receipts })), '22023', 'not for another upload');
	is($session->fails(DifsDirect::commit_sql({ id => $one->{id}, receipts => [ @receipts[ 0 .. 4 ] ] })), '22023', 'not if one server has not signed');
	is($session->fails(DifsDirect::commit_sql({ id => $one->{id}, receipts => [ @receipts[ 0 .. 4 ], $receipts[4] ] })), '22023', 'or another twice');
	is($session->fails(DifsDirect::commit_sql({ id => $one->{id}, receipts => [ @receipts[ 0, 1, 4, 5 ] ] })), '22023', 'not with a gap');
	is($session->fails(DifsDirect::commit_sql($one, 100_000)), '22023', 'not with another size');
	my ($place) = $direct->place($session, $two, 0, 1);
	my @short = map { /^ok (.*)/ ? $1 : () } $direct->put($two, $place, $direct->file_of('short'), 0, 5);
	$direct->send($session, $two, $bytes, 1, 2);
	is($session->fails(DifsDirect::commit_sql({ id => $two->{id}, receipts => [ @short, @{ $two->{receipts} } ] })), '22023', 'not with a short segment in front of others');
	is($session->query(sprintf 'SELECT difs_upload_receipts(%s, %s)', $one->{id}, DifsDirect::receipts_sql(@receipts)), 6, 'six are new');
	is($session->query(sprintf 'SELECT difs_upload_receipts(%s, %s)', $one->{id}, DifsDirect::receipts_sql(@receipts)), 0, 'once');
	$direct->send($session, $one, $bytes, 1);	# once more, under another id
	is($direct->commit($session, $one), 1, 'and then it is committed, though a segment has been sent twice');
	is(md5('/one'), md5_hex($bytes), 'with the right bytes');
	$session->query("SELECT difs_upload_cancel($two->{id})");
}

# Two that commit to one name take turns, as two puts do.
{
	my @sessions = map { $direct->session } 1 .. 2;
	my @bytes = (bytes(100_000), bytes(120_000));
	my @uploads;
	foreach my $i (0, 1)
	{
		$sessions[$i]->query('BEGIN');
		push @uploads, $direct->begin($sessions[$i], '/both', length $bytes[$i]);
		$direct->send($sessions[$i], $uploads[$i], $bytes[$i]);
	}
	is($direct->commit($sessions[0], $uploads[0]), 1, 'the first');
	my $waiting = q{SELECT count(*) FROM pg_locks WHERE NOT granted};
	$sessions[1]->send(DifsDirect::commit_sql($uploads[1]));
	ok(DifsCluster::poll_until(sub { $cluster->sql($waiting) > 0 }), 'the second waits');
	$sessions[0]->query('COMMIT');
	is($sessions[1]->query('COMMIT'), 2, 'and is the version after it');
	is(md5('/both'), md5_hex($bytes[1]), 'which is the current one');
	my $stale = $direct->begin($session, '/both', 10, if_version => 2, resumable => 'true');
	$direct->send($session, $stale, '0123456789');
	$cluster->sql(q{SELECT difs_put('/both', 'changed')});
	is($session->fails(DifsDirect::commit_sql($stale)), '40001', 'one that wants the version that it knows finds it changed');
	is($session->fails(q{SELECT * FROM difs_upload_begin('/both', 10, create_only => true)}), '58P02', 'one that wants a new file finds one');
	$session->query("SELECT difs_upload_cancel($stale->{id})");
	$_->quit foreach @sessions;
}

# While collection runs all the time, and block groups fill up.
{
	my $collector = fork // die $!;
	if ($collector == 0)
	{
		open STDOUT, '>', '/dev/null';
		system('psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT difs_collect()') foreach 1 .. 1000;
		require POSIX;
		POSIX::_exit(0);
	}
	my $bytes = bytes(24_000_000);
	my $upload = $direct->begin($session, '/collected', length $bytes, resumable => 'true');
	my $again = $direct->send($session, $upload, $bytes);
	$direct->commit($session, $upload);
	kill 'KILL', $collector;
	waitpid $collector, 0;
	is(md5('/collected'), md5_hex($bytes), 'an upload over several block groups, during collection');
	is($again, 0, 'no group was sealed before its segments had come');
	cmp_ok($cluster->sql(q{SELECT count(DISTINCT block_group) FROM difs_locate('/collected')}), '>', 1, 'more than one group');
}

# Several clients append to the same block groups at once: as many as it takes until there is no open group left that nobody has a place in.
{
	my $bytes = bytes(16 * 65536);
	my $file = $direct->file_of($bytes);
	my @uploads;
	my $program = DifsDirect::build();
	my %clients_of;
	foreach my $i (0 .. 31)
	{
		my $upload = $direct->begin($session, "/parallel$i", length $bytes, resumable => 'true');
		my @places = $direct->place($session, $upload, 0, 16);
		my $script = $direct->file_of(join '', map { my $place = $_; map { sprintf "put %s %s %s %d 65536\n", $place->{token}, $_, $file, $place->{number} * 65536 } @{ $place->{servers} } } @places);
		push @uploads, [ $upload, "$script.out", "$program < $script > $script.out" ];
		$clients_of{ $_->{group} }{$i} = 1 foreach @places;
		last if @uploads >= 4 && grep { keys %$_ > 1 } values %clients_of;
	}
	is(system(join(' & ', map { $_->[2] } @uploads) . ' & wait'), 0, scalar(@uploads) . ' clients send at once');
	foreach my $i (0 .. $#uploads)
	{
		my ($upload, $out) = @{ $uploads[$i] };
		$upload->{receipts} = [ slurp_file($out) =~ /^ok ([0-9a-f]+)$/mg ];
		is(scalar(@{ $upload->{receipts} }), 32, "client $i has all receipts");
		is($direct->commit($session, $upload), 1, 'and commits');
		is(md5("/parallel$i"), md5_hex($bytes), 'what it has sent');
	}
	cmp_ok(scalar(grep { keys %$_ > 1 } values %clients_of), '>', 0, 'they have shared block groups');
}

# On a standby, what is there can be fetched, and nothing can be sent.
{
	my $standby = DifsNode::standby_of($node, 'standby');
	$node->wait_for_catchup($standby);
	my $there = $direct->session(node => $standby);
	ok($direct->get($there, '/parallel0') eq bytes_of('/parallel0'), 'a standby gives tokens to read');
	is($there->fails(q{SELECT * FROM difs_upload_begin('/f', 10)}), '25006', 'and none to write');
	$there->quit;
	$standby->stop;
}

# Who has lost the claim gives no permission, and what he gave is worth nothing.
{
	$node->backup('copy');
	my $copy = PostgreSQL::Test::Cluster->new('copy');
	$copy->init_from_backup($node, 'copy');
	$copy->start;
	my $elsewhere = $direct->session(node => $copy);
	is($elsewhere->fails(q{SELECT * FROM difs_upload_begin('/f', 10)}), '55000', 'a copy of the database cannot begin an upload');
	ok(length $direct->get($elsewhere, '/f'), 'but has its files read by token');
	my $upload = $direct->begin($session, '/fenced', 5, resumable => 'true');
	my ($place) = $direct->place($session, $upload, 0, 1);
	is($elsewhere->query('SELECT difs_claim() > 1'), 't', 'when the copy takes the claim');
	my @answers = $direct->put($upload, $place, $direct->file_of('12345'), 0, 5);
	is(scalar(grep { /^failed fenced: / } @answers), 2, 'servers refuse the tokens of before');
	ok(DifsCluster::poll_until(sub { $session->fails("SELECT * FROM difs_upload_place($upload->{id}, 0, 1)") eq '55000' }), 'and there are no new ones');
	is($direct->upload($elsewhere, '/after', 'after'), 1, 'the copy gives them');
	$elsewhere->quit;
	$copy->stop;
}

$session->quit;
done_testing();
