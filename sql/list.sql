-- listing: order, recursion, pages, patterns, kinds

SELECT count(difs_put('/list/' || name, '', parents => true))
FROM unnest(ARRAY['b/2', 'b/1', 'b/sub/x.txt', 'b/sub/y.c', 'b-c', 'B', 'a.txt', '.hidden', 'ba', 'c/z']) AS name;
SELECT difs_mkdir('/list/empty') > 0 AS made;

-- byte order of components; a directory stands before what is in it, and that before the next sibling
SELECT name, kind, size, version, mode, owner = current_user::regrole AS mine, mtime <= clock_timestamp() AS mtime
FROM difs_list('/list');
SELECT name FROM difs_list('/list', recursive => true);
SELECT name FROM difs_list('/list/b/', recursive => true);
SELECT count(*) FROM difs_list('/list/empty');
SELECT bool_and(l.ino = s.ino AND l.size = s.size AND l.version IS NOT DISTINCT FROM s.version)
FROM difs_list('/list', recursive => true) AS l, difs_stat('/list/' || l.name) AS s;

-- a file is its own listing
SELECT name, kind FROM difs_list('/list/b/1');
SELECT name, kind FROM difs_list('/list/b/1', after => '1');
SELECT name, kind FROM difs_list('/list/b/1', kind => 'directory');

-- pattern: of the last component; it does not choose where to go down
SELECT name FROM difs_list('/list', recursive => true, pattern => '*.txt');
SELECT name FROM difs_list('/list', recursive => true, pattern => '?');
SELECT name FROM difs_list('/list', recursive => true, pattern => '[bc]*');
SELECT name FROM difs_list('/list', recursive => true, pattern => '*/*');
SELECT name FROM difs_list('/list', pattern => '.*');

-- kinds
SELECT name FROM difs_list('/list', recursive => true, kind => 'directory');
SELECT name FROM difs_list('/list', kind => 'file');
SELECT name FROM difs_list('/list', kind => 'symlink');

-- pages: behind any name, whether it is there or not
SELECT name FROM difs_list('/list', max => 2);
SELECT name FROM difs_list('/list', after => 'a.txt', max => 2);
SELECT name FROM difs_list('/list', after => 'b/2', max => 2);
SELECT name FROM difs_list('/list', after => '', max => 2);
SELECT name FROM difs_list('/list', after => 'zzz');
SELECT name FROM difs_list('/list', max => 0);
SELECT name FROM difs_list('/list', recursive => true, after => 'b', max => 2);
SELECT name FROM difs_list('/list', recursive => true, after => 'b/sub', max => 2);
SELECT name FROM difs_list('/list', recursive => true, after => 'b/sub/x.txt', max => 2);
SELECT name FROM difs_list('/list', recursive => true, after => 'b/sub/y.c', max => 2);
SELECT name FROM difs_list('/list', recursive => true, after => 'b/missing/deeper', max => 2);
SELECT name FROM difs_list('/list', recursive => true, after => 'a.txt/below/a/file', max => 2);

-- every page of every size, put together, is the whole
CREATE FUNCTION pages(size integer, recursive boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    page text[];
    last text;
BEGIN
    LOOP
        SELECT array_agg(name) INTO page FROM difs_list('/list', recursive => pages.recursive, after => last, max => size);
        EXIT WHEN page IS NULL;
        RETURN QUERY SELECT unnest(page);
        last := page[cardinality(page)];
    END LOOP;
END $$;
SELECT size, recursive,
       (SELECT array_agg(page) FROM pages(size, recursive) AS page)
       = (SELECT array_agg(name) FROM difs_list('/list', recursive => r.recursive)) AS whole
FROM generate_series(1, 5) AS size, (VALUES (true), (false)) AS r (recursive);
DROP FUNCTION pages;

-- a page from the middle of a large directory reads as little as one from its beginning
SELECT count(difs_put('/list/large/' || to_char(i, 'FM00000'), '', parents => true)) FROM generate_series(1, 20000) AS i;
CREATE FUNCTION pages_read(call text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ' || call INTO plan;
    RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
END $$;
SELECT count(*), min(name), max(name) FROM difs_list('/list/large', after => '15000', max => 100);
SELECT pages_read($$SELECT * FROM difs_list('/list/large', max => 100)$$) >= 100 AS counted;
SELECT pages_read($$SELECT * FROM difs_list('/list/large', after => '15000', max => 100)$$)
       < 2 * pages_read($$SELECT * FROM difs_list('/list/large', max => 100)$$) AS middle;
SELECT pages_read($$SELECT * FROM difs_list('/list', recursive => true, after => 'large/15000', max => 100)$$)
       < 2 * pages_read($$SELECT * FROM difs_list('/list/large', max => 100)$$) AS middle_of_tree;
DROP FUNCTION pages_read;

SELECT difs_delete('/list', recursive => true);
