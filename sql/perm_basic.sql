-- who may do what: owner, mode, group, entries, the volume's owner, as several roles
CREATE ROLE perm_owner;
CREATE ROLE perm_staff;
CREATE ROLE perm_member IN ROLE perm_staff;
CREATE ROLE perm_reader;
CREATE ROLE perm_stranger;
\set VERBOSITY default

-- an ordinary role can do nothing before somebody lets it
SET ROLE perm_owner;
SELECT difs_put('/perm', '');
SELECT difs_mkdir('/perm');
SELECT difs_mkdir('/perm/a/b', parents => true);
SELECT count(*) FROM difs_list('/');
RESET ROLE;
SELECT difs_mkdir('/perm') > 0 AS made;
SELECT difs_chown('/perm', 'perm_owner');
SELECT difs_chown('/perm', 'perm_owner');

-- the owner's files: 0644 and 0755, less difs.umask
SET ROLE perm_owner;
SELECT difs_put('/perm/f', 'f');
SELECT difs_mkdir('/perm/d') > 0 AS made;
SHOW difs.umask;
SET difs.umask = '0077';
SHOW difs.umask;
SELECT difs_put('/perm/d/private', 'private');
SET difs.umask = '0778';
SET difs.umask = 512;
RESET difs.umask;
SELECT name, to_hex(mode) AS mode, owner FROM difs_list('/perm', recursive => true);
SELECT * FROM difs_access('/perm/f');

-- others read what they may and change nothing
SET ROLE perm_stranger;
SELECT difs_get('/perm/f');
SELECT (difs_stat('/perm/f')).size;
SELECT difs_get('/perm/d/private');
SELECT (difs_stat('/perm/d/private')).size;
SELECT difs_put('/perm/f', 'x');
SELECT difs_put('/perm/g', 'x');
SELECT difs_chmod('/perm/f', '0777');
SELECT difs_chown('/perm/f', 'perm_stranger');
SELECT difs_grant('/perm/f', 'perm_stranger', 'w');
SELECT difs_revoke('/perm/f', 'perm_reader');

-- modes
SET ROLE perm_owner;
SELECT difs_chmod('/perm/f', '0600');
SELECT difs_chmod('/perm/f', '0600');
SELECT difs_chmod('/perm/f', 'g+r,o=');
SELECT kind, role, privileges FROM difs_access('/perm/f');
DO $$
DECLARE
    mode text;
BEGIN
    FOREACH mode IN ARRAY '{"u=rwx,g=rx,o=",a-x,+X,u+x,a+X,=r,u+w-r,7777,a-st,g=s,u=rw+x-r,0640}'::text[] LOOP
        PERFORM difs_chmod('/perm/f', mode);
        RAISE NOTICE '% makes %, in hexadecimal %', mode, (SELECT string_agg(privileges, ' ') FROM difs_access('/perm/f')),
            to_hex((difs_stat('/perm/f')).mode);
    END LOOP;
END
$$;
SELECT difs_chmod('/perm/f', '10000');
SELECT difs_chmod('/perm/f', '99999999999999');
SELECT difs_chmod('/perm/f', '-1');
SELECT difs_chmod('/perm/f', '');
SELECT difs_chmod('/perm/f', 'u');
SELECT difs_chmod('/perm/f', 'u+rz');
SELECT difs_chmod('/perm/f', 'u+r,');
SELECT difs_chmod('/perm/f', '0640 ');
SELECT difs_chmod('/perm/missing', '0640');
SELECT difs_chmod(NULL, '0640');
SELECT difs_chmod('/perm/f', NULL);

-- the group: a role, and whoever is a member
SELECT difs_chown('/perm/f', "group" => 'perm_staff');
SELECT difs_chown('/perm/f', 'perm_stranger');
SELECT difs_chown('/perm/f', 'perm_nobody_of_that_name');
SELECT difs_chown('/perm/f', 4000000000);
SELECT difs_chown('/perm/f', '-');
RESET ROLE;
GRANT perm_staff TO perm_owner;
SET ROLE perm_owner;
SELECT difs_chown('/perm/f', "group" => 'perm_staff');
SELECT kind, role, privileges FROM difs_access('/perm/f');
SET ROLE perm_member;
SELECT difs_get('/perm/f');
SELECT difs_put('/perm/f', 'x');
SET ROLE perm_stranger;
SELECT difs_get('/perm/f');
SET ROLE perm_owner;
SELECT difs_chmod('/perm/f', 'g-r,o+r');
-- the group's class counts for its members, not that of the others
SET ROLE perm_member;
SELECT difs_get('/perm/f');
SET ROLE perm_owner;
SELECT difs_chown('/perm/f', "group" => '-');
SET ROLE perm_member;
SELECT difs_get('/perm/f');
-- and the owner's for the owner, who can change it
SET ROLE perm_owner;
SELECT difs_chmod('/perm/f', '0044');
SELECT difs_get('/perm/f');
SELECT difs_chmod('/perm/f', '0600');
-- a file can belong to a group role: its members own it
SELECT difs_chown('/perm/f', 'perm_staff');
SET ROLE perm_member;
SELECT difs_get('/perm/f');
SELECT difs_chmod('/perm/f', 'g=r');
SELECT difs_chown('/perm/f', 'perm_owner');
RESET ROLE;
SELECT difs_chown('/perm/f', 'perm_owner');

-- entries for more roles only add
SET ROLE perm_owner;
SELECT difs_grant('/perm/f', 'perm_reader', 'r');
SELECT difs_grant('/perm/f', 'perm_reader', 'r');
SET ROLE perm_reader;
SELECT difs_get('/perm/f');
SELECT difs_put('/perm/f', 'x');
SET ROLE perm_owner;
SELECT difs_grant('/perm/f', 'perm_reader', 'wr');
SELECT * FROM difs_access('/perm/f');
SET ROLE perm_reader;
SELECT difs_put('/perm/f', 'by the reader');
SELECT version, author FROM difs_versions('/perm/f');
SELECT owner FROM difs_stat('/perm/f');
SET ROLE perm_owner;
SELECT difs_revoke('/perm/f', 'perm_reader', 'w');
SELECT * FROM difs_access('/perm/f');
SELECT difs_revoke('/perm/f', 'perm_reader');
SELECT difs_revoke('/perm/f', 'perm_reader');
SELECT * FROM difs_access('/perm/f');
SELECT difs_grant('/perm/f', 'perm_reader', '');
SELECT difs_grant('/perm/f', 'perm_reader', 'rd');
SELECT difs_grant('/perm/f', 'perm_nobody_of_that_name', 'r');
SELECT difs_grant('/perm/f', '-', 'r');
SELECT difs_grant('/perm/f', NULL, 'r');

-- search: needed on every directory of the way, and enough for what can be read
SELECT difs_put('/perm/d/e/f/deep', 'deep', parents => true);
SELECT difs_chmod('/perm/d', '0700');
SET ROLE perm_stranger;
SELECT difs_get('/perm/d/e/f/deep');
SELECT difs_exists('/perm/d/e/f/deep');
SELECT difs_exists('/perm/d');
SELECT difs_stat('/perm/d/none');
SELECT difs_mkdir('/perm/d/e/f/g', parents => true);
SET ROLE perm_owner;
SELECT difs_chmod('/perm/d', '0711');
SET ROLE perm_stranger;
SELECT difs_get('/perm/d/e/f/deep');
SELECT difs_exists('/perm/d/none');
SELECT name FROM difs_list('/perm/d');
-- a listing leaves out what cannot be read below, and shows no attributes without search
SELECT name FROM difs_list('/perm', recursive => true);
SELECT name FROM difs_list('/perm', recursive => true, after => 'd/e');
SET ROLE perm_owner;
SELECT difs_chmod('/perm/d', '0744');
SET ROLE perm_stranger;
SELECT name, kind, size, version, mode, owner, mtime FROM difs_list('/perm/d', recursive => true);
SELECT difs_get('/perm/d/e/f/deep');

-- what is on the way and is no directory is reported as that
SELECT difs_get('/perm/f/x');

-- inheritance: the group, and the entries that say so
SET ROLE perm_owner;
SELECT difs_chmod('/perm/d', '0700');
SELECT difs_chown('/perm/d', "group" => 'perm_staff');
SELECT difs_grant('/perm/d', 'perm_reader', 'rx');
SELECT difs_grant('/perm/d', 'perm_stranger', 'x', inherit => false);
SELECT * FROM difs_access('/perm/d');
SELECT difs_put('/perm/d/new', 'new');
SELECT * FROM difs_access('/perm/d/new');
SELECT difs_put('/perm/d/sub/new', 'new', parents => true);
SELECT * FROM difs_access('/perm/d/sub');
SELECT * FROM difs_access('/perm/d/sub/new');
SELECT difs_copy('/perm/d/private', '/perm/d/copy');
SELECT * FROM difs_access('/perm/d/copy');
SELECT * FROM difs_access('/perm/d/private');
SET ROLE perm_reader;
SELECT difs_get('/perm/d/sub/new');
SELECT difs_get('/perm/d/private');
SELECT name FROM difs_list('/perm/d');
-- recursive: what is there already
SET ROLE perm_owner;
SELECT difs_grant('/perm/d', 'perm_reader', 'rx', recursive => true);
SELECT difs_chmod('/perm/d', 'g=rX', recursive => true);
SELECT name, a.* FROM difs_list('/perm/d', recursive => true), difs_access('/perm/d/' || name) AS a WHERE a.kind <> 'owner';
SET ROLE perm_member;
SELECT name FROM difs_list('/perm/d', recursive => true);
SET ROLE perm_owner;
SELECT difs_revoke('/perm/d', 'perm_reader', recursive => true);
SELECT difs_revoke('/perm/d', 'perm_stranger', recursive => true);

-- removing and renaming is the directory's matter
SELECT difs_put('/perm/d/theirs', '');
SELECT difs_chmod('/perm/d', '0777');
SELECT difs_chmod('/perm/d/theirs', '0000');
SET ROLE perm_stranger;
SELECT difs_get('/perm/d/theirs');
SELECT difs_rename('/perm/d/theirs', '/perm/d/mine');
SELECT difs_delete('/perm/d/mine');
SELECT difs_rename('/perm/d/new', '/perm/new');
SELECT difs_rename('/perm/f', '/perm/d/f');
SELECT difs_rmdir('/perm/d/sub');
SELECT difs_delete('/perm/d/sub', recursive => true);
SELECT difs_put('/perm/d/s', '');
-- unless the sticky bit is set
SET ROLE perm_owner;
SELECT difs_put('/perm/d/theirs', '');
SELECT difs_chmod('/perm/d', '+t');
SET ROLE perm_stranger;
SELECT difs_delete('/perm/d/theirs');
SELECT difs_rename('/perm/d/theirs', '/perm/d/mine');
SELECT difs_rename('/perm/d/s', '/perm/d/theirs');
SELECT difs_rename('/perm/d/s', '/perm/d/s2');
SELECT difs_delete('/perm/d/s2');
-- a tree is removed as a whole or not at all
SELECT difs_mkdir('/perm/d/tree/sub', parents => true) > 0 AS made;
SELECT difs_chmod('/perm/d/tree/sub', '0777');
SET ROLE perm_member;
SELECT difs_put('/perm/d/tree/sub/f', '');
SELECT difs_mkdir('/perm/d/tree/sub/g/h', parents => true) > 0 AS made;
SET ROLE perm_stranger;
SELECT difs_delete('/perm/d/tree', recursive => true);
SELECT difs_chmod('/perm/d/tree', '0700', recursive => true);
SET ROLE perm_member;
SELECT difs_delete('/perm/d/tree/sub/g', recursive => true);
SET ROLE perm_stranger;
SELECT difs_chmod('/perm/d/tree/sub', '0300');
SELECT difs_delete('/perm/d/tree', recursive => true);
SELECT difs_chmod('/perm/d/tree/sub', '0700');
SELECT difs_delete('/perm/d/tree', recursive => true);

-- volumes: who owns one may do everything in it; the view shows those that are open to the user
RESET ROLE;
GRANT EXECUTE ON FUNCTION difs_volume_create TO perm_owner;
SET ROLE perm_owner;
SET difs.umask = '0077';
SELECT difs_volume_create('perm') > 0 AS made;
RESET difs.umask;
SELECT name, owner = 'perm_owner'::regrole AS mine FROM difs.volumes WHERE name IN ('main', 'perm') ORDER BY name;
SELECT difs_grant('perm:/', 'perm_stranger', 'rwx', inherit => false);
SET ROLE perm_reader;
SELECT name FROM difs.volumes WHERE name IN ('main', 'perm') ORDER BY name;
SELECT difs_list('perm:/');
SELECT difs_exists('perm:/x');
SET ROLE perm_stranger;
SET difs.umask = '0077';
SELECT name FROM difs.volumes WHERE name IN ('main', 'perm') ORDER BY name;
SELECT difs_put('perm:/d/f', 'stranger', parents => true);
SELECT difs_chown('perm:/d', 'perm_owner');
RESET difs.umask;
SET ROLE perm_owner;
SELECT difs_get('perm:/d/f');
SELECT difs_chown('perm:/d', 'perm_reader', recursive => true);
SELECT difs_delete('perm:/d', recursive => true);
RESET ROLE;
GRANT perm_owner TO perm_member;
SET ROLE perm_member;
SELECT difs_put('perm:/by_member', '');
RESET ROLE;
REVOKE perm_owner FROM perm_member;
SET ROLE perm_member;
SELECT difs_put('perm:/by_member2', '');
RESET ROLE;

-- a rollback takes changes of rights back, in this session, too
SET ROLE perm_stranger;
SELECT difs_exists('perm:/x');
BEGIN;
SET LOCAL ROLE perm_owner;
SELECT difs_revoke('perm:/', 'perm_stranger');
SET LOCAL ROLE perm_stranger;
SAVEPOINT s;
SELECT difs_exists('perm:/x');
ROLLBACK;
SELECT difs_exists('perm:/x');
BEGIN;
SET LOCAL ROLE perm_owner;
SAVEPOINT s;
SELECT difs_revoke('perm:/', 'perm_stranger');
ROLLBACK TO s;
SET LOCAL ROLE perm_stranger;
SELECT difs_exists('perm:/x');
ROLLBACK;
RESET ROLE;
-- and what is changed in SQL is heard of
UPDATE difs.inode SET acl_role = NULL, acl_mode = NULL WHERE ino = (difs_stat('perm:/')).ino;
SET ROLE perm_stranger;
SELECT difs_exists('perm:/x');
RESET ROLE;
UPDATE difs.volume SET owner = 'perm_stranger' WHERE name = 'perm';
SET ROLE perm_stranger;
SELECT difs_exists('perm:/x');
RESET ROLE;

-- so many entries and no more
SELECT difs_put('perm:/many', '') > 0 AS made;
DO $$
BEGIN
    FOR i IN 1..65 LOOP
        EXECUTE format('CREATE ROLE perm_many_%s', i);
        PERFORM difs_grant('perm:/many', format('perm_many_%s', i)::regrole, 'r');
    END LOOP;
END
$$;

-- a role that files name cannot be dropped
CREATE ROLE perm_leaves;
SELECT difs_grant('/perm/f', 'perm_leaves', 'r');
DROP ROLE perm_leaves;
SELECT difs_chown('/perm/f', 'perm_leaves');
SELECT difs_revoke('/perm/f', 'perm_leaves');
SELECT difs_grant('/perm/f', 'perm_reader', 'r');
SELECT difs_grant('/perm', 'perm_leaves', 'r');
DROP OWNED BY perm_leaves;
DROP ROLE perm_leaves;
SELECT difs_reassign('perm_leaves', 4000000000);
SELECT difs_reassign('perm_leaves', 'perm_owner');
SELECT * FROM difs_access('/perm');
SELECT * FROM difs_access('/perm/f');
DROP ROLE perm_leaves;
-- a rollback of the first use is no use
CREATE ROLE perm_leaves;
BEGIN;
SELECT difs_chown('/perm/f', 'perm_leaves');
ROLLBACK;
SELECT difs_chown('/perm/f', 'perm_leaves');
BEGIN;
SAVEPOINT s;
DROP ROLE perm_leaves;
ROLLBACK;
SELECT difs_reassign('perm_leaves', 'perm_owner');
SELECT difs_chown('/perm/f', 'perm_leaves');
DROP ROLE perm_leaves;
SELECT difs_reassign('perm_leaves', 'perm_owner');
DROP ROLE perm_leaves;
CREATE ROLE perm_leaves;
UPDATE difs.volume SET owner = 'perm_leaves' WHERE name = 'perm';
DROP ROLE perm_leaves;
SELECT difs_reassign('perm_leaves', 'perm_owner');
DROP ROLE perm_leaves;
-- rows that came without their roles, or damaged
UPDATE difs.inode SET grp = 4000000000, acl_role = '{4000000001}', acl_mode = '{4}' WHERE ino = (difs_stat('/perm/f')).ino;
SELECT kind, regexp_replace(object, 'inode \d+', 'inode') AS object, detail FROM difs_fsck();
SELECT kind, role FROM difs_access('/perm/f');
SELECT difs_revoke('/perm/f', 4000000001);
SELECT difs_chown('/perm/f', "group" => '-');
UPDATE difs.inode SET acl_role = '{perm_reader}' WHERE ino = (difs_stat('/perm/f')).ino;
SELECT difs_get('/perm/f');
SELECT kind, regexp_replace(object, 'inode \d+', 'inode') AS object, regexp_replace(detail, 'mode \d+', 'mode') AS detail FROM difs_fsck();
UPDATE difs.inode SET acl_role = NULL WHERE acl_mode IS NULL;

SELECT * FROM difs_fsck();
SELECT difs_delete('/perm', recursive => true) > 0 AS removed;
-- neither files nor volumes keep these roles any more
UPDATE difs.volume SET owner = current_user::regrole WHERE name = 'perm';
SELECT sum(difs_reassign(oid::regrole, current_user::regrole)) > 0 AS reassigned FROM pg_roles WHERE rolname ~ '^perm_';
