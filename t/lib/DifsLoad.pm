
=pod

=head1 NAME

DifsLoad - clients that write and read files while something happens, for TAP tests

=head1 SYNOPSIS

  $cluster->sql("SELECT difs_volume_create('two', replicas => 2)");
  my $load = DifsLoad->new($cluster, rate => 40);
  $load->start;
  $load->wait_written(20);
  is($load->stop, 0, 'no transaction has failed');
  $load->all_right('afterwards');

=head1 DESCRIPTION

Four clients of pgbench, each with one transaction after the other that puts a file into the volume "two" and its number into the table
"written"; then a file that has been written before is read and compared.  The content of a file, content(number), follows from its number.  A
client ends at its first error, so stop() can tell how many transactions have failed.

=cut

package DifsLoad;

use strict;
use warnings;

use DifsCluster;
use IPC::Run;
use Test::More;

use constant CLIENTS => 4;

# rate: transactions a second, of all clients.
sub new
{
	my ($class, $cluster, %options) = @_;
	$cluster->sql(
		'CREATE SEQUENCE number',
		'CREATE TABLE written (number bigint PRIMARY KEY)',
		q{CREATE FUNCTION content(number bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
		  $$SELECT convert_to(repeat(md5(number::text), 1000 + (number * 7919 % 7000)::int), 'UTF8')$$});
	my $script = $cluster->write_file('load.sql', <<'SQL');
SELECT nextval('number') AS n \gset
BEGIN;
INSERT INTO written VALUES (:n);
SELECT difs_put('two:/file' || :n, content(:n));
COMMIT;
\set r random(1, :n)
SELECT 1 / (CASE WHEN difs_get('two:/file' || number) = content(number) THEN 1 ELSE 0 END)
FROM written WHERE number <= :r ORDER BY number DESC LIMIT 1;
SQL
	return bless { cluster => $cluster, script => $script, rate => $options{rate}, out => '' }, $class;
}

# Until they are stopped.
sub start
{
	my ($self) = @_;
	my $node = $self->{cluster}->node;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGAPPNAME} = 'pgbench';
	$self->{out} = '';
	$self->{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-c', CLIENTS, '-j', 2, '-T', 600, '-R', $self->{rate}, '-f', $self->{script}, 'postgres' ],
		'<', \undef, '>', \$self->{out}, '2>&1');
	return $self;
}

# How many of them are at work.
sub clients { return $_[0]{cluster}->sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'}); }

# Stops them; how many had ended, each by an error.
sub stop
{
	my ($self) = @_;
	my $left = $self->clients;
	$self->{run}->signal('TERM');
	$self->{run}->finish;
	note($self->{out}) if $left != CLIENTS || $self->{out} =~ /error|abort/i;
	return CLIENTS - $left;
}

sub written { return $_[0]{cluster}->sql('SELECT count(*) FROM written'); }

# A test: so many more are written.
sub wait_written
{
	my ($self, $more) = @_;
	my $before = $self->written;
	ok(DifsCluster::poll_until(sub { $self->written >= $before + $more }), "writes go on: $more more");
	return;
}

# A test: whatever has been written reads right.
sub all_right
{
	my ($self, $what) = @_;
	is($self->{cluster}->sql(q{SELECT count(*) FROM written WHERE difs_get('two:/file' || number) IS DISTINCT FROM content(number)}),
		0, "$what: all files read right");
	return;
}

1;
