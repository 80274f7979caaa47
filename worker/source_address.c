/*
 * source_address.c - which addresses are public (source_address.h).
 *
 * By IANA's registries of special-purpose addresses: what is not globally
 * reachable is not public, and neither are IPv6 addresses that have an IPv4
 * address inside which is not.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "port/pg_bswap.h"

#include "worker/source_address.h"

typedef struct Range
{
	uint32 prefix;
	int bits;
} Range;

static const Range not_public[] = {
	{0x00000000, 8},  /* 0.0.0.0/8: this network */
	{0x0a000000, 8},  /* 10.0.0.0/8: private */
	{0x64400000, 10}, /* 100.64.0.0/10: carriers' */
	{0x7f000000, 8},  /* 127.0.0.0/8: loopback */
	{0xa9fe0000, 16}, /* 169.254.0.0/16: link-local, and clouds' metadata */
	{0xac100000, 12}, /* 172.16.0.0/12: private */
	{0xc0000000, 24}, /* 192.0.0.0/24: protocol assignments */
	{0xc0000200, 24}, /* 192.0.2.0/24: documentation */
	{0xc0586300, 24}, /* 192.88.99.0/24: 6to4 relays */
	{0xc0a80000, 16}, /* 192.168.0.0/16: private */
	{0xc6120000, 15}, /* 198.18.0.0/15: benchmarks */
	{0xc6336400, 24}, /* 198.51.100.0/24: documentation */
	{0xcb007100, 24}, /* 203.0.113.0/24: documentation */
	{0xe0000000, 3},  /* 224.0.0.0/3: groups, reserved, broadcast */
};

static bool is_public_4(uint32 address);
static bool is_public_6(const uint8 *address);
static uint32 read_32(const uint8 *bytes);

bool
difs_source_address_is_public(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return is_public_4(pg_ntoh32(((const struct sockaddr_in *) address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return is_public_6(((const struct sockaddr_in6 *) address)->sin6_addr.s6_addr);
	return false;
}

void
difs_source_address_text(const struct sockaddr *address, char *text, size_t size)
{
	const void *bytes = address->sa_family == AF_INET ? (const void *) &((const struct sockaddr_in *) address)->sin_addr :
														(const void *) &((const struct sockaddr_in6 *) address)->sin6_addr;

	if (inet_ntop(address->sa_family, bytes, text, (socklen_t) size) == NULL)
		strlcpy(text, "an address of an unknown kind", size);
}

static bool
is_public_4(uint32 address)
{
	for (int i = 0; i < lengthof(not_public); i++)
	{
		if ((address ^ not_public[i].prefix) >> (32 - not_public[i].bits) == 0)
			return false;
	}
	return true;
}

/* Of 2000::/3, which is what has been given out, without documentation and tunnels; and 64:ff9b::/96, which is IPv4. */
static bool
is_public_6(const uint8 *address)
{
	uint32 first = read_32(address);

	if (first == 0x0064ff9b && read_32(address + 4) == 0 && read_32(address + 8) == 0)
		return is_public_4(read_32(address + 12));
	if (first >> 29 != 1)
		return false;
	if (first >> 9 == 0x20010000 >> 9 || first == 0x20010db8) /* 2001::/23, 2001:db8::/32 */
		return false;
	if (first >> 16 == 0x2002) /* 6to4 */
		return is_public_4(read_32(address + 2));
	return first >> 12 != 0x3fff0; /* 3fff::/20 */
}

static uint32
read_32(const uint8 *bytes)
{
	uint32 value;

	memcpy(&value, bytes, sizeof(value));
	return pg_ntoh32(value);
}
