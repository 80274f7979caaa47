/*
 * options.c - see options.h.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../common/wire.h"

#ifdef DIFS_FAULTS
#define BUILT_WITH " with fault points"
#else
#define BUILT_WITH ""
#endif

#define DEFAULT_MAX_CONNECTIONS 1200
#define HOST_SIZE sizeof(((DifsOptions *) 0)->host)
#define PORT_SIZE sizeof(((DifsOptions *) 0)->port)

static const char usage[] =
	"difsd keeps segments of difs, the PostgreSQL-transactional file system, in a directory and serves them.\n"
	"\n"
	"Usage:\n"
	"  difsd --name NAME --data DIR --listen HOST:PORT --key-file FILE [OPTION]...\n"
	"\n"
	"Options:\n"
	"  --name NAME            storage name, such as /storage01\n"
	"  --data DIR             data directory, created if it is not there (optional with --tier memory)\n"
	"  --listen HOST:PORT     address to listen on; [HOST]:PORT for IPv6; with port 0 the system picks one\n"
	"  --key-file FILE        cluster keys, one a line; only the owner may read the file; SIGHUP reads it again\n"
	"  --tls-cert FILE        certificate (chain) for TLS, PEM; SIGHUP reads it again, as it does the next two\n"
	"  --tls-key FILE         its private key; only the owner may read the file\n"
	"  --tls-ca FILE          CA certificates, to verify clients' (--tls mutual) and other servers' in repair\n"
	"  --tls MODE             optional: with and without TLS; required: with it only (default with --tls-cert);\n"
	"                         mutual: only with a client's certificate by --tls-ca\n"
	"  --tier disk|memory     where segments are kept (default disk)\n"
	"  --capacity SIZE        most bytes to take, such as 500GB (default what the file system has,\n"
	"                         for the memory tier half of the machine's memory)\n"
	"  --register CONNINFO    make itself known to the database that libpq connects to so, such as \"service=files\";\n"
	"                         tried again until it works\n"
	"  --advertise HOST:PORT  where the database finds this server, if that is not what --listen says; with port 0\n"
	"                         the one that is listened on\n"
	"  --zone ZONE            what may fail together, such as a rack; said when registering\n"
	"  --metrics [HOST:]PORT  serve metrics for Prometheus by HTTP, to everybody who reaches that address (default host\n"
	"                         127.0.0.1); with port 0 the system picks one\n"
	"  --address-file FILE    write the address that is listened on to this file\n"
	"  --exit-with-stdin      end when standard input is closed\n"
	"  --max-connections N    most connections at a time (default 1200)\n"
	"  --version              print the version and end\n"
	"  --help                 print this text and end\n";

enum
{
	OPTION_NAME = 1,
	OPTION_DATA,
	OPTION_LISTEN,
	OPTION_KEY_FILE,
	OPTION_TLS_CERT,
	OPTION_TLS_KEY,
	OPTION_TLS_CA,
	OPTION_TLS,
	OPTION_TIER,
	OPTION_CAPACITY,
	OPTION_REGISTER,
	OPTION_ADVERTISE,
	OPTION_ZONE,
	OPTION_METRICS,
	OPTION_ADDRESS_FILE,
	OPTION_EXIT_WITH_STDIN,
	OPTION_MAX_CONNECTIONS,
	OPTION_VERSION,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{"name", required_argument, NULL, OPTION_NAME},
	{"data", required_argument, NULL, OPTION_DATA},
	{"listen", required_argument, NULL, OPTION_LISTEN},
	{"key-file", required_argument, NULL, OPTION_KEY_FILE},
	{"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
	{"tls-key", required_argument, NULL, OPTION_TLS_KEY},
	{"tls-ca", required_argument, NULL, OPTION_TLS_CA},
	{"tls", required_argument, NULL, OPTION_TLS},
	{"tier", required_argument, NULL, OPTION_TIER},
	{"capacity", required_argument, NULL, OPTION_CAPACITY},
	{"register", required_argument, NULL, OPTION_REGISTER},
	{"advertise", required_argument, NULL, OPTION_ADVERTISE},
	{"zone", required_argument, NULL, OPTION_ZONE},
	{"metrics", required_argument, NULL, OPTION_METRICS},
	{"address-file", required_argument, NULL, OPTION_ADDRESS_FILE},
	{"exit-with-stdin", no_argument, NULL, OPTION_EXIT_WITH_STDIN},
	{"max-connections", required_argument, NULL, OPTION_MAX_CONNECTIONS},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

static bool take_option(int option, const char *value, DifsOptions *options);
static bool check_options(DifsOptions *options);
static bool check_tls(DifsOptions *options);
static bool parse_tls(const char *text, DifsOptions *options);
static bool check_register(DifsOptions *options);
static bool parse_address(const char *text, char *host, char *port);
static bool parse_metrics(const char *text, DifsOptions *options);
static bool parse_size(const char *text, uint64_t *size);
static bool parse_count(const char *text, int *count);
static bool complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool
difs_options_parse(int argc, char **argv, DifsOptions *options, int *exit_code)
{
	int option;

	*options = (DifsOptions){.max_connections = DEFAULT_MAX_CONNECTIONS, .tier = DIFS_TIER_DISK};
	*exit_code = 2;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
	{
		if (option == OPTION_HELP || option == OPTION_VERSION)
		{
			fputs(option == OPTION_HELP ? usage : "difsd (difs) " DIFS_VERSION BUILT_WITH "\n", stdout);
			*exit_code = 0;
			return false;
		}
		if (!take_option(option, optarg, options))
			return false;
	}
	if (optind < argc)
		return complain("unexpected argument \"%s\"", argv[optind]);
	return check_options(options);
}

static bool
take_option(int option, const char *value, DifsOptions *options)
{
	switch (option)
	{
		case OPTION_NAME:
			options->name = value;
			return true;
		case OPTION_DATA:
			options->data = value;
			return true;
		case OPTION_LISTEN:
			return parse_address(value, options->host, options->port) || complain("\"%s\" is not of the form HOST:PORT", value);
		case OPTION_KEY_FILE:
			options->key_file = value;
			return true;
		case OPTION_TLS_CERT:
			options->tls_files.certificate = value;
			return true;
		case OPTION_TLS_KEY:
			options->tls_files.key = value;
			return true;
		case OPTION_TLS_CA:
			options->tls_files.ca = value;
			return true;
		case OPTION_TLS:
			return parse_tls(value, options) || complain("\"%s\" is not one of optional, required, mutual", value);
		case OPTION_TIER:
			options->tier = strcmp(value, "memory") == 0 ? DIFS_TIER_MEMORY : DIFS_TIER_DISK;
			return options->tier == DIFS_TIER_MEMORY || strcmp(value, "disk") == 0 ||
				complain("\"%s\" is not a tier: disk or memory", value);
		case OPTION_CAPACITY:
			return parse_size(value, &options->capacity_bytes) ||
				complain("\"%s\" is not a size, such as 500GB", value);
		case OPTION_REGISTER:
			options->register_at = value;
			return true;
		case OPTION_ADVERTISE:
			return parse_address(value, options->advertise_host, options->advertise_port) ||
				complain("\"%s\" is not of the form HOST:PORT", value);
		case OPTION_ZONE:
			options->zone = value;
			return true;
		case OPTION_METRICS:
			return parse_metrics(value, options) || complain("\"%s\" is not of the form [HOST:]PORT", value);
		case OPTION_ADDRESS_FILE:
			options->address_file = value;
			return true;
		case OPTION_EXIT_WITH_STDIN:
			options->exit_with_stdin = true;
			return true;
		case OPTION_MAX_CONNECTIONS:
			return parse_count(value, &options->max_connections) ||
				complain("\"%s\" is not a number of connections from 1 to 100000", value);
		default:
			/* getopt_long() has said what is wrong. */
			return false;
	}
}

static bool
check_options(DifsOptions *options)
{
	if (options->name == NULL)
		return complain("--name is missing");
	if (options->name[0] == '\0' || strlen(options->name) >= DIFS_NAME_SIZE)
		return complain("a storage name has 1 to %d bytes", DIFS_NAME_SIZE - 1);
	for (const char *at = options->name; *at != '\0'; at++)
	{
		if (isspace((unsigned char) *at) || iscntrl((unsigned char) *at))
			return complain("a storage name has no white space");
	}
	if (options->data == NULL && options->tier == DIFS_TIER_DISK)
		return complain("--data is missing");
	if (options->host[0] == '\0')
		return complain("--listen is missing");
	if (options->key_file == NULL)
		return complain("--key-file is missing");
	return check_register(options) && check_tls(options);
}

/* What others cannot connect to is not to be told to them. */
static bool
check_register(DifsOptions *options)
{
	if (options->register_at == NULL)
		return (options->advertise_host[0] == '\0' && options->zone == NULL) ||
			complain("--advertise and --zone are of use with --register only");
	if (options->register_at[0] == '\0')
		return complain("--register needs a connection string");
	if (options->zone == NULL)
		options->zone = "";
	if (options->advertise_host[0] != '\0')
		return true;
	if (strcmp(options->host, "0.0.0.0") == 0 || strcmp(options->host, "::") == 0 || strcmp(options->host, "*") == 0)
		return complain("\"%s\" is all addresses: say with --advertise HOST:PORT where the database finds this server",
						options->host);
	memcpy(options->advertise_host, options->host, sizeof(options->host));
	memcpy(options->advertise_port, options->port, sizeof(options->port));
	return true;
}

/* A certificate means that TLS is required, if nothing else is said. */
static bool
check_tls(DifsOptions *options)
{
	const DifsTlsFiles *files = &options->tls_files;

	if ((files->certificate == NULL) != (files->key == NULL))
		return complain("--tls-cert and --tls-key go together");
	if (options->tls != DIFS_TLS_UNSAID && files->certificate == NULL)
		return complain("--tls is of use with --tls-cert only");
	if (options->tls == DIFS_TLS_MUTUAL && files->ca == NULL)
		return complain("--tls mutual needs --tls-ca");
	if (options->tls == DIFS_TLS_UNSAID)
		options->tls = files->certificate != NULL ? DIFS_TLS_REQUIRED : DIFS_TLS_OPTIONAL;
	return true;
}

static bool
parse_tls(const char *text, DifsOptions *options)
{
	static const char *const words[] = {
		[DIFS_TLS_OPTIONAL] = "optional",
		[DIFS_TLS_REQUIRED] = "required",
		[DIFS_TLS_MUTUAL] = "mutual",
	};

	for (int policy = DIFS_TLS_OPTIONAL; policy <= DIFS_TLS_MUTUAL; policy++)
	{
		if (strcmp(text, words[policy]) != 0)
			continue;
		options->tls = (DifsTlsPolicy) policy;
		return true;
	}
	return false;
}

static bool
parse_address(const char *text, char *host, char *port)
{
	const char *colon = strrchr(text, ':');
	size_t length;
	char *end;
	unsigned long number;

	if (colon == NULL || colon == text || !isdigit((unsigned char) colon[1]))
		return false;
	number = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || number > 65535)
		return false;
	length = (size_t) (colon - text);
	if (text[0] == '[' && text[length - 1] == ']')
	{
		text++;
		length -= 2;
	}
	if (length == 0 || length >= HOST_SIZE)
		return false;
	memcpy(host, text, length);
	host[length] = '\0';
	snprintf(port, PORT_SIZE, "%lu", number);
	return true;
}

/* Of this machine alone, unless a host is said. */
static bool
parse_metrics(const char *text, DifsOptions *options)
{
	char address[HOST_SIZE + PORT_SIZE];

	if (strchr(text, ':') != NULL)
		return parse_address(text, options->metrics_host, options->metrics_port);
	return (size_t) snprintf(address, sizeof(address), "127.0.0.1:%s", text) < sizeof(address) &&
		parse_address(address, options->metrics_host, options->metrics_port);
}

/* A number and an optional unit: kB, MB, GB, TB, of 1024 each as everywhere in PostgreSQL. */
static bool
parse_size(const char *text, uint64_t *size)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	char *unit;
	unsigned long long number;

	if (!isdigit((unsigned char) text[0]))
		return false;
	errno = 0;
	number = strtoull(text, &unit, 10);
	if (errno != 0 || number == 0)
		return false;
	if (*unit == '\0')
		unit = "B";
	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		if (strcasecmp(unit, units[i]) != 0)
			continue;
		*size = (uint64_t) number << (10 * i);
		return *size >> (10 * i) == number;
	}
	return false;
}

static bool
parse_count(const char *text, int *count)
{
	char *end;
	long number = strtol(text, &end, 10);

	*count = (int) number;
	return *end == '\0' && end != text && number >= 1 && number <= 100000;
}

static bool
complain(const char *format, ...)
{
	va_list args;

	fputs("difsd: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry \"difsd --help\".\n", stderr);
	return false;
}
