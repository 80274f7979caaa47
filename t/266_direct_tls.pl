# The direct way with TLS towards chunk servers: difs needs no files for it, since the token proves both ends, and TLS's binding is in the proof.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DifsCluster;
use DifsCommand;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $mask = umask(0077);

run_log([ 'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', 2, '-subj', '/CN=test',
	'-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', "$dir/key", '-out', "$dir/cert" ], '>', '/dev/null', '2>', "$dir/log") or die slurp_file("$dir/log");
umask($mask);
my $cluster = DifsCluster->new('direct_tls', servers => 2, options => [ '--tls-cert', "$dir/cert", '--tls-key', "$dir/key", '--tls', 'required' ],
	conf => "difs.tls = 'require'\n");
my $difs = DifsCommand->new($cluster);
my $file = $cluster->write_file('file', DifsCluster::random_bytes(30_000_001, 'file'));

# where no chunk server can be reached, the database server makes up for it, by a copy of pieces
$cluster->sql(q{SELECT difs_volume_create('two', replicas => 2, compression => 'none')});
$difs->done('put', $file, 'two:/file');
is($cluster->sql(q{SELECT segments FROM difs_versions('two:/file')}), 29, 'put over TLS');
is($cluster->sql(q{SELECT map_ino IS NULL FROM difs.version WHERE ino = difs_ino('two:/file')}), 't', 'directly: it is no copy of pieces');
$difs->done('get', 'two:/file', "$dir/back");
is(DifsCommand::digest("$dir/back"), DifsCommand::digest($file), 'and back');
$cluster->stop;
done_testing();
