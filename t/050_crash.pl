# Whatever can die is killed (kill -9) under load, at moments that differ from round to round, while all duties run: collection, repair, scrub,
# staging.  What was acknowledged is there with the right bytes; of what was under way, a transaction is there as a whole or not at all.
#
# Each writer has a directory of its own, and changes it in transactions that are written down beforehand: puts, overwriting ones, copies, renames,
# deletions, alone and several at a time, some with savepoints that are rolled back, prepared, or aborted.  So after a crash the directory must be
# as after the last transaction that was acknowledged, or as after the next one, whatever rounds there were before.
#
# After every DIFS_CRASH_SETTLE rounds, and the last, the duties run until there is nothing left to do, and nothing may be left: no doomed
# content, no orphan, no missing copy, nothing that difs_fsck(deep) finds.
#
#	DIFS_CRASH_ROUNDS	number of rounds (default 10; 500 for the long run)
#	DIFS_CRASH_SETTLE	(default 5)
#	DIFS_CRASH_SEED		another load, other moments

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha512);
use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $rounds = $ENV{DIFS_CRASH_ROUNDS} // 10;
my $settle_every = $ENV{DIFS_CRASH_SETTLE} // 5;
my $seed = $ENV{DIFS_CRASH_SEED} // 20;
my $writers = 3;
my $transactions = 60;	# of a writer in a round
my $names = 25;			# in a writer's directory
my @kinds = ('PostgreSQL', 'a chunk server', 'both', 'the streamer', 'a duty or the keeper', 'all chunk servers');
srand($seed);

my $cluster = DifsCluster->new('crash', servers => 3, conf => <<'CONF');
restart_after_crash = on
max_connections = 30
max_prepared_transactions = 10
difs.block_group_size = '16MB'
difs.collect_interval = '300ms'
difs.repair_interval = '500ms'
difs.repair_delay = '500ms'
difs.scrub_interval = '20s'
difs.unstage_interval = '1s'
CONF
my $node = $cluster->node;
$cluster->sql(
	q{SELECT difs_volume_create('two', replicas => 2, segment_size => 65536)},
	# what a file holds follows from a key, see expected_digest()
	q{CREATE FUNCTION content(key text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	  SELECT string_agg(sha512(convert_to(key || ' ' || i, 'UTF8')), '' ORDER BY i)
	  FROM generate_series(1, 1 + substr(key, 1, 4)::int % 2500) i $$});

my %digests;

sub expected_digest
{
	my ($key) = @_;
	my $count = 1 + substr($key, 0, 4) % 2500;
	return $digests{$key} //= md5_hex(join '', map { sha512("$key $_") } 1 .. $count);
}

my $keys = 0;
sub new_key { return sprintf('%04d-%d', int(rand(10000)), ++$keys); }

# Changes a state ({ name => key }) at random, and returns the statement that does so.
sub change
{
	my ($directory, $state) = @_;
	my $name = 'f' . int(rand($names));
	my @there = sort keys %$state;
	my $dice = rand();
	if (@there < 3 || $dice < 0.5)
	{
		my $key = $state->{$name} = new_key();
		return "SELECT difs_put('two:/$directory/$name', content('$key'), parents => true);";
	}
	my $other = $there[ rand @there ];
	if ($dice < 0.65 && $other ne $name)
	{
		$state->{$name} = delete $state->{$other};
		return "SELECT difs_rename('two:/$directory/$other', 'two:/$directory/$name');";
	}
	if ($dice < 0.75 && $other ne $name)
	{
		$state->{$name} = $state->{$other};
		return "SELECT difs_copy('two:/$directory/$other', 'two:/$directory/$name');";
	}
	delete $state->{$other};
	return "SELECT difs_delete('two:/$directory/$other');";
}

sub changes
{
	my ($directory, $state, $count) = @_;
	return join(' ', map { change($directory, $state) } 1 .. $count);
}

my %statistics;

# The next transaction on a state: its statements.
sub transaction
{
	my ($directory, $state, $gid) = @_;
	my $dice = rand();
	my %lost = %$state;
	my $statements;
	if ($dice < 0.55)
	{
		$statistics{single}++;
		return change($directory, $state);
	}
	if ($dice < 0.7)
	{
		$statistics{several}++;
		return 'BEGIN; ' . changes($directory, $state, 3) . ' COMMIT;';
	}
	if ($dice < 0.8)
	{
		$statistics{'with a savepoint'}++;
		$statements = 'BEGIN; ' . change($directory, $state) . ' SAVEPOINT s; ';
		%lost = %$state;
		return $statements . changes($directory, \%lost, 2) . ' ROLLBACK TO s; ' . change($directory, $state) . ' COMMIT;';
	}
	if ($dice < 0.9)
	{
		$statistics{aborted}++;
		return 'BEGIN; ' . changes($directory, \%lost, 3) . ' ROLLBACK;';
	}
	if ($dice < 0.95)
	{
		$statistics{failed}++;
		my $inner = changes($directory, \%lost, 2);
		$inner =~ s/SELECT/PERFORM/g;
		return "DO \$\$ BEGIN $inner RAISE EXCEPTION 'wanted'; EXCEPTION WHEN raise_exception THEN NULL; END \$\$;";
	}
	$statistics{prepared}++;
	return 'BEGIN; ' . changes($directory, $state, 2) . " PREPARE TRANSACTION '$gid'; COMMIT PREPARED '$gid';";
}

# What each writer's directory holds, as far as is known.
my @state = map { {} } 1 .. $writers;

# Clients that run their transactions one after the other, and note each that was acknowledged.
sub start_writers
{
	my ($round) = @_;
	my @started;
	foreach my $writer (0 .. $#state)
	{
		my $name = "r${round}w$writer";
		my @states = ({ %{ $state[$writer] } });
		my $script = "\\set ON_ERROR_STOP on\n";
		foreach my $number (1 .. $transactions)
		{
			my %next = %{ $states[-1] };
			$script .= transaction("w$writer", \%next, "$name $number") . "\n\\echo done $number\nSELECT 1;\n";
			push @states, \%next;
		}
		my $file = $cluster->write_file("$name.sql", $script);
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			open(STDOUT, '>', "$cluster->{dir}/$name.out") or POSIX::_exit(126);
			open(STDERR, '>', "$cluster->{dir}/$name.err") or POSIX::_exit(126);
			exec('psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file) or POSIX::_exit(127);
		}
		push @started, { writer => $writer, pid => $pid, states => \@states, name => $name };
	}
	return @started;
}

# How many transactions of a writer have been acknowledged.
sub acknowledged
{
	my ($writing) = @_;
	open(my $file, '<', "$cluster->{dir}/$writing->{name}.out") or return 0;
	my $last = 0;
	while (my $line = <$file>)
	{
		$last = $1 if $line =~ /^done (\d+)\n$/;
	}
	return $last;
}

sub acknowledged_by_all
{
	my $sum = 0;
	$sum += acknowledged($_) foreach @_;
	return $sum;
}

# One of PostgreSQL's processes. For PostgreSQL, that is a crash: it ends everybody and starts itself anew.
sub kill_worker
{
	my ($pattern) = @_;
	my ($postmaster) = split /\n/, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid');
	return DifsCluster::poll_until(sub {
			my @pids = map { /^\s*(\d+)\s+$postmaster\s.*$pattern/ ? $1 : () } `ps -A -o pid= -o ppid= -o args=`;
			return @pids && kill('KILL', $pids[ rand @pids ]);
		}, 20);
}

sub kill_something
{
	my ($what) = @_;
	my @victims = $what eq 'all chunk servers' ? $cluster->servers : $what =~ /chunk server|both/ ? $cluster->server(rand 3) : ();
	$_->kill foreach @victims;
	$node->kill9 if $what =~ /PostgreSQL|both/;
	ok(kill_worker('difs streamer'), 'the streamer is killed') if $what eq 'the streamer';
	ok(kill_worker('difs keeper'), 'a process of the keeper is killed') if $what eq 'a duty or the keeper';
	return @victims;
}

# Orphaned backends take a moment to notice; a start that fails for that leaves the dead postmaster's pid in the node.
sub postgres_is_back
{
	my ($what) = @_;
	return DifsCluster::poll_until(sub { delete $node->{_pid}; $node->start(fail_ok => 1) }, 60) if $what =~ /PostgreSQL|both/;
	return DifsCluster::poll_until(sub { $node->psql('postgres', 'SELECT 1') == 0 }, 60);
}

# { name => digest } of a writer's directory; an error stands for the digest of what cannot be read.
$cluster->sql(
	q{CREATE FUNCTION digest(path text) RETURNS text LANGUAGE plpgsql AS $$
	  BEGIN RETURN md5(difs_get(path)); EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END $$});

sub directory
{
	my ($writer) = @_;
	return { map { split /\|/, $_, 2 } split /\n/, $cluster->sql(
			qq{SELECT name, digest('two:/w$writer/' || name) FROM difs_list('two:/') AS top (directory),
			   difs_list('two:/w$writer') AS files WHERE top.directory = 'w$writer'}) };
}

# What is not as in a state: lines.
sub differences
{
	my ($there, $state) = @_;
	return map {
		my $digest = $there->{$_} // 'not there';
		my $wanted = defined $state->{$_} ? expected_digest($state->{$_}) : 'not there';
		$digest eq $wanted ? () : "$_: $digest, $wanted expected";
	} sort keys %{ { %$there, %$state } };
}

my ($total, $under_way, $lost) = (0, 0, 0);

# Finds out how far a writer has come, and goes on from there: what is wrong, lines.
sub judge
{
	my ($writing) = @_;
	my $done = acknowledged($writing);
	my $there = directory($writing->{writer});
	my @wrong;
	foreach my $state (grep { defined } @{ $writing->{states} }[ $done, $done + 1 ])
	{
		my @differences = differences($there, $state);
		@wrong = @differences if !@wrong || @differences < @wrong;
		next if @differences;
		$state[ $writing->{writer} ] = $state;
		@wrong = ();
		$under_way++ if $state != $writing->{states}[$done];
		last;
	}
	$total += $done;
	$lost += @wrong;
	return map { "$writing->{name} after $done: $_" } @wrong;
}

my $left = 0;
my $began = time;
foreach my $round (1 .. $rounds)
{
	my $what = $kinds[ $round % @kinds ];
	my $after = 1 + int(rand($writers * $transactions * 0.8));

	my @writing = start_writers($round);
	ok(DifsCluster::poll_until(sub { acknowledged_by_all(@writing) >= $after }, 120),
		"round $round: load reached its moment (after $after transactions)");
	my @victims = kill_something($what);
	usleep(rand(1_000_000)) if $what eq 'a chunk server';
	$_->start foreach $what eq 'all chunk servers' ? () : @victims;
	waitpid($_->{pid}, 0) foreach @writing;
	$_->start foreach $what eq 'all chunk servers' ? @victims : ();
	ok(postgres_is_back($what), "round $round: PostgreSQL is back after the death of $what");
	$cluster->sql("COMMIT PREPARED '$_'") foreach split /\n/, $cluster->sql('SELECT gid FROM pg_prepared_xacts');

	is(acknowledged_by_all(@writing), $writers * $transactions, "round $round: no transaction failed for the death of $what")
	  if $what =~ /^a chunk server|^all/;
	my @wrong = map { judge($_) } @writing;
	is_deeply(\@wrong, [], "round $round: $what killed, all is as acknowledged") or BAIL_OUT('the states are not known any more');
	unlink glob("$cluster->{dir}/r${round}w*");
	$cluster->wait_until_alive;
	next if $round % $settle_every && $round != $rounds;
	my @left = $cluster->left_behind(60);
	$left += @left;
	is_deeply(\@left, [], "round $round: nothing doomed, orphaned, missing or damaged is left");
	is_deeply([ map { differences(directory($_), $state[$_]) } 0 .. $#state ], [], 'and all is there');
}
diag(sprintf '%d rounds in %.0f s, seed %d: %d transactions acknowledged, %d more had committed, %d files lost or wrong, %d things left behind',
	$rounds, time - $began, $seed, $total, $under_way, $lost, $left);
note(join ', ', map { "$statistics{$_} $_" } sort keys %statistics);

# The controls: the same looks see what is lost, wrong, doomed, orphaned.
$state[0]{never} = new_key();
$state[0]{wrong} = new_key();
$cluster->sql(q{SELECT difs_put('two:/w0/wrong', 'something else', parents => true)});
is(scalar(differences(directory(0), $state[0])), 2, 'control: lost and wrong files are counted');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$cluster->sql(q{SELECT difs_delete('two:/w0/wrong')});
like(join("\n", $cluster->left_behind(2)), qr/^1 doomed$/m, 'control: what cannot be collected is counted');
$session->query_safe('COMMIT');
$session->quit;

# All goes.
$cluster->sql(q{SELECT difs_delete('two:/' || name, recursive => true) FROM difs_list('two:/')});
is_deeply([ $cluster->left_behind(60) ], [], 'all is deleted: nothing is left behind');
ok(DifsCluster::poll_until(sub {
			$cluster->sql('SELECT difs_collect()');
			$cluster->sql('SELECT (SELECT count(*) FROM difs.doomed), (SELECT count(*) FROM difs.manifest)') eq '0|0';
		}, 30), 'no doomed row, no row of the manifest') or diag($cluster->sql('SELECT * FROM difs.collection_blockers'));
$cluster->stop;
done_testing();
