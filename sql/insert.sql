-- difs_insert(): arguments, rights and errors. That content comes, and comes once, is for t/270_insert.pl.
\set VERBOSITY terse
SELECT difs_mkdir('/insert') > 0 AS made;

-- sources
SELECT difs_insert(NULL, 'http://localhost/');
SELECT difs_insert('/insert/f', NULL);
SELECT difs_insert('/insert/f', 'http://localhost/', parents => NULL);
SELECT difs_insert('/insert/f', '');
SELECT difs_insert('/insert/f', '/etc/passwd');
SELECT difs_insert('/insert/f', 'ftp://localhost/f');
SELECT difs_insert('/insert/f', 'gopher://localhost/f');
SELECT difs_insert('/insert/f', 'scp://localhost/f');
SELECT difs_insert('/insert/f', 'http://');
SELECT difs_insert('/insert/f', 'http://user@localhost/');
SELECT difs_insert('/insert/f', 'https://user:secret@localhost/');
SELECT difs_insert('/insert/f', E'http://localhost/\r\nHost: other');
SELECT difs_insert('/insert/f', 'http://localhost/' || repeat('x', 9000));
SELECT difs_insert('/insert/f', 'file:f');
SELECT difs_insert('/insert/f', 'file:///');

-- targets
SELECT difs_insert('insert/f', 'http://localhost/');
SELECT difs_insert('/insert', 'http://localhost/');
SELECT difs_insert('/insert/f/', 'http://localhost/');
SELECT difs_insert('/insert/none/f', 'http://localhost/');
SELECT difs_insert('none:/f', 'http://localhost/');
SELECT difs_insert('/insert/f', 'http://localhost/', if_version => 1);
SELECT difs_insert('/insert/f', 'http://localhost/', if_version => -1);
SELECT difs_put('/insert/there', 'x');
SELECT difs_insert('/insert/there', 'http://localhost/', if_version => 0);
SELECT difs_insert('/insert/there', 'http://localhost/', if_version => 2);
SELECT difs_insert('/insert/there/f', 'http://localhost/', parents => true);
SELECT difs_insert('/insert/a/b/', 'http://localhost/', parents => true);
BEGIN READ ONLY;
SELECT difs_insert('/insert/f', 'http://localhost/');
ROLLBACK;

-- what is asked for can be seen and cancelled at once, and a rollback takes it back
BEGIN;
SELECT difs_insert('//insert//new/f', 'http://localhost/f', parents => true) AS process \gset
SELECT path, source, role = current_user AS mine, state, segments, bytes, total_bytes, version, error, requested IS NOT NULL AS requested, started, ended
FROM difs_check(:process);
SELECT process = :process AS same FROM difs_check('main:/insert/new/f'::text);
SELECT difs_insert_cancel(:process), difs_insert_cancel(:process);
SELECT state, ended IS NOT NULL AS ended FROM difs.inserts WHERE process = :process;
ROLLBACK;
SELECT count(*) FROM difs_check(:process);
SELECT count(*) FROM difs_check('/insert/new/f'::text);
SELECT difs_insert_cancel(NULL);
SELECT difs_exists('/insert/new');

-- rights
CREATE ROLE insert_asks;
CREATE ROLE insert_other;
CREATE ROLE insert_team;
GRANT insert_team TO insert_other;
SET ROLE insert_asks;
SELECT difs_insert('/insert/f', 'http://localhost/');
RESET ROLE;
GRANT EXECUTE ON FUNCTION difs_insert TO insert_asks, insert_team;
SET ROLE insert_asks;
SELECT difs_insert('/insert/f', 'http://localhost/');
SELECT difs_insert('/insert/there', 'http://localhost/');
SELECT difs_insert('/insert/a/b', 'http://localhost/', parents => true);
RESET ROLE;
SELECT difs_chmod('/insert', '777');
BEGIN;
SET ROLE insert_team;
SELECT difs_insert('/insert/f', 'http://localhost/') AS process \gset
RESET ROLE;
SET ROLE insert_asks;
SELECT count(*) FROM difs_check(:process);
SELECT count(*) FROM difs.insert_process;
ROLLBACK;
BEGIN;
SET ROLE insert_team;
SELECT difs_insert('/insert/f', 'http://localhost/') AS process \gset
RESET ROLE;
SET ROLE insert_asks;
SAVEPOINT s;
SELECT difs_insert_cancel(1000000000);
ROLLBACK TO s;
RESET ROLE;
SET ROLE insert_other;
SELECT state FROM difs_check(:process);
SELECT difs_insert_cancel(:process);
RESET ROLE;
ROLLBACK;

SELECT difs_delete('/insert', recursive => true) > 0 AS gone;
REVOKE EXECUTE ON FUNCTION difs_insert FROM insert_asks, insert_team;
SELECT difs_reassign('insert_asks', current_user::regrole), difs_reassign('insert_team', current_user::regrole);
-- nothing has been asked for that counts
SELECT count(*) FROM difs.inserts;
DROP ROLE insert_asks, insert_other, insert_team;
SELECT * FROM difs_fsck();
