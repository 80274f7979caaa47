# The direct path: clients send segments to chunk servers themselves, and fetch them from there (src/upload.h, common/token.h).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5;
use DifsCluster;
use DifsDirect;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = DifsCluster->new('upload', servers => 3, conf => "difs.collect_interval = 0\n");
my $node = $cluster->node;
my $direct = DifsDirect->new($cluster);
my $session = $direct->session;

$cluster->sql(q{SELECT difs_volume_alter('main', replicas => 2, segment_size => 65536)});

# A file goes up and comes back, without a byte of it through PostgreSQL.
{
	my $bytes = DifsCluster::random_bytes(1000000);
	is($direct->upload($session, '/f', $bytes, media_type => q{'text/plain'}), 1, 'the first version');
	is($cluster->sql(q{SELECT md5(difs_get('/f')) }), Digest::MD5::md5_hex($bytes), 'difs_get reads what was uploaded');
	ok($direct->get($session, '/f') eq $bytes, 'and the client fetches it');
	ok($direct->get($session, '/f', 70000, 200000) eq substr($bytes, 70000, 200000), 'and a range of it');
}
done_testing();
