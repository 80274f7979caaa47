# Volumes: many of them, dropped ones, quotas under load, locks of several sessions, notifications, and all of it in a dump.
# DIFS_VOLUMES is how many are made (default 10000).

use strict;
use warnings;

use Time::HiRes qw(time);

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $volumes = $ENV{DIFS_VOLUMES} // 10000;
my $cluster = DifsCluster->new('volumes', servers => 1, conf => "max_locks_per_transaction = 256\n");
my $node = $cluster->node;

sub clean
{
	my ($after) = @_;
	is($cluster->sql('SELECT * FROM difs_fsck()'), '', "the tables are sound after $after");
	return;
}

# A session that stays: a function that asks it something, or ends it.
sub session
{
	my $psql = $node->background_psql('postgres', on_error_stop => 0);
	return sub { return @_ ? scalar($psql->query($_[0])) : $psql->quit; };
}

# Ten thousand volumes: the last cost what the first did.
{
	my @seconds;
	for my $part (0 .. 9)
	{
		my $began = time;
		$cluster->sql(sprintf q{DO $$ BEGIN FOR i IN %d..%d LOOP PERFORM difs_volume_create('many' || i); COMMIT; END LOOP; END $$},
			$part * $volumes / 10 + 1, ($part + 1) * $volumes / 10);
		push @seconds, time - $began;
	}
	note(sprintf 'creating %d volumes: %.0f us each for the first tenth, %.0f us for the last',
		$volumes, map { $_ * 1e7 / $volumes } @seconds[0, -1]);
	is($cluster->sql(q{SELECT count(*) FROM difs.volumes WHERE name LIKE 'many%'}), $volumes, 'all volumes are there');
	is($cluster->sql(qq{SELECT difs_put('many$volumes:/f', 'last')}, qq{SELECT difs_get('many$volumes:/f')}), "1\n\\x6c617374",
		'and the last can be used');
	$cluster->sql(sprintf q{DO $$ BEGIN FOR i IN 1..%d LOOP PERFORM difs_volume_drop('many' || i, force => true); END LOOP; END $$}, $volumes);
}

# Dropping costs the same whatever is in a volume; who still sees it can read it, and then the keeper takes all of it.
{
	$cluster->sql(q{SELECT difs_volume_create('tree', quota_bytes => 1000000000)});
	$cluster->sql(q{SELECT difs_put(format('tree:/%s/%s/%s', i % 7, i % 50, i), repeat(i::text, 50)::bytea, parents => true) FROM generate_series(1, 3000) i});
	$cluster->sql(q{SELECT difs_volume_create('small')}, q{SELECT difs_put('small:/f', '')});
	my $old = session();
	$old->(q{BEGIN ISOLATION LEVEL REPEATABLE READ});
	$old->(q{SELECT 1});
	my $writes = sub {
		my ($volume) = @_;
		return $cluster->sql('BEGIN', 'CREATE TEMP TABLE place AS SELECT pg_current_wal_insert_lsn() AS lsn', "SELECT FROM difs_volume_drop('$volume', force => true)",
			'SELECT pg_current_wal_insert_lsn() - lsn FROM place', 'COMMIT');
	};
	my %wal = map { $_ => (split /\n/, $writes->($_))[-1] } qw(small tree);
	note("WAL of dropping a volume of one file: $wal{small} bytes, of 3,000 files: $wal{tree}");
	is($cluster->sql('SELECT count(*) FROM difs.dropped'), $cluster->sql(q{SELECT count(DISTINCT ino) FROM difs.dropped}), 'one row for each');
	is($cluster->sql(q{SELECT count(*) > 3000 FROM difs.dentry}), 't', 'nothing else was touched');
	$cluster->sql('SELECT difs_collect()');
	is($cluster->sql('SELECT count(*) > 0 FROM difs.dropped'), 't', 'the keeper waits for who may still write there');
	is($old->(q{SELECT length(difs_get('tree:/1/1/1'))}), 50, 'an older snapshot reads it');
	clean('a drop');
	$old->('COMMIT');
	$old->();
	ok(DifsCluster::poll_until(sub {
		$cluster->sql('SELECT difs_collect()');
		return $cluster->sql('SELECT (SELECT count(*) FROM difs.dropped) + (SELECT count(*) FROM difs.doomed)') == 0;
	}), 'then the keeper takes it');
	is($cluster->sql(q{SELECT count(*) FROM difs.manifest}), 0, 'to the last segment');
	is($cluster->sql(q{SELECT (SELECT count(*) FROM difs.inode) - (SELECT count(*) FROM difs.volume)}), 0, 'and to the last inode');
	is($cluster->sql('SELECT * FROM difs_fsck(deep => true)'), '', 'tables and servers are sound');
}

# Many writers at once: an exact quota is never exceeded, and usage is right.
{
	$cluster->sql(q{SELECT difs_volume_create('load', quota_files => 200)}, map { "SELECT difs_mkdir('load:/$_')" } qw(a b));
	$cluster->sql(q{SELECT difs_quota_set('load:/a', bytes => 2000, exact => true)}, q{SELECT difs_quota_set('load:/b', files => 60)});
	my $script = $cluster->write_file('load.sql', <<'SQL');
\set n random(1, 40)
\set m random(1, 40)
\set size random(0, 100)
\set what random(1, 10)
DO $$ BEGIN
    PERFORM CASE
        WHEN :what < 6 THEN difs_put('load:/a/:n', repeat('x', :size)::bytea)
        WHEN :what < 8 THEN difs_put('load:/b/:m', repeat('x', :size)::bytea)
        WHEN :what < 9 THEN difs_delete('load:/a/:n')::integer
        ELSE length(difs_rename('load:/b/:m', 'load:/a/:n')::text) END;
EXCEPTION WHEN undefined_file OR configuration_limit_exceeded OR deadlock_detected THEN NULL;
END $$;
SQL
	$script =~ s/'/''/g;
	my ($out, $err) = run_command([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 60, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ]);
	like($out, qr/processed: 480\/480/, 'eight clients work in two quota roots') or diag($err);
	note($cluster->sql(q{SELECT path, bytes, quota_bytes, files FROM difs.quotas WHERE path LIKE 'load:%'}));
	is($cluster->sql(q{SELECT bytes <= quota_bytes AND bytes > 0 FROM difs.quotas WHERE path = 'load:/a'}), 't', 'the exact one was not exceeded');
	clean('the load');
}

# What it costs: a put without quota, and with one.
{
	$cluster->sql(q{SELECT difs_volume_create('plain')}, q{SELECT difs_volume_create('counted', quota_bytes => 1000000000)});
	my %us = map { $_ => 1e9 } qw(plain counted);
	for (1 .. 3)
	{
		for my $volume (qw(plain counted))
		{
			my $us = $cluster->sql(qq{SET client_min_messages = error},
				qq{DO \$\$ DECLARE began timestamptz := clock_timestamp(); BEGIN FOR i IN 1..500 LOOP PERFORM difs_put('$volume:/$_.' || i, ''); END LOOP;
				PERFORM set_config('test.us', (extract(epoch FROM clock_timestamp() - began) * 2000)::text, false); END \$\$},
				q{SELECT current_setting('test.us')});
			$us{$volume} = $us if $us < $us{$volume};
		}
	}
	note(sprintf 'put of an empty file, in one transaction: %.1f us without, %.1f us with a quota', @us{qw(plain counted)});
}

# Locks of several sessions.
{
	$cluster->sql(q{SELECT difs_put('/locked', 'x')});
	my ($one, $two) = (session(), session());

	# every pair of small ranges, here of sessions: they exclude each other if they overlap
	my $wrong = 0;
	for my $pair (map { my $a = $_; map { [ @$a, @$_ ] } ([ 0, 2 ], [ 1, 1 ], [ 3, 4 ], [ 5, 9 ], [ 8, 1 ]) } ([ 0, 1 ], [ 1, 3 ], [ 4, 4 ], [ 6, 7 ], [ 0, 16 ]))
	{
		my ($at, $length, $other_at, $other_length) = @$pair;
		$one->("SELECT difs_lock('/locked', scope => 'session', \"offset\" => $at, length => $length)");
		my $got = $two->("SELECT difs_lock('/locked', 'shared', timeout => '0', \"offset\" => $other_at, length => $other_length)") =~ /^\d+$/;
		my $overlap = $at < $other_at + $other_length && $other_at < $at + $length;
		$wrong++ if $got == $overlap;
		$one->("SELECT difs_unlock('/locked', \"offset\" => $at, length => $length)");
	}
	is($wrong, 0, 'ranges exclude each other exactly if they overlap');
	is($cluster->sql('SELECT count(*) FROM difs.locks'), 0, 'no lock is left');

	# a holder that dies
	like($one->(q{SELECT difs_lock('/locked', scope => 'session')}), qr/^\d+$/, 'a session has the lock');
	like($two->(q{SELECT difs_lock('/locked', timeout => '0')}), qr/^$/, 'another has not');
	my $pid = $one->('SELECT pg_backend_pid()');
	$cluster->sql("SELECT pg_terminate_backend($pid, 60000)");
	like($two->(q{SELECT difs_lock('/locked', timeout => '60 s')}), qr/^\d+$/, 'it is free when its holder has died');

	# an owner that gives it up while another one waits; the one who waits does not hold him up
	my $fence = $cluster->sql(q{SELECT difs_lock('/locked', scope => 'owner', owner => 'job', ttl => '1 hour')});
	my $out = '';
	my $waiting = IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-c', q{SELECT 'fence ' || difs_lock('/locked')}, 'postgres' ],
		'<', \undef, '>', \$out, IPC::Run::timeout(60));
	ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%fence%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()}),
		'somebody waits for an owner');
	is($cluster->sql(q{SELECT difs_unlock('/locked', 'job')}), 't', 'who gives it up');
	$waiting->finish;
	my ($next) = $out =~ /fence (\d+)/;
	cmp_ok($next // 0, '>', $fence, 'and then has it, with a higher number');

	# numbers do not come again after a crash
	$node->stop('immediate');
	$node->start;
	$cluster->wait_until_alive;
	cmp_ok($cluster->sql(q{SELECT difs_lock('/locked')}), '>', $next, 'numbers rise across a crash');
}

# Notifications: one for each transaction that commits.
{
	$cluster->sql(q{SELECT difs_volume_create('told', notify => true, journal => true)});
	my $heard = $cluster->sql('LISTEN difs_told', 'BEGIN', q{SELECT FROM (SELECT difs_put('told:/' || i, '') FROM generate_series(1, 20) i) x}, 'COMMIT',
		'BEGIN', q{SELECT FROM difs_delete('told:/1')}, 'ROLLBACK', q{SELECT FROM difs_delete('told:/2')}, q{SELECT FROM difs_put('/untold', '')});
	is(scalar(() = $heard =~ /Asynchronous notification "difs_told"/g), 2, 'two transactions, two notifications') or diag($heard);
}

# Everything is in a dump.
{
	$cluster->sql(q{SELECT difs_lock('/untold', scope => 'owner', owner => 'job', ttl => '1 hour')});
	$cluster->sql(q{SELECT difs_volume_create('going')}, q{SELECT difs_put('going:/a/b', '', parents => true)});
	$cluster->sql(q{SET difs.volume = 'main'}, q{BEGIN}, q{SELECT difs_volume_drop('going', force => true)}, q{COMMIT});
	my $content = join ' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM difs.$_ t" }
	  qw(volume quota usage journal lock dropped);
	my $dump = $cluster->dir . '/dump.sql';
	my $before = $cluster->sql($content, 'SELECT last_value FROM difs.fence');
	$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dumped');
	# slowly, so that the keeper of the new database has time to find what is there only in part
	my $text = slurp_file($dump);
	my $pauses = $text =~ s/^(COPY difs\.(?:block_group|cluster|doomed) .*?^\\\.\n)/$1SELECT pg_sleep(1.5);\n/msg;
	is($pauses, 3, 'control: the dump has these tables');
	open(my $out, '>', $dump) or die "$dump: $!";
	print $out $text;
	close($out);
	$node->safe_psql('postgres', "ALTER SYSTEM SET difs.collect_interval = '100ms'");
	$node->reload;
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'restored', '-f', $dump ], 'restored');
	is($node->safe_psql('restored', "$content; SELECT last_value FROM difs.fence"), $before, 'quotas, usage, journal and locks come back');
	note($before);
	is($node->safe_psql('restored', 'SELECT * FROM difs_fsck()'), '', 'the restored tables are sound');
}

clean('all of it');
$cluster->stop;
done_testing();
