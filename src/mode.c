/*
 * mode.c - permission bits as chmod(1) has them (mode.h).
 *
 * No state.
 */
#include "postgres.h"

#include "src/mode.h"
#include "src/perm.h"
#include "src/report.h"

#define USER 04700
#define GROUP 02070
#define OTHERS 01007

#define READ 0444
#define WRITE 0222
#define EXECUTE 0111
#define SET_ID 06000

static int32 apply_octal(const char *specification);
static int32 apply_clause(const char *specification, const char **rest, int32 mode, bool directory);
static int32 whom(char letter);
static int32 bits(char letter, int32 mode, bool directory);
pg_noreturn static void refuse(const char *specification);

int32
difs_mode_apply(const char *specification, int32 mode, bool directory)
{
	const char *rest = specification;

	if (*rest >= '0' && *rest <= '9')
		return apply_octal(specification);
	do
	{
		mode = apply_clause(specification, &rest, mode, directory);
	} while (*rest++ == ',');
	if (rest[-1] != '\0')
		refuse(specification);
	return mode;
}

static int32
apply_octal(const char *specification)
{
	int32 mode = 0;

	for (const char *digit = specification; *digit != '\0'; digit++)
	{
		if (*digit < '0' || *digit > '7')
			refuse(specification);
		mode = mode * 8 + (*digit - '0');
		if (mode > DIFS_MODE_BITS)
			refuse(specification);
	}
	return mode;
}

static int32
apply_clause(const char *specification, const char **rest, int32 mode, bool directory)
{
	const char *at = *rest;
	int32 mask = 0;
	char action;

	for (; whom(*at) != 0; at++)
		mask |= whom(*at);
	if (mask == 0)
		mask = USER | GROUP | OTHERS;
	action = *at;
	if (action != '+' && action != '-' && action != '=')
		refuse(specification);
	while (action == '+' || action == '-' || action == '=')
	{
		int32 given = 0;

		for (at++; bits(*at, mode, directory) >= 0; at++)
			given |= bits(*at, mode, directory) & mask;
		mode = action == '+' ? mode | given : (action == '-' ? mode & ~given : (mode & ~mask) | given);
		action = *at;
	}
	*rest = at;
	return mode;
}

static int32
whom(char letter)
{
	switch (letter)
	{
		case 'u':
			return USER;
		case 'g':
			return GROUP;
		case 'o':
			return OTHERS;
		case 'a':
			return USER | GROUP | OTHERS;
		default:
			return 0;
	}
}

/* For all three classes; -1 if the letter stands for none. */
static int32
bits(char letter, int32 mode, bool directory)
{
	switch (letter)
	{
		case 'r':
			return READ;
		case 'w':
			return WRITE;
		case 'x':
			return EXECUTE;
		case 'X':
			return directory || (mode & EXECUTE) != 0 ? EXECUTE : 0;
		case 's':
			return SET_ID;
		case 't':
			return DIFS_MODE_STICKY;
		default:
			return -1;
	}
}

static void
refuse(const char *specification)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			errmsg("invalid mode \"%s\"", specification),
			errhint("A mode is an octal number up to 7777, such as 0640, or clauses as of chmod(1), such as u=rw,g+r,o-rwx."));
}
