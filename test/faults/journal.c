/*
 * journal.c - steps that a server is asked to take, one after the other (journal.h).
 */
#include "journal.h"
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
journal_run(const char *path, const char *const *names, const Step *steps, int count, TakeStep take)
{
	FILE *file = fopen(path, "a+");
	bool wrong = false;
	int result = DIFS_OK;

	if (file == NULL)
	{
		perror(path);
		exit(2);
	}
	for (int i = 0; i < count && result != CLIENT_LOST; i++)
	{
		const Step *step = &steps[i];
		bool its_wrong = false;

		fprintf(file, "%s %llu %llu %u ", names[step->operation], (unsigned long long) step->group,
				(unsigned long long) step->segment, step->length);
		fflush(file);
		result = take(step, &its_wrong);
		fprintf(file, "%d\n", result);
		if (its_wrong)
			printf("wrong bytes of segment %llu\n", (unsigned long long) step->segment);
		wrong = wrong || its_wrong;
	}
	fclose(file);
	return wrong;
}

int
journal_read(const char *path, const char *const *names, int name_count, Step *steps)
{
	FILE *file = fopen(path, "r");
	char name[16];
	unsigned long long group;
	unsigned long long segment;
	unsigned length;
	int count = 0;

	while (file != NULL && count < JOURNAL_MAX_STEPS && fscanf(file, "%15s %llu %llu %u", name, &group, &segment, &length) == 4)
	{
		Step *step = &steps[count++];

		*step = (Step){.group = group, .segment = segment, .length = length};
		while (step->operation < name_count - 1 && strcmp(names[step->operation], name) != 0)
			step->operation++;
		if (fscanf(file, "%d", &step->result) != 1)
			step->result = CLIENT_LOST;
	}
	if (file != NULL)
		fclose(file);
	return count;
}

const Step *
journal_find(const Step *steps, int count, int operation, uint64_t group, uint64_t segment)
{
	for (int i = 0; i < count; i++)
	{
		if (steps[i].operation == operation && steps[i].group == group && steps[i].segment == segment)
			return &steps[i];
	}
	return NULL;
}
