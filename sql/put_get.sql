-- contents: sizes around the borders of segments and blocks, raw and compressed
SELECT difs_volume_create('small', segment_size => 4096, compression => 'none') > 0 AS made;
SELECT difs_volume_create('packed', segment_size => 65536, compression => 'zstd', compression_level => 3) > 0 AS made;
SELECT difs_volume_create('large', segment_size => 8388608, compression => 'none', digest => 'sha256') > 0 AS made;
SELECT difs_volume_create('bare', digest => 'none') > 0 AS made;

-- n bytes that do not compress, the same ones each time
CREATE FUNCTION noise(n integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$ SELECT substring(coalesce(string_agg(sha256(int4send(i)), ''), '') FROM 1 FOR n) FROM generate_series(1, n / 32 + 1) i $$;

CREATE TABLE sample AS
SELECT n, noise(n) AS data FROM unnest(ARRAY[0, 1, 31, 4095, 4096, 4097, 8192, 65535, 65536, 65537, 131072, 1048576, 1048577, 3000001]) n
UNION ALL
SELECT -n, convert_to(repeat('all work and no play ', n), 'UTF8') FROM unnest(ARRAY[1, 1000, 100000]) n;

SELECT volume, n, difs_put(volume || ':/' || n, data)
FROM sample, unnest(ARRAY['main', 'small', 'packed', 'large', 'bare']) volume ORDER BY volume, n;
SELECT volume, count(*), count(*) FILTER (WHERE difs_get(volume || ':/' || n) = data) AS equal
FROM sample, unnest(ARRAY['main', 'small', 'packed', 'large', 'bare']) volume GROUP BY volume ORDER BY volume;

-- digests are of the content, whatever the segments
SELECT bool_and((SELECT digest FROM difs_versions('main:/' || n)) = (SELECT digest FROM difs_versions('small:/' || n))) FROM sample;
SELECT bool_and((SELECT digest FROM difs_versions('large:/' || n)) = sha256(data)) FROM sample;
SELECT bool_and((SELECT digest FROM difs_versions('bare:/' || n)) IS NULL) FROM sample;
SELECT encode((SELECT digest FROM difs_versions('main:/0')), 'hex') AS "what xxh128sum says of nothing";

-- raw where zstd does not help, one record each
SELECT codec, count(*) > 0 AS some FROM difs.manifest m JOIN difs.inode i USING (ino) JOIN difs.volume v ON v.id = i.volume
WHERE v.name = 'packed' GROUP BY codec ORDER BY codec;
SELECT sum(stored_length) * 20 < sum(raw_length) AS compressed FROM difs.manifest m WHERE ino = (SELECT ino FROM difs_stat('packed:/-100000'));

-- ranges
SELECT n, "offset", length, difs_get('packed:/' || n, "offset" => "offset", length => length) =
       substring(data FROM "offset"::int + 1 FOR length::int) AS equal
FROM sample, (VALUES (0::bigint, 1::bigint), (65535, 2), (65536, 65536), (100000, 1), (0, 3000001), (2999999, 100)) r ("offset", length)
WHERE n = 3000001 ORDER BY 2, 3;
SELECT length(difs_get('small:/8192', "offset" => 8192)), length(difs_get('small:/8192', "offset" => 9000000000)), length(difs_get('small:/8192', length => 0));

-- versions stay
SELECT difs_put('/v', 'one'), difs_put('/v', 'two'), difs_put('/v', '');
SELECT version, convert_from(difs_get('/v', version), 'UTF8'), size, segments FROM difs_versions('/v');

-- conditional
SELECT difs_put('/c', 'first', if_version => 0);
\set VERBOSITY sqlstate
SELECT difs_put('/c', 'again', if_version => 0);
SELECT difs_put('/c', 'third', if_version => 7);
SELECT difs_put('/c', 'none', if_version => -1);
\set VERBOSITY default
SELECT difs_put('/c', 'second', if_version => 1);

-- parents
\set VERBOSITY sqlstate
SELECT difs_put('/a/b/c', 'deep');
\set VERBOSITY default
SELECT difs_put('/a/b/c', 'deep', parents => true);

-- a copy shares the segments
SELECT difs_copy('packed:/3000001', 'packed:/copy');
SELECT difs_get('packed:/copy') = (SELECT data FROM sample WHERE n = 3000001) AS equal,
       (SELECT count(*) FROM difs.manifest WHERE ino = (SELECT ino FROM difs_stat('packed:/copy'))) AS rows;

-- NULL is an error, not a NULL
\set VERBOSITY sqlstate
SELECT difs_put(NULL, 'x');
SELECT difs_put('/x', NULL);
SELECT difs_get(NULL);
SELECT difs_import(NULL, '/etc/hostname');
SELECT difs_import('/x', NULL);
SELECT difs_import('/x', 'relative');
SELECT difs_import('/x', '/etc');
SELECT difs_import('/x', '/does/not/exist');
SELECT difs_exists('/x');
