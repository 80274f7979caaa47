-- append, write and truncate: the bytes, the versions and the map
SELECT difs_volume_create(name => 'data', segment_size => 4096, compression => 'none') > 0 AS made;
SET difs.volume = 'data';

CREATE FUNCTION pattern(seed text, length integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(string_agg(sha256(convert_to(seed || i, 'UTF8')), ''::bytea ORDER BY i), 1, length)
    FROM generate_series(0, length / 32) AS i
$$;
-- what the manifest says: offset, length, part of the segment if it is one
CREATE FUNCTION map(path text, version integer DEFAULT NULL) RETURNS TABLE (kind text, file_offset bigint, length bigint, segment_offset integer)
LANGUAGE sql AS $$
    SELECT * FROM (
        SELECT 'segment', (s->>'file_offset')::bigint, (s->>'length')::bigint, (s->>'segment_offset')::integer
        FROM jsonb_array_elements(difs_manifest(path, version, details => true)->'segments') AS s
        UNION ALL
        SELECT 'hole', (h->>'file_offset')::bigint, (h->>'length')::bigint, NULL
        FROM jsonb_array_elements(difs_manifest(path, version, details => true)->'holes') AS h) AS part
    ORDER BY 2
$$;

-- append makes the file, as O_APPEND | O_CREAT does
SELECT difs_append('/log', 'one ');
SELECT difs_append('/log', 'two ');
SELECT difs_append('/log', 'three');
SELECT convert_from(difs_get('/log'), 'UTF8'), convert_from(difs_get('/log', version => 2), 'UTF8'), convert_from(difs_get('/log', version => 1), 'UTF8');
SELECT * FROM map('/log');
-- one that comes whole has a digest, one that is put together has none until somebody has read it
SELECT version, size, segments, digest IS NOT NULL AS digest FROM difs_versions('/log');
-- zero bytes change nothing, but make a file
SELECT difs_append('/log', ''), difs_append('/new', ''), difs_append('/new', ''), difs_write('/written', 5, '');
SELECT name, size, version FROM difs_list('/');

-- an overwrite in the middle writes what has changed; the rest is named once more
SELECT difs_put('/file', pattern('a', 12000));
SELECT difs_write('/file', 5000, pattern('b', 100));
SELECT * FROM map('/file');
SELECT difs_get('/file') = overlay(pattern('a', 12000) PLACING pattern('b', 100) FROM 5001) AS new,
       difs_get('/file', version => 1) = pattern('a', 12000) AS old;
SELECT count(DISTINCT segment) AS segments, count(*) AS rows, count(to_version) AS ended FROM difs.manifest WHERE ino = (difs_stat('/file')).ino;
-- over the edges of segments, and over what was written before
SELECT difs_write('/file', 4000, pattern('c', 1050));
SELECT * FROM map('/file');
SELECT difs_get('/file') = overlay(overlay(pattern('a', 12000) PLACING pattern('b', 100) FROM 5001) PLACING pattern('c', 1050) FROM 4001) AS new;
-- across the end
SELECT difs_write('/file', 11990, pattern('d', 20));
SELECT size FROM difs_stat('/file');
SELECT difs_get('/file', "offset" => 11980) = substr(pattern('a', 12000), 11981, 10) || pattern('d', 20) AS end;
-- all of it
SELECT difs_write('/file', 0, pattern('e', 12010));
SELECT version, size, segments, digest IS NOT NULL AS digest FROM difs_versions('/file');

-- holes: behind the end, and by truncation
SELECT difs_write('/hole', 10000, 'behind');
SELECT * FROM map('/hole');
SELECT difs_get('/hole') = decode(repeat('00', 10000), 'hex') || 'behind' AS zeros;
SELECT difs_truncate('/hole', 20000), difs_write('/hole', 100, 'in the hole');
SELECT * FROM map('/hole');
SELECT sum(length(data)), bool_and(data = substr(difs_get('/hole'), "offset"::integer + 1, length(data))) FROM difs_read('/hole', piece_size => 4096);
SELECT difs_get('/hole', "offset" => 99, length => 13), difs_get('/hole', "offset" => 19990, length => 100), difs_get('/hole', version => 1, "offset" => 9998);
SELECT size, segments, digest FROM difs_versions('/hole') LIMIT 1;
-- a file of nothing else, larger than any disk
SELECT difs_truncate('/new', 1000000000000000), difs_get('/new', "offset" => 999999999999990);
SELECT difs_append('/new', 'x'), difs_get('/new', "offset" => 999999999999998);
SELECT * FROM map('/new', 2);

-- truncate
SELECT difs_truncate('/file', 10000), difs_truncate('/file', 10000);
SELECT difs_get('/file') = substr(pattern('e', 12010), 1, 10000) AS shorter;
SELECT * FROM map('/file');
-- what was cut off does not come back
SELECT difs_truncate('/file', 12010);
SELECT difs_get('/file') = substr(pattern('e', 12010), 1, 10000) || decode(repeat('00', 2010), 'hex') AS zeros;
-- to less than half: what is kept is written anew instead
SELECT difs_truncate('/file', 10);
SELECT difs_get('/file') = substr(pattern('e', 12010), 1, 10) AS ten;
SELECT difs_truncate('/file', 0), difs_get('/file');
SELECT version, size, segments, digest IS NOT NULL AS digest FROM difs_versions('/file');
-- every version is as it was
SELECT bool_and(length(difs_get('/file', version => version)) = size), difs_get('/file', version => 5) = pattern('e', 12010) AS fifth,
       difs_get('/file', version => 1) = pattern('a', 12000) AS first FROM difs_versions('/file');

-- copies and restored versions share rows of others: the first change of a part gives them their own
SELECT difs_put('/original', pattern('o', 9000)), difs_copy('/original', '/copied'), difs_append('/copied', '!'), difs_write('/original', 1, '?');
SELECT difs_get('/copied') = pattern('o', 9000) || '!' AS copied, difs_get('/original') = overlay(pattern('o', 9000) PLACING '?' FROM 2) AS original,
       difs_get('/copied', version => 1) = pattern('o', 9000) AS before;
SELECT difs_copy('/original', '/original', version => 1), difs_write('/original', 8999, '??');
SELECT difs_get('/original') = substr(pattern('o', 9000), 1, 8999) || '??' AS restored, difs_get('/original', version => 3) = pattern('o', 9000) AS before;
SELECT difs_delete('/original');
SELECT difs_get('/copied') = pattern('o', 9000) || '!' AS copied;

-- in one transaction: each call makes a version, and reads what it has written
BEGIN;
SELECT difs_put('/own', pattern('1', 6000)), difs_append('/own', '22'), difs_write('/own', 3000, '333'), difs_truncate('/own', 5000);
SELECT difs_get('/own') = substr(overlay(pattern('1', 6000) PLACING '333' FROM 3001), 1, 5000) AS own;
SAVEPOINT s;
SELECT difs_write('/own', 4000, pattern('4', 4000)), difs_append('/own', '5');
SELECT length(difs_get('/own'));
ROLLBACK TO s;
SELECT difs_write('/own', 10, '6');
COMMIT;
SELECT difs_get('/own') = overlay(substr(overlay(pattern('1', 6000) PLACING '333' FROM 3001), 1, 5000) PLACING '6' FROM 11) AS own;
BEGIN;
SELECT difs_write('/own', 0, 'rolled back');
ROLLBACK;
SELECT version, size, segments FROM difs_versions('/own');

-- what is kept of a cut segment is pending along with the new bytes: written early by a savepoint that is rolled back, it is written again
BEGIN;
SELECT difs_write('/own', 2000, 'outer');
SAVEPOINT s;
SELECT difs_get('/own', "offset" => 1990, length => 20) = substr(pattern('1', 6000), 1991, 10) || 'outer' || substr(pattern('1', 6000), 2006, 5) AS early;
ROLLBACK TO s;
SAVEPOINT s;
SELECT difs_truncate('/own', 2500);
ROLLBACK TO s;
SELECT difs_truncate('/own', 4500);
COMMIT;
SELECT difs_get('/own') = substr(overlay(overlay(overlay(pattern('1', 6000) PLACING '333' FROM 3001) PLACING '6' FROM 11) PLACING 'outer' FROM 2001), 1, 4500) AS own;

-- more rows than are written at once, of several files
BEGIN;
SELECT sum(difs_put('/many/' || i, pattern(i::text, 100000), parents => true)) AS made FROM generate_series(1, 9) i;
SELECT difs_write('/many/' || i, 5000 * i, 'cut') AS version FROM generate_series(1, 9, 4) i;
COMMIT;
SELECT count(*) AS right FROM generate_series(1, 9) i
WHERE difs_get('/many/' || i) = CASE WHEN i % 4 = 1 THEN overlay(pattern(i::text, 100000) PLACING 'cut' FROM 5000 * i + 1) ELSE pattern(i::text, 100000) END;
SELECT difs_delete('/many', recursive => true) > 0 AS deleted;

-- conditions
SELECT difs_append('/log', 'x', if_version => 2);
SELECT difs_append('/log', 'x', if_version => 0);
SELECT difs_append('/log', ' four', if_version => 3);
SELECT difs_write('/dir/file', 1, 'x', parents => true), difs_get('/dir/file');
SELECT difs_truncate('/log', 3, if_version => 1);

-- bad input
SELECT difs_write('/log', -1, 'x');
SELECT difs_write('/log', 9223372036854775807, 'x');
SELECT difs_write('/log', 4611686018427387904, 'x');
SELECT difs_truncate('/log', -1);
SELECT difs_truncate('/log', 9223372036854775807);
SELECT difs_truncate('/missing', 0);
SELECT difs_truncate('/dir', 0);
SELECT difs_append('/dir', 'x');
SELECT difs_append('/nowhere/file', 'x');
SELECT difs_append('/log', NULL);
SELECT difs_write('/log', NULL, 'x');
SELECT difs_append('/log', 'x', if_version => -1);
-- every function, every kind of bad path
CREATE FUNCTION state_of(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    RAISE SQLSTATE '00D1F';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN '00D1F' THEN 'no error' ELSE SQLSTATE END;
END $$;
SELECT left(path, 20) AS path, state_of(format('SELECT difs_append(%L, ''x'')', path)) AS append, state_of(format('SELECT difs_write(%L, 0, ''x'')', path)) AS write,
       state_of(format('SELECT difs_truncate(%L, 7)', path)) AS truncate, state_of(format('SELECT difs_concat(ARRAY[%L], ''/new'')', path)) AS "concat from",
       state_of(format('SELECT difs_concat(''{/log}'', %L)', path)) AS "concat to"
FROM (VALUES (1, ''), (2, 'log'), (3, ':/log'), (4, '/./log'), (5, '/dir/..'), (6, '/' || repeat('x', 256)), (7, repeat('/dir', 1100)), (8, 'nowhere:/log'),
      (9, '/log/sub'), (10, '/log/'), (11, '/missing/file'), (12, NULL), (13, '/'), (14, '/dir'), (15, '/log')) AS bad (place, path) ORDER BY place;
DROP FUNCTION state_of;
-- the end of the longest file
SELECT difs_write('/longest', 4611686018427387903, 'x'), difs_get('/longest', "offset" => 4611686018427387902);
SELECT difs_append('/longest', 'x');
SELECT difs_read('/longest', "offset" => 4611686018427387900);

SELECT kind, object, detail FROM difs_fsck(deep => true, digests => true) WHERE kind <> 'orphan'; -- of what was rolled back
SELECT sum(difs_delete('/' || name, recursive => true)) FROM difs_list('/');
DROP FUNCTION map;
DROP FUNCTION pattern;
