
=pod

=head1 NAME

DifsFaultLoad - a cluster whose processes die, what it has acknowledged, and whether that is all there and nothing else

=head1 SYNOPSIS

  my $load = DifsFaultLoad->new('points');
  $load->run_load;
  $load->revive;
  is_deeply([ $load->look, $load->settle ], []);

=head1 DESCRIPTION

The content of a file follows from its path.  Statements are run one by one, each a transaction; what a client was told is noted.  The
keeper's duties only run when they are asked for.

=cut

package DifsFaultLoad;

use strict;
use warnings;

use DifsCluster;
use DifsDirect;
use POSIX qw(:sys_wait_h);
use Test::More;

sub new
{
	my ($class, $name) = @_;
	my $self = bless { number => 0, there => {}, gone => {} }, $class;
	$self->{cluster} = DifsCluster->new($name, servers => 3, conf => <<'CONF');
restart_after_crash = on
max_prepared_transactions = 5
difs.server_timeout = '5s'
difs.collect_interval = 0
difs.repair_interval = 0
difs.scrub_interval = 0
difs.scrub_rate = 0
difs.unstage_interval = 0
difs.upload_expire = '5s'
CONF
	$self->{node} = $self->{cluster}->node;
	$self->sql(
		map({ "SELECT difs_volume_create('$_->[0]', replicas => $_->[1], segment_size => 65536)" } [ 'two', 2 ], [ 'three', 3 ]),
		q{CREATE FUNCTION content(path text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
		  SELECT string_agg(sha512(convert_to(path || i, 'UTF8')), '') FROM generate_series(1, 1 + abs(hashtext(path) % 2000)) i $$},
		q{CREATE FUNCTION damage(path text) RETURNS text LANGUAGE plpgsql AS $$
		  BEGIN
			IF difs_get(path) = content(path) THEN RETURN NULL; END IF;
			RETURN 'wrong bytes';
		  EXCEPTION WHEN OTHERS THEN RETURN SQLERRM;
		  END $$});
	return $self;
}

sub cluster { return $_[0]{cluster}; }
sub node { return $_[0]{node}; }
sub sql { my ($self, @statements) = @_; return $self->{cluster}->sql(@statements); }
sub there { return sort keys %{ $_[0]{there} }; }
sub gone { return sort keys %{ $_[0]{gone} }; }

# A statement that may die with its server: whether it was acknowledged.
sub try
{
	my ($self, $statement) = @_;
	return $self->{node}->psql('postgres', $statement, on_error_stop => 1, timeout => 60) == 0;
}

# In psql's hands, so that it counts only when it has committed.
sub put_statement
{
	my ($path) = @_;
	return "SELECT difs_put('$path', content('$path'), parents => true) AS v \\gset\n";
}

sub put
{
	my ($self, $path, $before) = @_;
	my $done = $self->try(($before // '') . put_statement($path));
	$self->{there}{$path} = 1 if $done;
	return $done;
}

# The same bytes, sent by a client; with resumable, in more than one transaction.
sub upload
{
	my ($self, $path, %with) = @_;
	my $direct = $self->{direct} //= DifsDirect->new($self->{cluster});
	my $done = eval {
		my $session = $direct->session;
		my $bytes = pack 'H*', $session->query("SELECT encode(content('$path'), 'hex')");
		$session->query('BEGIN') unless $with{resumable};
		my $upload = $direct->begin($session, $path, length $bytes, parents => 'true', %with);
		$direct->send($session, $upload, $bytes);
		$direct->register($session, $upload);
		die 'left alone' if $with{resumable} && $with{resumable} eq 'true /* for ever */';
		my $version = $direct->commit($session, $upload);
		$session->query('COMMIT') unless $with{resumable};
		$session->quit;
		$version eq '1';
	};
	$self->{there}{$path} = 1 if $done;
	return $done;
}

# In one transaction; if it is not acknowledged, the files may be there or not.
sub delete
{
	my ($self, @paths) = @_;
	delete @{ $self->{there} }{@paths};
	my $list = join ', ', map { "'$_'" } @paths;
	@{ $self->{gone} }{@paths} = (1) x @paths if $self->try("SELECT count(difs_delete(path)) FROM unnest(ARRAY[$list]) AS path");
	return;
}

# All that a backend and the streamer do.
sub run_load
{
	my ($self) = @_;
	my $n = ++$self->{number};
	my $p = "two:/p$n";
	$self->put("$p/a");
	$self->put("$p/gone");
	$self->{there}{"$p/b"} = 1
	  if $self->try("BEGIN; SAVEPOINT s; SELECT difs_put('$p/never', 'x'); ROLLBACK TO s; " . put_statement("$p/b") . ' COMMIT;');
	$self->try("BEGIN; SELECT difs_put('$p/never', 'x'); ROLLBACK;");
	$self->delete("$p/gone");
	$self->try('BEGIN; ' . put_statement("$p/prepared") . " PREPARE TRANSACTION 'p$n';");
	$self->{there}{"$p/prepared"} = 1 if $self->try("COMMIT PREPARED 'p$n';");
	$self->put("$p/c");
	return;
}

# Starts again what has died: chunk servers here, PostgreSQL by itself; and takes back a claim whose taker has died.
sub revive
{
	my ($self) = @_;
	foreach my $server ($self->{cluster}->servers)
	{
		next unless $server->pid && waitpid($server->pid, WNOHANG) != 0;
		$server->kill;
		$server->start;
	}
	$self->{node}->poll_query_until('postgres', 'SELECT held IS NOT NULL FROM difs.claim');
	return DifsCluster::poll_until(sub {
			$self->try('SELECT difs_claim()') if $self->sql('SELECT NOT held FROM difs.claim') eq 't';
			return $self->sql('SELECT count(*) = 3 FROM difs.servers WHERE alive') eq 't';
		}, 60);
}

# What a client sees that it should not: lines.
sub look
{
	my ($self) = @_;
	my @wrong;
	foreach my $gid (split /\n/, $self->sql('SELECT gid FROM pg_prepared_xacts'))
	{
		$self->sql("COMMIT PREPARED '$gid'");
		my ($n) = $gid =~ /(\d+)/;
		$self->{there}{"two:/p$n/prepared"} = 1;
	}
	my $list = $self->{cluster}->write_file('there', join '', map { "$_\n" } $self->there);
	my $none = $self->{cluster}->write_file('gone', join '', map { "$_\n" } $self->gone);
	push @wrong, split /\n/, $self->sql(
		'CREATE TEMP TABLE there (path text)', "COPY there FROM '$list'", 'CREATE TEMP TABLE gone (path text)', "COPY gone FROM '$none'",
		q{CREATE TEMP TABLE seen AS SELECT v || ':/' || name AS path
		  FROM unnest('{two,three}'::text[]) v, difs_list(v || ':/', recursive => true, kind => 'file')},
		q{SELECT path || ' was acknowledged and is not there' FROM there WHERE path NOT IN (SELECT path FROM seen)
		  UNION ALL SELECT path || ' was deleted' FROM gone JOIN seen USING (path)
		  UNION ALL SELECT path || ' is to be seen: ' || damage(path) FROM seen WHERE damage(path) IS NOT NULL
		  UNION ALL SELECT path || ' is to be seen' FROM seen WHERE path LIKE '%/never'});
	return @wrong, map { "fsck: $_" } split /\n/, $self->sql(q{SELECT problem::text FROM difs_fsck() problem});
}

# What the duties leave behind that they should not: lines.
sub settle { return $_[0]{cluster}->left_behind; }

1;
