/*
 * crc32c.c - CRC-32C by ISA-L, and its combination by arithmetic on polynomials.
 *
 * A CRC is a polynomial over GF(2) of degree below 32, here in reflected order:
 * bit 31 is the coefficient of x^0, bit 0 that of x^31.  Appending n bytes to a
 * message multiplies its CRC by x^(8n) modulo P.  The initial value and the final
 * xor cancel out, so CRC(AB) = CRC(A) * x^(8 * |B|) + CRC(B).
 *
 * No state but a constant table.
 */
#include "crc32c.h"

#include <limits.h>

#include <isa-l/crc.h>

#define POLYNOMIAL 0x82f63b78 /* P without its x^32, reflected */
#define ONE 0x80000000		  /* x^0 */

/* x^(2^n) mod P.  P is (x + 1) times an irreducible polynomial of degree 31, hence x^(2^31) = x: n counts modulo 31. */
#define POWERS 31
/* clang-format off */
static const uint32_t power_of_x[POWERS] = {
	0x40000000, 0x20000000, 0x08000000, 0x00800000, 0x00008000, 0x82f63b78,
	0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7, 0x88e56f72,
	0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269,
	0xe2ea32dc, 0xfe7740e6, 0xf946610b, 0x3c204f8f, 0x538586e3, 0x59726915,
	0x734d5309, 0xbc1ac763, 0x7d0722cc, 0xd289cabe, 0xe94ca9bc, 0x05b74f3f,
	0xa51e1f42,
};
/* clang-format on */

static uint32_t multiply(uint32_t a, uint32_t b);

uint32_t
difs_crc32c(uint32_t crc, const void *data, size_t length)
{
	unsigned char *at = (unsigned char *) data; /* ISA-L's declaration lacks the const */

	crc = ~crc;
	while (length > 0)
	{
		int part = length > INT_MAX ? INT_MAX : (int) length;

		crc = crc32_iscsi(at, part, crc);
		at += part;
		length -= (size_t) part;
	}
	return ~crc;
}

uint32_t
difs_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_length)
{
	uint32_t shift = ONE;

	/* one factor for each bit of the length, so just one for a block; 3 because a byte is 2^3 bits */
	for (int n = 3; second_length != 0; n++, second_length >>= 1)
	{
		if (second_length & 1)
			shift = multiply(shift, power_of_x[n % POWERS]);
	}
	return multiply(shift, first) ^ second;
}

/* a * b mod P.  Without branches on the bits, which are random; ends at the highest power in a. */
static uint32_t
multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	while (a != 0)
	{
		product ^= b & -(a >> 31);
		a <<= 1;
		b = (b >> 1) ^ (POLYNOMIAL & -(b & 1));
	}
	return product;
}
