-- one version at a time: put with a number, delete of a version, restore

SELECT difs_volume_create('history', digest => 'none') > 0 AS made;
SET difs.volume = 'history';
CREATE FUNCTION pg_temp.history(path text) RETURNS TABLE (version integer, content text) LANGUAGE sql VOLATILE AS
$$ SELECT v.version, CASE WHEN v.deleted THEN '(deleted)' ELSE convert_from(difs_get(path, v.version), 'UTF8') END FROM difs_versions(path) AS v $$;
CREATE FUNCTION pg_temp.now(path text) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT (difs_stat(path)).version || ': ' || convert_from(difs_get(path), 'UTF8') $$;

-- put: higher becomes current, equal replaces, lower must exist and is replaced
SELECT difs_put('/f', 'three', version => 3);
SELECT difs_put('/f', 'seven', version => 7);
SELECT difs_put('/f', 'eight');
SELECT * FROM pg_temp.history('/f');
SELECT difs_put('/f', 'EIGHT', version => 8), difs_put('/f', 'SEVEN', version => 7);
SELECT * FROM pg_temp.history('/f');
SELECT pg_temp.now('/f');
SELECT difs_put('/f', 'five', version => 5);
SELECT difs_put('/f', 'Eight, again', version => 8);
SELECT difs_put('/f', 'nine');
SELECT * FROM pg_temp.history('/f');
SELECT difs_put('/f', 'x', version => 3, if_version => 8);
SELECT difs_put('/f', 'THREE', version => 3, if_version => 9);

-- numbers that are none
SELECT difs_put('/f', 'x', version => 0);
SELECT difs_put('/f', 'x', version => -1);
SELECT difs_put('/f', 'x', version => 2147483648);
SELECT difs_put('/f', 'x', version => 9223372036854775807);
SELECT difs_delete('/f', version => 2147483648);
SELECT difs_delete('/f', version => 0);
SELECT difs_restore('/f', 3000000000);
SELECT difs_restore('/f', 4);
SELECT difs_restore('/f', NULL);
SELECT difs_get('/f', version => -1);
SELECT difs_stat('/f', -1);
\set VERBOSITY sqlstate
SELECT difs_put('/f', 'x', version => 0);
SELECT difs_put('/f', 'x', version => 2147483648);
SELECT difs_put('/f', 'x', version => 5);
SELECT difs_delete('/f', version => 5);
\set VERBOSITY default
SELECT difs_put('/last', 'x', version => 2147483647);
SELECT difs_put('/last', 'y');
SELECT difs_put('/last', 'y', version => 2147483647);
SELECT pg_temp.now('/last');

-- subtransactions
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT difs_put('/f', 'seven, third', version => 7);
SELECT convert_from(difs_get('/f', 7), 'UTF8');
SAVEPOINT a;
SELECT difs_put('/f', 'seven, fourth', version => 7), difs_put('/f', 'seven, fifth', version => 7);
SELECT convert_from(difs_get('/f', 7), 'UTF8');
ROLLBACK TO a;
SELECT convert_from(difs_get('/f', 7), 'UTF8');
ROLLBACK;
SELECT convert_from(difs_get('/f', 7), 'UTF8');

-- delete of one version; of the current one, the one before takes its place
SELECT difs_delete('/f', version => 7);
SELECT difs_delete('/f', version => 7);
SELECT difs_delete('/f', version => 9);
SELECT pg_temp.now('/f'), (difs_stat('/f')).size;
SELECT * FROM pg_temp.history('/f');
-- no number is given twice, but by who asks for it
SELECT difs_put('/f', 'ten');
SELECT difs_delete('/f', version => 10), difs_put('/f', 'ten, by name', version => 10);
SELECT difs_put('/f', 'eleven');
SELECT * FROM pg_temp.history('/f');
SELECT difs_put('/f', 'x', if_version => 9);
-- the last version goes with the file
SELECT difs_put('/once', 'x');
SELECT difs_delete('/once', version => 1);
SELECT difs_exists('/once');
SELECT difs_put('/once', 'x'), difs_delete('/once');
SELECT difs_delete('/nothing', version => 1);
SELECT difs_mkdir('/dir') > 0 AS made;
SELECT difs_delete('/dir', version => 1);

-- restore: an old version as a new one, which moves no bytes
SELECT difs_restore('/f', 3);
SELECT pg_temp.now('/f');
SELECT manifest->'info'->>'version' AS version, manifest->'storages' = difs_manifest('/f', 3)->'storages' AS shared FROM difs_manifest('/f') AS manifest;
SELECT difs_delete('/f', version => 3);
SELECT pg_temp.now('/f');
SELECT difs_put('/f', 'THREE, again', version => 12);
SELECT pg_temp.now('/f');
SELECT difs_restore('/f', 8), difs_delete('/f', version => 8), pg_temp.now('/f');

-- history moves with rename, and a copy has its own
SELECT difs_rename('/f', '/dir/g'), difs_copy('/dir/g', '/copy');
SELECT * FROM pg_temp.history('/dir/g');
SELECT * FROM pg_temp.history('/copy');
SELECT difs_delete('/dir/g');
SELECT * FROM pg_temp.history('/copy');

SELECT * FROM difs_fsck();
SELECT difs_delete('/copy'), difs_delete('/last'), difs_delete('/dir');
RESET difs.volume;
