# Every fault point: the process is killed there, whatever has ended with it is started again, and what must hold is looked at.
#
# Points of the chunk server alone (chunkd.*): at each time that the exercise comes there, difsd is killed, started anew, and asked for
# all that it acknowledged.  All others: PostgreSQL with three chunk servers under a load that passes the point; a backend, worker, duty or
# chunk server is killed there and comes back, and every acknowledged file reads back, every acknowledged deletion holds, nothing half is
# to be seen.  Then the keeper's duties run once, and nothing is left: no doomed content, no orphan, no problem that difs_fsck(deep) finds.
#
# A new point needs a line in fault_points.txt, and, if DifsFaultLoad's load does not pass it yet, a line in %drive.
#
# DIFS_FAULT_TIMES: how often at most the chunk server is killed at a point, in each of its two lives (default 1, 0 for all).
# DIFS_FAULT_PREFIX takes only the points whose names begin so; DIFS_FAULT_BIN names the programs of an installation with fault points
# (scripts/fault-install), so that none has to be built.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsDirect;
use DifsFaultLoad;
use DifsFaults;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(time);

my $most_times = $ENV{DIFS_FAULT_TIMES} // 1;
my $prefix = $ENV{DIFS_FAULT_PREFIX} // '';
my $in_cluster = qr/^(?!chunkd\.)|^chunkd\.(?:pull|mend)\./;
my ($load, $cluster, $node, $control);

is(system("$FindBin::RealBin/../scripts/check-fault-points"), 0, 'fault_points.txt and the code agree');

sub chunk_server_points
{
	my @points = grep { index($_, $prefix) == 0 && !/$in_cluster/ } DifsFaults::points('point', 'chunkd.');
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

my $number = 0;

# What passes a point, if the load does not; the longest prefix counts.  Each may die half-way, and is done again until the mark is there.
my %drive = (
	'backend.ids.flushed' => \&restart_postgres,
	'backend.staging.' => sub { stage(1) },
	'backend.upload.' => sub { $number++; $load->upload("two:/up$number/a"); $load->upload("two:/up$number/b", resumable => 'true') },
	'keeper.expire.' => sub { leave_an_upload(); $load->try('SELECT difs_collect()') },
	'backend.claim.' => sub { $load->try('SELECT difs_claim()') },
	'keeper.adopt.' => \&restart_postgres,
	'keeper.group.' => sub { lose_a_server(sub { $load->run_load }) },
	'keeper.group.dropped' => \&fail_to_create,
	'keeper.seal.' => sub { lose_a_server(sub { $load->run_load }) },
	'streamer.group.' => sub { lose_a_server(sub { $load->run_load }) },
	'keeper.collect.' => \&let_go,
	'keeper.collect.settled' => \&let_go_under_hold,
	'keeper.collect.drop' => \&empty_groups,
	'keeper.repair.' => \&lose_a_copy,
	'keeper.repair.asked' => sub { slowly(\&lose_a_copy) },
	'keeper.repair.dropped' => \&lose_a_server_for_long,
	'keeper.insert.' => \&insert,
	'keeper.unstage.' => sub { stage(3); $load->try('SELECT difs_unstage()') },
	'chunkd.pull.' => \&lose_a_copy,
	'chunkd.mend.' => \&rot,
);

sub restart_postgres
{
	$node->stop('immediate');
	$node->start;
	return;
}

sub set
{
	my ($setting, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $setting = '$value'");
	$node->reload;
	return;
}

# A member of every group dies and comes back, so groups fail, are sealed, and others are made.
my $victim = 0;
sub lose_a_server
{
	my ($meanwhile) = @_;
	my $server = $cluster->server($victim++ % 3);
	$server->kill;
	$meanwhile->();
	$server->start;
	return;
}

# A server on which no group can be made, while groups are needed: those that were open lost another member.  The server that is
# back, and the one that has failed, are asked again only after a while.
sub fail_to_create
{
	my @directories = grep { -d } glob($cluster->server($victim % 3)->{data} . '/*');
	$number++;
	chmod 0500, @directories;
	$victim++;
	eval {
		lose_a_server(sub { $load->put("three:/no$number/" . $_) for 1, 2 });
		DifsCluster::poll_until(sub { $load->put("three:/no$number/3"); -e "$control.keeper.group.dropped" }, 40);
		1;
	} or note($@);
	chmod 0700, @directories;
	$load->revive;
	$load->try('SELECT difs_unstage()');
	return;
}

sub stage
{
	my ($count) = @_;
	$number++;
	$load->put("two:/staged$number/$_", "SET difs.staging = always;\n") foreach 1 .. $count;
	return;
}

# The database fetches a file itself, and whoever dies, it comes, once.
sub insert
{
	my $path = 'two:/inserted' . ++$number;
	my $file = "inserted$number";
	$cluster->write_file($file, pack('H*', $load->sql("SELECT encode(content('$path'), 'hex')")));
	set('difs.insert_directory', $cluster->dir);
	DifsCluster::poll_until(sub { $load->sql('SHOW difs.insert_directory') ne '' }, 10);
	$load->insert($path, "file:$file");
	return;
}

# Something to collect, doomed and orphaned.
sub let_go
{
	$number++;
	my @paths = map { "two:/let$number/$_" } 1 .. 3;
	$load->put($_) foreach @paths;
	$load->delete(@paths);
	$load->try("BEGIN; SELECT difs_put('two:/let$number/never', content('$number')); ROLLBACK");
	$load->try('SELECT difs_collect()');
	return;
}

sub let_go_under_hold
{
	$load->try(q{SELECT difs_hold('fault')});
	let_go();
	DifsCluster::poll_until(sub { $load->try(q{SELECT difs_release('fault') FROM difs.holds WHERE name = 'fault'}) }, 20);
	return;
}

# An upload that has expired, with segments on the servers.
sub leave_an_upload
{
	$number++;
	$load->upload("two:/left$number", resumable => 'true /* for ever */');
	DifsCluster::poll_until(sub { !$load->try('SELECT 1') || $load->sql('SELECT count(*) FROM difs.uploads WHERE expires > clock_timestamp()') == 0 }, 20);
	return;
}

# Block groups that are sealed, and then empty.
sub empty_groups
{
	$number++;
	my @paths = map { "three:/empty$number/$_" } 1 .. 3;
	$load->put($_) foreach @paths;
	my $groups = $load->sql('SELECT string_agg(id::text, $$,$$) FROM difs.block_group WHERE replicas = 3');
	lose_a_server(sub { $load->put("three:/staged$number"); });
	$load->revive;
	$load->delete(@paths);
	$load->try('SELECT difs_unstage()');
	# the keeper seals them by and by
	DifsCluster::poll_until(sub {
			return !$load->try('SELECT difs_collect()') || $load->sql("SELECT count(*) FROM difs.block_group WHERE id IN ($groups)") == 0;
		}, 10);
	return;
}

# A sealed group's copy is gone, and is made anew.
sub lose_a_copy
{
	my $groups = q{FROM difs.block_groups WHERE state = 'sealed' AND replicas = 2};
	lose_a_server(sub { $load->run_load }) if $load->sql("SELECT count(*) $groups") == 0;
	$load->revive;
	$load->try('SELECT difs_repair()');
	my ($group, $name) = split /\|/, $load->sql("SELECT id, members[1] $groups ORDER BY bytes DESC NULLS LAST LIMIT 1");
	my $server = $cluster->named($name);
	my $file = $server->group_file($group);
	$server->kill;
	unlink $file;
	$server->start;
	$load->revive;
	$load->try('SELECT difs_repair()');
	return;
}

sub slowly
{
	my ($what) = @_;
	set('difs.repair_rate', '64kB');
	$what->();
	DifsCluster::poll_until(sub { eval { set('difs.repair_rate', '0'); 1 } }, 20);
	return;
}

# A server is away for so long that its copies are made anew elsewhere; when it is back, nobody wants them.
sub lose_a_server_for_long
{
	set('difs.repair_delay', '0');
	lose_a_server(sub {
		$load->run_load;
		$node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM difs.servers WHERE alive');
		$load->try('SELECT difs_repair()');
	});
	set('difs.repair_delay', '1h');
	$load->revive;
	$load->try('SELECT difs_repair()');
	return;
}

sub rot
{
	my $path = 'two:/rot' . ++$number;
	$load->put($path);
	my ($segment) = $cluster->segments($path);
	$segment->{servers}[0]->flip($segment, 10);
	$load->try("SELECT difs_scrub('$path')");
	return;
}

sub driver
{
	my ($point) = @_;
	my ($longest) = sort { length($b) <=> length($a) } grep { index($point, $_) == 0 } keys %drive;
	return $longest ? $drive{$longest} : sub { $load->run_load };
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

sub cluster_points
{
	my @points = grep { /$in_cluster/ && index($_, $prefix) == 0 } DifsFaults::points('point');
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

	$load = DifsFaultLoad->new('points');
	($cluster, $node) = ($load->cluster, $load->node);
	foreach my $point (@points)
	{
		my $began = time;
		arm("$point kill");
		my $hit = DifsCluster::poll_until(sub {
				eval { driver($point)->(); 1 } or note($@);
				-e "$control.$point" || (eval { $load->revive } && 0);	# which may be killed under it only now
			}, 60);
		arm();
		ok($hit, "$point: killed there");
		# servers may tell only later that they obey a claim whose taker has died, so it is taken again without waiting for that
		$load->revive, $load->sql('SELECT difs_claim()') if $point =~ /^backend\.claim\./;
		ok($load->revive, 'all is back');
		is_deeply([ $load->look ], [], 'and all is as acknowledged, nothing half is to be seen');
		is_deeply([ $load->settle, $load->look ], [], 'the duties leave nothing doomed, orphaned, missing or damaged');
		ok($load->put('two:/after' . ++$number), 'and files can be put');
		my @there = $load->there;
		$load->delete(@there[ 0 .. @there - 10 ]) if @there > 30;
		note(sprintf '%s: %.1f s', $point, time - $began);
	}
	my ($there, $gone) = (scalar(my @files = $load->there), scalar(my @deleted = $load->gone));
	note(scalar(@points) . " points, $there files there, $gone deleted");
	controls();
	$cluster->stop;
	return;
}

# With a safety left out, the same look sees the damage.
sub controls
{
	$load->sql("SELECT difs_put('two:/rot', content('two:/rot'))");
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
	is($load->sql("SELECT damage('two:/rot') LIKE '%good bytes%' OR damage('two:/rot') <> 'wrong bytes'"), 't', 'rotten bytes are an error');
	arm('backend.read.checksum skip');
	is($load->sql("SELECT damage('two:/rot')"), 'wrong bytes', 'control: without the check of blocks, wrong bytes are returned');
	$load->sql("SELECT difs_delete('two:/rot')");
	arm();

	$load->put('two:/old');
	my $old = $node->background_psql('postgres');
	$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	$load->delete('two:/old');
	my $read = q{SELECT coalesce(damage('two:/old'), 'right')};
	$load->sql('SELECT difs_collect()');
	is($old->query_safe($read), 'right', 'an old snapshot reads what has been deleted and collected since');
	arm('keeper.collect.horizon skip');
	$load->sql('SELECT difs_collect()');
	isnt($old->query_safe($read), 'right', 'control: without the horizon, collection takes it away');
	arm();
	$old->query_safe('COMMIT');
	$old->quit;

	my $direct = DifsDirect->new($cluster);
	my $session = $direct->session;
	set('difs.upload_expire', '1h');
	DifsCluster::poll_until(sub { $session->query('SHOW difs.upload_expire') eq '1h' }, 20);
	my $upload = $direct->begin($session, 'two:/upload', 10, resumable => 'true');
	my @answer = $session->try(sprintf "SELECT difs_upload_receipts(%s, ARRAY['forged'::bytea])", $upload->{id});
	like($answer[1], qr/no receipt/, 'a receipt that no server has signed is refused');
	$direct->send($session, $upload, '0123456789');
	my $forged = $upload->{receipts}[0] =~ s/..$/00/r;
	my $register = sub { return $session->fails(sprintf 'SELECT difs_upload_receipts(%s, %s)', $upload->{id}, DifsDirect::receipts_sql($forged)) };
	is($register->(), '22023', 'or whose signature has been changed');
	arm('backend.upload.receipt skip');
	is($register->(), '', 'control: without the check of the signature, it is taken');
	arm();
	$load->sql('SELECT difs_collect()');
	is($load->sql('SELECT orphans FROM difs_collect()'), 0, 'collection leaves the segments of an upload');
	arm('keeper.collect.upload skip');
	cmp_ok($load->sql('SELECT orphans FROM difs_collect()'), '>', 0, 'control: without a look at uploads, it takes them away');
	arm();
	$session->query("SELECT difs_upload_cancel($upload->{id})");

	$upload = $direct->begin($session, 'two:/upload', 10, resumable => 'true');
	my ($place) = $direct->place($session, $upload, 0, 1);
	$load->sql(q{SELECT difs_put('two:/attacked', 'bytes')});
	my ($row) = $direct->locate($session, 'two:/attacked');
	my %has_it = map { $_ => 1 } @{ $row->{servers} };
	my ($both) = grep { $has_it{$_} } @{ $place->{servers} };	# two of three and two of three
	my @attack = (dirname(DifsDirect::build()) . '/attack', $cluster->{key_file}, $both, $place->{token}, $row->{token}, 500, 1);
	arm('chunkd.request.token skip');
	like(`@attack`, qr/^obeyed: /m, 'control: without the check of tokens, bad ones are obeyed');
	arm();
	$session->query("SELECT difs_upload_cancel($upload->{id})");
	$session->quit;
	$load->sql(q{SELECT difs_delete('two:/attacked')});

	set('difs.insert_directory', $cluster->dir);
	DifsCluster::poll_until(sub { $load->sql('SHOW difs.insert_directory') ne '' }, 10);
	$cluster->write_file('often', 'often');
	arm('keeper.insert.once skip');
	$load->sql(q{SELECT difs_insert('two:/often', 'file:often')});
	ok(DifsCluster::poll_until(sub { $load->sql(q{SELECT difs_exists('two:/often')}) eq 't' && $load->sql(q{SELECT count(*) > 1 FROM difs_versions('two:/often')}) eq 't' }, 30),
		'control: if the transaction that inserts does not say so, content is inserted twice');
	arm();
	DifsCluster::poll_until(sub { $load->sql(q{SELECT state IN ('done', 'failed') FROM difs_check('two:/often'::text)}) eq 't' }, 30);
	$load->sql(q{SELECT difs_delete('two:/often')});

	arm('backend.commit.settle skip');
	$load->sql("SELECT difs_put('two:/hollow', content('two:/hollow'))");
	arm();
	like(join("\n", $load->look), qr{two:/hollow is to be seen}, 'control: a commit that does not wait for its segments is noticed');
	return;
}

chunk_server_points();
cluster_points();
done_testing();
