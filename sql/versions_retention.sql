-- retention, hold and write-once

-- what is no rule
SELECT difs_volume_create('no', keep_versions => 0);
SELECT difs_volume_create('no', keep_versions => -1);
SELECT difs_volume_create('no', keep_for => '-1 second');
SELECT difs_volume_create('no', trash_for => '-1 day');
SELECT difs_volume_create('no', keep_for => '1000000 years');
SELECT difs_volume_create('no', versioning => NULL);
SELECT difs_put('/f', 'x');
SELECT difs_retain('/f', keep_versions => 0);
SELECT difs_retain('/f', keep_for => '-1 month');
SELECT difs_retain('/nothing', 1);
SELECT difs_delete('/f');

-- by the volume: the newest three
SELECT difs_volume_create('three', digest => 'none', keep_versions => 3) > 0 AS made;
SELECT difs_put('three:/f', convert_to('v' || n, 'UTF8')) FROM generate_series(1, 6) AS n;
SELECT version, convert_from(difs_get('three:/f', version), 'UTF8') FROM difs_versions('three:/f');
SELECT difs_copy('three:/f', 'three:/f', 4);
SELECT difs_restore('three:/f', 5), array_agg(version) FROM difs_versions('three:/f');
SELECT version, convert_from(difs_get('three:/f', version), 'UTF8') FROM difs_versions('three:/f');
-- a version that is replaced is not one more
SELECT difs_put('three:/f', 'x', version => 7), difs_put('three:/f', 'x', version => 20);
SELECT array_agg(version) FROM difs_versions('three:/f');
-- rollback
BEGIN;
SELECT difs_put('three:/f', 'x') FROM generate_series(1, 5);
ROLLBACK;
SELECT array_agg(version) FROM difs_versions('three:/f');

-- by the file, in place of the volume: at once
SELECT difs_put('three:/g', 'x') FROM generate_series(1, 3);
SELECT difs_retain('three:/g', 1);
SELECT array_agg(version) FROM difs_versions('three:/g');
SELECT difs_put('three:/g', 'x'), difs_put('three:/g', 'x');
SELECT array_agg(version) FROM difs_versions('three:/g');
SELECT difs_retain('three:/g');
SELECT difs_put('three:/g', 'x') FROM generate_series(1, 3);
SELECT array_agg(version) FROM difs_versions('three:/g');

-- what was current within a time; both rules: what one of them keeps
SELECT difs_volume_create('hour', digest => 'none', keep_for => '1 hour') > 0 AS made;
SELECT difs_put('hour:/f', 'x') FROM generate_series(1, 5);
SELECT count(*) FROM difs_versions('hour:/f');
SELECT difs_retain('hour:/f', keep_for => '0');
SELECT array_agg(version) FROM difs_versions('hour:/f');
SELECT difs_put('hour:/f', 'x') FROM generate_series(1, 3);
SELECT array_agg(version) FROM difs_versions('hour:/f');
SELECT difs_retain('hour:/f', 2, '0');
SELECT difs_put('hour:/f', 'x') FROM generate_series(1, 3);
SELECT array_agg(version) FROM difs_versions('hour:/f');
SELECT difs_retain('hour:/f', 1, '1 hour');
SELECT difs_put('hour:/f', 'x') FROM generate_series(1, 3);
SELECT count(*) FROM difs_versions('hour:/f');

-- hold: nothing goes, new versions come
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS
$$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN others THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT difs_volume_create('holds', digest => 'none', keep_versions => 2) > 0 AS made;
SET difs.volume = 'holds';
SET timezone = 'UTC';
SELECT difs_put('/d/e/f', 'one', parents => true), difs_put('/d/e/f', 'two'), difs_put('/d/e/g', 'x');
SELECT difs_hold_until('/d/e/f', '2001-01-01');
SELECT difs_hold_until('/d/e', '2101-01-01');
SELECT difs_hold_until('/d/e/f', NULL);
SELECT difs_hold_until('/d/e/f', '2101-01-01');
SELECT pg_temp.refused($$SELECT difs_delete('/d/e/f')$$);
SELECT pg_temp.refused($$SELECT difs_delete('/d/e/f', version => 1)$$);
SELECT pg_temp.refused($$SELECT difs_delete('/d', recursive => true)$$);
SELECT pg_temp.refused($$SELECT difs_rename('/d/e/g', '/d/e/f')$$);
SELECT pg_temp.refused($$SELECT difs_hold_until('/d/e/f', '2100-12-31')$$);
SELECT pg_temp.refused($$UPDATE difs.file_policy SET held_until = NULL$$) ~ '^55006 inode \d+ is held until ' AS refused;
SELECT pg_temp.refused($$DELETE FROM difs.file_policy$$) ~ '^55006 inode \d+ is held until ' AS refused;
SELECT difs_put('/d/e/f', 'x') FROM generate_series(1, 3);
SELECT array_agg(version) FROM difs_versions('/d/e/f');
SELECT difs_retain('/d/e/f', 1);
SELECT array_agg(version) FROM difs_versions('/d/e/f');
SELECT pg_temp.refused($$SELECT difs_put('/d/e/f', 'ONE', version => 1)$$);
SELECT difs_rename('/d/e/f', '/d/f');
SELECT difs_hold_until('/d/f', '2102-01-01');
SELECT path, keep_versions, keep_for, held_until, write_once_until FROM difs.file_policies WHERE split_part(path, ':', 1) IN ('three', 'hour', 'holds');
SELECT pg_temp.refused($$SELECT difs_delete('/d/f')$$);

-- write-once
SELECT difs_write_once('/d/e/g', '2101-02-03 04:05:06');
SELECT pg_temp.refused($$SELECT difs_put('/d/e/g', 'y')$$);
SELECT pg_temp.refused($$SELECT difs_put('/d/e/g', 'y', version => 1)$$);
SELECT pg_temp.refused($$SELECT difs_copy('/d/f', '/d/e/g')$$);
SELECT pg_temp.refused($$SELECT difs_restore('/d/e/g', 1)$$);
SELECT pg_temp.refused($$SELECT difs_delete('/d/e/g')$$);
SELECT pg_temp.refused($$SELECT difs_delete('/d/e/g', version => 1)$$);
SELECT pg_temp.refused($$SELECT difs_delete('/d/e', recursive => true)$$);
SELECT pg_temp.refused($$SELECT difs_rename('/d/f', '/d/e/g')$$);
SELECT pg_temp.refused($$SELECT difs_write_once('/d/e/g', '2101-02-03 04:05:05')$$);
SELECT difs_write_once('/d/e/g', 'infinity');
SELECT pg_temp.refused($$SELECT difs_delete('/d/e/g')$$);
SELECT convert_from(difs_get('/d/e/g'), 'UTF8'), version FROM difs_versions('/d/e/g');

-- a hold that has passed is none
SELECT difs_put('/short', 'x'), difs_put('/short', 'y'), difs_write_once('/short', '2101-01-01');
SELECT pg_temp.refused($$SELECT difs_put('/short', 'z')$$);
SET session_replication_role = replica; -- without the trigger: as if the time had passed
UPDATE difs.file_policy SET write_once_until = now() - interval '1 second' WHERE ino = (difs_stat('/short')).ino;
RESET session_replication_role;
SELECT difs_put('/short', 'z'), difs_delete('/short');
SELECT count(*) FROM difs.file_policies WHERE split_part(path, ':', 1) IN ('three', 'hour', 'holds');

SELECT * FROM difs_fsck();
RESET difs.volume;
SELECT difs_delete('three:/f'), difs_delete('three:/g'), difs_delete('hour:/f');
