# Many clients at once: sixteen that put, rename, link and delete on fifty names, for which no deadlock may be found, and eight that create
# files in one directory, which must not be slower than in eight.
#
#	DIFS_MIX_SECONDS	how long the sixteen go on (8)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{DIFS_MIX_SECONDS} // 8;
my $names = 50;

my $cluster = DifsCluster->new('mixed', servers => 1, conf => "deadlock_timeout = '200ms'\n");
my $node = $cluster->node;

sub pgbench
{
	my ($clients, $options, %scripts) = @_;
	my @files;
	foreach my $name (sort keys %scripts)
	{
		my ($plain, $weight) = split /@/, $name;
		push @files, '-f', $cluster->write_file("$plain.pgbench", $scripts{$name}) . '@' . ($weight // 1);
	}
	my ($stdout, $stderr) = run_command(
		[ 'pgbench', '-n', '-c', $clients, '-j', 2, @$options, @files, $node->connstr('postgres') ]);
	my ($done) = $stdout =~ /number of transactions actually processed: (\d+)/;
	my ($failed) = $stdout =~ /number of failed transactions: (\d+)/;
	my ($tps) = $stdout =~ /^tps = ([\d.]+)/m;
	return ($done // 0, $tps // 0, $stderr . ($failed ? "ERROR: $failed transactions failed" : ''));
}

sub deadlocks { return $cluster->sql("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"); }

# A call on names that others move about may find none, or one that is taken. Anything else ends the client, and the test.
$cluster->sql(q{
	CREATE FUNCTION try(call text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE 'SELECT ' || call;
		RETURN true;
	EXCEPTION WHEN undefined_file OR duplicate_file THEN
		RETURN false;
	END $$}, q{SELECT difs_mkdir('/mix'), difs_mkdir('/mix/a'), difs_mkdir('/mix/b')});
my $two = "\\set i random(1, $names)\n\\set j random(1, $names)\n";
my $one = q{'/mix/' || chr(97 + :i % 2) || '/' || :i};
my $other = q{'/mix/' || chr(97 + :j % 2) || '/' || :j};
my $call = sub { my ($function, @paths) = @_; return "${two}SELECT try(format('$function(" . join(', ', ('%L') x @paths) . ")', " . join(', ', @paths) . "));\n"; };
my %mix = (
	'put@4' => $call->('difs_put', $one, $other),
	'rename@3' => $call->('difs_rename', $one, $other),
	'link@3' => $call->('difs_link', $one, $other),
	'delete@2' => $call->('difs_delete', $one));

my ($done, $tps, $errors) = pgbench(16, [ '-T', $seconds ], %mix);
unlike($errors, qr/aborted|ERROR/, 'sixteen clients: no errors but for names that are not there, or taken');
cmp_ok($done, '>', 0, "$done calls in $seconds s");
is(deadlocks(), '0', 'no deadlock');
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'nothing is wrong');
my $left = $cluster->sql(q{SELECT count(*), count(DISTINCT ino), max(nlink) FROM difs_list('/mix', recursive => true, kind => 'file'), LATERAL (SELECT nlink FROM difs_stat('/mix/' || name)) AS s});
note("names, files and most names of one that are left: $left");
is($cluster->sql(q{SELECT count(*) FROM difs_list('/mix', recursive => true, kind => 'file') AS l WHERE difs_get('/mix/' || name) IS NULL}),
	'0', 'every file that is left can be read');

# control: transactions that take two files crosswise do deadlock, and that is seen
$cluster->sql(q{SELECT difs_put('/mix/x', ''), difs_put('/mix/y', '')});
my @sessions;
sub crosswise
{
	my @pairs = @_;
	my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \my $input, '>', \my $output, '2>', \my $error);
	$input .= "SELECT pg_advisory_lock(1);\n\\echo held\n";
	$holder->pump until $output =~ /held/;
	foreach my $pair (@pairs)
	{
		my %session = (stderr => '', stdout => '');
		$session{run} = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', 'BEGIN',
				'-c', "SELECT difs_put('/mix/$pair->[0]', 'x')", '-c', 'SELECT pg_advisory_xact_lock_shared(1)',
				'-c', "SELECT difs_put('/mix/$pair->[1]', 'x')", '-c', 'COMMIT' ],
			'<', \undef, '>', \$session{stdout}, '2>', \$session{stderr});
		push @sessions, \%session;
	}
	$node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock' AND objid = 1 AND objsubid = 1")
	  or die 'the two do not wait';
	$input .= "\\q\n";
	$holder->finish;
	$_->{run}->finish for @sessions;
	return;
}
crosswise([ 'x', 'y' ], [ 'y', 'x' ]);
like(join('', map { $_->{stderr} } @sessions), qr/deadlock detected/, 'control: two transactions that wait for each other are found');
ok($node->poll_query_until('postgres', "SELECT deadlocks = 1 FROM pg_stat_database WHERE datname = 'postgres'"), 'control: and counted');

# eight creators
$cluster->sql(q{SELECT difs_mkdir('/one')}, q{SELECT difs_mkdir('/eight')}, q{SELECT difs_mkdir('/eight/' || i) FROM generate_series(0, 7) AS i});
my %tps;
my %done = ('/one' => 0, '/eight' => 0);
foreach my $round (1 .. 3)
{
	foreach my $where ('/one', '/eight')
	{
		my $directory = $where eq '/one' ? q{'/one/'} : q{'/eight/' || :client_id || '/'};
		my ($count, $rate, $stderr) = pgbench(8, [ '-t', 250 ],
			create => "\\set n random(1, 1000000000000)\nSELECT difs_put($directory || :client_id || ' ' || :n, '', if_version => 0);\n");
		is($stderr =~ /aborted|ERROR/ ? $stderr : '', '', "eight clients create in $where");
		push @{ $tps{$where} }, $rate;
		$done{$where} += $count;
	}
}
is($cluster->sql("SELECT files FROM difs_du('$_')"), $done{$_}, "all files are in $_") for '/one', '/eight';
my @ratios = sort { $a <=> $b } map { $tps{'/one'}[$_] / $tps{'/eight'}[$_] } 0 .. 2;
note(sprintf('eight clients create in one directory %.2f times as many files a second as in eight (%.2f to %.2f)', @ratios[ 1, 0, 2 ]));
is(deadlocks(), '1', 'no deadlock but the control');
is($cluster->sql('SELECT * FROM difs_fsck()'), '', 'nothing is wrong');

$cluster->stop;
done_testing();
