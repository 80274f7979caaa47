/*
 * name_hash.h - hashes of names, as stores of named data have them.
 *
 * The hash of a name is the SHA-256 of the path as difs_path_write() writes it,
 * "volume:/dir/file", in the database's encoding; so whoever knows the name can
 * compute it (printf %s main:/dir/file | sha256sum).  It is nowhere stored: a
 * renamed directory would change it for all that is below.
 */
#ifndef DIFS_NAME_HASH_H
#define DIFS_NAME_HASH_H

#include "postgres.h"

#define DIFS_NAME_HASH_SIZE 32

extern void difs_name_hash_compute(const char *name, size_t length, uint8 *hash);

#endif
