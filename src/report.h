/*
 * report.h - errors of difs as PostgreSQL errors.
 */
#ifndef DIFS_REPORT_H
#define DIFS_REPORT_H

#include "postgres.h"

#include "common/error.h"
#include "src/compat.h"

/* SQLSTATEs of DESIGN.md section 10, where PostgreSQL's name does not say it */
#define DIFS_ERRCODE_NO_FILE ERRCODE_UNDEFINED_FILE					 /* 58P01 */
#define DIFS_ERRCODE_EXISTS ERRCODE_DUPLICATE_FILE					 /* 58P02 */
#define DIFS_ERRCODE_WRONG_KIND ERRCODE_WRONG_OBJECT_TYPE			 /* 42809 */
#define DIFS_ERRCODE_NOT_EMPTY ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST /* 2BP01 */
#define DIFS_ERRCODE_ARGUMENT ERRCODE_INVALID_PARAMETER_VALUE		 /* 22023 */
#define DIFS_ERRCODE_NAME_TOO_LONG ERRCODE_NAME_TOO_LONG			 /* 42622 */
#define DIFS_ERRCODE_CHANGED ERRCODE_T_R_SERIALIZATION_FAILURE		 /* 40001 */
#define DIFS_ERRCODE_IO ERRCODE_IO_ERROR							 /* 58030 */
#define DIFS_ERRCODE_FULL ERRCODE_DISK_FULL							 /* 53100 */
#define DIFS_ERRCODE_TOO_MANY_LINKS ERRCODE_PROGRAM_LIMIT_EXCEEDED	 /* 54000 */
#define DIFS_ERRCODE_CORRUPT ERRCODE_DATA_CORRUPTED					 /* XX001 */

/* The SQLSTATE for an error of common/: FULL 53100, CORRUPT XX001, REFUSED 28000, FENCED 55000, ARGUMENT 22023,
 * everything else 58030. */
extern int difs_report_sqlstate(DifsErrorCode code);

/* 22023 "argument "%s" of %s must not be null" if argument number n of a function is NULL. */
#define DIFS_ARG_NOT_NULL(n, name)                   \
	do                                               \
	{                                                \
		if (PG_ARGISNULL(n))                         \
			difs_report_null_argument(fcinfo, name); \
	} while (0)
pg_noreturn extern void difs_report_null_argument(struct FunctionCallInfoBaseData *fcinfo, const char *name);

#endif
