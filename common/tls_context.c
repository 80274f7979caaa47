/*
 * tls_context.c - contexts (tls.h): files in, rules set.
 *
 * State: none but the context itself.  Whether a client compares the host is kept
 * in it, as its application data.
 */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

static DifsTlsContext *make_context(const SSL_METHOD *method, DifsError *error);
static int no_password(char *buffer, int size, int writing, void *context);
static bool load_certificate(DifsTlsContext *context, const DifsTlsFiles *files, DifsError *error);
static bool check_key_file(const char *path, DifsError *error);
static bool load_ca(DifsTlsContext *context, const char *path, DifsError *error);
static bool is_set(const char *path);
static bool explain(DifsError *error, const char *what, const char *path);

DifsTlsContext *
difs_tls_client_context(DifsTlsMode mode, const DifsTlsFiles *files, DifsError *error)
{
	DifsTlsContext *context = make_context(TLS_client_method(), error);
	bool verify = mode == DIFS_TLS_VERIFY_CA || mode == DIFS_TLS_VERIFY_FULL;

	if (context == NULL)
		return NULL;
	SSL_CTX_set_verify(context, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_app_data(context, mode == DIFS_TLS_VERIFY_FULL ? context : NULL);
	if ((!is_set(files->certificate) || load_certificate(context, files, error)) &&
		(!verify || load_ca(context, files->ca, error)))
		return context;
	SSL_CTX_free(context);
	return NULL;
}

DifsTlsContext *
difs_tls_server_context(const DifsTlsFiles *files, bool clients_too, DifsError *error)
{
	DifsTlsContext *context = make_context(TLS_server_method(), error);

	if (context == NULL)
		return NULL;
	(void) SSL_CTX_set_num_tickets(context, 0);
	(void) SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(context, clients_too ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
	if (load_certificate(context, files, error) && (!clients_too || load_ca(context, files->ca, error)))
		return context;
	SSL_CTX_free(context);
	return NULL;
}

DifsTlsContext *
difs_tls_context_hold(DifsTlsContext *context)
{
	(void) SSL_CTX_up_ref(context);
	return context;
}

void
difs_tls_context_release(DifsTlsContext *context)
{
	SSL_CTX_free(context);
}

static DifsTlsContext *
make_context(const SSL_METHOD *method, DifsError *error)
{
	DifsTlsContext *context = SSL_CTX_new(method);

	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1)
	{
		SSL_CTX_free(context);
		explain(error, "could not set up TLS", NULL);
		return NULL;
	}
	SSL_CTX_set_default_passwd_cb(context, no_password);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	return context;
}

/* Nobody is there to be asked. */
static int
no_password(char *buffer, int size, int writing, void *context)
{
	(void) buffer;
	(void) size;
	(void) writing;
	(void) context;
	return -1;
}

static bool
load_certificate(DifsTlsContext *context, const DifsTlsFiles *files, DifsError *error)
{
	errno = 0;
	if (!is_set(files->certificate) || !is_set(files->key))
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "TLS needs both a certificate and its private key");
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1)
		return explain(error, "could not load certificate file", files->certificate);
	if (!check_key_file(files->key, error))
		return false;
	if (SSL_CTX_use_PrivateKey_file(context, files->key, SSL_FILETYPE_PEM) != 1)
		return explain(error, "could not load private key file", files->key);
	return true;
}

/* PostgreSQL's rule for its own: mode 0600, or 0640 and root's. */
static bool
check_key_file(const char *path, DifsError *error)
{
	struct stat info;

	if (stat(path, &info) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not examine private key file \"%.100s\"", path);
	errno = 0;
	if (!S_ISREG(info.st_mode) || (info.st_mode & (info.st_uid == 0 ? 037 : 077)) != 0)
		return difs_error_set(error, DIFS_ERROR_REFUSED,
							  "private key file \"%.100s\" must be a file that only its owner may read or write", path);
	return true;
}

static bool
load_ca(DifsTlsContext *context, const char *path, DifsError *error)
{
	errno = 0;
	if (!is_set(path))
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "there is no file with CA certificates to verify the peer's by");
	ERR_clear_error();
	if (SSL_CTX_load_verify_file(context, path) != 1)
		return explain(error, "could not load CA file", path);
	SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(path));
	return true;
}

static bool
is_set(const char *path)
{
	return path != NULL && path[0] != '\0';
}

/* What OpenSSL says; its first complaint is the cause. */
static bool
explain(DifsError *error, const char *what, const char *path)
{
	unsigned long code = ERR_get_error();
	const char *reason = ERR_reason_error_string(code);

	ERR_clear_error();
	errno = 0;
	if (path == NULL)
		return difs_error_set(error, DIFS_ERROR_MEMORY, "%s: %s", what, reason != NULL ? reason : "unknown reason");
	if (ERR_SYSTEM_ERROR(code))
		errno = ERR_GET_REASON(code);
	return difs_error_set(error, errno != 0 ? DIFS_ERROR_IO : DIFS_ERROR_ARGUMENT, "%s \"%.100s\"%s%s", what, path,
						  errno == 0 && reason != NULL ? ": " : "", errno == 0 && reason != NULL ? reason : "");
}
