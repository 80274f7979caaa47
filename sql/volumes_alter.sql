-- volumes: made, changed and dropped

SELECT difs_volume_create('va', journal => true) > 0 AS made;
SELECT difs_put('va:/d/f', 'one', parents => true);
SELECT difs_volume_alter('va', segment_size => 8192, compression => 'none', digest => 'sha256', journal_keep => '1 day');
SELECT name, replicas, segment_size, compression, compression_level, tier, digest, journal, journal_keep, notify FROM difs.volumes WHERE name = 'va';
SELECT difs_volume_alter('va', compression_level => 5);
SELECT difs_put('va:/d/f', repeat('x', 20000)::bytea);
SELECT version, segments, length(digest) AS digest FROM difs_versions('va:/d/f');
SELECT difs_volume_alter('va', new_name => 'odd "näme" $1');
SELECT difs_get('va:/d/f');
SELECT length(difs_get('odd "näme" $1:/d/f')), difs_get('odd "näme" $1:/d/f', 1);
SELECT difs_volume_alter('odd "näme" $1', new_name => 'va');
-- nothing given, nothing changed
SELECT difs_volume_alter('va');
SELECT segment_size, compression_level FROM difs.volumes WHERE name = 'va';
-- a rollback, also in the session's cache of volumes
BEGIN;
SELECT difs_volume_alter('va', segment_size => 4096, new_name => 'vb');
SELECT difs_exists('vb:/d/f');
ROLLBACK;
SELECT difs_exists('va:/d/f'), segment_size FROM difs.volumes WHERE name = 'va';

-- bad input
SELECT difs_volume_alter('none', segment_size => 8192);
SELECT difs_volume_alter(NULL);
SELECT difs_volume_alter('main', new_name => 'other');
SELECT difs_volume_alter('va', new_name => 'main');
SELECT difs_volume_alter('va', new_name => 'a:b');
SELECT difs_volume_alter('va', new_name => '');
SELECT difs_volume_alter('va', new_name => repeat('x', 64));
SELECT difs_volume_alter('va', notify => true, new_name => repeat('x', 59));
SELECT difs_volume_alter('va', replicas => 0);
SELECT difs_volume_alter('va', segment_size => 5000);
SELECT difs_volume_alter('va', compression => 'lzma');
SELECT difs_volume_alter('va', compression => 'none', compression_level => 20);
SELECT difs_volume_alter('va', tier => '');
SELECT difs_volume_alter('va', digest => 'md5');
SELECT difs_volume_alter('va', journal_keep => '-1 day');
SELECT difs_volume_alter('va', journal_keep => '2000 years');
SELECT difs_volume_create('vc', journal_keep => NULL);
SELECT difs_volume_create('vc', quota_bytes => -1);
SELECT difs_volume_create('vc', quota_exact => NULL);

-- dropping
SELECT difs_volume_drop('main');
SELECT difs_volume_drop('main', force => true);
SELECT difs_volume_drop('none');
SELECT difs_volume_drop(NULL);
SELECT difs_volume_drop('va');
SELECT count(*) FROM difs_fsck();
BEGIN;
SELECT difs_volume_drop('va', force => true);
SELECT difs_exists('va:/d/f');
ROLLBACK;
SELECT difs_exists('va:/d/f');
SELECT difs_volume_drop('va', force => true);
SELECT difs_exists('va:/d/f');
SELECT name FROM difs.volumes WHERE name = 'va';
SELECT * FROM difs_fsck();
SELECT difs_volume_create('va') > 0 AS again;
SELECT difs_volume_drop('va');
-- within the transaction that made it
BEGIN;
SELECT difs_volume_create('va', quota_files => 10) > 0 AS made;
SELECT difs_put('va:/f', 'one');
SELECT difs_volume_drop('va', force => true);
COMMIT;
SELECT difs_volume_create('va') > 0 AS made;
SELECT difs_put('va:/d/f', 'one', parents => true);
-- foreign keys are obeyed
CREATE TABLE reference (ino bigint CONSTRAINT file_of_reference REFERENCES difs.inode);
INSERT INTO reference SELECT ino FROM difs_stat('va:/d/f');
\set VERBOSITY terse
SELECT difs_volume_drop('va', force => true);
\set VERBOSITY default
TRUNCATE reference;
SELECT difs_volume_drop('va', force => true);
DROP TABLE reference;
SELECT * FROM difs_fsck();
