# difs report: the page has what the samples say, needs nothing beside itself, and shows it in a real browser (chromium, without a window): plots with
# curves, no error of its script, and a picture that is not blank. DIFS_REPORT_KEEP=<directory> keeps page and pictures, to be looked at.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = DifsCluster->new('report', servers => 3,
	conf => "difs.sample_interval = '200ms'\ndifs.repair_interval = '300ms'\ndifs.repair_delay = '1h'\ndifs.unstage_interval = '500ms'\ndifs.collect_interval = '2s'\n");
my $difs = DifsCommand->new($cluster);
my $page = $cluster->dir . '/report.html';
$cluster->sql("SELECT difs_volume_create('two', replicas => 2)", "SELECT difs_volume_create('all', replicas => 3)", "SELECT difs_put('all:/x', 'x')", q{CREATE DATABASE "a<b>&'c"});

$cluster->node->safe_psql(q{a<b>&'c}, 'CREATE EXTENSION difs');

# Something happens: puts and gets, a server that dies and comes back, files that go.
for my $round (1 .. 30)
{
	my $size = 20000 + 15000 * abs(($round % 20) - 10);
	$cluster->sql(map {; "SELECT difs_put('two:/f$_', convert_to((SELECT string_agg(md5(g || '$round $_'), '') FROM generate_series(1, $size / 32) g), 'UTF8'))", "SELECT length(difs_get('two:/f$_'))" } 1 .. 5);
	$cluster->server(2)->kill if $round == 10;
	$cluster->server(2)->start if $round == 20;
	$cluster->sql("SELECT difs_put('two:/gone$_', 'x'), difs_delete('two:/gone$_')") foreach $round % 10 == 0 ? (1 .. 5) : ();
	usleep(100_000);
}
$cluster->wait_until_alive;
ok($cluster->node->poll_query_until('postgres', 'SELECT count(*) > 20 FROM difs.stat_samples'), 'there are samples');

my $said = $difs->done('report', $page);
like($said, qr/^\Q$page\E: \d+ samples$/, 'it says how many');
my $html = slurp_file($page);
like($html, qr/^<!DOCTYPE html>/, 'HTML');
is(scalar(() = $html =~ /<svg /g), 14, 'plots');
like($html, qr/<figcaption><h3>$_<\/h3>/, $_) foreach 'Throughput', 'Latency of reads', 'Latency of writes', 'Space used', 'Space free', 'To repair', 'Time of a sync';
unlike($html, qr/(?:src|href)\s*=|url\(|\@import|fetch\(|https?:/, 'nothing comes from elsewhere');
unlike($html, qr/\bnan\b|\binf\b/i, 'no number that is none');
my ($throughput) = $html =~ /<h3>Throughput<\/h3>.*?<script[^>]*>(.*?)<\/script>/s;
like($throughput, qr/"[\d.]+ [KM]iB\/s"/, 'throughput that was');
my ($repair) = $html =~ /<h3>To repair<\/h3>.*?<script[^>]*>(.*?)<\/script>/s;
like($repair, qr/"[1-9]\d*"/, 'copies that were missing while a server was down');
is($difs->done('report', '-') =~ s/<p>.*?<\/p>//r =~ /<svg/ ? 1 : 0, 1, 'to standard output');
ok(!-e "$page.new", 'nothing is left behind');

# Other databases, names, intervals, failures.
$said = $difs->done('-d', q{a<b>&'c}, 'report', '-s', '1 us', "$page.other");
$html = slurp_file("$page.other");
like($html, qr/<title>difs: a&#60;b&#62;&#38;&#39;c<\/title>/, 'a name is no markup');
like($html, qr/There are plots once two samples have been taken/, 'without samples the page says so');
my ($code, $out, $err) = $difs->run('report', '--since', 'yesterday evening', $page);
is($code, 1, 'an interval that is none');
like($err, qr/invalid input syntax for type interval/, 'is said to be none');
($code, $out, $err) = $difs->run('report', '/no/such/directory/report.html');
is($code, 1, 'a file that cannot be written');
like($err, qr{could not write to /no/such/directory/report\.html: No such file or directory}, 'is named');
($code) = $difs->run('report');
is($code, 64, 'no file');

# In the browser.
sub browser
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');
	local $ENV{HOME} = $cluster->dir;
	IPC::Run::run([ 'timeout', 60, 'chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run',
		'--user-data-dir=' . $cluster->dir . '/chromium', '--enable-logging=stderr', '--v=0', '--virtual-time-budget=5000', @arguments ], '>', \$out, '2>', \$err);
	return ($out, join("\n", $err =~ /^.*CONSOLE.*$/mg), $?);
}

SKIP:
{
	skip 'chromium is not installed: the page is not looked at in a browser', 1 if system('command -v chromium >/dev/null') != 0;

	my ($dom, $errors, $status) = browser('--dump-dom', "file://$page");
	is($status, 0, 'the browser shows the page') or diag($errors);
	is($errors, '', 'without an error of its script');
	like($dom, qr/<html[^>]* data-ready="14"/, 'which has run to its end, and found all plots');
	cmp_ok(scalar(() = $dom =~ /<path class="s\d/g), '>=', 20, 'plots have curves');

	# A script that moves the pointer: what the page shows there is what was then.
	append_to_file("$page.pointer.html", slurp_file($page) =~ s{</body>}{<script>
		const svg = document.querySelector('.plot svg'), box = svg.getBoundingClientRect();
		svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width / 2, clientY: box.top + 10}));
		</script></body>}r);
	($dom, $errors) = browser('--dump-dom', "file://$page.pointer.html");
	is($errors, '', 'a pointer over a plot is no error');
	my ($figure) = $dom =~ /(<figure.*?<\/figure>)/s;
	like($figure, qr/<line class="cursor"[^>]* style="visibility: visible;"/, 'it has a line there');
	like($figure, qr/<p>[^<]*\d+:\d\d:\d\d[^<]*<\/p>/, 'and the time');

	append_to_file("$page.broken.html", slurp_file($page) =~ s/JSON\.parse\(/JSON.parse('x' + /r);
	($dom, $errors) = browser('--dump-dom', "file://$page.broken.html");
	isnt($errors, '', '  control: a script that is wrong is seen');

	foreach my $shot ([ 'light', '1280,2600' ], [ 'narrow', '420,5200' ])
	{
		my ($name, $size) = @$shot;
		my $picture = $cluster->dir . "/$name.png";
		browser("--screenshot=$picture", "--window-size=$size", "file://$page");
		my ($width, $height, $ink) = picture($picture);
		is("$width,$height", $size, "a picture ($name)");
		cmp_ok($ink, '>', 0.01, sprintf('that is not blank: %.1f %% of it is not of one colour', 100 * $ink));
	}
	append_to_file($cluster->dir . '/blank.html', '<html><body style="background:#f6f7f9"></body></html>');
	my $blank = $cluster->dir . '/blank.png';
	browser("--screenshot=$blank", '--window-size=400,400', 'file://' . $cluster->dir . '/blank.html');
	cmp_ok((picture($blank))[2], '<', 0.001, '  control: a page without anything is');
}
if (my $keep = $ENV{DIFS_REPORT_KEEP})
{
	copy($_, $keep) foreach glob($cluster->dir . '/*.png'), $page;
}

# Size of a PNG of 8 bits a channel, and the share of its bytes that are not what its filters foretell, as of one colour they all are.
sub picture
{
	my ($name) = @_;
	require Compress::Zlib;
	my $bytes = slurp_file($name);
	my ($width, $height, $depth, $kind) = unpack('x16 N N C C', $bytes);
	my $channels = $kind == 6 ? 4 : 3;
	my $packed = '';
	for (my $at = 8; $at < length $bytes;)
	{
		my ($length, $type) = unpack("x$at N a4", $bytes);
		$packed .= substr($bytes, $at + 8, $length) if $type eq 'IDAT';
		$at += 12 + $length;
	}
	my $rows = Compress::Zlib::uncompress($packed);
	my $stride = $width * $channels + 1;
	my $different = 0;
	for my $row (0 .. $height - 1)
	{
		my $line = substr($rows, $row * $stride + 1 + $channels, $stride - 1 - $channels);
		$different += ($line =~ tr/\0//c);
	}
	return ($width, $height, $different / ($width * $height * $channels));
}

$cluster->stop;
done_testing();
