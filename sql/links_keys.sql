-- foreign keys from users' tables to files, and files that go with their rows
\set VERBOSITY terse

SELECT count(difs_put('/keys/' || i, 'content', parents => true)) FROM generate_series(1, 9) AS i;

-- what a foreign key needs
CREATE ROLE keys_user;
GRANT REFERENCES ON difs.inode TO keys_user;
GRANT ALL ON SCHEMA public TO keys_user;
SET ROLE keys_user;
CREATE TABLE keys_owned (file bigint REFERENCES difs.inode);
RESET ROLE;
DROP TABLE keys_owned;

-- NO ACTION and RESTRICT: the file stays, and the error names the constraint
CREATE TABLE no_action (file bigint CONSTRAINT report_needs_its_file REFERENCES difs.inode);
CREATE TABLE restricted (file bigint CONSTRAINT invoice_needs_its_file REFERENCES difs.inode ON DELETE RESTRICT);
CREATE TABLE deferred (file bigint CONSTRAINT contract_needs_its_file REFERENCES difs.inode DEFERRABLE INITIALLY DEFERRED);
INSERT INTO no_action VALUES (difs_ino('/keys/1'));
INSERT INTO restricted VALUES (difs_ino('/keys/2'));
INSERT INTO deferred VALUES (difs_ino('/keys/3'));
INSERT INTO no_action VALUES (0);
SELECT difs_delete('/keys/1');
SELECT difs_delete('/keys/2');
SELECT difs_delete('/keys', recursive => true);
SELECT difs_rename('/keys/9', '/keys/2');
DO $$
DECLARE violated text;
BEGIN
    PERFORM difs_delete('/keys/1');
EXCEPTION WHEN foreign_key_violation THEN
    GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
    RAISE NOTICE '% %', SQLSTATE, violated;
END $$;
-- deferred: at the commit, unless the row is gone by then
BEGIN;
SELECT difs_delete('/keys/3');
COMMIT;
SELECT difs_exists('/keys/3');
BEGIN;
SELECT difs_delete('/keys/3');
DELETE FROM deferred;
COMMIT;
SELECT difs_exists('/keys/3');
-- another name may go, the last may not; a new version and a rename are no matter
SELECT difs_link('/keys/1', '/keys/one'), difs_delete('/keys/1');
SELECT difs_put('/keys/one', 'new'), difs_rename('/keys/one', '/keys/1');
SELECT difs_path(file) FROM no_action;
SELECT difs_delete('/keys/1');
DELETE FROM no_action;
SELECT difs_delete('/keys/1');

-- CASCADE and SET NULL: the row follows the file
CREATE TABLE cascading (id integer, file bigint REFERENCES difs.inode ON DELETE CASCADE);
CREATE TABLE nulling (id integer, file bigint REFERENCES difs.inode ON DELETE SET NULL);
INSERT INTO cascading VALUES (1, difs_ino('/keys/4')), (2, difs_ino('/keys/5'));
INSERT INTO nulling VALUES (1, difs_ino('/keys/4')), (2, difs_ino('/keys/5'));
SELECT difs_delete('/keys/4');
SELECT id, difs_path(file) FROM cascading;
SELECT id, difs_path(file) FROM nulling ORDER BY id;
SELECT difs_rename('/keys/6', '/keys/5');
SELECT * FROM cascading;
SELECT * FROM nulling ORDER BY id;
DROP TABLE no_action, restricted, deferred, cascading, nulling;

--
-- difs_unlink_on_delete: the file follows the row
--

SELECT count(difs_put('/keys/' || name, convert_to(name, 'UTF8'))) FROM unnest(ARRAY['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) AS name;
CREATE TABLE picture (id text PRIMARY KEY, "the file" bigint UNIQUE CONSTRAINT "any name" REFERENCES difs.inode);
CREATE TRIGGER any_name AFTER DELETE OR UPDATE ON picture FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('the file');
INSERT INTO picture SELECT name, ino FROM difs_list('/keys', pattern => '[a-h]');
SELECT difs_delete('/keys/a');
DELETE FROM picture WHERE id = 'a';
SELECT difs_exists('/keys/a');
-- wherever it has been moved, and under all its names
SELECT difs_rename('/keys/b', '/keys/moved'), difs_link('/keys/moved', '/keys/another');
DELETE FROM picture WHERE id = 'b';
SELECT difs_exists('/keys/moved'), difs_exists('/keys/another');
-- a rollback brings back both
BEGIN;
DELETE FROM picture;
SELECT count(*) FROM difs_list('/keys', pattern => '[a-h]');
ROLLBACK;
SELECT count(*) AS files, (SELECT count(*) FROM picture) AS rows FROM difs_list('/keys', pattern => '[a-h]');
-- another file in its place: the old one goes; other columns, and the same file again, are no matter
UPDATE picture SET id = 'see', "the file" = "the file" WHERE id = 'c';
SELECT difs_exists('/keys/c');
SELECT difs_put('/keys/new', 'new');
UPDATE picture SET "the file" = difs_ino('/keys/new') WHERE id = 'see';
SELECT difs_exists('/keys/c'), difs_exists('/keys/new');
UPDATE picture SET "the file" = NULL WHERE id = 'see';
SELECT difs_exists('/keys/new');
DELETE FROM picture WHERE id = 'see';
-- somebody else still needs the file: neither goes
CREATE TABLE frame (file bigint CONSTRAINT frame_needs_its_picture REFERENCES difs.inode);
INSERT INTO frame SELECT "the file" FROM picture WHERE id = 'd';
DELETE FROM picture WHERE id = 'd';
SELECT difs_exists('/keys/d'), count(*) FROM picture WHERE id = 'd';
DROP TABLE frame;
-- many at once
DELETE FROM picture WHERE id IN ('d', 'e');
SELECT name FROM difs_list('/keys', pattern => '[a-h]');
DROP TABLE picture;

-- both directions
CREATE TABLE pair (file bigint REFERENCES difs.inode ON DELETE CASCADE);
CREATE TRIGGER unlink AFTER DELETE OR UPDATE ON pair FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('file');
INSERT INTO pair SELECT ino FROM difs_list('/keys', pattern => '[fgh]');
SELECT difs_delete('/keys/f');
SELECT difs_rename('/keys/h', '/keys/g');
SELECT convert_from(difs_get('/keys/g'), 'UTF8'), (SELECT count(*) FROM pair);
DELETE FROM pair;
SELECT difs_exists('/keys/g');
DROP TABLE pair;

-- without a foreign key, numbers may lead to nothing
CREATE TABLE loose (file bigint, small integer);
CREATE TRIGGER unlink AFTER DELETE ON loose FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('file');
INSERT INTO loose VALUES (0), (NULL), (-1), (difs_ino('/keys/7'));
DELETE FROM loose;
SELECT difs_exists('/keys/7');
INSERT INTO loose VALUES (difs_ino('/keys'));
\set VERBOSITY sqlstate
DELETE FROM loose;
\set VERBOSITY terse
TRUNCATE loose;
-- triggers that are no use
SELECT difs_unlink_on_delete();
CREATE TRIGGER wrong AFTER INSERT ON loose FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('file');
INSERT INTO loose VALUES (1);
DROP TRIGGER wrong ON loose;
DROP TRIGGER unlink ON loose;
INSERT INTO loose VALUES (1);
CREATE TRIGGER wrong BEFORE DELETE ON loose FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('file');
DELETE FROM loose;
DROP TRIGGER wrong ON loose;
CREATE TRIGGER wrong AFTER DELETE ON loose FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete();
DELETE FROM loose;
DROP TRIGGER wrong ON loose;
CREATE TRIGGER wrong AFTER DELETE ON loose FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('missing');
DELETE FROM loose;
DROP TRIGGER wrong ON loose;
CREATE TRIGGER wrong AFTER DELETE ON loose FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('small');
DELETE FROM loose;
DROP TABLE loose;

REVOKE ALL ON SCHEMA public FROM keys_user;
REVOKE ALL ON difs.inode FROM keys_user;
DROP ROLE keys_user;
SELECT difs_delete('/keys', recursive => true) > 0 AS removed;
SELECT * FROM difs_fsck();
