-- quotas and usage

SELECT difs_volume_create('vq', quota_bytes => 100, quota_files => 5) > 0 AS made;
SELECT difs_put('vq:/a/f', repeat('x', 60)::bytea, parents => true);
SELECT * FROM difs.stat_volumes WHERE name = 'vq';
-- as many bytes as there may be, and one more
SELECT difs_put('vq:/a/g', repeat('x', 40)::bytea);
SELECT difs_put('vq:/a/h', 'x');
-- the current version counts
SELECT difs_put('vq:/a/g', repeat('y', 10)::bytea);
SELECT difs_put('vq:/a/h', 'x');
SELECT difs_mkdir('vq:/a/d') > 0 AS made;
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
SELECT difs_mkdir('vq:/a/e');
SELECT difs_put('vq:/a/i', '');
-- nothing is left of what failed
SELECT name, size FROM difs_list('vq:/', recursive => true);
-- a transaction sees its own, and savepoints take back theirs
BEGIN;
SELECT difs_delete('vq:/a/h');
SAVEPOINT s;
SELECT difs_put('vq:/a/f', repeat('z', 80)::bytea);
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
ROLLBACK TO s;
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
SAVEPOINT t;
SELECT difs_put('vq:/a/f', repeat('z', 90)::bytea);
RELEASE t;
SELECT * FROM difs_fsck() WHERE kind <> 'wrong manifest';
SAVEPOINT u;
SELECT difs_put('vq:/a/f', repeat('z', 91)::bytea);
ROLLBACK TO u;
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
ROLLBACK;
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
-- also before it is prepared
BEGIN;
SELECT difs_put('vq:/a/f', repeat('z', 30)::bytea);
PREPARE TRANSACTION 'vq';
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
COMMIT PREPARED 'vq';
SELECT bytes, files FROM difs.stat_volumes WHERE name = 'vq';
-- what shrinks is allowed beyond the quota, what grows is not
SELECT difs_quota_set('vq:/', bytes => 0, files => 0);
SELECT difs_put('vq:/a/f', repeat('z', 20)::bytea);
SELECT difs_put('vq:/a/f', repeat('z', 20)::bytea);
SELECT difs_put('vq:/a/f', repeat('z', 21)::bytea);
SELECT difs_mkdir('vq:/b');
SELECT difs_delete('vq:/a/h');
-- no limit: only counted
SELECT difs_quota_set('vq:/');
SELECT difs_put('vq:/a/f', repeat('z', 5000)::bytea);
SELECT * FROM difs.stat_volumes WHERE name = 'vq';

-- directories: counting begins with what is there
SELECT difs_put('vq:/p/one/f' || i, repeat('p', i)::bytea, parents => true) FROM generate_series(1, 10) i;
SELECT difs_quota_set('vq:/p', bytes => 100, files => 20);
SELECT difs_quota_set('vq:/p/one', bytes => 60);
SELECT * FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
SELECT difs_put('vq:/p/one/f', repeat('p', 6)::bytea);
SELECT difs_put('vq:/p/one/f', repeat('p', 5)::bytea);
SELECT difs_put('vq:/p/two/f', repeat('p', 41)::bytea, parents => true);
SELECT difs_put('vq:/p/two/f', repeat('p', 40)::bytea, parents => true);
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
-- renames between quota roots: files, directories, and over something
SELECT difs_rename('vq:/p/two/f', 'vq:/p/one/g');
SELECT difs_rename('vq:/p/one/f9', 'vq:/p/two/f9');
SELECT difs_rename('vq:/p/one/f8', 'vq:/a/f8');
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
SELECT difs_rename('vq:/p/one/f1', 'vq:/p/one/f2');
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
SELECT difs_rename('vq:/p/one', 'vq:/one');
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
SELECT difs_rename('vq:/p/two', 'vq:/one/two');
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
BEGIN;
SELECT difs_rename('vq:/one', 'vq:/p/one');
SELECT * FROM difs_fsck();
ROLLBACK;
SELECT difs_quota_set('vq:/p', bytes => 10);
SELECT difs_rename('vq:/one', 'vq:/p/one');
SELECT difs_rename('vq:/a/f', 'vq:/p/f');
SELECT difs_rename('vq:/a', 'vq:/p/a');
SELECT difs_copy('vq:/a/f', 'vq:/p/f');
SELECT difs_copy('vq:/one/f3', 'vq:/p/f');
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
SELECT * FROM difs_fsck();
-- over a file that makes room
SELECT difs_quota_set('vq:/p', bytes => 49);
SELECT difs_rename('vq:/one/f2', 'vq:/p/two/f9');
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
-- many slots, one sum
SELECT difs_quota_set('vq:/one', bytes => 600);
DO $$ BEGIN
    FOR i IN 1..50 LOOP
        PERFORM difs_put('vq:/one/many' || i, '12345');
    END LOOP;
END $$;
SELECT count(*) AS slots, sum(bytes) > 0 AS used FROM difs.usage WHERE root = (SELECT ino FROM difs_stat('vq:/one'));
SELECT path, bytes, files FROM difs.quotas WHERE path = 'vq:/one';
-- in the isolation levels with one snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT difs_put('vq:/one/rr', '123456');
SELECT path, bytes, files FROM difs.quotas WHERE path = 'vq:/one';
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT difs_delete('vq:/one/rr');
COMMIT;
-- a directory that is a quota root goes, and so does the quota
SELECT difs_delete('vq:/one', recursive => true);
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
SELECT count(*) FROM difs.usage u WHERE NOT EXISTS (SELECT FROM difs.quota q WHERE q.root = u.root);
SELECT difs_quota_drop('vq:/p'), difs_quota_drop('vq:/p');
SELECT accounting FROM difs.volume WHERE name = 'vq';
SELECT difs_put('vq:/p/f', repeat('p', 4000)::bytea);
SELECT difs_quota_drop('vq:/');
SELECT accounting FROM difs.volume WHERE name = 'vq';
SELECT * FROM difs.stat_volumes WHERE name = 'vq';
-- a volume that counted nothing
SELECT difs_quota_set('vq:/p', bytes => 5000);
SELECT path, bytes, files FROM difs.quotas WHERE path LIKE 'vq:%' ORDER BY path;
-- exact
SELECT difs_quota_set('vq:/p', bytes => 4051, exact => true);
SELECT difs_put('vq:/p/g', '1234567890');
SELECT difs_put('vq:/p/g', '12345678901');
SELECT * FROM difs_fsck();

-- bad input
SELECT difs_quota_set('vq:/p', bytes => -1);
SELECT difs_quota_set('vq:/p', files => -9223372036854775808);
SELECT difs_quota_set('vq:/p', exact => NULL);
SELECT difs_quota_set(NULL, bytes => 1);
SELECT difs_quota_set('vq:/p/f', bytes => 1);
SELECT difs_quota_set('vq:/none', bytes => 1);
SELECT difs_quota_set('none:/', bytes => 1);
SELECT difs_quota_drop('vq:/none');
SELECT difs_quota_drop(NULL);
-- as much as there can be
SELECT difs_quota_set('vq:/p', bytes => 9223372036854775807, files => 9223372036854775807);
SELECT difs_put('vq:/p/h', '1');
-- what fsck finds
BEGIN;
UPDATE difs.usage SET bytes = bytes + 1 WHERE slot = 3 AND root = (SELECT ino FROM difs_stat('vq:/p'));
INSERT INTO difs.usage VALUES (1, 0, 0, 0);
INSERT INTO difs.quota VALUES (2, 1, NULL, NULL, false);
SELECT kind, regexp_replace(object, '\d{2,}', 'N', 'g') AS object, detail FROM difs_fsck() ORDER BY 1, 2;
ROLLBACK;
SELECT difs_volume_drop('vq', force => true);
SELECT count(*) FROM difs.quota q JOIN difs.usage u USING (root) WHERE NOT EXISTS (SELECT FROM difs.inode i WHERE i.ino = q.root);
SELECT * FROM difs_fsck();
