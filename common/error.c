/*
 * error.c - filling in the one error value.
 *
 * No state.  Texts are built from file names, from what peers sent and from the
 * system's messages, and end up in logs, replies and clients' terminals; so the
 * one place where they are made also makes them clean: valid UTF-8 without
 * control characters, whatever the parts were.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* the strerror_r() that returns its text */
#endif

#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
	[DIFS_OK] = "ok",
	[DIFS_ERROR_PROTOCOL] = "protocol violation",
	[DIFS_ERROR_REFUSED] = "refused",
	[DIFS_ERROR_FENCED] = "fenced",
	[DIFS_ERROR_ARGUMENT] = "invalid argument",
	[DIFS_ERROR_NO_GROUP] = "no group",
	[DIFS_ERROR_NO_SEGMENT] = "no segment",
	[DIFS_ERROR_EXISTS] = "exists",
	[DIFS_ERROR_SEALED] = "sealed",
	[DIFS_ERROR_FULL] = "full",
	[DIFS_ERROR_IO] = "input/output error",
	[DIFS_ERROR_CORRUPT] = "corrupt",
	[DIFS_ERROR_NETWORK] = "network",
	[DIFS_ERROR_MEMORY] = "memory",
	[DIFS_ERROR_VERSION] = "version",
};

static void clean_text(char *text);
static size_t utf8_length(const unsigned char *at);

bool
difs_error_set(DifsError *error, DifsErrorCode code, const char *format, ...)
{
	int saved_errno = errno;
	va_list args;

	if (error == NULL)
		return false;

	error->code = code;
	error->system_errno = (code == DIFS_ERROR_IO || code == DIFS_ERROR_NETWORK) ? saved_errno : 0;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	if (error->system_errno != 0)
	{
		char buffer[128];
		size_t used = strlen(error->text);

		snprintf(error->text + used, sizeof(error->text) - used, ": %s",
				 strerror_r(error->system_errno, buffer, sizeof(buffer)));
	}
	clean_text(error->text);
	errno = saved_errno;
	return false;
}

const char *
difs_error_name(DifsErrorCode code)
{
	if ((unsigned int) code >= sizeof(names) / sizeof(names[0]))
		return "unknown error";
	return names[code];
}

/* Replaces control characters and bytes that are not UTF-8 by question marks. */
static void
clean_text(char *text)
{
	unsigned char *at = (unsigned char *) text;

	while (*at != '\0')
	{
		size_t length = utf8_length(at);

		if (length == 0)
			*at++ = '?';
		else
			at += length;
	}
}

/* The length of the printable UTF-8 character that begins here, or 0.  The text's terminator ends a character that is
 * cut short, because it is no continuation byte. */
static size_t
utf8_length(const unsigned char *at)
{
	size_t length;

	if (at[0] < 0x80)
		return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	length = at[0] < 0xe0 ? 2 : (at[0] < 0xf0 ? 3 : 4);
	for (size_t i = 1; i < length; i++)
	{
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	/* overlong forms, surrogates, and what lies beyond the last code point */
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
		(at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}
