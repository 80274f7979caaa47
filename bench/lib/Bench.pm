# Bench.pm - the frame that all workloads share: run systems in turn on the same data, measure each run from outside, keep the figures,
# and hold them against what is claimed.
package Bench;
use strict;
use warnings;
use IO::Select;
use List::Util qw(max);
use Time::HiRes ();
use Bench::Machine;
use Bench::Statistics;
use Bench::Systems;

my $KIB = 1024;
my $MIB = 1024 * $KIB;
my $first_number = 100_000_000;    # objects' numbers are large objects' oids as well: far from those that the server gives

my %forms = (
	tiny => { repetitions => 1, seconds => 0.3, large => 32 * $MIB, value => 16 * $MIB, command => 64 * $MIB, tree => 200, objects => 200, batches => 1,
		budget => 600 },
	quick => { repetitions => 3, seconds => 0.5, large => 256 * $MIB, value => 256 * $MIB, command => 512 * $MIB, tree => 5000, objects => 2000, batches => 2,
		budget => 210 },
	full => { repetitions => 5, seconds => 1.5, large => 1024 * $MIB, value => 256 * $MIB, command => 4096 * $MIB, tree => 20000, objects => 10000, batches => 5,
		budget => 900 });

sub new
{
	my ($class, %options) = @_;
	my $form = $forms{ $options{form} } or die "the form is full, quick or tiny, not $options{form}\n";
	my $self = bless { %$form, %options }, $class;
	$self->{started} = Time::HiRes::time() - ($ENV{BENCH_STARTED_SECONDS} // 0);
	$self->{load_before} = Bench::Machine::load_before();
	$self->{next} = {};
	$self->{cells} = [];
	$self->{claims} = [];
	$self->{facts} = [];
	return $self;
}

sub elapsed { return Time::HiRes::time() - $_[0]{started} }

# A workload that starts now may use this share of the time that is left before the budget; once it has, each comparison is done only once.
sub give_time
{
	my ($self, $share) = @_;
	$self->{until} = $self->elapsed + ($self->{budget} - $self->elapsed) * $share;
}

sub say
{
	my ($self, $text) = @_;
	print STDERR "$text\n";
}

# Payload that does not compress, one file as large as the largest object; and text that does.
sub prepare
{
	my ($self) = @_;
	my $directory = $self->{directory};
	$self->{has_cache} = $self->sql("SELECT count(*) FROM pg_settings WHERE name = 'difs.cache_size'");
	$self->{has_write} = $self->sql("SELECT count(*) FROM pg_proc WHERE proname = 'difs_write'");
	$self->{has_moosefs} = -d "$directory/moosefs/mount/bench";
	my $bytes = max($self->{large}, $self->{value});
	my $text_bytes = $self->{large} / 4;
	system("head -c $bytes /dev/urandom >$directory/payload") == 0 or die;
	system("find /usr/include /usr/share/common-licenses /usr/share/perl -type f -size -256k -print0 | sort -z | xargs -0 cat"
		  . " 2>/dev/null | head -c $text_bytes >$directory/text") == 0 or die;
	$self->{text} = -s "$directory/text";
	$self->{payload} = "$directory/payload";
	mkdir "$directory/files/$_" for qw(objects meta);
	$self->sql(Bench::Systems::tables());
	for my $port ($self->{has_cache} ? (5432, 5433) : 5432)
	{
		$self->sql(Bench::Systems::volumes(), $port);
		$self->sql("SELECT difs_mkdir('$_:/objects') FROM difs.volume WHERE name = '$_'", $port) for qw(one two four text);
	}
	$self->sql('CHECKPOINT');
}

sub sql
{
	my ($self, $sql, $port) = @_;
	local $ENV{PGPORT} = $port // $ENV{PGPORT};
	open my $psql, '-|', 'psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-c', $sql or die "psql: $!";
	my $result = join "", <$psql>;
	close $psql or die "failed: $sql\n";
	chomp $result;
	return $result;
}

# Without a cache in this build, the server with the cache and the one without are the same.
sub port
{
	my ($self, $name) = @_;
	return $self->{has_cache} ? Bench::Systems::get($name)->{port} // 5432 : 5432;
}

sub place
{
	my ($self, $name, $directory) = @_;
	my $system = Bench::Systems::get($name);
	return "$system->{volume}:/$directory" if $system->{load} eq 'difs';
	return "$self->{directory}/moosefs/mount/bench/$directory" if $name eq 'moosefs';
	return "$self->{directory}/files/$directory" if $system->{load} eq 'files';
	return 1;
}

# The processes that work for a system, but the load generator.
sub processes
{
	my ($self, $name) = @_;
	my $directory = $self->{directory};
	return () if $name eq 'files';
	my @files = $name eq 'moosefs' ? glob "$directory/moosefs/*.pid" :
		($directory . ($self->port($name) == 5433 ? '/plain' : '/main') . '/postmaster.pid', glob "$directory/pid[0-9]*");
	return map { Bench::Machine::read_file($_) =~ /^(\d+)/ ? $1 : () } @files;
}

# Runs the load generator once; while it runs, watches how much private memory the system's processes take.
sub load
{
	my ($self, $name, %options) = @_;
	my $system = Bench::Systems::get($name);
	local $ENV{PGPORT} = $self->port($name);
	my @arguments = ("--system=$system->{load}", "--place=" . ($options{place} // $self->place($name, $options{directory} // 'objects')),
		'--data=' . ($options{data} // $self->{payload}));
	push @arguments, '--no-directory-sync' if $name eq 'moosefs';
	push @arguments, '--check' if $options{check};
	for my $option (qw(operation size span first objects count seconds clients batch warm mode))
	{
		push @arguments, "--$option=$options{$option}" if defined $options{$option};
	}
	my $pid = open my $output, '-|', "$self->{directory}/build/load", @arguments or die "load: $!";
	my @processes = $self->processes($name);
	my $select = IO::Select->new($output);
	my $peak = 0;
	do
	{
		$peak = max($peak, Bench::Machine::private_bytes($name eq 'files' ? $pid : Bench::Machine::with_children(@processes)));
	} until $select->can_read(0.2);
	my $line = <$output> // '';
	close $output or die "the load generator failed\n";
	my %figures = map { split /=/, $_, 2 } split ' ', $line;
	$figures{peak} = $peak;
	return \%figures;
}

# Numbers that no object of a system has yet.
sub next_number
{
	my ($self, $name, $used) = @_;
	my $load = Bench::Systems::get($name)->{load} . $self->port($name);
	$self->{next}{$load} //= $first_number;
	my $number = $self->{next}{$load};
	$self->{next}{$load} += $used;
	return $number;
}

# Makes objects that are not measured; returns the number of the first.
sub populate
{
	my ($self, $name, %options) = @_;
	my $first = $self->next_number($name, 0);
	my $figures = $self->load($name, operation => 'put', clients => 4, %options, first => $first);
	return $self->next_number($name, $figures->{used});
}

# Frees the disk: what is 1 MiB or larger goes, but for the large files that later workloads read and delete.
sub tidy
{
	my ($self) = @_;
	my %large = %{ $self->{large_numbers} // {} };
	my @kept = map { sprintf '%016d', $_ } @{ $large{difs} // [] };
	my $kept = join ', ', map { "'$_'" } @kept, 'none';
	for my $volume (split /\n/, $self->sql('SELECT name FROM difs.volumes'))
	{
		$self->sql("SELECT difs_delete('$volume:/objects/' || name) FROM difs_list('$volume:/objects') WHERE size >= $MIB AND name NOT IN ($kept)")
		  if $self->sql("SELECT difs_exists('$volume:/objects')") eq 't';
	}
	$self->collect;
	my %file = map { sprintf('%016d', $_) => 1 } @{ $large{files} // [] };
	for my $path (glob "$self->{directory}/files/objects/*")
	{
		my ($name) = $path =~ m{([^/]*)$};
		unlink $path if -s $path >= $MIB && !$file{$name};
	}
}

# What is deleted goes from the chunk servers now, so that it does not while something is measured.
sub collect
{
	my ($self) = @_;
	for (1 .. 10)
	{
		$self->sql('SELECT difs_collect()');
		return if $self->sql('SELECT count(*) FROM difs.doomed') == 0;
	}
}

# One measured run.
sub measure
{
	my ($self, $name, %options) = @_;
	my $writes = !exists $options{first};
	my $port = $self->port($name);
	my $database = $name ne 'files' && $name ne 'moosefs';
	$options{first} = $self->next_number($name, 0) if $writes;
	$self->sql('CHECKPOINT', $port) if $options{checkpoint} && $database;
	my $wal = $database && $self->sql('SELECT pg_current_wal_insert_lsn()', $port);
	my $cpu = Bench::Machine::cpu_seconds($self->processes($name));
	my $figures = $self->load($name, %options);
	$cpu = Bench::Machine::cpu_seconds($self->processes($name)) - $cpu;
	$figures->{wal} = $database ? $self->sql("SELECT pg_current_wal_insert_lsn() - '$wal'", $port) : undef;
	$self->next_number($name, $figures->{used}) if $writes;
	# the servers worked for the operations that warmed up as well
	my $all = $figures->{operations} + ($options{warm} // 0) * $options{clients};
	my $size = $options{size} // 0;
	$figures->{first} = $options{first};
	$figures->{rate} = $figures->{operations} / $figures->{seconds};
	$figures->{bytes_rate} = $figures->{rate} * $size;
	$figures->{cpu} = $cpu / $all + $figures->{client_cpu} / $figures->{operations};
	$figures->{wal_each} = $figures->{wal} / $all if $database;
	$figures->{wal_ratio} = $figures->{wal_each} / $size if $size && $database;
	return $figures;
}

# Systems in turn, A B C, then B C A, and so on; returns {system => [runs]}. Each entry of systems is a name, or a hash with the name and
# what differs for it; a value that is code is called for each run.
sub compare
{
	my ($self, %options) = @_;
	my @systems = map { ref $_ ? $_ : { name => $_ } } @{ delete $options{systems} };
	my $repetitions = delete $options{repetitions} // $self->{repetitions};
	my $after = delete $options{after};
	my %cell = map { $_ => $options{$_} } grep { defined $options{$_} } qw(workload size clients mode);
	delete $options{workload};
	$cell{runs} = {};
	for my $repetition (1 .. $repetitions)
	{
		if ($repetition > 1 && $self->elapsed > $self->{until})
		{
			$self->{cut_short}++;
			last;
		}
		for my $system (@systems)
		{
			my %own = (seconds => $self->{seconds}, clients => 1, %options, %$system);
			delete $own{seconds} if exists $own{count} && !$own{both};
			my $name = delete $own{name};
			my $as = delete $own{as} // $name;
			$own{$_} = $own{$_}->() for grep { ref $own{$_} eq 'CODE' } keys %own;
			push @{ $cell{runs}{$as} }, $self->measure($name, %own);
			$after->($name) if $after;
		}
		push @systems, shift @systems;
	}
	push @{ $self->{cells} }, \%cell;
	return $cell{runs};
}

# A row of what must hold: ratio of a figure between two systems' runs.  at => 'least' or 'most'.
sub claim
{
	my ($self, $what, $against, $ours, $theirs, %options) = @_;
	my $figure = $options{figure} // 'rate';
	my @ours = map { $_->{$figure} } @{ $ours // [] };
	my @theirs = map { $_->{$figure} } @{ $theirs // [] };
	my $ratio = Bench::Statistics::ratios(\@ours, \@theirs);
	push @{ $self->{claims} }, {
		what => $what, against => $against, unit => $options{unit} // '', scale => $options{scale} // 1,
		ours => Bench::Statistics::summary(@ours), theirs => Bench::Statistics::summary(@theirs), ratio => $ratio,
		at => $options{at} // 'least', target => $options{target}, note => $options{note},
		holds => holds($ratio, $options{target}, $options{at} // 'least') };
}

# The same for a figure that is held against a number.
sub claim_value
{
	my ($self, $what, $against, $value, %options) = @_;
	my $figure = defined $value ? { median => $value, min => $value, max => $value } : undef;
	push @{ $self->{claims} }, {
		what => $what, against => $against, unit => $options{unit} // '', scale => $options{scale} // 1, absolute => 1,
		ours => $figure, theirs => undef, ratio => $figure, at => 'most', target => $options{target}, note => $options{note},
		holds => holds($figure, $options{target}, 'most') };
}

# undef: not measured, or nothing is asked.
sub holds
{
	my ($ratio, $target, $at) = @_;
	return undef unless defined $ratio && defined $target;
	return $at eq 'most' ? $ratio->{median} <= $target : $ratio->{median} >= $target;
}

# A figure without a target: label, value, unit.
sub fact
{
	my ($self, $what, $value) = @_;
	push @{ $self->{facts} }, { what => $what, value => $value };
}

1;
