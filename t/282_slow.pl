# Slow operations are logged with their path, their bytes and what they waited for, once each; waits are seen in pg_stat_activity.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(usleep);

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $MIB = 1048576;
my $cluster = DifsCluster->new('slow', servers => 1, conf => "difs.staging = never\ndifs.server_timeout = '20s'\ndifs.cache_size = 0\ndifs.collect_interval = 0\n");
my $node = $cluster->node;
my $server = $cluster->server(0);
my $source = $cluster->write_file('source', DifsCluster::random_bytes(2 * $MIB, 'slow'));
my $put = sub { return "SELECT difs_put('v:/$_[0]', pg_read_binary_file('$source'))" };

# What the log says of slow operations since the last call.
my $seen = 0;
sub slow
{
	my $log = slurp_file($node->logfile, $seen);
	$seen = -s $node->logfile;
	return [ $log =~ /(LOG:  difs: slow .*\n(?:.*DETAIL: .*\n)?)/g ];
}

# A session whose statement waits for the server, which goes on after a while.
sub while_stopped
{
	my ($statement, $waits) = @_;
	$server->signal('STOP');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\nSET difs.log_min_duration = 300;\n$statement;\n");
	my $state = '';
	ok(DifsCluster::poll_until(
			sub { $state = $cluster->sql("SELECT wait_event_type || '/' || wait_event FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND wait_event_type = 'Extension'") }, 20),
		"it waits: $statement");
	my $event = $cluster->sql('SHOW server_version_num') >= 170000 ? $waits : 'Extension';
	is($state, "Extension/$event", "  for $event");
	usleep(400_000);
	$server->signal('CONT');
	$session->quit;
	return;
}

$cluster->sql("SELECT difs_volume_create('v', segment_size => $MIB, compression => 'none', inline_limit => 0)", $put->('a'));
is($cluster->sql('SHOW difs.log_min_duration'), '-1', 'by default');
is(scalar @{ slow() }, 0, '  nothing is logged');
$cluster->sql('CREATE ROLE somebody');
is(($cluster->sql_fails('SET ROLE somebody', 'SET difs.log_min_duration = 0'))[0], '42501', 'not everybody may set it');

# Everything is slow.
$cluster->sql('SET difs.log_min_duration = 0', "SELECT difs_get('v:/a', \"offset\" => 10, length => 1000)");
my $lines = slow();
is(scalar @$lines, 1, 'a read is logged once');
like($lines->[0], qr{slow read "v:/a": \d+\.\d{3} ms, 1000 bytes read, 0 bytes written}, '  with path and bytes');
$cluster->sql('SET difs.log_min_duration = 0', $put->('b'));
$lines = slow();
is(scalar @$lines, 2, 'a put is logged, and the end of its transaction');
like($lines->[0], qr{slow difs_put "v:/b": \d+\.\d{3} ms, 0 bytes read, 2097152 bytes written\n.*ms went by in the backend itself\.}, '  the call');
like($lines->[1], qr{slow end of a transaction with 2 segments: .*\n.*It waited \d+\.\d{3} ms for segments to be stored; \d}, '  and what followed');
$cluster->sql('SET difs.log_min_duration = 0', "SELECT count(*) FROM difs_read('v:/a', piece_size => $MIB)");
is(scalar(grep { /slow read of a piece "v:\/a": .* 1048576 bytes read/ } @{ slow() }), 2, 'each piece of difs_read()');
$cluster->sql("SELECT difs_put('v:/huge', convert_to(repeat('0123456789abcdef', 2 * $MIB + 1), 'UTF8'))", 'SET difs.log_min_duration = 0', "SELECT md5(difs_get('v:/huge'))");
is(scalar(grep { /slow read of a value "v:\/huge": .* 33554448 bytes read/ } @{ slow() }), 1, 'the bytes of a huge value, which are read when it is used');
$cluster->sql('SET difs.log_min_duration = 60000', $put->('c'), "SELECT length(difs_get('v:/c'))");
is(scalar @{ slow() }, 0, 'control: what is quicker than the setting is not logged');

# One call inside of another one, and one that failed before.
$cluster->sql(
	'CREATE FUNCTION public.look(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE plpgsql AS $$
	  BEGIN PERFORM public.difs_get(path, version, length => 10); BEGIN PERFORM public.difs_get($p$v:/none$p$); EXCEPTION WHEN OTHERS THEN NULL; END; END $$',
	"SELECT difs_volume_alter('v', before_put => 'public.look'::regproc)", 'SET difs.log_min_duration = 0', $put->('d'));
$lines = slow();
is(scalar(grep { /slow difs_put "v:\/d"/ } @$lines), 1, 'a put whose before_put reads is logged');
is(scalar(grep { /slow read/ } @$lines), 0, '  as one operation');
$cluster->sql("SELECT difs_volume_alter('v', unset => '{before_put}')");
slow();
$node->psql('postgres', "SET difs.log_min_duration = 0; BEGIN; SAVEPOINT s; SELECT difs_get('v:/none'); ROLLBACK TO s; SELECT length(difs_get('v:/a')); COMMIT", on_error_stop => 0);
$lines = slow();
is(join(' ', map { /slow read "(\S+?)"/ ? $1 : () } @$lines), 'v:/a', 'what failed is not taken for what comes next');

# Where the time goes.
while_stopped("SELECT length(difs_get('v:/a'))", 'DifsChunkServer');
$lines = slow();
my ($took, $waited, $rest) = "@$lines" =~ /slow read "v:\/a": ([\d.]+) ms.*\n.*It waited ([\d.]+) ms for answers of chunk servers; ([\d.]+) ms went by/;
ok(defined $rest, 'a read that waited for a server') or diag("@$lines");
cmp_ok($waited, '>=', 300, "  says so: $waited of $took ms");
cmp_ok(abs($took - $waited - $rest), '<', 5, '  and the parts add up');
$cluster->sql("ALTER SYSTEM SET difs.log_min_duration = 300");
$node->reload;
ok(DifsCluster::poll_until(sub { $cluster->sql('SHOW difs.log_min_duration') eq '300ms' }, 20), 'for all, with the streamer');
$cluster->wait_until_alive;		# after it was stopped, and its block groups were sealed
$cluster->sql($put->('warm'));
while_stopped($put->('e'), 'DifsStreamer');
like(join('', @{ slow() }), qr/slow end of a transaction with 2 segments: .*\n.*It waited (?:[3-9]\d\d|\d{4,})\.\d{3} ms for segments to be stored/, 'a put that waited for a server');
like(slurp_file($node->logfile), qr/LOG:  difs streamer: slow segment \d+ of 1048576 bytes: .*\n.*DETAIL:  It waited \S+ ms for a block group and for its turn, in \d+ tries; then \S+ took (?:[3-9]\d\d|\d{4,})\.\d{3} ms/,
	'  the streamer says which server it was');

$cluster->stop;
done_testing();
