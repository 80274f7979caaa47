/*
 * options.c - options of a command.  Its table says what there is; parser, --help and completion are made of it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define MAX_OPTIONS 32

static const Option common[] = {
	{'h', "human-readable", NULL, "sizes as 1.5M"},
	{300, "json", NULL, "JSON on standard output, for scripts"},
	{'q', "quiet", NULL, "no progress and no summary"},
	{'v', "verbose", NULL, "name every file"},
	{301, "help", NULL, "this"},
	{0},
};

static struct option long_options[MAX_OPTIONS + 1];
static char short_options[3 * MAX_OPTIONS];

static void prepare(const Option *options, int *count);

int
next_option(int argc, char **argv)
{
	int count = 0;
	int letter;

	if (short_options[0] == '\0')
	{
		if (command->options != NULL)
			prepare(command->options, &count);
		prepare(common, &count);
	}
	opterr = 0;
	while ((letter = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
		switch (letter)
		{
			case 300:
				settings.json = true;
				break;
			case 301:
				print_help(command, stdout);
				exit(EXIT_DONE);
			case 'q':
				settings.quiet = true;
				break;
			case 'v':
				settings.verbose = true;
				break;
			case 'h':
				settings.human = true;
				break;
			case '?':
				exit(complain_usage("\"%s\" is no option, or not used right", argv[optind - 1]));
			default:
				return letter;
		}
	return -1;
}

static void
prepare(const Option *options, int *count)
{
	char *letters = short_options + strlen(short_options);

	for (const Option *each = options; each->name != NULL && *count < MAX_OPTIONS; each++)
	{
		long_options[(*count)++] = (struct option){each->name, each->value != NULL ? required_argument : no_argument, NULL, each->letter};
		if (each->letter >= 256)
			continue;
		*letters++ = (char) each->letter;
		if (each->value != NULL)
			*letters++ = ':';
	}
	*letters = '\0';
}

void
print_help(const Command *of, FILE *to)
{
	const Option *tables[] = {of->options, common};
	const char *line = of->arguments;

	for (int i = 0; line != NULL; i++)
	{
		const char *end = strchr(line, '\n');

		fprintf(to, "%s difs %s %.*s\n", i == 0 ? "Usage:" : "   or:", of->name, end != NULL ? (int) (end - line) : (int) strlen(line), line);
		line = end != NULL ? end + 1 : NULL;
	}
	fprintf(to, "difs %s: %s.\n\n", of->name, of->summary);
	for (int i = 0; i < 2; i++)
		for (const Option *each = tables[i]; each != NULL && each->name != NULL; each++)
		{
			char names[64];

			snprintf(names, sizeof(names), "--%s%s%s", each->name, each->value != NULL ? "=" : "", each->value != NULL ? each->value : "");
			if (each->letter < 256)
				fprintf(to, "  -%c, %-24s %s\n", each->letter, names, each->help);
			else
				fprintf(to, "      %-24s %s\n", names, each->help);
		}
}

/* For completion: one a line. */
void
list_options(const Command *of)
{
	const Option *tables[] = {of->options, common};

	for (int i = 0; i < 2; i++)
		for (const Option *each = tables[i]; each != NULL && each->name != NULL; each++)
			printf("--%s%s\n", each->name, each->value != NULL ? "=" : "");
}

int64_t
number_argument(const char *name, const char *text)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && number >= 0)
		return number;
	fprintf(stderr, "difs: %s: \"%s\" is not a number\n", name, text);
	exit(EXIT_USAGE);
}

int64_t
size_argument(const char *name, const char *text)
{
	static const char units[] = "kmgt";
	char *end;
	double number;
	const char *unit;

	errno = 0;
	number = strtod(text, &end);
	if (errno == 0 && end != text && number >= 0 && *end != '\0' && (unit = strchr(units, *end | 0x20)) != NULL)
	{
		for (int i = 0; i <= unit - units; i++)
			number *= 1024;
		end++;
	}
	if (errno == 0 && end != text && number >= 0 && *end == '\0' && number < 9e18)
		return (int64_t) number;
	fprintf(stderr, "difs: %s: \"%s\" is not a size such as 64k, 10M or 2G\n", name, text);
	exit(EXIT_USAGE);
}
