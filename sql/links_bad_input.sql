-- bad input to the functions on links, numbers, attributes, times, hashes and totals: every function, every kind of bad path

SELECT difs_put('/badlinks/file', '', parents => true);
SELECT difs_mkdir('/badlinks/directory/sub', parents => true) > 0 AS made;
SELECT difs_symlink('loop', '/badlinks/loop') > 0 AS made;
SELECT difs_symlink('nowhere', '/badlinks/dangling') > 0 AS made;
CREATE TEMP TABLE before AS SELECT * FROM difs_list('/', recursive => true);

CREATE FUNCTION state_of(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE call;
    RAISE SQLSTATE '00D1F';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN '00D1F' THEN 'no error' ELSE SQLSTATE END;
END $$;
CREATE TEMP TABLE call (place integer, label text, pattern text);
INSERT INTO call VALUES
    (1, 'link from', 'SELECT difs_link(%s, ''/badlinks/new'')'),
    (2, 'link to', 'SELECT difs_link(''/badlinks/file'', %s)'),
    (3, 'symlink', 'SELECT difs_symlink(''target'', %s)'),
    (4, 'readlink', 'SELECT difs_readlink(%s)'),
    (5, 'stat of the link', 'SELECT difs_stat(%s, follow => false)'),
    (6, 'ino', 'SELECT difs_ino(%s)'),
    (7, 'setattr', 'SELECT difs_setattr(%s, ''{}'')'),
    (8, 'getattr', 'SELECT difs_getattr(%s)'),
    (9, 'touch', 'SELECT difs_touch(%s)'),
    (10, 'name_hash', 'SELECT difs_name_hash(%s)'),
    (11, 'find_by_hash', 'SELECT difs_find_by_hash(sha256(''''), %s)'),
    (12, 'du', 'SELECT difs_du(%s)'),
    (13, 'put through a link', 'SELECT difs_put(%s, '''', parents => true)'),
    (14, 'exists', 'SELECT difs_exists(%s)');

\pset format unaligned
SELECT what, state, string_agg(label, ', ' ORDER BY call.place) AS calls
FROM (VALUES
    (1, 'empty', ''),
    (2, 'relative', 'badlinks/file'),
    (3, 'no volume name before the colon', ':/badlinks/file'),
    (4, 'no slash behind the volume', 'main:badlinks/file'),
    (5, 'dot', '/badlinks/./file'),
    (6, 'dot dot', '/badlinks/directory/..'),
    (7, 'a component of 256 bytes', '/badlinks/' || repeat('x', 256)),
    (8, 'more than 4096 bytes', repeat('/badlinks/directory/sub', 300)),
    (9, 'unknown volume', 'nowhere:/badlinks/file'),
    (10, 'a file used as a directory', '/badlinks/file/sub'),
    (11, 'a slash behind a file', '/badlinks/file/'),
    (12, 'a directory on the way is missing', '/badlinks/missing/file'),
    (13, 'null', NULL),
    (14, 'a loop', '/badlinks/loop'),
    (15, 'a loop on the way', '/badlinks/loop/file'),
    (16, 'a link to nowhere', '/badlinks/dangling'),
    (17, 'a link to nowhere on the way', '/badlinks/dangling/file'),
    (18, 'a slash behind a link to nowhere', '/badlinks/dangling/'),
    (19, 'the root', '/'),
    (20, 'a directory', '/badlinks/directory')) AS bad (place, what, path),
    call, state_of(format(pattern, quote_nullable(path))) AS state
GROUP BY bad.place, what, state ORDER BY bad.place, state;
\pset format aligned

-- nothing has changed
(SELECT * FROM difs_list('/', recursive => true) EXCEPT SELECT * FROM before)
UNION ALL
(SELECT * FROM before EXCEPT SELECT * FROM difs_list('/', recursive => true));
DROP FUNCTION state_of;
SELECT difs_delete('/badlinks', recursive => true);
SELECT * FROM difs_fsck();
