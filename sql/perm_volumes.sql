-- volumes, quotas and the journal are for the owner of the volume; locks for who may read or write; a hash finds what a list shows
CREATE ROLE vols_owner;
CREATE ROLE vols_ann;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS
$$BEGIN EXECUTE statement; RETURN 'done'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM; END$$;
SELECT difs_volume_create('po', digest => 'none', journal => true) > 0 AS made;
UPDATE difs.volume SET owner = 'vols_owner' WHERE name = 'po';
SELECT difs_put('po:/d/f', 'x', parents => true), difs_put('po:/d/secret/g', 'x', parents => true), difs_chown('po:/', 'vols_owner', recursive => true) > 0 AS given;
SELECT difs_chmod('po:/d', '0755'), difs_chmod('po:/d/f', '0644'), difs_chmod('po:/d/secret', '0711');

SET ROLE vols_ann;
SELECT pg_temp.refused(statement) FROM unnest(ARRAY[
    $$SELECT difs_volume_alter('po', replicas => 1)$$,
    $$SELECT difs_volume_drop('po', force => true)$$,
    $$SELECT difs_quota_set('po:/d', 1)$$,
    $$SELECT difs_quota_drop('po:/d')$$,
    $$SELECT difs_changes('po')$$,
    $$SELECT difs_volume_alter('main', replicas => 1)$$,
    $$SELECT difs_volume_drop('none')$$,
    $$SELECT difs_lock('po:/d/f', 'exclusive')$$,
    $$SELECT difs_lock('po:/d/secret', 'shared')$$,
    $$SELECT difs_lock('po:/d/secret/g', 'exclusive')$$]) AS statement;
-- nor does one wait for a lock that is not for oneself
BEGIN;
SELECT difs_lock('po:/d/f', 'shared') > 0 AS locked;
COMMIT;
SELECT difs_lock('po:/d/f', 'shared', 'owner', owner => 'o', ttl => '1 hour') > 0 AS locked, difs_unlock('po:/d/f', 'o');
SELECT difs_lock('po:/d/f', 'shared', 'session') > 0 AS locked;
RESET ROLE;
SELECT difs_chmod('po:/d/f', '0600');
SET ROLE vols_ann;
SELECT difs_unlock('po:/d/f');
SELECT path FROM difs.locks;
SELECT difs_find_by_hash(difs_name_hash('po:/d/f'), 'po:/'), difs_find_by_hash(difs_name_hash('po:/d/secret'), 'po:/'),
    difs_find_by_hash(difs_name_hash('po:/d/secret/g'), 'po:/'), difs_find_by_hash(difs_name_hash('po:/d/secret/g'), 'po:/d/secret/g');

SET ROLE vols_owner;
SELECT difs_lock('po:/d/f', 'exclusive', 'owner', owner => 'o', ttl => '1 hour') > 0 AS locked;
SET ROLE vols_ann;
SELECT pg_temp.refused($$SELECT difs_unlock('po:/d/f', 'o')$$);
SET ROLE vols_owner;
SELECT difs_unlock('po:/d/f', 'o');
SELECT difs_find_by_hash(difs_name_hash('po:/d/secret/g'), 'po:/');
SELECT difs_quota_set('po:/d', files => 3), difs_quota_set('po:/', bytes => 100);
SELECT pg_temp.refused($$SELECT difs_put('po:/d/h', 'x')$$);
SELECT difs_quota_drop('po:/d'), difs_put('po:/d/h', 'x');
SELECT action, path, who = current_user FROM difs_changes('po') WHERE path = '/d/h';
SELECT difs_volume_alter('po', versioning => true, keep_versions => 2, trash_for => '1 day', notify => true);
SELECT versioning, keep_versions, trash_for, owner FROM difs.volumes WHERE name = 'po';
SELECT difs_delete('po:/d/secret', recursive => true), count(*) FROM difs.trash WHERE volume = 'po';
-- for a definer's function, who defines it counts
CREATE FUNCTION pg_temp.as_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT count(*) FROM difs_changes('po')$$;
SET ROLE vols_ann;
SELECT pg_temp.as_owner() > 0 AS seen;
CREATE FUNCTION pg_temp.as_ann() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT pg_temp.refused('SELECT difs_changes(''po'')')$$;
SET ROLE vols_owner;
SELECT pg_temp.as_ann();
SELECT difs_volume_drop('po');
SELECT difs_volume_drop('po', force => true);
SELECT name FROM difs.volumes WHERE name = 'po';
RESET ROLE;
SELECT pg_temp.refused($$SELECT difs_changes('po')$$);
-- cursors
SELECT difs_volume_create('pc', digest => 'none', journal => true) > 0 AS made, difs_mkdir('pc:/d') > 0 AS made FROM (VALUES (1)) AS one;
SELECT pg_temp.refused(format('SELECT difs_changes(%L, %L)', 'pc', cursor)) FROM unnest('{"",/,//,1//1,1/2/3/4,a/1/1,1/1/x,1/1/99999999999,1/99999999999999999999999/1,99999999999999999999/1/1,-1/1/1,"1/1/1 "}'::text[]) AS cursor;
SELECT count(*) FROM difs_changes('pc', '9223372036854775807/18446744073709551615/2147483647');
SELECT count(*) FROM difs_changes('pc', '0/0/0');
SELECT difs_volume_drop('pc', force => true);
SELECT * FROM difs_fsck();
