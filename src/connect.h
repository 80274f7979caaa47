/*
 * connect.h - the one way in which this server's processes become clients of chunk servers.
 */
#ifndef DIFS_CONNECT_H
#define DIFS_CONNECT_H

#include "postgres.h"

#include "common/conn.h"

/* Begins to connect, with TLS as difs.tls says, and wipes the peer's key.  The certificate files are read each time, as the key
 * file is, so what is in them is in force at once.  NULL with *error if they are not right, or memory is short. */
extern DifsConn *difs_connect(DifsPeer *peer, DifsError *error);

#endif
