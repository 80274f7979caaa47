/*
 * exercise.c - every operation of a chunk server in a fixed order, with a journal of what it acknowledged.
 *
 *	exercise run JOURNAL PORT KEY-FILE FIRST LAST	takes steps FIRST to LAST, until the connection breaks
 *	exercise check JOURNAL PORT KEY-FILE			asks the server, which has been started anew, for all that the journal says
 *	exercise count									prints the number of steps before the restart, and of all
 *
 * run ends with 0, or 1 if a GET returned wrong bytes; check with 0 if all is as acknowledged, else with 1 and a line for each
 * thing that is not.
 */
#include "client.h"
#include "journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum Operation
{
	CONNECT, /* segment: epoch */
	CREATE,
	PUT,
	GET,
	VERIFY,
	DELETE,
	SEAL,
	COMPACTED, /* waits until the group has become smaller, or for a while */
	DROP,
	OPERATIONS
} Operation;

static const char *const names[] = {"connect", "create", "put", "get", "verify", "delete", "seal", "compacted", "drop"};

/* clang-format off */
#define SMALL(group, id) {PUT, group, id, 3000, 0}

/* Group 1: sizes that are checked in the loop and in a job.  2: compaction.  3: dropped.  4: open when the server restarts. */
static const Step steps[] = {
	{CONNECT, 0, 1, 0, 0},
	{CREATE, 1, 0, 0, 0}, {PUT, 1, 1, 100, 0}, {PUT, 1, 2, 5000, 0}, {PUT, 1, 3, 70000, 0}, {PUT, 1, 4, 300000, 0},
	{GET, 1, 3, 70000, 0}, {VERIFY, 1, 4, 0, 0}, {DELETE, 1, 3, 0, 0}, {SEAL, 1, 0, 0, 0}, {DELETE, 1, 2, 0, 0},
	{CREATE, 2, 0, 0, 0}, SMALL(2, 11), SMALL(2, 12), SMALL(2, 13), SMALL(2, 14), {SEAL, 2, 0, 0, 0},
	{DELETE, 2, 11, 0, 0}, {DELETE, 2, 13, 0, 0}, {DELETE, 2, 14, 0, 0}, {COMPACTED, 2, 0, 0, 0}, {GET, 2, 12, 3000, 0},
	{CREATE, 3, 0, 0, 0}, SMALL(3, 21), {SEAL, 3, 0, 0, 0}, {DROP, 3, 0, 0, 0},
	{CREATE, 4, 0, 0, 0}, SMALL(4, 31), {PUT, 4, 32, 70000, 0}, {DELETE, 4, 31, 0, 0}, {PUT, 4, 33, 200, 0},
	{CONNECT, 0, 2, 0, 0}, {CREATE, 5, 0, 0, 0},
	/* from here on after a restart */
	{CONNECT, 0, 2, 0, 0}, {GET, 1, 4, 300000, 0}, {GET, 2, 12, 3000, 0}, {GET, 4, 32, 70000, 0}, {PUT, 4, 34, 9000, 0},
	{DELETE, 1, 1, 0, 0}, {SEAL, 4, 0, 0, 0}, {PUT, 5, 41, 100, 0}, {DROP, 5, 0, 0, 0}, {CREATE, 6, 0, 0, 0},
	SMALL(6, 51),
};
/* clang-format on */
#define STEPS (int) (sizeof(steps) / sizeof(steps[0]))
#define BEFORE_RESTART 33

static DifsPeer peer;
static Client client;

static int take(const Step *step, bool *wrong);
static int take_segment(const Step *step, bool *wrong);
static int wait_until_smaller(uint64_t group);
static int check(const Step *journal, int count);
static bool check_group(const Step *journal, int count, const Step *create);
static bool check_segment(const Step *journal, int count, const Step *put);
static bool check_epoch(const Step *journal, int count);

int
main(int argc, char **argv)
{
	static Step journal[JOURNAL_MAX_STEPS];
	int first;
	int last;

	if (argc == 2 && strcmp(argv[1], "count") == 0)
	{
		printf("%d %d\n", BEFORE_RESTART, STEPS);
		return 0;
	}
	if (argc < 5)
		return 2;
	client_peer(&peer, argv[3], argv[4]);
	if (strcmp(argv[1], "run") == 0 && argc == 7)
	{
		first = atoi(argv[5]);
		last = atoi(argv[6]) < STEPS ? atoi(argv[6]) : STEPS;
		return journal_run(argv[2], names, steps + first, last - first, take);
	}
	return check(journal, journal_read(argv[2], names, OPERATIONS, journal));
}

static int
take(const Step *step, bool *wrong)
{
	switch (step->operation)
	{
		case CONNECT:
			if (client.conn != NULL)
				client_close(&client);
			peer.epoch = step->segment;
			return client_connect(&client, &peer) ? DIFS_OK : CLIENT_LOST;
		case CREATE:
			return client_create(&client, step->group, peer.epoch);
		case SEAL:
			return client_group(&client, DIFS_MESSAGE_SEAL_GROUP, step->group);
		case DROP:
			return client_drop(&client, step->group);
		case COMPACTED:
			return wait_until_smaller(step->group);
		default:
			return take_segment(step, wrong);
	}
}

static int
take_segment(const Step *step, bool *wrong)
{
	uint8_t control[16];
	bool right;
	int status;

	switch (step->operation)
	{
		case PUT:
			return client_put(&client, step->group, step->segment, step->length);
		case DELETE:
			return client_delete(&client, step->group, step->segment);
		case VERIFY:
			return client_call(&client, DIFS_MESSAGE_VERIFY, control,
							   difs_pair_pack(step->group, step->segment, control), NULL, 0);
		default:
			status = client_get(&client, step->group, step->segment, step->length, &right);
			*wrong = *wrong || (status == DIFS_OK && !right);
			return status;
	}
}

/* Compaction is the server's own affair: nothing is wrong if it does not come. */
static int
wait_until_smaller(uint64_t group)
{
	const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	DifsGroupEntry entry;
	int status = DIFS_OK;

	for (int i = 0; i < 250; i++)
	{
		status = client_find(&client, group, &entry);
		if (status != DIFS_OK || entry.file_bytes < 10000)
			break;
		nanosleep(&pause, NULL);
	}
	return status;
}

static int
check(const Step *journal, int count)
{
	bool good = check_epoch(journal, count);

	peer.epoch = 9;
	if (!good || !client_connect(&client, &peer))
		return 1;
	for (int i = 0; i < count; i++)
	{
		if (journal[i].operation == CREATE)
			good = check_group(journal, count, &journal[i]) && good;
		else if (journal[i].operation == PUT)
			good = check_segment(journal, count, &journal[i]) && good;
	}
	if (client_create(&client, 77, 9) != DIFS_OK || client_put(&client, 77, 770, 5000) != DIFS_OK)
	{
		printf("the server takes no new segments\n");
		good = false;
	}
	client_close(&client);
	return good ? 0 : 1;
}

static bool
check_group(const Step *journal, int count, const Step *create)
{
	const Step *drop = journal_find(journal, count, DROP, create->group, 0);
	const Step *seal = journal_find(journal, count, SEAL, create->group, 0);
	DifsGroupEntry entry;
	int found = client_find(&client, create->group, &entry);
	bool good = true;

	if (drop != NULL && drop->result == DIFS_OK)
		good = found == DIFS_ERROR_NO_GROUP;
	else if (drop == NULL && create->result == DIFS_OK)
		good = found == DIFS_OK;
	if (!good)
		printf("group %llu: create said %d, drop %d, now %d\n", (unsigned long long) create->group, create->result,
			   drop == NULL ? 99 : drop->result, found);
	if (good && drop == NULL && seal != NULL && seal->result == DIFS_OK)
	{
		good = client_put(&client, create->group, 900 + create->group, 10) == DIFS_ERROR_SEALED;
		if (!good)
			printf("group %llu was sealed and is not\n", (unsigned long long) create->group);
	}
	return good;
}

static bool
check_segment(const Step *journal, int count, const Step *put)
{
	const Step *delete = journal_find(journal, count, DELETE, put->group, put->segment);
	bool droppable = journal_find(journal, count, DROP, put->group, 0) != NULL;
	bool right;
	int found = client_get(&client, put->group, put->segment, put->length, &right);
	bool good = true;

	if (found == DIFS_OK && !right)
		good = false;
	else if (delete != NULL && delete->result == DIFS_OK && put->result == DIFS_OK)
		good = found == DIFS_ERROR_NO_SEGMENT || (droppable && found == DIFS_ERROR_NO_GROUP);
	else if (delete == NULL && put->result == DIFS_OK && !droppable)
		good = found == DIFS_OK;
	if (!good)
		printf("segment %llu: put said %d, delete %d, now %d%s\n", (unsigned long long) put->segment, put->result,
			   delete == NULL ? 99 : delete->result, found, found == DIFS_OK && !right ? " with wrong bytes" : "");
	return good;
}

/* The highest epoch that was ever answered is still known. */
static bool
check_epoch(const Step *journal, int count)
{
	uint64_t answered = 0;
	uint64_t known;
	bool connected;

	for (int i = 0; i < count; i++)
	{
		if (journal[i].operation == CONNECT && journal[i].result == DIFS_OK && journal[i].segment > answered)
			answered = journal[i].segment;
	}
	peer.epoch = 1;
	connected = client_connect(&client, &peer);
	known = connected ? difs_conn_status(client.conn)->epoch : 0;
	if (!connected)
		printf("the server does not let us in: %s\n", difs_conn_error(client.conn)->text);
	else if (known < answered)
		printf("epoch %llu was answered, and now %llu is the highest\n", (unsigned long long) answered,
			   (unsigned long long) known);
	client_close(&client);
	return connected && known >= answered;
}
