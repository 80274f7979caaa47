/*
 * difs.pml - commit, replication, collection, repair and claim of difs, as a model for spin.
 *
 * 3 chunk servers, 2 files, 2 block groups of 2 members, 2 crashes.  A put tries twice, each time under a new
 * segment id, so there are 4 segments: SEGMENT(file, attempt).  Servers are bits of a mask: most state is, for each
 * segment, the set of servers of which something holds.
 *
 * What is durable and what is not, in the model as in the world:
 *
 *	rows         row, member, group_epoch      survive everything (PostgreSQL's WAL)
 *	disks        durable, copy_epoch, claimed  survive all but the loss of the server
 *	page caches  unsynced                      a server's crash loses them, or does not
 *	sockets      sent                          a server's crash loses them; a crash of the database or a time-out does
 *	                                           not: what was sent may arrive at any later time
 *	memory       awaits, acks, slot, pulling   a crash of the database loses them
 *
 * Each process is one loop of guarded steps without a state of its own, so a state of the model is the variables below
 * and nothing else.  Every step makes progress towards the end of something that is bounded, so there are no cycles:
 * each run ends, and what must hold eventually is checked where nothing can move any more (Quiescence).
 *
 * What must hold: Watch, Quiescence, and the assertions within the steps; numbers in brackets are DESIGN's invariants.
 * MUTANT_x plants the mistake x; scenarios (CLAIM, REPAIR, ...) leave parts out, because all of them at once have
 * more states than memory.  README.md lists both.
 */
#ifndef CRASHES
#define CRASHES		2
#endif

#ifndef PUTS
#define PUTS		2
#endif
#ifndef SLOW
#define SLOW		1	/* members that time out though they work */
#endif

#define FILES		2
#define GROUPS		2
#define SEGMENTS	3
#define SERVERS		3
#define MAJORITY	2
#define REPLICAS	2

#define BIT(n)		(1 << (n))
#define SEGMENT(f, attempt)		((f) * 2 + (attempt))
#define FILE_OF(q)	((q) / 2)
#ifndef RETRIES
#define RETRIES		1
#endif
#define TRIES(f)	((f) == 0 -> 1 + RETRIES : 1)
#define GROUP_OF(q)	((in_group_1 >> (q)) & 1)

/* transactions that put a file */
#define IDLE		0
#define RUNNING		1
#define PREPARED	2
#define COMMITTED	3
#define ABORTED		4

/* a put's slot */
#define WAITING		0
#define SENT		1
#define STORED		2

/* a file's manifest row */
#define NONE		0
#define VISIBLE		1
#define DOOMED		2
#define GONE		3

/* the two databases that may think that they own the segments: PRIMARY, and TWIN, a copy of its data directory */
#define PRIMARY		0
#define TWIN		1
#define EPOCH(o)	((o) + 1)
#define ROW(o, f)	row[(o) * FILES + (f)]
#define MEMBER(o, g)		member[(o) * GROUPS + (g)]
#define GROUP_EPOCH(o, g)	group_epoch[(o) * GROUPS + (g)]
#define PULLING(o, g)		pulling[(o) * GROUPS + (g)]
#define COPY_EPOCH(s, g)	copy_epoch[(s) * GROUPS + (g)]
#define DROP(s, g)			drop[(s) * GROUPS + (g)]
#ifdef MUTANT_SHARED_EPOCHS
#define TWIN_GROUP_EPOCHS	0
#else
#define TWIN_GROUP_EPOCHS	16	/* a group's epoch has the owner's in its upper bits */
#endif

/* rows */
byte	row[4];					/* by owner and file */
byte	member[4];				/* by owner and group: a set of servers */
byte	group_epoch[4];
byte	transaction[FILES];		/* the commit log */

/* the primary's streamer and keeper, and its backends: memory */
byte	slot[FILES];
byte	attempts[FILES];		/* segment ids used up by a put: those are never used again */
byte	acks[FILES];			/* servers that have acknowledged the present attempt */
byte	awaits[SEGMENTS];		/* servers of which the streamer awaits an answer */
byte	failed;					/* set of groups that take nothing more */
byte	pulling[4];				/* by owner and group: the member that is being replaced, or 0 */
byte	snapshot;				/* 0 to be taken, 1 open, 2 closed */
byte	snapshot_sees;			/* files */
byte	forgotten;				/* MUTANT_ROWS_FIRST: files whose bytes are still to be deleted */

/* sockets */
byte	sent[SEGMENTS];			/* servers to which a PUT is on its way */
byte	drop[6];				/* by server and group: DROP_GROUP on its way, (epoch * 2 + owner) or 0 */

/* servers */
byte	up = 7;
byte	lost;					/* with their disks, for good */
byte	unsynced[SEGMENTS];
byte	durable[SEGMENTS];
byte	copy_epoch[6];			/* by server and group: epoch of this server's copy, 0 if it has none */
byte	claimed[SERVERS];		/* highest epoch of an owner that the server has seen */

byte	in_group_1;				/* set of segments that were sent to group 1, the others to group 0 */
byte	swept[SEGMENTS];		/* servers whose list of segments has been read past this one, which was named then */
byte	crashes;
byte	slow;

/* the claim */
bit		copied;					/* the twin exists */
bit		established;			/* the twin's claim stands on a majority */
byte	inherited;				/* files that were whole when it was established */
byte	late;					/* segments that the primary sent after that */

/* A row names the segment of the last attempt. */
#define ROWS_SEGMENT(f)	SEGMENT(f, attempts[f] - 1)
#ifdef MUTANT_SAME_ID
#define SAME(q)			true	/* both attempts have one id, so a row that names one names both */
#else
#define SAME(q)			((q) == ROWS_SEGMENT(FILE_OF(q)))
#endif
#define NAMED(o, q)		((ROW(o, FILE_OF(q)) == VISIBLE || ROW(o, FILE_OF(q)) == DOOMED) && SAME(q))

#define MEMBERS(o, q)	MEMBER(o, GROUP_OF(q))
#define WHOLE(o, q)		((MEMBERS(o, q) & ~(durable[q] | lost)) == 0)
#define READABLE(o, q)	((MEMBERS(o, q) & durable[q] & ~lost) != 0)

#define IS_UP(s)		((up & BIT(s)) != 0)
#define MAY(o, s)		(IS_UP(s) && claimed[s] <= EPOCH(o))	/* the server obeys this owner */
#define ACTS(o)			((o) == PRIMARY || established)

#ifdef MUTANT_ORPHAN_RUNNING
#define FINISHED(o, f)	true
#elif defined(MUTANT_ORPHAN_PREPARED)
#define FINISHED(o, f)	((o) == TWIN || transaction[f] > RUNNING)
#else
#define FINISHED(o, f)	((o) == TWIN || transaction[f] >= COMMITTED)	/* what ran when it was copied is aborted in the twin */
#endif

#ifdef MUTANT_NO_HORIZON
#define NOBODY_SEES(o, f)	true
#else
#define NOBODY_SEES(o, f)	((o) == TWIN || (snapshot_sees & BIT(f)) == 0)
#endif

#ifdef MUTANT_ONE_ACK
#define ENOUGH(f, q)	(acks[f] != 0)
#else
#define ENOUGH(f, q)	((MEMBERS(PRIMARY, q) & ~acks[f]) == 0)
#endif

/* A member has refused, or its connection has broken. */
#define BROKEN(q)		((MEMBERS(PRIMARY, q) & ~(acks[FILE_OF(q)] | awaits[q])) != 0)

#define COUNT(set)		(((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1))

#define ON_ITS_WAY_TO(f, g)	(slot[f] == SENT && GROUP_OF(ROWS_SEGMENT(f)) == (g))

inline forget_attempt(f)
{
	awaits[ROWS_SEGMENT(f)] = 0;
	acks[f] = 0;
	slot[f] = WAITING;
}

inline abort(f)
{
	forget_attempt(f);
	transaction[f] = ABORTED;
	attempts[f] = TRIES(f);
}

/* ---- a client's transaction, and the streamer on its behalf ---- */

#define CAN_SEND(f, g) \
	(transaction[f] <= RUNNING && slot[f] == WAITING && attempts[f] < TRIES(f) && (failed & BIT(g)) == 0 && \
	 (f == 0 || transaction[0] != IDLE))

inline send(f, g)
{
	d_step
	{
		CAN_SEND(f, g);
		transaction[f] = RUNNING;
		slot[f] = SENT;
		if
		:: g == 1 -> in_group_1 = in_group_1 | BIT(SEGMENT(f, attempts[f]));
		:: else
		fi;
		if
		:: established -> late = late | BIT(SEGMENT(f, attempts[f]));
		:: else
		fi;
		sent[SEGMENT(f, attempts[f])] = MEMBER(PRIMARY, g) & up;
		awaits[SEGMENT(f, attempts[f])] = MEMBER(PRIMARY, g) & up;
		attempts[f] = attempts[f] + 1;
	}
}

inline make_visible(f)
{
	/* [1] as many servers as the volume demands have synced it */
	assert(established || COUNT(durable[ROWS_SEGMENT(f)] | lost) >= REPLICAS);
	transaction[f] = COMMITTED;
	ROW(PRIMARY, f) = VISIBLE;
}

proctype Put(byte f)
{
end:
	do
	:: send(f, 0)
	:: send(f, 1)
	:: d_step { slot[f] == SENT && ENOUGH(f, ROWS_SEGMENT(f)) ->
			/* [7] who is fenced completes no write that it began after the claim */
			assert((late & BIT(ROWS_SEGMENT(f))) == 0);
			slot[f] = STORED; awaits[ROWS_SEGMENT(f)] = 0; acks[f] = 0; }
	:: d_step { slot[f] == SENT && BROKEN(ROWS_SEGMENT(f)) ->
			failed = failed | BIT(GROUP_OF(ROWS_SEGMENT(f)));
			forget_attempt(f); }
	:: d_step { slot[f] == SENT && !ENOUGH(f, ROWS_SEGMENT(f)) && !BROKEN(ROWS_SEGMENT(f)) && slow < SLOW ->
			slow = slow + 1;
			failed = failed | BIT(GROUP_OF(ROWS_SEGMENT(f)));
			forget_attempt(f); }
	:: d_step { transaction[f] == RUNNING -> abort(f); }
	:: d_step { transaction[f] == RUNNING && slot[f] == STORED -> slot[f] = WAITING; make_visible(f); }
#ifdef PREPARE
	:: d_step { transaction[f] == RUNNING && slot[f] == STORED -> slot[f] = WAITING; transaction[f] = PREPARED; }
	:: d_step { transaction[f] == PREPARED -> make_visible(f); }
	:: d_step { transaction[f] == PREPARED -> abort(f); }
#endif
#ifdef DELETE
	:: d_step { f < DELETE && ROW(PRIMARY, f) == VISIBLE -> ROW(PRIMARY, f) = DOOMED; }
#endif
	od
}

#ifdef SNAPSHOT
proctype Reader()
{
end:
	do
	:: d_step { snapshot == 0 && (ROW(PRIMARY, 0) == VISIBLE || ROW(PRIMARY, 1) == VISIBLE) ->
			snapshot = 1;
			snapshot_sees = (ROW(PRIMARY, 0) == VISIBLE) + (ROW(PRIMARY, 1) == VISIBLE) * 2; }
	:: d_step { snapshot == 1 -> snapshot = 2; snapshot_sees = 0; }
	od
}
#endif

/* ---- a chunk server ---- */

inline acknowledge(s, q)
{
	if
	:: awaits[q] & BIT(s) ->
		awaits[q] = awaits[q] & ~BIT(s);
		acks[FILE_OF(q)] = acks[FILE_OF(q)] | BIT(s);
	:: else
	fi
}

inline receive(s, q)
{
	d_step
	{
		IS_UP(s) && (sent[q] & BIT(s));
		sent[q] = sent[q] & ~BIT(s);
		if
		:: claimed[s] > EPOCH(PRIMARY) || COPY_EPOCH(s, GROUP_OF(q)) == 0 -> awaits[q] = awaits[q] & ~BIT(s);
		:: else -> unsynced[q] = unsynced[q] | BIT(s);
#ifdef MUTANT_ACK_EARLY
			acknowledge(s, q);
#endif
		fi;
	}
}

inline sync_one(s, q)
{
	if
	:: unsynced[q] & BIT(s) ->
		durable[q] = durable[q] | BIT(s);
		unsynced[q] = unsynced[q] & ~BIT(s);
		acknowledge(s, q);
	:: else
	fi
}

#define UNSYNCED		(unsynced[0] | unsynced[1] | unsynced[2])

proctype Server(byte s)
{
end:
	do
	:: receive(s, 0)
	:: receive(s, 1)
	:: receive(s, 2)
	:: d_step { IS_UP(s) && (UNSYNCED & BIT(s)) -> sync_one(s, 0); sync_one(s, 1); sync_one(s, 2); }
	od
}

/* ---- the keeper: collection ---- */

/* DELETE to one member; the bytes are gone and that is durable, or nothing has happened. */
inline delete(o, s, q)
{
	/* [4] what a visible row names is never deleted, unless the owner has been fenced and does not know yet */
	assert((o == PRIMARY && established) || !NAMED(o, q) || ROW(o, FILE_OF(q)) == DOOMED);
	claimed[s] = EPOCH(o);
	durable[q] = durable[q] & ~BIT(s);
	swept[q] = swept[q] & ~BIT(s);
}

#ifdef MUTANT_ROWS_FIRST
#define TO_DELETE(o, f)	((o) == PRIMARY && (forgotten & BIT(f)))
#define CAN_FORGET(o, f)	true
#else
#define TO_DELETE(o, f)	(ROW(o, f) == DOOMED && NOBODY_SEES(o, f))
/* all that are members now have deleted it; a server that is lost will never say so, and is replaced first */
#define CAN_FORGET(o, f) \
	((MEMBERS(o, ROWS_SEGMENT(f)) & (durable[ROWS_SEGMENT(f)] | unsynced[ROWS_SEGMENT(f)] | lost)) == 0 && \
	 PULLING(o, GROUP_OF(ROWS_SEGMENT(f))) == 0)
#endif

inline collect_doomed(o, s, f)
{
	d_step
	{
		ACTS(o) && TO_DELETE(o, f) && MAY(o, s) &&
			(MEMBERS(o, ROWS_SEGMENT(f)) & durable[ROWS_SEGMENT(f)] & BIT(s));
		delete(o, s, ROWS_SEGMENT(f));
	}
}

inline forget_rows(o, s, f)
{
	d_step
	{
		s == 0 && ACTS(o) && ROW(o, f) == DOOMED && NOBODY_SEES(o, f) && CAN_FORGET(o, f);
		ROW(o, f) = GONE;
#ifdef MUTANT_ROWS_FIRST
		forgotten = forgotten | BIT(f);
#endif
	}
}

/* The servers' lists are read in the order in which segments were written, each entry once: what is named then is passed. */
inline sweep(o, s, q)
{
	d_step
	{
		ACTS(o) && MAY(o, s) && (durable[q] & ~swept[q] & BIT(s)) && FINISHED(o, FILE_OF(q)) &&
			!(NAMED(o, q) && o == PRIMARY && established);
		if
		:: NAMED(o, q) -> claimed[s] = EPOCH(o); swept[q] = swept[q] | BIT(s);
		:: else -> delete(o, s, q);
		fi;
	}
}

proctype Collector(byte o; byte s)
{
end:
	do
	:: sweep(o, s, 0)
	:: sweep(o, s, 1)
	:: sweep(o, s, 2)
#ifdef DELETE
	:: collect_doomed(o, s, 0)
	:: forget_rows(o, s, 0)
#if DELETE > 1
	:: collect_doomed(o, s, 1)
	:: forget_rows(o, s, 1)
#endif
#endif
	od
}

/* ---- the keeper: repair ---- */

#ifdef MUTANT_NO_EPOCH
#define RAISED(o, g)	GROUP_EPOCH(o, g)
#else
#define RAISED(o, g)	(GROUP_EPOCH(o, g) + 1)
#endif

inline pull(q, g, source, target)
{
	if
	:: GROUP_OF(q) == g ->
		swept[q] = swept[q] & ~BIT(target);
		durable[q] = durable[q] & ~BIT(target);
		unsynced[q] = (unsynced[q] & ~BIT(target)) | ((durable[q] & BIT(source)) -> BIT(target) : 0);
	:: else
	fi
}

/* A fenced owner may have deleted at a server that had not heard of the claim, so a source has to show what rows name first. */
#ifdef MUTANT_BLIND_SOURCE
#define HAS_NAMED(o, g, s, q)	true
#else
#define HAS_NAMED(o, g, s, q)	(GROUP_OF(q) != (g) || ROW(o, FILE_OF(q)) != VISIBLE || !SAME(q) || (durable[q] & BIT(s)))
#endif

/* The group's row says the new epoch before a server hears of it: an attempt that fails leaves a copy that is older than the next. */
inline start_repair(o, g, source, replaced, target)
{
	d_step
	{
		ACTS(o) && PULLING(o, g) == 0 && MEMBER(o, g) == (BIT(source) | BIT(replaced)) && !IS_UP(replaced) &&
			MAY(o, source) && MAY(o, target) &&
			HAS_NAMED(o, g, source, 0) && HAS_NAMED(o, g, source, 1) && HAS_NAMED(o, g, source, 2) &&
			!(o == PRIMARY && (ON_ITS_WAY_TO(0, g) || ON_ITS_WAY_TO(1, g)));
		failed = failed | BIT(g);
		PULLING(o, g) = BIT(replaced);
		GROUP_EPOCH(o, g) = RAISED(o, g);
		claimed[source] = EPOCH(o);
		claimed[target] = EPOCH(o);
		COPY_EPOCH(target, g) = GROUP_EPOCH(o, g);
		pull(0, g, source, target);
		pull(1, g, source, target);
		pull(2, g, source, target);
	}
}

#ifdef MUTANT_SWITCH_EARLY
#define PULLED(s, g, q)	true
#else
#define PULLED(s, g, q)	(GROUP_OF(q) != (g) || (unsynced[q] & BIT(s)) == 0)
#endif

inline finish_repair(o, g, replaced, target)
{
	d_step
	{
		PULLING(o, g) == BIT(replaced) && (MEMBER(o, g) & BIT(target)) == 0 && IS_UP(target) &&
			COPY_EPOCH(target, g) == GROUP_EPOCH(o, g) &&
			PULLED(target, g, 0) && PULLED(target, g, 1) && PULLED(target, g, 2);
		MEMBER(o, g) = (MEMBER(o, g) & ~BIT(replaced)) | BIT(target);
		PULLING(o, g) = 0;
	}
}

#ifdef MUTANT_DROP_ANY
#define DROPS(s, g)		true
#else
#define DROPS(s, g)		(COPY_EPOCH(s, g) <= DROP(s, g) / 2)
#endif

/* What is not a member and not about to be one holds a copy that nobody needs. */
inline send_drop(o, g, s)
{
	d_step
	{
		DROP(s, g) == 0 && ACTS(o) && MAY(o, s) && COPY_EPOCH(s, g) != 0 && (MEMBER(o, g) & BIT(s)) == 0 &&
			PULLING(o, g) == 0;
		/* [2] no copy is newer than its owner's row, or no DROP_GROUP would ever reach it */
		assert(COPY_EPOCH(s, g) <= GROUP_EPOCH(o, g));
		/* it means the copy that the server has listed, and none that is made later */
		DROP(s, g) = COPY_EPOCH(s, g) * 2 + o;
	}
}

inline drop_segment(s, g, q)
{
	if
	:: GROUP_OF(q) == g ->
		durable[q] = durable[q] & ~BIT(s);
		unsynced[q] = unsynced[q] & ~BIT(s);
		swept[q] = swept[q] & ~BIT(s);
	:: else
	fi
}

inline stop_pull(s, o, g)
{
	if
	:: (MEMBER(o, g) & BIT(s)) == 0 -> PULLING(o, g) = 0;
	:: else
	fi
}

inline receive_drop(g, s)
{
	d_step
	{
		DROP(s, g) != 0 && IS_UP(s);
		if
		:: claimed[s] <= EPOCH(DROP(s, g) & 1) && DROPS(s, g) ->
			claimed[s] = EPOCH(DROP(s, g) & 1);
			COPY_EPOCH(s, g) = 0;
			drop_segment(s, g, 0);
			drop_segment(s, g, 1);
			drop_segment(s, g, 2);
			stop_pull(s, PRIMARY, g);
			stop_pull(s, TWIN, g);
		:: else
		fi;
		DROP(s, g) = 0;
	}
}

proctype Repairer(byte o; byte g)
{
end:
	do
	:: start_repair(o, g, 0, 1, 2)
	:: start_repair(o, g, 0, 2, 1)
	:: start_repair(o, g, 1, 0, 2)
	:: start_repair(o, g, 1, 2, 0)
	:: start_repair(o, g, 2, 0, 1)
	:: start_repair(o, g, 2, 1, 0)
	:: finish_repair(o, g, 0, 1)
	:: finish_repair(o, g, 0, 2)
	:: finish_repair(o, g, 1, 0)
	:: finish_repair(o, g, 1, 2)
	:: finish_repair(o, g, 2, 0)
	:: finish_repair(o, g, 2, 1)
	:: send_drop(o, g, 0)
	:: send_drop(o, g, 1)
	:: send_drop(o, g, 2)
	:: receive_drop(g, 0)
	:: receive_drop(g, 1)
	:: receive_drop(g, 2)
	od
}

/* ---- the claim ---- */

#ifdef MUTANT_MINORITY
#define NEEDED	1
#else
#define NEEDED	MAJORITY
#endif

#define CLAIMS	((claimed[0] == EPOCH(TWIN)) + (claimed[1] == EPOCH(TWIN)) + (claimed[2] == EPOCH(TWIN)))
#define INHERITS(f)	(ROW(TWIN, f) == VISIBLE && WHOLE(TWIN, ROWS_SEGMENT(f)))

/* A copy of the data directory, or a standby: what was committed then. */
inline copy_database()
{
	d_step
	{
		!copied;
		copied = true;
		ROW(TWIN, 0) = ROW(PRIMARY, 0);
		ROW(TWIN, 1) = ROW(PRIMARY, 1);
		MEMBER(TWIN, 0) = MEMBER(PRIMARY, 0);
		MEMBER(TWIN, 1) = MEMBER(PRIMARY, 1);
		GROUP_EPOCH(TWIN, 0) = GROUP_EPOCH(PRIMARY, 0) + TWIN_GROUP_EPOCHS;
		GROUP_EPOCH(TWIN, 1) = GROUP_EPOCH(PRIMARY, 1) + TWIN_GROUP_EPOCHS;
	}
}

inline claim(s)
{
	d_step
	{
		copied && IS_UP(s) && claimed[s] < EPOCH(TWIN);
		claimed[s] = EPOCH(TWIN);
		if
		:: !established && CLAIMS >= NEEDED ->
			established = true;
			inherited = INHERITS(0) + INHERITS(1) * 2;
			swept[0] = 0;			/* the twin reads the lists from their beginning */
			swept[1] = 0;
			swept[2] = 0;
		:: else
		fi;
	}
}

proctype Claimer()
{
end:
	do
	:: copy_database()
	:: claim(0)
	:: claim(1)
	:: claim(2)
	od
}

/* ---- crashes ---- */

inline break_off(s, q, kept)
{
	sent[q] = sent[q] & ~BIT(s);
	awaits[q] = awaits[q] & ~BIT(s);
	if
	:: kept -> durable[q] = durable[q] | (unsynced[q] & BIT(s));
	:: else
	fi;
	unsynced[q] = unsynced[q] & ~BIT(s);
}

inline crash_server(s, kept)
{
	crashes = crashes + 1;
	up = up & ~BIT(s);
	break_off(s, 0, kept);
	break_off(s, 1, kept);
	break_off(s, 2, kept);
	DROP(s, 0) = 0;
	DROP(s, 1) = 0;
	stop_pull(s, PRIMARY, 0);
	stop_pull(s, PRIMARY, 1);
	stop_pull(s, TWIN, 0);
	stop_pull(s, TWIN, 1);
}

inline lose_disk(s)
{
	lost = BIT(s);
	durable[0] = durable[0] & ~BIT(s);
	durable[1] = durable[1] & ~BIT(s);
	durable[2] = durable[2] & ~BIT(s);
	swept[0] = swept[0] & ~BIT(s);
	swept[1] = swept[1] & ~BIT(s);
	swept[2] = swept[2] & ~BIT(s);
	COPY_EPOCH(s, 0) = 0;
	COPY_EPOCH(s, 1) = 0;
	claimed[s] = 0;
}

proctype ServerCrash(byte s)
{
end:
	do
	:: d_step { crashes < CRASHES && IS_UP(s) -> crash_server(s, false); }
	:: d_step { crashes < CRASHES && IS_UP(s) && (UNSYNCED & BIT(s)) -> crash_server(s, true); }
#ifdef LOSS
	:: d_step { crashes < CRASHES && IS_UP(s) && lost == 0 -> crash_server(s, false); lose_disk(s); }
#endif
	:: d_step { !IS_UP(s) && (lost & BIT(s)) == 0 -> up = up | BIT(s); }
	od
}

inline end_put(f)
{
	if
	:: transaction[f] == RUNNING -> abort(f);
	:: else
	fi
}

proctype DatabaseCrash()
{
end:
	do
	:: d_step { crashes < CRASHES ->
			crashes = crashes + 1;
			end_put(0);
			end_put(1);
			PULLING(PRIMARY, 0) = 0;
			PULLING(PRIMARY, 1) = 0;
			forgotten = 0;
			if
			:: snapshot == 1 -> snapshot = 2; snapshot_sees = 0;
			:: else
			fi; }
	od
}

/* ---- what must hold ---- */

#define COMPLETE(f)		(ROW(PRIMARY, f) != VISIBLE || WHOLE(PRIMARY, ROWS_SEGMENT(f)) && READABLE(PRIMARY, ROWS_SEGMENT(f)))
#define SEEN(f)			((snapshot_sees & BIT(f)) == 0 || ROW(PRIMARY, f) != GONE && READABLE(PRIMARY, ROWS_SEGMENT(f)))
#define INHERITED(f)	((inherited & BIT(f)) == 0 || ROW(TWIN, f) != VISIBLE || READABLE(TWIN, ROWS_SEGMENT(f)))

/* In every state. */
proctype Watch()
{
end:
	do
	/* [1] every member of the group that is not lost has what is committed */
	:: !established && !(COMPLETE(0) && COMPLETE(1)) -> assert(false)
	/* [3] what a snapshot sees can be read */
	:: !established && !(SEEN(0) && SEEN(1)) -> assert(false)
	/* [3, 7] what was whole when the twin's claim was established stays readable in the twin, whatever the primary does */
	:: !(INHERITED(0) && INHERITED(1)) -> assert(false)
	od
}

#define OWNER			(established -> TWIN : PRIMARY)
#define NO_LEAK(q)		((durable[q] & ~lost) == 0 || \
						 NAMED(OWNER, q) && (durable[q] & ~lost & ~MEMBERS(OWNER, q)) == 0)
#define NO_STRAY(s, g)	((lost & BIT(s)) || COPY_EPOCH(s, g) == 0 || (MEMBER(OWNER, g) & BIT(s)))

/* In each state in which nothing can move any more: all servers but a lost one are up, all transactions have ended. */
proctype Quiescence()
{
end:
	timeout -> d_step
	{
		/* [2] nothing is left of what was aborted or deleted */
		assert(NO_LEAK(0));
		assert(NO_LEAK(1));
		assert(NO_LEAK(2));
		assert(ROW(OWNER, 0) != DOOMED && ROW(OWNER, 1) != DOOMED);
		assert(NO_STRAY(0, 0) && NO_STRAY(0, 1));
		assert(NO_STRAY(1, 0) && NO_STRAY(1, 1));
		assert(NO_STRAY(2, 0) && NO_STRAY(2, 1));
		/* [3] what is committed is there; redundancy is back unless it was the primary, fenced, that took it away */
		assert(established || COMPLETE(0) && COMPLETE(1));
	}
}

init
{
	atomic
	{
		MEMBER(PRIMARY, 0) = BIT(0) | BIT(1);
		MEMBER(PRIMARY, 1) = BIT(1) | BIT(2);
		GROUP_EPOCH(PRIMARY, 0) = 1;
		GROUP_EPOCH(PRIMARY, 1) = 1;
		COPY_EPOCH(0, 0) = 1;
		COPY_EPOCH(1, 0) = 1;
		COPY_EPOCH(1, 1) = 1;
		COPY_EPOCH(2, 1) = 1;
		run Put(0);
#if PUTS > 1
		run Put(1);
#endif
#ifdef SNAPSHOT
		run Reader();
#endif
		run Server(0);
		run Server(1);
		run Server(2);
		run Collector(PRIMARY, 0);
		run Collector(PRIMARY, 1);
		run Collector(PRIMARY, 2);
#ifdef REPAIR
		run Repairer(PRIMARY, 0);
		run Repairer(PRIMARY, 1);
#endif
#ifdef CLAIM
		run Claimer();
		run Collector(TWIN, 0);
		run Collector(TWIN, 1);
		run Collector(TWIN, 2);
#ifdef REPAIR
		run Repairer(TWIN, 0);
		run Repairer(TWIN, 1);
#endif
#endif
		run ServerCrash(0);
		run ServerCrash(1);
		run ServerCrash(2);
		run DatabaseCrash();
		run Watch();
		run Quiescence();
	}
}
