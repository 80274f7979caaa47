# Tokens and receipts that are not good: forged, expired, of others, used again.  None is obeyed, by chunk servers and the database, and the
# next honest client is served.
#
# DIFS_TOKENS is how many of each are tried (default 10000).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use DifsCluster;
use DifsDirect;
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $count = $ENV{DIFS_TOKENS} // 10000;
my $cluster = DifsCluster->new('tokens', servers => 1, conf => "difs.token_lifetime = '1h'\n");
my $direct = DifsDirect->new($cluster);
my $session = $direct->session;
my $attack = dirname(DifsDirect::build()) . '/attack';

my $bytes = DifsCluster::random_bytes(50_000, 'tokens');
$direct->upload($session, '/f', $bytes);
my ($row) = $direct->locate($session, '/f');
my $upload = $direct->begin($session, '/g', undef, resumable => 'true');
my ($place) = $direct->place($session, $upload, 0, 1);
my @segments = sort split /\n/, $cluster->sql('SELECT segment FROM difs.manifest');

# At a chunk server.
{
	my $began = time;
	my ($out, $error) = run_command([ $attack, "$cluster->{key_file}", $place->{servers}[0], $place->{token}, $row->{token}, $count, 7 ]);
	note("$out\n$error");
	note(sprintf '%d tokens in %.1f s', $count, time - $began);
	is_deeply([ $out =~ /^obeyed: (.*)$/mg ], [], 'no bad token is obeyed');
	my $tried = 0;
	$tried += $_ foreach $out =~ /^ *([0-9]+) \w/mg;
	is($tried, $count, 'all were tried');
	like($out, qr/^honest: ok, ok, exists, ok$/m, 'the good ones are, the write token once')
	  or diag($out);
}

# The honest client after that, and nothing is there that nobody wanted: one segment of the attack's good token, which is an upload's.
{
	ok($direct->get($session, '/f') eq $bytes, 'what was there is as it was');
	is($direct->upload($session, '/h', $bytes), 1, 'another upload is served');
	is($cluster->sql(q{SELECT problem::text FROM difs_fsck(deep => true) problem}), '', 'servers and tables agree');
}

# In the database: receipts.
{
	my $good = $direct->begin($session, '/good', length $bytes, resumable => 'true');
	my $other = $direct->begin($session, '/other', length $bytes, resumable => 'true');
	$direct->send($session, $good, $bytes);
	$direct->send($session, $other, $bytes);
	my ($receipt) = @{ $good->{receipts} };
	my ($foreign) = @{ $other->{receipts} };
	$cluster->sql(sprintf <<'SQL', $receipt, $foreign);
CREATE FUNCTION is_taken(upload bigint, receipt bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM difs_upload_receipts(upload, ARRAY[receipt]);
  RETURN true;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;
END $$;
CREATE TABLE receipts AS SELECT '\x%s'::bytea AS good, '\x%s'::bytea AS of_another;
SQL
	my $began = time;
	my $taken = $cluster->sql(sprintf q{SELECT count(*) FROM receipts, generate_series(1, %d) i, LATERAL (SELECT CASE i %% 4
		WHEN 0 THEN set_bit(good, (i * 7919::bigint) %% (8 * length(good)), 1 - get_bit(good, (i * 7919::bigint) %% (8 * length(good))))
		WHEN 1 THEN substr(good, 1, i %% length(good))
		WHEN 2 THEN of_another
		ELSE set_byte(of_another, 58 + i %% 8, get_byte(good, 58 + i %% 8)) || ''::bytea END AS bad) AS receipt
		WHERE bad <> good AND is_taken(%s, bad)}, $count, $good->{id});
	note(sprintf '%d receipts in %.1f s', $count, time - $began);
	is($taken, 0, 'no bad receipt is taken');
	is($cluster->sql("SELECT count(*) FROM difs.receipt WHERE upload = $good->{id}"), 0, 'or leaves a row');
	is($cluster->sql("SELECT is_taken($good->{id}, good) FROM receipts"), 't', 'the good one is');
	is($direct->commit($session, $good), 1, 'and its upload is committed');
	ok($direct->get($session, '/good') eq $bytes, 'with its bytes');
	is($session->fails(DifsDirect::commit_sql($good)), '58P01', 'once');
}

# The key is changed while tokens are in use: those of the old one are good as long as servers know it.
{
	my $key_file = $cluster->{key_file};
	my $old = slurp_file($key_file);
	my $new = unpack('H*', DifsCluster::random_bytes(32, 'key')) . "\n";
	my $write = sub {
		my ($text) = @_;
		open(my $file, '>', $key_file) or die "$key_file: $!";
		print $file $text;
		close $file;
		$cluster->server(0)->signal('HUP');
	};
	my $upload = $direct->begin($session, '/rotated', 5, resumable => 'true');
	my ($before) = $direct->place($session, $upload, 0, 1);
	my $file = $direct->file_of('bytes');
	$write->($new . $old);
	my ($after) = $direct->place($session, $upload, 0, 1);
	isnt(substr($after->{token}, 4, 16), substr($before->{token}, 4, 16), 'new tokens are made with the new key');
	my ($old_one) = $direct->put($upload, $before, $file, 0, 5);
	like($old_one, qr/^ok /, 'those of the old key are good still');
	ok(DifsCluster::poll_until(sub { ($direct->put($upload, $after, $file, 0, 5))[0] =~ /^ok |^failed exists/ }, 20), 'and those of the new one');
	my (@receipts) = $old_one =~ /^ok (.*)/;
	is($session->query(sprintf 'SELECT difs_upload_receipts(%s, %s)', $upload->{id}, DifsDirect::receipts_sql(@receipts)), 1, 'as are receipts');
	my ($last) = $direct->place($session, $upload, 0, 1);
	$write->($new);
	$before = $row;
	ok(DifsCluster::poll_until(sub {
			$direct->command('close');
			return $direct->command('ask', 18, $place->{servers}[0], $place->{token}) =~ /failed refused: .*key is not one of this server's/;
		}, 20), 'when the old key is gone, its tokens are');
	like(($direct->put($upload, $last, $file, 0, 5))[0], qr/^ok /, 'those of the new one stay');
}

$session->quit;
done_testing();
