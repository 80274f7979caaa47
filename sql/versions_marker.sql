-- delete markers: in a volume with versioning, the history of a deleted file stays

SELECT difs_volume_create('markers', digest => 'none', versioning => true) > 0 AS made;
SELECT name, versioning, keep_versions, keep_for, trash_for FROM difs.volumes WHERE name = 'markers';
SET difs.volume = 'markers';
CREATE FUNCTION pg_temp.history(path text) RETURNS TABLE (version integer, content text) LANGUAGE sql VOLATILE AS
$$ SELECT v.version, CASE WHEN v.deleted THEN '(deleted)' ELSE convert_from(difs_get(path, v.version), 'UTF8') END FROM difs_versions(path) AS v $$;

SELECT difs_put('/d/f', 'one', parents => true), difs_put('/d/f', 'two'), difs_put('/d/other', 'x');
SELECT difs_delete('/d/f');

-- gone for who does not ask for a version
SELECT difs_exists('/d/f');
SELECT difs_get('/d/f');
SELECT difs_stat('/d/f');
SELECT difs_copy('/d/f', '/d/g');
SELECT difs_rename('/d/f', '/d/g');
SELECT difs_delete('/d/f');
SELECT name FROM difs_list('/', recursive => true);
-- and there for who does
SELECT * FROM pg_temp.history('/d/f');
SELECT convert_from(difs_get('/d/f', 2), 'UTF8');
SELECT difs_get('/d/f', 3);
SELECT size, version FROM difs_stat('/d/f', 1);
SELECT difs_manifest('/d/f', 1)->'info'->>'version' AS version;
SELECT difs_copy('/d/f', '/d/copy', version => 1);
SELECT difs_copy('/d/f', '/d/copy', version => 3);
SELECT convert_from(difs_get('/d/copy'), 'UTF8');

-- undelete
SELECT difs_undelete('/d/f') = (difs_stat('/d/f')).ino AS back;
SELECT * FROM pg_temp.history('/d/f');
SELECT difs_undelete('/d/f');
SELECT difs_undelete('/d/nothing');
SELECT difs_undelete('/');
SELECT difs_undelete(NULL::text);
-- under another name; not over one that is taken
SELECT difs_delete('/d/f');
SELECT difs_undelete('/d/f', '/d/other');
SELECT difs_undelete('/d/f', '/missing/f');
SELECT difs_undelete('/d/f', 'main:/f');
SELECT difs_undelete('/d/f', '/back') > 0 AS back;
SELECT * FROM pg_temp.history('/back');

-- a put on the name goes on with the history, and so does a restore
SELECT difs_delete('/back');
SELECT difs_put('/back', 'three', if_version => 2);
SELECT difs_put('/back', 'three', if_version => 0);
SELECT * FROM pg_temp.history('/back');
SELECT difs_delete('/back'), difs_restore('/back', 1);
SELECT * FROM pg_temp.history('/back');
-- explicit numbers
SELECT difs_delete('/back');
SELECT difs_put('/back', 'x', version => 1);
SELECT difs_put('/back', 'in its place', version => 9);
SELECT * FROM pg_temp.history('/back');
SELECT difs_delete('/back'), difs_put('/back', 'twelve', version => 12);
SELECT * FROM pg_temp.history('/back');

-- deleting versions: markers come and go with them
SELECT difs_delete('/back', version => 12), difs_delete('/back', version => 9);
SELECT difs_exists('/back');
SELECT difs_delete('/back', version => 10), difs_exists('/back');
SELECT version, deleted FROM difs_versions('/back');
SELECT difs_delete('/back', version => 8);
SELECT difs_exists('/back');
SELECT version, deleted FROM difs_versions('/back');
SELECT difs_delete('/back', version => 7), difs_exists('/back');
SELECT difs_delete('/back');
SELECT difs_put('/file', 'only'), difs_delete('/file');
SELECT difs_delete('/file', version => 1);
SELECT difs_versions('/file');

-- two files of one name: what was deleted last comes back first
SELECT difs_put('/a', 'a'), difs_put('/b', 'b'), difs_delete('/a'), difs_rename('/b', '/a'), difs_delete('/a');
SELECT * FROM pg_temp.history('/a');
SELECT difs_undelete('/a') > 0 AS back, convert_from(difs_get('/a'), 'UTF8');
SELECT difs_undelete('/a', '/older') > 0 AS back, convert_from(difs_get('/older'), 'UTF8');
-- a file that is replaced by a rename leaves its history, too
SELECT difs_rename('/older', '/a'), difs_undelete('/a', '/replaced') > 0 AS back;
SELECT * FROM pg_temp.history('/replaced');

-- a directory with history in it is not empty
SELECT difs_mkdir('/h') > 0 AS made, difs_put('/h/f', 'x'), difs_delete('/h/f');
SELECT difs_rmdir('/h');
SELECT difs_rename('/h', '/i');
SELECT * FROM pg_temp.history('/i/f');
SELECT difs_delete('/i', recursive => true);
SELECT * FROM difs_fsck();

-- rollback
BEGIN;
SELECT difs_delete('/a'), difs_put('/a', 'x'), difs_delete('/a');
SAVEPOINT a;
SELECT difs_undelete('/a') > 0 AS back;
ROLLBACK TO a;
SELECT difs_exists('/a');
ROLLBACK;
SELECT * FROM pg_temp.history('/a');

SELECT difs_delete(name, recursive => true) > 0 AS deleted FROM (VALUES ('/a'), ('/replaced'), ('/d')) AS v (name);
SELECT * FROM difs_fsck();
RESET difs.volume;
