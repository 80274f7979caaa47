-- who may bring back, remove for good, hold and retain
SET timezone = 'UTC';
CREATE ROLE versions_ann;
CREATE ROLE versions_ben;
CREATE ROLE versions_eve;
CREATE ROLE versions_owner;
GRANT EXECUTE ON FUNCTION difs_volume_create(text, integer, integer, text, integer, text, text, integer, boolean, interval, boolean, bigint, bigint, boolean, boolean, integer, interval, interval, regprocedure) TO versions_owner;
SET ROLE versions_owner;
SELECT difs_volume_create('pt', digest => 'none', trash_for => '1 day') > 0 AS made, difs_volume_create('ph', digest => 'none', versioning => true) > 0 AS made;
SELECT difs_chmod('pt:/', '0777'), difs_chmod('ph:/', '0777');
RESET ROLE;
-- the last thing in the trash, whoever may see it
CREATE FUNCTION pg_temp.last_trash() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT max(id) FROM difs.trash';

-- the trash: who has deleted it, who owns it, the owner of the volume
SET ROLE versions_ann;
SELECT difs_put('pt:/a', 'of ann'), difs_put('pt:/b', 'of ann'), difs_put('pt:/c', 'of ann'), difs_put('pt:/d', 'of ann');
SELECT difs_delete('pt:/a');
SET ROLE versions_ben;
SELECT difs_delete('pt:/b');
SELECT path, deleted_by FROM difs.trash WHERE volume = 'pt' ORDER BY id;
SET ROLE versions_eve;
SELECT path, deleted_by FROM difs.trash WHERE volume = 'pt' ORDER BY id;
SELECT difs_undelete('pt:/a');
SELECT difs_undelete('pt:/b', 'pt:/e');
\set VERBOSITY sqlstate
SELECT difs_undelete(pg_temp.last_trash());
SELECT difs_purge(pg_temp.last_trash());
\set VERBOSITY default
SET ROLE versions_ann;
SELECT path, deleted_by FROM difs.trash WHERE volume = 'pt' ORDER BY id;
SELECT difs_undelete('pt:/b') > 0 AS own;
SELECT difs_delete('pt:/b');
SET ROLE versions_owner;
SELECT path, deleted_by FROM difs.trash WHERE volume = 'pt' ORDER BY id;
SELECT difs_purge(pg_temp.last_trash());
SET ROLE versions_ben;
SELECT difs_delete('pt:/c');
SELECT difs_undelete('pt:/c', 'pt:/c2') > 0 AS deleted_it;
-- of two that were at the same place, those that one may have
SELECT difs_put('pt:/same', 'of ben'), difs_delete('pt:/same');
SET ROLE versions_ann;
SELECT difs_put('pt:/same', 'of ann'), difs_delete('pt:/same');
SET ROLE versions_ben;
SELECT difs_undelete('pt:/same') > 0 AS back, convert_from(difs_get('pt:/same'), 'UTF8');
-- and a directory is needed where it may come to
RESET ROLE;
SELECT difs_chmod('pt:/', '0755');
SET ROLE versions_ann;
SELECT difs_undelete('pt:/a');
RESET ROLE;
SELECT difs_chmod('pt:/', '1777');
-- what the sticky bit keeps from being deleted, it keeps from the trash
SET ROLE versions_ben;
SELECT difs_delete('pt:/d');
RESET ROLE;
SELECT difs_chmod('pt:/', '0777');

-- a tree goes to the trash, or for good from there, for who may remove its pieces
SET ROLE versions_ann;
SELECT difs_put('pt:/tree/mine/f', 'x', parents => true), difs_chmod('pt:/tree', '0777');
SET ROLE versions_ben;
SELECT difs_delete('pt:/tree', recursive => true);
SET ROLE versions_ann;
SELECT difs_chmod('pt:/tree/mine', '0777');
SET ROLE versions_ben;
SELECT difs_delete('pt:/tree', recursive => true);
SET ROLE versions_ann;
SELECT difs_undelete('pt:/tree') > 0 AS back, difs_delete('pt:/tree', recursive => true);
SET ROLE versions_owner;
SELECT difs_undelete('pt:/tree') > 0 AS back, difs_chmod('pt:/tree/mine', '0700'), difs_delete('pt:/tree', recursive => true);
SET ROLE versions_ben;
\set VERBOSITY sqlstate
SELECT difs_purge(pg_temp.last_trash());
\set VERBOSITY default
SET ROLE versions_ann;
SELECT difs_purge(pg_temp.last_trash());

-- a history: write on the directory where it was deleted, and on that which it comes to
SELECT difs_mkdir('ph:/d') > 0 AS made, difs_mkdir('ph:/e') > 0 AS made, difs_put('ph:/d/f', 'of ann'), difs_delete('ph:/d/f');
SET ROLE versions_ben;
SELECT difs_undelete('ph:/d/f');
SELECT difs_undelete('ph:/d/f', 'ph:/f');
SELECT difs_put('ph:/d/f', 'of ben');
SELECT difs_restore('ph:/d/f', 1);
SELECT difs_delete('ph:/d/f', version => 1);
SET ROLE versions_ann;
SELECT difs_chmod('ph:/d', '0777'), difs_put('ph:/d/g', 'secret'), difs_chmod('ph:/d/g', '0600'), difs_delete('ph:/d/g');
SET ROLE versions_ben;
SELECT difs_undelete('ph:/d/f', 'ph:/e/f');
SELECT difs_undelete('ph:/d/f', 'ph:/f') > 0 AS back;
-- what one may not read or write stays so after its end
SELECT difs_get('ph:/d/g', 1);
SELECT * FROM difs_versions('ph:/d/g');
SELECT difs_restore('ph:/d/g', 1);
-- on its name, another file begins
SELECT difs_put('ph:/d/g', 'of ben'), (difs_stat('ph:/d/g')).owner;
SELECT count(*) FROM difs_versions('ph:/d/g');

-- hold, write-once and retention are the owner's; and then nobody can shorten them
SELECT difs_hold_until('ph:/f', '2101-01-01');
SELECT difs_write_once('ph:/f', '2101-01-01');
SELECT difs_retain('ph:/f', 1);
SET ROLE versions_ann;
SELECT difs_chmod('ph:/f', '0666'), difs_hold_until('ph:/f', '2101-01-01'), difs_retain('ph:/f', 1);
\set VERBOSITY terse
SELECT difs_hold_until('ph:/f', '2100-01-01');
SELECT difs_delete('ph:/f');
SET ROLE versions_owner;
SELECT difs_hold_until('ph:/f', '2100-01-01');
SELECT difs_delete('ph:/f');
RESET ROLE;
SELECT difs_hold_until('ph:/f', '2100-01-01');
SELECT difs_delete('ph:/f');
SELECT difs_volume_drop('ph', force => true);
\set VERBOSITY sqlstate
DELETE FROM difs.file_policy;
\set VERBOSITY default
SET ROLE versions_ben;
SELECT path FROM difs.file_policies;
RESET ROLE;
SELECT path, keep_versions, held_until FROM difs.file_policies WHERE path LIKE 'ph:%';

-- a role goes, and what it has deleted is another one's
SELECT difs_delete('pt:/c2');
SET ROLE versions_ben;
SELECT difs_delete('pt:/same');
RESET ROLE;
SELECT difs_reassign('versions_ben', 'versions_ann') > 0 AS reassigned;
SELECT DISTINCT deleted_by FROM difs.trash WHERE volume = 'pt' AND deleted_by = 'versions_ben'::regrole;
DROP ROLE versions_ben;
SELECT * FROM difs_fsck();
SELECT difs_volume_drop('pt', force => true);
SELECT count(*) FROM difs.discarded WHERE volume NOT IN (SELECT id FROM difs.volume);
SELECT * FROM difs_fsck();
