/*
 * claim.h - the right of one data directory to write to and delete from its segments.
 *
 * The claim of a database is an epoch and 16 random bytes.  Three places know it:
 *
 *	difs.cluster    uuid and epoch; travels with dumps, backups and replication
 *	a file          of the data directory: epoch, random bytes, and the place where it was written (claim_file.c).
 *	                In a copy, a restored backup or a promoted standby the place is another one, so the file is void
 *	chunk servers   the highest epoch that they have seen, and the random bytes that came with it first (wire.h)
 *
 * A database holds the claim if file and table agree and the place is right.  The
 * keeper finds that out when it starts, and it stays so for the life of the
 * database's entry in shared memory.  If a server then says that it obeys a higher
 * epoch, the file is marked as lost, and the workers start anew, without the claim
 * (worker/claim_watch.c).  Without it nothing is written or deleted, neither
 * segments nor rows of files; all can be read.
 *
 * CREATE EXTENSION makes the first claim, of epoch 1, which no server needs to
 * know: nobody else has the uuid.  difs_claim() raises the epoch on a majority of
 * the servers in difs.server, then writes the file, then the table, and starts the
 * workers anew.  If it dies in between, file and table do not agree, and nobody
 * holds the claim until difs_claim() is called again.  As ids of segments and
 * block groups begin with the epoch, none is ever used twice.
 */
#ifndef DIFS_CLAIM_H
#define DIFS_CLAIM_H

#include "postgres.h"

#include "common/conn.h"
#include "src/shmem.h"

typedef struct DifsClaim
{
	uint64 epoch;
	uint8 id[DIFS_CLAIM_SIZE];
} DifsClaim;

typedef enum DifsClaimState /* of the file */
{
	DIFS_CLAIM_NONE, /* there is none */
	DIFS_CLAIM_HELD,
	DIFS_CLAIM_VOID, /* written in another place */
	DIFS_CLAIM_LOST	 /* a server has told of a higher epoch */
} DifsClaimState;

/* Who this database is to chunk servers, and the epoch of its claim: the row of difs.cluster as it is now. */
extern void difs_cluster_read(uint8 *uuid, uint64 *epoch);

/* The file of this database in this data directory. *why is a sentence about every state but HELD; *claim is what the
 * file says, whatever its state, but for NONE. Not during recovery. */
extern DifsClaimState difs_claim_file_read(const uint8 *cluster, DifsClaim *claim, const char **why);

/* Whether this data directory has the claim, by that file and by the epoch that difs.cluster has. */
extern DifsClaimState difs_claim_read(const uint8 *cluster, uint64 epoch, DifsClaim *claim, const char **why);

/* Writes it, durably, HELD or LOST. */
extern void difs_claim_file_write(const uint8 *cluster, const DifsClaim *claim, DifsClaimState state);

/* Inode number and time of birth of a file, as far as the file system knows them; NULL, with errno, if it is not there.
 * No program that copies files can give a copy the same. */
extern char *difs_claim_birth(const char *file);

/* Is it certain that nobody else holds the claim? Only while a majority of the servers obeys us: for what cannot be
 * taken back, such as deleting segments.  What the keeper last heard counts for difs.server_timeout and two of
 * difs.health_interval: ARCHITECTURE.md says why that is enough. */
extern bool difs_claim_confirmed(DifsDatabase *database);

/* Errors out (55000) without the claim. While the workers do not run yet, file and table are read. */
extern void difs_claim_require(void);

/* Do the workers run and know that it does? Without an error or a look at files. */
extern bool difs_claim_held(void);

/* As whom a process of that database talks to chunk servers: with its claim, or as a reader. database may be NULL. */
extern void difs_claim_introduce(DifsDatabase *database, DifsPeer *peer);

/*
 * Taking the claim, in three steps, so that a worker can have the second between two transactions:
 * prepare reads the tables, win goes to the servers and errors out unless a majority obeys (claim_round.c), record
 * writes file and table and has the workers start anew at commit.
 */
typedef struct DifsClaimTry DifsClaimTry;
extern DifsClaimTry *difs_claim_prepare(MemoryContext context);
extern void difs_claim_win(DifsClaimTry *try);
extern uint64 difs_claim_record(DifsClaimTry *try); /* the new epoch */

#endif
