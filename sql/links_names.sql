-- hard links, symbolic links, numbers of inodes and paths from them

SELECT difs_mkdir('/links/a/b', parents => true) > 0 AS made;
SELECT difs_put('/links/f', 'one'), difs_put('/links/f', 'two');

--
-- hard links
--

CREATE TEMP TABLE f AS SELECT ino, ctime FROM difs_stat('/links/f');
SELECT difs_link('/links/f', '/links/a/g');
SELECT difs_link('/links/a/g', '/links/a/b/h');
SELECT name, stat.ino = f.ino AS same, nlink, size, version, stat.ctime > f.ctime AS ctime
FROM unnest(ARRAY['f', 'a/g', 'a/b/h']) AS name, difs_stat('/links/' || name) AS stat, f;
SELECT difs_path(ino) AS path, array(SELECT difs_paths(ino)) AS paths FROM f;

-- one content, one history
SELECT difs_put('/links/a/b/h', 'three');
SELECT convert_from(difs_get('/links/f'), 'UTF8') AS f, convert_from(difs_get('/links/a/g', version => 1), 'UTF8') AS first;
SELECT version FROM difs_versions('/links/a/g');

-- one name less keeps the rest; the last name takes the file along
SELECT difs_delete('/links/f');
SELECT nlink, size, version FROM difs_stat('/links/a/b/h');
SELECT count(*) FROM difs.doomed, f WHERE doomed.ino = f.ino;
SELECT difs_rename('/links/a/g', '/links/f');
SELECT array(SELECT difs_paths(ino)) AS paths FROM f;

-- rename onto a name of the same file does nothing, as POSIX says
SELECT difs_rename('/links/f', '/links/a/b/h');
SELECT name, ino = (SELECT ino FROM f) AS same FROM difs_list('/links', recursive => true, kind => 'file');

-- a name that is replaced is one name less
SELECT difs_put('/links/other', 'other');
SELECT difs_rename('/links/other', '/links/f');
SELECT nlink, convert_from(difs_get('/links/a/b/h'), 'UTF8') FROM difs_stat('/links/a/b/h');
SELECT convert_from(difs_get('/links/f'), 'UTF8'), (difs_stat('/links/f')).nlink;

-- several names go with the tree that has them
SELECT difs_link('/links/a/b/h', '/links/a/h2'), difs_link('/links/a/b/h', '/links/a/b/h3');
SELECT bytes, files, directories, symlinks FROM difs_du('/links/a');
SELECT difs_link('/links/a/h2', '/links/kept');
SELECT difs_delete('/links/a', recursive => true);
SELECT nlink, convert_from(difs_get('/links/kept'), 'UTF8') FROM difs_stat('/links/kept');
SELECT difs_delete('/links/kept');
SELECT count(*) FROM difs.doomed, f WHERE doomed.ino = f.ino;
SELECT count(*) FROM difs.inode, f WHERE inode.ino = f.ino;

-- a rollback takes a name back
BEGIN;
SELECT difs_link('/links/f', '/links/g');
SELECT nlink FROM difs_stat('/links/f');
SAVEPOINT s;
SELECT difs_delete('/links/f'), nlink FROM difs_stat('/links/g');
SELECT nlink FROM difs_stat('/links/g');
ROLLBACK TO s;
SELECT nlink FROM difs_stat('/links/g');
ROLLBACK;
SELECT name FROM difs_list('/links');
SELECT nlink FROM difs_stat('/links/f');

-- link of what the transaction has just made, and removal of all names in it
BEGIN;
SELECT difs_put('/links/new', 'new'), difs_link('/links/new', '/links/new2'), difs_delete('/links/new'), convert_from(difs_get('/links/new2'), 'UTF8');
SELECT difs_delete('/links/new2');
COMMIT;

-- what cannot be linked
SELECT difs_mkdir('/links/d') > 0 AS made;
SELECT difs_volume_create(name => 'links') > 0 AS made;
SELECT difs_link('/links/d', '/links/d2');
SELECT difs_link('/', '/links/d2');
SELECT difs_link('/links/missing', '/links/x');
SELECT difs_link('/links/f', '/links/missing/x');
SELECT difs_link('/links/f', '/links/d');
SELECT difs_link('/links/f', '/links/f');
SELECT difs_link('/links/f', '/links/x/');
SELECT difs_link('/links/f', '/');
SELECT difs_link('/links/f', 'links:/f');
SELECT difs_link('/links/f', '/links/..');
SELECT difs_link(NULL, '/links/x');
SELECT difs_link('/links/f', NULL);

--
-- symbolic links
--

SELECT difs_mkdir('/links/dir/sub', parents => true) > 0 AS made;
SELECT difs_put('/links/dir/sub/f', 'through');
SELECT count(difs_symlink(target, '/links/' || name)) FROM (VALUES
    ('relative', 'dir/sub'), ('absolute', '/links/dir/sub'), ('volume', 'main:/links/dir'), ('file', 'dir/sub/f'), ('chain', 'relative'),
    ('up', 'dir/sub/../../dir/./sub'), ('through', 'chain/..'), ('above', '../../../links'), ('dangling', 'nowhere/f'), ('new', 'dir/new'),
    ('self', 'self'), ('ping', 'pong'), ('pong', './ping'), ('slash', 'dir/sub/f/'), ('fileup', 'dir/sub/f/..'), ('root', '/')) AS link (name, target);
SELECT name, size, version, mode FROM difs_list('/links', kind => 'symlink');
SELECT difs_readlink('/links/up'), difs_readlink('/links/volume'), difs_readlink('/links/self');

-- who reads or writes follows
SELECT name, convert_from(difs_get('/links/' || name), 'UTF8')
FROM unnest(ARRAY['relative/f', 'absolute/f', 'volume/sub/f', 'file', 'chain/f', 'up/f', 'through/sub/f', 'above/dir/sub/f', 'root/links/file']) AS name;
SELECT difs_put('/links/file', 'written through'), convert_from(difs_get('/links/dir/sub/f'), 'UTF8');
SELECT name FROM difs_list('/links/through');
SELECT (difs_stat('/links/file')).kind, (difs_stat('/links/file', follow => false)).kind AS itself, (difs_stat('/links/file', follow => false)).size AS target_bytes;
SELECT (difs_stat('/links/relative/')).kind, (difs_stat('/links/file', version => 1)).size;
SELECT difs_exists('/links/file'), difs_exists('/links/relative/f'), difs_exists('/links/dangling'), difs_exists('/links/dangling/x'),
       difs_exists('/links/self'), difs_exists('/links/self/x'), difs_exists('/links/slash');
SELECT difs_put('/links/new', 'made'), convert_from(difs_get('/links/dir/new'), 'UTF8');
SELECT difs_put('/links/chain/made/below/f', 'made', parents => true), convert_from(difs_get('/links/dir/sub/made/below/f'), 'UTF8');
SELECT difs_mkdir('/links/through/x/y', parents => true) = difs_ino('/links/dir/x/y') AS same;
SELECT difs_mkdir('/links/relative', parents => true) = difs_ino('/links/dir/sub') AS same;
SELECT difs_copy('/links/file', '/links/chain/copy');
SELECT difs_manifest('/links/file') #>> '{info,name}' AS name;
-- a hard link of what a symbolic link leads to
SELECT difs_link('/links/file', '/links/hard'), difs_ino('/links/hard') = difs_ino('/links/dir/sub/f') AS same;

-- who acts on names acts on the link
SELECT difs_rename('/links/file', '/links/moved');
SELECT difs_readlink('/links/moved'), (difs_stat('/links/dir/sub/f')).nlink;
SELECT difs_delete('/links/moved'), difs_exists('/links/dir/sub/f');
SELECT difs_delete('/links/chain', recursive => true), difs_exists('/links/dir/sub/f');
SELECT difs_rename('/links/dangling', '/links/absolute');
SELECT difs_readlink('/links/absolute');
SELECT difs_rename('/links/hard', '/links/absolute'), (difs_stat('/links/absolute', follow => false)).kind;
SELECT difs_mkdir('/links/relative');
SELECT difs_symlink('x', '/links/relative');
SELECT difs_link('/links/f', '/links/relative');
SELECT difs_rmdir('/links/relative');
SELECT difs_delete('/links/relative/');
SELECT difs_rename('/links/relative/', '/links/elsewhere');
SELECT difs_rename('/links/f', '/links/relative/g'), difs_rename('/links/dir/sub/g', '/links/f');
SELECT difs_rename('/links/dir', '/links/relative/into');
SELECT difs_rename('/links/dir', '/links/relative');

-- circles, and ways that end
SELECT difs_get('/links/self');
SELECT difs_put('/links/ping', '');
SELECT difs_put('/links/ping/x', '', parents => true);
SELECT difs_get('/links/dangling');
SELECT difs_get('/links/slash');
SELECT difs_stat('/links/fileup');
SELECT difs_get('/links/relative');
SELECT difs_readlink('/links/f');
SELECT difs_readlink('/links');
SELECT difs_readlink('/links/missing');

-- 40 links may be followed, not 41
SELECT difs_mkdir('/links/n') > 0 AS made;
SELECT difs_put('/links/n/0', 'end');
SELECT count(difs_symlink((i - 1)::text, '/links/n/' || i)) FROM generate_series(1, 41) AS i;
SELECT convert_from(difs_get('/links/n/40'), 'UTF8');
SELECT difs_get('/links/n/41');
SELECT difs_exists('/links/n/40'), difs_exists('/links/n/41');

-- other volumes; "/" in a target is the root of the link's own
SELECT difs_put('links:/f', 'elsewhere');
SELECT count(difs_symlink(target, path)) FROM (VALUES ('links:/f', '/links/across'), ('/f', 'links:/own'), ('missing:/f', '/links/lost'),
    ('main:/links', 'links:/back'), ('a:b', '/links/colon')) AS link (target, path);
SELECT convert_from(difs_get('/links/across'), 'UTF8'), convert_from(difs_get('links:/own'), 'UTF8'),
       convert_from(difs_get('links:/back/across'), 'UTF8'), (difs_stat('/links/across')).volume;
SELECT difs_get('/links/lost');
SELECT difs_get('/links/colon');
SELECT difs_link('/links/across', '/links/x');
SELECT sum(difs_delete('links:/' || name)) FROM difs_list('links:/');

-- a path that is too long once its links are resolved
SELECT difs_mkdir('/links/n' || repeat('/' || repeat('x', 250), 10), parents => true) > 0 AS made;
SELECT difs_symlink(substr(repeat('/' || repeat('x', 250), 10), 2), '/links/n/long') > 0 AS made;
SELECT difs_symlink('../long', '/links/n/long/back') > 0 AS made;
SELECT difs_exists('/links/n/long/');
\set VERBOSITY sqlstate
SELECT difs_put('/links/n/long' || repeat('/' || repeat('y', 250), 10), '');
SELECT difs_symlink(repeat('x', 256), '/links/n/name') > 0 AS made;
SELECT difs_get('/links/n/name');
SELECT difs_symlink(repeat('x/', 2049), '/links/n/x');
\set VERBOSITY default
SELECT difs_symlink('', '/links/n/x');
SELECT difs_symlink('x', '/links/n/x/');
SELECT difs_symlink('x', '/');
SELECT difs_symlink(NULL, '/links/n/x');
SELECT difs_symlink('x', NULL);

-- names that differ only in normalisation differ in targets, too; so do names that look reserved
SELECT difs_put(E'/links/n/\xC3\xA4', 'one'), difs_put(E'/links/n/a\xCC\x88', 'two'), difs_put('/links/n/...', 'three'), difs_put('/links/n/..a', 'four');
SELECT count(difs_symlink(target, '/links/n/to_' || i)) FROM unnest(ARRAY[E'\xC3\xA4', E'a\xCC\x88', '...', '..a']) WITH ORDINALITY AS link (target, i);
SELECT i, convert_from(difs_get('/links/n/to_' || i), 'UTF8') FROM generate_series(1, 4) AS i;

-- a tree 200 levels deep, and a path of 4,096 bytes
SELECT difs_put('/' || repeat('123456789012345678x/', 200) || repeat('y', 95), 'deep', parents => true);
SELECT length(difs_path(difs_ino('/' || repeat('123456789012345678x/', 200) || repeat('y', 95)))) AS with_volume,
       difs_exists(difs_path(difs_ino('/' || repeat('123456789012345678x/', 200) || repeat('y', 95))));
SELECT difs_link('/' || repeat('123456789012345678x/', 200) || repeat('y', 95), '/links/deep');
SELECT bytes, files, directories FROM difs_du('/123456789012345678x');
SELECT difs_delete('/123456789012345678x', recursive => true), convert_from(difs_get('/links/deep'), 'UTF8');

--
-- numbers
--

SELECT difs_ino('/links/missing');
SELECT difs_ino('/') = (SELECT root FROM difs.volume WHERE name = 'main') AS root, difs_path(difs_ino('/')), difs_path(difs_ino('links:/'));
SELECT difs_path(0), difs_path(-1), difs_path(9223372036854775807), difs_path(NULL), array(SELECT difs_paths(0));
SELECT difs_path(difs_ino('/links/n/to_1')) = E'main:/links/n/\xC3\xA4' AS leads;

SELECT difs_delete('/links', recursive => true) > 0 AS removed;
SELECT * FROM difs_fsck();
