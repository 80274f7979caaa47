/*
 * tls.c - one connection's TLS (tls.h).
 *
 * State: the DifsTls, its owner's alone.  OpenSSL reads and writes through a BIO of
 * our own over two buffers: what has arrived, and what is to leave.
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct DifsTls
{
	SSL *ssl;

	/* arrived: bytes from .. to have not been read by OpenSSL */
	uint8_t *in;
	size_t in_from;
	size_t in_to;

	/* to leave */
	uint8_t *out;
	size_t out_length;
	size_t out_size;
};

static BIO_METHOD *method = NULL;

static void make_method(void);
static int bio_read(BIO *bio, char *buffer, int size);
static int bio_write(BIO *bio, const char *bytes, int length);
static long bio_control(BIO *bio, int command, long number, void *pointer);
static bool attach(DifsTls *tls, DifsTlsContext *context);
static bool expect_host(DifsTls *tls, DifsTlsContext *context, const char *host);
static DifsTlsResult what_happened(DifsTls *tls, int returned, DifsError *error);
static void explain(const DifsTls *tls, DifsError *error);

DifsTls *
difs_tls_create(DifsTlsContext *context, const char *host, DifsError *error)
{
	DifsTls *tls = calloc(1, sizeof(*tls));

	if (tls != NULL && attach(tls, context) && (host == NULL || expect_host(tls, context, host)))
	{
		if (host == NULL)
			SSL_set_accept_state(tls->ssl);
		else
			SSL_set_connect_state(tls->ssl);
		return tls;
	}
	ERR_clear_error();
	difs_tls_destroy(tls);
	errno = 0;
	difs_error_set(error, DIFS_ERROR_MEMORY, "no memory for a TLS connection");
	return NULL;
}

void
difs_tls_destroy(DifsTls *tls)
{
	if (tls == NULL)
		return;
	SSL_free(tls->ssl);
	free(tls->in);
	free(tls->out);
	free(tls);
}

uint8_t *
difs_tls_room(DifsTls *tls, size_t *size)
{
	if (tls->in_from > 0)
	{
		memmove(tls->in, tls->in + tls->in_from, tls->in_to - tls->in_from);
		tls->in_to -= tls->in_from;
		tls->in_from = 0;
	}
	*size = DIFS_TLS_ROOM - tls->in_to;
	return tls->in + tls->in_to;
}

void
difs_tls_arrived(DifsTls *tls, size_t length)
{
	tls->in_to += length;
}

DifsTlsResult
difs_tls_handshake(DifsTls *tls, DifsError *error)
{
	ERR_clear_error();
	return what_happened(tls, SSL_do_handshake(tls->ssl), error);
}

DifsTlsResult
difs_tls_read(DifsTls *tls, void *buffer, size_t size, size_t *got, DifsError *error)
{
	ERR_clear_error();
	return what_happened(tls, SSL_read_ex(tls->ssl, buffer, size, got), error);
}

bool
difs_tls_write(DifsTls *tls, const void *bytes, size_t length, DifsError *error)
{
	size_t written = 0;

	ERR_clear_error();
	if (length == 0 || SSL_write_ex(tls->ssl, bytes, length, &written) == 1)
		return true;
	explain(tls, error);
	return false;
}

uint8_t *
difs_tls_take(DifsTls *tls, size_t *length)
{
	uint8_t *out = tls->out_length > 0 ? tls->out : NULL;

	*length = tls->out_length;
	if (out != NULL)
		tls->out = NULL;
	if (out != NULL)
		tls->out_length = tls->out_size = 0;
	return out;
}

bool
difs_tls_binding(DifsTls *tls, uint8_t binding[DIFS_BINDING_SIZE], DifsError *error)
{
	static const char label[] = "EXPORTER-Channel-Binding";

	ERR_clear_error();
	if (SSL_export_keying_material(tls->ssl, binding, DIFS_BINDING_SIZE, label, sizeof(label) - 1, NULL, 0, 0) == 1)
		return true;
	explain(tls, error);
	return false;
}

static void
make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "difs");
	if (method == NULL)
		return;
	(void) BIO_meth_set_read(method, bio_read);
	(void) BIO_meth_set_write(method, bio_write);
	(void) BIO_meth_set_ctrl(method, bio_control);
}

static int
bio_read(BIO *bio, char *buffer, int size)
{
	DifsTls *tls = BIO_get_data(bio);
	size_t length = tls->in_to - tls->in_from;

	BIO_clear_retry_flags(bio);
	if (length == 0)
	{
		BIO_set_retry_read(bio);
		return -1;
	}
	if (length > (size_t) size)
		length = (size_t) size;
	memcpy(buffer, tls->in + tls->in_from, length);
	tls->in_from += length;
	if (tls->in_from == tls->in_to)
		tls->in_from = tls->in_to = 0;
	return (int) length;
}

static int
bio_write(BIO *bio, const char *bytes, int length)
{
	DifsTls *tls = BIO_get_data(bio);
	size_t needed = tls->out_length + (size_t) length;

	BIO_clear_retry_flags(bio);
	if (needed > tls->out_size)
	{
		size_t size = needed < 2 * tls->out_size ? 2 * tls->out_size : needed;
		uint8_t *out = realloc(tls->out, size);

		if (out == NULL)
			return -1;
		tls->out = out;
		tls->out_size = size;
	}
	memcpy(tls->out + tls->out_length, bytes, (size_t) length);
	tls->out_length = needed;
	return length;
}

static long
bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void) bio;
	(void) number;
	(void) pointer;
	return command == BIO_CTRL_FLUSH;
}

static bool
attach(DifsTls *tls, DifsTlsContext *context)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	(void) pthread_once(&once, make_method);
	tls->in = malloc(DIFS_TLS_ROOM);
	tls->ssl = SSL_new(context);
	bio = method != NULL ? BIO_new(method) : NULL;
	if (tls->in == NULL || tls->ssl == NULL || bio == NULL)
	{
		BIO_free(bio);
		return false;
	}
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	return true;
}

/* A name is sent along (SNI), for a server behind something that looks at it; an address must not be. */
static bool
expect_host(DifsTls *tls, DifsTlsContext *context, const char *host)
{
	uint8_t address[sizeof(struct in6_addr)];
	bool numeric = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
	bool compare = SSL_CTX_get_app_data(context) != NULL;

	if (numeric)
		return !compare || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), host) == 1;
	return SSL_set_tlsext_host_name(tls->ssl, host) == 1 && (!compare || SSL_set1_host(tls->ssl, host) == 1);
}

static DifsTlsResult
what_happened(DifsTls *tls, int returned, DifsError *error)
{
	if (returned == 1)
		return DIFS_TLS_DONE;
	switch (SSL_get_error(tls->ssl, returned))
	{
		case SSL_ERROR_WANT_READ:
			return DIFS_TLS_WAIT;
		case SSL_ERROR_ZERO_RETURN:
			return DIFS_TLS_CLOSED;
		default:
			explain(tls, error);
			return DIFS_TLS_FAILED;
	}
}

/* Whose certificate was not taken, and why: the peer's by us, or ours by the peer, which sends an alert. */
static void
explain(const DifsTls *tls, DifsError *error)
{
	unsigned long code = ERR_get_error();
	const char *reason = ERR_reason_error_string(code);
	long verified = SSL_get_verify_result(tls->ssl);

	ERR_clear_error();
	errno = 0;
	if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		difs_error_set(error, DIFS_ERROR_REFUSED, "TLS: the peer's certificate was not accepted: %s",
					   X509_verify_cert_error_string(verified));
	else
		difs_error_set(error, DIFS_ERROR_REFUSED, "TLS: %s", reason != NULL ? reason : "broken connection");
}
