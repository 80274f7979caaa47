/*
 * options.h - the command line of difsd.
 */
#ifndef DIFS_OPTIONS_H
#define DIFS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/tls.h"
#include "../common/wire.h"

#define DIFS_TIER_DISK 0 /* as in DifsServerStatus */
#define DIFS_TIER_MEMORY 1

/* Who may connect. */
typedef enum DifsTlsPolicy
{
	DIFS_TLS_UNSAID,   /* only while options are read */
	DIFS_TLS_OPTIONAL, /* with TLS, if there is a certificate, and without */
	DIFS_TLS_REQUIRED, /* with TLS only */
	DIFS_TLS_MUTUAL	   /* and with a certificate only */
} DifsTlsPolicy;

typedef struct DifsOptions
{
	const char *name;
	const char *data; /* NULL: memory tier without a directory */
	char host[256];
	char port[8];
	const char *key_file;
	DifsTlsFiles tls_files; /* without a certificate there is no TLS */
	DifsTlsPolicy tls;
	const char *address_file; /* NULL: none */
	char metrics_host[256];	  /* where metrics are served; empty: nowhere */
	char metrics_port[8];
	uint8_t tier;
	uint64_t capacity_bytes;		 /* 0: what the file system has */
	uint8_t storage[DIFS_UUID_SIZE]; /* not an option: the data directory's identity, zeros for the memory tier */
	const char *register_at;		 /* connection string of the database to register with; NULL: none */
	char advertise_host[256];		 /* where others find us; by default what is listened on */
	char advertise_port[8];			 /* "0": the one that is listened on */
	const char *zone;				 /* said when registering */
	int max_connections;
	bool exit_with_stdin;
} DifsOptions;

/* Fills in options from the command line; they refer to argv.  Prints what --help and --version ask for, and what is
 * wrong. False if the program shall end with *exit_code. */
extern bool difs_options_parse(int argc, char **argv, DifsOptions *options, int *exit_code);

#endif
