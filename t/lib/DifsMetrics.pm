
=pod

=head1 NAME

DifsMetrics - metrics as Prometheus gets them, for TAP tests

=head1 SYNOPSIS

  my $url = DifsMetrics::url_in($server->{log});
  my %metrics = DifsMetrics::fetch($url);
  is($metrics{'difsd_connections'}, 2);

=cut

package DifsMetrics;

use strict;
use warnings;

use HTTP::Tiny;
use IPC::Run qw(run);
use PostgreSQL::Test::Utils;

# Where a log says that metrics are, at last; undef: it does not.
sub url_in
{
	my ($log) = @_;
	my ($url) = reverse slurp_file($log) =~ m{metrics are at (http://\S+)}g;
	return $url;
}

# The page; dies if it does not come.
sub page
{
	my ($url) = @_;
	my $answer = HTTP::Tiny->new(timeout => 20)->get($url);
	die "$url: $answer->{status} $answer->{reason} $answer->{content}" unless $answer->{success};
	return $answer->{content};
}

# Samples of a page, by name and labels as they stand there.
sub samples { return $_[0] =~ /^(\w+(?:\{.*\})?) (\S+)$/mg; }
sub fetch { return samples(page($_[0])); }

# Names of families of a page, with their types.
sub families { return $_[0] =~ /^# TYPE (\w+) (\w+)$/mg; }

# ($exit_status, all that it says) of promtool.
sub promtool
{
	my ($input, @arguments) = @_;
	my $said = '';
	run([ 'promtool', @arguments ], '<', \$input, '>', \$said, '2>&1');
	return ($?, $said);
}

1;
