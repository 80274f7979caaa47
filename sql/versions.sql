-- versions: every put makes one

SELECT difs_put('/versions', '') FROM generate_series(1, 3);
SELECT version, size, encode(digest, 'hex') AS digest, deleted, segments, author = current_user::regrole AS mine
FROM difs_versions('/versions');
SELECT bool_and(later.mtime > earlier.mtime) AS mtimes
FROM difs_versions('/versions') AS later JOIN difs_versions('/versions') AS earlier ON later.version = earlier.version + 1;

-- one of them
SELECT stat.version, stat.size, stat.mtime = versions.mtime AS mtime
FROM difs_versions('/versions') AS versions, difs_stat('/versions', versions.version) AS stat;
SELECT difs_stat('/versions', 4);
SELECT difs_stat('/versions', 0);
SELECT difs_stat('/versions', -1);

-- volumes without digests, or with another
SELECT difs_volume_create(name => 'versions_none', digest => 'none') > 0 AS made;
SELECT difs_volume_create(name => 'versions_sha256', digest => 'sha256') > 0 AS made;
SELECT difs_put('versions_none:/f', ''), difs_put('versions_sha256:/f', '');
SELECT digest FROM difs_versions('versions_none:/f');
SELECT digest = sha256('') AS digest FROM difs_versions('versions_sha256:/f');

-- a rolled back version's number is free again
BEGIN;
SELECT difs_put('/versions', '');
ROLLBACK;
SELECT difs_put('/versions', '');

-- a new file of an old name begins anew
SELECT difs_delete('/versions');
SELECT difs_put('/versions', '');
SELECT version FROM difs_versions('/versions');
SELECT difs_delete('/versions');
SELECT difs_delete('versions_none:/f'), difs_delete('versions_sha256:/f');
