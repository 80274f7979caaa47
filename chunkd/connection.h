/*
 * connection.h - one peer: its frames in, its replies out.
 *
 *	HELLO -> PROOF -> ATTACHING -> READY        (greeting.c moves it along)
 *
 * A request belongs to the connection while it is received, then to the handler it
 * is given to, which ends its life with exactly one of difs_request_reply(),
 * difs_request_reply_file() and difs_request_fail(); that may be much later and
 * after the peer has gone.  All of it belongs to the loop thread; a job may read
 * the frame, control and payload of a request that was given to it.
 */
#ifndef DIFS_CONNECTION_H
#define DIFS_CONNECTION_H

#include <sys/queue.h>
#include <uv.h>

#include "../common/auth.h"

struct DifsServer;
struct DifsToken;
struct DifsTenant;
struct DifsGroup;
struct DifsGroupFile;

typedef struct DifsConnection DifsConnection;
typedef struct DifsRequest DifsRequest;

typedef enum DifsPhase
{
	DIFS_PHASE_HELLO,	  /* waits for HELLO */
	DIFS_PHASE_PROOF,	  /* waits for PROOF */
	DIFS_PHASE_ATTACHING, /* proved; its tenant and epoch are being made durable */
	DIFS_PHASE_READY
} DifsPhase;

struct DifsRequest
{
	STAILQ_ENTRY(DifsRequest) next; /* in the queue of whoever has it */
	DifsConnection *connection;
	DifsFrame frame;
	uint8_t *control;
	uint8_t *payload;
	uint64_t began_ns;		 /* when it had come, by uv_hrtime() */
	size_t charged_bytes;	 /* to the server's budget (memory.c) */
	uint32_t reserved_bytes; /* of output that the reply is going to need */
	bool writes;			 /* changes something: its tenant counts it until it is answered */

	/* for the handler */
	struct DifsGroup *group;
	void (*resume)(DifsRequest *request); /* what to do when the group is open */
	DifsSegment segment;				  /* PUT: what control says */
	uint64_t offset;					  /* PUT: where the record went, 0 if it was not written */
	uint32_t deleted;					  /* DELETE: segments that died by it */
	DifsError error;

	/* of a peer by token (by_token.h), else NULL */
	struct DifsToken *permit;
	uint8_t *receipt;
	uint32_t receipt_length;
};

/* Frees a request that nobody answers any more, or that has been. */
extern void difs_request_free(DifsRequest *request);

typedef STAILQ_HEAD(DifsRequestQueue, DifsRequest) DifsRequestQueue;

typedef struct DifsReply DifsReply;
typedef STAILQ_HEAD(DifsReplyQueue, DifsReply) DifsReplyQueue;

/* What of the handshake has to be remembered. */
typedef struct DifsGreeting
{
	uint8_t hello[DIFS_WIRE_MAX_GREETING];
	uint32_t hello_length;
	uint8_t cluster[DIFS_UUID_SIZE];
	DifsChallenge challenge;
	uint8_t key[DIFS_KEY_SIZE]; /* a copy: the key file may be read anew before the proof comes; or the MAC of a token */
} DifsGreeting;

typedef enum DifsReceiveStage
{
	DIFS_RECEIVE_HEADER,
	DIFS_RECEIVE_CONTROL,
	DIFS_RECEIVE_PAYLOAD
} DifsReceiveStage;

struct DifsConnection
{
	TAILQ_ENTRY(DifsConnection) link;		  /* in server->connections */
	TAILQ_ENTRY(DifsConnection) memory_link;  /* in budget->waiting while memory_wanted > 0 */
	STAILQ_ENTRY(DifsConnection) tenant_link; /* in tenant->attaching */
	struct DifsServer *server;
	uv_tcp_t tcp;
	char label[80];						/* "127.0.0.1:40000" */
	DifsTls *tls;						/* NULL: plain, or nothing has come yet */
	uint8_t binding[DIFS_BINDING_SIZE]; /* of tls, once it has greeted */
	bool pumping;						/* takes what has been read, from ahead or tls */
	bool tls_failed;					/* what it sends is thrown away */
	uint8_t *sealed;					/* what the running write sends of tls */
	bool surplus;						/* over --max-connections: is told so and closed */
	bool closing;
	bool close_when_sent; /* after the replies that are queued */

	/* who it is */
	DifsPhase phase;
	DifsGreeting *greeting;		   /* NULL once READY */
	DifsRequest *greeting_request; /* PROOF, while ATTACHING */
	struct DifsTenant *tenant;
	uint64_t epoch; /* what it claims; claim all zeros: nothing */
	uint8_t claim[DIFS_CLAIM_SIZE];
	uint8_t key_id[DIFS_KEY_ID_SIZE]; /* of the key that it said it has */
	bool by_token;					  /* it has a token instead, made with that key (by_token.h) */
	uint8_t session[DIFS_PROOF_SIZE]; /* then: what the uses of tokens are bound to */
	uint64_t accepted_ms;
	uint64_t revoked_ms; /* when its key was removed, or 0 */

	/* in */
	bool reading;
	DifsReceiveStage stage;
	uint32_t received;	  /* bytes of this stage */
	uint32_t granted;	  /* bytes of the payload that memory has been charged for */
	size_t memory_wanted; /* bytes that it waits for, or 0 */
	uint8_t header[DIFS_WIRE_HEADER_SIZE];
	uint8_t *ahead;	   /* what has been read beyond the stage; NULL before the first time */
	uint32_t ahead_at; /* taken so far */
	uint32_t ahead_end;
	DifsRequest *receiving;	 /* its control and payload, from the header's end on */
	uint64_t progress_bytes; /* received since progress_ms */
	uint64_t progress_ms;

	/* out */
	int in_flight;			 /* requests that are not answered */
	uint64_t outgoing_bytes; /* of replies that are queued or reserved */
	DifsReplyQueue replies;
	uv_write_t write;
	int writing;   /* replies at the head of the queue that the running write covers */
	bool fetching; /* a job reads the next piece of the first reply */
	bool gathered; /* in server->gather, to be written to */
	TAILQ_ENTRY(DifsConnection) gather_link;
};

/* Takes the next connection from a listening socket. */
extern void difs_connection_accept(struct DifsServer *server, uv_stream_t *listener);

/* Closes it, now; reason is logged if not NULL. */
extern void difs_connection_close(DifsConnection *connection, const char *reason);

/* Closes it when all requests that it has sent are answered and gone. */
extern void difs_connection_finish(DifsConnection *connection);

/* Its key counts no more: closes it as soon as nothing of it is under way. */
extern void difs_connection_revoke(DifsConnection *connection);

/* Called every second: closes what has waited too long for its peer. */
extern void difs_connection_tick(DifsConnection *connection, uint64_t now_ms);

/* The memory that it waited for has been charged to its request (memory.c). */
extern void difs_connection_memory_granted(DifsConnection *connection);

/* Starts a write of the replies that are queued, if none runs (gather.h says when). */
extern void difs_connection_send(DifsConnection *connection);

/* Announces that the reply to a request will take so many bytes of output, so that no more requests are read meanwhile
 * from a peer that has asked for much. */
extern void difs_request_reserve(DifsRequest *request, uint32_t bytes);

/* Answers with DIFS_OK and frees the request.  payload comes from malloc() and belongs to the reply from now on. */
extern void difs_request_reply(DifsRequest *request, const void *control, uint32_t control_length,
							   uint8_t *payload, uint32_t payload_length);

/* The same with a payload of which only the first piece_length bytes are at piece; the others are in the file from
 * offset on and are read while the peer takes them. */
extern void difs_request_reply_file(DifsRequest *request, const void *control, uint32_t control_length, uint8_t *piece,
									uint32_t piece_length, struct DifsGroupFile *file, uint64_t offset,
									uint32_t remaining);

/* Answers with an error and frees the request. */
extern void difs_request_fail(DifsRequest *request, const DifsError *error);
extern void difs_request_refuse(DifsRequest *request, DifsErrorCode code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* connection_tls.c, for connection.c: looks whether the first bytes are TLS, and takes them if they are; true as well if that
 * has closed the connection. */
extern bool difs_connection_tls_begins(DifsConnection *connection);

/* Decrypts what has arrived, as far as it is wanted. */
extern void difs_connection_tls_pump(DifsConnection *connection);

/* For connection_send.c: replaces buffers by one with their encrypted bytes; false if that closed the connection. */
extern bool difs_connection_seal(DifsConnection *connection, uv_buf_t *buffers, unsigned *count);

/* connection_receive.c, for connection.c: reads, or does not, as things are; forgets a request that is not complete. */
extern void difs_connection_read_or_pause(DifsConnection *connection);
extern void difs_connection_drop_receiving(DifsConnection *connection);

/* The same, for connection.c: takes what has been read ahead, as far as it is wanted. */
extern void difs_connection_pump(DifsConnection *connection);

/* connection_receive.c, for connection_tls.c: whether and where to the next bytes shall go, and that they are there. */
extern bool difs_connection_wants_bytes(const DifsConnection *connection);
extern uv_buf_t difs_connection_place(DifsConnection *connection);
extern void difs_connection_received(DifsConnection *connection, uint32_t count);

/* connection_send.c, for connection.c */
extern void difs_connection_drop_replies(DifsConnection *connection);

/* connection.c, for the others: starts or stops to read, closes what has nothing left to do, frees what is
 * closed. */
extern void difs_connection_update(DifsConnection *connection);

#endif
