-- what difs_get() returns for files of 64 KiB and more: a value that is copied out of the shared cache where it is used
SELECT difs_volume_create('value', compression => 'none', segment_size => 131072) > 0 AS made;
CREATE TABLE content AS SELECT string_agg(sha256(int4send(i)), '') AS data FROM generate_series(1, 10000) i;
SELECT difs_put('value:/file', data), difs_write('value:/holes', 200000, data), length(data) FROM content;
-- once, so that it is in the cache
SELECT difs_get('value:/file') = data AS same, difs_get('value:/holes') = decode(repeat('00', 200000), 'hex') || data AS same_with_hole FROM content;

-- functions, ranges, the size without the bytes
SELECT difs_get('value:/file') = data AS same, sha256(difs_get('value:/file')) = sha256(data) AS digest, length(difs_get('value:/file')),
	octet_length(difs_get('value:/file')), substr(difs_get('value:/file'), 131000, 200) = substr(data, 131000, 200) AS part,
	difs_get('value:/file', NULL, 65000, 140001) = substr(data, 65001, 140001) AS range,
	difs_get('value:/holes', NULL, 100000, 250000) = decode(repeat('00', 100000), 'hex') || substr(data, 1, 150000) AS range_with_hole,
	difs_get('value:/file') || '\x00' = data || '\x00' AS concatenated, encode(difs_get('value:/file'), 'hex') = encode(data, 'hex') AS text
FROM content;
-- used more than once, and kept: in a row, a table, a sort, an array, a common table expression
SELECT md5(value) = md5(data) AS first, sha256(value) = sha256(data) AS second FROM (SELECT difs_get('value:/file') AS value OFFSET 0) once, content;
CREATE TABLE kept AS SELECT i, difs_get('value:/file') AS value FROM generate_series(1, 2) i;
INSERT INTO kept VALUES (3, difs_get('value:/file')) RETURNING md5(value) = (SELECT md5(data) FROM content) AS same;
UPDATE kept SET value = difs_get('value:/file', NULL, 0, 100000) WHERE i = 1;
SELECT i, value = substr(data, 1, length(value)) AS same, length(value) FROM kept, content ORDER BY i;
SELECT count(*), bool_and(value = data) FROM (SELECT difs_get('value:/file') AS value FROM generate_series(1, 3) ORDER BY 1) sorted, content;
SELECT count(DISTINCT difs_get('value:/file')), bool_and(difs_get('value:/file') = ANY (ARRAY[difs_get('value:/holes'), difs_get('value:/file')])) FROM generate_series(1, 2);
WITH kept AS MATERIALIZED (SELECT difs_get('value:/file') AS value) SELECT a.value = b.value, a.value = data FROM kept a, kept b, content;
SELECT made = ROW(data) AS same FROM (SELECT ROW(difs_get('value:/file')) AS made OFFSET 0) x, content;
SELECT max(md5(CASE WHEN i > 1 THEN difs_get('value:/file') ELSE coalesce(difs_get('value:/file'), '\x') END)) = min(md5(data)) FROM generate_series(1, 2) i, content;

-- PL/pgSQL keeps it, over a change of the file and after an error; as SQL functions and cursors do
CREATE FUNCTION read_file() RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RETURN difs_get('value:/file'); END $$;
CREATE FUNCTION read_in_sql() RETURNS bytea LANGUAGE sql AS $$ SELECT difs_get('value:/file') $$;
DO $$
DECLARE
	content bytea := (SELECT data FROM content);
	value bytea := difs_get('value:/file');
	other bytea;
BEGIN
	other := difs_get('value:/file');
	PERFORM difs_put('value:/file', '\x01');
	ASSERT value = content AND other = content AND difs_get('value:/file') = '\x01';
	BEGIN
		PERFORM difs_put('value:/file', content);
		other := difs_get('value:/file');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		ASSERT other = content AND difs_get('value:/file') = '\x01';
	END;
	PERFORM difs_put('value:/file', content);
	COMMIT;
	other := difs_get('value:/file');
	COMMIT;
	ASSERT other = content AND read_file() = content AND read_in_sql() = content;
END $$;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT difs_get('value:/file') FROM generate_series(1, 2);
COMMIT;
SELECT difs_put('value:/file', '\x03');
CREATE TEMP TABLE seen (value bytea);
DO $$ DECLARE value bytea; held refcursor := 'held'; BEGIN FETCH held INTO value; INSERT INTO seen VALUES (value); END $$;
SELECT value = data FROM seen, content;
CLOSE held;
-- the value and what changes it, in one statement
SELECT difs_put('value:/file', data) FROM content;
SELECT length(difs_get('value:/file')) AS read;
SELECT md5(value) = md5(data) AS same, put FROM (SELECT difs_get('value:/file') AS value, difs_put('value:/file', '\x02') AS put OFFSET 0) x, content;
SELECT difs_get('value:/file');

-- copied to another file, by a row that is stored elsewhere
SELECT difs_put('value:/copy', difs_get('value:/holes')), difs_get('value:/copy') = difs_get('value:/holes') AS same;
-- more than a cache keeps: 64 MiB, which is read when it is used
SELECT difs_put('value:/huge', convert_to(repeat('0123456789abcdef', 4194304), 'UTF8'));
SELECT md5(value) = md5(repeat('0123456789abcdef', 4194304)) AS same, length(value), md5(substr(value, 33000001, 16)) = md5('0123456789abcdef') AS part
FROM (SELECT difs_get('value:/huge') AS value OFFSET 0) x;
SELECT difs_get('value:/huge', NULL, 5, 40000000) = convert_to(substr(repeat('0123456789abcdef', 2500001), 6, 40000000), 'UTF8') AS range;
-- kept beyond its file
DO $$
DECLARE
	value bytea := difs_get('value:/huge');
BEGIN
	PERFORM difs_delete('value:/huge');
	COMMIT;
	ASSERT md5(value) = md5(repeat('0123456789abcdef', 4194304));
END $$;

SELECT count(difs_delete('value:/' || name)) FROM difs_list('value:/');
SELECT difs_volume_drop('value');
DROP TABLE content, kept;
DROP FUNCTION read_file, read_in_sql;
