-- copies of ranges, and concatenation: no bytes move
SELECT difs_volume_create(name => 'parts', segment_size => 4096, compression => 'none') > 0 AS made;
SELECT difs_volume_create(name => 'elsewhere', replicas => 2) > 0 AS made;
SET difs.volume = 'parts';
CREATE FUNCTION pattern(seed text, length integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(string_agg(sha256(convert_to(seed || i, 'UTF8')), ''::bytea ORDER BY i), 1, length)
    FROM generate_series(0, length / 32) AS i
$$;

SELECT difs_put('/a', pattern('a', 10000)), difs_put('/b', pattern('b', 5000)), difs_put('/c', '');
SELECT difs_put('/hole', ''), difs_truncate('/hole', 3000);
CREATE TEMP TABLE before AS SELECT DISTINCT segment FROM difs.manifest;

SELECT difs_copy('/a', '/part', "offset" => 3000, length => 4000);
SELECT difs_get('/part') = substr(pattern('a', 10000), 3001, 4000) AS part;
SELECT difs_copy('/a', '/tail', "offset" => 9990);
SELECT difs_get('/tail') = substr(pattern('a', 10000), 9991) AS tail;
-- behind the end there is nothing
SELECT difs_copy('/a', '/none', "offset" => 10000, length => 5), difs_get('/none'), difs_copy('/a', '/none', "offset" => 20000), difs_get('/none');
SELECT difs_copy('/a', '/none', length => 0), difs_get('/none');
-- of an old version; into itself
SELECT difs_write('/a', 0, pattern('x', 10)), difs_copy('/a', '/a', version => 1, "offset" => 5, length => 10);
SELECT difs_get('/a') = substr(pattern('a', 10000), 6, 10) AS part, difs_get('/a', version => 2, length => 10) = pattern('x', 10) AS before;
SELECT difs_copy('/a', '/a', version => 1);

SELECT difs_concat('{/a,/hole,/b,/c,/a}', '/all');
SELECT difs_get('/all') = pattern('a', 10000) || decode(repeat('00', 3000), 'hex') || pattern('b', 5000) || pattern('a', 10000) AS all;
SELECT size, segments, digest FROM difs_versions('/all');
SELECT difs_concat('{/b,/b}', '/b'), difs_get('/b') = pattern('b', 5000) || pattern('b', 5000) AS twice;
SELECT difs_concat('{}', '/empty'), difs_get('/empty'), difs_concat('{/c}', '/empty');
-- nothing was stored but the ten bytes that were written
SELECT count(DISTINCT segment) FROM difs.manifest WHERE segment NOT IN (SELECT segment FROM before);

-- of what this transaction has just put
BEGIN;
SELECT difs_put('/own', pattern('o', 9000)), difs_concat('{/own,/own}', '/twice'), difs_copy('/own', '/end', "offset" => 8000);
COMMIT;
SELECT difs_get('/twice') = pattern('o', 9000) || pattern('o', 9000) AS twice, difs_get('/end') = substr(pattern('o', 9000), 8001) AS end;
-- parts outlive what they are parts of
SELECT difs_delete('/own');
SELECT difs_get('/twice') = pattern('o', 9000) || pattern('o', 9000) AS twice;

-- conditions, and bad input
SELECT difs_concat('{/b}', '/all', if_version => 0);
SELECT difs_concat('{/b}', '/all', if_version => 1);
SELECT difs_concat('{/b}', '/all', if_version => -1);
SELECT difs_concat('{/b,NULL}', '/all');
SELECT difs_concat('{/b,/missing}', '/all');
SELECT difs_concat('{/b,/}', '/all');
SELECT difs_concat(NULL, '/all');
SELECT difs_concat('{/b}', 'elsewhere:/b');
SELECT difs_copy('/b', 'elsewhere:/b', length => 5);
SELECT difs_copy('/b', '/all', "offset" => -1);
SELECT difs_copy('/b', '/all', length => -1);
SELECT difs_copy('/b', '/all', version => 77, length => 1);
SELECT version FROM difs_stat('/all');
-- too long together
SELECT difs_truncate('/hole', 4611686018427387904);
SELECT difs_concat('{/hole,/b}', '/all');

SELECT kind, object, detail FROM difs_fsck(deep => true, digests => true) WHERE kind <> 'orphan'; -- of what was rolled back
SELECT sum(difs_delete('/' || name, recursive => true)) FROM difs_list('/');
DROP FUNCTION pattern;
