/*
 * repair.c - what repair and scrub ask of a chunk server, in a fixed order, with a journal of what it acknowledged.
 *
 *	repair prepare JOURNAL KEY-FILE PORT DATA PEER-PORT PEER-DATA	fills two servers, and damages what they hold on the disk
 *	repair run ...		takes all steps, until the connection breaks; DATA is the server's directory
 *	repair check ...	asks both servers, the first of which has been started anew, for all that the journal says
 *
 * The first server is the one whose calls fail.  It pulls block groups from its peer (one that is new to it, one in the place
 * of a damaged copy, one in the place of a failed one, one of which the peer has lost a segment), the peer pulls one from it,
 * and it mends: a segment with wrong bytes, one whose record is lost, both in a sealed group and in one that has lost its index, a
 * group's header, and a group's index.
 *
 * The journal is that of journal.h.
 */
#include "client.h"
#include "damage.h"
#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EPOCH_PULLED 2 /* of a block group that has been pulled; before, it has 1 */

typedef enum Operation
{
	PULL,  /* from the peer */
	SERVE, /* the peer pulls */
	MEND,
	SPOIL_HEADER, /* by the test, on the disk, while the server has the group open */
	MEND_HEADER,
	SPOIL_INDEX,
	MEND_INDEX,
	SEAL,
	GET,
	SCRUB,
	OPERATIONS
} Operation;

static const char *const names[] = {
	"pull",
	"serve",
	"mend",
	"spoil_header",
	"mend_header",
	"spoil_index",
	"mend_index",
	"seal",
	"get",
	"scrub",
};

/* A group that the first attempt did not get is asked for again, as the keeper does. */
/* clang-format off */
static const Step steps[] = {
	{PULL, 10, 0, 0, 0}, {GET, 10, 104, 300000, 0}, {PULL, 20, 0, 0, 0}, {GET, 20, 202, 70000, 0}, {PULL, 70, 0, 0, 0},
	{PULL, 80, 0, 0, 0}, {PULL, 10, 0, 0, 0}, {PULL, 20, 0, 0, 0},
	{MEND, 30, 301, 5000, 0}, {MEND, 30, 302, 70000, 0}, {GET, 30, 302, 70000, 0}, {SCRUB, 30, 0, 0, 0},
	{GET, 40, 401, 5000, 0}, {SPOIL_HEADER, 40, 0, 0, 0}, {MEND_HEADER, 40, 0, 0, 0}, {SPOIL_INDEX, 40, 0, 0, 0},
	{MEND_INDEX, 40, 0, 0, 0}, {GET, 40, 402, 9000, 0}, {SCRUB, 40, 0, 0, 0},
	{MEND, 50, 501, 5000, 0}, {MEND, 50, 502, 70000, 0}, {SEAL, 50, 0, 0, 0}, {GET, 50, 501, 5000, 0},
	{SERVE, 60, 0, 0, 0},
};
/* clang-format on */
#define STEPS (int) (sizeof(steps) / sizeof(steps[0]))

typedef enum Condition
{
	GOOD,
	WRONG, /* its bytes are not its own */
	LOST,  /* nor is its header */
	DEAD
} Condition;

typedef struct Held
{
	bool by_peer;
	uint64_t group;
	uint64_t segment;
	uint32_t length;
	Condition condition;
} Held;

/* clang-format off */
static const Held held[] = {
	{true, 10, 101, 100, GOOD}, {true, 10, 102, 5000, GOOD}, {true, 10, 103, 9000, DEAD}, {true, 10, 104, 300000, GOOD},
	{false, 20, 201, 5000, GOOD}, {false, 20, 202, 70000, WRONG}, {false, 20, 203, 3000, GOOD},
	{true, 20, 201, 5000, GOOD}, {true, 20, 202, 70000, GOOD}, {true, 20, 203, 3000, GOOD},
	{false, 30, 301, 5000, WRONG}, {false, 30, 302, 70000, LOST}, {false, 30, 303, 3000, GOOD},
	{false, 40, 401, 5000, GOOD}, {false, 40, 402, 9000, GOOD},
	{false, 50, 501, 5000, WRONG}, {false, 50, 502, 70000, LOST}, {false, 50, 503, 3000, GOOD},
	{false, 60, 601, 100, GOOD}, {false, 60, 602, 300000, GOOD}, {false, 60, 603, 9000, DEAD}, {false, 60, 604, 70000, GOOD},
	{false, 70, 701, 3000, GOOD}, {true, 70, 701, 3000, GOOD}, {true, 70, 702, 9000, GOOD},
	{true, 80, 801, 5000, GOOD}, {true, 80, 802, 9000, WRONG}, {true, 80, 803, 70000, GOOD},
};
/* clang-format on */
#define HELD (int) (sizeof(held) / sizeof(held[0]))

static const char *data;
static const char *peer_data;
static DifsPeer address; /* of the first server */
static DifsPeer peer_address;
static Client server;
static Client peer;
static Step journal[JOURNAL_MAX_STEPS];
static int count;

static void prepare(void);
static void damage(const Held *what);
static int run(const char *path);
static int take(const Step *step, bool *wrong);
static int pull(Client *target, const DifsPeer *source, uint64_t group);
static int get(Client *client, uint64_t group, uint64_t segment, uint32_t length, bool *wrong);
static int scrub(uint64_t group);
static int mend(const Step *step);
static bool acknowledged(Operation operation, uint64_t group, uint64_t segment);
static bool has_begun(Operation operation, uint64_t group);
static bool check(void);
static bool check_segment(const Held *what);
static bool check_pulled(Client *client, uint64_t group);
static bool check_clean(uint64_t group);
static void must(bool done, const char *what);

int
main(int argc, char **argv)
{
	if (argc != 8)
		return 2;
	client_peer(&address, argv[4], argv[3]);
	client_peer(&peer_address, argv[6], argv[3]);
	data = argv[5];
	peer_data = argv[7];
	must(client_connect(&peer, &peer_address), "the peer does not let us in");
	if (strcmp(argv[1], "run") == 0)
		return run(argv[2]);
	if (strcmp(argv[1], "check") == 0)
		address.epoch = 9;
	must(client_connect(&server, &address), "the server does not let us in");
	if (strcmp(argv[1], "check") == 0)
	{
		count = journal_read(argv[2], names, OPERATIONS, journal);
		return check() ? 0 : 1;
	}
	prepare();
	return 0;
}

static void
prepare(void)
{
	for (int i = 0; i < HELD; i++)
	{
		const Held *what = &held[i];
		Client *client = what->by_peer ? &peer : &server;

		if (i == 0 || held[i - 1].group != what->group || held[i - 1].by_peer != what->by_peer)
			must(client_create(client, what->group, 1) == DIFS_OK, "create");
		must(client_put(client, what->group, what->segment, what->length) == DIFS_OK, "put");
		if (i + 1 == HELD || held[i + 1].group != what->group || held[i + 1].by_peer != what->by_peer)
			must(client_group(client, DIFS_MESSAGE_SEAL_GROUP, what->group) == DIFS_OK, "seal");
	}
	for (int i = 0; i < HELD; i++)
		damage(&held[i]);
	damage_bytes(data, 30, ".index", 140, 8);
	must(unlink(damage_path(data, 50, ".index")) == 0, "unlink");
	close(open(damage_path(data, 70, ".failed"), O_CREAT | O_WRONLY, 0600));
}

static void
damage(const Held *what)
{
	Client *client = what->by_peer ? &peer : &server;
	const char *directory = what->by_peer ? peer_data : data;
	DifsListEntry entry;

	if (what->condition == GOOD)
		return;
	if (what->condition == DEAD)
	{
		must(client_delete(client, what->group, what->segment) == DIFS_OK, "delete");
		return;
	}
	must(client_find_entry(client, what->group, what->segment, &entry), "list");
	if (what->condition == LOST)
		damage_bytes(directory, what->group, ".group", entry.offset, DIFS_SEGMENT_HEADER_SIZE);
	else
		damage_bytes(directory, what->group, ".group", entry.offset + difs_segment_packed_size(what->length) + 10, 1);
}

static int
run(const char *path)
{
	/* the copy that an earlier run has made */
	int result = client_drop(&peer, 60);

	must(result == DIFS_OK || result == DIFS_ERROR_NO_GROUP, "the peer does not drop its copy");
	return client_connect(&server, &address) && journal_run(path, names, steps, STEPS, take);
}

static int
take(const Step *step, bool *wrong)
{
	switch (step->operation)
	{
		case PULL:
			return pull(&server, &peer_address, step->group);
		case SERVE:
			return pull(&peer, &address, step->group);
		case MEND:
			return mend(step);
		case SPOIL_HEADER:
			damage_bytes(data, step->group, ".group", 0, 64);
			return DIFS_OK;
		case SPOIL_INDEX:
			damage_bytes(data, step->group, ".index", 140, 8);
			return DIFS_OK;
		case MEND_HEADER:
		case MEND_INDEX:
			return client_group(&server, DIFS_MESSAGE_MEND, step->group);
		case SEAL:
			return client_group(&server, DIFS_MESSAGE_SEAL_GROUP, step->group);
		case SCRUB:
			return scrub(step->group);
		default:
			return get(&server, step->group, step->segment, step->length, wrong);
	}
}

/* Asks until it is done. */
static int
pull(Client *target, const DifsPeer *source, uint64_t group)
{
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	DifsPull asked = {.group = group, .epoch = EPOCH_PULLED, .capacity = 4 * 1024 * 1024, .flags = DIFS_PULL_DAMAGED, .count = 1};
	DifsPullProgress progress = {0};
	DifsError error;
	int status = DIFS_OK;

	strcpy(asked.sources[0].host, source->host);
	asked.sources[0].port = source->port;
	for (int i = 0; i < 20 && status == DIFS_OK && !progress.done; i++)
	{
		status = client_call(target, DIFS_MESSAGE_PULL, control, difs_pull_pack(&asked, control), NULL, 0);
		if (status == DIFS_OK)
			must(difs_pull_progress_unpack(target->control, target->control_length, &progress, &error), "progress");
	}
	return status == DIFS_OK && !progress.done ? DIFS_ERROR_REFUSED : status;
}

/* As a reader: bytes that are not those of their header are not taken, DIFS_ERROR_CORRUPT.  *wrong: they have been. */
static int
get(Client *client, uint64_t group, uint64_t segment, uint32_t length, bool *wrong)
{
	bool right;
	int status = client_get(client, group, segment, length, &right);
	const uint8_t *packed = client->control + sizeof(uint32_t);
	DifsSegment head;
	DifsError error;

	*wrong = false;
	if (status != DIFS_OK || right)
		return status;
	if (client->control_length <= sizeof(uint32_t) || client->payload_length != length ||
		!difs_segment_unpack(packed, client->control_length - sizeof(uint32_t), &head, &error) || head.stored_length != length ||
		!difs_segment_verify(packed, 0, client->payload, length, &error))
		return DIFS_ERROR_CORRUPT;
	*wrong = true;
	return DIFS_OK;
}

/* DIFS_OK if nothing is bad, DIFS_ERROR_CORRUPT if something is. */
static int
scrub(uint64_t group)
{
	uint8_t control[16];
	int status = client_call(&server, DIFS_MESSAGE_VERIFY_GROUP, control, difs_pair_pack(group, 0, control), NULL, 0);

	return status == DIFS_OK && server.payload_length > 0 ? DIFS_ERROR_CORRUPT : status;
}

static int
mend(const Step *step)
{
	static uint8_t control[DIFS_MAX_PACKED_SIZE];
	uint8_t *bytes = malloc(step->length);
	size_t size = client_pack_put(step->group, step->segment, step->length, bytes, control);
	int status = client_call(&server, DIFS_MESSAGE_MEND, control, size, bytes, step->length);

	free(bytes);
	return status;
}

static bool
acknowledged(Operation operation, uint64_t group, uint64_t segment)
{
	for (int i = 0; i < count; i++)
	{
		if (journal[i].operation == (int) operation && journal[i].group == group && journal[i].segment == segment &&
			journal[i].result == DIFS_OK)
			return true;
	}
	return false;
}

static bool
has_begun(Operation operation, uint64_t group)
{
	return journal_find(journal, count, operation, group, 0) != NULL;
}

static bool
check(void)
{
	static const uint64_t pulled[] = {10, 20, 70, 80};
	DifsGroupEntry entry;
	bool good = true;

	for (int i = 0; i < HELD; i++)
		good = check_segment(&held[i]) && good;
	for (size_t i = 0; i < sizeof(pulled) / sizeof(pulled[0]); i++)
		good = (!acknowledged(PULL, pulled[i], 0) || check_pulled(&server, pulled[i])) && good;
	good = (!acknowledged(SERVE, 60, 0) || check_pulled(&peer, 60)) && good;
	if (acknowledged(MEND, 30, 301) && acknowledged(MEND, 30, 302))
		good = check_clean(30) && good;
	if (acknowledged(MEND_INDEX, 40, 0))
		good = check_clean(40) && good;
	if (acknowledged(SEAL, 50, 0) && (client_find(&server, 50, &entry) != DIFS_OK || entry.state == DIFS_GROUP_OPEN))
	{
		printf("group 50 was sealed and is not\n");
		good = false;
	}
	if (client_create(&server, 77, 9) != DIFS_OK || client_put(&server, 77, 770, 5000) != DIFS_OK)
	{
		printf("the server takes no new segments\n");
		good = false;
	}
	return good;
}

/* A segment that was right, has been mended or has come with its group is there; what was deleted is not; and what comes is right. */
static bool
check_segment(const Held *what)
{
	bool served = !what->by_peer && acknowledged(SERVE, what->group, 0);
	bool pulled = what->by_peer && acknowledged(PULL, what->group, 0);
	bool unreadable = has_begun(SPOIL_HEADER, what->group) && !acknowledged(MEND_HEADER, what->group, 0) &&
		!acknowledged(MEND_INDEX, what->group, 0);
	bool there = what->condition == GOOD && (what->by_peer ? pulled : !unreadable);
	bool wrong;
	bool wrong_at_peer = false;
	int found = get(&server, what->group, what->segment, what->length, &wrong);
	int found_at_peer = served ? get(&peer, what->group, what->segment, what->length, &wrong_at_peer) : DIFS_OK;
	bool good = !wrong && !wrong_at_peer;

	if (there || acknowledged(MEND, what->group, what->segment))
		good = good && found == DIFS_OK;
	if (what->condition == DEAD && (pulled || !what->by_peer))
		good = good && found == DIFS_ERROR_NO_SEGMENT;
	if (served)
		good = good && found_at_peer == (what->condition == DEAD ? DIFS_ERROR_NO_SEGMENT : DIFS_OK);
	if (!good)
		printf("segment %llu of group %llu is not as it should be: %d%s, at the peer %d\n", (unsigned long long) what->segment,
			   (unsigned long long) what->group, found, wrong || wrong_at_peer ? " with wrong bytes" : "", found_at_peer);
	return good;
}

static bool
check_pulled(Client *client, uint64_t group)
{
	DifsGroupEntry entry;
	DifsListEntry lost;
	int found = client_find(client, group, &entry);

	if (found != DIFS_OK || entry.epoch != EPOCH_PULLED || entry.state != DIFS_GROUP_SEALED)
	{
		printf("group %llu was pulled: now %d, epoch %llu, state %llu\n", (unsigned long long) group, found,
			   (unsigned long long) entry.epoch, (unsigned long long) entry.state);
		return false;
	}
	if (group == 80 && (!client_find_entry(client, group, 802, &lost) || !(lost.flags & DIFS_LIST_DAMAGED)))
	{
		printf("segment 802 is lost, and not listed as that\n");
		return false;
	}
	return true;
}

static bool
check_clean(uint64_t group)
{
	int status = scrub(group);

	if (status != DIFS_OK)
		printf("group %llu was mended, and scrub says %d\n", (unsigned long long) group, status);
	return status == DIFS_OK;
}

static void
must(bool done, const char *what)
{
	if (done)
		return;
	printf("%s\n", what);
	exit(1);
}
