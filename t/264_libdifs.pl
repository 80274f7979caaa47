# libdifs as other programs use it: test/client/api.c, with the address and undefined behaviour sanitizers, over both ways; and as it is installed:
# header, pkg-config file, both libraries, nothing else exported.
#
#	DIFS_VALGRIND	1: under valgrind, too (slow)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Cwd qw(abs_path);
use DifsCluster;
use DifsCommand;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = DifsCluster->new('libdifs', servers => 2);
my $difs = DifsCommand->new($cluster);
my $source = abs_path("$FindBin::RealBin/../test/client");
my $build = $cluster->dir . '/build';
my ($out, $err) = ('', '');

# Runs a program that prints TAP, in the environment of the cluster.
sub passes
{
	my ($what, @command) = @_;
	local %ENV = (%ENV, $difs->environment);
	IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	is($?, 0, $what) or diag $err;
	is(() = $out =~ /^not ok/mg, 0, 'no test fails') or diag grep { /^(not ok|#)/ } split /^/, $out;
	like($out, qr/^1\.\.[1-9]\d+$/m, 'to the end');
	return;
}

ok(IPC::Run::run([ 'make', '-s', '-C', $source, "B=$build", 'SANITIZE=1', 'all' ], '>', \$out, '2>', \$err), 'built with sanitizers') or diag $err;
passes('the interface', "$build/api");
if ($ENV{DIFS_VALGRIND})
{
	ok(IPC::Run::run([ 'make', '-s', '-C', $source, "B=$build/plain", 'all' ], '>', \$out, '2>', \$err), 'built without') or diag $err;
	passes('under valgrind', 'valgrind', '-q', '--error-exitcode=99', '--leak-check=full', "$build/plain/api");
}

# what others find
IPC::Run::run([ 'sh', '-c', "nm -D --defined-only $build/client/libdifs.so | awk '\$2 == \"T\" || \$2 == \"D\" || \$2 == \"B\" {print \$3}' | sed 's/@.*//'" ], '>', \$out);
my @exported = sort grep { !/^DIFS_1$/ } split /\n/, $out;
my %declared;
open(my $header, '<', "$source/../../client/difs.h") or die $!;
/^extern .*?\b(difs_\w+)\(/ and $declared{$1} = 1 while <$header>;
is_deeply(\@exported, [ sort keys %declared ], 'the shared library exports what the header declares, and nothing else');
IPC::Run::run([ 'readelf', '-d', "$build/client/libdifs.so" ], '>', \$out);
like($out, qr/SONAME.*\[libdifs\.so\.1\]/, 'its soname');
my $root = $cluster->dir . '/root';
ok(IPC::Run::run([ 'make', '-s', '-C', "$source/../../client", "B=$build/install", "DESTDIR=$root", 'libdir=/usr/lib', 'bindir=/usr/bin',
	'includedir=/usr/include', 'datadir=/usr/share', 'install' ], '>', \$out, '2>', \$err), 'make install') or diag $err;
ok(-e "$root/usr/$_", $_) for qw(bin/difs lib/libdifs.so lib/libdifs.so.1 lib/libdifs.a lib/pkgconfig/libdifs.pc include/difs.h
	share/man/man1/difs.1 share/bash-completion/completions/difs);
{
	local $ENV{PKG_CONFIG_PATH} = "$root/usr/lib/pkgconfig";
	local $ENV{PKG_CONFIG_SYSROOT_DIR} = $root;
	ok(IPC::Run::run([ 'sh', '-c', "cc -o $build/static $source/api.c -pthread \$(pkg-config --cflags libdifs) \$(pkg-config --static --libs libdifs | sed 's/-ldifs/-l:libdifs.a/')" ],
		'>', \$out, '2>', \$err), 'a program with the static library') or diag $err;
}
passes('runs', "$build/static");
is(system('bash', '-n', "$root/usr/share/bash-completion/completions/difs"), 0, 'the completion is bash');
IPC::Run::run([ 'bash', '-c', ". $root/usr/share/bash-completion/completions/difs; difs() { $root/usr/bin/difs \"\$@\"; }; COMP_WORDS=(difs pu); COMP_CWORD=1; _difs; echo \"\${COMPREPLY[@]}\";"
	. "COMP_WORDS=(difs put --dry); COMP_CWORD=2; _difs; echo \"\${COMPREPLY[@]}\"" ], '>', \$out, '2>', \$err);
is($out, "put\n--dry-run\n", 'and completes commands and options') or diag $err;
SKIP:
{
	skip 'there is no man', 1 if system('sh', '-c', 'command -v man >/dev/null') != 0;
	local $ENV{MANWIDTH} = 80;
	IPC::Run::run([ 'man', '--warnings', '-l', "$root/usr/share/man/man1/difs.1" ], '>', \$out, '2>', \$err);
	is($err, '', 'the man page is one');
}
$cluster->stop;
done_testing();
