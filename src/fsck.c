/*
 * fsck.c - difs_fsck(): the tables against each other.
 *
 * Each check is a query over whole tables that returns what is wrong; a healthy store
 * gives no row.  Rows of doomed content are what the keeper has yet to collect: they are
 * complete or not, and nobody's problem.
 *
 * No state.  Nothing is changed.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "src/fsck.h"
#include "src/marker.h"
#include "src/report.h"

#define FETCH_ROWS 1000

#define NOT_DOOMED(version)                                                   \
	" NOT EXISTS (SELECT FROM difs.doomed WHERE doomed.ino = " version ".ino" \
	" AND (doomed.version IS NULL OR doomed.version = " version ".version))"
#define INODE(ino) "'inode ' || " ino " || coalesce(' (' || difs.path_of(" ino ") || ')', '')"
#define VERSION(v) "'version ' || " v ".version || ' of inode ' || " v ".ino || coalesce(' (' || difs.path_of(" v ".ino) || ')', '')"
#define MAPPED(m, v) m ".ino = coalesce(" v ".map_ino, " v ".ino)"                                                 \
					   " AND " m ".from_version BETWEEN " v ".base AND coalesce(" v ".map_version, " v ".version)" \
					   " AND (" m ".to_version IS NULL OR " m ".to_version > coalesce(" v ".map_version, " v ".version))"

/* Bytes that are not in holes; and those of a version without segments are in difs.inline (src/inline.h). */
#define COVERED(v) "(" v ".size - coalesce(" v ".holes, 0))"
#define IS_INLINE(v) "(" v ".segments = 0 AND " COVERED(v) " > 0)"

/* Ids have an epoch in front (src/ids.h). */
#define NUMBER_OF(id) "(" id " & ((1::bigint << 41) - 1))"

/* clang-format off */
static const DifsCheck checks[] = {
	{"entry without inode",
		"SELECT 'entry \"' || d.name || '\" of inode ' || d.parent, 'inode ' || d.ino || ' does not exist'"
		" FROM difs.dentry d WHERE NOT EXISTS (SELECT FROM difs.inode i WHERE i.ino = d.ino)",
	"Delete the row of difs.dentry."},
	{"entry without directory",
		"SELECT 'entry \"' || d.name || '\" of inode ' || d.parent, CASE WHEN i.ino IS NULL"
		" THEN 'the directory does not exist' ELSE 'that is not a directory' END"
		" FROM difs.dentry d LEFT JOIN difs.inode i ON i.ino = abs(d.parent) WHERE i.kind IS DISTINCT FROM 'd'"
		" AND NOT EXISTS (SELECT FROM difs.dropped WHERE dropped.ino = abs(d.parent))",
	"Give the row of difs.dentry a directory that exists as its parent, or delete it."},
	{"inode without entry",
		"SELECT 'inode ' || i.ino, 'no directory names it; it has version ' || i.version || ' and ' || i.size || ' bytes'"
		" FROM difs.inode i WHERE NOT EXISTS (SELECT FROM difs.dentry d WHERE d.ino = i.ino)"
		" AND NOT EXISTS (SELECT FROM difs.volume v WHERE v.root = i.ino)"
		" AND NOT EXISTS (SELECT FROM difs.discarded t WHERE t.ino = i.ino)",
	"Insert a row into difs.dentry that names it, or delete the inode and insert it into difs.doomed."},
	{"unreachable inode",
		"WITH RECURSIVE reached (ino) AS (SELECT root FROM difs.volume UNION SELECT ino FROM difs.dropped UNION SELECT ino FROM difs.discarded"
		" UNION SELECT dentry.ino FROM reached" DIFS_JOIN_ENTRIES("reached") ")"
		" SELECT 'inode ' || i.ino, 'no way leads from the root of a volume to it'"
		" FROM difs.inode i WHERE NOT EXISTS (SELECT FROM reached WHERE reached.ino = i.ino)"
		" AND EXISTS (SELECT FROM difs.dentry d WHERE d.ino = i.ino)",
	"A directory above it is below itself, or has no entry: give its row of difs.dentry another parent."},
	{"wrong link count",
		"SELECT " INODE("i.ino") ", 'nlink is ' || i.nlink || ', entries are ' || n.entries"
		" FROM difs.inode i CROSS JOIN LATERAL (SELECT count(*) AS entries FROM difs.dentry d WHERE d.ino = i.ino) AS n"
		" WHERE n.entries > 0 AND (i.kind <> 'd' AND i.nlink <> n.entries OR i.kind = 'd' AND n.entries > 1)",
	"Update difs.inode.nlink; a directory may have one entry only."},
	{"inode without volume",
		"SELECT " INODE("i.ino") ", 'volume ' || i.volume || ' does not exist' FROM difs.inode i"
		" WHERE NOT EXISTS (SELECT FROM difs.volume v WHERE v.id = i.volume)"
		" AND NOT EXISTS (SELECT FROM difs.dropped d WHERE d.volume = i.volume)",
	"Update difs.inode.volume."},
	{"volume without root",
		"SELECT 'volume \"' || v.name || '\"', 'its root, inode ' || v.root || ', ' || CASE WHEN i.ino IS NULL"
		" THEN 'does not exist' WHEN i.kind <> 'd' THEN 'is not a directory' ELSE 'is in another volume' END"
		" FROM difs.volume v LEFT JOIN difs.inode i ON i.ino = v.root"
		" WHERE i.kind IS DISTINCT FROM 'd' OR i.volume <> v.id",
	"Insert a directory with this number and volume into difs.inode."},
	{"version without inode",
		"SELECT 'version ' || v.version || ' of inode ' || v.ino, 'the inode does not exist, and nothing says that it was deleted'"
		" FROM difs.version v WHERE NOT EXISTS (SELECT FROM difs.inode i WHERE i.ino = v.ino) AND" NOT_DOOMED("v"),
	"Insert the inode into difs.doomed, so that the keeper collects it."},
	{"inode without current version",
		"SELECT " INODE("i.ino") ", 'version ' || i.version || ' does not exist' FROM difs.inode i"
		" WHERE i.kind = 'f' AND NOT EXISTS (SELECT FROM difs.version v WHERE v.ino = i.ino AND v.version = i.version)",
	"Update version and size of difs.inode to those of its newest row of difs.version."},
	{"wrong size",
		"SELECT " INODE("i.ino") ", 'the inode has ' || i.size || ' bytes, its current version ' || v.size"
		" FROM difs.inode i JOIN difs.version v ON v.ino = i.ino AND v.version = i.version WHERE i.kind = 'f' AND i.size <> v.size",
	"Update difs.inode.size."},
	{"wrong extent",
		"SELECT " INODE("i.ino") ", 'the inode says that version ' || i.version || ' is in one piece, in segments of ' || i.extent || ' bytes, and it is not'"
		" FROM difs.inode i JOIN difs.version v ON v.ino = i.ino AND v.version = i.version WHERE i.extent IS NOT NULL"
		" AND (i.extent <> v.extent OR v.map_ino IS NOT NULL OR v.base <> v.version OR v.holes IS NOT NULL OR v.deleted"
		"  OR v.segments = 0 OR v.segments <> (v.size + v.extent - 1) / v.extent)",
	"Set difs.inode.extent to null."},
	{"copy of nothing",
		"SELECT " VERSION("v") ", 'its bytes are those of inode ' || v.map_ino || ', which has none'"
		" FROM difs.version v WHERE v.map_ino IS NOT NULL AND v.segments > 0 AND" NOT_DOOMED("v")
		" AND NOT EXISTS (SELECT FROM difs.manifest m WHERE m.ino = v.map_ino)",
	"The content is lost: restore it from a backup, or delete the version."},
	{"wrong manifest",
		"SELECT " VERSION("v") ", concat_ws('; ',"
		" CASE WHEN n.segments <> v.segments AND v.map_ino IS NULL THEN n.segments || ' rows of the manifest instead of ' || v.segments END,"
		" CASE WHEN n.overlaps THEN 'rows overlap' END,"
		" CASE WHEN n.past > v.size THEN 'rows reach to ' || n.past || ' of ' || v.size || ' bytes' END,"
		" CASE WHEN n.longest > v.extent THEN 'a row has ' || n.longest || ' bytes, more than its extent says' END,"
		" CASE WHEN n.bytes <> " COVERED("v") " AND NOT " IS_INLINE("v") " THEN 'rows cover ' || n.bytes || ' of ' || " COVERED("v") " || ' bytes' END)"
		" FROM difs.version v CROSS JOIN LATERAL ("
		"  SELECT count(*) AS segments, coalesce(sum(length), 0) AS bytes, coalesce(max(file_offset + length), 0) AS past,"
		"   coalesce(bool_or(file_offset < before), false) AS overlaps, coalesce(max(length), 0) AS longest FROM ("
		"   SELECT m.file_offset, m.length, lag(m.file_offset + m.length) OVER (ORDER BY m.file_offset) AS before"
		"   FROM difs.manifest m WHERE " MAPPED("m", "v") ") AS extent) AS n"
		" WHERE (n.segments <> v.segments AND v.map_ino IS NULL OR n.overlaps OR n.past > v.size OR n.longest > v.extent"
		"  OR n.bytes <> " COVERED("v") " AND NOT " IS_INLINE("v") ") AND" NOT_DOOMED("v")
		" AND (v.map_ino IS NULL OR n.segments > 0)",
	"What no row covers is lost: restore the version from a backup, or delete it."},
	{"manifest without version",
		"SELECT 'segment ' || m.segment || ' of inode ' || m.ino, 'no version has its ' || m.length || ' bytes at ' || m.file_offset"
		" FROM difs.manifest m WHERE NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = m.ino)"
		" AND NOT EXISTS (SELECT FROM difs.version v WHERE v.ino = m.ino AND v.map_ino IS NULL AND " MAPPED("m", "v") ")"
		" AND NOT EXISTS (SELECT FROM difs.version v WHERE v.map_ino = m.ino AND " MAPPED("m", "v") ")",
	"Delete the row of difs.manifest; the keeper collects the segment."},
	{"wrong part of segment",
		"SELECT 'segment ' || m.segment || ' of inode ' || m.ino, 'the ' || m.length || ' bytes at ' || m.file_offset"
		" || ' begin at ' || m.segment_offset || ' of its ' || m.raw_length || ' bytes' FROM difs.manifest m"
		" WHERE m.length <= 0 OR m.segment_offset < 0 OR m.segment_offset::bigint + m.length > m.raw_length"
		" OR m.to_version <= m.from_version",
	"The row of difs.manifest is damaged: restore the file from a backup."},
	{"rows disagree",
		"SELECT 'segment ' || m.segment, 'its rows name ' || count(DISTINCT (m.block_group, m.raw_length, m.stored_length, m.codec, m.crc))"
		" || ' different places, lengths or checksums' FROM difs.manifest m GROUP BY m.segment"
		" HAVING min(m.block_group) <> max(m.block_group) OR min(m.raw_length) <> max(m.raw_length)"
		" OR min(m.stored_length) <> max(m.stored_length) OR min(m.codec) <> max(m.codec) OR min(m.crc) <> max(m.crc)",
	"The segment's header on a server says which is right; update the other rows of difs.manifest."},
	{"wrong inline content",
		"SELECT " VERSION("v") ", CASE WHEN i.ino IS NULL THEN 'difs.inline does not have it'"
		" ELSE 'difs.inline has ' || octet_length(i.bytes) || ' of ' || v.size || ' bytes' END"
		" FROM difs.version v LEFT JOIN difs.inline i"
		" ON i.ino = coalesce(v.map_ino, v.ino) AND i.version = coalesce(v.map_version, v.version)"
		" WHERE " IS_INLINE("v") " AND NOT v.deleted AND octet_length(i.bytes) IS DISTINCT FROM v.size AND" NOT_DOOMED("v"),
	"The content is lost: restore the version from a backup, or delete it."},
	{"inline content without version",
		"SELECT 'version ' || i.version || ' of inode ' || i.ino, 'no version has its ' || octet_length(i.bytes) || ' bytes'"
		" FROM difs.inline i WHERE NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = i.ino)"
		" AND NOT EXISTS (SELECT FROM difs.version v WHERE v.ino = i.ino AND coalesce(v.map_ino, v.ino) = i.ino"
		"  AND coalesce(v.map_version, v.version) = i.version AND " IS_INLINE("v") ")"
		" AND NOT EXISTS (SELECT FROM difs.version v WHERE v.map_ino = i.ino AND v.map_version = i.version AND " IS_INLINE("v") ")",
	"Delete the row of difs.inline."},
	{"unknown block group",
		"SELECT 'segment ' || m.segment || ' of inode ' || m.ino, 'block group ' || m.block_group || ' does not exist'"
		" FROM difs.manifest m WHERE m.block_group <> 0 AND NOT EXISTS (SELECT FROM difs.block_group g WHERE g.id = m.block_group)"
		" AND NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = m.ino)",
	"If a server still has the group, insert it into difs.block_group with the servers that have it; difs_fsck(deep => true) names them."},
	{"missing staged segment",
		"SELECT 'segment ' || m.segment || ' of inode ' || m.ino, CASE WHEN s.segment IS NULL THEN 'difs.staging does not have it'"
		" ELSE 'difs.staging has ' || octet_length(s.bytes) || ' bytes of it instead of ' || m.stored_length END"
		" FROM difs.manifest m LEFT JOIN difs.staging s ON s.segment = m.segment WHERE m.block_group = 0"
		" AND (s.segment IS NULL OR octet_length(s.bytes) <> m.stored_length)"
		" AND NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = m.ino)",
	"Its bytes are lost: restore the file from a backup, or delete it."},
	{"unknown server",
		"SELECT 'block group ' || g.id, 'member ' || coalesce(member.server::text, 'null') || ' is not a server'"
		" FROM difs.block_group g CROSS JOIN LATERAL unnest(g.members) AS member (server)"
		" WHERE NOT EXISTS (SELECT FROM difs.server s WHERE s.id = member.server AND s.state <> 'removed')",
	"Add the server again, or take it out of difs.block_group.members, so that the keeper finds another."},
	{"wrong members",
		"SELECT 'block group ' || g.id, n.different || ' different members instead of ' || g.replicas FROM difs.block_group g"
		" CROSS JOIN LATERAL (SELECT count(DISTINCT server) AS different, count(*) AS entries FROM unnest(g.members) AS member (server)) AS n"
		" WHERE n.different < g.replicas AND g.state <> 'repairing' OR n.different <> n.entries",
	"The keeper repairs it when there are enough servers; take out what stands there twice."},
	{"sequence behind",
		"SELECT 'sequence difs.' || name, 'it has come to ' || reached || ', and ' || used || ' is in use' FROM ("
		" SELECT 'ino', last_value - (NOT is_called)::int, (SELECT max(ino) FROM difs.inode) FROM difs.ino"
		" UNION ALL SELECT 'volume_id', last_value - (NOT is_called)::int, (SELECT max(id) FROM difs.volume) FROM difs.volume_id"
		" UNION ALL SELECT 'server_id', last_value - (NOT is_called)::int, (SELECT max(id) FROM difs.server) FROM difs.server_id"
		" UNION ALL SELECT 'block_group_id', last_value - (NOT is_called)::int, (SELECT max(" NUMBER_OF("id") ") FROM difs.block_group,"
		"  difs.cluster WHERE id >> 41 = cluster.epoch) FROM difs.block_group_id"
		" UNION ALL SELECT 'segment_id', last_value - (NOT is_called)::int, (SELECT max(" NUMBER_OF("segment") ") / 8192"
		"  FROM difs.manifest, difs.cluster WHERE segment >> 41 = cluster.epoch) FROM difs.segment_id"
		" UNION ALL SELECT 'upload_id', last_value - (NOT is_called)::int, (SELECT max(" NUMBER_OF("id") ") FROM difs.upload,"
		"  difs.cluster WHERE id >> 41 = cluster.epoch) FROM difs.upload_id) AS s (name, reached, used)"
		" WHERE used > reached",
	"Move it on with setval(), at once: numbers must not be used twice."},
	{"upload to unknown block group",
		"SELECT 'segment ' || r.number || ' of upload ' || r.upload || ' to ' || u.path, 'block group ' || r.block_group || ' does not exist'"
		" FROM difs.receipt r JOIN difs.upload u ON u.id = r.upload"
		" WHERE NOT EXISTS (SELECT FROM difs.block_group g WHERE g.id = r.block_group)",
	"The upload cannot be committed with it: cancel it with difs_upload_cancel(), or delete the rows of difs.receipt and send the segment again."},
	{"doomed and alive",
		"SELECT " INODE("i.ino") ", CASE WHEN d.version IS NULL THEN 'the inode' ELSE 'its current version, ' || d.version || ',' END"
		" || ' is to be collected' FROM difs.doomed d JOIN difs.inode i ON i.ino = d.ino"
		" WHERE d.version IS NULL OR i.kind = 'f' AND d.version = i.version",
	"Delete the row of difs.doomed, before the keeper acts."},
	{"unknown role",
		"SELECT CASE WHEN named.volume IS NULL THEN " INODE("named.ino") " ELSE 'volume \"' || named.volume || '\"' END,"
		" named.what || ' ' || named.role || ' is not a role' FROM ("
		" SELECT NULL AS volume, ino, 'owner' AS what, owner::oid AS role FROM difs.inode"
		" UNION ALL SELECT NULL, ino, 'group', grp FROM difs.inode WHERE grp IS NOT NULL"
		" UNION ALL SELECT NULL, ino, 'access entry of', unnest(acl_role) FROM difs.inode WHERE acl_role IS NOT NULL"
		" UNION ALL SELECT name, NULL, 'owner', owner FROM difs.volume) AS named"
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = named.role)",
	"It was dropped, or not restored. difs_reassign() gives what it owned to another role and takes away its access entries."},
	{"wrong access entries",
		"SELECT " INODE("i.ino") ", 'mode ' || i.mode || ', access entries ' || concat_ws(' ', i.acl_role, i.acl_mode) FROM difs.inode i"
		" WHERE i.mode NOT BETWEEN 0 AND 4095 OR cardinality(i.acl_role) IS DISTINCT FROM cardinality(i.acl_mode)"
		" OR cardinality(i.acl_role) NOT BETWEEN 1 AND 64 OR EXISTS (SELECT FROM unnest(i.acl_mode) AS m (mode)"
		"  WHERE m.mode IS NULL OR m.mode NOT BETWEEN 1 AND 63) OR EXISTS (SELECT FROM unnest(i.acl_role) AS r (role) GROUP BY role HAVING count(*) > 1)",
	"Set acl_role and acl_mode of the row of difs.inode to null, and grant anew."},
	{"lost segment",
		"SELECT 'segment ' || segment || ' of version ' || version || ' of ' || path,"
		" 'no good copy in block group ' || block_group || ' on ' || array_to_string(servers, ', ')"
		" FROM (SELECT l.segment, v.version, coalesce(difs.path_of(v.ino), 'inode ' || v.ino) AS path, l.block_group,"
		"  (SELECT g.members FROM difs.block_groups g WHERE g.id = l.block_group) AS servers"
		"  FROM difs.lost_segment l CROSS JOIN LATERAL difs.segment_versions(ARRAY[l.segment]) AS v) AS lost",
	"Bring back a server or disk that has a good copy and scrub again, or restore the file from a backup."},
	{"wrong target",
		"SELECT " INODE("i.ino") ", CASE i.kind WHEN 'l' THEN 'a symbolic link without a target' ELSE 'only symbolic links have a target' END"
		" FROM difs.inode i WHERE (i.kind = 'l') <> (coalesce(i.target, '') <> '')",
	"Update difs.inode.target, or delete the link with difs_delete()."},
	{"wrong attributes",
		"SELECT " INODE("i.ino") ", 'its attributes are of type ' || jsonb_typeof(i.attrs) FROM difs.inode i"
		" WHERE jsonb_typeof(i.attrs) <> 'object'",
	"Update difs.inode.attrs to an object, or null."},
	{"wrong usage",
		"WITH RECURSIVE below (root, ino) AS ("
		" SELECT q.root, d.ino FROM difs.quota q JOIN difs.dentry d ON d.parent = q.root"
		" UNION SELECT b.root, d.ino FROM below b JOIN difs.dentry d ON d.parent = b.ino),"
		" walked AS (SELECT b.root, sum(i.size) AS bytes, count(*) AS files FROM below b JOIN difs.inode i ON i.ino = b.ino GROUP BY b.root),"
		" counted AS (SELECT root, sum(bytes) AS bytes, sum(files) AS files FROM"
		"  (SELECT root, bytes, files FROM difs.usage UNION ALL SELECT root, bytes, files FROM difs.own_usage()) AS part GROUP BY root)"
		" SELECT " INODE("q.root") ", 'below it are ' || coalesce(w.bytes, 0) || ' bytes in ' || coalesce(w.files, 0) || ' files,"
		" and counted are ' || coalesce(c.bytes, 0) || ' in ' || coalesce(c.files, 0)"
		" FROM difs.quota q LEFT JOIN walked w ON w.root = q.root LEFT JOIN counted c ON c.root = q.root"
		" WHERE coalesce(w.bytes, 0) <> coalesce(c.bytes, 0) OR coalesce(w.files, 0) <> coalesce(c.files, 0)",
	"Set the quota anew: difs_quota_drop(), difs_quota_set()."},
	{"quota without directory",
		"SELECT 'inode ' || q.root, 'it has a quota, and is not a directory of volume ' || q.volume || ', or that counts nothing'"
		" FROM difs.quota q WHERE NOT EXISTS (SELECT FROM difs.inode i JOIN difs.volume v ON v.id = i.volume"
		"  WHERE i.ino = q.root AND i.kind = 'd' AND v.id = q.volume AND v.accounting >= CASE WHEN v.root = q.root THEN 1 ELSE 2 END)",
	"Delete the rows of difs.quota and difs.usage."},
	{"usage without quota",
		"SELECT 'inode ' || u.root, count(*) || ' rows of difs.usage' FROM difs.usage u"
		" WHERE NOT EXISTS (SELECT FROM difs.quota q WHERE q.root = u.root) GROUP BY u.root",
	"Delete the rows of difs.usage."},
	{"wrong history",
		"SELECT " INODE("i.ino") ", CASE WHEN d.parent < 0 THEN 'it is in the history of deleted files, but its current version ' || i.version"
		" || ' has content' ELSE 'it has a name, but its current version ' || i.version || ' says that it was deleted' END"
		" FROM difs.inode i JOIN difs.dentry d ON d.ino = i.ino JOIN difs.version v ON v.ino = i.ino AND v.version = i.version"
		" WHERE i.kind = 'f' AND v.deleted <> (d.parent < 0)",
	"Call difs_undelete() or difs_delete() with a version, or move its row in difs.dentry."},
	{"wrong version number",
		"SELECT " INODE("i.ino") ", 'version ' || v.version || ' is beyond the current one, ' || i.version FROM difs.inode i"
		" JOIN difs.version v ON v.ino = i.ino AND v.version > i.version WHERE i.kind = 'f'",
	"Update version and size of difs.inode to those of its newest row of difs.version."},
	{"version let go of and forgotten",
		"SELECT " VERSION("v") ", 'nothing says that it is to be collected' FROM difs.version v WHERE v.version < 0 AND" NOT_DOOMED("v"),
	"Insert it into difs.doomed, so that the keeper collects it."},
	{"wrong count of numbers",
		"SELECT " INODE("i.ino") ", 'it has given out ' || coalesce(i.let_go, 0) || ' numbers below zero, and ' || v.lowest || ' is in use'"
		" FROM difs.inode i JOIN (SELECT ino, min(least(version, CASE WHEN map_ino = ino THEN map_version END)) AS lowest"
		"  FROM difs.version GROUP BY ino) AS v ON v.ino = i.ino WHERE -coalesce(i.let_go, 0) > v.lowest",
	"Update difs.inode.let_go."},
	{"policy without file",
		"SELECT 'policy of inode ' || p.ino, 'the inode ' || CASE WHEN i.ino IS NULL THEN 'does not exist' ELSE 'does not know of it' END"
		" FROM difs.file_policy p LEFT JOIN difs.inode i ON i.ino = p.ino WHERE i.policy IS NOT TRUE OR i.volume <> p.volume",
	"Update policy of difs.inode, or delete the row of difs.file_policy."},
	{"trash without inode",
		"SELECT 'trash ' || t.id || ' (' || t.path || ')', 'inode ' || t.ino || CASE WHEN i.ino IS NULL THEN ' does not exist'"
		" ELSE ' has a name' END FROM difs.discarded t LEFT JOIN difs.inode i ON i.ino = t.ino"
		" WHERE i.ino IS NULL OR EXISTS (SELECT FROM difs.dentry d WHERE d.ino = t.ino)",
	"Delete the row of difs.discarded."},
};
/* clang-format on */

void
difs_fsck_run(ReturnSetInfo *result, const DifsCheck *wanted, int count)
{
	for (int i = 0; i < count; i++)
	{
		Portal portal = SPI_cursor_open_with_args(NULL, wanted[i].query, 0, NULL, NULL, NULL, false, 0);

		for (;;)
		{
			SPI_cursor_fetch(portal, true, FETCH_ROWS);
			if (SPI_processed == 0)
				break;
			for (uint64 row = 0; row < SPI_processed; row++)
			{
				bool null;
				Datum object = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &null);
				Datum detail = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2, &null);

				difs_fsck_report(result, wanted[i].kind, object, detail, wanted[i].hint);
			}
			SPI_freetuptable(SPI_tuptable);
		}
		SPI_cursor_close(portal);
	}
}

/* object and detail are texts; detail may be 0. */
void
difs_fsck_report(ReturnSetInfo *result, const char *kind, Datum object, Datum detail, const char *hint)
{
	Datum values[] = {CStringGetTextDatum(kind), object, detail, CStringGetTextDatum(hint)};
	bool nulls[] = {false, object == 0, detail == 0, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(difs_fsck);

Datum
difs_fsck(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	DIFS_ARG_NOT_NULL(0, "deep");
	DIFS_ARG_NOT_NULL(1, "digests");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	difs_fsck_run(result, checks, lengthof(checks));
	if (PG_GETARG_BOOL(0))
		difs_fsck_deep(result);
	if (PG_GETARG_BOOL(1))
		difs_fsck_digests(result);
	SPI_finish();
	return (Datum) 0;
}
