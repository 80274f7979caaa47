-- what is deleted, with links, foreign keys, quotas, the journal, and volumes that change or go
SET timezone = 'UTC';
SELECT difs_volume_create('lt', digest => 'none', trash_for => '1 day', journal => true, quota_files => 100, quota_bytes => 1000) > 0 AS made;
SELECT difs_volume_create('lm', digest => 'none', versioning => true, journal => true, quota_files => 100, quota_bytes => 1000) > 0 AS made;
CREATE VIEW pg_temp.usage AS SELECT path, bytes AS used_bytes, files AS used_files FROM difs.quotas ORDER BY path COLLATE "C";
CREATE FUNCTION pg_temp.usage(volume text) RETURNS text LANGUAGE sql AS
$$SELECT used_bytes || ' bytes in ' || used_files || ' files' || CASE WHEN (used_bytes, used_files) = (du.bytes, du.files + du.directories + du.symlinks - 1) THEN ', as du' ELSE ', but du: ' || du END
  FROM pg_temp.usage CROSS JOIN LATERAL difs_du(path) AS du WHERE path = $1 || ':/'$$;

-- names go until the last one, which goes to the trash
SET difs.volume = 'lt';
SELECT difs_put('/a', 'content'), difs_link('/a', '/b'), difs_link('/a', '/t/c') FROM difs_mkdir('/t');
SELECT pg_temp.usage('lt');
SELECT difs_delete('/b');
SELECT count(*) FROM difs.trash WHERE volume = 'lt';
SELECT (difs_stat('/a')).nlink;
SELECT difs_rename('/t/c', '/a');
SELECT difs_delete('/t/c'), difs_delete('/a');
SELECT path, kind, size FROM difs.trash WHERE volume = 'lt';
SELECT pg_temp.usage('lt');
SELECT difs_undelete('/a') > 0 AS back, (difs_stat('/a')).nlink, convert_from(difs_get('/a'), 'UTF8');
SELECT pg_temp.usage('lt');

-- a name in a tree that goes there is a name still: the file stays, and counts, as long as another one leads to it
SELECT difs_link('/a', '/t/c'), difs_put('/t/own', '12345');
SELECT pg_temp.usage('lt');
SELECT difs_delete('/t', recursive => true);
SELECT pg_temp.usage('lt');
SELECT (difs_stat('/a')).nlink;
SELECT difs_delete('/a');
SELECT pg_temp.usage('lt');
SELECT path, kind FROM difs.trash WHERE volume = 'lt';
SELECT * FROM difs_fsck();
SELECT difs_undelete('/t') > 0 AS back, convert_from(difs_get('/t/c'), 'UTF8');
SELECT pg_temp.usage('lt');
SELECT (difs_stat('/t/c')).nlink;
-- and when the tree goes for good, the other name stays
SELECT difs_link('/t/c', '/a'), difs_delete('/t', recursive => true);
SELECT difs_purge(id) FROM difs.trash WHERE volume = 'lt';
SELECT (difs_stat('/a')).nlink, convert_from(difs_get('/a'), 'UTF8');
SELECT pg_temp.usage('lt');
-- a symbolic link
SELECT difs_symlink('a', '/s') > 0 AS made, difs_delete('/s'), difs_exists('/a');
SELECT path, kind FROM difs.trash WHERE volume = 'lt';
SELECT difs_undelete('/s') > 0 AS back, difs_readlink('/s');
SELECT difs_delete('/s');
SELECT difs_purge(id) FROM difs.trash WHERE volume = 'lt';
SELECT pg_temp.usage('lt');
-- by way of one
SELECT difs_put('/real/f', 'x', parents => true), difs_symlink('real', '/way') > 0 AS made, difs_delete('/way/f');
SELECT path FROM difs.trash WHERE volume = 'lt';
SELECT difs_undelete('/way/f') > 0 AS back, difs_exists('/real/f');
SELECT difs_delete('/way');
SELECT difs_purge(id) FROM difs.trash WHERE volume = 'lt';
-- what comes back must fit
SELECT difs_delete('/real', recursive => true), difs_quota_set('/', bytes => 7, files => 5);
SELECT difs_undelete('/real');
SELECT difs_quota_set('/', bytes => 1000, files => 100);
SELECT difs_undelete('/real') > 0 AS back, pg_temp.usage('lt');
-- quotas of directories: in the trash they count what is in them, and go with them
SELECT difs_put('/q/r/f', '123', parents => true), difs_quota_set('/q/r', files => 10), difs_quota_set('/q');
SELECT difs_delete('/q/r', recursive => true);
SELECT * FROM pg_temp.usage;
SELECT difs_undelete('/q/r', '/r') > 0 AS back;
SELECT * FROM pg_temp.usage;
SELECT difs_link('/r/f', '/r/g'), difs_rename('/r', '/q/r');
SELECT difs_mkdir('/q/s') > 0 AS made;
SELECT difs_link('/q/r/f', '/q/s/f');
SELECT difs_quota_drop('/q/r'), difs_link('/q/r/f', '/q/s/f'), difs_delete('/q/s', recursive => true);
SELECT difs_undelete('/q/s', '/s');
SELECT difs_undelete('/q/s') > 0 AS back;
SELECT * FROM pg_temp.usage;
SELECT difs_delete('/q', recursive => true);
SELECT difs_purge(id) FROM difs.trash WHERE volume = 'lt' AND path = '/q';
SELECT * FROM pg_temp.usage;
SELECT action, path, from_path FROM difs_changes('lt');
SELECT * FROM difs_fsck();

-- the same where files leave markers
SET difs.volume = 'lm';
SELECT difs_put('/a', 'content'), difs_link('/a', '/b'), difs_delete('/a');
SELECT version, deleted FROM difs_versions('/b');
SELECT difs_versions('/a');
SELECT difs_delete('/b'), pg_temp.usage('lm');
SELECT version, deleted FROM difs_versions('/b');
SELECT difs_undelete('/b') > 0 AS back, pg_temp.usage('lm');
SELECT difs_delete('/b'), difs_put('/b', 'other'), pg_temp.usage('lm');
SELECT difs_delete('/b', version => 3), pg_temp.usage('lm');
SELECT difs_delete('/b', version => 2), pg_temp.usage('lm');
SELECT difs_put('/b', 'long content'), pg_temp.usage('lm');
SELECT difs_delete('/b', version => 4), pg_temp.usage('lm');
SELECT difs_delete('/b', version => 1), difs_link('/b', '/c');
SELECT difs_delete('/b', version => 5);
SELECT difs_delete('/c'), difs_delete('/b', version => 5), pg_temp.usage('lm');
SELECT difs_put('/x', '1'), difs_append('/x', '2'), difs_delete('/x'), difs_restore('/x', 1), pg_temp.usage('lm');
SELECT difs_delete('/x', version => 4), difs_exists('/x'), pg_temp.usage('lm');
SELECT difs_delete('/x', version => 3), convert_from(difs_get('/x'), 'UTF8'), pg_temp.usage('lm');
SELECT difs_delete('/x', version => 2), convert_from(difs_get('/x'), 'UTF8'), pg_temp.usage('lm');
SELECT difs_put('/y', 'y'), difs_rename('/y', '/x'), pg_temp.usage('lm');
SELECT difs_put('/d/e', 'e', parents => true), difs_delete('/d/e'), difs_delete('/d', recursive => true), pg_temp.usage('lm');
SELECT action, path, version FROM difs_changes('lm');
SELECT * FROM difs_fsck();

-- no name of a file that is held goes
SET difs.volume = 'lt';
SELECT difs_put('/h/f', 'x', parents => true), difs_link('/h/f', '/h2'), difs_hold_until('/h2', '2101-01-01');
SELECT difs_delete('/h2');
SELECT difs_delete('/h/f');
SELECT difs_delete('/h', recursive => true);
SELECT difs_rename('/h2', '/h3'), (difs_stat('/h3')).nlink;
SELECT difs_volume_drop('lt', force => true);

-- foreign keys: the number is there until the file goes for good
RESET difs.volume;
SELECT difs_volume_create('lk', digest => 'none', trash_for => '1 day') > 0 AS made;
CREATE TABLE keeps (file bigint REFERENCES difs.inode);
CREATE TABLE follows (file bigint REFERENCES difs.inode ON DELETE CASCADE, lost bigint REFERENCES difs.inode ON DELETE SET NULL);
SELECT difs_put('lk:/' || name, name::bytea) FROM unnest('{keep,cascade,forget}'::text[]) AS name;
INSERT INTO keeps SELECT difs_ino('lk:/keep');
INSERT INTO follows SELECT difs_ino('lk:/cascade'), NULL UNION ALL SELECT NULL, difs_ino('lk:/forget');
SELECT difs_delete('lk:/' || name) FROM unnest('{keep,cascade,forget}'::text[]) AS name;
SELECT difs_path(file) FROM keeps;
SELECT count(*), count(file), count(lost) FROM follows;
SELECT difs_undelete('lk:/keep') > 0 AS back, difs_path(file) FROM keeps;
SELECT difs_path(file) FROM keeps;
SELECT difs_delete('lk:/keep');
\set VERBOSITY terse
SELECT difs_purge(id) FROM difs.trash WHERE path = '/keep';
\set VERBOSITY default
SELECT sum(difs_purge(id)) FROM difs.trash WHERE path IN ('/cascade', '/forget');
SELECT count(*), count(file), count(lost) FROM follows;
DROP TABLE keeps, follows;
SELECT difs_purge(id) FROM difs.trash WHERE path = '/keep';
-- a file that goes with its row goes where deleted files go, with all its names
CREATE TABLE picture (file bigint);
CREATE TRIGGER picture_file AFTER DELETE ON picture FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('file');
SELECT difs_put('lk:/d/p', 'picture', parents => true), difs_link('lk:/d/p', 'lk:/q');
INSERT INTO picture SELECT difs_ino('lk:/q');
DELETE FROM picture;
SELECT difs_exists('lk:/d/p') OR difs_exists('lk:/q') AS any_left;
SELECT path, kind FROM difs.trash WHERE volume = 'lk';
-- and one that is there already stays
INSERT INTO picture SELECT ino FROM difs.discarded WHERE path IN ('/q', '/d/p') AND volume = (SELECT id FROM difs.volume WHERE name = 'lk');
DELETE FROM picture;
SELECT path, kind FROM difs.trash WHERE volume = 'lk';
DROP TABLE picture;

-- what a volume is told later holds for its trash
SELECT difs_volume_alter('lk', unset => '{trash_for}');
SELECT purged FROM difs.trash WHERE volume = 'lk';
SELECT difs_put('lk:/z', 'z'), difs_delete('lk:/z');
SELECT count(*) FROM difs.trash WHERE volume = 'lk';
SELECT difs_volume_alter('lk', trash_for => '2 days', versioning => true, keep_versions => 2, keep_for => '1 hour');
SELECT purged - deleted AS kept FROM difs.trash WHERE volume = 'lk';
SELECT versioning, keep_versions, keep_for, trash_for FROM difs.volumes WHERE name = 'lk';
SELECT difs_volume_alter('lk', unset => '{keep_for}', keep_versions => 1);
SELECT versioning, keep_versions, keep_for, trash_for FROM difs.volumes WHERE name = 'lk';
SELECT count(*) FROM difs.expiring WHERE ino = (SELECT root FROM difs.volume WHERE name = 'lk');
SELECT difs_volume_alter('lk', unset => '{name}');
SELECT difs_volume_alter('lk', unset => NULL);
SELECT difs_volume_alter('lk', keep_versions => 0);
SELECT difs_volume_alter('lk', keep_for => '-1 day');
SELECT difs_volume_alter('lk', trash_for => '-1 day');

-- neither the trash nor a history is nothing
SELECT difs_rmdir('lk:/d');
SELECT name FROM difs_list('lk:/', recursive => true);
SELECT difs_volume_drop('lk');
SELECT difs_purge(id) FROM difs.trash WHERE volume = 'lk';
SELECT difs_put('lk:/f', 'f'), difs_delete('lk:/f');
SELECT difs_volume_drop('lk');
SELECT difs_mkdir('lk:/t') > 0 AS made, difs_delete('lk:/t', recursive => true), difs_retain('lk:/g', 3) FROM difs_put('lk:/g', 'g');
SELECT difs_volume_drop('lk', force => true);
SELECT count(*) FROM difs.discarded WHERE volume NOT IN (SELECT id FROM difs.volume);
SELECT count(*) FROM difs.file_policy WHERE volume NOT IN (SELECT id FROM difs.volume);
SELECT count(*) FROM difs.expiring WHERE ino NOT IN (SELECT ino FROM difs.inode);
SELECT * FROM difs_fsck();
