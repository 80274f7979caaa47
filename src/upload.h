/*
 * upload.h - uploads: content that a client sends to chunk servers itself.
 *
 *	difs_upload_begin()      a row of difs.upload                                     upload.c
 *	difs_upload_place()      places in block groups, and write tokens for them        upload_place.c
 *	the client               sends the segments, and gets receipts
 *	difs_upload_receipts()   rows of difs.receipt                                     receipt.c
 *	difs_upload_commit()     opens the file as difs_put() does, turns the receipts
 *	                         into manifest rows, removes the upload's own rows        upload_commit.c
 *
 * Nothing of it touches the file before the commit.  An upload that is not
 * resumable lives in one transaction, and its rows are never seen by another.
 * A resumable one is a committed row, until it is committed, cancelled or has
 * expired; its segments carry the id of the transaction in which it began, and are
 * no orphans while anybody could see the row (difs_upload_may_commit(), liveness.h).
 *
 * Rights and quotas are those of the caller, who must have the privileges of the
 * role that began it: they are looked at when it begins, whenever it is given
 * places, and at the commit.
 */
#ifndef DIFS_UPLOAD_H
#define DIFS_UPLOAD_H

#include "postgres.h"

#include "access/htup.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/array.h"

#include "src/shmem.h"
#include "src/version.h"

#define DIFS_SIZE_UNKNOWN (-1)

typedef struct DifsUpload
{
	int64 id;
	uint64 xid;
	text *path; /* with the volume */
	Oid owner;
	int64 size;		  /* or DIFS_SIZE_UNKNOWN */
	text *media_type; /* NULL: none */
	int32 if_version; /* or DIFS_ANY_VERSION */
	bool parents;
	bool resumable;
	DifsClass class;
	int32 segment_size;
	TimestampTz created;
	TimestampTz expires; /* of one that is resumable */
	HeapTuple row;
} DifsUpload;

/* Reads one that the caller may go on with, from argument 0; locked: nobody else commits, cancels or expires it until the end of the
 * transaction. Errors: 58P01 if there is none, or not any more, 42501. */
extern void difs_upload_open(FunctionCallInfo fcinfo, bool locked, DifsUpload *upload);

/* Somebody goes on with it: it expires later, unless another transaction has it locked, which says the same. */
extern void difs_upload_touch(DifsUpload *upload);

/* Removes its rows. It is locked. */
extern void difs_upload_remove(const DifsUpload *upload);

/* upload_check.c: may the current user write so many bytes (DIFS_SIZE_UNKNOWN: some) to the file, as of now? 42501, 53400, and what difs_put() says of
 * path and version. */
extern void difs_upload_check(const DifsUpload *upload, int64 bytes);

/* receipt.c: takes note of receipts; returns how many were new. 22023 for one that is not of this upload. */
extern int difs_receipts_add(const DifsUpload *upload, ArrayType *receipts);

/* The segments that as many servers have given receipts for as the upload wants, in order of their numbers, one for each. */
typedef struct DifsReceiptScan DifsReceiptScan;
extern DifsReceiptScan *difs_receipts_begin(const DifsUpload *upload);
extern bool difs_receipts_next(DifsReceiptScan *scan, int64 *number, DifsStored *stored); /* false: no more */
extern void difs_receipts_end(DifsReceiptScan *scan);
extern void difs_receipts_remove(int64 upload);

#endif
