# Bad bytes on a chunk server are never returned: another replica is read, or an error is raised.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('corruption', servers => 2, conf => "difs.server_timeout = '3s'\n");
my $node = $cluster->node;
my $SEGMENT = 1024 * 1024;
my $sources = 0;

$cluster->sql("SELECT difs_volume_create('$_', replicas => 2, segment_size => $SEGMENT, compression =>"
  . " '$_')") for ('none', 'zstd');

# A new file of three segments; returns the name of its source.
sub store
{
	my ($path) = @_;
	my $size = 3 * $SEGMENT - 1000;
	my $bytes = $path =~ /^none/
	  ? DifsCluster::random_bytes($size, $path)
	  : DifsCluster::text_bytes($size, $path);
	my $source = $cluster->write_file('source' . $sources++, $bytes);

	$cluster->sql("SELECT difs_put('$path', pg_read_binary_file('$source'))");
	return $source;
}

# Which member is asked first is drawn by lot, so a file is read eight times. True if something bad was found.
sub reads_right
{
	my ($path, $source, $what) = @_;
	my $begin = -s $node->logfile;

	is($cluster->sql("SELECT bool_and(difs_get('$path') = pg_read_binary_file('$source')) FROM generate_series(1, 8)"), 't', $what);
	return substr(slurp_file($node->logfile), $begin) =~ /LOG:.*has no good copy of segment \d+ of block group \d+/;
}

sub reads_wrong
{
	my ($path, $expected_state, $what) = @_;
	my ($state, $message) = $cluster->sql_fails("SELECT difs_get('$path')");

	is($state, $expected_state, $what) or diag $message;
	return $message;
}

# Damages every segment of a file at one member, a different member for each test, and then at the other one, too.
my %damage = (
	'a bit of the first block' => sub { $_[0]->flip($_[1], 10) },
	'a bit of the last byte' => sub { $_[0]->flip($_[1], $_[1]{stored_length} - 1) },
	'a bit of the header' => sub { $_[0]->flip_header($_[1], 40) },
	'a bit of a block checksum' => sub { $_[0]->flip_header($_[1], 64) },
	'a bit of the id in the header' => sub { $_[0]->flip_header($_[1], 14) },
	'another segment in its place' => \&replace_record);

# A record that is perfect in itself, but the wrong one: what a lost or misdirected write looks like.
sub replace_record
{
	my ($server, $segment, $other) = @_;
	my ($file, $at, $size) = $server->record_of($segment);
	my ($other_file, $other_at, $other_size) = $server->record_of($other);
	my $length = $size + $segment->{stored_length};

	$length = $other_size + $other->{stored_length} if $other_size + $other->{stored_length} < $length;
	open(my $from, '<:raw', $other_file) or die "$other_file: $!";
	seek($from, $other_at, 0) or die "$other_file: $!";
	read($from, my $bytes, $length) == $length or die "$other_file: $!";
	open(my $to, '+<:raw', $file) or die "$file: $!";
	seek($to, $at, 0) or die "$file: $!";
	print $to $bytes;
	close($to) or die "$file: $!";
	return;
}

my $round = 0;
foreach my $volume ('none', 'zstd')
{
	foreach my $what (sort keys %damage)
	{
		my $path = "$volume:/file$round";
		my $source = store($path);
		my @segments = $cluster->segments($path);
		my $first = $round++ % 2;
		my $logged = reads_right($path, $source, "$path before any damage");

		ok(!$logged, 'nothing is logged then');
		foreach my $i (0 .. $#segments)
		{
			is(scalar @{ $segments[$i]{servers} }, 2, 'two replicas') if $i == 0;
			my @copies = map { { %$_ } } @segments;
			$damage{$what}->($segments[$i]{servers}[$first], $segments[$i], $copies[ ($i + 1) % @copies ])
			  unless $what =~ /another/ && $i == $#segments;
		}
		$logged = reads_right($path, $source, "$volume: $what at one member: the other is read");

		# which member is asked first is the reader's choice: sooner or later it is the bad one
		my $wrong = 0;
		for (my $reads = 0; !$logged && $reads < 200; $reads++)
		{
			my $begin = -s $node->logfile;
			$wrong++ if $cluster->sql("SELECT difs_get('$path') = pg_read_binary_file('$source')") ne 't';
			$logged = slurp_file($node->logfile, $begin) =~ /LOG:.*has no good copy of segment \d+ of block group \d+/;
		}
		is($wrong, 0, 'whichever is asked first');
		ok($logged, 'it is logged') if $what !~ /another/;

		# one segment is enough to make the file unreadable
		$damage{$what}->($segments[0]{servers}[ 1 - $first ], $segments[0], $segments[1]);
		my $message = reads_wrong($path, 'XX001', "$volume: $what at all members: an error");
		like($message, qr/file "\Q$path\E".*segment $segments[0]{segment} in block group $segments[0]{group}/s,
			'which names file and segment');
		like($message, qr{/storage01.*/storage02|/storage02.*/storage01}s, 'and both servers');
		is($cluster->sql("SELECT difs_get('$path', NULL, 1048576, 1000) = pg_read_binary_file('$source', 1048576,"
		  . " 1000)"),
			't', 'other segments can be read');
	}
}

# A range reads only what it needs: with compression off, damage in another block does no harm.
my $path = 'none:/blocks';
my $source = store($path);
my ($segment) = $cluster->segments($path);
$_->flip($segment, 5 * 65536) foreach @{ $segment->{servers} };
is($cluster->sql("SELECT difs_get('$path', NULL, 0, 327680) = pg_read_binary_file('$source', 0, 327680),"
		  . " difs_get('$path', NULL, 393216, 600000) = pg_read_binary_file('$source', 393216, 600000)"),
	't|t', 'blocks beside a damaged one can be read');
is(($cluster->sql_fails("SELECT difs_get('$path', NULL, 327690, 1)"))[0], 'XX001', 'the damaged one cannot');
is(($cluster->sql_fails("SELECT count(*) FROM difs_read('$path')"))[0], 'XX001', 'difs_read says so, too');
my $target = $cluster->dir . '/exported';
is(($cluster->sql_fails("SELECT difs_export('$path', '$target')"))[0], 'XX001', 'and difs_export');
is_deeply([ glob("$target*") ], [], 'which leaves nothing behind');

# A server that answers with a perfect segment of the right size that is not the one that was stored: the manifest tells.
# (Servers notice misplaced records by themselves, so the manifest is what is changed here.)
foreach my $volume ('none', 'zstd')
{
	my $path = "$volume:/stale";
	my $source = store($path);
	my ($one, $two) = $cluster->segments($path);

	$cluster->sql("UPDATE difs.manifest SET segment = $two->{segment}, block_group = $two->{group},"
		  . " stored_length = $two->{stored_length} WHERE segment = $one->{segment}");
	reads_wrong($path, 'XX001', "$volume: another segment than the manifest's is an error");
	$cluster->sql("UPDATE difs.manifest SET segment = $one->{segment}, block_group = $one->{group},"
		  . " stored_length = $one->{stored_length} WHERE segment = $two->{segment} AND file_offset = 0");
	reads_right($path, $source, "$volume: the right one is not");
}

# A group file that has lost its end, under a running server and after a restart of it.
$path = 'zstd:/truncated';
$source = store($path);
my @segments = $cluster->segments($path);
my ($one, $two) = @{ $segments[0]{servers} };
my ($file, $at) = $one->record_of($segments[0]);
truncate($file, $at + 100) or die "$file: $!";
reads_right($path, $source, 'a truncated group file: the other member is read');
$one->kill->start;
reads_right($path, $source, 'and after its server was started again');
($file, $at) = $two->record_of($segments[0]);
truncate($file, $at + 100) or die "$file: $!";
$two->kill->start;
$cluster->wait_until_alive;
reads_wrong($path, 'XX001', 'truncated at both: an error');

$cluster->stop;
done_testing();
