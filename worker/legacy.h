/*
 * legacy.h - what is left on chunk servers when a database or the extension is dropped.
 *
 * The tables are gone then, and with them the knowledge of which servers have
 * block groups of theirs.  So before the drop is committed that is written to a
 * file, "<database>.<cluster>.dropping" in the directory "dropped" of
 * difs.local_directory.  It becomes ".dropped" when it is certain that the drop was
 * committed, and then the remover drops all groups, and removes the file when no
 * server has any left.
 *
 *	 .dropping --- extension or database is gone ---> .dropped --- all servers are done ---> no file
 *	     '-------- still there (rolled back) --------------------------------------------------^
 *
 * A crash at any moment leaves a file, which is judged anew after the restart.
 */
#ifndef DIFS_LEGACY_H
#define DIFS_LEGACY_H

#include "postgres.h"

#include "src/shmem.h"

typedef struct DifsLegacy
{
	char path[MAXPGPATH];
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 epoch;
	uint8 claim[DIFS_CLAIM_SIZE]; /* with which the database held it: who does not may not delete */
	int server_count;
	struct
	{
		char name[DIFS_NAME_SIZE];
		char host[256];
		uint16 port;
	} servers[DIFS_MAX_SERVERS];
} DifsLegacy;

/* Backend, in the transaction that drops: writes the file of a database, if it has workers. Errors out if it cannot. */
extern void difs_legacy_write(Oid database);

/* Keeper: the extension of this database is gone (cluster NULL), or has this identity. */
extern void difs_legacy_judge(const uint8 *cluster);

/* Launcher: judges those of databases that do not exist. True if there is something for the remover. */
extern bool difs_legacy_wanted(void);

/* Remover: the files one after the other, beginning after *name (empty: the first). */
extern bool difs_legacy_next(char name[MAXPGPATH], DifsLegacy *legacy);

#endif
