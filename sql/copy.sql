-- copies without moving bytes, and manifests

SELECT difs_put('/copy/a', '', parents => true), difs_put('/copy/a', '');
SELECT difs_copy('/copy/a', '/copy/b');
SELECT difs_copy('/copy/a', '/copy/b', version => 1);
SELECT difs_copy('/copy/b', '/copy/c', version => 2);
SELECT (difs_stat('/copy/a')).ino <> (difs_stat('/copy/b')).ino AS another_inode;

-- a copy of a copy shares the original's map
SELECT copy.name, version.version, map.name AS map, map_version
FROM difs_list('/copy') AS copy JOIN difs.version ON version.ino = copy.ino LEFT JOIN difs_list('/copy') AS map ON map.ino = map_ino
ORDER BY 1, 2;
SELECT digest = (SELECT digest FROM difs_versions('/copy/a') LIMIT 1) AS digest, segments FROM difs_versions('/copy/c');

-- an old version becomes the newest
SELECT difs_copy('/copy/a', '/copy/a', version => 1);
SELECT version FROM difs_versions('/copy/a');

-- conditions
SELECT difs_copy('/copy/a', '/copy/b', if_version => 0);
SELECT difs_copy('/copy/a', '/copy/b', if_version => 1);
SELECT difs_copy('/copy/a', '/copy/b', if_version => 2);
SELECT difs_copy('/copy/a', '/copy/d', if_version => 0);
SELECT difs_copy('/copy/a', '/copy/d', if_version => -1);

-- the copy stays when the original goes
SELECT difs_delete('/copy/a');
SELECT difs_copy('/copy/b', '/copy/e');
SELECT name, version FROM difs_list('/copy');

-- what cannot be copied, or not to there
SELECT difs_copy('/copy/missing', '/copy/f');
SELECT difs_copy('/copy/missing', '/copy/missing');
SELECT difs_copy('/copy/b', '/copy/f', version => 9);
SELECT difs_copy('/copy', '/copy/f');
SELECT difs_copy('/copy/b', '/copy');
SELECT difs_copy('/copy/b', '/copy/f/');
SELECT difs_copy('/copy/b', '/copy/missing/f');
SELECT difs_exists('/copy/f');

-- to another volume only if it would keep the bytes in the same kind of place
SELECT difs_volume_create(name => 'copy_same') > 0 AS made;
SELECT difs_volume_create(name => 'copy_other', replicas => 2) > 0 AS made;
SELECT difs_copy('/copy/b', 'copy_same:/f');
SELECT difs_copy('/copy/b', 'copy_other:/f');
SELECT difs_delete('copy_same:/f');

-- the manifest of an empty file
SELECT jsonb_pretty(difs_manifest('/copy/b', version => 3) #- '{info,ino}');
SELECT difs_manifest('/copy/b', details => true) -> 'segments' AS segments;

-- segments as if they were stored: two in a group of three servers, a hole, one in another group, one in the first;
-- no worker ever sees these servers and groups, because nothing of this is committed
BEGIN;
INSERT INTO difs.server
SELECT 1000 + i, '/copy' || i, 'host', 1, 'zone', 'none', 1, 'removed', false, now() FROM generate_series(1, 4) AS i;
INSERT INTO difs.block_group
VALUES (-1, 'sealed', 3, 'none', '{1003,1001,1002}', 1, 1, 1, 1, now(), now()),
       (-2, 'sealed', 2, 'none', '{1001,1004}', 1, 1, 1, 1, now(), now());
INSERT INTO difs.manifest
SELECT stat.ino, file_offset, 4096, 1, NULL, file_offset - 100000, 0, block_group, 4096, 100 + i, i % 2, -i
FROM difs_stat('/copy/b') AS stat,
     (VALUES (1, 0, -1), (2, 4096, -1), (3, 16384, -2), (4, 20480, -1)) AS extent (i, file_offset, block_group);
INSERT INTO difs.version
SELECT ino, 100, 24576, 4, 1, 4096, NULL, NULL, false, 10, now(), '\xabcd' FROM difs_stat('/copy/b');
UPDATE difs.inode SET version = 100, size = 24576 WHERE ino = (difs_stat('/copy/b')).ino;
SELECT jsonb_pretty(difs_manifest('/copy/b', details => true) #- '{info,ino}');
SELECT difs_copy('/copy/b', '/copy/g');
SELECT difs_manifest('/copy/g') -> 'storages' = difs_manifest('/copy/b') -> 'storages' AS same_storages;
SELECT difs_manifest('/copy/g') #> '{info,name}' AS name, (difs_stat('/copy/g')).size;
ROLLBACK;

SELECT difs_manifest('/copy/b', version => 5);
SELECT difs_manifest('/copy');

SELECT difs_delete('/copy', recursive => true);
