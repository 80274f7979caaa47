# difs top: rates that are right, once and as JSON; on a real terminal drawn again and again, within its size, ended by q; and what an operator has to
# see at once: a server that is down, copies that are missing, bytes that are staged.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = DifsCluster->new('top', servers => 3, conf => "difs.repair_interval = '300ms'\ndifs.repair_delay = '1h'\ndifs.unstage_interval = '500ms'\n");
my $difs = DifsCommand->new($cluster);
$cluster->sql("SELECT difs_volume_create('two', replicas => 2)");

# Puts go on meanwhile, as many as can be.
sub with_load
{
	my ($what) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open(STDERR, '>', '/dev/null');
		exec('psql', '-Xqc', q{DO $$ BEGIN FOR i IN 1 .. 100000 LOOP PERFORM difs_put('two:/load', decode(repeat('5a', 1000), 'hex')); PERFORM difs_get('two:/load'); COMMIT; END LOOP; END $$},
			'-d', $cluster->node->connstr('postgres')) or POSIX::_exit(127);
	}
	usleep(500_000);
	my @result = $what->();
	$cluster->sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query LIKE 'DO %'});
	waitpid($pid, 0);
	return @result;
}

# Rates are what has happened between the two looks.
my ($look) = with_load(sub { $difs->json('top', '--once') });
is(join(' ', sort keys %{ $look->{servers} }), '/storage01 /storage02 /storage03', 'chunk servers');
my $written = 0;
$written += $_->{per_second}{writes} foreach values %{ $look->{servers} };
cmp_ok($written, '>', 1, "writes a second: $written");
is($look->{database}, 'postgres', 'database');
ok($look->{claim}{held}, 'claim');
is(join(' ', sort { $a cmp $b } (map { $_->{duty} } @{ $look->{duties} })), 'claim collect compact place repair sample scrub unstage', 'duties');
usleep(1_500_000);
$look = $difs->json('top', '--once');
$written = 0;
$written += $_->{per_second}{writes} foreach values %{ $look->{servers} };
is($written, 0, '  control: nobody writes any more');

my ($text) = with_load(sub { $difs->done('top', '--once') });
note($text);
like($text, qr/^written +[\d.]+[KM]?\/s +[\d.,]+\/s +half below +[\d.]+ ms, 99% below +[\d.]+ ms, 0\/s failed$/m, 'throughput and latency');
like($text, qr/^\/storage0\d +active +\S+ +\S+ +\S+ ms +[1-9][\d.,]* +[\d.]+K? +[\d.]+ ms +[\d.,]+ +[\d.]+ ms +[\d.]+[KM] +[\d.]+[GT]$/m, 'of each server, with time of syncs and space');
like($text, qr/^repair +done +[\d.]+ s ago +[\d.]+ ms +[\d.]+ s/m, 'duties');
unlike($text, qr/[\e\r]/, 'no control characters without a terminal');

# On a small terminal; a key, or a signal, when a pattern has been seen.
sub on_terminal
{
	my ($pattern, $act, @arguments) = @_;
	return $difs->on_terminal([ 14, 60 ], $pattern, $act, 'top', @arguments);
}

my ($status, $all, $echo) = on_terminal(undef, undef, '-n', 2, '-i', 1);
is($status, 0, 'two looks on a terminal');
my @screens = split /\e\[H/, $all;
is(scalar(@screens), 3, 'drawn twice');
my @lines = map { s/\e\[[0-9;]*[A-Za-z]//gr } split /\r\n/, $screens[2];
cmp_ok(scalar(@lines), '<=', 14, 'no more lines than the terminal has');
is(scalar(grep { length($_) > 60 } @lines), 0, 'and none is longer');
like($screens[2], qr/storage03/, 'all servers');

my $began = time;
($status, $all, $echo) = on_terminal(qr/q ends/, sub { syswrite($_[1], 'q') }, '-i', 100);
is($status, 0, 'q ends it');
cmp_ok(time - $began, '<', 50, 'at once');
ok($echo, 'and gives the terminal back as it was');
($status, $all, $echo) = on_terminal(qr/storage03/, sub { kill 'INT', $_[0] }, '-i', 100);
is($status & 127, 2, 'SIGINT ends it by that signal');
ok($echo, 'and gives the terminal back, too');

# Trouble is seen.
$cluster->sql(q{SELECT difs_put('two:/kept', 'x')}, 'SELECT difs_repair()');
$cluster->server($_)->kill foreach 1, 2;
ok($cluster->node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM difs.servers WHERE NOT alive'), 'two servers die');
$cluster->sql("SET difs.server_timeout = '1s'", q{SELECT difs_put('two:/staged', convert_to(repeat('staged', 10000), 'UTF8'))});
ok($cluster->node->poll_query_until('postgres', 'SELECT copies_missing > 0 FROM difs.repair_progress'), 'copies are missing');
$text = $difs->done('top', '--once');
note($text);
like($text, qr/^2 of 3 chunk servers down$/m, 'how many are down');
like($text, qr/^\/storage02 +down /m, 'and which');
like($text, qr/^  \S.*onnect/m, 'and why');
like($text, qr/^staged +[1-9]\S* +in [1-9]\d* segments$/m, 'what is staged');
like($text, qr/^repair +\S+ +[1-9]\d* copies missing, 0 to move$/m, 'what is missing');

# Wrong use; no right.
my ($code, $out, $err) = $difs->run('top', '-i', '0');
is($code, 64, 'an interval of 0');
$cluster->sql('CREATE ROLE nobody_special LOGIN');
($code, $out, $err) = $difs->run('-U', 'nobody_special', 'top', '--once');
is($code, 1, 'who is no monitor');
like($err, qr/permission denied/, 'is told so');

$cluster->stop;
done_testing();
