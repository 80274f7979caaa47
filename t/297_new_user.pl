# What README and doc/administration.md promise somebody who has just installed difs (scripts/new-user).

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my @steps = (
	'A database with the extension',
	'Three chunk servers on three directories; the embedded one is emptied and removed',
	'A tree of files, in a transaction with rows',
	'A server is lost with its disk, and replaced',
	'A backup is taken, files are deleted and replaced, the backup is restored',
	'The original, started again by mistake, may not write',
	'all as the documents say');

my ($out, $error);
my $ended = IPC::Run::run([ "$FindBin::RealBin/../scripts/new-user", "$FindBin::RealBin/../src" ], '>', \$out, '2>', \$error);
ok($ended, 'it ends well') or diag($out, $error);
is_deeply([ $out =~ /^== (.*)$/mg ], \@steps, 'all steps were taken');
note($out);

# A control: it notices files that are not what was stored.
{
	local $ENV{PATH} = PostgreSQL::Test::Utils::tempdir() . ":$ENV{PATH}";
	my ($bin) = split /:/, $ENV{PATH};
	chomp(my $difs = `sh -c 'command -v difs'`);
	open(my $file, '>', "$bin/difs") or die "$bin/difs: $!";
	print $file "#!/bin/sh\n$difs \"\$@\" || exit\ncase \$1 in get) for last; do :; done; find \"\$last\" -type f | head -n 1 | xargs truncate -s 1;; esac\n";
	close($file);
	chmod 0755, "$bin/difs";
	ok(!IPC::Run::run([ "$FindBin::RealBin/../scripts/new-user", "$FindBin::RealBin/../src" ], '>', \$out, '2>', \$error),
		'control: files that come back damaged are noticed');
	like($error, qr/FAILED: documents:\/tree is not what was stored/, 'and it says so');
}

done_testing();
