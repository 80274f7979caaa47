# Scrub: whatever rots on chunk servers is found and mended from another member; what has no good copy is listed with its files.
#
#	DIFS_FLIPS=1000		random bit flips in group files (default 100)
#	DIFS_SEED=n			another choice of them

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $FLIPS = $ENV{DIFS_FLIPS} // 100;
my $SEED = $ENV{DIFS_SEED} // 1;
my $cluster = DifsCluster->new('scrub', servers => 2, conf => <<'CONF');
difs.scrub_interval = 0
difs.scrub_rate = 0
difs.collect_interval = 0
difs.block_group_size = '16MB'
CONF
my $node = $cluster->node;
my $sources = 0;

$cluster->sql("SELECT difs_volume_create('two', replicas => 2, segment_size => 262144, compression => 'none')",
	"SELECT difs_volume_create('small', replicas => 2, segment_size => 4096, compression => 'none')",
	"SELECT difs_volume_create('one', replicas => 1, segment_size => 262144, compression => 'none')");

# A new file; returns the name of its source.
sub store
{
	my ($path, $size) = @_;
	my $source = $cluster->write_file('source' . $sources++, DifsCluster::random_bytes($size, $path));

	$cluster->sql("SELECT difs_put('$path', pg_read_binary_file('$source'), parents => true)");
	return $source;
}

sub is_right
{
	my ($path, $source) = @_;
	return $cluster->sql("SELECT difs_get('$path') = pg_read_binary_file('$source')") eq 't';
}

# { copies, bytes, bad, mended, lost, unreachable } of a round now.
sub scrub_all
{
	my %round;
	@round{qw(copies bytes bad mended lost unreachable)} =
	  split /\|/, $cluster->sql('SELECT copies, bytes, bad, mended, lost, unreachable FROM difs_scrub_all()');
	return \%round;
}

sub fsck { return $cluster->sql(q{SELECT kind || ' ' || object FROM difs_fsck(deep => true)}); }

my %source = map { $_ => store($_, 8_000_000) } map { "two:/large/$_" } 1 .. 5;
$source{"small:/$_"} = store("small:/$_", 100_000) foreach 1 .. 5;

my $round = scrub_all();
is($round->{bad}, 0, 'a healthy store has nothing bad');
ok($round->{bytes} > 2 * 40_000_000, "all of it has been read, twice: $round->{bytes} bytes");
is($cluster->sql('SELECT count(*), count(DISTINCT server) FROM difs.scrub'), "$round->{copies}|2", 'each copy has its row');
is(fsck(), '', 'and fsck finds nothing');

# Each file of a server, and what is where in it: [file, from, to, what, segment].
sub regions
{
	my ($server) = @_;
	my @regions;

	foreach my $file (glob("$server->{data}/*/*.group"))
	{
		open(my $handle, '<:raw', $file) or die "$file: $!";
		my $bytes = do { local $/; <$handle> };
		next if length($bytes) == 4096;
		push @regions, [ $file, 0, 72, 'group header' ];
		my $at = 4096;
		while ($at + 64 <= length($bytes))
		{
			my ($magic, $segment, $stored, $blocks) = unpack('a4 x4 Q< x28 V x4 v', substr($bytes, $at, 64));
			last if $magic eq "\0" x 4;    # room for small records
			die "$file: no record at $at" unless $magic eq 'DSEG';
			my $header = 64 + 4 * $blocks;
			push @regions, [ $file, $at, $at + $header, 'record header', $segment ],
			  [ $file, $at + $header, $at + $header + $stored, 'payload', $segment ];
			my $end = $at + $header + $stored;
			$at = int(($end + 63) / 64) * 64;
			push @regions, [ $file, $end, $at, 'padding' ] if $at > $end;
		}
	}
	return @regions;
}

sub flip
{
	my ($file, $offset, $bit) = @_;
	open(my $handle, '+<:raw', $file) or die "$file: $!";
	seek($handle, $offset, 0) or die "$file: $!";
	read($handle, my $byte, 1) == 1 or die "$file: $!";
	seek($handle, -1, 1) or die "$file: $!";
	print $handle chr(ord($byte) ^ (1 << $bit)) or die "$file: $!";
	close($handle) or die "$file: $!";
	return;
}

# Random bits. A place is hit on one server only: the same segment at both would be lost, which is another test. Half of the flips go to
# headers, which random offsets would hardly ever hit. Padding is not data: nobody reads it, nobody minds.
srand($SEED);
my %hit;
my %regions = map { $_ => [ regions($cluster->server($_)) ] } 0, 1;
my %by_kind;
foreach my $server (0, 1)
{
	push @{ $by_kind{ $_->[3] }[$server] }, $_ foreach @{ $regions{$server} };
}
my ($damaged, $mended, $lost_count) = (0, 0, 0);
my $began = time;
for (my $done = 0; $done < $FLIPS;)
{
	# a batch hits each record once at most, so that each flip is one bad copy
	my $count = $FLIPS - $done < 50 ? $FLIPS - $done : 50;
	my (%taken, $flipped);
	for ($flipped = 0; $flipped < $count;)
	{
		my $kind = ('payload', 'record header', 'payload', 'record header', 'group header')[ int(rand(5)) ];
		my $server = int(rand(2));
		my $list = $by_kind{$kind}[$server];
		my ($file, $from, $to, undef, $segment) = @{ $list->[ int(rand(@$list)) ] };
		next if $taken{ $segment // $file }++;
		flip($file, $from + int(rand($to - $from)), int(rand(8)));
		$hit{$kind}++;
		$flipped++;
	}
	my $result = scrub_all();
	$damaged += $result->{bad};
	$mended += $result->{mended};
	$lost_count += $result->{lost};
	$done += $count;
}
note sprintf('%d bit flips (%s): %d found, %d mended, %d lost, in %.1f s', $FLIPS,
	join(', ', map { "$hit{$_} in a $_" } sort keys %hit), $damaged, $mended, $lost_count, time - $began);

is($damaged, $FLIPS, "of $FLIPS bit flips all are found");
is($mended, $FLIPS, 'and all are mended');
is($lost_count, 0, 'nothing is lost');
is(scrub_all()->{bad}, 0, 'nothing bad is left');
is(join(' ', grep { !is_right($_, $source{$_}) } sort keys %source), '', 'every file has the right bytes');
is(fsck(), '', 'fsck finds nothing');

if ($by_kind{padding}[0])
{
	my ($file, $from) = @{ $by_kind{padding}[0][0] };
	flip($file, $from, 0);
	is(scrub_all()->{bad}, 0, 'a flip in padding is no damage');
	is(fsck(), '', 'for fsck neither');
}

# The same after restarts, with header, index and length of a group gone.
sub restart_with
{
	my ($server, $damage) = @_;
	$server->kill;
	$damage->();
	$server->start;
	$cluster->wait_until_alive;
	return;
}

my ($first) = $cluster->segments('two:/large/1');
my $server = $cluster->server(0);
my $file = $server->group_file($first->{group});
(my $index = $file) =~ s/group$/index/;
ok(-e $index, 'the group is sealed');
my %damage = (
	'the group file is gone' => sub { unlink($file) or die "$file: $!" },
	'the group header is damaged' => sub { flip($file, 20, 3) },
	'the index is damaged' => sub { flip($index, 200, 3) },
	'the index is gone' => sub { unlink($index) or die "$index: $!" },
	'the file is cut' => sub { truncate($file, 3_000_000) or die "$file: $!" },
	'file and index are cut' => sub { truncate($file, 3_000_000) or die "$file: $!"; truncate($index, 100) or die "$index: $!" },
	'the file is empty' => sub { truncate($file, 0) or die "$file: $!" });

foreach my $what (sort keys %damage)
{
	restart_with($server, $damage{$what});
	my $result = scrub_all();
	is($result->{mended}, $result->{bad}, "$what: $result->{bad} bad copies, all mended");
	is($result->{lost}, 0, 'nothing lost');
	is(scrub_all()->{bad}, 0, 'all is well then');
	ok(-e $index, 'and sealed');
	is(fsck(), '', 'says fsck, too');
	is(join(' ', grep { !is_right($_, $source{$_}) } sort keys %source), '', 'and every reader');
}

# On demand, for a file or a tree.
is($cluster->sql("SELECT count(*), string_agg(DISTINCT outcome, ' '), count(DISTINCT path), count(DISTINCT server)"
	  . " FROM difs_scrub('two:/large', recursive => true)"), '310|good|5|2', 'difs_scrub() of a tree: every copy');
is($cluster->sql("SELECT count(*) FROM difs_scrub('two:/large')"), '0', 'not recursive, a directory has no bytes');
$_->flip($first, 1000) foreach $first->{servers}[0];
is($cluster->sql("SELECT path, version, server, outcome FROM difs_scrub('two:/large/1') WHERE outcome <> 'good'"),
	"two:/large/1|1|$first->{servers}[0]{name}|mended", 'a damaged copy is mended');
is($cluster->sql("SELECT DISTINCT outcome FROM difs_scrub('two:/large/1')"), 'good', 'and good then');
is(($cluster->sql_fails("SELECT difs_scrub('two:/no/such')"))[0], '58P01', 'no such file');

# One replica, or both copies: lost, and listed.
my $single = store('one:/dir/file', 1_000_000);
$cluster->sql("SELECT difs_copy('one:/dir/file', 'one:/copy')");
my @segments = $cluster->segments('one:/dir/file');
my $lost = $segments[1];
my ($holder) = @{ $lost->{servers} };
$holder->flip($lost, 5);
$round = scrub_all();
is("$round->{bad} $round->{mended} $round->{lost}", '1 0 1', 'with one replica a flipped bit is a lost segment');
is($cluster->sql('SELECT path, version, segment, servers FROM difs_lost_files()'),
	"one:/copy|1|$lost->{segment}|{$holder->{name}}\none:/dir/file|1|$lost->{segment}|{$holder->{name}}",
	'of two files, named with version, segment and server');
is($cluster->sql("SELECT string_agg(outcome, ' ' ORDER BY outcome) FROM difs_scrub('one:/dir/file')"), 'good good good lost',
	'difs_scrub() says so');
like(fsck(), qr/^lost segment segment $lost->{segment} of version 1 of one:\/dir\/file$/m, 'so does fsck');
is($cluster->sql('SELECT lost_segments FROM difs.scrub_progress'), '1', 'and the progress view');
$holder->flip($lost, 5);
scrub_all();
is($cluster->sql('SELECT count(*) FROM difs_lost_files()'), '0', 'it is none once the bytes are back');
is(fsck(), '', 'nor for fsck');

# A whole group with one replica; its server is away first: then nothing is known, and nothing is called lost.
$holder->kill;
$node->poll_query_until('postgres', "SELECT NOT alive FROM difs.servers WHERE name = '$holder->{name}'");
$round = scrub_all();
is($round->{lost}, 0, 'a server that is away has lost nothing');
ok($round->{unreachable} > 0, 'it is said to be');
unlink($holder->group_file($lost->{group})) or die "unlink: $!";
$holder->start;
$cluster->wait_until_alive;
$round = scrub_all();
is($round->{lost}, 4, 'its group file is gone: four segments are lost');
is($cluster->sql("SELECT path, count(*) FROM difs_lost_files() GROUP BY 1 ORDER BY 1"), "one:/copy|4\none:/dir/file|4", 'of these files');
$cluster->sql("SELECT difs_delete('one:/dir/file')", "SELECT difs_delete('one:/copy')");
is($cluster->sql('SELECT count(*) FROM difs_lost_files()'), '0', 'deleted files are not missed');

# The rate.
$cluster->sql("ALTER SYSTEM SET difs.scrub_rate = '16MB'", 'SELECT pg_reload_conf()');
$began = time;
$round = scrub_all();
my $seconds = time - $began;
my $due = $round->{bytes} / (16 * 1024 * 1024);
note sprintf('%d bytes at 16 MiB/s: %.1f s, %.1f s expected', $round->{bytes}, $seconds, $due);
ok($seconds > $due / 3, 'the rate is bounded');

# Resumed after a crash: what has been read is not due, what has not been is.
$cluster->sql("DELETE FROM difs.scrub", "UPDATE difs.block_group SET created = created - interval '1 day'",
	"ALTER SYSTEM SET difs.scrub_rate = '4MB'", "ALTER SYSTEM SET difs.scrub_interval = '100s'", 'SELECT pg_reload_conf()');
my $old = q{SELECT count(*) FROM difs.block_group g, unnest(g.members) AS member (server) WHERE created < now() - interval '12 h'};
my $copies = $cluster->sql($old);
$node->poll_query_until('postgres', 'SELECT count(*) > 1 FROM difs.scrub') or die 'the scrub does not begin by itself';
like($cluster->sql('SELECT running, groups_total > 2, overdue > 0 FROM difs.scrub_progress'), qr/^t\|t\|t$/, 'progress is shown');
kill('KILL', slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/);
DifsCluster::poll_until(sub { !kill(0, slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/) });
$node->append_conf('postgresql.auto.conf', "difs.scrub_rate = 0\n");
$node->{_pid} = undef;
DifsCluster::poll_until(sub { $node->start(fail_ok => 1) }) or die 'no start';
my $before = $cluster->sql('SELECT block_group, server, scrubbed FROM difs.scrub ORDER BY 1, 2');
my $done = () = $before =~ /\n/g;
$done++;
ok($done < $copies, "killed after $done of $copies copies");
ok($node->poll_query_until('postgres', "SELECT ($old AND EXISTS (SELECT FROM difs.scrub WHERE block_group = g.id AND server = member.server)) = $copies"), 'the others are read after the restart');
$node->poll_query_until('postgres', 'SELECT NOT running AND overdue = 0 FROM difs.scrub_progress') or die 'the round does not end';
my %after = map { /^(.*)\|(.*)$/; $1 => $2 } split /\n/, $cluster->sql('SELECT block_group, server, scrubbed FROM difs.scrub');
is(join(' ', grep { /^(.*)\|(.*)$/ && $after{$1} ne $2 } split /\n/, $before), '', 'and those are not read again');

$cluster->stop;
done_testing();
