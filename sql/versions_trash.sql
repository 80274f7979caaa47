-- the trash of a volume

SELECT difs_volume_create('bin', digest => 'none', trash_for => '1 day') > 0 AS made;
SET difs.volume = 'bin';
CREATE VIEW pg_temp.trash AS
SELECT volume, path, kind, size, deleted_by = current_user::regrole AS mine, deleted <= clock_timestamp() AS deleted, purged - deleted AS kept
FROM difs.trash WHERE volume = 'bin' ORDER BY id;

SELECT difs_put('/d/e/f', 'one', parents => true), difs_put('/d/e/f', 'two'), difs_put('/d/g', 'g');
SELECT difs_delete('/d//e/f');
SELECT difs_exists('/d/e/f');
SELECT difs_versions('/d/e/f');
SELECT * FROM pg_temp.trash;
SELECT difs_undelete('bin:/d/e/f') > 0 AS back;
SELECT version, convert_from(difs_get('/d/e/f', version), 'UTF8') FROM difs_versions('/d/e/f');
SELECT * FROM pg_temp.trash;

-- not over a name that is taken
SELECT difs_delete('/d/e/f'), difs_put('/d/e/f', 'new');
SELECT difs_undelete('/d/e/f');
SELECT difs_undelete('/d/e/f', '/d/g');
SELECT difs_undelete('/d/e/f', '/d/missing/f');
SELECT difs_undelete('/d/e/f', 'main:/f');
\set VERBOSITY sqlstate
SELECT difs_undelete('/d/e/f');
SELECT difs_undelete('/nothing');
SELECT difs_volume_create('no', trash_for => '-1 day');
\set VERBOSITY default
SELECT difs_undelete('/d/e/f', '/d/f') > 0 AS back, convert_from(difs_get('/d/f'), 'UTF8') AS old, convert_from(difs_get('/d/e/f'), 'UTF8') AS new;
SELECT difs_undelete('/d/e/f', '/x');
SELECT difs_undelete(0);
SELECT difs_undelete('/d', NULL);

-- what was deleted last comes back first; by number, any
SELECT difs_put('/twice', '1'), difs_delete('/twice'), difs_put('/twice', '2'), difs_delete('/twice');
SELECT difs_undelete(min(id), '/first') > 0 AS back FROM difs.trash WHERE path = '/twice';
SELECT difs_undelete('/twice') > 0 AS back, convert_from(difs_get('/twice'), 'UTF8'), convert_from(difs_get('/first'), 'UTF8');
-- a file that a rename replaces goes there, too
SELECT difs_rename('/first', '/twice'), difs_undelete('/twice', '/second') > 0 AS back, convert_from(difs_get('/second'), 'UTF8');

-- a tree goes as it is
SELECT difs_delete('/d');
SELECT difs_delete('/d', recursive => true);
SELECT name FROM difs_list('/', recursive => true);
SELECT difs_put('/d/e/f', 'x');
SELECT * FROM pg_temp.trash;
SELECT * FROM difs_fsck();
SELECT difs_mkdir('/d') > 0 AS made, difs_undelete('/d', '/d/old') > 0 AS back;
SELECT name, kind FROM difs_list('/', recursive => true);
SELECT convert_from(difs_get('/d/old/e/f'), 'UTF8');

-- an empty directory that is removed by difs_rmdir(), or without recursive, is not kept
SELECT difs_mkdir('/empty') > 0 AS made, difs_rmdir('/empty'), difs_mkdir('/empty') > 0 AS made, difs_delete('/empty');
SELECT * FROM pg_temp.trash;

-- purge
SELECT difs_delete('/d', recursive => true), difs_delete('/second');
SELECT path, difs_purge(id) FROM difs.trash WHERE volume = 'bin' ORDER BY id;
SELECT * FROM pg_temp.trash;
SELECT difs_purge(0);
SELECT difs_undelete('/d');

-- what is held does not go to the trash, nor with a tree
SET timezone = 'UTC';
SELECT difs_put('/h/i/f', 'x', parents => true), difs_put('/other', 'x'), difs_hold_until('/h/i/f', '2101-01-01');
SELECT difs_delete('/h/i/f');
SELECT difs_delete('/h', recursive => true);
SELECT difs_rename('/other', '/h/i/f');
SELECT difs_delete('/other');

-- with versioning, files have a history instead
SELECT difs_volume_create('both', digest => 'none', versioning => true, trash_for => '1 day') > 0 AS made;
SELECT difs_put('both:/d/f', 'x', parents => true), difs_delete('both:/d/f'), count(*) FROM difs.trash WHERE volume = 'both';
SELECT version, deleted FROM difs_versions('both:/d/f');
SELECT difs_delete('both:/d', recursive => true);
SELECT path, kind, size FROM difs.trash WHERE volume = 'both';
SELECT difs_undelete('both:/d') > 0 AS back, difs_undelete('both:/d/f') > 0 AS back;
SELECT name FROM difs_list('both:/', recursive => true);
-- of two, what was deleted last
SELECT difs_put('both:/x', 'file'), difs_delete('both:/x'), difs_mkdir('both:/x') > 0 AS made, difs_delete('both:/x', recursive => true);
SELECT difs_undelete('both:/x') > 0 AS back, (difs_stat('both:/x')).kind;
SELECT difs_undelete('both:/x', 'both:/y') > 0 AS back, (difs_stat('both:/y')).kind;

-- a tree of 200 levels
SELECT difs_mkdir('/deep' || repeat('/x', 200), parents => true) > 0 AS made;
SELECT difs_put('/deep' || repeat('/x', 200) || '/f', 'deep');
SELECT difs_delete('/deep', recursive => true), difs_undelete('/deep') > 0 AS back;
SELECT convert_from(difs_get('/deep' || repeat('/x', 200) || '/f'), 'UTF8');
SELECT difs_delete('/deep', recursive => true);
SELECT difs_purge(id) FROM difs.trash WHERE path = '/deep';

-- rollback
BEGIN;
SELECT difs_delete('/h/i', recursive => true);
ROLLBACK;
BEGIN;
SELECT difs_put('/r', 'x'), difs_delete('/r');
SELECT path FROM pg_temp.trash;
ROLLBACK;
SELECT path FROM pg_temp.trash;

SELECT * FROM difs_fsck();
RESET difs.volume;
