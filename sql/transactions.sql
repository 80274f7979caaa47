-- T1: rows and bytes, one COMMIT
CREATE TABLE document (path text PRIMARY KEY, title text);
BEGIN;
INSERT INTO document VALUES ('/t/one', 'One');
SELECT difs_put('/t/one', 'first content', parents => true);
ROLLBACK;
SELECT count(*) FROM document;
SELECT difs_exists('/t/one'), difs_exists('/t');

BEGIN;
INSERT INTO document VALUES ('/t/one', 'One');
SELECT difs_put('/t/one', 'first content', parents => true);
COMMIT;
SELECT title, convert_from(difs_get(path), 'UTF8') FROM document;

-- T4: own writes, in the transaction and in one statement
BEGIN;
SELECT difs_put('/t/two', 'second');
SELECT convert_from(difs_get('/t/two'), 'UTF8');
SELECT difs_put('/t/two', 'third'), convert_from(difs_get('/t/two'), 'UTF8');
SELECT convert_from(difs_get('/t/two', version => 1), 'UTF8');
SELECT difs_rename('/t/two', '/t/three');
SELECT convert_from(difs_get('/t/three'), 'UTF8');
COMMIT;
SELECT convert_from(difs_get('/t/three'), 'UTF8');

-- T2: savepoints
BEGIN;
SELECT difs_put('/t/kept', 'kept');
SAVEPOINT a;
SELECT difs_put('/t/dropped', 'dropped');
SELECT difs_put('/t/kept', 'overwritten');
SELECT convert_from(difs_get('/t/kept'), 'UTF8');       -- writes the row of an outer level inside of the savepoint
ROLLBACK TO a;
SELECT convert_from(difs_get('/t/kept'), 'UTF8'), difs_exists('/t/dropped');
SAVEPOINT b;
SELECT difs_put('/t/inner', 'inner');
SAVEPOINT c;
SELECT difs_put('/t/innermost', 'innermost');
RELEASE c;
RELEASE b;
COMMIT;
SELECT convert_from(difs_get('/t/kept'), 'UTF8'), difs_exists('/t/dropped'),
       convert_from(difs_get('/t/inner'), 'UTF8'), convert_from(difs_get('/t/innermost'), 'UTF8');
SELECT version FROM difs_versions('/t/kept');

-- rows that a rolled-back savepoint wrote are written again
BEGIN;
SELECT difs_put('/t/outer', 'outer');
SAVEPOINT a;
SELECT convert_from(difs_get('/t/outer'), 'UTF8');
ROLLBACK TO a;
COMMIT;
SELECT convert_from(difs_get('/t/outer'), 'UTF8');

-- exceptions
DO $$
BEGIN
    PERFORM difs_put('/t/block', 'before');
    BEGIN
        PERFORM difs_put('/t/block', 'inside');
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
END $$;
SELECT convert_from(difs_get('/t/block'), 'UTF8'), (SELECT count(*) FROM difs_versions('/t/block'));

-- T3: prepared transactions
BEGIN;
SELECT difs_put('/t/prepared', 'prepared');
PREPARE TRANSACTION 'p1';
SELECT difs_exists('/t/prepared');
COMMIT PREPARED 'p1';
SELECT convert_from(difs_get('/t/prepared'), 'UTF8');
BEGIN;
SELECT difs_put('/t/withdrawn', 'withdrawn');
PREPARE TRANSACTION 'p2';
ROLLBACK PREPARED 'p2';
SELECT difs_exists('/t/withdrawn');

-- T5: an old snapshot reads the old bytes
CREATE EXTENSION dblink;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT convert_from(difs_get('/t/one'), 'UTF8');
SELECT dblink_exec('dbname=' || current_database(), $$DO 'BEGIN PERFORM difs_put(''/t/one'', ''newer content''); PERFORM difs_delete(''/t/three''); PERFORM difs_rename(''/t/kept'', ''/t/moved''); END'$$);
SELECT convert_from(difs_get('/t/one'), 'UTF8'), convert_from(difs_get('/t/three'), 'UTF8'), difs_exists('/t/moved');
COMMIT;
SELECT convert_from(difs_get('/t/one'), 'UTF8'), difs_exists('/t/three'), difs_exists('/t/moved');

-- a thousand puts in a transaction; more than the guaranteed share of slots
BEGIN;
SELECT count(difs_put('/many/' || i, convert_to('file ' || i, 'UTF8'), parents => true)) FROM generate_series(1, 3000) i;
COMMIT;
SELECT count(*), count(*) FILTER (WHERE convert_from(difs_get('/many/' || name), 'UTF8') = 'file ' || name) AS equal FROM difs_list('/many');

-- read only, and cursors over difs_read
BEGIN READ ONLY;
\set VERBOSITY terse
SELECT difs_put('/t/no', 'no');
ROLLBACK;
SELECT difs_put('/t/long', decode(repeat('00112233', 50000), 'hex'));
BEGIN;
DECLARE c CURSOR FOR SELECT "offset", length(data) FROM difs_read('/t/long', piece_size => 65536);
FETCH 2 FROM c;
SELECT difs_put('/t/long', 'short');
FETCH ALL FROM c;
COMMIT;

-- rows of an aborted transaction are not there, and every manifest row has its version, but where versions were let go of (by any test)
SELECT count(*) FROM difs.manifest m LEFT JOIN difs.version v ON v.ino = m.ino AND v.version = m.from_version WHERE v.ino IS NULL
 AND NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = m.ino);
SELECT count(*) FROM difs.version v WHERE map_ino IS NULL AND segments <> (SELECT count(*) FROM difs.manifest m WHERE m.ino = v.ino AND m.from_version BETWEEN v.base AND v.version AND (m.to_version IS NULL OR m.to_version > v.version));
