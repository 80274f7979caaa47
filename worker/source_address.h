/*
 * source_address.h - which addresses are public.
 */
#ifndef DIFS_SOURCE_ADDRESS_H
#define DIFS_SOURCE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* Not of this machine, a private network, a link, a group or a reserved range. Unknown families are not public. */
extern bool difs_source_address_is_public(const struct sockaddr *address);

extern void difs_source_address_text(const struct sockaddr *address, char *text, size_t size);

#endif
