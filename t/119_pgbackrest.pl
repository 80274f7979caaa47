# Backup and restore with pgBackRest, as doc/administration.md says: a hold before the backup, a restore to a moment between, the claim.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsDocs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'pgbackrest is not installed' if system('pgbackrest version >/dev/null 2>&1') != 0;

my $home = PostgreSQL::Test::Utils::tempdir();
my $config = "$home/pgbackrest.conf";
my $cluster = DifsCluster->new('pgbackrest', servers => 2, conf => <<"CONF");
archive_mode = on
archive_command = 'pgbackrest --config=$config --stanza=main archive-push "%p"'
wal_level = replica
max_wal_senders = 2
CONF
my $node = $cluster->node;
PostgreSQL::Test::Utils::append_to_file($config, <<"CONF");
[global]
repo1-path=$home/repository
repo1-retention-full=1
lock-path=$home
log-path=$home
log-level-console=warn
start-fast=y
compress-type=none
[main]
pg1-path=@{[ $node->data_dir ]}
pg1-port=@{[ $node->port ]}
pg1-socket-path=@{[ $node->host ]}
CONF

# A line of the documentation, with this test's configuration.
sub documented
{
	my ($pattern, %for) = @_;
	my ($line) = grep { /$pattern/ } split /\n/, PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../doc/administration.md");
	die "doc/administration.md has no line with $pattern" unless $line;
	($line) = $line =~ /`(pgbackrest [^`]*restore)`/ if $line !~ /^    /;
	$line =~ s/\bpgbackrest /pgbackrest --config=$config /g;
	$line =~ s/\Q$_\E/$for{$_}/ for keys %for;
	note($line);
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres');
	return system('bash', '-ec', $line) == 0;
}

my $everything = q{SELECT l.name, md5(difs_get('/' || l.name)) FROM difs_list('/', recursive => true, kind => 'file') l ORDER BY 1};
my $put = sub { $cluster->sql(map { "SELECT difs_put('/$_', (SELECT string_agg(sha512((i || '$_ $_[0]')::bytea), '') FROM generate_series(1, 2000) i))" } @_[ 1 .. $#_ ]) };

$put->('one', 'a' .. 'f');
is(system("pgbackrest --config=$config --stanza=main stanza-create"), 0, 'pgbackrest knows the database');
ok(documented(qr/^    psql .*difs_hold.*pgbackrest .*backup$/), 'a hold and a backup, as documented');
is($cluster->sql('SELECT count(*) FROM difs.holds'), 1, 'there is a hold');
my $ended = time;
DifsCluster::poll_until(sub { time > $ended + 1 }, 10);	# pgbackrest knows when a backup has ended to the second
$put->('two', 'b', 'c', 'g');
$cluster->sql("SELECT difs_delete('/d')");
my $wanted = $cluster->sql($everything);
my $moment = $cluster->sql('SELECT clock_timestamp()');
$put->('three', 'a', 'b', 'h');
$cluster->sql("SELECT difs_delete('/$_')") for qw(c e f g);
$cluster->sql('SELECT difs_collect()');
my $later = $cluster->sql($everything);
$node->stop;

ok(documented(qr/pgbackrest --stanza=main --delta --type=time/, '…' => $moment), 'a restore to a moment, as documented') or die;
$node->append_conf('postgresql.conf', "archive_mode = off\n");
$node->start;
ok($node->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}), 'it has come to that moment');
is($cluster->sql($everything), $wanted, 'every file reads as it was then');
isnt($later, $wanted, 'control: that was not how they were in the end');
$node->promote;
$cluster->wait_until_alive;
is($cluster->sql('SELECT difs_claim()'), 2, 'difs_claim()');
$put->('four', 'a', 'i');
$cluster->sql("SELECT difs_release(name) FROM difs.holds");
$cluster->sql('SELECT difs_collect()');
is($cluster->sql('SELECT * FROM difs_fsck(deep => true)'), '', 'tables and servers agree');
$cluster->stop;
done_testing();
