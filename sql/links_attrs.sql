-- attributes, times, hashes of names, totals, manifests

SELECT difs_put('/attrs/f', 'one', parents => true);

--
-- attributes
--

SELECT difs_getattr('/attrs/f');
SELECT difs_setattr('/attrs/f', '{"media_type": "text/plain; charset=utf-8", "author": "me", "tags": ["a", "b"], "deep": {"x": 1, "y": null}}');
SELECT difs_getattr('/attrs/f');
-- merged key by key; null removes one
SELECT difs_setattr('/attrs/f', '{"author": null, "tags": "c", "deep": {"z": 2}, "missing": null}');
SELECT difs_getattr('/attrs/f');
SELECT difs_setattr('/attrs/f', '{}'), difs_getattr('/attrs/f') ->> 'media_type' AS media_type;
-- the file's, not the name's nor the version's
SELECT difs_put('/attrs/f', 'two'), difs_link('/attrs/f', '/attrs/g'), difs_rename('/attrs/f', '/attrs/h');
SELECT difs_symlink('g', '/attrs/l') > 0 AS made;
SELECT difs_getattr('/attrs/g') = difs_getattr('/attrs/h') AS same, difs_getattr('/attrs/l') -> 'deep' AS deep;
SELECT difs_copy('/attrs/g', '/attrs/copy'), difs_getattr('/attrs/copy');
SELECT difs_setattr('/attrs', '{"colour": "red"}'), difs_getattr('/attrs');
SELECT difs_setattr('/attrs', '{"colour": null}'), difs_getattr('/attrs');
SELECT attrs IS NULL AS nothing_stored FROM difs.inode WHERE ino = difs_ino('/attrs');
BEGIN;
SELECT difs_setattr('/attrs/g', '{"a": 1}');
ROLLBACK;
SELECT difs_getattr('/attrs/g') ? 'a' AS has_a;
-- found by SQL
SELECT difs_path(ino) FROM difs.inode WHERE attrs ->> 'tags' = 'c';
-- large ones are toasted, and survive a put
SELECT difs_setattr('/attrs/g', jsonb_build_object('large', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i)));
SELECT difs_put('/attrs/g', 'three'), length(difs_getattr('/attrs/g') ->> 'large'), difs_getattr('/attrs/g') ->> 'tags' AS tags;

\set VERBOSITY sqlstate
SELECT difs_setattr('/attrs/g', jsonb_build_object('huge', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 3000) AS i)));
SELECT difs_setattr('/attrs/g', '[]');
SELECT difs_setattr('/attrs/g', '"text"');
SELECT difs_setattr('/attrs/g', 'null');
SELECT difs_setattr('/attrs/g', NULL);
SELECT difs_setattr(NULL, '{}');
SELECT difs_setattr('/attrs/missing', '{}');
SELECT difs_getattr('/attrs/missing');
SELECT difs_getattr(NULL);
\set VERBOSITY default
SELECT difs_setattr('/attrs/g', '{"media_type": "text"}');
SELECT difs_setattr('/attrs/g', '{"media_type": "/plain"}');
SELECT difs_setattr('/attrs/g', '{"media_type": "text/"}');
SELECT difs_setattr('/attrs/g', '{"media_type": "text/plain\r\nSet-Cookie: a"}');
SELECT difs_setattr('/attrs/g', '{"media_type": 1}');
SELECT difs_setattr('/attrs/g', '{"media_type": null}'), difs_getattr('/attrs/g') -> 'media_type' IS NULL AS removed;

--
-- times
--

CREATE TEMP TABLE seen (step text, atime timestamptz, mtime timestamptz, ctime timestamptz, btime timestamptz);
CREATE FUNCTION moved(step text, path text DEFAULT '/attrs/t') RETURNS text LANGUAGE sql AS $$
    WITH last AS (DELETE FROM seen RETURNING *),
    now AS (INSERT INTO seen SELECT step, atime, mtime, ctime, btime FROM difs_stat(path, follow => false) RETURNING *)
    SELECT concat_ws(' ', CASE WHEN now.atime <> last.atime THEN 'atime' END, CASE WHEN now.mtime <> last.mtime THEN 'mtime' END,
                     CASE WHEN now.ctime <> last.ctime THEN 'ctime' END, CASE WHEN now.btime <> last.btime THEN 'btime' END)
    FROM now LEFT JOIN last ON true
$$;
SELECT difs_put('/attrs/t', 'same');
SELECT moved('created');
SELECT difs_put('/attrs/t', 'same');
SELECT moved('put of the same content');
SELECT difs_get('/attrs/t');
SELECT moved('read, difs.atime = off');
SELECT difs_setattr('/attrs/t', '{"a": 1}');
SELECT moved('attributes');
SELECT difs_link('/attrs/t', '/attrs/t2');
SELECT moved('one name more');
SELECT difs_delete('/attrs/t2');
SELECT moved('one name less');
SELECT difs_rename('/attrs/t', '/attrs/t2'), difs_rename('/attrs/t2', '/attrs/t');
SELECT moved('renamed');
SELECT difs_touch('/attrs/t');
SELECT moved('touched'), (difs_stat('/attrs/t')).atime = (difs_stat('/attrs/t')).mtime AS same;
SELECT difs_touch('/attrs/t', mtime => '2001-02-03 04:05:06.789012Z');
SELECT moved('mtime set'), (difs_stat('/attrs/t')).mtime AT TIME ZONE 'UTC' AS mtime;
SELECT difs_touch('/attrs/t', atime => '1969-12-31 23:59:59Z');
SELECT moved('atime set'), (difs_stat('/attrs/t')).atime AT TIME ZONE 'UTC' AS atime;
SELECT difs_put('/attrs/t', 'same');
SELECT moved('put'), (difs_stat('/attrs/t')).mtime > now() - interval '1 minute' AS now;
SELECT difs_touch('/attrs', mtime => '2001-02-03Z'), (difs_stat('/attrs')).mtime AT TIME ZONE 'UTC' AS directory;
SELECT difs_touch('/attrs/t', mtime => 'infinity');
SELECT difs_touch('/attrs/t', atime => '-infinity');
SELECT difs_touch('/attrs/missing');
SELECT difs_touch(NULL);

-- relatime: a read moves atime once, and again after a change or a day
SELECT difs_touch('/attrs/t', atime => '2001-01-01Z', mtime => '2001-01-01Z');
SET difs.atime = relatime;
DO $$ BEGIN -- it is written by who is known to hold the claim, which the workers find out
    FOR i IN 1..1200 LOOP
        EXIT WHEN (SELECT held FROM difs.claim);
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT moved('begin');
SELECT difs_get('/attrs/t');
SELECT moved('not newer than mtime');
SELECT difs_get('/attrs/t'), data FROM difs_read('/attrs/t');
SELECT moved('newer, of today');
SELECT difs_put('/attrs/t', 'other');
SELECT moved('put');
SELECT * FROM difs_read('/attrs/t');
SELECT moved('read after put');
SELECT difs_setattr('/attrs/t', '{"a": 2}');
SELECT moved('attributes');
SELECT difs_get('/attrs/t', "offset" => 1, length => 2);
SELECT moved('read after attributes');
UPDATE difs.inode SET mtime = now() - interval '3 days', ctime = now() - interval '3 days', atime = now() - interval '23 hours' WHERE ino = difs_ino('/attrs/t');
SELECT moved('by hand');
SELECT difs_get('/attrs/t');
SELECT moved('23 hours old');
UPDATE difs.inode SET atime = now() - interval '25 hours' WHERE ino = difs_ino('/attrs/t');
SELECT moved('by hand');
SELECT difs_get('/attrs/t');
SELECT moved('25 hours old');
-- at the commit, so the reader's own transaction sees the old one, and a rollback leaves it
SELECT difs_touch('/attrs/t', mtime => NULL, atime => '2001-01-01Z');
SELECT moved('begin');
BEGIN;
SELECT difs_get('/attrs/t');
SELECT moved('in the transaction');
ROLLBACK;
SELECT moved('after the rollback');
-- who may not write reads all the same
BEGIN READ ONLY;
SELECT difs_get('/attrs/t');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT difs_get('/attrs/t');
COMMIT;
SELECT moved('read only, serializable');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT difs_get('/attrs/t');
COMMIT;
SELECT moved('repeatable read');
-- a file that the transaction deletes after reading it
BEGIN;
SELECT difs_put('/attrs/gone', 'x'), difs_get('/attrs/gone'), difs_delete('/attrs/gone');
COMMIT;
-- a transaction that only reads does not wait for its WAL, and the setting is as before afterwards
SHOW synchronous_commit;
RESET difs.atime;
SET difs.atime = 'sometimes';

--
-- hashes of names
--

SELECT difs_name_hash('/attrs/t') = sha256('main:/attrs/t') AS plain, difs_name_hash('main:/attrs//t/') = sha256('main:/attrs/t') AS volume,
       difs_name_hash('/') = sha256('main:/') AS root, difs_name_hash('other:/nothing') = sha256('other:/nothing') AS nothing;
SELECT difs_mkdir('/attrs/d/e', parents => true) > 0 AS made;
SELECT difs_put('/attrs/d/e/f', '');
SELECT difs_find_by_hash(sha256('main:/attrs/d/e/f')), difs_find_by_hash(sha256('main:/attrs/d')), difs_find_by_hash(sha256('main:/')),
       difs_find_by_hash(sha256('main:/attrs/d/e/f'), below => '/attrs/d'), difs_find_by_hash(sha256('main:/attrs/d/e/f'), below => '/attrs/d/e/f');
SELECT difs_find_by_hash(sha256('main:/attrs/d/e/f'), below => '/attrs/copy'), difs_find_by_hash(sha256('nothing'));
SELECT difs_rename('/attrs/d', '/attrs/x'), difs_find_by_hash(sha256('main:/attrs/d/e/f')), difs_find_by_hash(sha256('main:/attrs/x/e/f'));
SELECT difs_find_by_hash('short');
SELECT difs_find_by_hash(NULL);
SELECT difs_find_by_hash(sha256('x'), NULL);
SELECT difs_find_by_hash(sha256('x'), '/attrs/missing');
SELECT difs_name_hash('relative');
SELECT difs_name_hash(NULL);

-- manifests as stores of named data have them
SELECT info ->> 'name' AS name, info ->> 'name_hash' = encode(difs_name_hash('/attrs/x/e/f'), 'hex') AS name_hash,
       info ->> 'parent_hash' = encode(difs_name_hash('/attrs/x/e'), 'hex') AS parent_hash,
       info ->> 'root_hash' = encode(difs_name_hash('/'), 'hex') AS root_hash, info -> 'version' AS version
FROM (SELECT difs_manifest('/attrs/x/e/f') -> 'info') AS manifest (info);

--
-- totals
--

SELECT bytes, files, directories, symlinks FROM difs_du('/attrs');
SELECT sum(size) FILTER (WHERE kind = 'file') - (SELECT size FROM difs_stat('/attrs/g')) AS bytes,
       count(*) FILTER (WHERE kind = 'file') - 1 AS files, count(*) FILTER (WHERE kind = 'directory') + 1 AS directories,
       count(*) FILTER (WHERE kind = 'symlink') AS symlinks
FROM difs_list('/attrs', recursive => true);
SELECT * FROM difs_du('/attrs/t');
SELECT * FROM difs_du('/attrs/x/e/');
SELECT * FROM difs_du('/attrs/l');
SELECT * FROM difs_du('/attrs/missing');
SELECT * FROM difs_du(NULL);

DROP FUNCTION moved;
SELECT difs_delete('/attrs', recursive => true) > 0 AS removed;
SELECT * FROM difs_fsck();
