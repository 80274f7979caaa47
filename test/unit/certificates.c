/*
 * certificates.c - see certificates.h.
 */
#include "certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define HOUR 3600

static X509 *
make(const char *name, EVP_PKEY *key, long from, long to)
{
	static long serial = 0;
	X509 *certificate = X509_new();

	assert_non_null(certificate);
	assert_true(X509_set_version(certificate, 2));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial));
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), from));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), to));
	assert_true(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
										   (const unsigned char *) name, -1, -1, 0));
	assert_true(X509_set_pubkey(certificate, key));
	return certificate;
}

static void
extend(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(extension);
	assert_true(X509_add_ext(certificate, extension, -1));
	X509_EXTENSION_free(extension);
}

static FILE *
create(const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fchmod(fileno(file), 0600), 0);
	return file;
}

static void
write_certificate(const char *path, X509 *certificate)
{
	FILE *file = create(path);

	assert_true(PEM_write_X509(file, certificate));
	assert_int_equal(fclose(file), 0);
}

Authority
make_authority(const char *name, const char *file)
{
	Authority authority = {.key = EVP_EC_gen("P-256")};

	assert_non_null(authority.key);
	authority.certificate = make(name, authority.key, -HOUR, HOUR);
	assert_true(X509_set_issuer_name(authority.certificate, X509_get_subject_name(authority.certificate)));
	extend(authority.certificate, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(authority.certificate, authority.key, EVP_sha256()) > 0);
	write_certificate(file, authority.certificate);
	return authority;
}

void
free_authority(Authority *authority)
{
	EVP_PKEY_free(authority->key);
	X509_free(authority->certificate);
}

void
make_certificate(const Authority *authority, const char *names, bool expired, const char *stem)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate;
	char path[256];
	FILE *file;

	assert_non_null(key);
	certificate = make("difsd", key, -2 * HOUR, expired ? -HOUR : HOUR);
	assert_true(X509_set_issuer_name(certificate, X509_get_subject_name(authority->certificate)));
	extend(certificate, NID_subject_alt_name, names);
	assert_true(X509_sign(certificate, authority->key, EVP_sha256()) > 0);
	snprintf(path, sizeof(path), "%s.crt", stem);
	write_certificate(path, certificate);
	snprintf(path, sizeof(path), "%s.key", stem);
	file = create(path);
	assert_true(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
	assert_int_equal(fclose(file), 0);
	X509_free(certificate);
	EVP_PKEY_free(key);
}
