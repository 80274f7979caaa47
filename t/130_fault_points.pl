# Every fault point: the process is killed there, whatever has ended with it is started again, and what must hold is looked at.
#
# Points of the chunk server (chunkd.*): at each time that the exercise comes there, difsd is killed, started anew, and asked for
# all that it acknowledged.  All others: PostgreSQL with three chunk servers under a load that passes the point; a backend or worker is
# killed there, PostgreSQL restarts itself, and every acknowledged file reads back, every acknowledged deletion holds, nothing half is
# to be seen, and new files can be put.
#
# A new point needs a line in fault_points.txt, and, if %load does not pass it yet, a line in %drive.
#
# DIFS_FAULT_TIMES: how often at most the chunk server is killed at a point, in each of its two lives (default 3, 0 for all).
# DIFS_FAULT_PREFIX takes only the points whose names begin so; DIFS_FAULT_BIN names the programs of an installation with fault points
# (scripts/fault-install), so that none has to be built.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsFaults;
use File::Temp qw(tempdir);
use POSIX qw(:sys_wait_h);
use Test::More;

my $most_times = $ENV{DIFS_FAULT_TIMES} // 3;
my $prefix = $ENV{DIFS_FAULT_PREFIX} // '';
my ($cluster, $node, $control, $number);

is(system("$FindBin::RealBin/../scripts/check-fault-points"), 0, 'fault_points.txt and the code agree');

sub chunk_server_points
{
	my @points = grep { index($_, $prefix) == 0 } DifsFaults::points('point', 'chunkd.');
	return unless @points;
	my $run = DifsFaults->new('points');
	my $kills = 0;
	foreach my $point (@points)
	{
		my $times = 0;
		my @wrong;
		# the second start takes over what the first has left: both count, as there are points of start and recovery
		foreach my $phase (1, 2)
		{
			for (my $time = 1; !$most_times || $time <= $most_times; $time++)
			{
				$run->reset;
				if ($phase == 2)
				{
					$run->start or die 'difsd does not start';
					$run->exercise(0, $run->restart_step);
					$run->end('KILL');
				}
				$run->arm("$point kill $time");
				push @wrong, $run->exercise($phase == 1 ? (0, $run->restart_step) : ($run->restart_step, $run->steps)) if $run->start;
				$run->end('KILL');
				last unless $run->hit($point);
				$times++;
				push @wrong, $run->start ? $run->check : 'difsd does not start any more';
				$run->end('KILL');
			}
		}
		$kills += $times;
		cmp_ok($times, '>', 0, "$point: killed there, $times times");
		is_deeply(\@wrong, [], 'and all is as acknowledged');
	}
	note("$kills kills at points of the chunk server");
	return;
}

sub sql { return $cluster->sql(@_); }

# Statements that pass the points of a backend, each in a transaction of its own, for a new number.
sub load
{
	my ($n) = @_;
	return (
		put("two:/p$n/a"),
		put("two:/p$n/gone"),
		"BEGIN; SAVEPOINT s; SELECT difs_put('two:/p$n/never', 'x'); ROLLBACK TO s; " . put("two:/p$n/b") . ' COMMIT;',
		"BEGIN; SELECT difs_put('two:/p$n/never', 'x'); ROLLBACK;",
		"SELECT 'gone two:/p$n/gone' FROM difs_delete('two:/p$n/gone');",
		"BEGIN; " . put("two:/p$n/prepared", 'prepared') . " PREPARE TRANSACTION 'p$n';",
		"COMMIT PREPARED 'p$n';",
		put("two:/p$n/c"));
}

# Its line of output counts only if the transaction commits, so it is printed by psql after that.
sub put
{
	my ($path) = @_;
	return "SELECT difs_put('$path', content('$path'), parents => true) AS v \\gset\n\\set path $path\n";
}

my %drive = (
	'backend.ids.flushed' => sub { $node->stop('immediate'); $node->start; },
	'keeper.adopt' => sub { $node->stop('immediate'); $node->start; },
	'keeper.' => \&lose_a_server,
	'streamer.group' => \&lose_a_server,
);

# A member of every group dies and comes back, so groups fail, are sealed, and others are made.
my $victim = 0;
sub lose_a_server
{
	my $server = $cluster->server($victim++ % 3);
	$server->kill;
	run_load();
	$server->start;
	return;
}

sub driver
{
	my ($point) = @_;
	my ($longest) = sort { length($b) <=> length($a) } grep { index($point, $_) == 0 } keys %drive;
	return $longest ? $drive{$longest} : \&run_load;
}

my (%there, %gone, %maybe);

# Runs the load, statement by statement, and notes what was acknowledged.
sub run_load
{
	my $n = ++$number;
	my @steps = ([ 'put', 'a' ], [ 'put', 'gone' ], [ 'put in a savepoint', 'b' ], [ 'rollback', '' ], [ 'delete', 'gone' ],
		[ 'prepare', 'prepared' ], [ 'commit prepared', 'prepared' ], [ 'put', 'c' ]);
	my @statements = load($n);
	foreach my $i (0 .. $#steps)
	{
		my ($what, $name) = @{ $steps[$i] };
		my $path = "two:/p$n/$name";
		my $done = $node->psql('postgres', $statements[$i], on_error_stop => 1, timeout => 60) == 0;
		if ($what eq 'delete')
		{
			my $was_there = delete $there{$path};
			if ($done) { $gone{$path} = 1; } else { $maybe{$path} = $was_there; }
		}
		elsif ($done && $what =~ /^put|commit prepared/)
		{
			$there{$path} = 1;
		}
	}
	return;
}

# What is wrong: lines.
sub look
{
	my @wrong;
	foreach my $gid (split /\n/, sql('SELECT gid FROM pg_prepared_xacts'))
	{
		sql("COMMIT PREPARED '$gid'");
		my ($n) = $gid =~ /(\d+)/;
		$there{"two:/p$n/prepared"} = 1;
	}
	my $list = $cluster->write_file('there', join '', map { "$_\n" } sort keys %there);
	my $none = $cluster->write_file('gone', join '', map { "$_\n" } sort keys %gone);
	push @wrong, split /\n/, sql(
		'CREATE TEMP TABLE there (path text)', "COPY there FROM '$list'", 'CREATE TEMP TABLE gone (path text)', "COPY gone FROM '$none'",
		q{SELECT path || ' was acknowledged: ' || damage(path) FROM there WHERE damage(path) IS NOT NULL
		  UNION ALL SELECT path || ' was deleted' FROM gone WHERE difs_exists(path)
		  UNION ALL SELECT f || ' is to be seen: ' || damage(f)
			FROM (SELECT 'two:/' || name FROM difs_list('two:/', recursive => true, kind => 'file')) l (f) WHERE damage(f) IS NOT NULL
		  UNION ALL SELECT 'never is to be seen'
			FROM difs_list('two:/', recursive => true, kind => 'file') WHERE name LIKE '%/never'});
	push @wrong, split /\n/, sql(q{SELECT problem::text FROM difs_fsck() problem})
	  if sql(q{SELECT count(*) FROM pg_proc WHERE proname = 'difs_fsck'}) > 0;
	return @wrong;
}

sub arm
{
	my (@lines) = @_;
	unlink glob("$control.*");
	open(my $file, '>', "$control") or die "$control: $!";
	print $file map { "$_\n" } @lines;
	close($file);
	return;
}

# Starts again what has died: chunk servers here, PostgreSQL by itself.
sub revive
{
	foreach my $server ($cluster->servers)
	{
		next unless $server->pid && waitpid($server->pid, WNOHANG) != 0;
		$server->kill;
		$server->start;
	}
	return $node->poll_query_until('postgres', 'SELECT count(*) = 3 FROM difs.servers WHERE alive');
}

sub cluster_points
{
	my @points = grep { !/^chunkd\./ && index($_, $prefix) == 0 } DifsFaults::points('point');
	return unless @points;
	my $bin = $ENV{DIFS_FAULT_BIN} // do
	{
		my $directory = tempdir('difs-install-XXXXXX', TMPDIR => 1, CLEANUP => 1);
		chomp(my $printed = `$FindBin::RealBin/../scripts/fault-install $directory`);
		$printed;
	};
	BAIL_OUT('difs with fault points cannot be built') unless -x "$bin/difsd";
	local $ENV{PATH} = "$bin:$ENV{PATH}";
	local $ENV{DIFSD} = "$bin/difsd";
	$control = tempdir('difs-control-XXXXXX', TMPDIR => 1, CLEANUP => 1) . '/control';
	local $ENV{DIFS_FAULT_FILE} = $control;

	$cluster = DifsCluster->new('points', servers => 3, conf => <<'CONF');
restart_after_crash = on
max_prepared_transactions = 5
difs.server_timeout = '5s'
CONF
	$node = $cluster->node;
	sql(
		q{SELECT difs_volume_create('two', replicas => 2, segment_size => 65536)},
		q{CREATE FUNCTION content(path text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
		  SELECT string_agg(sha512(convert_to(path || i, 'UTF8')), '') FROM generate_series(1, 1 + abs(hashtext(path) % 2000)) i $$},
		q{CREATE FUNCTION damage(path text) RETURNS text LANGUAGE plpgsql AS $$
		  BEGIN
			IF difs_get(path) = content(path) THEN RETURN NULL; END IF;
			RETURN 'wrong bytes';
		  EXCEPTION WHEN OTHERS THEN RETURN SQLERRM;
		  END $$});
	foreach my $point (@points)
	{
		arm("$point kill");
		my $hit = DifsCluster::poll_until(sub { eval { driver($point)->(); 1 } or note($@); -e "$control.$point" }, 60);
		arm();
		ok($hit, "$point: killed there");
		ok(revive(), 'all is back');
		is_deeply([ look() ], [], 'and all is as acknowledged, nothing half is to be seen');
		my $path = 'two:/after' . ++$number;
		sql("SELECT difs_put('$path', content('$path'))");
		$there{$path} = 1;
	}
	note(scalar(keys %there) . ' files there, ' . scalar(keys %gone) . ' deleted');
	controls();
	$cluster->stop;
	return;
}

# With a safety left out, the same look sees the damage.
sub controls
{
	sql("SELECT difs_put('two:/rot', content('two:/rot'))");
	foreach my $segment ($cluster->segments('two:/rot'))
	{
		foreach my $server (@{ $segment->{servers} })
		{
			my ($file, $offset, $header) = $server->record_of($segment);
			open(my $handle, '+<:raw', $file) or die "$file: $!";
			seek($handle, $offset + $header + 50, 0);
			print $handle 'rot';
			close($handle);
		}
	}
	is(sql("SELECT damage('two:/rot') LIKE '%good bytes%' OR damage('two:/rot') <> 'wrong bytes'"), 't', 'rotten bytes are an error');
	arm('backend.read.checksum skip');
	is(sql("SELECT damage('two:/rot')"), 'wrong bytes', 'control: without the check of blocks, wrong bytes are returned');
	sql("SELECT difs_delete('two:/rot')");

	arm('backend.commit.settle skip');
	sql("SELECT difs_put('two:/hollow', content('two:/hollow'))");
	arm();
	like(join("\n", look()), qr{two:/hollow is to be seen}, 'control: a commit that does not wait for its segments is noticed');
	return;
}

chunk_server_points();
cluster_points();
done_testing();
