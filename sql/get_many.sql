-- difs_get_many(): many files in one call
SELECT difs_volume_create(name => 'many', segment_size => 4096, compression => 'none', inline_limit => 10) > 0 AS made;
SELECT difs_volume_create(name => 'many_zstd') > 0 AS made;
SELECT count(difs_put('many:/f/' || i, convert_to(repeat(i::text || ' ', i * 20), 'UTF8'), parents => true)) FROM generate_series(1, 300) AS i;
SELECT count(difs_put('many_zstd:/f/' || i, convert_to(repeat(i::text || ' ', i * 200), 'UTF8'), parents => true)) FROM generate_series(1, 50) AS i;
SELECT difs_put('many:/tiny', 'tiny'), difs_put('many:/empty', ''), difs_write('many:/hole', 10000, 'end'), difs_symlink('f/7', 'many:/link') > 0 AS linked;

-- all of them, in the order of the paths, and what difs_get() gives: more than one window of files; segments of several files in one fetch
SELECT count(*), count(*) FILTER (WHERE data = difs_get(path)) AS same, array_agg(path ORDER BY place) = array_agg(path ORDER BY path::text) AS in_order
FROM difs_get_many(ARRAY(SELECT 'many:/f/' || i FROM generate_series(1, 300) AS i ORDER BY ('many:/f/' || i)::text)) WITH ORDINALITY AS files(path, data, place);
-- more than one window of bytes; also in the target list
SELECT count(*), sum(length((file).data)), bool_and((file).data = convert_to(repeat('x', 1000000), 'UTF8'))
FROM (SELECT difs_get_many(array_fill('many:/large'::text, ARRAY[20])) AS file FROM difs_put('many:/large', convert_to(repeat('x', 1000000), 'UTF8'))) AS files;
-- inline, empty, with a hole, through a link, compressed, twice the same
SELECT path, length(data), data = difs_get(path) AS same
FROM difs_get_many('{many:/tiny,many:/empty,many:/hole,many:/link,many_zstd:/f/50,many:/f/7,many:/tiny,many_zstd:/f/50}') WITH ORDINALITY AS files(path, data, place) ORDER BY place;
-- what the transaction has written itself; what it deletes
BEGIN;
SELECT difs_put('many:/f/1', 'new'), difs_put('many:/own', convert_to(repeat('own', 5000), 'UTF8')), difs_delete('many:/f/2');
SELECT path, length(data), left(convert_from(data, 'UTF8'), 6) FROM difs_get_many('{many:/own,many:/f/1}');
SELECT * FROM difs_get_many('{many:/own,many:/f/2}');
ROLLBACK;
SELECT path, length(data) FROM difs_get_many('{many:/f/1,many:/f/2}');
-- nothing, and bad input
SELECT * FROM difs_get_many('{}');
SELECT * FROM difs_get_many(NULL);
SELECT * FROM difs_get_many('{many:/tiny,NULL}');
SELECT * FROM difs_get_many('{many:/tiny,many:/missing,many:/empty}');
SELECT * FROM difs_get_many('{many:/f}');
SELECT * FROM difs_get_many('{tiny}');
SELECT path, length(data) FROM difs_get_many('{{many:/tiny,many:/empty},{many:/hole,many:/link}}');

SELECT sum(difs_delete('many:/' || name, recursive => true)) FROM difs_list('many:/');
SELECT difs_delete('many_zstd:/f', recursive => true);
SELECT difs_volume_drop('many'), difs_volume_drop('many_zstd');
