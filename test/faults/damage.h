/*
 * damage.h - bytes of a chunk server's files that rot, while it runs or not.
 *
 * What cannot be damaged ends the program.
 */
#ifndef FAULTS_DAMAGE_H
#define FAULTS_DAMAGE_H

#include <stddef.h>
#include <stdint.h>

/* Name of a file of a block group of client_peer()'s cluster, below a data directory; valid until the next call. */
extern const char *damage_path(const char *directory, uint64_t group, const char *suffix);

/* Inverts bytes, at most 256. */
extern void damage_bytes(const char *directory, uint64_t group, const char *suffix, uint64_t offset, size_t length);

#endif
