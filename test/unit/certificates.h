/*
 * certificates.h - certificates as tests need them: right, expired, of somebody else, for another host.
 */
#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <stdbool.h>

#include <openssl/x509.h>

#include "tls.h"

typedef struct Authority
{
	EVP_PKEY *key;
	X509 *certificate;
} Authority;

/* Writes the CA's certificate to a file. */
extern Authority make_authority(const char *name, const char *file);
extern void free_authority(Authority *authority);

/* Writes <stem>.crt and <stem>.key, mode 0600. names: as in a subject alternative name, such as "DNS:localhost,IP:127.0.0.1". */
extern void make_certificate(const Authority *authority, const char *names, bool expired, const char *stem);

#endif
