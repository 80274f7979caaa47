# What difs shows on a terminal, a real pseudo terminal: progress bar with rate and time left, cleared at the end; names that would move the
# cursor; and nothing of all that in a pipe.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('terminal', servers => 1);
my $difs = DifsCommand->new($cluster);
my $file = $cluster->write_file('file', DifsCluster::random_bytes(64_000_000, 'file'));

# On a terminal of 100 columns. A signal is sent when the bar is seen.
sub on_terminal
{
	my ($signal, @arguments) = @_;
	return $difs->on_terminal([ 24, 100 ], qr/MiB\/s/, $signal && sub { kill $signal, $_[0] }, @arguments);
}

my ($status, $all) = on_terminal(undef, '--no-direct', 'put', $file, $file, $file, $file, '/');
is($status, 0, 'put on a terminal') or diag $all;
like($all, qr/ \d+% \[=*>? *\] [\d.]+ [KM]iB of 244\.1 MiB, [\d.]+ [KMG]iB\/s/, 'a bar with rate');
like($all, qr/, \d:\d\d left/, 'and time left');
unlike($all, qr/[^\r\n]{120}/, 'no line is longer than the terminal');
like($all, qr/\r\e\[Kput 4 files, 244\.1 MiB in [\d.]+ s/, 'it is cleared before the summary');

($status, $all) = on_terminal(undef, '--no-direct', 'get', '/file', $cluster->dir . '/back');
is($status, 0, 'get on a terminal');
like($all, qr/% \[/, 'has a bar, too');
($status, $all) = on_terminal(undef, 'put', '-q', $file, '/quiet');
unlike($all, qr/./, '--quiet is quiet');

($status, $all) = on_terminal('INT', '--no-direct', 'put', '-T', $file, '/interrupted');
is($status & 127, 2, 'SIGINT ends it by that signal') or diag $all;
is($cluster->sql(q{SELECT difs_exists('/interrupted')}), 'f', 'and leaves nothing');
is($cluster->sql(q{SELECT count(*) FROM difs_list('/', pattern => '.difs-*')}), '0', 'also not under another name');

# in a pipe
my ($code, $out, $err) = $difs->run('put', $file, '/pipe');
is($err, '', 'no bar in a pipe');
is(scalar(split /\n/, $out), 1, 'only the summary');
unlike($out, qr/[\r\e]/, 'without control characters');

# names
$cluster->sql(qq{SELECT difs_put(E'/names/a\\x1b[31mred\\nline', 'x', parents => true)});
($status, $all) = on_terminal(undef, 'ls', '/names');
like($all, qr/^a\?\[31mred\?line\r\n$/, 'a terminal gets ? for control characters');
is($difs->done('ls', '/names'), "a\e[31mred\nline\n", 'a pipe gets the name');
($status, $all) = on_terminal(undef, 'top', '-n', 2, '-i', 1);
like($all, qr/\e\[H.*storage01.*\e\[J.*\e\[H.*storage01.*\e\[J/s, 'top draws again and again');

$cluster->stop;
done_testing();
