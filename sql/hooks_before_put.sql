-- before_put: a function of the volume's owner is asked about each new version
\set VERBOSITY terse
CREATE ROLE hook_owner;
CREATE ROLE hook_user;
CREATE SCHEMA hooks;
GRANT USAGE ON SCHEMA hooks TO PUBLIC;
GRANT EXECUTE ON FUNCTION difs_volume_create TO hook_owner;
CREATE TABLE hooks.seen (nr serial, who text, path text, version int, size bigint, media_type text, owner regrole, setting text);
GRANT INSERT ON hooks.seen TO PUBLIC;
GRANT USAGE ON SEQUENCE hooks.seen_nr_seq TO PUBLIC;
CREATE FUNCTION hooks.note(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF size > 100 THEN
        RAISE EXCEPTION '% is too long', path USING ERRCODE = 'check_violation';
    END IF;
    IF ino <> public.difs_ino(path) THEN
        RAISE EXCEPTION 'ino and path differ';
    END IF;
    INSERT INTO hooks.seen (who, path, version, size, media_type, owner, setting)
    VALUES (current_user, path, version, size, media_type, owner, current_setting('search_path'));
END $$;
CREATE FUNCTION hooks.seen() RETURNS SETOF text LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM hooks.seen RETURNING *)
    SELECT concat_ws(' ', path, version, size, media_type, owner, CASE WHEN who <> 'hook_user' THEN 'by somebody else' END) FROM gone ORDER BY nr $$;

-- what cannot be asked
CREATE FUNCTION hooks.wrong(path text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION hooks.wrong(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION hooks.strict(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void STRICT LANGUAGE sql AS '';
CREATE FUNCTION hooks.set_of(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS SETOF void LANGUAGE sql AS '';
CREATE PROCEDURE hooks.procedure(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) LANGUAGE sql AS '';
CREATE FUNCTION pg_temp.temporary(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE sql AS '';
SELECT difs_volume_create('hk_bad', before_put => 'hooks.wrong(text)');
SELECT difs_volume_create('hk_bad', before_put => 'hooks.wrong(text,bigint,integer,bigint,text,regrole)');
SELECT difs_volume_create('hk_bad', before_put => 'hooks.strict'::regproc);
SELECT difs_volume_create('hk_bad', before_put => 'hooks.set_of'::regproc);
SELECT difs_volume_create('hk_bad', before_put => 'hooks.procedure'::regproc);
SELECT difs_volume_create('hk_bad', before_put => 'hooks.none'::regproc);
SELECT difs_volume_create('hk_bad', before_put => 4000000000);
DO $$ BEGIN PERFORM difs_volume_create('hk_bad', before_put => (SELECT oid::regprocedure FROM pg_proc WHERE proname = 'temporary'));
EXCEPTION WHEN invalid_function_definition THEN RAISE NOTICE 'refused'; END $$;
SELECT count(*) FROM difs.volumes WHERE name = 'hk_bad';

-- only the volume's owner sets it, to a function that he may execute
SET ROLE hook_owner;
SELECT difs_volume_create('hk', segment_size => 4096, versioning => true, before_put => 'hooks.note'::regproc) > 0 AS made;
RESET ROLE;
SELECT before_put FROM difs.volumes WHERE name = 'hk';
SET ROLE hook_user;
SELECT difs_volume_alter('hk', unset => '{before_put}');
SELECT difs_volume_alter('hk', before_put => 'hooks.note'::regproc);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION hooks.strict FROM PUBLIC;
CREATE FUNCTION hooks.closed(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE sql AS '';
REVOKE EXECUTE ON FUNCTION hooks.closed FROM PUBLIC;
SET ROLE hook_owner;
SELECT difs_volume_alter('hk', before_put => 'hooks.closed'::regproc);
SELECT difs_chmod('hk:/', '0777');
RESET ROLE;

-- every way in which content comes, as who brings it
SET ROLE hook_user;
SELECT difs_put('hk:/a', 'one'), difs_put('hk:/d/b', 'two', parents => true);
SELECT difs_setattr('hk:/a', '{"media_type": "text/plain"}');
SELECT difs_append('hk:/a', ' more'), difs_append('hk:/new', ''), difs_write('hk:/a', 1, 'N'), difs_truncate('hk:/a', 2);
SELECT difs_copy('hk:/a', 'hk:/copy'), difs_copy('hk:/a', 'hk:/part', "offset" => 1), difs_concat('{hk:/a,hk:/d/b}', 'hk:/both');
SELECT difs_restore('hk:/a', 1), difs_put('hk:/a', 'again', version => 2);
SELECT difs_symlink('d', 'hk:/way') > 0 AS made, difs_put('hk:/way//c', 'x');
BEGIN;
SELECT upload FROM difs_upload_begin('hk:/uploaded', 0, 'text/html') \gset
SELECT difs_upload_commit(:upload);
COMMIT;
RESET ROLE;
SELECT hooks.seen();
-- imports, as who may
GRANT pg_read_server_files TO hook_user;
SELECT current_setting('data_directory') || '/difs_hooks_import' AS file \gset
COPY (SELECT 'imported') TO :'file';
SET ROLE hook_user;
SELECT difs_import('hk:/imported', :'file');
RESET ROLE;
COPY (SELECT 1) TO PROGRAM 'rm difs_hooks_import';
SELECT hooks.seen();
-- what is no new content
SET ROLE hook_user;
SELECT difs_rename('hk:/copy', 'hk:/copy2'), difs_delete('hk:/copy2'), difs_append('hk:/a', '');
SELECT difs_mkdir('hk:/dir') > 0 AS made, difs_link('hk:/a', 'hk:/a2'), difs_symlink('a', 'hk:/a3') > 0 AS made;
SELECT difs_undelete('hk:/copy2') IS NOT NULL AS back;
RESET ROLE;
SELECT hooks.seen();

-- a refusal undoes the version, in every way
SET ROLE hook_user;
SELECT difs_put('hk:/long', convert_to(repeat('x', 101), 'UTF8'));
SELECT difs_append('hk:/a', convert_to(repeat('x', 101), 'UTF8'));
SELECT difs_write('hk:/a', 100, 'xx');
SELECT difs_truncate('hk:/a', 101);
RESET ROLE;
SELECT difs_put('/hook_long', convert_to(repeat('x', 101), 'UTF8'));
SET ROLE hook_user;
SELECT difs_volume_alter('hk', unset => '{before_put}');
RESET ROLE;
SELECT difs_volume_alter('hk', unset => '{before_put}');
SELECT difs_put('hk:/was long', convert_to(repeat('x', 101), 'UTF8')), difs_append('hk:/was long', 'x');
SELECT difs_put('hk:/was long', '');
SELECT difs_volume_alter('hk', before_put => 'hooks.note'::regproc);
SELECT difs_copy('hk:/was long', 'hk:/long', version => 1);
SELECT difs_copy('hk:/was long', 'hk:/long', version => 2, "offset" => 0, length => 101);
SELECT difs_concat(array_fill('hk:/a'::text, '{40}'), 'hk:/long');
SELECT difs_restore('hk:/was long', 1);
SELECT difs_exists('hk:/long') AS long, (SELECT count(*) FROM difs_versions('hk:/was long')) AS versions, count(*) FROM hooks.seen;
BEGIN;
SELECT difs_put('hk:/kept', 'kept');
SAVEPOINT s;
SELECT difs_put('hk:/long', convert_to(repeat('x', 101), 'UTF8'));
ROLLBACK TO s;
SELECT difs_put('hk:/kept too', 'kept');
COMMIT;
SELECT path FROM hooks.seen;
DELETE FROM hooks.seen;
\set VERBOSITY default
SELECT difs_put('hk:/long', convert_to(repeat('x', 101), 'UTF8'));
\set VERBOSITY terse

-- it reads the content that is to be, as nobody else can yet
CREATE FUNCTION hooks.content(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF public.difs_get(path, version, length => 4) = '\x7f454c46' THEN
        RAISE EXCEPTION '% is an executable', path;
    END IF;
END $$;
SELECT difs_volume_alter('hk', before_put => 'hooks.content'::regproc);
SELECT difs_put('hk:/program', '\x7f454c46020101'), difs_exists('hk:/program');
SELECT difs_put('hk:/program', '\x7f454c'), difs_append('hk:/program', '\x46');
SELECT difs_put('hk:/program', '\x7f454c');
SELECT difs_append('hk:/program', '\x46');
SELECT difs_get('hk:/program');

-- the caller's settings, roles and temporary tables do not mislead it, and it does not change the caller's
CREATE FUNCTION hooks.settings(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % %', current_user = 'hook_user', current_setting('search_path'), upper('x');
    PERFORM set_config('search_path', 'nowhere', false), set_config('difs.volume', 'nowhere', false);
END $$;
CREATE FUNCTION hooks.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'fooled' $$;
SELECT difs_volume_alter('hk', before_put => 'hooks.settings'::regproc);
SET search_path = hooks, pg_catalog, public;
SELECT difs_put('hk:/settings', 'x'), current_setting('difs.volume');
SHOW search_path;
RESET search_path;
SET ROLE hook_user;
SELECT difs_put('hk:/settings2', 'x');
RESET ROLE;
-- one that is denied
REVOKE EXECUTE ON FUNCTION hooks.settings FROM PUBLIC;
SET ROLE hook_user;
SELECT difs_put('hk:/settings3', 'x');
RESET ROLE;
REVOKE USAGE ON SCHEMA hooks FROM PUBLIC;
SET ROLE hook_user;
SELECT difs_put('hk:/settings3', 'x');
RESET ROLE;

-- it may write to another volume, whose function is asked as well, but not to its own
SELECT difs_volume_create('hk_copy', before_put => 'hooks.note'::regproc) > 0 AS made;
CREATE FUNCTION hooks.mirror(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.difs_copy(path, 'hk_copy:/' || ino);
    IF path ~ 'twice' THEN
        PERFORM public.difs_put('hk:/other', '');
    END IF;
END $$;
SELECT difs_volume_alter('hk', before_put => 'hooks.mirror'::regproc);
SELECT difs_put('hk:/mirrored', 'bytes');
SELECT convert_from(difs_get('hk_copy:/' || difs_ino('hk:/mirrored')), 'UTF8');
SELECT difs_put('hk:/twice', 'bytes');
SELECT difs_put('hk:/mirrored', 'bytes again');
SELECT version, size FROM hooks.seen;

-- a function that is gone, or has become another one, refuses; made again it is asked again
DROP FUNCTION hooks.mirror;
SELECT difs_put('hk:/gone', '');
CREATE FUNCTION hooks.mirror(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT difs_put('hk:/gone', '');
DROP FUNCTION hooks.mirror;
CREATE FUNCTION hooks.mirror(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE sql AS '';
SELECT difs_put('hk:/gone', '');
ALTER FUNCTION hooks.mirror RENAME TO mirror2;
SELECT difs_put('hk:/gone', '');
UPDATE difs.volume SET before_put = 'hooks..' WHERE name = 'hk';
SELECT difs_put('hk:/gone', '');
SELECT difs_volume_alter('hk', unset => '{before_put}');
SELECT difs_put('hk:/gone', '');
-- names that need quoting
CREATE SCHEMA "Odd "" schema";
CREATE FUNCTION "Odd "" schema"."a.b(c)"(path text, ino bigint, version integer, size bigint, media_type text, owner regrole) RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'asked about %', path; END $$;
SELECT difs_volume_alter('hk', before_put => '"Odd "" schema"."a.b(c)"'::regproc);
SELECT difs_put('hk:/odd', '');
SELECT before_put FROM difs.volumes WHERE name = 'hk';

SELECT difs_volume_drop('hk', true), difs_volume_drop('hk_copy', true);
SELECT difs_delete('/hook_long');
SET client_min_messages = warning;
DROP SCHEMA "Odd "" schema" CASCADE;
DROP SCHEMA hooks CASCADE;
REVOKE EXECUTE ON FUNCTION difs_volume_create FROM hook_owner;
