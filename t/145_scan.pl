# Scans are kept from call to call (src/scan.c): a session goes on reading right while tables and indexes are rewritten, the
# extension is created anew, calls fail half-way, and a standby is promoted; and it does not gather memory.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('scan', servers => 1, init => { allows_streaming => 1 }, conf => "difs.collect_interval = 0\n");
my $node = $cluster->node;
my @tables = qw(dentry inode version manifest volume block_group server);

my $fill = q{SELECT count(difs_put('/d/' || i, convert_to('content ' || i, 'UTF8'))) FROM generate_series(1, 300) AS i};
my $check = q{SELECT count(*) FILTER (WHERE convert_from(difs_get('/d/' || i), 'UTF8') = 'content ' || i), count(difs_stat('/d/' || i)),
	(SELECT count(*) FROM difs_list('/d')) FROM generate_series(1, 300) AS i};
$cluster->sql("SELECT difs_mkdir('/d')", $fill);

my $session = $node->background_psql('postgres', on_error_stop => 0);
sub right { return is($session->query_safe($_[1] // $check), '300|300|300', $_[0]); }
sub scans
{
	my ($count) = split(/\|/, $session->query_safe(q{SELECT count(*), sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'difs scan'}));
	return $count;
}

right('a session reads');
my $kept = scans();
cmp_ok($kept, '>=', 4, "and keeps its scans: $kept");

foreach my $table (@tables)
{
	foreach my $command ("REINDEX TABLE difs.$table", "VACUUM FULL difs.$table", "ANALYZE difs.$table", "CLUSTER difs.$table USING ${table}_pkey")
	{
		$cluster->sql($command);
		right("after $command elsewhere");
	}
}
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
right('in a transaction');
$session->query_safe('REINDEX TABLE difs.dentry');
right('which has rewritten an index itself');
$session->query_safe('ROLLBACK');
right('and was rolled back');

# Calls that fail: in a scan's callers, in subtransactions, by a cancel.
$session->query_safe(q{DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
	BEGIN PERFORM difs_get('/d/' || i || '/x'); EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN PERFORM difs_get('/nothing'); EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN PERFORM difs_put('/d', 'x'); EXCEPTION WHEN OTHERS THEN NULL; END;
END LOOP; END $$});
right('after 6,000 calls that failed');
$session->query(q{SET statement_timeout = 20; SELECT count(*) FROM generate_series(1, 1000000) AS i, difs_list('/', recursive => true)}) for 1 .. 10;
$session->{stderr} = '';
$session->query_safe('RESET statement_timeout');
right('after calls that were cancelled');
cmp_ok(scans(), '<=', $kept + 3, 'no scan was left behind: ' . scans());

# SERIALIZABLE still sees what others wrote.
my $other = $node->background_psql('postgres', on_error_stop => 0);
$_->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE') for $session, $other;
$session->query_safe("SELECT difs_get('/d/1')");
$other->query_safe("SELECT difs_get('/d/2')");
$session->query_safe("SELECT difs_put('/d/2', 'x')");
$other->query_safe("SELECT difs_put('/d/1', 'x')");
$session->query_safe('COMMIT');
$other->query('COMMIT');
like($other->{stderr}, qr/could not serialize access/, 'of two that read what the other one writes, one fails');
is($cluster->sql("SELECT convert_from(difs_get('/d/1'), 'UTF8')"), 'content 1', 'and has written nothing');
$other->quit;
$cluster->sql($fill);
right('all as before');

# Another life of the extension, in the same session and in another one.
$session->query_safe('DROP EXTENSION difs');
$session->query_safe('CREATE EXTENSION difs');
$cluster->sql($_->add_statement) for $cluster->servers;
$cluster->wait_until_alive;
$session->query_safe("SELECT difs_mkdir('/d')");
$session->query_safe($fill);
right('in the next life of the extension');
$session->query_safe('BEGIN');
$session->query_safe('DROP EXTENSION difs');
$session->query_safe('ROLLBACK');
right('after a DROP EXTENSION that was rolled back');
$session->quit;

# A session of a standby that is promoted meanwhile.
my $standby = DifsNode::standby_of($node, 'standby');
my $reader = $standby->background_psql('postgres', on_error_stop => 0);
is($reader->query_safe($check), '300|300|300', 'a session of a standby reads');
$cluster->sql(q{SELECT count(difs_put('/d/' || i, convert_to('content ' || i, 'UTF8'))) FROM generate_series(1, 300) AS i, generate_series(1, 3)});
$node->wait_for_catchup($standby, 'replay');
is($reader->query_safe($check), '300|300|300', 'after more was replayed');
$node->stop;
$standby->promote;
is($reader->query_safe($check), '300|300|300', 'and after its promotion');
$reader->quit;
$standby->stop;
$cluster->stop;
done_testing();
