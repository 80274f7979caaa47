/*
 * repair.h - which server holds which copy of a block group, and making lost copies anew.
 *
 *	repair.c         a round: survey, then work
 *	repair_survey.c  judges every copy and writes down, in difs.missing, what is wrong
 *	repair_copies.c  what servers say that they hold
 *	repair_rows.c    rows of difs.block_group and difs.missing
 *	replace.c        one copy: chosen, pulled, entered into the row
 *	drain.c          servers that are to be emptied, and that are empty
 *	rebalance.c      copies that move from full servers to empty ones
 *
 * All of it runs in the process of a round (duties.h).  No transaction is open while a server is waited for, but for one
 * without a snapshot.
 */
#ifndef DIFS_REPAIR_H
#define DIFS_REPAIR_H

#include "postgres.h"

#include "src/call.h"
#include "src/shmem.h"
#include "worker/duties.h"

/* A row of difs.block_group that is sealed. */
typedef struct DifsSealedGroup
{
	uint64 id;
	DifsClass class;
	int members;
	int32 member[DIFS_MAX_REPLICAS];
	uint64 epoch; /* of the claim */
	uint64 generation;
	uint64 capacity_bytes;
	bool sizes_known; /* the row has them: somebody answered when it was sealed */
} DifsSealedGroup;

/* What a server says of a copy. */
typedef struct DifsCopy
{
	int32 server;
	DifsGroupEntry entry;
} DifsCopy;

typedef struct DifsCopies
{
	int count;
	int allocated;
	DifsCopy *copies; /* sorted by group */
	int silent_count;
	int32 silent[DIFS_MAX_SERVERS]; /* that did not answer when they were asked */
} DifsCopies;

/* How a member's copy is. */
typedef enum DifsVerdict
{
	DIFS_COPY_GOOD,
	DIFS_COPY_AWAY,		/* its server does not answer, but not for long: it is waited for */
	DIFS_COPY_DRAINING, /* good, but its server is to be emptied */
	DIFS_COPY_LOST,		/* its server does not answer for long, or has been removed */
	DIFS_COPY_ABSENT,	/* its server answers and does not have it */
	DIFS_COPY_FAILED,	/* a write or sync of it failed */
	DIFS_COPY_SHORT		/* it lacks segments that others have */
} DifsVerdict;

typedef struct DifsJudgement
{
	DifsVerdict verdict[DIFS_MAX_REPLICAS]; /* of each member */
	int holder_count;						/* servers that have a copy and answer, best first, members or not */
	int32 holder[DIFS_MAX_SERVERS];
	uint64 highest_epoch; /* of any copy, and of what the row says */
	uint64 file_bytes;	  /* of the longest copy */
	bool unsure;		  /* copies differ, and a server did not say what it has */
} DifsJudgement;

/* repair.c: the round. */
extern void difs_repair_round(void);

/* Transactions as in duties.h; the process ends if the extension has gone. After commit, the memory context is that of before
 * begin. */
extern void difs_repair_begin(void);
extern void difs_repair_commit(void);

/* The servers that are not removed, in the current memory context: their health from shared memory, their state from the table, which
 * may be newer; and one of them, NULL if it is not there. */
extern DifsSharedServer *difs_repair_servers(int *count);
extern const DifsSharedServer *difs_repair_server(const DifsSharedServer *servers, int count, int32 id);

/* A request, in a transaction without a snapshot; replies in the current memory context. */
extern bool difs_repair_call(int32 server, DifsMessage message, const void *control, uint32 length, DifsReply *reply,
							 DifsError *error);

/* repair_copies.c: what all servers that are alive have of the groups in (after, last]. */
extern DifsCopies *difs_copies_list(const DifsSharedServer *servers, int count, uint64 after, uint64 last);
extern bool difs_copies_silent(const DifsCopies *copies, int32 server);

/* The first copy of a group, of *count in a row; and that of one server, NULL if it has none. */
extern DifsCopy *difs_copies_find(const DifsCopies *copies, uint64 group, int *count);
extern DifsCopy *difs_copies_of(const DifsCopies *copies, uint64 group, int32 server);

/* Which of the servers' copies lack a segment that another one has and that a file may need: lacking[] is parallel. False if one
 * of them did not answer. */
extern bool difs_copies_compare(uint64 group, const int32 *servers, int count, bool *lacking);

/* repair_survey.c: judges all members' copies of a group, sealing those that are still open. */
extern void difs_survey_judge(const DifsSealedGroup *group, const DifsSharedServer *servers, int count,
							  const DifsCopies *copies, DifsJudgement *judgement);
extern const char *difs_verdict_name(DifsVerdict verdict);

/* Judges all copies of all groups, writes difs.missing, and drops copies that are nobody's any more. Returns how many it dropped. */
extern int64 difs_survey_run(void);

/* repair_rows.c; each within a transaction. */
extern int difs_repair_rows_read(uint64 after, DifsSealedGroup *groups, int limit);
extern bool difs_repair_rows_find(uint64 id, DifsSealedGroup *group); /* false: gone, or not sealed */
extern int64 difs_repair_rows_count(void);
extern bool difs_repair_rows_generation(const DifsSealedGroup *group, uint64 generation);
extern bool difs_repair_rows_move(const DifsSealedGroup *group, int place, int32 target);
extern void difs_repair_rows_sizes(uint64 group, uint64 segments, uint64 bytes);
extern void difs_missing_replace(uint64 after, uint64 last, const DifsSealedGroup *groups,
								 const DifsJudgement *judgements, int count);
extern void difs_missing_settle(uint64 group, int32 server);
extern void difs_missing_explain(uint64 group, int32 server, const char *why);

/* Opens a transaction itself: groups that need work, those with the most copies missing first. */
extern uint64 *difs_missing_work(int *count);

/* replace.c: makes a copy on target from the holders, which takes the place of a member (or is that member's own). False with *error. */
extern bool difs_replace_copy(DifsSealedGroup *group, int place, int32 target, const DifsJudgement *judgement,
							  bool damaged_too, DifsError *error);

/* Repairs what difs.missing says; returns the copies made. */
extern int64 difs_repair_work(void);

/* drain.c: servers that are empty now are drained; rows of removed ones that nothing names go. */
extern void difs_drain_settle(void);

/* rebalance.c: if somebody has asked for it; returns the copies that moved. */
extern int64 difs_rebalance_run(void);

#endif
