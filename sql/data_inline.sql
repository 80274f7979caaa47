-- tiny files inside the database
SELECT difs_volume_create(name => 'bad', inline_limit => 8001);
SELECT difs_volume_create(name => 'bad', inline_limit => -1);
SELECT difs_volume_create(name => 'tiny', segment_size => 4096, inline_limit => 5000, compression => 'none') > 0 AS made;
SELECT name, inline_limit FROM difs.volumes WHERE name IN ('main', 'tiny') ORDER BY name;
SET difs.volume = 'tiny';
CREATE FUNCTION pattern(seed text, length integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(string_agg(sha256(convert_to(seed || i, 'UTF8')), ''::bytea ORDER BY i), 1, length)
    FROM generate_series(0, length / 32) AS i
$$;

CREATE FUNCTION places(path text) RETURNS TABLE (version integer, size bigint, segments integer, inline integer, digest boolean) LANGUAGE sql AS $$
    SELECT v.version, v.size, v.segments, (SELECT length(i.bytes) FROM difs.inline i, difs_stat(path) s WHERE i.ino = s.ino AND i.version = v.version),
           digest IS NOT NULL
    FROM difs_versions(path) AS v ORDER BY 1
$$;

SELECT difs_put('/f', pattern('f', 5000)), difs_put('/f', pattern('f', 5001)), difs_put('/f', ''), difs_put('/f', pattern('f', 1));
SELECT * FROM places('/f');
SELECT length(difs_get('/f', version => version)), difs_get('/f', version => version) = substr(pattern('f', 5001), 1, size::integer) AS same,
       digest = (SELECT digest FROM difs_versions('/f') WHERE version = 1) AS digest FROM difs_versions('/f') ORDER BY version;
SELECT difs_get('/f', version => 1, "offset" => 4990) = substr(pattern('f', 5000), 4991) AS range, difs_manifest('/f', 1) #> '{info,inline}' AS inline,
       difs_manifest('/f', 1) -> 'storages' AS storages;
-- only the longer one has segments
SELECT count(*) FROM difs.manifest WHERE ino = (difs_stat('/f')).ino;

-- growing out of it, and what shrinks back
SELECT difs_append('/g', pattern('1', 3000)), difs_append('/g', pattern('2', 2000)), difs_append('/g', pattern('3', 1)), difs_truncate('/g', 100);
SELECT * FROM places('/g');
SELECT difs_get('/g', version => 3) = pattern('1', 3000) || pattern('2', 2000) || pattern('3', 1) AS third, difs_get('/g') = substr(pattern('1', 3000), 1, 100) AS last;
SELECT difs_put('/h', pattern('h', 1000)), difs_write('/h', 10, 'in the middle'), difs_truncate('/h', 500), difs_truncate('/h', 600),
       difs_write('/h', 590, pattern('w', 5000)), difs_write('/h', 0, pattern('x', 5590));
SELECT * FROM places('/h');
SELECT difs_get('/h', version => 5) = overlay(substr(pattern('h', 1000), 1, 500) PLACING 'in the middle' FROM 11) || decode(repeat('00', 90), 'hex') || pattern('w', 5000) AS fifth;
-- far behind the end; and zeros are bytes while there are few
SELECT difs_put('/far', 'near'), difs_write('/far', 100000, 'far'), difs_put('/none', ''), difs_truncate('/none', 5000), difs_truncate('/none', 6000);
SELECT * FROM places('/far');
SELECT * FROM places('/none');
SELECT difs_get('/far', length => 6), difs_get('/far', "offset" => 99998), difs_get('/none') = decode(repeat('00', 6000), 'hex') AS zeros;

-- copies, restored versions and parts
SELECT difs_copy('/f', '/copy', version => 1), difs_copy('/copy', '/copy2'), difs_append('/copy2', 'x'), difs_copy('/f', '/f', version => 1),
       difs_copy('/f', '/part', version => 2, "offset" => 4000, length => 1000), difs_copy('/f', '/part2', version => 1, "offset" => 10, length => 10),
       difs_concat('{/part2,/part,/h}', '/all'), difs_concat('{/part2,/part2}', '/tiny');
SELECT difs_get('/copy') = pattern('f', 5000) AS copy, difs_get('/copy2') = pattern('f', 5000) || 'x' AS copy2, difs_get('/f') = pattern('f', 5000) AS restored,
       difs_get('/part') = substr(pattern('f', 5001), 4001, 1000) AS part,
       difs_get('/all') = substr(pattern('f', 5001), 11, 10) || substr(pattern('f', 5001), 4001, 1000) || pattern('x', 5590) AS all,
       difs_get('/tiny') = substr(pattern('f', 20), 11, 10) || substr(pattern('f', 20), 11, 10) AS tiny;
SELECT * FROM places('/all');
SELECT * FROM places('/part');
SELECT difs_delete('/f');
SELECT difs_get('/copy') = pattern('f', 5000) AS copy;

-- rolled back
BEGIN;
SELECT difs_put('/rolled', 'back'), difs_get('/rolled');
ROLLBACK;
SELECT difs_exists('/rolled');

SELECT kind, object, detail FROM difs_fsck(deep => true, digests => true) WHERE kind <> 'orphan'; -- of what was rolled back
-- fsck knows what belongs together
BEGIN;
DELETE FROM difs.inline WHERE ino = (difs_stat('/h')).ino AND version = 1;
UPDATE difs.version SET holes = 7 WHERE ino = (difs_stat('/g')).ino AND version = 3;
INSERT INTO difs.inline VALUES ((difs_stat('/far')).ino, 99, 'x');
SELECT kind, regexp_replace(object, 'inode \d+', 'inode N') AS object, detail FROM difs_fsck() ORDER BY 1;
\set VERBOSITY sqlstate
SELECT difs_get('/h', version => 1);
\set VERBOSITY default
ROLLBACK;
SELECT sum(difs_delete('/' || name, recursive => true)) FROM difs_list('/');
DROP FUNCTION places;
DROP FUNCTION pattern;
