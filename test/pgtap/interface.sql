-- what the extension offers: every object is documented, what is open to PUBLIC runs as its caller, nothing leaks (sql/perm_catalog.sql has the lists)
BEGIN;
SELECT plan(9);

CREATE TEMP VIEW own AS
SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname = 'difs' AND d.deptype = 'e';

SELECT is_empty($$SELECT p.oid::regprocedure FROM own JOIN pg_proc p ON own.classid = 'pg_proc'::regclass AND p.oid = own.objid
                  WHERE obj_description(p.oid, 'pg_proc') IS NULL$$, 'every function has a comment');
SELECT is_empty($$SELECT c.oid::regclass FROM own JOIN pg_class c ON own.classid = 'pg_class'::regclass AND c.oid = own.objid
                  WHERE c.relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL$$, 'every table and view has a comment');
SELECT is_empty($$SELECT p.oid::regprocedure FROM own JOIN pg_proc p ON own.classid = 'pg_proc'::regclass AND p.oid = own.objid
                  WHERE has_function_privilege('public', p.oid, 'EXECUTE') AND (p.prosecdef OR p.prorettype = 'trigger'::regtype)$$,
                'PUBLIC executes nothing that runs with rights of others');
SELECT is_empty($$SELECT c.oid::regclass FROM own JOIN pg_class c ON own.classid = 'pg_class'::regclass AND c.oid = own.objid
                  WHERE c.relkind IN ('r', 'v') AND c.oid <> ALL ('{difs.volumes, difs.trash, difs.uploads, difs.inserts}'::regclass[])
                  AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')$$,
                'PUBLIC reads and writes no table');
SELECT is_empty($$SELECT c.oid::regclass FROM own JOIN pg_class c ON own.classid = 'pg_class'::regclass AND c.oid = own.objid
                  WHERE CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('public', c.oid, 'USAGE, SELECT, UPDATE') END$$, 'nor any sequence');
SELECT is_empty($$SELECT p.oid::regprocedure FROM own JOIN pg_proc p ON own.classid = 'pg_proc'::regclass AND p.oid = own.objid
                  JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname <> 'c' AND NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']$$,
                'every function that is not C has a safe search_path');
SELECT is_empty($$SELECT p.oid::regprocedure FROM own JOIN pg_proc p ON own.classid = 'pg_proc'::regclass AND p.oid = own.objid
                  WHERE p.proparallel = 's' AND p.provolatile = 'v'$$, 'no volatile function claims to be parallel safe');
SELECT results_eq($$SELECT count(*) FROM own JOIN pg_class c ON own.classid = 'pg_class'::regclass AND c.oid = own.objid
                    WHERE c.relkind = 'r' AND c.oid <> ALL ('{difs.missing, difs.inventory, difs.sample, difs.server_sample}'::regclass[]) AND c.oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'difs')$$,
                  ARRAY[0::bigint], 'every table is dumped, but for those that the keeper fills');
SELECT results_eq($$SELECT name::text COLLATE "default" FROM difs.volumes$$, ARRAY['main'], 'the default volume exists from the start');

SELECT finish();
ROLLBACK;
