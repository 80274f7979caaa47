/*
 * bytes.h - little-endian numbers in byte buffers, for the wire and the disk.
 *
 * Formats are written field by field with these, never by copying structs, so
 * neither padding nor the machine's byte order can leak into them.
 */
#ifndef DIFS_BYTES_H
#define DIFS_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void
difs_put16(uint8_t *at, uint16_t value)
{
	value = htole16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void
difs_put32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void
difs_put64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint16_t
difs_get16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t
difs_get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static inline uint64_t
difs_get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

#endif
