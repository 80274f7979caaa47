/* difs--1.0.sql: tables in schema difs, functions difs_* in the extension's schema */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION difs" to load this file. \quit

CREATE SCHEMA difs;
COMMENT ON SCHEMA difs IS 'tables and views of the difs extension';
REVOKE ALL ON SCHEMA difs FROM PUBLIC;
GRANT USAGE ON SCHEMA difs TO PUBLIC;

--
-- Tables.  C code reads and writes them directly (src/table.h), by column number: the order of columns here and the enums in
-- src/catalog.h are one thing.
--

-- Who this database is to chunk servers, and its right to write (the claim).
CREATE TABLE difs.cluster (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    uuid       uuid NOT NULL,
    epoch      bigint NOT NULL,
    created    timestamptz NOT NULL
);
COMMENT ON TABLE difs.cluster IS 'identity of this database towards chunk servers, and the epoch of its claim';

CREATE SEQUENCE difs.volume_id AS integer;
CREATE TABLE difs.volume (
    id                integer PRIMARY KEY,
    name              text COLLATE "C" NOT NULL UNIQUE,
    root              bigint NOT NULL,
    replicas          smallint NOT NULL CHECK (replicas BETWEEN 1 AND 8),
    segment_size      integer NOT NULL CHECK (segment_size BETWEEN 4096 AND 134217728),
    compression_level smallint NOT NULL CHECK (compression_level BETWEEN 0 AND 19),
    tier              text COLLATE "C" NOT NULL,
    digest            text COLLATE "C" NOT NULL CHECK (digest IN ('none', 'xxh128', 'sha256')),
    created           timestamptz NOT NULL,
    inline_limit      integer NOT NULL DEFAULT 0 CHECK (inline_limit BETWEEN 0 AND 8000),
    owner             regrole NOT NULL,
    accounting        smallint NOT NULL DEFAULT 0 CHECK (accounting BETWEEN 0 AND 2),
    journal           boolean NOT NULL DEFAULT false,
    journal_keep      bigint NOT NULL DEFAULT 604800 CHECK (journal_keep >= 0),
    notify            boolean NOT NULL DEFAULT false,
    versioning        boolean NOT NULL DEFAULT false,
    keep_versions     integer CHECK (keep_versions >= 1),
    keep_for          interval CHECK (keep_for >= '0'),
    trash_for         interval CHECK (trash_for >= '0'),
    before_put        text COLLATE "C",
    placement         text COLLATE "C",
    placement_changes integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN difs.volume.accounting IS 'quota roots: 0 none, 1 the volume''s root only, 2 directories below';
COMMENT ON COLUMN difs.volume.journal_keep IS 'seconds; 0 is for ever';
COMMENT ON COLUMN difs.volume.before_put IS 'qualified name of a function that is asked about each new version; by name, so that dumps and upgrades carry it';
COMMENT ON COLUMN difs.volume.placement IS 'qualified name of a function that chooses the servers of new block groups';
COMMENT ON COLUMN difs.volume.placement_changes IS 'how often that was set: block groups of one setting do not serve another';
COMMENT ON TABLE difs.volume IS 'file trees with their policy; compression_level 0 stores segments raw, 1 to 19 is zstd''s level';

CREATE SEQUENCE difs.ino AS bigint START WITH 16 CACHE 32;
CREATE TABLE difs.inode (
    ino      bigint PRIMARY KEY,
    volume   integer NOT NULL,
    kind     "char" NOT NULL CHECK (kind IN ('f', 'd', 'l')),
    mode     integer NOT NULL CHECK (mode BETWEEN 0 AND 4095),
    owner    regrole NOT NULL,
    nlink    integer NOT NULL,
    version  integer NOT NULL,
    size     bigint NOT NULL,
    atime    timestamptz NOT NULL,
    mtime    timestamptz NOT NULL,
    ctime    timestamptz NOT NULL,
    btime    timestamptz NOT NULL,
    target   text COLLATE "C",
    attrs    jsonb,
    grp      regrole,
    acl_role regrole[],
    acl_mode smallint[],
    extent   integer,
    last_version integer,
    let_go   integer,
    policy   boolean
);
COMMENT ON TABLE difs.inode IS 'files, directories and symbolic links; version is the current one of a file, 0 for other kinds';
COMMENT ON COLUMN difs.inode.acl_mode IS 'for each role of acl_role: 4 read, 2 write, 1 search, and eight times that for what is created below';
COMMENT ON COLUMN difs.inode.last_version IS 'highest number that a version has had, where that is not the current one';
COMMENT ON COLUMN difs.inode.let_go IS 'how many numbers below zero have been given out, to versions that were let go of and contents that replaced others';
COMMENT ON COLUMN difs.inode.policy IS 'has a row in difs.file_policy';
COMMENT ON COLUMN difs.inode.extent IS 'the current version was written in one piece, in segments of so many bytes: readers need not look at difs.version; else null';

CREATE TABLE difs.dentry (
    parent  bigint NOT NULL,
    name    text COLLATE "C" NOT NULL,
    ino     bigint NOT NULL,
    PRIMARY KEY (parent, name)
);
CREATE INDEX dentry_ino ON difs.dentry (ino);
COMMENT ON TABLE difs.dentry IS 'names: an entry in a directory leads to an inode; with minus a directory''s number as parent, "name/ino" is a deleted file with its history';

CREATE TABLE difs.version (
    ino           bigint NOT NULL,
    version       integer NOT NULL,
    size          bigint NOT NULL,
    segments      integer NOT NULL,
    base          integer NOT NULL,
    extent        integer NOT NULL,
    map_ino       bigint,
    map_version   integer,
    deleted       boolean NOT NULL,
    author        oid NOT NULL,
    mtime         timestamptz NOT NULL,
    digest        bytea,
    holes         bigint,
    PRIMARY KEY (ino, version)
);
CREATE INDEX version_map ON difs.version (map_ino) WHERE map_ino IS NOT NULL;
COMMENT ON TABLE difs.version IS 'states of a file''s content; below zero, those that have been let go of and are not collected yet';
COMMENT ON COLUMN difs.version.base IS 'manifest rows with a lower from_version do not count: the version that last replaced the whole content';
COMMENT ON COLUMN difs.version.extent IS 'upper bound of the length of any manifest row of this version, in bytes';
COMMENT ON COLUMN difs.version.digest IS 'of the content; null if the volume wants none, or if it was written in part: nobody has read it as a whole then';
COMMENT ON COLUMN difs.version.holes IS 'bytes that no manifest row covers and that read as zeros; null is none';
COMMENT ON COLUMN difs.version.map_ino IS 'a copy: the manifest rows are those of this inode, at map_version';

CREATE TABLE difs.manifest (
    ino             bigint NOT NULL,
    file_offset     bigint NOT NULL,
    length          integer NOT NULL,
    from_version    integer NOT NULL,
    to_version      integer,
    segment         bigint NOT NULL,
    segment_offset  integer NOT NULL,
    block_group     bigint NOT NULL,
    raw_length      integer NOT NULL,
    stored_length   integer NOT NULL,
    codec           smallint NOT NULL,
    crc             integer NOT NULL,
    PRIMARY KEY (ino, file_offset, from_version)
);
CREATE INDEX manifest_segment ON difs.manifest (segment);
-- Is a group still named? Rows of one group lie side by side, so an index of their ranges costs nothing to keep.
CREATE INDEX manifest_block_group ON difs.manifest USING brin (block_group) WITH (autosummarize = on);
COMMENT ON TABLE difs.manifest IS 'byte ranges of files and the segments that hold them, for versions in [from_version, to_version)';

CREATE SEQUENCE difs.block_group_id AS bigint;
CREATE TABLE difs.block_group (
    id        bigint PRIMARY KEY,
    state     text COLLATE "C" NOT NULL CHECK (state IN ('open', 'sealed', 'repairing')),
    replicas  smallint NOT NULL,
    tier      text COLLATE "C" NOT NULL,
    members   integer[] NOT NULL,
    epoch     bigint NOT NULL,
    capacity  bigint NOT NULL,
    segments  bigint,
    bytes     bigint,
    created   timestamptz NOT NULL,
    sealed    timestamptz,
    generation bigint NOT NULL DEFAULT 0,
    placement bigint NOT NULL DEFAULT 0
);
CREATE INDEX block_group_open ON difs.block_group (id) WHERE state <> 'sealed';
COMMENT ON TABLE difs.block_group IS 'containers of segments and the servers that hold them; segments and bytes are filled in when a group is sealed';
COMMENT ON COLUMN difs.block_group.placement IS '0, or for which volume (in the upper 32 bits) and under which setting of its placement function it was made';
COMMENT ON COLUMN difs.block_group.epoch IS 'epoch of the claim under which the group was made, and of the copies that were made then';
COMMENT ON COLUMN difs.block_group.generation IS 'raised before each copy that is made anew; that copy carries epoch + generation, which has the epoch of the claim in its upper bits, so no two are the same';

CREATE SEQUENCE difs.server_id AS integer;
CREATE TABLE difs.server (
    id        integer PRIMARY KEY,
    name      text COLLATE "C" NOT NULL UNIQUE,
    host      text COLLATE "C" NOT NULL,
    port      integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    zone      text COLLATE "C" NOT NULL,
    tier      text COLLATE "C" NOT NULL,
    weight    integer NOT NULL CHECK (weight > 0),
    state     text COLLATE "C" NOT NULL CHECK (state IN ('active', 'draining', 'drained', 'removed')),
    embedded  boolean NOT NULL,
    created   timestamptz NOT NULL,
    storage   uuid
);
COMMENT ON TABLE difs.server IS 'chunk servers; what they say of their health is in the view difs.servers';
COMMENT ON COLUMN difs.server.storage IS 'identity of its data directory: one that goes by the same name with other data is not used; null for the memory tier';

-- The range of segment ids that has been handed out; one nextval() is worth 8192 ids (src/ids.c).
CREATE SEQUENCE difs.segment_id AS bigint;

-- What committed transactions have let go of; the keeper collects it.
CREATE TABLE difs.doomed (
    ino      bigint NOT NULL,
    version  integer,
    xid      xid8 NOT NULL,
    lsn      pg_lsn NOT NULL,
    doomed   timestamptz NOT NULL,
    settled  boolean NOT NULL DEFAULT false
);
CREATE INDEX doomed_ino ON difs.doomed (ino);
COMMENT ON TABLE difs.doomed IS 'content that a committed transaction let go of: one version, (version null) a whole inode, or (version -2147483648) manifest rows that no version has any more';
COMMENT ON COLUMN difs.doomed.settled IS 'lsn and doomed are not those of the call, but lie behind the commit: the keeper has moved them there';

INSERT INTO difs.cluster (uuid, epoch, created) VALUES (pg_catalog.gen_random_uuid(), 1, pg_catalog.now());

--
-- Volumes (src/volume.c).
--

CREATE FUNCTION difs_volume_create(
    name              text,
    replicas          integer DEFAULT 1,
    segment_size      integer DEFAULT 1048576,
    compression       text DEFAULT 'zstd',
    compression_level integer DEFAULT 1,
    tier              text DEFAULT 'disk',
    digest            text DEFAULT 'xxh128',
    inline_limit      integer DEFAULT 0,
    journal           boolean DEFAULT false,
    journal_keep      interval DEFAULT '7 days',
    notify            boolean DEFAULT false,
    quota_bytes       bigint DEFAULT NULL,
    quota_files       bigint DEFAULT NULL,
    quota_exact       boolean DEFAULT false,
    versioning        boolean DEFAULT false,
    keep_versions     integer DEFAULT NULL,
    keep_for          interval DEFAULT NULL,
    trash_for         interval DEFAULT NULL,
    before_put        regprocedure DEFAULT NULL)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_volume_create';
COMMENT ON FUNCTION difs_volume_create(text, integer, integer, text, integer, text, text, integer, boolean, interval, boolean, bigint, bigint, boolean, boolean, integer, interval, interval, regprocedure)
IS 'makes a file tree with a policy of its own, and a quota if one is given; returns its id. versioning: deleted files leave a marker; keep_versions, keep_for: which old versions stay; trash_for: how long what is deleted stays in the trash; before_put: a function (path text, ino bigint, version integer, size bigint, media_type text, owner regrole) that is asked about each new version and may refuse it';
REVOKE ALL ON FUNCTION difs_volume_create(text, integer, integer, text, integer, text, text, integer, boolean, interval, boolean, bigint, bigint, boolean, boolean, integer, interval, interval, regprocedure) FROM PUBLIC;

CREATE FUNCTION difs_volume_changed()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_volume_changed';
COMMENT ON FUNCTION difs_volume_changed() IS 'trigger of difs.volume: tells all sessions to read their volumes anew';
REVOKE ALL ON FUNCTION difs_volume_changed() FROM PUBLIC;

CREATE TRIGGER volume_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON difs.volume
FOR EACH STATEMENT EXECUTE FUNCTION difs_volume_changed();

CREATE FUNCTION difs.volume_visible(id integer, root bigint)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_volume_visible';
COMMENT ON FUNCTION difs.volume_visible(integer, bigint) IS 'may the user do anything in the root of a volume; for the view difs.volumes';

CREATE VIEW difs.volumes WITH (security_barrier) AS
SELECT name,
       replicas,
       segment_size,
       CASE WHEN compression_level OPERATOR(pg_catalog.=) 0 THEN 'none' ELSE 'zstd' END AS compression,
       compression_level,
       tier,
       digest,
       created,
       inline_limit,
       owner,
       journal,
       pg_catalog.justify_hours(pg_catalog.make_interval(secs => journal_keep)) AS journal_keep,
       notify,
       versioning,
       keep_versions,
       keep_for,
       trash_for,
       before_put,
       placement
FROM difs.volume
WHERE difs.volume_visible(id, root);
COMMENT ON VIEW difs.volumes IS 'file trees and their policy: those in whose root the user may do something';
GRANT SELECT ON difs.volumes TO PUBLIC;

-- The volume of paths that name none, unless difs.volume says otherwise.
SELECT difs_volume_create(name => 'main');

-- With wal_level = minimal, the sequences of this transaction are logged as they stand at its end, along with the count of values
-- that nextval() believes to have logged ahead and has not: after a crash they would be handed out again.  setval() clears it.
SELECT pg_catalog.setval('difs.volume_id', last_value) FROM difs.volume_id;
SELECT pg_catalog.setval('difs.ino', last_value) FROM difs.ino;

REVOKE ALL ON TABLE difs.cluster, difs.volume, difs.inode, difs.dentry, difs.version, difs.manifest, difs.block_group, difs.server,
    difs.doomed FROM PUBLIC;
REVOKE ALL ON SEQUENCE difs.volume_id, difs.ino, difs.block_group_id, difs.server_id, difs.segment_id FROM PUBLIC;

--
-- Writing files.
--

CREATE FUNCTION difs_put(path text, data bytea, if_version integer DEFAULT NULL, parents boolean DEFAULT false, version bigint DEFAULT NULL)
RETURNS integer
AS 'MODULE_PATHNAME', 'difs_put'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION difs_put(text, bytea, integer, boolean, bigint) IS
'stores data as a new version of a file and returns its number; if_version 0: only if the file does not exist, n: only if n is its current version; parents makes missing directories; version: under this number, which becomes the current one if it is higher, and replaces the version that has it';
REVOKE ALL ON FUNCTION difs_put(text, bytea, integer, boolean, bigint) FROM PUBLIC;

CREATE FUNCTION difs_import(path text, file text, if_version integer DEFAULT NULL, parents boolean DEFAULT false)
RETURNS integer
AS 'MODULE_PATHNAME', 'difs_import'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION difs_import(text, text, integer, boolean) IS
'stores a file of the server, given by its absolute name, as difs_put() does; memory does not depend on its size';
REVOKE ALL ON FUNCTION difs_import(text, text, integer, boolean) FROM PUBLIC;

--
-- Names: making, moving and removing them (src/names.c, src/copy.c).
--

CREATE FUNCTION difs_mkdir(path text, parents boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_mkdir';
COMMENT ON FUNCTION difs_mkdir(text, boolean) IS
'makes a directory and returns its inode number; parents makes those on the way, too, and is content if all are there';
REVOKE ALL ON FUNCTION difs_mkdir(text, boolean) FROM PUBLIC;

CREATE FUNCTION difs_rmdir(path text)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_rmdir';
COMMENT ON FUNCTION difs_rmdir(text) IS 'removes an empty directory';
REVOKE ALL ON FUNCTION difs_rmdir(text) FROM PUBLIC;

CREATE FUNCTION difs_rename(from_path text, to_path text, no_replace boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_rename';
COMMENT ON FUNCTION difs_rename(text, text, boolean) IS
'gives a file or directory another name in its volume, whatever its size; a file replaces a file, a directory an empty directory, unless no_replace';
REVOKE ALL ON FUNCTION difs_rename(text, text, boolean) FROM PUBLIC;

CREATE FUNCTION difs_delete(path text, recursive boolean DEFAULT false, version bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_delete';
COMMENT ON FUNCTION difs_delete(text, boolean, bigint) IS
'removes a file or an empty directory, or with recursive a directory and all below it, or one version of a file; returns the number of entries removed, 1 for what goes to the trash';
REVOKE ALL ON FUNCTION difs_delete(text, boolean, bigint) FROM PUBLIC;

CREATE FUNCTION difs_copy(
    from_path  text,
    to_path    text,
    version    integer DEFAULT NULL,
    if_version integer DEFAULT NULL,
    "offset"   bigint DEFAULT 0,
    length     bigint DEFAULT NULL)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_copy';
COMMENT ON FUNCTION difs_copy(text, text, integer, integer, bigint, bigint) IS
'makes a version of a file, or a range of it, the newest version of another without moving bytes, and returns its number; if_version is as in difs_put(), offset and length as in difs_get()';
REVOKE ALL ON FUNCTION difs_copy(text, text, integer, integer, bigint, bigint) FROM PUBLIC;

--
-- Names: asking (src/list.c, src/stat.c, src/map.c).
--

CREATE FUNCTION difs_list(
    path      text,
    recursive boolean DEFAULT false,
    pattern   text DEFAULT NULL,
    after     text DEFAULT NULL,
    max       integer DEFAULT NULL,
    kind      text DEFAULT NULL)
RETURNS TABLE (name text, ino bigint, kind text, size bigint, version integer, mode integer, owner regrole, mtime timestamptz)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_list';
COMMENT ON FUNCTION difs_list(text, boolean, text, text, integer, text) IS
'entries of a directory, or with recursive of a tree, depth first in byte order; pattern is a glob for the last component, after the name behind which to go on, max a number of rows, kind file, directory or symlink';
REVOKE ALL ON FUNCTION difs_list(text, boolean, text, text, integer, text) FROM PUBLIC;

-- A type of its own, since to make one out of OUT arguments for each call costs as much as to find the file.
CREATE TYPE difs.file_status AS (
    ino     bigint,
    kind    text,
    size    bigint,
    version integer,
    mode    integer,
    owner   regrole,
    nlink   integer,
    atime   timestamptz,
    mtime   timestamptz,
    ctime   timestamptz,
    btime   timestamptz,
    volume  text);
COMMENT ON TYPE difs.file_status IS 'what difs_stat() tells';

CREATE FUNCTION difs_stat(path text, version integer DEFAULT NULL, follow boolean DEFAULT true)
RETURNS difs.file_status
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_stat';
COMMENT ON FUNCTION difs_stat(text, integer, boolean) IS
'attributes of a file or directory, or size and mtime of one version of a file; a directory''s times do not change with its entries; of a symbolic link those of what it leads to, or without follow its own';
REVOKE ALL ON FUNCTION difs_stat(text, integer, boolean) FROM PUBLIC;

CREATE FUNCTION difs_exists(path text)
RETURNS boolean
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_exists';
COMMENT ON FUNCTION difs_exists(text) IS
'is there anything at a path; false also if a directory on the way is missing, but an error if the volume is';
REVOKE ALL ON FUNCTION difs_exists(text) FROM PUBLIC;

CREATE FUNCTION difs_versions(path text)
RETURNS TABLE (version integer, size bigint, mtime timestamptz, digest bytea, deleted boolean, segments integer, author regrole)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_versions';
COMMENT ON FUNCTION difs_versions(text) IS 'versions of a file, newest first';
REVOKE ALL ON FUNCTION difs_versions(text) FROM PUBLIC;

-- volatile: it may write manifest rows of this transaction's own segments
CREATE FUNCTION difs_manifest(path text, version integer DEFAULT NULL, details boolean DEFAULT false)
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_manifest';
COMMENT ON FUNCTION difs_manifest(text, integer, boolean) IS
'which storage holds which segments of a version; details adds the segments one by one';
REVOKE ALL ON FUNCTION difs_manifest(text, integer, boolean) FROM PUBLIC;

--
-- Reading files (src/get.c, src/export.c).
--

CREATE FUNCTION difs_get(path text, version integer DEFAULT NULL, "offset" bigint DEFAULT 0, length bigint DEFAULT NULL)
RETURNS bytea
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_get';
COMMENT ON FUNCTION difs_get(text, integer, bigint, bigint)
IS 'reads a file, or a range of it; version null is the current one, length null means to the end, and what lies behind the end is left out';
REVOKE ALL ON FUNCTION difs_get(text, integer, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION difs_read(
    path       text,
    version    integer DEFAULT NULL,
    "offset"   bigint DEFAULT 0,
    length     bigint DEFAULT NULL,
    piece_size integer DEFAULT 4194304,
    OUT "offset" bigint,
    OUT data     bytea)
RETURNS SETOF record
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', 'difs_read';
COMMENT ON FUNCTION difs_read(text, integer, bigint, bigint, integer)
IS 'reads a file, or a range of it, piece by piece: one row for every piece_size bytes, all of one snapshot; memory does not depend on the file''s size';
REVOKE ALL ON FUNCTION difs_read(text, integer, bigint, bigint, integer) FROM PUBLIC;

CREATE FUNCTION difs_export(path text, file text, version integer DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_export';
COMMENT ON FUNCTION difs_export(text, text, integer)
IS 'writes a file to the server''s file system, given by its absolute name, and returns its size; needs the privileges of pg_write_server_files';
REVOKE ALL ON FUNCTION difs_export(text, text, integer) FROM PUBLIC;

--
-- Chunk servers and block groups (src/server_admin.c).
--

CREATE FUNCTION difs_server_add(
    name   text,
    host   text,
    port   integer,
    zone   text DEFAULT '',
    tier   text DEFAULT 'disk',
    weight integer DEFAULT 100)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_server_add';
COMMENT ON FUNCTION difs_server_add(text, text, integer, text, text, integer)
IS 'adds a chunk server, which must answer and hold the cluster key; returns its id; new block groups may use it once this is committed';
REVOKE ALL ON FUNCTION difs_server_add(text, text, integer, text, text, integer) FROM PUBLIC;

CREATE FUNCTION difs.server_health(
    OUT id             integer,
    OUT alive          boolean,
    OUT last_seen      timestamptz,
    OUT capacity_bytes bigint,
    OUT used_bytes     bigint,
    OUT free_bytes     bigint,
    OUT puts           bigint,
    OUT gets           bigint,
    OUT syncs          bigint,
    OUT sync_ms        double precision,
    OUT problem        text)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'difs_server_health';
COMMENT ON FUNCTION difs.server_health() IS 'what the keeper of this database knows of its chunk servers; nothing where none runs';
REVOKE ALL ON FUNCTION difs.server_health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.server_health() TO pg_monitor;

CREATE VIEW difs.servers AS
SELECT server.name,
       server.host,
       server.port,
       server.zone,
       server.tier,
       server.weight,
       server.state,
       server.embedded,
       health.alive,
       health.last_seen,
       health.capacity_bytes,
       health.used_bytes,
       health.free_bytes,
       health.puts,
       health.gets,
       health.syncs,
       health.sync_ms,
       health.problem
FROM difs.server
LEFT JOIN difs.server_health() AS health ON health.id OPERATOR(pg_catalog.=) server.id;
COMMENT ON VIEW difs.servers IS 'chunk servers and their health as the keeper last saw it; null where no keeper runs';
GRANT SELECT ON difs.servers TO pg_monitor;

CREATE VIEW difs.block_groups AS
SELECT id,
       state,
       replicas,
       tier,
       ARRAY(SELECT coalesce(server.name, member.id::pg_catalog.text)
             FROM pg_catalog.unnest(members) WITH ORDINALITY AS member (id, place)
             LEFT JOIN difs.server ON server.id OPERATOR(pg_catalog.=) member.id
             ORDER BY member.place) AS members,
       capacity,
       segments,
       bytes,
       created,
       sealed,
       (SELECT volume.name FROM difs.volume WHERE volume.id OPERATOR(pg_catalog.=) (block_group.placement OPERATOR(pg_catalog.>>) 32)) AS placed_for
FROM difs.block_group;
COMMENT ON VIEW difs.block_groups IS 'containers of segments, and the names of the chunk servers that hold them; placed_for: the volume whose placement function has chosen these';
GRANT SELECT ON difs.block_groups TO pg_monitor;

--
-- Claim (src/claim.c): the right of one data directory to write to and delete from its segments.
--

CREATE FUNCTION difs_claim()
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_claim';
COMMENT ON FUNCTION difs_claim()
IS 'takes over the right to write to the files of this database, from whoever holds it; a majority of its chunk servers must answer; returns the new epoch';
REVOKE ALL ON FUNCTION difs_claim() FROM PUBLIC;

CREATE FUNCTION difs.claim_first()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_claim_first';
COMMENT ON FUNCTION difs.claim_first() IS 'part of CREATE EXTENSION: a new database holds the claim to its files';
REVOKE ALL ON FUNCTION difs.claim_first() FROM PUBLIC;

CREATE FUNCTION difs.claim_state(OUT held boolean, OUT problem text)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_claim_state';
COMMENT ON FUNCTION difs.claim_state() IS 'does this database hold the claim to its files; null where no keeper runs';
REVOKE ALL ON FUNCTION difs.claim_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.claim_state() TO pg_monitor;

CREATE VIEW difs.claim AS
SELECT cluster.uuid, cluster.epoch, state.held, state.problem
FROM difs.cluster, difs.claim_state() AS state;
COMMENT ON VIEW difs.claim IS 'who this database is to chunk servers, and whether it may write there; held is null where no keeper runs';
GRANT SELECT ON difs.claim TO pg_monitor;

SELECT difs.claim_first();

CREATE FUNCTION difs.cluster_changed()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_cluster_changed';
COMMENT ON FUNCTION difs.cluster_changed() IS 'trigger function of difs.cluster: the workers start anew under another identity';
REVOKE ALL ON FUNCTION difs.cluster_changed() FROM PUBLIC;

CREATE TRIGGER cluster_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON difs.cluster
FOR EACH STATEMENT EXECUTE FUNCTION difs.cluster_changed();

--
-- Repair and placement (worker/repair.h, src/server_retire.c, src/repair_report.c).
--

-- Copies that are not as they should be.  Each survey of the keeper writes it anew, so it is not dumped.
CREATE TABLE difs.missing (
    block_group bigint NOT NULL,
    server      integer NOT NULL,
    reason      text COLLATE "C" NOT NULL,
    found       timestamptz NOT NULL,
    problem     text,
    PRIMARY KEY (block_group, server)
);
COMMENT ON TABLE difs.missing IS
'copies of sealed block groups to be made anew or moved. away: the server does not answer; lost: for longer than difs.repair_delay, or it was removed; absent: it does not have it; failed: its disk did not take it; short: it lacks segments; draining: good, to be moved';
COMMENT ON COLUMN difs.missing.problem IS 'why the last try to make it anew failed';
REVOKE ALL ON TABLE difs.missing FROM PUBLIC;

CREATE FUNCTION difs_server_drain(name text, undo boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_server_drain';
COMMENT ON FUNCTION difs_server_drain(text, boolean) IS
'empties a chunk server: it gets no new block groups, and the copies that it has move to others, which difs.repair_progress shows; returns how many these are; its state is drained when none is left. undo makes it active again';
REVOKE ALL ON FUNCTION difs_server_drain(text, boolean) FROM PUBLIC;

CREATE FUNCTION difs_server_remove(name text, force boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_server_remove';
COMMENT ON FUNCTION difs_server_remove(text, boolean) IS
'forgets a chunk server that has no copies any more; with force also one that has: they are made anew from other members, and those that it has the only copy of are lost';
REVOKE ALL ON FUNCTION difs_server_remove(text, boolean) FROM PUBLIC;

CREATE FUNCTION difs_repair()
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_repair';
COMMENT ON FUNCTION difs_repair() IS 'looks now at which chunk servers hold which block groups, and makes anew what is missing; returns the number of copies made';
REVOKE ALL ON FUNCTION difs_repair() FROM PUBLIC;

CREATE FUNCTION difs_rebalance()
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_rebalance';
COMMENT ON FUNCTION difs_rebalance() IS
'moves copies of block groups from fuller chunk servers to emptier ones until all of a tier are within a tenth, or within one block group; waits for that, and returns how many moved; who cancels it does not stop it';
REVOKE ALL ON FUNCTION difs_rebalance() FROM PUBLIC;

CREATE FUNCTION difs.keeper_state(
    OUT duty    text,
    OUT running boolean,
    OUT phase   text,
    OUT wanted  boolean,
    OUT rounds  bigint,
    OUT started timestamptz,
    OUT ended   timestamptz,
    OUT took_ms double precision,
    OUT outcome text,
    OUT problem text,
    OUT done    bigint,
    OUT total   bigint,
    OUT next    timestamptz,
    OUT results bigint[])
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 7
AS 'MODULE_PATHNAME', 'difs_keeper_state';
COMMENT ON FUNCTION difs.keeper_state() IS 'what the view difs.stat_keeper shows';
REVOKE ALL ON FUNCTION difs.keeper_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.keeper_state() TO pg_monitor;

CREATE FUNCTION difs.repair_state(
    OUT running boolean,
    OUT started timestamptz,
    OUT ended   timestamptz,
    OUT done    bigint,
    OUT total   bigint,
    OUT copied  bigint,
    OUT dropped bigint,
    OUT problem text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'difs_repair_state';
COMMENT ON FUNCTION difs.repair_state() IS 'the round of repair that runs or ran last; nothing where no keeper runs';
REVOKE ALL ON FUNCTION difs.repair_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.repair_state() TO pg_monitor;

CREATE VIEW difs.missing_copies AS
SELECT missing.block_group,
       coalesce(server.name, missing.server::pg_catalog.text) AS server,
       missing.reason,
       missing.found,
       missing.problem,
       block_group.bytes
FROM difs.missing
LEFT JOIN difs.server ON server.id OPERATOR(pg_catalog.=) missing.server
LEFT JOIN difs.block_group ON block_group.id OPERATOR(pg_catalog.=) missing.block_group;
COMMENT ON VIEW difs.missing_copies IS 'copies of block groups that are to be made anew or moved, why, and why that has not been possible';
GRANT SELECT ON difs.missing_copies TO pg_monitor;

CREATE VIEW difs.repair_progress AS
SELECT counts.groups_missing,
       counts.copies_missing,
       counts.bytes_missing,
       counts.copies_to_move,
       counts.bytes_to_move,
       state.running,
       duty.phase,
       state.done,
       state.total,
       state.started,
       state.ended,
       state.copied,
       state.dropped,
       state.problem
FROM (SELECT pg_catalog.count(DISTINCT block_group) FILTER (WHERE reason OPERATOR(pg_catalog.<>) 'draining') AS groups_missing,
             pg_catalog.count(*) FILTER (WHERE reason OPERATOR(pg_catalog.<>) 'draining') AS copies_missing,
             coalesce(pg_catalog.sum(bytes) FILTER (WHERE reason OPERATOR(pg_catalog.<>) 'draining'), 0) AS bytes_missing,
             pg_catalog.count(*) FILTER (WHERE reason OPERATOR(pg_catalog.=) 'draining') AS copies_to_move,
             coalesce(pg_catalog.sum(bytes) FILTER (WHERE reason OPERATOR(pg_catalog.=) 'draining'), 0) AS bytes_to_move
      FROM difs.missing_copies) AS counts
LEFT JOIN difs.repair_state() AS state ON true
LEFT JOIN difs.keeper_state() AS duty ON duty.duty OPERATOR(pg_catalog.=) 'repair';
COMMENT ON VIEW difs.repair_progress IS
'what repair and draining have to do, and the round that runs or ran last: its phase, groups looked at or worked on in it (done of total), copies made and dropped';
GRANT SELECT ON difs.repair_progress TO pg_monitor;

CREATE FUNCTION difs_files_to_repair()
RETURNS TABLE (path text, ino bigint, volume text, missing integer, groups bigint[])
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH short AS (
        SELECT block_group, count(*) AS copies FROM difs.missing WHERE reason <> 'draining' GROUP BY block_group
    ), mapped AS (
        SELECT DISTINCT manifest.ino, short.block_group, short.copies
        FROM difs.manifest JOIN short USING (block_group)
    ), files AS (
        SELECT mapped.ino, mapped.block_group, mapped.copies FROM mapped
        UNION
        SELECT version.ino, mapped.block_group, mapped.copies
        FROM mapped JOIN difs.version ON version.map_ino = mapped.ino
    )
    SELECT difs.path_of(files.ino), files.ino, volume.name, sum(files.copies)::integer,
           array_agg(files.block_group ORDER BY files.block_group)
    FROM files
    LEFT JOIN difs.inode ON inode.ino = files.ino
    LEFT JOIN difs.volume ON volume.id = inode.volume
    GROUP BY files.ino, volume.name;
END
$$;
COMMENT ON FUNCTION difs_files_to_repair() IS
'files, versions and copies of them included, with bytes in block groups that have fewer good copies than they should; as the last survey has found. path is null for one that has no name any more';
REVOKE ALL ON FUNCTION difs_files_to_repair() FROM PUBLIC;

--
-- Scrub and fsck (worker/scrub.c, src/scrub_path.c, src/fsck.c).
--

CREATE TABLE difs.scrub (
    block_group  bigint NOT NULL,
    server       integer NOT NULL,
    scrubbed     timestamptz NOT NULL,
    bytes        bigint NOT NULL,
    bad          integer NOT NULL,
    mended       integer NOT NULL,
    PRIMARY KEY (block_group, server)
);
COMMENT ON TABLE difs.scrub IS 'when each copy of each block group was last read as a whole, and what was found: copies of segments that were bad, and how many of them were mended';

CREATE TABLE difs.lost_segment (
    segment      bigint PRIMARY KEY,
    block_group  bigint NOT NULL,
    found        timestamptz NOT NULL
);
COMMENT ON TABLE difs.lost_segment IS 'segments of which the scrub has found no good copy although every server has answered; see difs_lost_files()';
REVOKE ALL ON TABLE difs.scrub, difs.lost_segment FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('difs.scrub', '');
SELECT pg_catalog.pg_extension_config_dump('difs.lost_segment', '');

-- Two branches, as each has an index of its own.
CREATE FUNCTION difs.segment_versions(segments bigint[])
RETURNS TABLE (segment bigint, ino bigint, version integer)
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.segment, v.ino, v.version
    FROM difs.manifest m
    JOIN difs.version v ON v.ino = m.ino AND v.map_ino IS NULL AND m.from_version BETWEEN v.base AND v.version
        AND (m.to_version IS NULL OR m.to_version > v.version)
    WHERE m.segment = ANY (segment_versions.segments)
      AND NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = v.ino AND (d.version IS NULL OR d.version = v.version))
    UNION
    SELECT m.segment, v.ino, v.version
    FROM difs.manifest m
    JOIN difs.version v ON v.map_ino = m.ino AND m.from_version BETWEEN v.base AND v.map_version
        AND (m.to_version IS NULL OR m.to_version > v.map_version)
    WHERE m.segment = ANY (segment_versions.segments)
      AND NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = v.ino AND (d.version IS NULL OR d.version = v.version))
$$;
COMMENT ON FUNCTION difs.segment_versions(bigint[]) IS 'versions, copies included, that need segments';
REVOKE ALL ON FUNCTION difs.segment_versions(bigint[]) FROM PUBLIC;

CREATE FUNCTION difs.path_of(ino bigint)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE way (ino, path, depth) AS (
        SELECT path_of.ino, ''::text COLLATE "C", 0
        UNION ALL
        SELECT above.parent, '/' || above.name || way.path, way.depth + 1
        FROM way
        CROSS JOIN LATERAL (SELECT abs(parent) AS parent, split_part(name, '/', 1) AS name FROM difs.dentry WHERE dentry.ino = way.ino ORDER BY dentry.parent, dentry.name LIMIT 1) AS above
        WHERE way.depth < 4096)
    SELECT volume.name || ':' || coalesce(nullif(way.path, ''), '/')
    FROM way JOIN difs.volume ON volume.root = way.ino
    ORDER BY way.depth DESC LIMIT 1
$$;
COMMENT ON FUNCTION difs.path_of(bigint) IS 'path of an inode, the first of several, also of a deleted file that has a history; null if it cannot be reached';
REVOKE ALL ON FUNCTION difs.path_of(bigint) FROM PUBLIC;

CREATE FUNCTION difs_lost_files()
RETURNS TABLE (path text, version integer, segment bigint, block_group bigint, servers text[], found timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(difs.path_of(v.ino), 'inode ' || v.ino), v.version, l.segment, l.block_group,
           (SELECT g.members FROM difs.block_groups g WHERE g.id = l.block_group), l.found
    FROM difs.lost_segment l
    CROSS JOIN LATERAL difs.segment_versions(ARRAY[l.segment]) AS v
    ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION difs_lost_files() IS 'files and versions with segments of which no server has a good copy, as the scrub has found them';
REVOKE ALL ON FUNCTION difs_lost_files() FROM PUBLIC;

CREATE FUNCTION difs.scrub_state(
    OUT running boolean,
    OUT started timestamptz,
    OUT ended   timestamptz,
    OUT done    bigint,
    OUT total   bigint,
    OUT problem text,
    OUT pace    bigint,
    OUT within  interval)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_scrub_state';
COMMENT ON FUNCTION difs.scrub_state() IS 'the scrub''s round that runs or ran last: block groups done and in all; and the settings, pace in bytes a second (null: unlimited), within what time (null: never)';
REVOKE ALL ON FUNCTION difs.scrub_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.scrub_state() TO pg_monitor;

CREATE VIEW difs.scrub_progress AS
SELECT state.running,
       state.started,
       state.ended,
       state.done AS groups_done,
       state.total AS groups_total,
       state.problem,
       state.pace,
       state.within,
       copies.copies,
       copies.overdue,
       copies.oldest,
       copies.bytes,
       copies.bad,
       copies.mended,
       (SELECT pg_catalog.count(*) FROM difs.lost_segment) AS lost_segments
FROM difs.scrub_state() AS state
CROSS JOIN (
    SELECT pg_catalog.count(*) AS copies,
           pg_catalog.count(*) FILTER (WHERE coalesce(s.scrubbed, g.created) OPERATOR(pg_catalog.<)
               (pg_catalog.now() OPERATOR(pg_catalog.-) setting.within)) AS overdue,
           pg_catalog.min(coalesce(s.scrubbed, g.created)) AS oldest,
           coalesce(pg_catalog.sum(s.bytes), 0)::pg_catalog.int8 AS bytes,
           coalesce(pg_catalog.sum(s.bad), 0)::pg_catalog.int8 AS bad,
           coalesce(pg_catalog.sum(s.mended), 0)::pg_catalog.int8 AS mended
    FROM difs.block_group g
    CROSS JOIN LATERAL pg_catalog.unnest(g.members) AS member (server)
    CROSS JOIN difs.scrub_state() AS setting
    LEFT JOIN difs.scrub s ON s.block_group OPERATOR(pg_catalog.=) g.id AND s.server OPERATOR(pg_catalog.=) member.server) AS copies;
COMMENT ON VIEW difs.scrub_progress IS 'the scrub: its round, how many copies of block groups there are, how many have not been read within difs.scrub_interval, and what was found when each was last read';
GRANT SELECT ON difs.scrub_progress TO pg_monitor;

CREATE FUNCTION difs_scrub_all(
    OUT copies      bigint,
    OUT bytes       bigint,
    OUT bad         bigint,
    OUT mended      bigint,
    OUT lost        bigint,
    OUT unreachable bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_scrub_all';
COMMENT ON FUNCTION difs_scrub_all() IS
'has the keeper read every copy of every block group now, at difs.scrub_rate, and waits for it: copies and bytes read, bad copies of segments, how many were mended, segments lost, copies of groups that no server answered for';
REVOKE ALL ON FUNCTION difs_scrub_all() FROM PUBLIC;

CREATE FUNCTION difs_scrub(path text, recursive boolean DEFAULT false)
RETURNS TABLE (path text, version integer, segment bigint, server text, outcome text)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'difs_scrub';
COMMENT ON FUNCTION difs_scrub(text, boolean) IS
'reads every copy of every segment of all versions of a file, or with recursive of a tree, now, and mends what it can; outcome is good, mended, damaged, missing, unreachable or lost';
REVOKE ALL ON FUNCTION difs_scrub(text, boolean) FROM PUBLIC;

CREATE FUNCTION difs.copy_outcome(server integer, block_group bigint, segment bigint)
RETURNS text
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'difs_copy_outcome';
COMMENT ON FUNCTION difs.copy_outcome(integer, bigint, bigint) IS 'reads a server''s copy of a segment on its disk: good, damaged, missing or unreachable';
REVOKE ALL ON FUNCTION difs.copy_outcome(integer, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION difs_fsck(deep boolean DEFAULT false, digests boolean DEFAULT false)
RETURNS TABLE (kind text, object text, detail text, hint text)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS 'MODULE_PATHNAME', 'difs_fsck';
COMMENT ON FUNCTION difs_fsck(boolean, boolean) IS
'compares the tables with each other, with deep also with what every chunk server says it has, and with digests reads every version and compares its digest; a healthy store gives no row';
REVOKE ALL ON FUNCTION difs_fsck(boolean, boolean) FROM PUBLIC;

--
-- Collection (worker/collect.c, worker/horizon.c, src/hold.c).
--

CREATE TABLE difs.hold (
    name     text COLLATE "C" PRIMARY KEY,
    lsn      pg_lsn,
    since    timestamptz,
    owner    oid NOT NULL,
    created  timestamptz NOT NULL,
    CHECK ((lsn IS NULL) <> (since IS NULL))
);
COMMENT ON TABLE difs.hold IS 'content let go of at or behind a place in WAL, or a time, is not collected';

CREATE TABLE difs.inventory (
    server       integer NOT NULL,
    block_group  bigint NOT NULL,
    file_bytes   bigint NOT NULL,
    live_bytes   bigint NOT NULL,
    PRIMARY KEY (server, block_group)
);
CREATE INDEX inventory_block_group ON difs.inventory (block_group);
COMMENT ON TABLE difs.inventory IS 'copies of block groups whose segments the keeper has all judged, and their size then';
REVOKE ALL ON TABLE difs.hold, difs.inventory FROM PUBLIC;

CREATE VIEW difs.holds AS
SELECT name, lsn, since, owner::pg_catalog.regrole AS owner, created FROM difs.hold;
COMMENT ON VIEW difs.holds IS 'named holds, by difs_hold()';
GRANT SELECT ON difs.holds TO pg_monitor;

CREATE FUNCTION difs_hold(name text, lsn pg_lsn DEFAULT NULL, since timestamptz DEFAULT NULL)
RETURNS pg_lsn
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_hold';
COMMENT ON FUNCTION difs_hold(text, pg_lsn, timestamptz)
IS 'keeps content that is deleted at or behind a place in WAL (now, if neither is given) or a time, until difs_release(); returns the place';
REVOKE ALL ON FUNCTION difs_hold(text, pg_lsn, timestamptz) FROM PUBLIC;

CREATE FUNCTION difs_release(name text)
RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_release';
COMMENT ON FUNCTION difs_release(text) IS 'ends a hold; false if there is none of that name';
REVOKE ALL ON FUNCTION difs_release(text) FROM PUBLIC;

CREATE FUNCTION difs_collect(
    OUT doomed   bigint,
    OUT segments bigint,
    OUT orphans  bigint,
    OUT groups   bigint,
    OUT bytes    bigint,
    OUT waiting  bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_collect';
COMMENT ON FUNCTION difs_collect()
IS 'runs a round of collection now: files or versions and their segments that are gone, orphans, empty block groups, bytes given back on all servers; and how many files or versions had to wait, for which see difs.collection_blockers';
REVOKE ALL ON FUNCTION difs_collect() FROM PUBLIC;

-- Who keeps an item: see worker/horizon.c for the same in short.
CREATE FUNCTION difs.collection_blockers()
RETURNS TABLE (ino bigint, version integer, doomed timestamptz, kind text, holder text, detail text)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
    -- 32-bit xids as 64-bit ones, by their distance from the next
    WITH next AS (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xid),
    old (kind, holder, xid, detail) AS (
        SELECT CASE backend_type WHEN 'walsender' THEN 'standby' ELSE 'transaction' END,
               CASE backend_type WHEN 'walsender' THEN coalesce(nullif(application_name, ''), 'pid ' || pid) ELSE 'pid ' || pid END,
               x,
               format('%s in database %s of %s, since %s', coalesce(state, backend_type), coalesce(datname, '-'), coalesce(usename, '-'), xact_start)
        FROM pg_stat_activity, LATERAL (VALUES (backend_xid), (backend_xmin)) AS pair (x)
        UNION ALL
        SELECT 'prepared transaction', gid, transaction, format('in database %s of %s, since %s', database, owner, prepared)
        FROM pg_prepared_xacts
        UNION ALL
        SELECT 'replication slot', slot_name::text, x, format('%s slot, %s', slot_type, CASE WHEN active THEN 'active' ELSE 'not active' END)
        FROM pg_replication_slots, LATERAL (VALUES (xmin), (catalog_xmin)) AS pair (x)
    ),
    snapshots (kind, holder, xid, detail) AS (
        SELECT kind, holder, min((old.xid::text::bigint - (next.xid & 4294967295) + 6442450944) % 4294967296 - 2147483648 + next.xid), min(detail)
        FROM old, next
        WHERE old.xid IS NOT NULL
        GROUP BY kind, holder
    ),
    places (kind, holder, lsn, detail) AS (
        SELECT 'standby', coalesce(nullif(application_name, ''), 'pid ' || pid), replay_lsn, format('has replayed up to %s', replay_lsn)
        FROM pg_stat_replication
        WHERE replay_lsn IS NOT NULL
        UNION ALL
        SELECT 'replication slot', slot_name::text, restart_lsn, format('%s slot, %s, has passed %s', slot_type, CASE WHEN active THEN 'active' ELSE 'not active' END, restart_lsn)
        FROM pg_replication_slots
        WHERE restart_lsn IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'
        UNION ALL
        SELECT 'hold', name, lsn, format('from %s on', lsn)
        FROM difs.hold
        WHERE lsn IS NOT NULL
    ),
    times (kind, holder, since, detail) AS (
        SELECT 'hold', name, since, format('from %s on', since)
        FROM difs.hold
        WHERE since IS NOT NULL
        UNION ALL
        SELECT 'retention', 'difs.retain', clock_timestamp() - setting::bigint * interval '1 second', format('%s seconds', setting)
        FROM pg_settings
        WHERE pg_settings.name = 'difs.retain' AND setting <> '0'
    ),
    found AS (
        SELECT item.*, holder.kind, holder.holder, holder.detail
        FROM difs.doomed AS item JOIN snapshots AS holder ON holder.xid <= item.xid::text::bigint
        UNION ALL
        SELECT item.*, holder.kind, holder.holder, holder.detail
        FROM difs.doomed AS item JOIN places AS holder ON holder.lsn <= item.lsn OR NOT item.settled
        UNION ALL
        SELECT item.*, holder.kind, holder.holder, holder.detail
        FROM difs.doomed AS item JOIN times AS holder ON holder.since <= item.doomed OR NOT item.settled
        UNION ALL
        SELECT item.*, 'copy', 'inode ' || holder.ino, format('version %s shares its segments', holder.version)
        FROM difs.doomed AS item JOIN difs.version AS holder ON holder.map_ino = item.ino AND holder.ino <> item.ino
        UNION ALL
        SELECT item.*, 'server', server.name, coalesce(health.problem, 'not reached')
        FROM difs.doomed AS item
        CROSS JOIN LATERAL (SELECT DISTINCT block_group FROM difs.manifest WHERE manifest.ino = item.ino) AS used
        JOIN difs.block_group ON block_group.id = used.block_group
        JOIN difs.server ON server.id = ANY (members) AND server.state <> 'removed'
        LEFT JOIN difs.server_health() AS health ON health.id = server.id
        WHERE health.alive IS NOT TRUE
    )
    SELECT found.ino, found.version, found.doomed, found.kind, found.holder, min(found.detail)
    FROM found
    GROUP BY found.ino, found.version, found.doomed, found.kind, found.holder
    UNION ALL
    SELECT item.ino, item.version, item.doomed, 'round', 'difs.collect_interval', 'nothing keeps it: it goes with the next round'
    FROM difs.doomed AS item
    WHERE NOT EXISTS (SELECT FROM found WHERE found.ino = item.ino AND found.version IS NOT DISTINCT FROM item.version)
$$;
COMMENT ON FUNCTION difs.collection_blockers() IS 'what the view difs.collection_blockers shows';
REVOKE ALL ON FUNCTION difs.collection_blockers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.collection_blockers() TO pg_monitor;

CREATE VIEW difs.collection_blockers AS
SELECT ino, version, doomed, kind, holder, detail FROM difs.collection_blockers();
COMMENT ON VIEW difs.collection_blockers
IS 'why deleted content is still there: one row for each item and each transaction, prepared transaction, replication slot, standby, hold, retention, copy or server that keeps it';
GRANT SELECT ON difs.collection_blockers TO pg_monitor;

--
-- Staging (src/staging.c, worker/unstage.c).
--

CREATE TABLE difs.staging (
    segment        bigint PRIMARY KEY,
    replicas       smallint NOT NULL,
    tier           text COLLATE "C" NOT NULL,
    raw_length     integer NOT NULL,
    stored_length  integer NOT NULL,
    codec          smallint NOT NULL,
    crc            integer NOT NULL,
    staged         timestamptz NOT NULL,
    packed         bytea NOT NULL,
    bytes          bytea NOT NULL,
    placement      bigint NOT NULL DEFAULT 0
);
ALTER TABLE difs.staging ALTER COLUMN packed SET STORAGE EXTERNAL, ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE difs.staging IS
'segments that could not be stored on chunk servers yet; their manifest rows say block group 0';
COMMENT ON COLUMN difs.staging.packed IS 'header of the segment, with the checksum of each block';
COMMENT ON COLUMN difs.staging.bytes IS 'stored form of the segment: compressed already, or not worth it';
REVOKE ALL ON TABLE difs.staging FROM PUBLIC;

CREATE VIEW difs.staged AS
SELECT pg_catalog.count(*) AS segments,
       coalesce(pg_catalog.sum(stored_length), 0)::bigint AS bytes,
       pg_catalog.min(staged) AS oldest
FROM difs.staging;
COMMENT ON VIEW difs.staged IS 'how much waits in the database to be moved to chunk servers, and since when';
GRANT SELECT ON difs.staged TO pg_monitor;

SELECT pg_catalog.pg_extension_config_dump('difs.staging', '');

CREATE FUNCTION difs_unstage()
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_unstage';
COMMENT ON FUNCTION difs_unstage() IS
'moves staged segments to chunk servers now, as happens by itself; returns how many were moved';
REVOKE ALL ON FUNCTION difs_unstage() FROM PUBLIC;

--
-- The shared cache (src/cache.h).
--

CREATE FUNCTION difs.cache_state(
    OUT size_bytes bigint,
    OUT used_bytes bigint,
    OUT hot_bytes  bigint,
    OUT blocks     bigint,
    OUT hits       bigint,
    OUT hit_bytes  bigint,
    OUT misses     bigint,
    OUT kept       bigint,
    OUT evicted    bigint)
RETURNS record
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_cache_state';
COMMENT ON FUNCTION difs.cache_state() IS 'what the view difs.stat_cache shows';
REVOKE ALL ON FUNCTION difs.cache_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.cache_state() TO pg_monitor;

CREATE VIEW difs.stat_cache AS
SELECT size_bytes, used_bytes, hot_bytes, blocks, hits, hit_bytes, misses, kept, evicted FROM difs.cache_state();
COMMENT ON VIEW difs.stat_cache IS
'the shared cache of segments, of all databases together: its size, what is in it (hot: asked for again), and since the server started, blocks found, bytes copied from them, blocks not found, put in, and put out';
GRANT SELECT ON difs.stat_cache TO pg_monitor;

--
-- What was done, counted (src/counters.h).
--

CREATE FUNCTION difs.io_counters(
    OUT server     integer,
    OUT operation  text,
    OUT operations bigint,
    OUT errors     bigint,
    OUT bytes      bigint,
    OUT time_ms    double precision,
    OUT p50_ms     double precision,
    OUT p99_ms     double precision,
    OUT histogram  bigint[],
    OUT since      timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'difs_io_counters';
COMMENT ON FUNCTION difs.io_counters() IS 'what the view difs.stat_io shows, by number of the server';
REVOKE ALL ON FUNCTION difs.io_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.io_counters() TO pg_monitor;

CREATE VIEW difs.stat_io AS
SELECT coalesce(server.name, counters.server::pg_catalog.text) AS server,
       counters.operation,
       counters.operations,
       counters.errors,
       counters.bytes,
       counters.time_ms,
       counters.p50_ms,
       counters.p99_ms,
       counters.histogram,
       counters.since
FROM difs.io_counters() AS counters
LEFT JOIN difs.server ON server.id OPERATOR(pg_catalog.=) counters.server;
COMMENT ON VIEW difs.stat_io IS
'requests to each chunk server that were answered (get: reads, put: segments stored, call: all others), and those that were not; bytes of content; the time from request to answer: its sum, what half of them and 99 of 100 stay below, and how many took less than 64 us, 128 us, 256 us and so on; since difs_stat_reset()';
GRANT SELECT ON difs.stat_io TO pg_monitor;

CREATE FUNCTION difs.streamer_state(
    OUT running         boolean,
    OUT queued          bigint,
    OUT queued_bytes    bigint,
    OUT in_flight       bigint,
    OUT in_flight_bytes bigint,
    OUT oldest          timestamptz,
    OUT batches         bigint,
    OUT sent            bigint,
    OUT tried_again     bigint,
    OUT stored          bigint,
    OUT stored_bytes    bigint,
    OUT failed          bigint,
    OUT waited_ms       double precision,
    OUT storing_ms      double precision,
    OUT since           timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'difs_streamer_state';
COMMENT ON FUNCTION difs.streamer_state() IS 'what the view difs.stat_streamer shows';
REVOKE ALL ON FUNCTION difs.streamer_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.streamer_state() TO pg_monitor;

CREATE VIEW difs.stat_streamer AS
SELECT running, queued, queued_bytes, in_flight, in_flight_bytes, oldest, batches, sent, tried_again, stored, stored_bytes, failed, waited_ms, storing_ms,
       (SELECT CASE WHEN sum(syncs) OPERATOR(pg_catalog.>) 0::pg_catalog.numeric THEN sum(sync_ms) OPERATOR(pg_catalog./) sum(syncs)::pg_catalog.float8 END
        FROM difs.server_health()) AS sync_ms,
       since
FROM difs.streamer_state();
COMMENT ON VIEW difs.stat_streamer IS
'what is on its way to chunk servers now (oldest: since when the first of it has been), and since difs_stat_reset(): batches, tries, failed tries, segments stored and failed, how long those stored waited for their last try, and how long that took until all copies were durable; sync_ms: the mean time of a sync of its servers, since they started; nothing where no streamer runs';
GRANT SELECT ON difs.stat_streamer TO pg_monitor;

CREATE VIEW difs.stat_keeper AS
SELECT duty, running, phase, wanted, rounds, started, ended, took_ms, outcome, problem, done, total, next FROM difs.keeper_state();
COMMENT ON VIEW difs.stat_keeper IS
'the duties of the keeper: rounds since it started; of the round that runs or ran last when it started, its time so far, the phase it is in and how far it is there; when the last one ended, how (done or failed), and why it failed; when the next one is due, null while one runs and where it must be asked for';
GRANT SELECT ON difs.stat_keeper TO pg_monitor;

CREATE VIEW difs.stat_servers AS
SELECT servers.name,
       servers.state,
       servers.alive,
       servers.last_seen,
       io.reads,
       io.read_bytes,
       io.read_ms,
       io.writes,
       io.written_bytes,
       io.write_ms,
       io.errors,
       servers.puts,
       servers.gets,
       servers.syncs,
       servers.sync_ms
FROM difs.servers AS servers
LEFT JOIN (SELECT server,
                  coalesce(sum(operations) FILTER (WHERE operation OPERATOR(pg_catalog.=) 'get'), 0)::pg_catalog.int8 AS reads,
                  coalesce(sum(bytes) FILTER (WHERE operation OPERATOR(pg_catalog.=) 'get'), 0)::pg_catalog.int8 AS read_bytes,
                  sum(time_ms OPERATOR(pg_catalog./) nullif(operations, 0)) FILTER (WHERE operation OPERATOR(pg_catalog.=) 'get') AS read_ms,
                  coalesce(sum(operations) FILTER (WHERE operation OPERATOR(pg_catalog.=) 'put'), 0)::pg_catalog.int8 AS writes,
                  coalesce(sum(bytes) FILTER (WHERE operation OPERATOR(pg_catalog.=) 'put'), 0)::pg_catalog.int8 AS written_bytes,
                  sum(time_ms OPERATOR(pg_catalog./) nullif(operations, 0)) FILTER (WHERE operation OPERATOR(pg_catalog.=) 'put') AS write_ms,
                  sum(errors)::pg_catalog.int8 AS errors
           FROM difs.stat_io GROUP BY server) AS io ON io.server OPERATOR(pg_catalog.=) servers.name;
COMMENT ON VIEW difs.stat_servers IS
'chunk servers and what this database has done with them since difs_stat_reset(): reads, writes, the mean time of one, requests that were not answered; and what a server has done for all its databases since it started: puts, gets, syncs of its disk, and what these took in all';
GRANT SELECT ON difs.stat_servers TO pg_monitor;

CREATE FUNCTION difs_stat_reset()
RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_stat_reset';
COMMENT ON FUNCTION difs_stat_reset() IS 'sets the numbers of difs.stat_io and difs.stat_streamer to zero, in this database';
REVOKE ALL ON FUNCTION difs_stat_reset() FROM PUBLIC;

--
-- Links, numbers, attributes, times and totals (src/hardlink.c, src/symlink.c, src/ino.c, src/unlink_trigger.c, src/attrs.c, src/touch.c,
-- src/name_hash.c, src/du.c).
--

CREATE FUNCTION difs_link(existing_path text, new_path text)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_link';
COMMENT ON FUNCTION difs_link(text, text) IS
'gives a file another name in its volume; content, versions and attributes are the same under all its names, and the file goes with the last';
REVOKE ALL ON FUNCTION difs_link(text, text) FROM PUBLIC;

CREATE FUNCTION difs_symlink(target text, path text)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_symlink';
COMMENT ON FUNCTION difs_symlink(text, text) IS
'makes a symbolic link and returns its inode number; a target is relative to the link''s directory, or begins with a slash (root of the link''s volume) or with volume:/; nothing has to be there';
REVOKE ALL ON FUNCTION difs_symlink(text, text) FROM PUBLIC;

CREATE FUNCTION difs_readlink(path text)
RETURNS text
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_readlink';
COMMENT ON FUNCTION difs_readlink(text) IS 'target of a symbolic link, as it was given';
REVOKE ALL ON FUNCTION difs_readlink(text) FROM PUBLIC;

CREATE FUNCTION difs_ino(path text)
RETURNS bigint
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_ino';
COMMENT ON FUNCTION difs_ino(text) IS
'number of the inode at a path, which never changes: a column that references difs.inode(ino) holds on to the file';
REVOKE ALL ON FUNCTION difs_ino(text) FROM PUBLIC;

CREATE FUNCTION difs_path(ino bigint)
RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_path';
COMMENT ON FUNCTION difs_path(bigint) IS 'path of an inode, volume:/dir/file, one of its names if it has several; null if there is no such inode';
REVOKE ALL ON FUNCTION difs_path(bigint) FROM PUBLIC;

CREATE FUNCTION difs_paths(ino bigint)
RETURNS SETOF text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'difs_paths';
COMMENT ON FUNCTION difs_paths(bigint) IS 'all paths of an inode; none if there is no such inode';
REVOKE ALL ON FUNCTION difs_paths(bigint) FROM PUBLIC;

CREATE FUNCTION difs_unlink_on_delete()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_unlink_on_delete';
COMMENT ON FUNCTION difs_unlink_on_delete() IS
'AFTER DELETE OR UPDATE row trigger with the name of a bigint column: removes the file whose number the row had there, with all its names';
REVOKE ALL ON FUNCTION difs_unlink_on_delete() FROM PUBLIC;

CREATE FUNCTION difs_setattr(path text, attrs jsonb)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_setattr';
COMMENT ON FUNCTION difs_setattr(text, jsonb) IS
'sets attributes of a file or directory, and removes those given as null; others stay as they are; media_type is the media type';
REVOKE ALL ON FUNCTION difs_setattr(text, jsonb) FROM PUBLIC;

CREATE FUNCTION difs_getattr(path text)
RETURNS jsonb
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_getattr';
COMMENT ON FUNCTION difs_getattr(text) IS 'attributes of a file or directory; an empty object if it has none';
REVOKE ALL ON FUNCTION difs_getattr(text) FROM PUBLIC;

CREATE FUNCTION difs_touch(path text, atime timestamptz DEFAULT NULL, mtime timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_touch';
COMMENT ON FUNCTION difs_touch(text, timestamptz, timestamptz) IS
'sets times of a file or directory: null keeps one, and if both are null they are set to now';
REVOKE ALL ON FUNCTION difs_touch(text, timestamptz, timestamptz) FROM PUBLIC;

CREATE FUNCTION difs_name_hash(path text)
RETURNS bytea
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'difs_name_hash';
COMMENT ON FUNCTION difs_name_hash(text) IS 'SHA-256 of a path written as volume:/dir/file; nothing has to be there';
REVOKE ALL ON FUNCTION difs_name_hash(text) FROM PUBLIC;

CREATE FUNCTION difs_find_by_hash(hash bytea, below text DEFAULT '/')
RETURNS text
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000
AS 'MODULE_PATHNAME', 'difs_find_by_hash';
COMMENT ON FUNCTION difs_find_by_hash(bytea, text) IS
'the path, at or below another, whose difs_name_hash() this is; null if there is none; looks at all names there';
REVOKE ALL ON FUNCTION difs_find_by_hash(bytea, text) FROM PUBLIC;

CREATE FUNCTION difs_du(path text, OUT bytes bigint, OUT files bigint, OUT directories bigint, OUT symlinks bigint)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000
AS 'MODULE_PATHNAME', 'difs_du';
COMMENT ON FUNCTION difs_du(text) IS
'what is at and below a path: bytes of current versions, files (once each, however many names they have), directories and symbolic links; looks at all of them';
REVOKE ALL ON FUNCTION difs_du(text) FROM PUBLIC;

--
-- Parts of files (src/write.c, src/concat.c, src/splice.c), and tiny files (src/inline.c).
--

CREATE TABLE difs.inline (
    ino      bigint NOT NULL,
    version  integer NOT NULL,
    bytes    bytea NOT NULL,
    PRIMARY KEY (ino, version)
);
ALTER TABLE difs.inline ALTER COLUMN bytes SET STORAGE PLAIN;
COMMENT ON TABLE difs.inline IS 'bytes of versions that are no longer than their volume''s inline_limit: they have no segments';
REVOKE ALL ON TABLE difs.inline FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('difs.inline', '');

CREATE FUNCTION difs_append(path text, data bytea, if_version integer DEFAULT NULL, parents boolean DEFAULT false)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_append';
COMMENT ON FUNCTION difs_append(text, bytea, integer, boolean) IS
'adds data at the end of a file, which is made if it does not exist, as a new version, and returns its number; if_version and parents are as in difs_put()';
REVOKE ALL ON FUNCTION difs_append(text, bytea, integer, boolean) FROM PUBLIC;

CREATE FUNCTION difs_write(path text, "offset" bigint, data bytea, if_version integer DEFAULT NULL, parents boolean DEFAULT false)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_write';
COMMENT ON FUNCTION difs_write(text, bigint, bytea, integer, boolean) IS
'writes data over a part of a file, or behind its end, as a new version, and returns its number; the file is made if it does not exist; bytes that were never written are zeros';
REVOKE ALL ON FUNCTION difs_write(text, bigint, bytea, integer, boolean) FROM PUBLIC;

CREATE FUNCTION difs_truncate(path text, size bigint, if_version integer DEFAULT NULL)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_truncate';
COMMENT ON FUNCTION difs_truncate(text, bigint, integer) IS
'gives a file another size, as a new version, and returns its number; what is added are zeros, and takes no space';
REVOKE ALL ON FUNCTION difs_truncate(text, bigint, integer) FROM PUBLIC;

CREATE FUNCTION difs_concat(paths text[], to_path text, if_version integer DEFAULT NULL)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_concat';
COMMENT ON FUNCTION difs_concat(text[], text, integer) IS
'makes the contents of files, one after the other, the newest version of another without moving bytes, and returns its number; the cost follows the number of segments';
REVOKE ALL ON FUNCTION difs_concat(text[], text, integer) FROM PUBLIC;

CREATE TABLE difs.fragmented (
    ino  bigint PRIMARY KEY
);
COMMENT ON TABLE difs.fragmented IS 'files that were written in many small parts since the keeper last put them together';
REVOKE ALL ON TABLE difs.fragmented FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('difs.fragmented', '');

CREATE FUNCTION difs_compact()
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_compact';
COMMENT ON FUNCTION difs_compact() IS
'puts together files that were written in many small parts now, as happens by itself; returns how many';
REVOKE ALL ON FUNCTION difs_compact() FROM PUBLIC;

--
-- Versions, retention and trash (src/history.c, src/marker.c, src/policy.c, src/retain.c, src/trash.c, worker/collect_outdated.c).
--

CREATE TABLE difs.file_policy (
    ino               bigint PRIMARY KEY,
    volume            integer NOT NULL,
    keep_versions     integer CHECK (keep_versions >= 1),
    keep_for          interval CHECK (keep_for >= '0'),
    held_until        timestamptz,
    write_once_until  timestamptz
);
CREATE INDEX file_policy_volume ON difs.file_policy (volume);
COMMENT ON TABLE difs.file_policy IS 'files with a retention of their own, or that are held or write-once until a time';

CREATE TABLE difs.expiring (
    ino  bigint PRIMARY KEY,
    due  timestamptz NOT NULL
);
CREATE INDEX expiring_due ON difs.expiring (due);
COMMENT ON TABLE difs.expiring IS 'files with versions that retention will let go of by time alone, and when the keeper looks at them';

CREATE SEQUENCE difs.trash_id AS bigint;
CREATE TABLE difs.discarded (
    id          bigint PRIMARY KEY,
    volume      integer NOT NULL,
    path        text COLLATE "C" NOT NULL,
    ino         bigint NOT NULL,
    deleted_by  oid NOT NULL,
    deleted     timestamptz NOT NULL
);
CREATE INDEX discarded_path ON difs.discarded (volume, path);
COMMENT ON TABLE difs.discarded IS 'the trash: files and trees that no directory names any more, and from where they are';
REVOKE ALL ON TABLE difs.file_policy, difs.expiring, difs.discarded FROM PUBLIC;
REVOKE ALL ON SEQUENCE difs.trash_id FROM PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('difs.file_policy', '');
SELECT pg_catalog.pg_extension_config_dump('difs.expiring', '');
SELECT pg_catalog.pg_extension_config_dump('difs.discarded', '');
SELECT pg_catalog.pg_extension_config_dump('difs.trash_id', '');

-- The functions of difs never shorten these times; this keeps SQL from doing so.
CREATE FUNCTION difs.keep_policy()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now timestamptz := clock_timestamp();
BEGIN
    IF OLD.held_until > now AND (TG_OP = 'DELETE' OR NEW.held_until IS NULL OR NEW.held_until < OLD.held_until)
       OR OLD.write_once_until > now AND (TG_OP = 'DELETE' OR NEW.write_once_until IS NULL OR NEW.write_once_until < OLD.write_once_until)
       OR TG_OP = 'UPDATE' AND NEW.ino <> OLD.ino THEN
        RAISE EXCEPTION 'inode % is held until %', OLD.ino, greatest(OLD.held_until, OLD.write_once_until)
            USING ERRCODE = 'object_in_use', DETAIL = 'Nobody can shorten that.';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION difs.keep_policy() IS 'trigger of difs.file_policy: refuses to shorten a hold';
REVOKE ALL ON FUNCTION difs.keep_policy() FROM PUBLIC;
CREATE TRIGGER keep_policy BEFORE UPDATE OR DELETE ON difs.file_policy FOR EACH ROW EXECUTE FUNCTION difs.keep_policy();

-- Another retention of a volume: the keeper looks at all its files, because of a row with the number of its root.
CREATE FUNCTION difs.retention_changed()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO difs.expiring (ino, due) VALUES (NEW.root, clock_timestamp()) ON CONFLICT (ino) DO UPDATE SET due = excluded.due;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION difs.retention_changed() IS 'trigger of difs.volume, for changes by SQL: has the keeper apply another retention to all files';
REVOKE ALL ON FUNCTION difs.retention_changed() FROM PUBLIC;
CREATE TRIGGER retention_changed AFTER UPDATE OF keep_versions, keep_for ON difs.volume
FOR EACH ROW WHEN (NEW.keep_versions IS DISTINCT FROM OLD.keep_versions OR NEW.keep_for IS DISTINCT FROM OLD.keep_for)
EXECUTE FUNCTION difs.retention_changed();

CREATE FUNCTION difs.trash_visible(volume integer, owner regrole, deleted_by oid)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_trash_visible';
COMMENT ON FUNCTION difs.trash_visible(integer, regrole, oid) IS 'may the user see, bring back and purge something in the trash; for the view difs.trash';

CREATE VIEW difs.trash WITH (security_barrier) AS
SELECT d.id,
       v.name AS volume,
       d.path,
       CASE i.kind WHEN 'f' THEN 'file' WHEN 'd' THEN 'directory' WHEN 'l' THEN 'symlink' END AS kind,
       CASE WHEN i.kind OPERATOR(pg_catalog.=) 'f' THEN i.size END AS size,
       d.deleted_by::pg_catalog.regrole AS deleted_by,
       d.deleted,
       d.deleted OPERATOR(pg_catalog.+) v.trash_for AS purged
FROM difs.discarded d
JOIN difs.volume v ON v.id OPERATOR(pg_catalog.=) d.volume
JOIN difs.inode i ON i.ino OPERATOR(pg_catalog.=) d.ino
WHERE difs.trash_visible(d.volume, i.owner, d.deleted_by);
COMMENT ON VIEW difs.trash IS 'deleted files and trees that difs_undelete() brings back: from where, by whom, since when, and when they go for good. A role sees what it has deleted or owns, the owner of a volume all';
GRANT SELECT ON difs.trash TO PUBLIC;

CREATE VIEW difs.file_policies AS
SELECT difs.path_of(p.ino) AS path,
       p.keep_versions,
       p.keep_for,
       p.held_until,
       p.write_once_until,
       p.ino
FROM difs.file_policy p;
COMMENT ON VIEW difs.file_policies IS 'files with a retention of their own, or that are held or write-once until a time';

CREATE FUNCTION difs_restore(path text, version bigint)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_restore';
COMMENT ON FUNCTION difs_restore(text, bigint) IS
'makes an old version of a file its newest one, without moving bytes, and returns the new number; a deleted file comes back';
REVOKE ALL ON FUNCTION difs_restore(text, bigint) FROM PUBLIC;

CREATE FUNCTION difs_undelete(path text, to_path text DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_undelete';
COMMENT ON FUNCTION difs_undelete(text, text) IS
'brings back what was last deleted from a path, under its name or another one, and returns its inode number; a name that is taken is refused';
REVOKE ALL ON FUNCTION difs_undelete(text, text) FROM PUBLIC;

CREATE FUNCTION difs_undelete(trash bigint, to_path text DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_undelete_trash';
COMMENT ON FUNCTION difs_undelete(bigint, text) IS 'brings back what has a number in difs.trash';
REVOKE ALL ON FUNCTION difs_undelete(bigint, text) FROM PUBLIC;

CREATE FUNCTION difs_purge(trash bigint)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_purge';
COMMENT ON FUNCTION difs_purge(bigint) IS 'removes for good what has a number in difs.trash, before its time; returns the number of entries removed';
REVOKE ALL ON FUNCTION difs_purge(bigint) FROM PUBLIC;

CREATE FUNCTION difs_retain(path text, keep_versions integer DEFAULT NULL, keep_for interval DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_retain_file';
COMMENT ON FUNCTION difs_retain(text, integer, interval) IS
'which old versions of a file stay, in place of what its volume says: the newest n, and those that were current within a time; neither: the volume''s rules again';
REVOKE ALL ON FUNCTION difs_retain(text, integer, interval) FROM PUBLIC;

CREATE FUNCTION difs_hold_until(path text, until timestamptz)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_hold_until';
COMMENT ON FUNCTION difs_hold_until(text, timestamptz) IS
'no version of a file can go until a time, which can be moved on but not back; new versions can come';
REVOKE ALL ON FUNCTION difs_hold_until(text, timestamptz) FROM PUBLIC;

CREATE FUNCTION difs_write_once(path text, until timestamptz)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_write_once';
COMMENT ON FUNCTION difs_write_once(text, timestamptz) IS
'a file can neither change nor go until a time, which can be moved on but not back';
REVOKE ALL ON FUNCTION difs_write_once(text, timestamptz) FROM PUBLIC;

--
-- Who may do what (src/perm.h, src/perm_change.c, src/perm_report.c).
--

CREATE FUNCTION difs_chmod(path text, mode text, recursive boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_chmod';
COMMENT ON FUNCTION difs_chmod(text, text, boolean) IS
'changes what owner, group and others may do, as chmod(1): 0640, or u=rw,g+r,o-rwx; recursive does so below as well; returns how many were changed';

CREATE FUNCTION difs_chown(path text, owner regrole DEFAULT NULL, "group" regrole DEFAULT NULL, recursive boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_chown';
COMMENT ON FUNCTION difs_chown(text, regrole, regrole, boolean) IS
'gives a file or directory to another owner, another group, or both; null leaves one as it is, group - is none; returns how many were changed';

CREATE FUNCTION difs_grant(path text, role regrole, privileges text, recursive boolean DEFAULT false, inherit boolean DEFAULT true)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_grant';
COMMENT ON FUNCTION difs_grant(text, regrole, text, boolean, boolean) IS
'lets a role do more than the mode says: letters of rwx; with inherit, what is created in a directory later begins with the same; returns how many were changed';

CREATE FUNCTION difs_revoke(path text, role regrole, privileges text DEFAULT 'rwx', recursive boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_revoke';
COMMENT ON FUNCTION difs_revoke(text, regrole, text, boolean) IS
'takes back what difs_grant() gave, or what came from a directory above; returns how many were changed';

CREATE FUNCTION difs_access(path text)
RETURNS TABLE (kind text, role regrole, privileges text, inherited text)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_access';
COMMENT ON FUNCTION difs_access(text) IS
'who may do what: owner, group, others, and an entry for each role that has one, with what is inherited by what is created below';

CREATE FUNCTION difs.inode_changed()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_inode_changed';
COMMENT ON FUNCTION difs.inode_changed() IS 'trigger function of difs.inode: changes by SQL, as in a restore, are made known to all sessions';
REVOKE ALL ON FUNCTION difs.inode_changed() FROM PUBLIC;

CREATE FUNCTION difs.volume_owned()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_volume_owned';
COMMENT ON FUNCTION difs.volume_owned() IS 'trigger function of difs.volume: its owner cannot be dropped';
REVOKE ALL ON FUNCTION difs.volume_owned() FROM PUBLIC;

CREATE TRIGGER volume_owned AFTER INSERT OR UPDATE ON difs.volume
FOR EACH ROW EXECUTE FUNCTION difs.volume_owned();

CREATE TRIGGER inode_changed AFTER INSERT OR UPDATE ON difs.inode
FOR EACH STATEMENT EXECUTE FUNCTION difs.inode_changed();

CREATE FUNCTION difs.role_unused(role regrole)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_role_unused';
COMMENT ON FUNCTION difs.role_unused(regrole) IS 'part of difs_reassign(): the role may be dropped, as far as files are concerned';
REVOKE ALL ON FUNCTION difs.role_unused(regrole) FROM PUBLIC;

CREATE FUNCTION difs_reassign(from_role regrole, to_role regrole)
RETURNS bigint
LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE oid = to_role) THEN
        RAISE undefined_object USING MESSAGE = format('role with OID %s does not exist', to_role::oid);
    END IF;
    UPDATE difs.volume SET owner = to_role WHERE owner = from_role;
    UPDATE difs.discarded SET deleted_by = to_role WHERE deleted_by = from_role;
    UPDATE difs.inode
    SET owner = CASE WHEN owner = from_role THEN to_role ELSE owner END,
        grp = CASE WHEN grp = from_role THEN to_role ELSE grp END,
        acl_role = CASE WHEN place > 0 THEN nullif(acl_role[:place - 1] || acl_role[place + 1:], '{}') ELSE acl_role END,
        acl_mode = CASE WHEN place > 0 THEN nullif(acl_mode[:place - 1] || acl_mode[place + 1:], '{}') ELSE acl_mode END,
        ctime = clock_timestamp()
    FROM (SELECT ino AS number, array_position(acl_role, from_role) AS place FROM difs.inode
          WHERE owner = from_role OR grp = from_role OR from_role = ANY (acl_role)) AS found
    WHERE ino = number;
    GET DIAGNOSTICS changed = ROW_COUNT;
    PERFORM difs.role_unused(from_role);
    RETURN changed;
END
$$;
COMMENT ON FUNCTION difs_reassign(regrole, regrole) IS
'gives all files, directories and volumes of a role to another one, so that it can be dropped, and takes away its access entries; returns how many files and directories were changed';
REVOKE ALL ON FUNCTION difs_reassign(regrole, regrole) FROM PUBLIC;

-- Everybody may call what looks at each file's own rights, and nothing else.
GRANT EXECUTE ON FUNCTION
    difs_put(text, bytea, integer, boolean, bigint),
    difs_import(text, text, integer, boolean),
    difs_mkdir(text, boolean),
    difs_rmdir(text),
    difs_rename(text, text, boolean),
    difs_delete(text, boolean, bigint),
    difs_restore(text, bigint),
    difs_undelete(text, text),
    difs_undelete(bigint, text),
    difs_purge(bigint),
    difs_retain(text, integer, interval),
    difs_hold_until(text, timestamptz),
    difs_write_once(text, timestamptz),
    difs_copy(text, text, integer, integer, bigint, bigint),
    difs_append(text, bytea, integer, boolean),
    difs_write(text, bigint, bytea, integer, boolean),
    difs_truncate(text, bigint, integer),
    difs_concat(text[], text, integer),
    difs_link(text, text),
    difs_symlink(text, text),
    difs_readlink(text),
    difs_ino(text),
    difs_path(bigint),
    difs_paths(bigint),
    difs_setattr(text, jsonb),
    difs_getattr(text),
    difs_touch(text, timestamptz, timestamptz),
    difs_find_by_hash(bytea, text),
    difs_name_hash(text),
    difs_du(text),
    difs_list(text, boolean, text, text, integer, text),
    difs_stat(text, integer, boolean),
    difs_exists(text),
    difs_versions(text),
    difs_manifest(text, integer, boolean),
    difs_get(text, integer, bigint, bigint),
    difs_read(text, integer, bigint, bigint, integer),
    difs_export(text, text, integer)
TO PUBLIC;
-- Names of files that are in danger are for whoever watches over them.
GRANT EXECUTE ON FUNCTION difs_lost_files(), difs_files_to_repair() TO pg_monitor;

--
-- Volumes, quotas, journal, locks (src/volume_admin.c, src/quota.c, src/usage.c, src/journal.c, src/lock.c, worker/collect_dropped.c, worker/expire.c).
--

CREATE FUNCTION difs_volume_alter(
    name              text,
    replicas          integer DEFAULT NULL,
    segment_size      integer DEFAULT NULL,
    compression       text DEFAULT NULL,
    compression_level integer DEFAULT NULL,
    tier              text DEFAULT NULL,
    digest            text DEFAULT NULL,
    inline_limit      integer DEFAULT NULL,
    journal           boolean DEFAULT NULL,
    journal_keep      interval DEFAULT NULL,
    notify            boolean DEFAULT NULL,
    new_name          text DEFAULT NULL,
    versioning        boolean DEFAULT NULL,
    keep_versions     integer DEFAULT NULL,
    keep_for          interval DEFAULT NULL,
    trash_for         interval DEFAULT NULL,
    unset             text[] DEFAULT '{}',
    before_put        regprocedure DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_volume_alter';
COMMENT ON FUNCTION difs_volume_alter(text, integer, integer, text, integer, text, text, integer, boolean, interval, boolean, text, boolean, integer, interval, interval, text[], regprocedure)
IS 'changes the policy of a volume, for what is written from now on, or its name; what is null stays as it is. unset: names among keep_versions, keep_for, trash_for, before_put that are not to hold any more';
REVOKE ALL ON FUNCTION difs_volume_alter(text, integer, integer, text, integer, text, text, integer, boolean, interval, boolean, text, boolean, integer, interval, interval, text[], regprocedure) FROM PUBLIC;

-- Directories of dropped volumes that the keeper has yet to empty: their inodes are gone, their entries are not.
CREATE TABLE difs.dropped (
    ino     bigint PRIMARY KEY,
    volume  integer NOT NULL,
    xid     xid8 NOT NULL
);
COMMENT ON TABLE difs.dropped IS 'directories of dropped volumes whose entries the keeper has yet to remove';

CREATE FUNCTION difs_volume_drop(name text, force boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_volume_drop';
COMMENT ON FUNCTION difs_volume_drop(text, boolean)
IS 'removes an empty volume, or with force one with all that is in it, whatever that is: the keeper does the rest';
REVOKE ALL ON FUNCTION difs_volume_drop(text, boolean) FROM PUBLIC;

CREATE TABLE difs.quota (
    root    bigint PRIMARY KEY,
    volume  integer NOT NULL,
    bytes   bigint CHECK (bytes >= 0),
    files   bigint CHECK (files >= 0),
    exact   boolean NOT NULL
);
CREATE INDEX quota_volume ON difs.quota (volume);
COMMENT ON TABLE difs.quota IS 'directories whose content is counted, and limited unless the limit is null';

CREATE TABLE difs.usage (
    root    bigint NOT NULL,
    slot    smallint NOT NULL,
    bytes   bigint NOT NULL,
    files   bigint NOT NULL,
    PRIMARY KEY (root, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE difs.usage IS 'what is below a quota root is the sum of its slots; a transaction adds to one that nobody else has locked';

CREATE FUNCTION difs_quota_set(path text, bytes bigint DEFAULT NULL, files bigint DEFAULT NULL, exact boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_quota_set';
COMMENT ON FUNCTION difs_quota_set(text, bigint, bigint, boolean)
IS 'counts what is below a directory, the root of a volume for instance, from now on, and limits it unless the limit is null; exact: only one transaction at a time lets it grow, so that the limit is never exceeded';
REVOKE ALL ON FUNCTION difs_quota_set(text, bigint, bigint, boolean) FROM PUBLIC;

CREATE FUNCTION difs_quota_drop(path text)
RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_quota_drop';
COMMENT ON FUNCTION difs_quota_drop(text) IS 'ends the quota and the counting of a directory; false if it had none';
REVOKE ALL ON FUNCTION difs_quota_drop(text) FROM PUBLIC;

CREATE FUNCTION difs.own_usage(OUT root bigint, OUT bytes bigint, OUT files bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'difs_own_usage';
COMMENT ON FUNCTION difs.own_usage() IS 'what this transaction has changed below quota roots, and difs.usage does not have yet';
REVOKE ALL ON FUNCTION difs.own_usage() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.own_usage() TO pg_monitor;

CREATE FUNCTION difs.usage_of(root bigint, OUT bytes bigint, OUT files bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sum(part.bytes)::bigint, sum(part.files)::bigint
    FROM (SELECT u.bytes, u.files FROM difs.usage u WHERE u.root = usage_of.root
          UNION ALL
          SELECT o.bytes, o.files FROM difs.own_usage() o WHERE o.root = usage_of.root) AS part
$$;
COMMENT ON FUNCTION difs.usage_of(bigint) IS 'bytes and files below a quota root; null if it is none';
REVOKE ALL ON FUNCTION difs.usage_of(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.usage_of(bigint) TO pg_monitor;

CREATE FUNCTION difs.quotas()
RETURNS TABLE (path text, quota_bytes bigint, bytes bigint, quota_files bigint, files bigint, exact boolean)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT difs.path_of(q.root), q.bytes, used.bytes, q.files, used.files, q.exact
    FROM difs.quota q CROSS JOIN LATERAL difs.usage_of(q.root) AS used
$$;
COMMENT ON FUNCTION difs.quotas() IS 'what the view difs.quotas shows';
REVOKE ALL ON FUNCTION difs.quotas() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.quotas() TO pg_monitor;

CREATE VIEW difs.quotas AS
SELECT path, quota_bytes, bytes, quota_files, files, exact FROM difs.quotas();
COMMENT ON VIEW difs.quotas IS 'directories with a quota, and what is below them: current versions, and files, directories and links';
GRANT SELECT ON difs.quotas TO pg_monitor;

CREATE VIEW difs.stat_volumes AS
SELECT v.name,
       used.bytes,
       used.files,
       q.bytes AS quota_bytes,
       q.files AS quota_files,
       q.bytes OPERATOR(pg_catalog.-) used.bytes AS free_bytes,
       q.files OPERATOR(pg_catalog.-) used.files AS free_files
FROM difs.volume v
LEFT JOIN difs.quota q ON q.root OPERATOR(pg_catalog.=) v.root
CROSS JOIN LATERAL difs.usage_of(v.root) AS used;
COMMENT ON VIEW difs.stat_volumes IS 'what is in each volume, as df shows it; null where nothing is counted, for which see difs_quota_set()';
GRANT SELECT ON difs.stat_volumes TO pg_monitor;

CREATE TABLE difs.journal (
    volume     integer NOT NULL,
    epoch      bigint NOT NULL,
    xid        xid8 NOT NULL,
    seq        integer NOT NULL,
    at         timestamptz NOT NULL,
    who        text COLLATE "C" NOT NULL,
    action     text COLLATE "C" NOT NULL,
    ino        bigint NOT NULL,
    path       text COLLATE "C" NOT NULL,
    from_path  text COLLATE "C",
    version    integer,
    PRIMARY KEY (volume, epoch, xid, seq)
);
COMMENT ON TABLE difs.journal IS 'what was done to the files of volumes that keep a journal; difs_changes() reads it without missing anything';
COMMENT ON COLUMN difs.journal.epoch IS 'of the claim: transactions are numbered anew where a dump is restored';

CREATE FUNCTION difs_changes(
    volume text,
    since  text DEFAULT NULL,
    max    integer DEFAULT 1000)
RETURNS TABLE (cursor text, at timestamptz, who text, action text, ino bigint, path text, from_path text, version integer, xid xid8)
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_changes';
COMMENT ON FUNCTION difs_changes(text, text, integer) IS
'what was done in a volume that keeps a journal, behind the cursor that the last row of an earlier call has; transactions that still run, and all that began after the oldest of them, are left for later, so nothing is ever skipped';
REVOKE ALL ON FUNCTION difs_changes(text, text, integer) FROM PUBLIC;

CREATE SEQUENCE difs.fence AS bigint;
CREATE TABLE difs.lock (
    fence      bigint NOT NULL,
    ino        bigint NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    exclusive  boolean NOT NULL,
    "offset"   bigint NOT NULL,
    behind     bigint NOT NULL,
    since      timestamptz NOT NULL,
    expires    timestamptz NOT NULL
);
CREATE INDEX lock_ino ON difs.lock (ino);
COMMENT ON TABLE difs.lock IS 'locks on files that belong to a named owner, until they expire; those of sessions and transactions are in pg_locks';
COMMENT ON COLUMN difs.lock.behind IS 'first byte that is not locked';

CREATE FUNCTION difs_lock(
    path     text,
    mode     text DEFAULT 'exclusive',
    scope    text DEFAULT 'transaction',
    timeout  interval DEFAULT NULL,
    owner    text DEFAULT NULL,
    ttl      interval DEFAULT NULL,
    "offset" bigint DEFAULT 0,
    length   bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_lock';
COMMENT ON FUNCTION difs_lock(text, text, text, interval, text, interval, bigint, bigint) IS
'locks a file or directory, or a range of its bytes, for those who lock it too, shared or exclusive; scope transaction, session, or owner, which lasts for ttl unless it is renewed by the same call; waits for timeout, null for ever (55P03); returns a fencing number, which is higher than all before';
REVOKE ALL ON FUNCTION difs_lock(text, text, text, interval, text, interval, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION difs_unlock(path text, owner text DEFAULT NULL, "offset" bigint DEFAULT 0, length bigint DEFAULT NULL)
RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_unlock';
COMMENT ON FUNCTION difs_unlock(text, text, bigint, bigint) IS
'ends a lock of this session, or of an owner, on just that range; false if there is none';
REVOKE ALL ON FUNCTION difs_unlock(text, text, bigint, bigint) FROM PUBLIC;

-- These look at rights as well: of the file that is locked; of the volume's owner.
GRANT EXECUTE ON FUNCTION
    difs_lock(text, text, text, interval, text, interval, bigint, bigint),
    difs_unlock(text, text, bigint, bigint),
    difs_quota_set(text, bigint, bigint, boolean),
    difs_quota_drop(text),
    difs_changes(text, text, integer),
    difs_volume_alter(text, integer, integer, text, integer, text, text, integer, boolean, interval, boolean, text, boolean, integer, interval, interval, text[], regprocedure),
    difs_volume_drop(text, boolean)
TO PUBLIC;

CREATE FUNCTION difs.lock_space()
RETURNS smallint
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'difs_lock_space';
COMMENT ON FUNCTION difs.lock_space() IS 'objsubid, in pg_locks, of locks on files';
REVOKE ALL ON FUNCTION difs.lock_space() FROM PUBLIC;

CREATE FUNCTION difs.locks()
RETURNS TABLE (path text, ino bigint, mode text, scope text, owner text, pid integer, granted boolean, "offset" bigint, length bigint, fence bigint, expires timestamptz)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT difs.path_of(held.ino), held.ino, held.mode, 'session or transaction', a.usename::text, held.pid, held.granted,
           CASE WHEN held.whole THEN 0 END, NULL::bigint, NULL::bigint, NULL::timestamptz
    FROM (SELECT (l.classid::bigint << 32) | l.objid::bigint AS ino, l.pid, bool_and(l.granted) AS granted,
                 CASE WHEN bool_or(l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock')) THEN 'exclusive' ELSE 'shared' END AS mode,
                 bool_or(l.mode IN ('ShareLock', 'AccessExclusiveLock')) AS whole
          FROM pg_locks l
          WHERE l.locktype = 'advisory' AND l.objsubid = difs.lock_space()
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          GROUP BY 1, l.pid, l.virtualtransaction) AS held
    LEFT JOIN pg_stat_activity a ON a.pid = held.pid
    UNION ALL
    SELECT difs.path_of(k.ino), k.ino, CASE WHEN k.exclusive THEN 'exclusive' ELSE 'shared' END, 'owner', k.owner, NULL, true,
           k."offset", nullif(k.behind, 9223372036854775807) - k."offset", k.fence, k.expires
    FROM difs.lock k
    WHERE k.expires > clock_timestamp()
$$;
COMMENT ON FUNCTION difs.locks() IS 'what the view difs.locks shows';
REVOKE ALL ON FUNCTION difs.locks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs.locks() TO pg_monitor;

CREATE VIEW difs.locks AS
SELECT path, ino, mode, scope, owner, pid, granted, "offset", length, fence, expires FROM difs.locks();
COMMENT ON VIEW difs.locks IS 'locks on files: who has them, or waits for them; of a range of bytes that a session has, offset is null';
GRANT SELECT ON difs.locks TO pg_monitor;

REVOKE ALL ON TABLE difs.dropped, difs.quota, difs.usage, difs.journal, difs.lock FROM PUBLIC;
REVOKE ALL ON SEQUENCE difs.fence FROM PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('difs.dropped', '');
SELECT pg_catalog.pg_extension_config_dump('difs.quota', '');
SELECT pg_catalog.pg_extension_config_dump('difs.usage', '');
SELECT pg_catalog.pg_extension_config_dump('difs.journal', '');
SELECT pg_catalog.pg_extension_config_dump('difs.lock', '');
SELECT pg_catalog.pg_extension_config_dump('difs.fence', '');

--
-- The direct path (src/upload*.c, src/receipt.c, src/locate.c): clients and chunk servers exchange segments by token (common/token.h).
--

CREATE SEQUENCE difs.upload_id AS bigint;
CREATE TABLE difs.upload (
    id           bigint PRIMARY KEY,
    xid          bigint NOT NULL,
    path         text COLLATE "C" NOT NULL,
    owner        oid NOT NULL,
    size         bigint,
    media_type   text COLLATE "C",
    if_version   integer,
    parents      boolean NOT NULL,
    resumable    boolean NOT NULL,
    replicas     smallint NOT NULL,
    tier         text COLLATE "C" NOT NULL,
    segment_size integer NOT NULL,
    created      timestamptz NOT NULL,
    expires      timestamptz NOT NULL,
    placement    bigint NOT NULL DEFAULT 0
);
CREATE INDEX upload_xid ON difs.upload (xid);
COMMENT ON TABLE difs.upload IS 'uploads that have begun; one that is not resumable is seen by its own transaction only';
COMMENT ON COLUMN difs.upload.xid IS 'what its segments carry: while the row could be seen, these are no orphans';

CREATE TABLE difs.receipt (
    upload        bigint NOT NULL,
    number        bigint NOT NULL,
    segment       bigint NOT NULL,
    server        text COLLATE "C" NOT NULL,
    block_group   bigint NOT NULL,
    raw_length    integer NOT NULL,
    stored_length integer NOT NULL,
    codec         smallint NOT NULL,
    crc           bigint NOT NULL,
    PRIMARY KEY (upload, number, segment, server)
);
COMMENT ON TABLE difs.receipt IS 'segments of uploads that chunk servers say they hold; number is the place in the file';
REVOKE ALL ON TABLE difs.upload, difs.receipt FROM PUBLIC;
REVOKE ALL ON SEQUENCE difs.upload_id FROM PUBLIC;

CREATE VIEW difs.uploads AS
    SELECT u.id AS upload, u.path, u.owner::pg_catalog.regrole AS owner, u.size,
        (SELECT pg_catalog.count(DISTINCT r.number) FROM difs.receipt r WHERE r.upload OPERATOR(pg_catalog.=) u.id) AS segments,
        u.created, u.expires
    FROM difs.upload u
    WHERE u.resumable AND (pg_catalog.pg_has_role(u.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW difs.uploads IS 'resumable uploads: one''s own, and all for pg_monitor';
GRANT SELECT ON difs.uploads TO PUBLIC;

CREATE FUNCTION difs_upload_begin(
    path        text,
    size        bigint DEFAULT NULL,
    media_type  text DEFAULT NULL,
    create_only boolean DEFAULT false,
    if_version  integer DEFAULT NULL,
    resumable   boolean DEFAULT false,
    parents     boolean DEFAULT false)
RETURNS TABLE (upload bigint, segment_size integer, compression text, compression_level integer, replicas integer, expires timestamptz)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'difs_upload_begin';
COMMENT ON FUNCTION difs_upload_begin(text, bigint, text, boolean, integer, boolean, boolean) IS
'begins an upload, whose bytes the client sends to chunk servers itself; it ends with the transaction, unless it is resumable: then with difs.upload_expire';

CREATE FUNCTION difs_upload_place(upload bigint, first bigint, count integer, avoid bigint[] DEFAULT NULL)
RETURNS TABLE (number bigint, segment bigint, block_group bigint, epoch bigint, servers text[], token bytea)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 16
AS 'MODULE_PATHNAME', 'difs_upload_place';
COMMENT ON FUNCTION difs_upload_place(bigint, bigint, integer, bigint[]) IS
'where segments number first … of an upload go, and permission to write each: to all servers named, within difs.token_lifetime; avoid: block groups that have just failed';

CREATE FUNCTION difs_upload_receipts(upload bigint, receipts bytea[])
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_upload_receipts';
COMMENT ON FUNCTION difs_upload_receipts(bigint, bytea[]) IS
'takes note of receipts of chunk servers, so that difs_upload_commit() need not have all at once, and an upload can be resumed; returns how many are new';

CREATE FUNCTION difs_upload_commit(upload bigint, receipts bytea[] DEFAULT NULL, size bigint DEFAULT NULL)
RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_upload_commit';
COMMENT ON FUNCTION difs_upload_commit(bigint, bytea[], bigint) IS
'makes what was uploaded the current version of the file, as difs_put() does, once all servers have given receipts for all segments; returns the version';

CREATE FUNCTION difs_upload_resume(upload bigint)
RETURNS TABLE (upload bigint, path text, size bigint, segment_size integer, compression text, compression_level integer, replicas integer, expires timestamptz, done int8multirange)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'difs_upload_resume';
COMMENT ON FUNCTION difs_upload_resume(bigint) IS 'what to know to go on with a resumable upload; done: segments whose receipts are all there';

CREATE FUNCTION difs_upload_resume(path text)
RETURNS TABLE (upload bigint, path text, size bigint, segment_size integer, compression text, compression_level integer, replicas integer, expires timestamptz, done int8multirange)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'difs_upload_resume_path';
COMMENT ON FUNCTION difs_upload_resume(text) IS 'the same for one''s own newest resumable upload to a path';

CREATE FUNCTION difs_upload_cancel(upload bigint)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_upload_cancel';
COMMENT ON FUNCTION difs_upload_cancel(bigint) IS 'ends an upload without a trace; its segments are collected';

CREATE FUNCTION difs_locate(path text, "offset" bigint DEFAULT 0, length bigint DEFAULT NULL, version integer DEFAULT NULL)
RETURNS TABLE (file_offset bigint, length bigint, segment bigint, segment_offset integer, block_group bigint, epoch bigint,
    stored_length integer, raw_length integer, codec integer, crc bigint, servers text[], token bytea, data bytea)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 16
AS 'MODULE_PATHNAME', 'difs_locate';
COMMENT ON FUNCTION difs_locate(text, bigint, bigint, integer) IS
'where the bytes of a range are: segments with permission to read them from any of the servers, or the bytes themselves where no segment holds just them; what no row covers are zeros';

--
-- Pull insert (src/insert.h): content that the database fetches itself.
--

-- What has been asked for, and how it went.  A row is 'in progress' while a helper works at it (or died at it: then the next one
-- begins again), and the transaction that says 'done' is the one that has made the file's version.
CREATE SEQUENCE difs.insert_id;
CREATE TABLE difs.insert_process (
    id          bigint PRIMARY KEY,
    path        text NOT NULL,
    source      text NOT NULL,
    role        oid NOT NULL,
    if_version  integer,
    parents     boolean NOT NULL,
    state       text NOT NULL CHECK (state IN ('accepted', 'in progress', 'done', 'failed', 'cancelled')),
    begun       integer NOT NULL,
    segments    bigint,
    bytes       bigint,
    total_bytes bigint,
    version     integer,
    error       text,
    requested   timestamptz NOT NULL,
    started     timestamptz,
    ended       timestamptz
);
CREATE INDEX insert_process_open ON difs.insert_process (id) WHERE state IN ('accepted', 'in progress');
CREATE INDEX insert_process_path ON difs.insert_process (path COLLATE "C", id);
CREATE INDEX insert_process_role ON difs.insert_process (role) WHERE state IN ('accepted', 'in progress');
CREATE INDEX insert_process_ended ON difs.insert_process (ended);
COMMENT ON TABLE difs.insert_process IS 'what difs_insert() has been asked for; begun: how often a helper has taken it up';
COMMENT ON SEQUENCE difs.insert_id IS 'numbers of processes of difs_insert()';
REVOKE ALL ON TABLE difs.insert_process FROM PUBLIC;
REVOKE ALL ON SEQUENCE difs.insert_id FROM PUBLIC;

CREATE FUNCTION difs_insert(path text, source_url text, if_version integer DEFAULT NULL, parents boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_insert';
COMMENT ON FUNCTION difs_insert(text, text, integer, boolean)
IS 'has the database fetch the content of a file from http:, https: or file: after COMMIT; returns the number of the process, for difs_check(); granted to those who may';
REVOKE ALL ON FUNCTION difs_insert(text, text, integer, boolean) FROM PUBLIC;

CREATE FUNCTION difs_insert_cancel(process bigint)
RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_insert_cancel';
COMMENT ON FUNCTION difs_insert_cancel(bigint) IS 'ends a process of difs_insert() that has not ended; false if it has';

CREATE FUNCTION difs.insert_progress()
RETURNS TABLE (process bigint, segments bigint, bytes bigint, total_bytes bigint)
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 4
AS 'MODULE_PATHNAME', 'difs_insert_progress';
COMMENT ON FUNCTION difs.insert_progress() IS 'numbers of what helpers are fetching at this moment; for the view difs.inserts';

CREATE FUNCTION difs.insert_visible(role oid)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_insert_visible';
COMMENT ON FUNCTION difs.insert_visible(oid) IS 'may the user see processes of a role; for the view difs.inserts';

CREATE VIEW difs.inserts WITH (security_barrier) AS
SELECT p.id AS process,
       p.path,
       p.source,
       pg_catalog.pg_get_userbyid(p.role) AS role,
       p.state,
       coalesce(now.segments, p.segments, 0) AS segments,
       coalesce(now.bytes, p.bytes, 0) AS bytes,
       coalesce(now.total_bytes, p.total_bytes) AS total_bytes,
       p.version,
       p.error,
       p.requested,
       p.started,
       p.ended
FROM difs.insert_process p
LEFT JOIN difs.insert_progress() AS now ON now.process OPERATOR(pg_catalog.=) p.id AND p.state OPERATOR(pg_catalog.=) 'in progress'
WHERE difs.insert_visible(p.role);
COMMENT ON VIEW difs.inserts IS 'processes of difs_insert(): those of the user''s roles, all for pg_monitor';
GRANT SELECT ON difs.inserts TO PUBLIC;

CREATE FUNCTION difs_check(process bigint)
RETURNS SETOF difs.inserts
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM difs.inserts i WHERE i.process = $1
$$;
COMMENT ON FUNCTION difs_check(bigint) IS 'how a process of difs_insert() stands; no row if there is none that the user may see';

CREATE FUNCTION difs.canonical_path(path text)
RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'difs_canonical_path';
COMMENT ON FUNCTION difs.canonical_path(text) IS 'a path with its volume and without needless slashes';

CREATE FUNCTION difs_check(path text)
RETURNS SETOF difs.inserts
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM difs.inserts i WHERE i.path COLLATE "C" = difs.canonical_path($1) ORDER BY i.process DESC LIMIT 1
$$;
COMMENT ON FUNCTION difs_check(text) IS 'the same of the newest process for a path';

-- Processes are work, not data: a restored database does not fetch what was asked of another one.  Numbers are not used again, though.
SELECT pg_catalog.pg_extension_config_dump('difs.insert_process', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('difs.insert_id', '');

--
-- Chunk servers that make themselves known (src/server_admin.c, chunkd/register.h).
--

CREATE FUNCTION difs_server_register(
    name   text,
    host   text,
    port   integer,
    zone   text DEFAULT '',
    tier   text DEFAULT 'disk',
    weight integer DEFAULT 100)
RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_server_register';
COMMENT ON FUNCTION difs_server_register(text, text, integer, text, text, integer)
IS 'for difsd --register: adds a chunk server as difs_server_add() does, or changes the address of the one that has the same name and data; returns added, moved or known';
REVOKE ALL ON FUNCTION difs_server_register(text, text, integer, text, text, integer) FROM PUBLIC;

--
-- Placement functions (src/placement_function.h): which chunk servers a volume's block groups go to.
--

CREATE TYPE difs.candidate AS (
    server      text,
    zone        text,
    tier        text,
    weight      integer,
    free_bytes  bigint,
    open_groups integer,
    member      boolean
);
COMMENT ON TYPE difs.candidate IS
'a chunk server that a placement function may choose: it is alive and has room; free_bytes beside what open block groups may still take; member: it has a copy of the block group already, and keeps it';

CREATE FUNCTION difs_placement_set(volume text, function regprocedure)
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'difs_placement_set';
COMMENT ON FUNCTION difs_placement_set(text, regprocedure)
IS 'has a function (volume text, replicas integer, candidates difs.candidate[]) returning text[] choose the chunk servers of new block groups of a volume, and of new copies of them; null: the built-in rules';
REVOKE ALL ON FUNCTION difs_placement_set(text, regprocedure) FROM PUBLIC;

--
-- Progress of slow work (worker/duties.h), beside difs.repair_progress, difs.scrub_progress and difs.inserts.
--

CREATE VIEW difs.drain_progress AS
SELECT server.name AS server,
       left_over.copies,
       left_over.bytes,
       missing.waiting,
       missing.problem,
       coalesce(duty.running, false) AS running,
       duty.phase,
       duty.done,
       duty.total,
       duty.started
FROM difs.server
CROSS JOIN LATERAL (SELECT count(*) AS copies, coalesce(sum(g.bytes), 0)::pg_catalog.int8 AS bytes
                    FROM difs.block_group g WHERE server.id OPERATOR(pg_catalog.=) ANY (g.members)) AS left_over
CROSS JOIN LATERAL (SELECT count(*) AS waiting, min(m.problem) AS problem
                    FROM difs.missing m WHERE m.server OPERATOR(pg_catalog.=) server.id) AS missing
LEFT JOIN difs.keeper_state() AS duty ON duty.duty OPERATOR(pg_catalog.=) 'repair'
WHERE server.state OPERATOR(pg_catalog.=) 'draining';
COMMENT ON VIEW difs.drain_progress IS
'chunk servers that are being emptied: copies still there and their bytes, how many of these repair has on its list (waiting), one of the reasons why it could not move some, and its round';
GRANT SELECT ON difs.drain_progress TO pg_monitor;

CREATE VIEW difs.collection_progress AS
SELECT running,
       phase,
       done,
       total,
       started,
       ended,
       outcome,
       problem,
       results[1] AS doomed,
       results[2] AS segments,
       results[3] AS orphans,
       results[4] AS groups,
       results[5] AS bytes
FROM difs.keeper_state()
WHERE duty OPERATOR(pg_catalog.=) 'collect';
COMMENT ON VIEW difs.collection_progress IS
'the round of collection that runs or ran last: its phase and how far it is there; files and versions that it has collected so far (doomed) with their segments, orphans, block groups, and bytes of all these';
GRANT SELECT ON difs.collection_progress TO pg_monitor;

--
-- Many small files at once (src/get_many.c).
--

CREATE FUNCTION difs_get_many(paths text[], OUT path text, OUT data bytea)
RETURNS SETOF record
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', 'difs_get_many';
COMMENT ON FUNCTION difs_get_many(text[]) IS
'reads many files, one row each in the order of the paths, all of one snapshot; for small ones much faster than difs_get() one by one';
REVOKE ALL ON FUNCTION difs_get_many(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION difs_get_many(text[]) TO PUBLIC;

--
-- Samples: how this database and its chunk servers were doing, from minute to minute (worker/sample.c).
--

CREATE TABLE difs.sample (
    taken           timestamptz PRIMARY KEY,
    reads           bigint NOT NULL,
    read_bytes      bigint NOT NULL,
    read_histogram  bigint[] NOT NULL,
    writes          bigint NOT NULL,
    written_bytes   bigint NOT NULL,
    write_histogram bigint[] NOT NULL,
    errors          bigint NOT NULL,
    queued          bigint,
    queued_bytes    bigint,
    in_flight       bigint,
    staged_bytes    bigint NOT NULL,
    cache_hits      bigint NOT NULL,
    cache_misses    bigint NOT NULL,
    groups_open     bigint NOT NULL,
    groups_sealed   bigint NOT NULL,
    groups_repairing bigint NOT NULL,
    copies_missing  bigint NOT NULL,
    copies_to_move  bigint NOT NULL,
    files_to_repair bigint NOT NULL,
    lost_segments   bigint NOT NULL,
    bad_copies      bigint NOT NULL,
    mended_copies   bigint NOT NULL,
    doomed          bigint NOT NULL,
    doomed_since    timestamptz
);
COMMENT ON TABLE difs.sample IS 'how this database was doing, from time to time; counts are those of difs.stat_io at that moment. Not dumped';
COMMENT ON COLUMN difs.sample.files_to_repair IS 'of the first million of their pieces';
COMMENT ON COLUMN difs.sample.doomed_since IS 'the oldest deleted content that difs.retain does not keep any more and that has not been collected';

CREATE TABLE difs.server_sample (
    taken         timestamptz NOT NULL,
    server        text COLLATE "C" NOT NULL,
    alive         boolean,
    capacity_bytes bigint,
    used_bytes    bigint,
    free_bytes    bigint,
    reads         bigint NOT NULL,
    read_bytes    bigint NOT NULL,
    read_ms       double precision NOT NULL,
    writes        bigint NOT NULL,
    written_bytes bigint NOT NULL,
    write_ms      double precision NOT NULL,
    syncs         bigint,
    sync_ms       double precision,
    PRIMARY KEY (taken, server)
);
COMMENT ON TABLE difs.server_sample IS 'how each chunk server was doing then; read_ms, write_ms and sync_ms are sums. Not dumped';
REVOKE ALL ON TABLE difs.sample, difs.server_sample FROM PUBLIC;

CREATE VIEW difs.stat_samples AS
SELECT taken, reads, read_bytes, read_histogram, writes, written_bytes, write_histogram, errors, queued, queued_bytes, in_flight, staged_bytes,
       cache_hits, cache_misses, groups_open, groups_sealed, groups_repairing, copies_missing, copies_to_move, files_to_repair, lost_segments,
       bad_copies, mended_copies, doomed, doomed_since
FROM difs.sample;
COMMENT ON VIEW difs.stat_samples IS
'how this database was doing, every difs.sample_interval for difs.sample_keep: counts of difs.stat_io and the cache at that moment, what was queued and staged, block groups by state, what was to be repaired and collected, and what scrubs have found';
CREATE VIEW difs.stat_server_samples AS
SELECT taken, server, alive, capacity_bytes, used_bytes, free_bytes, reads, read_bytes, read_ms, writes, written_bytes, write_ms, syncs, sync_ms
FROM difs.server_sample;
COMMENT ON VIEW difs.stat_server_samples IS 'the same of each chunk server; read_ms, write_ms and sync_ms are sums of all requests and syncs so far';
GRANT SELECT ON difs.stat_samples, difs.stat_server_samples TO pg_monitor;

CREATE FUNCTION difs.io_histogram(kind text)
RETURNS bigint[]
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(count ORDER BY bucket), '{}')
    FROM (SELECT bucket, sum(took)::bigint AS count FROM difs.io_counters() AS io, unnest(io.histogram) WITH ORDINALITY AS h(took, bucket)
          WHERE io.operation = kind GROUP BY bucket) AS buckets
$$;
COMMENT ON FUNCTION difs.io_histogram(text) IS 'the histogram of difs.stat_io, of all chunk servers together';
REVOKE ALL ON FUNCTION difs.io_histogram(text) FROM PUBLIC;

CREATE FUNCTION difs.take_sample(keep interval, retain interval)
RETURNS difs.sample
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    result difs.sample;
BEGIN
    INSERT INTO difs.server_sample
    SELECT moment, servers.name, servers.alive, servers.capacity_bytes, servers.used_bytes, servers.free_bytes,
           coalesce(io.reads, 0), coalesce(io.read_bytes, 0), coalesce(io.read_ms, 0),
           coalesce(io.writes, 0), coalesce(io.written_bytes, 0), coalesce(io.write_ms, 0), servers.syncs, servers.sync_ms
    FROM difs.servers
    LEFT JOIN (SELECT server, sum(operations) FILTER (WHERE operation = 'get') AS reads, sum(bytes) FILTER (WHERE operation = 'get') AS read_bytes,
                      sum(time_ms) FILTER (WHERE operation = 'get') AS read_ms,
                      sum(operations) FILTER (WHERE operation = 'put') AS writes, sum(bytes) FILTER (WHERE operation = 'put') AS written_bytes,
                      sum(time_ms) FILTER (WHERE operation = 'put') AS write_ms
               FROM difs.stat_io GROUP BY server) AS io ON io.server = servers.name;

    INSERT INTO difs.sample
    SELECT moment, io.reads, io.read_bytes, difs.io_histogram('get'), io.writes, io.written_bytes, difs.io_histogram('put'), io.errors,
           streamer.queued, streamer.queued_bytes, streamer.in_flight,
           (SELECT bytes FROM difs.staged), cache.hits, cache.misses, groups.open, groups.sealed, groups.repairing,
           copies.missing, copies.to_move,
           CASE WHEN copies.missing > 0 THEN
               (SELECT count(DISTINCT ino)
                FROM (SELECT manifest.ino FROM difs.manifest
                      WHERE block_group IN (SELECT missing.block_group FROM difs.missing WHERE reason <> 'draining') LIMIT 1000000) AS pieces)
           ELSE 0 END,
           (SELECT count(*) FROM difs.lost_segment), rot.bad, rot.mended, doomed.items, doomed.since
    FROM (SELECT coalesce(sum(operations) FILTER (WHERE operation = 'get'), 0) AS reads, coalesce(sum(bytes) FILTER (WHERE operation = 'get'), 0) AS read_bytes,
                 coalesce(sum(operations) FILTER (WHERE operation = 'put'), 0) AS writes, coalesce(sum(bytes) FILTER (WHERE operation = 'put'), 0) AS written_bytes,
                 coalesce(sum(io.errors), 0) AS errors
          FROM difs.io_counters() AS io) AS io
    CROSS JOIN difs.stat_cache AS cache
    CROSS JOIN (SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'sealed') AS sealed,
                       count(*) FILTER (WHERE state = 'repairing') AS repairing FROM difs.block_group) AS groups
    CROSS JOIN (SELECT count(*) FILTER (WHERE reason <> 'draining') AS missing, count(*) FILTER (WHERE reason = 'draining') AS to_move
                FROM difs.missing) AS copies
    CROSS JOIN (SELECT coalesce(sum(bad), 0) AS bad, coalesce(sum(mended), 0) AS mended FROM difs.scrub) AS rot
    CROSS JOIN (SELECT count(*) AS items, min(doomed) FILTER (WHERE settled AND doomed < moment - retain) AS since FROM difs.doomed) AS doomed
    LEFT JOIN difs.stat_streamer AS streamer ON true
    RETURNING * INTO result;

    DELETE FROM difs.sample WHERE taken < moment - keep;
    DELETE FROM difs.server_sample WHERE taken < moment - keep;
    RETURN result;
END
$$;
COMMENT ON FUNCTION difs.take_sample(interval, interval) IS 'adds a row to difs.sample, and one for each chunk server to difs.server_sample; removes those that are older than keep';
REVOKE ALL ON FUNCTION difs.take_sample(interval, interval) FROM PUBLIC;

--
-- Dump and restore.  All data is dumped.  Rows that this script has made itself, or the keeper since, come back from a dump as well: the
-- pristine ones make way.
--

CREATE FUNCTION difs.make_way()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE TG_TABLE_NAME
        WHEN 'cluster' THEN DELETE FROM difs.cluster;
        WHEN 'volume' THEN DELETE FROM difs.volume WHERE id = NEW.id;
        WHEN 'inode' THEN DELETE FROM difs.inode WHERE ino = NEW.ino;
        WHEN 'server' THEN
            -- the keeper may be adding it at this moment: wait for it
            LOCK TABLE difs.server IN SHARE ROW EXCLUSIVE MODE;
            DELETE FROM difs.server WHERE name = NEW.name OR id = NEW.id;
    END CASE;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION difs.make_way() IS 'trigger function: a restored row replaces the one that CREATE EXTENSION made';
REVOKE ALL ON FUNCTION difs.make_way() FROM PUBLIC;

-- Only rows that come by SQL, as from a dump, fire these: the functions of difs write without triggers.
CREATE TRIGGER make_way BEFORE INSERT ON difs.cluster FOR EACH ROW EXECUTE FUNCTION difs.make_way();
CREATE TRIGGER make_way BEFORE INSERT ON difs.server FOR EACH ROW WHEN (NEW.embedded) EXECUTE FUNCTION difs.make_way();
CREATE TRIGGER make_way BEFORE INSERT ON difs.volume FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION difs.make_way();
CREATE TRIGGER make_way BEFORE INSERT ON difs.inode FOR EACH ROW WHEN (NEW.ino = 16) EXECUTE FUNCTION difs.make_way();

SELECT pg_catalog.pg_extension_config_dump('difs.cluster', '');
SELECT pg_catalog.pg_extension_config_dump('difs.volume', '');
SELECT pg_catalog.pg_extension_config_dump('difs.inode', '');
SELECT pg_catalog.pg_extension_config_dump('difs.dentry', '');
SELECT pg_catalog.pg_extension_config_dump('difs.version', '');
SELECT pg_catalog.pg_extension_config_dump('difs.manifest', '');
SELECT pg_catalog.pg_extension_config_dump('difs.block_group', '');
SELECT pg_catalog.pg_extension_config_dump('difs.server', '');
SELECT pg_catalog.pg_extension_config_dump('difs.doomed', '');
SELECT pg_catalog.pg_extension_config_dump('difs.hold', '');
SELECT pg_catalog.pg_extension_config_dump('difs.inventory', 'WHERE false'); -- what was restored is judged anew
SELECT pg_catalog.pg_extension_config_dump('difs.upload', 'WHERE false'); -- an upload is with the servers of this very database
SELECT pg_catalog.pg_extension_config_dump('difs.receipt', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('difs.volume_id', '');
SELECT pg_catalog.pg_extension_config_dump('difs.ino', '');
SELECT pg_catalog.pg_extension_config_dump('difs.block_group_id', '');
SELECT pg_catalog.pg_extension_config_dump('difs.server_id', '');
SELECT pg_catalog.pg_extension_config_dump('difs.segment_id', '');
