/*
 * crc32c.h - CRC-32C (Castagnoli, RFC 3720 appendix B.4), as iSCSI, ext4 and
 * PostgreSQL use it: reflected, initial value and final xor 0xFFFFFFFF.
 *
 * The work is done by ISA-L's crc32_iscsi(), which is about ten times as fast
 * as a loop over the SSE 4.2 instruction.
 */
#ifndef DIFS_CRC32C_H
#define DIFS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C of the length bytes at data, continuing from crc, the result for what came before (0 to begin). */
extern uint32_t difs_crc32c(uint32_t crc, const void *data, size_t length);

/* CRC-32C of A followed by B, from the CRCs of A and of B and the length of B in bytes; no byte is read again.
 * (Multiplication by x^(8 * second_length) modulo the polynomial, as zlib's crc32_combine() does it.) */
extern uint32_t difs_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_length);

#endif
