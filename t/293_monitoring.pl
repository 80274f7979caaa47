# monitoring/ and doc/monitoring.md: alert rules and the dashboard are right, use what is served, and are documented; each alert is shown to fire
# and not to fire.

use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsDocs;
use DifsMetrics;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = abs_path("$FindBin::RealBin/..");
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $cluster = DifsCluster->new('monitoring', servers => 1, options => [ '--metrics', '0' ], conf => "difs.metrics_port = $port\ndifs.sample_interval = '200ms'\n");

# What is served: families, and the names of their samples.
my $database = "http://127.0.0.1:$port/metrics";
ok(DifsCluster::poll_until(sub { (+{ DifsMetrics::fetch($database) }->{'difs_doomed{database="postgres"}'} // '') eq '0' }, 30), 'there is a sample');
my %families = map { DifsMetrics::families(DifsMetrics::page($_)) } $database, DifsMetrics::url_in($cluster->server(0)->{log});
ok(keys %families > 60, scalar(keys %families) . ' metrics are served');
my %names = map { my $name = $_; map { ("$name$_" => 1) } $families{$name} eq 'histogram' ? qw(_bucket _sum _count) : ('') } keys %families;

# Names of metrics in an expression: words that are neither functions, nor labels, nor of the language.
sub used
{
	my ($expression) = @_;
	$expression =~ s/"[^"]*"//g;
	$expression =~ s/\b(?:by|on|without|group_left|group_right)\s*\([^)]*\)//g;
	$expression =~ s/\{[^}]*\}//g;
	$expression =~ s/\[[^\]]*\]//g;
	return grep { /^(?:difsd?|process)_/ } $expression =~ /[a-z_][a-z0-9_]*/gi;
}

sub unknown { my %seen; return sort grep { !$names{$_} && !$seen{$_}++ } map { used($_) } @_; }

# Alerts.
my $rules = slurp_file("$tree/monitoring/alerts.yml");
my $cases = slurp_file("$tree/monitoring/alerts_test.yml");
my ($status, $said) = DifsMetrics::promtool('', 'check', 'rules', "$tree/monitoring/alerts.yml");
is($status, 0, 'promtool finds the rules right') or diag($said);
($status, $said) = DifsMetrics::promtool('', 'test', 'rules', "$tree/monitoring/alerts_test.yml");
is($status, 0, 'and their tests succeed') or diag($said);
my @alerts = $rules =~ /^\s+- alert: (\w+)$/mg;
foreach my $alert (@alerts)
{
	my @mine = grep { /alertname: $alert\n/ } split /^  - interval:/m, $cases;
	is(join(' ', sort map { /exp_alerts: \[\]/ ? 'silent' : 'fires' } @mine), 'fires silent', "$alert is shown to fire, and not to");
}
my @expressions = $rules =~ /^\s+expr: (.*)$/mg;
is(scalar(@expressions), scalar(@alerts), 'each has an expression');
is(join(' ', unknown(@expressions)), '', 'of metrics that are served');
is(join(' ', unknown('rate(difsd_syncs_total[5m]) > 0')), 'difsd_syncs_total', '  control: one that is not');

my $copy = PostgreSQL::Test::Utils::tempdir();
append_to_file("$copy/alerts_test.yml", $cases);
append_to_file("$copy/alerts.yml", $rules =~ s/difs_claim_held == 0/difs_claim_held == 1/r);
($status, $said) = DifsMetrics::promtool('', 'test', 'rules', "$copy/alerts_test.yml");
isnt($status, 0, '  control: an alert that is the wrong way round fails its tests');
like($said, qr/DifsClaimLost/, '  and is named');

# The dashboard.
my $dashboard = decode_json(slurp_file("$tree/monitoring/dashboard.json"));
is($dashboard->{title}, 'difs', 'the dashboard is JSON');
cmp_ok($dashboard->{schemaVersion}, '>=', 36, 'of a version that Grafana 9 reads');
my @panels = @{ $dashboard->{panels} };
my @charts = grep { $_->{type} ne 'row' } @panels;
my %ids = map { $_->{id} => 1 } @panels;
is(scalar(keys %ids), scalar(@panels), 'panels have numbers of their own');
is(join(' ', map { $_->{title} } grep { !$_->{title} || !$_->{description} || !@{ $_->{targets} } } @charts), '', 'each chart has a title, a description and something to show');
my %covered;
foreach my $panel (@panels)
{
	my $place = $panel->{gridPos};
	foreach my $x ($place->{x} .. $place->{x} + $place->{w} - 1)
	{
		$covered{"$x " . ($place->{y} + $_)}++ foreach 0 .. $place->{h} - 1;
		fail("$panel->{title} is not on the page") if $x > 23;
	}
}
is(join(' ', grep { $covered{$_} > 1 } keys %covered), '', 'no two of them lie on each other');
my %variables = map { $_->{name} => 1 } @{ $dashboard->{templating}{list} };
my @queries = map { $_->{expr} } map { @{ $_->{targets} } } @charts;
is(join(' ', unknown(@queries, map { $_->{definition} // () } @{ $dashboard->{templating}{list} })), '', 'it uses metrics that are served');
is(join(' ', grep { $_ ne '__rate_interval' && !$variables{$_} } map { /\$(\w+)/g } @queries), '', 'and its own variables');

# promtool reads each query as a rule.
my $number = 0;
sub as_rules { return "groups:\n- name: queries\n  rules:\n" . join('', map { s/\$__rate_interval/5m/gr =~ s/\$\w+/x/gr =~ s/(.*)/"  - record: query:" . $number++ . "\n    expr: '$1'\n"/er } @_); }
append_to_file("$copy/queries.yml", as_rules(@queries));
($status, $said) = DifsMetrics::promtool('', 'check', 'rules', "$copy/queries.yml");
is($status, 0, scalar(@queries) . ' queries can be evaluated') or diag($said);
append_to_file("$copy/bad.yml", as_rules(@queries, 'sum by difs_databases'));
($status) = DifsMetrics::promtool('', 'check', 'rules', "$copy/bad.yml");
isnt($status, 0, '  control: one that cannot');

# Documented: all metrics, all alerts.
my $document = DifsDocs::document($tree, 'doc/monitoring.md');
my %documented = map { $_ => 1 } grep { /^difs/ } map { DifsDocs::quoted($_->[0]) } DifsDocs::table($document, 'metric', '');
is(join(' ', grep { !$documented{$_} && !/^process_/ } sort keys %families), '', 'all metrics are documented');
is(join(' ', grep { !$families{$_} } sort keys %documented), '', 'and all that are documented are served');
my %explained = map { $_ => 1 } map { DifsDocs::quoted($_->[0]) } DifsDocs::table($document, 'alert', 'it means', 'do');
is(join(' ', sort keys %explained), join(' ', sort @alerts), 'each alert is explained');

# Installed.
my ($sharedir) = run_command([ 'pg_config', '--sharedir' ]);
my $installed = ($sharedir =~ s{/postgresql.*}{}r) . '/difs/monitoring';
is(slurp_file("$installed/$_"), slurp_file("$tree/monitoring/$_"), "$_ is installed") foreach qw(alerts.yml alerts_test.yml dashboard.json prometheus.yml);

$cluster->stop;
done_testing();
