/*
 * log.h - one line for each event, to standard error.
 */
#ifndef DIFS_LOG_H
#define DIFS_LOG_H

typedef enum DifsLogLevel
{
	DIFS_LOG_INFO,
	DIFS_LOG_WARNING,
	DIFS_LOG_ERROR
} DifsLogLevel;

/* The storage name that every line carries from now on; kept by reference. */
extern void difs_log_name(const char *name);

/* Writes "2024-01-01T00:00:00.000Z info /storage01: <text>".  Any thread may call it.  Bytes that are not printable,
 * such as a peer may put into a name, are written as '?', so that a line is always one line. */
extern void difs_log(DifsLogLevel level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
