/*
 * wire.h - the whole protocol between chunk servers and those who talk to them.
 *
 * A connection carries frames in both directions.  Requests may be pipelined;
 * each reply names its request, and replies come in any order.
 *
 *	  0  u32  control_length    bytes of control after this header, at most DIFS_WIRE_MAX_CONTROL
 *	  4  u32  payload_length    bytes of payload after control, at most DIFS_MAX_SEGMENT_SIZE
 *	  8  u64  request           chosen by the requester, echoed by the reply
 *	 16  u8   message           DifsMessage; a reply has DIFS_WIRE_REPLY set
 *	 17  u8   status            in a reply, a DifsErrorCode; in a request 0
 *	 18  u16  reserved, 0
 *	 20  u32  crc               CRC-32C of bytes 0 .. 20 of this header and of control
 *
 * A reply with a status other than DIFS_OK has the error's text (UTF-8, no
 * terminator) as its control and no payload.  A frame that breaks a rule of
 * this file closes the connection and harms nobody else.  The payload is not in
 * crc: it is the stored form of a segment, which has its own (segment.h).
 *
 *	message        sender  control                                      payload   reply's control              reply's payload
 *	HELLO          client  u16 protocol version, u8[8] key id,          -         CHALLENGE:                   -
 *	                       u8[16] cluster uuid, u64 epoch,                        u16 version, u8[32] server nonce,
 *	                       u8[16] claim, u8[32] client nonce,                     u8[32] server proof, u16 name length, name
 *	                       name wanted
 *	PROOF          client  u8[32] client proof                          -         WELCOME: DifsServerStatus    -
 *	HELLO_TOKEN    client  u16 protocol version, u8[32] client nonce,   -         CHALLENGE                    -
 *	                       u8[102] body of a token, name wanted
 *	CREATE_GROUP   client  u64 group, u64 epoch, u64 capacity           -         -                            -
 *	SEAL_GROUP     client  u64 group                                    -         u64 segments, u64 bytes      -
 *	DROP_GROUP     client  u64 group, u64 epoch                         -         -                            -
 *	PUT            client  packed segment header (group in it)          stored    - ; by token: a receipt      -
 *	                       [, use of a token]
 *	GET            client  u64 group, u64 segment, u32 offset,          -         u32 first block, packed      blocks
 *	                       u32 length (0 = to the end)                            segment header
 *	                       [, use of a token]
 *	DELETE         client  u64 group, u64 segment [1 .. 4096]           -         u32 deleted, u32 unknown     -
 *	LIST           client  u64 group, u64 cursor (0 to begin)           -         u64 next cursor (0 = done)   DifsListEntry []
 *	LIST_GROUPS    client  u64 greater than this group id               -         -                            DifsGroupEntry []
 *	STAT           client  -                                            -         DifsServerStatus             -
 *	VERIFY         client  u64 group, u64 segment                       -         -                            -
 *	PULL           client  DifsPull                                     -         DifsPullProgress             -
 *	VERIFY_GROUP   client  u64 group, u64 cursor (0 to begin)           -         u64 next cursor (0 = done),  DifsListEntry []
 *	                                                                              u64 bytes read               of what is bad
 *	MEND           client  packed segment header (group in it)          stored    -                            -
 *	               or      u64 group                                    -         -                            -
 *
 * All of it may be inside of TLS (tls.h), which a client begins with its first byte: no HELLO begins like a TLS handshake.
 *
 * Clients without the cluster key begin with HELLO_TOKEN, may send PUT and GET only, and each with the use of a token that
 * allows just that (token.h); their WELCOME says nothing about the server (all 0).  Other clients send no uses.
 *
 * Before WELCOME a server takes no other message than HELLO, HELLO_TOKEN and PROOF, and no
 * frame with more control than DIFS_WIRE_MAX_GREETING.  PUT, CREATE_GROUP,
 * SEAL_GROUP, DROP_GROUP, DELETE, PULL and MEND are refused with DIFS_ERROR_FENCED, but for
 * connections that hold the cluster's claim, and tokens that whoever holds it has given.  PUT is acknowledged after its group's file has been
 * synced; CREATE_GROUP after file and directory have been; DELETE after the
 * deletion is durable.  SEAL_GROUP of a group that is sealed already has it
 * rewritten without what is deleted.  The handshake's proofs are in auth.h.
 *
 * The claim.  A server keeps, for each cluster uuid, the highest epoch that a
 * proved HELLO has brought, and the claim (16 random bytes) that came with it
 * first.  WELCOME goes out after both are durable, and says what they are: a
 * client that finds its own there holds the claim at this server until another
 * brings a higher epoch, and two that bring the same epoch cannot both.  A HELLO
 * whose claim is all zeros asks for nothing: such a connection reads, and the
 * epoch that it names does not count.
 *
 * PULL makes the server a client of others: it copies a whole block group from them, sealed, in the place of a copy with a
 * lower epoch if it has one.  It answers within a second or two with how far it is; the requester asks again, which joins the
 * pull that is under way, until "done" says that all of it is durable.  A pull that nobody asks about any more is given up.
 *
 * What arrives late.  A request may be obeyed long after its sender has given it up.  A copy of a block group carries an epoch,
 * which every copy that is made anew raises.  DROP_GROUP says up to which one it means, and a copy of a higher one is
 * kept (DIFS_ERROR_EXISTS): it was made after the sender had looked.  The others need no such bound.  CREATE_GROUP and PULL never take the
 * place of a copy with the same or a higher epoch; ids are never used twice, so what DELETE was right about it is right about for ever;
 * MEND writes what has been in that place; and SEAL_GROUP only ends what nobody writes to any more.
 *
 * VERIFY_GROUP reads the next live segments of a group from the disk, DIFS_VERIFY_BYTES of them or a little more, and answers
 * which are bad.  From cursor 0 it begins with the group's own header and index, and with places without a readable record:
 * entries of segment 0, at offset 0 if it is header or index.
 *
 * MEND writes a good copy of a segment over a bad one, which must have the same id, xid and lengths, whatever the group's state
 * is, or puts back one that the group has lost; it is acknowledged after the file has been synced.  With a group alone, the
 * server makes the group's header and index right from what it holds in memory and in the records.
 *
 * Offsets and lengths of GET are in the stored form, whatever its codec; the server
 * widens them to whole blocks and says which one is first.
 */
#ifndef DIFS_WIRE_H
#define DIFS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "segment.h"

#define DIFS_WIRE_VERSION 1
#define DIFS_WIRE_HEADER_SIZE 24
#define DIFS_WIRE_MAX_CONTROL (36 * 1024)
#define DIFS_WIRE_MAX_GREETING 512
#define DIFS_WIRE_MAX_DELETE 4096
#define DIFS_WIRE_REPLY 0x80
#define DIFS_VERIFY_BYTES (16 * 1024 * 1024)

#define DIFS_NAME_SIZE 256 /* storage name with its terminator */
#define DIFS_UUID_SIZE 16
#define DIFS_CLAIM_SIZE 16
#define DIFS_NONCE_SIZE 32
#define DIFS_PROOF_SIZE 32
#define DIFS_KEY_ID_SIZE 8

typedef enum DifsMessage
{
	DIFS_MESSAGE_HELLO = 1,
	DIFS_MESSAGE_PROOF = 2,
	DIFS_MESSAGE_HELLO_TOKEN = 3,
	DIFS_MESSAGE_CREATE_GROUP = 10,
	DIFS_MESSAGE_SEAL_GROUP = 11,
	DIFS_MESSAGE_DROP_GROUP = 12,
	DIFS_MESSAGE_PUT = 13,
	DIFS_MESSAGE_GET = 14,
	DIFS_MESSAGE_DELETE = 15,
	DIFS_MESSAGE_LIST = 16,
	DIFS_MESSAGE_LIST_GROUPS = 17,
	DIFS_MESSAGE_STAT = 18,
	DIFS_MESSAGE_VERIFY = 19,
	DIFS_MESSAGE_PULL = 20,
	DIFS_MESSAGE_VERIFY_GROUP = 22,
	DIFS_MESSAGE_MEND = 23
} DifsMessage;

/* A frame without its bytes: what a header says. */
typedef struct DifsFrame
{
	uint32_t control_length;
	uint32_t payload_length;
	uint64_t request;
	uint8_t message;
	uint8_t status;
} DifsFrame;

/* Writes a frame header for frame, whose control (control_length bytes) stands at control. */
extern void difs_wire_pack(const DifsFrame *frame, const uint8_t *control, uint8_t out[DIFS_WIRE_HEADER_SIZE]);

/* Reads the lengths, message and status of a header and checks their bounds against the two limits, before any memory is
 * taken for the rest.  The checksum is not looked at: difs_wire_check() does that once control is there. */
extern bool difs_wire_unpack(const uint8_t header[DIFS_WIRE_HEADER_SIZE], uint32_t max_control, uint32_t max_payload,
							 DifsFrame *frame, DifsError *error);

/* Checks the header's checksum over itself and control. */
extern bool difs_wire_check(const uint8_t header[DIFS_WIRE_HEADER_SIZE], const uint8_t *control, DifsError *error);

/*
 * Bodies.  Each message with a control of its own has a struct, a pack function that returns the number of bytes written to out
 * (which has room for DIFS_WIRE_MAX_CONTROL), and an unpack function that is false with DIFS_ERROR_PROTOCOL for a body of
 * the wrong length or with values out of bounds.  PUT's control is a packed segment header, by segment.h.
 */
typedef struct DifsHello
{
	uint16_t version;
	uint8_t key_id[DIFS_KEY_ID_SIZE];
	uint8_t cluster[DIFS_UUID_SIZE];
	uint64_t epoch;
	uint8_t claim[DIFS_CLAIM_SIZE]; /* all zeros: only to read */
	uint8_t nonce[DIFS_NONCE_SIZE];
	char name[DIFS_NAME_SIZE]; /* storage name that the client means to talk to; empty: any */
} DifsHello;

#define DIFS_WIRE_TOKEN_SIZE 102 /* token.h: DIFS_TOKEN_BODY_SIZE */
typedef struct DifsHelloToken
{
	uint16_t version;
	uint8_t nonce[DIFS_NONCE_SIZE];
	uint8_t token[DIFS_WIRE_TOKEN_SIZE]; /* its body */
	char name[DIFS_NAME_SIZE];			 /* storage name that the client means to talk to; empty: any */
} DifsHelloToken;

typedef struct DifsChallenge
{
	uint16_t version;
	uint8_t nonce[DIFS_NONCE_SIZE];
	uint8_t proof[DIFS_PROOF_SIZE];
	char name[DIFS_NAME_SIZE]; /* the server's storage name */
} DifsChallenge;

typedef struct DifsServerStatus /* u64 each on the wire, in this order, then u8 tier, u8[16] claim, u8[16] storage, u64 sync_us */
{
	uint64_t epoch;			 /* highest seen for this cluster */
	uint64_t capacity_bytes; /* 0 = what the file system has */
	uint64_t used_bytes;	 /* allocated on disk by all groups of all clusters */
	uint64_t free_bytes;	 /* that can still be written */
	uint64_t groups;		 /* of this cluster */
	uint64_t segments;		 /* live, of this cluster */
	uint64_t dead_bytes;	 /* of deleted segments whose space has not come back yet */
	uint64_t puts;			 /* segments written since start */
	uint64_t gets;
	uint64_t syncs;					 /* fdatasync calls since start */
	uint8_t tier;					 /* 0 disk, 1 memory */
	uint8_t claim[DIFS_CLAIM_SIZE];	 /* that holds the epoch; all zeros: nobody has claimed yet */
	uint8_t storage[DIFS_UUID_SIZE]; /* of the data directory, made with it; all zeros: memory without one */
	uint64_t sync_us;				 /* what those fdatasync calls took; 0 from a server that does not say so */
} DifsServerStatus;

typedef struct DifsCreateGroup
{
	uint64_t group;
	uint64_t epoch;
	uint64_t capacity; /* bytes of group file that a PUT may not exceed */
} DifsCreateGroup;

typedef struct DifsGet
{
	uint64_t group;
	uint64_t segment;
	uint32_t offset;
	uint32_t length;
} DifsGet;

typedef struct DifsDelete
{
	uint64_t group;
	uint32_t count;		/* 1 .. DIFS_WIRE_MAX_DELETE */
	const uint8_t *ids; /* count little-endian u64, in the frame */
} DifsDelete;

/* One entry of LIST's payload, 32 bytes: u64 segment, u64 xid, u64 offset in the file, u32 stored_length, u32 flags. */
#define DIFS_LIST_ENTRY_SIZE 32
#define DIFS_LIST_MAX_ENTRIES 4096
typedef struct DifsListEntry
{
	uint64_t segment;
	uint64_t xid;
	uint64_t offset;
	uint32_t stored_length;
	uint32_t flags; /* DIFS_LIST_DEAD, DIFS_LIST_DAMAGED */
} DifsListEntry;
#define DIFS_LIST_DEAD 1	/* deleted; the id stays taken */
#define DIFS_LIST_DAMAGED 2 /* its header is unreadable, or its bytes failed their checksum */

/* One entry of LIST_GROUPS' payload, 40 bytes: u64 group, u64 epoch, u64 file_bytes, u64 live_bytes, u64 state. */
#define DIFS_GROUP_ENTRY_SIZE 40
#define DIFS_GROUPS_MAX_ENTRIES 1024
typedef struct DifsGroupEntry
{
	uint64_t group;
	uint64_t epoch;
	uint64_t file_bytes; /* length of the group file */
	uint64_t live_bytes; /* stored bytes of segments that are not deleted */
	uint64_t state;		 /* DifsGroupState */
} DifsGroupEntry;

typedef enum DifsGroupState /* of one server's copy of a block group */
{
	DIFS_GROUP_OPEN = 0,
	DIFS_GROUP_SEALED = 1,
	DIFS_GROUP_FAILED = 2 /* a write or sync failed: readable, takes nothing more, to be repaired elsewhere */
} DifsGroupState;

/* On the wire: u64 group, epoch, capacity, rate; u8 flags, u8 sources; for each source u16 port, u8 length and bytes of host and
 * of name. */
#define DIFS_PULL_MAX_SOURCES 8
#define DIFS_PULL_TLS_SHIFT 4 /* the two bits from there on: DifsTlsMode, as which it talks to the sources */
#define DIFS_PULL_TLS_MASK (3 << DIFS_PULL_TLS_SHIFT)
#define DIFS_PULL_DAMAGED 1 /* a segment that no source has right is left out, marked as damaged, instead of failing */
typedef struct DifsPullSource
{
	char name[DIFS_NAME_SIZE];
	char host[256];
	uint16_t port;
} DifsPullSource;

typedef struct DifsPull
{
	uint64_t group;
	uint64_t epoch; /* of the new copy; higher than that of any other */
	uint64_t capacity;
	uint64_t rate; /* bytes a second that it may copy; 0 = no bound */
	uint8_t flags;
	uint8_t count;								   /* 1 .. DIFS_PULL_MAX_SOURCES */
	DifsPullSource sources[DIFS_PULL_MAX_SOURCES]; /* the first that has a good copy of a segment gives it */
} DifsPull;

typedef struct DifsPullProgress /* u64 segments, bytes, total; u32 damaged; u8 done */
{
	uint64_t segments; /* copied so far */
	uint64_t bytes;	   /* their stored bytes */
	uint64_t total;	   /* stored bytes of all; 0 = not known yet */
	uint32_t damaged;  /* segments that no source had right */
	bool done;		   /* the copy is durable, and what the server has from now on */
} DifsPullProgress;

extern size_t difs_hello_pack(const DifsHello *hello, uint8_t *out);
extern bool difs_hello_unpack(const uint8_t *in, size_t length, DifsHello *hello, DifsError *error);
extern size_t difs_hello_token_pack(const DifsHelloToken *hello, uint8_t *out);
extern bool difs_hello_token_unpack(const uint8_t *in, size_t length, DifsHelloToken *hello, DifsError *error);
extern size_t difs_challenge_pack(const DifsChallenge *challenge, uint8_t *out);
extern bool difs_challenge_unpack(const uint8_t *in, size_t length, DifsChallenge *challenge, DifsError *error);
/* A status grows at its end, in whole fields: what an older peer does not say is 0, and what a newer one says beyond our last field is ignored. */
extern size_t difs_status_pack(const DifsServerStatus *status, uint8_t *out);
extern bool difs_status_unpack(const uint8_t *in, size_t length, DifsServerStatus *status, DifsError *error);
extern size_t difs_create_group_pack(const DifsCreateGroup *create, uint8_t *out);
extern bool difs_create_group_unpack(const uint8_t *in, size_t length, DifsCreateGroup *create, DifsError *error);
extern size_t difs_group_pack(uint64_t group, uint8_t *out); /* SEAL_GROUP, LIST_GROUPS, MEND: one u64 */
extern bool difs_group_unpack(const uint8_t *in, size_t length, uint64_t *group, DifsError *error);
extern size_t difs_pair_pack(uint64_t first, uint64_t second, uint8_t *out); /* DROP_GROUP, LIST, VERIFY, VERIFY_GROUP, replies: two u64 */
extern bool difs_pair_unpack(const uint8_t *in, size_t length, uint64_t *first, uint64_t *second, DifsError *error);
extern size_t difs_get_pack(const DifsGet *get, uint8_t *out);
extern bool difs_get_unpack(const uint8_t *in, size_t length, DifsGet *get, DifsError *error);
extern size_t difs_delete_pack(uint64_t group, const uint64_t *ids, uint32_t count, uint8_t *out);
extern bool difs_delete_unpack(const uint8_t *in, size_t length, DifsDelete *delete, DifsError *error);
extern size_t difs_pull_pack(const DifsPull *pull, uint8_t *out);
extern bool difs_pull_unpack(const uint8_t *in, size_t length, DifsPull *pull, DifsError *error);
extern size_t difs_pull_progress_pack(const DifsPullProgress *progress, uint8_t *out);
extern bool difs_pull_progress_unpack(const uint8_t *in, size_t length, DifsPullProgress *progress, DifsError *error);
extern void difs_list_entry_pack(const DifsListEntry *entry, uint8_t out[DIFS_LIST_ENTRY_SIZE]);
extern void difs_list_entry_unpack(const uint8_t in[DIFS_LIST_ENTRY_SIZE], DifsListEntry *entry);
extern void difs_group_entry_pack(const DifsGroupEntry *entry, uint8_t out[DIFS_GROUP_ENTRY_SIZE]);
extern void difs_group_entry_unpack(const uint8_t in[DIFS_GROUP_ENTRY_SIZE], DifsGroupEntry *entry);

/* "PUT", "GET", …; "message 77" is not among them: an unknown number is "unknown". */
extern const char *difs_message_name(uint8_t message);

#endif
