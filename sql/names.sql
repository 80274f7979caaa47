-- making, moving and removing names: mkdir, rmdir, rename, delete, exists, stat

-- directories, also empty ones
SELECT difs_mkdir('/names') > 0 AS made;
SELECT difs_mkdir('/names');
SELECT difs_mkdir('/names/a/b/c');
SELECT difs_mkdir('/names/a/b/c', parents => true) > 0 AS made;
SELECT difs_mkdir('/names/a/b/c/', parents => true) = (difs_stat('/names/a/b/c')).ino AS same;
SELECT difs_mkdir('//names///a//slashes/') > 0 AS made;
SELECT name, kind FROM difs_list('/names', recursive => true);
SELECT difs_exists('/names/a/b/c'), difs_exists('/names/a/b/c/'), difs_exists('/names/x'), difs_exists('/names/x/y'), difs_exists('/');

-- rmdir takes empty ones only
SELECT difs_rmdir('/names/a/b');
SELECT difs_rmdir('/names/a/b/c');
SELECT difs_rmdir('/names/a/b/c');
SELECT difs_rmdir('/names/a/slashes/');
SELECT difs_exists('/names/a/b/c');

-- files
SELECT difs_put('/names/f', '');
SELECT difs_put('/names/f', '');
SELECT difs_put('/names/new/below/f', '');
SELECT difs_put('/names/new/below/f', '', parents => true);
SELECT kind, size, version, mode, owner = current_user::regrole AS mine, nlink, volume FROM difs_stat('/names/f');
SELECT kind, size, version, mode, owner = current_user::regrole AS mine, nlink, volume FROM difs_stat('/names/new');
SELECT kind, size, version, mode, volume FROM difs_stat('/');
SELECT atime = btime AS atime, mtime >= btime AS mtime, ctime = mtime AS ctime, btime <= clock_timestamp() AS btime
FROM difs_stat('/names/f');

-- conditions
SELECT difs_put('/names/g', '', if_version => 0);
SELECT difs_put('/names/g', '', if_version => 0);
SELECT difs_put('/names/g', '', if_version => 1);
SELECT difs_put('/names/g', '', if_version => 1);
SELECT difs_put('/names/missing', '', if_version => 1);
SELECT difs_exists('/names/missing');

-- the inode and its history move along
CREATE TEMP TABLE was AS SELECT ino, version FROM difs_stat('/names/f');
SELECT difs_rename('/names/f', '/names/a/h');
SELECT difs_exists('/names/f') AS old, was.ino = now.ino AS same_ino, was.version = now.version AS same_version
FROM was, difs_stat('/names/a/h') AS now;
SELECT version FROM difs_versions('/names/a/h');

-- replacing: a file by a file, an empty directory by a directory
SELECT difs_rename('/names/a/h', '/names/g', no_replace => true);
SELECT difs_rename('/names/a/h', '/names/g');
SELECT was.ino = now.ino AS same_ino FROM was, difs_stat('/names/g') AS now;
SELECT difs_exists('/names/a/h');
SELECT difs_mkdir('/names/empty') > 0 AS made;
SELECT difs_rename('/names/new', '/names/a');
SELECT difs_rename('/names/new', '/names/empty');
SELECT name FROM difs_list('/names', recursive => true);
SELECT difs_rename('/names/g', '/names/empty');
SELECT difs_rename('/names/g', '/names/nowhere/');
SELECT difs_rename('/names/empty', '/names/g');
SELECT difs_rename('/names/empty/below', '/names/moved/');
SELECT difs_rename('/names/g', '/names/moved/f');

-- nothing happens
SELECT difs_rename('/names/moved/f', '/names//moved/f');
SELECT difs_rename('/names/moved', '/names/moved/');
SELECT difs_rename('/names/moved', '/names/moved', no_replace => true);
SELECT name FROM difs_list('/names', recursive => true);

-- a renamed tree is one changed entry, whatever is below it
SELECT count(difs_put('/names/tree/' || i % 10 || '/' || i, '', parents => true)) FROM generate_series(1, 200) AS i;
CREATE TEMP TABLE entries AS SELECT ctid AS place, * FROM difs.dentry;
SELECT difs_rename('/names/tree', '/names/wood');
SELECT count(*) FROM (SELECT ctid, * FROM difs.dentry EXCEPT SELECT * FROM entries) AS changed;
SELECT count(*) FROM difs_list('/names/wood', recursive => true);

-- removing; one doomed row for each file, whatever its versions and size
CREATE TEMP TABLE doomed AS SELECT ino FROM difs.doomed;
SELECT difs_delete('/names/wood');
SELECT difs_delete('/names/wood/0/10');
SELECT difs_delete('/names/wood', recursive => true);
SELECT count(*), count(version) AS of_versions, count(DISTINCT xid) AS transactions, bool_and(lsn < pg_current_wal_insert_lsn()) AS lsn
FROM difs.doomed WHERE ino NOT IN (SELECT ino FROM doomed);
SELECT difs_delete('/names/empty');
SELECT difs_delete('/names/empty');
SELECT difs_delete('/names/moved/', recursive => true);

-- a rollback, also of a savepoint, leaves nothing
BEGIN;
SELECT difs_mkdir('/names/one') > 0 AS made;
SAVEPOINT s;
SELECT difs_put('/names/one/f', '');
SELECT difs_rename('/names/one', '/names/two');
SELECT difs_delete('/names/a', recursive => true);
ROLLBACK TO s;
SELECT name FROM difs_list('/names', recursive => true);
ROLLBACK;
SELECT name FROM difs_list('/names', recursive => true);

-- own changes are seen at once, also within one statement
SELECT difs_put('/names/now', ''), difs_exists('/names/now'), difs_rename('/names/now', '/names/then'), difs_exists('/names/now'),
       difs_delete('/names/then'), difs_exists('/names/then');
SELECT difs_put('/names/again', ''), difs_delete('/names/again'), difs_put('/names/again', ''), (difs_stat('/names/again')).version;

-- a file that a user's table references cannot be removed, whatever the way
CREATE TABLE attachment (ino bigint CONSTRAINT attachment_is_a_file REFERENCES difs.inode);
INSERT INTO attachment SELECT ino FROM difs_stat('/names/again');
\set VERBOSITY terse
SELECT difs_delete('/names/again');
SELECT difs_delete('/names', recursive => true);
SELECT difs_put('/names/other', '');
SELECT difs_rename('/names/other', '/names/again');
\set VERBOSITY default
SELECT difs_put('/names/again', '');
SELECT difs_rename('/names/again', '/names/kept');
SELECT name, version FROM difs_list('/names');
DROP TABLE attachment;

-- other volumes
SELECT difs_volume_create(name => 'names') > 0 AS made;
SELECT difs_put('names:/f', '');
SELECT (difs_stat('names:/f')).volume;
SELECT difs_exists('/f');
SELECT difs_rename('/names/kept', 'names:/kept');
SET difs.volume = 'names';
SELECT name FROM difs_list('/');
SELECT difs_delete('/f');
RESET difs.volume;

-- names are bytes: two ways to write one letter differ
SELECT difs_put(E'/names/\xC3\xA4', ''), difs_put(E'/names/a\xCC\x88', '');
SELECT encode(convert_to(name, getdatabaseencoding()), 'hex') FROM difs_list('/names') WHERE name IN (E'\xC3\xA4', E'a\xCC\x88');

-- a tree 200 levels deep
SELECT difs_mkdir('/names' || repeat('/deep', 200), parents => true) > 0 AS made;
SELECT count(*), max(length(name)) FROM difs_list('/names/deep', recursive => true);

-- more directories in one transaction than the lock table has room for
SELECT count(difs_mkdir('/names/many/' || i % 100 || '/' || i, parents => true)) FROM generate_series(1, 10000) AS i;
BEGIN;
SELECT difs_delete('/names/many', recursive => true);
SELECT count(*) BETWEEN 1 AND 1024 AS bounded FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

-- nothing can be written where nothing can be written
BEGIN READ ONLY;
SELECT difs_mkdir('/names/read_only');
ROLLBACK;
BEGIN READ ONLY;
SELECT difs_exists('/names'), (difs_stat('/names')).kind;
ROLLBACK;

SELECT difs_delete('/names', recursive => true);
SELECT difs_exists('/names');
