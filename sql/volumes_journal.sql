-- the journal of a volume

SELECT difs_volume_create('vj', journal => true) > 0 AS made;
CREATE FUNCTION changes(since text DEFAULT NULL) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', action, nullif(from_path, '') || ' ->', path, version, CASE WHEN who <> current_user THEN who END)
    FROM difs_changes('vj', since) $$;
-- what is over for everybody; the keeper may be in the middle of something
CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
DECLARE
    target xid8 := pg_snapshot_xmax(pg_current_snapshot());
BEGIN
    FOR i IN 1..3000 LOOP
        EXIT WHEN pg_snapshot_xmin(pg_current_snapshot()) >= target;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT difs_put('vj:/a/b/f', 'one', parents => true);
SELECT difs_put('vj:/a/b/f', 'two');
SELECT difs_put('/elsewhere', 'not in it');
SELECT difs_copy('vj:/a/b/f', 'vj:/a/g');
SELECT difs_rename('vj:/a/g', 'vj:/h');
SELECT difs_rename('vj:/a/b', 'vj:/c');
SELECT difs_rename('vj:/h', 'vj:/c/f');
SELECT difs_mkdir('vj:/c/d') > 0 AS made;
BEGIN;
SELECT difs_put('vj:/rolled back', '');
ROLLBACK;
BEGIN;
SELECT difs_put('vj:/c/d/1', '');
SAVEPOINT s;
SELECT difs_put('vj:/c/d/rolled back', '');
ROLLBACK TO s;
SELECT difs_put('vj:/c/d/2', '');
COMMIT;
SELECT difs_delete('vj:/c', recursive => true);
CALL settle();
SELECT changes();
SELECT bool_and(at <= clock_timestamp()) AND count(DISTINCT xid) > 5 AND count(DISTINCT cursor) = count(*) AS sound FROM difs_changes('vj');
-- page by page, from cursor to cursor
DO $$
DECLARE
    at text;
    page text[];
    pages int := 0;
    seen text[] := '{}';
BEGIN
    LOOP
        SELECT array_agg(action || ' ' || path), (array_agg(cursor))[count(*)] INTO page, at FROM difs_changes('vj', at, 3);
        EXIT WHEN page IS NULL;
        seen := seen || page;
        pages := pages + 1;
    END LOOP;
    ASSERT seen = (SELECT array_agg(action || ' ' || path) FROM difs_changes('vj'));
    RAISE NOTICE '% pages, % changes', pages, array_length(seen, 1);
END $$;
-- not before the transaction is over
BEGIN;
SELECT difs_put('vj:/mine', '');
SELECT count(*) FROM difs_changes('vj') WHERE path = '/mine';
COMMIT;
CALL settle();
SELECT count(*) FROM difs_changes('vj') WHERE path = '/mine';
-- it goes on where it was turned off and on again; what went by meanwhile is not in it
SELECT difs_volume_alter('vj', journal => false);
SELECT difs_put('vj:/unseen', '');
\set VERBOSITY terse
SELECT difs_changes('vj');
\set VERBOSITY default
SELECT difs_volume_alter('vj', journal => true);
SELECT difs_put('vj:/seen', '');
CALL settle();
SELECT path FROM difs_changes('vj') WHERE path IN ('/seen', '/unseen', '/mine');
-- the keeper takes what is old, and only that
UPDATE difs.journal SET at = at - interval '8 days' WHERE path <> '/seen';
SELECT doomed >= 0 AS collected FROM difs_collect();
SELECT path FROM difs_changes('vj');
SELECT difs_volume_alter('vj', journal_keep => '0');
UPDATE difs.journal SET at = at - interval '100 years';
SELECT doomed >= 0 AS collected FROM difs_collect();
SELECT path FROM difs_changes('vj');

-- bad input
\set VERBOSITY terse
SELECT difs_changes('main');
SELECT difs_changes('none');
SELECT difs_changes(NULL);
SELECT difs_changes('vj', 'x');
SELECT difs_changes('vj', '1/2');
SELECT difs_changes('vj', '1/2/-3');
SELECT difs_changes('vj', max => -1);
SELECT difs_changes('vj', max => NULL);
SELECT count(*) FROM difs_changes('vj', max => 0);

SELECT difs_delete('/elsewhere');
SELECT difs_volume_drop('vj', force => true);
SELECT doomed >= 0 AS collected FROM difs_collect();
SELECT count(*) FROM difs.journal;
SELECT * FROM difs_fsck();
DROP FUNCTION changes;
DROP PROCEDURE settle;
