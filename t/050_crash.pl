# PostgreSQL, a chunk server, both, or the streamer are killed under load, at moments that differ from round to round; whatever was acknowledged
# reads back with the right bytes, and what was not acknowledged is either whole or not there.
#
# DIFS_CRASH_ROUNDS makes it longer, DIFS_CRASH_SEED different.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{DIFS_CRASH_ROUNDS} // 8;
my $seed = $ENV{DIFS_CRASH_SEED} // 20;
my $writers = 3;
my $files_a_writer = 150;
srand($seed);

my $cluster = DifsCluster->new('crash', servers => 3, conf => "restart_after_crash = on\nmax_connections = 30\n");
my $node = $cluster->node;
$cluster->sql(
	q{SELECT difs_volume_create('two', replicas => 2, segment_size => 65536)},
	# what a file must hold follows from its path
	q{CREATE FUNCTION content(path text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	  SELECT substring(string_agg(sha512(convert_to(path || i, 'UTF8')), '') FROM 1 FOR 1 + abs(hashtext(path) % 200000))
	  FROM generate_series(1, 3200) i WHERE i <= abs(hashtext(path) % 200000) / 64 + 1 $$});

# Clients that put one file after the other, each in its own transaction, and note what was acknowledged.
sub start_writers
{
	my ($round) = @_;
	my @started;
	foreach my $writer (1 .. $writers)
	{
		my $name = "r${round}w$writer";
		my $statements = join "\n", map {
			"SELECT path FROM (SELECT difs_put(path, content(path), parents => true), path FROM (VALUES ('two:/$name/$_')) v (path)) s;"
		} 1 .. $files_a_writer;
		my $script = $cluster->write_file("$name.sql", "$statements\n");
		my $acknowledged = "$cluster->{dir}/$name.out";
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			open(STDOUT, '>', $acknowledged) or POSIX::_exit(126);
			open(STDERR, '>', "$cluster->{dir}/$name.err") or POSIX::_exit(126);
			exec('psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $script) or POSIX::_exit(127);
		}
		push @started, { pid => $pid, file => $acknowledged };
	}
	return @started;
}

sub acknowledged
{
	return map { chomp; $_ } map { slurp_lines($_->{file}) } @_;
}

# Whole lines only: the last one may have been cut by the kill.
sub slurp_lines
{
	my ($path) = @_;
	open(my $file, '<', $path) or return ();
	return grep { /\n$/ } <$file>;
}

# For PostgreSQL, that is a crash: it ends everybody and starts itself anew.
sub kill_streamer
{
	my ($postmaster) = split /\n/, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid');
	my ($pid) = map { /^\s*(\d+)\s+$postmaster\s.*difs streamer/ ? $1 : () } `ps -A -o pid= -o ppid= -o args=`;
	ok($pid && kill('KILL', $pid), 'the streamer is killed');
	return;
}

sub wait_for_postgres
{
	return DifsCluster::poll_until(sub { $node->psql('postgres', 'SELECT 1') == 0 }, 60);
}

sub restart_postgres
{
	# orphaned backends take a moment to notice; a start that fails for that leaves the dead postmaster's pid in the node
	return DifsCluster::poll_until(sub { delete $node->{_pid}; $node->start(fail_ok => 1) }, 60);
}

# (files that were acknowledged and are missing or wrong, files that are there and are wrong)
sub count_damage
{
	my ($round, @paths) = @_;
	my $list = $cluster->write_file("acknowledged", join('', map { "$_\n" } @paths));
	my $missing = $cluster->sql(
		'CREATE TEMP TABLE acknowledged (path text)',
		"COPY acknowledged FROM '$list'",
		'SELECT count(*) FROM acknowledged WHERE NOT difs_exists(path) OR difs_get(path) <> content(path)');
	my $wrong = $cluster->sql(
		qq{SELECT count(*) FROM difs_list('two:/', recursive => true, kind => 'file') f
		   WHERE f.name LIKE 'r$round%' AND difs_get('two:/' || f.name) <> content('two:/' || f.name)});
	return ($missing, $wrong);
}

my $total = 0;
foreach my $round (1 .. $rounds)
{
	my $what = ('PostgreSQL', 'a chunk server', 'both', 'the streamer')[ $round % 4 ];
	my $victim = int(rand(3));
	my $after = 1 + int(rand($writers * $files_a_writer * 0.6));

	my @writing = start_writers($round);
	my $reached = DifsCluster::poll_until(sub { acknowledged(@writing) >= $after }, 120);
	ok($reached, "round $round: load reached its moment (after $after puts)");
	$cluster->server($victim)->kill if $what =~ /chunk server|both/;
	$node->kill9 if $what =~ /PostgreSQL|both/;
	kill_streamer() if $what eq 'the streamer';

	waitpid($_->{pid}, 0) foreach @writing;
	$cluster->server($victim)->start if $what =~ /chunk server|both/;
	ok($what eq 'a chunk server' || ($what eq 'the streamer' ? wait_for_postgres() : restart_postgres()), "round $round: PostgreSQL is back after $what died");

	my @paths = acknowledged(@writing);
	$total += @paths;
	cmp_ok(scalar(@paths), '==', $writers * $files_a_writer, "round $round: no put failed while a server was dead")
	  if $what eq 'a chunk server';
	is_deeply([ count_damage($round, @paths) ], [ 0, 0 ],
		"round $round: $what killed, " . @paths . ' acknowledged files are right, nothing is wrong');
	$cluster->wait_until_alive;
}

# the control: the same count sees damage where there is some
$cluster->sql(q{SELECT difs_put('two:/r0/control', 'something else', parents => true)});
my ($missing, $wrong) = count_damage(0, 'two:/r0/control', 'two:/r0/never');
is("$missing $wrong", '2 1', 'control: lost and wrong files are counted');
note("$total acknowledged puts in $rounds rounds, seed $seed");
$cluster->stop;
done_testing();
