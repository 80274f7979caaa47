-- who may call and read what: all functions, tables, views and sequences of the extension
CREATE VIEW perm_own AS
SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'difs');

-- everybody may call these, which look at the rights on each file, and run as their caller
SELECT oid::regprocedure FROM pg_proc JOIN perm_own ON classid = 'pg_proc'::regclass AND objid = oid
WHERE has_function_privilege('public', oid, 'EXECUTE') ORDER BY oid::regprocedure::text COLLATE "C";
SELECT oid::regprocedure AS runs_with_rights_of_its_owner FROM pg_proc JOIN perm_own ON classid = 'pg_proc'::regclass AND objid = oid
WHERE has_function_privilege('public', oid, 'EXECUTE') AND prosecdef;
-- members of pg_monitor these as well
SELECT oid::regprocedure, prosecdef FROM pg_proc JOIN perm_own ON classid = 'pg_proc'::regclass AND objid = oid
WHERE has_function_privilege('pg_monitor', oid, 'EXECUTE') AND NOT has_function_privilege('public', oid, 'EXECUTE')
ORDER BY oid::regprocedure::text COLLATE "C";
-- and nobody but superusers the others
SELECT oid::regprocedure, prosecdef FROM pg_proc JOIN perm_own ON classid = 'pg_proc'::regclass AND objid = oid
WHERE NOT has_function_privilege('pg_monitor', oid, 'EXECUTE') ORDER BY oid::regprocedure::text COLLATE "C";
-- names are looked up where they should be
SELECT oid::regprocedure, proconfig FROM pg_proc JOIN perm_own ON classid = 'pg_proc'::regclass AND objid = oid
WHERE (prosecdef OR prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c'))
AND NOT coalesce(proconfig @> '{"search_path=pg_catalog, pg_temp"}', false);

-- nothing can be written, and only views can be read
SELECT oid::regclass, relkind, role FROM pg_class JOIN perm_own ON classid = 'pg_class'::regclass AND objid = oid,
    (VALUES ('public'), ('pg_monitor')) AS roles (role)
WHERE relkind <> 'S' AND has_table_privilege(role, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SELECT oid::regclass, relkind, role FROM pg_class JOIN perm_own ON classid = 'pg_class'::regclass AND objid = oid,
    (VALUES ('public'), ('pg_monitor')) AS roles (role)
WHERE relkind = 'S' AND has_sequence_privilege(role, oid, 'USAGE, SELECT, UPDATE');
SELECT oid::regclass, relkind FROM pg_class JOIN perm_own ON classid = 'pg_class'::regclass AND objid = oid
WHERE relkind <> 'S' AND has_any_column_privilege('public', oid, 'SELECT, INSERT, UPDATE, REFERENCES') ORDER BY oid::regclass::text COLLATE "C";
SELECT oid::regclass, relkind FROM pg_class JOIN perm_own ON classid = 'pg_class'::regclass AND objid = oid
WHERE relkind <> 'S' AND has_any_column_privilege('pg_monitor', oid, 'SELECT, INSERT, UPDATE, REFERENCES')
AND NOT has_any_column_privilege('public', oid, 'SELECT') ORDER BY oid::regclass::text COLLATE "C";
SELECT count(*) > 10 AS some FROM pg_class JOIN perm_own ON classid = 'pg_class'::regclass AND objid = oid WHERE relkind = 'r';
SELECT has_schema_privilege('public', 'difs', 'USAGE') AS usage, has_schema_privilege('public', 'difs', 'CREATE') AS creation;
DROP VIEW perm_own;

-- Triggers of those who refer to files never run with the rights of the extension.
CREATE ROLE perm_refers;
CREATE ROLE perm_deletes;
GRANT REFERENCES ON difs.inode TO perm_refers;
CREATE SCHEMA perm_refers AUTHORIZATION perm_refers;
GRANT USAGE ON SCHEMA perm_refers TO perm_deletes;
SELECT difs_mkdir('/perm_catalog') > 0 AS made;
SELECT difs_chown('/perm_catalog', 'perm_deletes');
SET ROLE perm_deletes;
SELECT difs_put('/perm_catalog/f', ''), difs_put('/perm_catalog/g', '');
SET ROLE perm_refers;
CREATE TABLE perm_refers.document (ino bigint REFERENCES difs.inode ON DELETE CASCADE);
CREATE TABLE perm_refers.kept (ino bigint REFERENCES difs.inode);
CREATE FUNCTION perm_refers.trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- 15 to 17: those after the deletion as perm_deletes; from 18 on as perm_refers
    RAISE NOTICE 'trigger % % runs as superuser: %', TG_WHEN, TG_LEVEL, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    RETURN OLD;
END
$$;
CREATE TRIGGER a BEFORE DELETE ON perm_refers.document FOR EACH ROW EXECUTE FUNCTION perm_refers.trap();
CREATE TRIGGER b AFTER DELETE ON perm_refers.document FOR EACH ROW EXECUTE FUNCTION perm_refers.trap();
CREATE TRIGGER c AFTER DELETE ON perm_refers.document FOR EACH STATEMENT EXECUTE FUNCTION perm_refers.trap();
CREATE CONSTRAINT TRIGGER d AFTER DELETE ON perm_refers.document DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION perm_refers.trap();
INSERT INTO perm_refers.document SELECT (difs_stat('/perm_catalog/f')).ino;
INSERT INTO perm_refers.kept SELECT (difs_stat('/perm_catalog/g')).ino;
SET ROLE perm_deletes;
SELECT difs_delete('/perm_catalog/f');
-- 18 names the key, which has another number each time
\set VERBOSITY terse
SELECT difs_delete('/perm_catalog/g');
\set VERBOSITY default
SELECT current_user;
SET ROLE perm_refers;
SELECT count(*) FROM perm_refers.document;
RESET ROLE;
DROP SCHEMA perm_refers CASCADE;
SELECT difs_delete('/perm_catalog', recursive => true);
SELECT * FROM difs_fsck();
