-- bad input: an error with the right SQLSTATE, and nothing changed

SELECT difs_put('/bad/file', '', parents => true);
SELECT difs_mkdir('/bad/directory/sub', parents => true) > 0 AS made;
CREATE TEMP TABLE before AS SELECT name, ino, kind, size, version FROM difs_list('/', recursive => true);

-- messages once, SQLSTATEs after that
SELECT difs_put('', '');
SELECT difs_put('bad', '');
SELECT difs_put('/bad/./f', '');
SELECT difs_put('/bad/../f', '');
SELECT difs_put('/bad/' || repeat('x', 256), '');
SELECT difs_put('/bad/' || repeat('x', 5000), '');
SELECT difs_put('/bad/file/', '');
SELECT difs_put('/bad/file/f', '');
SELECT difs_put('/bad/directory', '');
SELECT difs_put('/bad/missing/f', '');
SELECT difs_put('bad:/f', '');
SELECT difs_put(NULL, '');

\set VERBOSITY sqlstate

-- every function, every kind of bad path; what has no error is rolled back, too
CREATE FUNCTION state_of(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    RAISE SQLSTATE '00D1F';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN '00D1F' THEN 'no error' ELSE SQLSTATE END;
END $$;
CREATE TEMP TABLE call (place integer, label text, pattern text);
INSERT INTO call VALUES
    (1, 'put', 'SELECT difs_put(%s, '''')'),
    (2, 'put with parents', 'SELECT difs_put(%s, '''', parents => true)'),
    (3, 'mkdir', 'SELECT difs_mkdir(%s)'),
    (4, 'mkdir with parents', 'SELECT difs_mkdir(%s, parents => true)'),
    (5, 'rmdir', 'SELECT difs_rmdir(%s)'),
    (6, 'delete', 'SELECT difs_delete(%s)'),
    (7, 'delete recursive', 'SELECT difs_delete(%s, recursive => true)'),
    (8, 'rename from', 'SELECT difs_rename(%s, ''/bad/new'')'),
    (9, 'rename to', 'SELECT difs_rename(''/bad/file'', %s)'),
    (10, 'copy from', 'SELECT difs_copy(%s, ''/bad/new'')'),
    (11, 'copy to', 'SELECT difs_copy(''/bad/file'', %s)'),
    (12, 'list', 'SELECT * FROM difs_list(%s)'),
    (13, 'stat', 'SELECT difs_stat(%s)'),
    (14, 'exists', 'SELECT difs_exists(%s)'),
    (15, 'versions', 'SELECT * FROM difs_versions(%s)'),
    (16, 'manifest', 'SELECT difs_manifest(%s)');
CREATE FUNCTION states_of(path text) RETURNS TABLE (state text, calls text) LANGUAGE sql AS $$
    SELECT state, string_agg(label, ', ' ORDER BY place)
    FROM call, state_of(format(pattern, quote_nullable(path))) AS state
    GROUP BY state ORDER BY state
$$;

\pset format unaligned
\echo empty
SELECT * FROM states_of('');
\echo relative
SELECT * FROM states_of('bad/file');
\echo no volume name before the colon
SELECT * FROM states_of(':/bad/file');
\echo no slash behind the volume
SELECT * FROM states_of('main:bad/file');
\echo dot
SELECT * FROM states_of('/bad/./file');
\echo dot dot
SELECT * FROM states_of('/bad/directory/..');
\echo a component of 256 bytes
SELECT * FROM states_of('/bad/' || repeat('x', 256));
\echo a path of more than 4096 bytes
SELECT * FROM states_of(repeat('/bad/directory/sub', 300));
\echo unknown volume
SELECT * FROM states_of('nowhere:/bad/file');
\echo a file used as a directory
SELECT * FROM states_of('/bad/file/sub');
\echo a slash behind a file
SELECT * FROM states_of('/bad/file/');
\echo a directory on the way is missing
SELECT * FROM states_of('/bad/missing/file');
\echo null
SELECT * FROM states_of(NULL);
\pset format aligned

-- limits are not too low
SELECT state_of(format('SELECT difs_mkdir(%L)', '/bad/' || repeat('x', 255))) AS component_of_255;
SELECT state_of(format('SELECT difs_stat(%L)', repeat('/', 4092) || '/bad')) AS path_of_4096;
SELECT state_of(format('SELECT difs_stat(%L)', repeat('/', 4093) || '/bad')) AS path_of_4097;

-- NUL never gets into a value of type text
SELECT difs_put('/bad/' || chr(0), '');
SELECT difs_put(convert_from('\x2f00', 'UTF8'), '');

-- kinds
SELECT difs_put('/', '');
SELECT difs_put('/bad/directory', '');
SELECT difs_mkdir('/');
SELECT difs_mkdir('/bad/file');
SELECT difs_mkdir('/bad/file', parents => true);
SELECT difs_mkdir('/bad/file/a/b', parents => true);
SELECT difs_rmdir('/bad/file');
SELECT difs_rmdir('/bad/directory');
SELECT difs_copy('/bad/directory', '/bad/new');
SELECT difs_copy('/bad/file', '/bad/directory');
SELECT difs_versions('/bad/directory');
SELECT difs_stat('/bad/directory', version => 1);
SELECT difs_manifest('/bad/directory');

-- the root
SELECT difs_rmdir('/');
SELECT difs_delete('/');
SELECT difs_delete('/', recursive => true);
SELECT difs_rename('/', '/bad/new');
SELECT difs_rename('/bad/directory', '/');

-- rename
SELECT difs_rename('/bad/missing', '/bad/new');
SELECT difs_rename('/bad/missing', '/bad/file');
SELECT difs_rename('/bad/directory', '/bad/directory/new');
SELECT difs_rename('/bad/directory', '/bad/directory/sub/new');
SELECT difs_rename('/bad/directory', '/bad/directory/sub');
SELECT difs_rename('/bad', '/bad/directory/sub/deeper');
SELECT difs_rename('/bad/directory/sub', '/bad/directory');
SELECT difs_rename('/bad/directory', '/bad/file');
SELECT difs_rename('/bad/file', '/bad/directory');
SELECT difs_rename('/bad/file', '/bad/new/');
SELECT difs_rename('/bad/file', '/bad/directory/sub/', no_replace => true);

-- not empty
SELECT difs_delete('/bad/directory');

-- versions
SELECT difs_stat('/bad/file', 2);
SELECT difs_stat('/bad/file', 0);
SELECT difs_stat('/bad/file', -1);
SELECT difs_stat('/bad/file', 2147483647);
SELECT difs_manifest('/bad/file', 2);
SELECT difs_copy('/bad/file', '/bad/new', version => 2);
SELECT difs_put('/bad/file', '', if_version => 0);
SELECT difs_put('/bad/file', '', if_version => 2);
SELECT difs_put('/bad/file', '', if_version => -1);
SELECT difs_copy('/bad/file', '/bad/file', if_version => -1);

-- listing
SELECT difs_list('/bad/missing');
SELECT difs_list('/bad', max => -1);
SELECT difs_list('/bad', kind => 'door');

-- other null arguments
SELECT difs_put('/bad/new', NULL);
SELECT difs_mkdir('/bad/new', parents => NULL);
SELECT difs_delete('/bad/file', recursive => NULL);
SELECT difs_rename('/bad/file', NULL);
SELECT difs_rename('/bad/file', '/bad/new', no_replace => NULL);
SELECT difs_list('/bad', recursive => NULL);
SELECT difs_manifest('/bad/file', details => NULL);

-- volumes
SELECT difs_volume_create(name => '');
SELECT difs_volume_create(name => 'with:colon');
SELECT difs_volume_create(name => 'main');
SELECT difs_volume_create(name => 'bad', replicas => 0);
SELECT difs_volume_create(name => 'bad', segment_size => 5000);
SELECT difs_volume_create(name => 'bad', compression => 'lz4');
SELECT difs_volume_create(name => 'bad', compression_level => 20);
SELECT difs_volume_create(name => 'bad', digest => 'md5');
SELECT difs_volume_create(name => NULL);

\set VERBOSITY default

-- nothing has changed
SELECT count(*) >= 4 AS compared FROM before;
(SELECT name, ino, kind, size, version FROM difs_list('/', recursive => true) EXCEPT SELECT * FROM before)
UNION ALL
(SELECT * FROM before EXCEPT SELECT name, ino, kind, size, version FROM difs_list('/', recursive => true));

DROP FUNCTION states_of;
DROP FUNCTION state_of;
SELECT difs_delete('/bad', recursive => true);
