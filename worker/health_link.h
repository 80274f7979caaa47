/*
 * health_link.h - one of the keeper's connections to chunk servers, and what it says (health.h).
 */
#ifndef DIFS_HEALTH_LINK_H
#define DIFS_HEALTH_LINK_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/timestamp.h"

#include "common/conn.h"
#include "worker/health.h"

typedef struct DifsHealthLink
{
	int32 server; /* 0 = not in use */
	char name[DIFS_NAME_SIZE];
	char host[256];
	uint16 port;
	DifsConn *conn;		/* NULL: to be tried at retry_at */
	bool greeted;		/* conn is ready */
	TimestampTz loaded; /* PgReloadTime when it was made */
	TimestampTz retry_at;
	TimestampTz stat_at;   /* when to ask how it is */
	TimestampTz answer_by; /* when to give it up; 0 = it owes nothing */
	uint64 stat_request;   /* 0 = none on its way */
	uint64 last_request;
	bool known; /* has been logged to be up or down */
	bool up;
	TimestampTz rests_until;
	char rests_why[DIFS_ERROR_TEXT_SIZE]; /* told until a group has been made there */
	dlist_head asks;
	uint8 *payload; /* room for the payload of a reply */
} DifsHealthLink;

/* For a server, at its present address; false if it has another one now, or is not there any more. */
extern void difs_health_link_open(DifsHealthLink *link, const DifsSharedServer *server);
extern bool difs_health_link_fits(const DifsHealthLink *link, const DifsSharedServer *servers, int count);
extern void difs_health_link_close(DifsHealthLink *link);

/* Takes what has come, asks for its status, gives up and tries again, all if it is time. */
extern void difs_health_link_serve(DifsHealthLink *link);

/* When it is to be served again at the latest. */
extern TimestampTz difs_health_link_next(const DifsHealthLink *link);

/* Sends a request by a link that has a connection. */
extern void difs_health_link_ask(DifsHealthLink *link, DifsAsk *ask, DifsMessage message, const void *control, uint32 control_length);

/* Texts of the connection begin with the server's name, which messages here have already: the text without it. */
extern const char *difs_health_link_text(const DifsHealthLink *link, const char *text);

/* health_publish.c: what has been learned, to servers[] of the database's entry and to the log. */
extern void difs_health_publish_up(DifsHealthLink *link, const DifsServerStatus *status);
extern void difs_health_publish_down(DifsHealthLink *link, const char *problem);

/* Raises difs_health_changes(). */
extern void difs_health_changed(void);

#endif
