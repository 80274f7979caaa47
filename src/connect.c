/*
 * connect.c - see connect.h.  No state.
 */
#include "postgres.h"

#include "src/connect.h"
#include "src/settings.h"

DifsConn *
difs_connect(DifsPeer *peer, DifsError *error)
{
	DifsConn *conn = NULL;

	peer->tls = NULL;
	if (difs_tls == DIFS_TLS_OFF || (peer->tls = difs_tls_client_context(difs_tls, &difs_tls_files, error)) != NULL)
	{
		conn = difs_conn_create(peer);
		if (conn == NULL)
			difs_error_set(error, DIFS_ERROR_MEMORY, "out of memory for a connection");
		difs_tls_context_release(peer->tls);
		peer->tls = NULL;
	}
	explicit_bzero(peer->key, sizeof(peer->key));
	return conn;
}
