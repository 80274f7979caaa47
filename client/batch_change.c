/*
 * batch_change.c - the changes that a batch can be made of, a statement each.
 */
#include <stdio.h>
#include <string.h>

#include "batch.h"

bool
difs_batch_put(DifsBatch *batch, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t tag)
{
	static const DifsPutOptions none;
	const DifsPutOptions *with = options != NULL ? options : &none;
	char octal[16];
	Parameter parameters[7] = {
		TEXT(path),
		BYTES(data != NULL ? data : "", length),
		with->create_only ? TEXT("0") : (with->if_version != 0 ? NUMBER(with->if_version) : TEXT(NULL)),
		BOOLEAN(with->parents),
		TEXT(with->media_type),
		TEXT(NULL),
		with->mtime_us != NULL ? NUMBER(*with->mtime_us) : TEXT(NULL),
	};
	bool attributes = with->media_type != NULL || with->mode != NULL || with->mtime_us != NULL;

	if (length > MAX_VALUE)
		return client_fail(batch->client, DIFS_STATUS_ARGUMENT, "\"%s\" is too large for a batch", path);
	if (with->mode != NULL)
	{
		snprintf(octal, sizeof(octal), "%04o", *with->mode & 07777);
		parameters[5] = TEXT(octal);
	}
	return batch_send(batch, attributes ? STATEMENT_PUT_ATTRIBUTES : STATEMENT_PUT, attributes ? 7 : 4, parameters,
					  length + strlen(path), tag, NULL);
}

bool
difs_batch_mkdir(DifsBatch *batch, const char *path, bool parents, const uint32_t *mode, int64_t tag)
{
	char octal[16];

	if (mode == NULL)
		return batch_send(batch, STATEMENT_MKDIR, 2, (Parameter[]){TEXT(path), BOOLEAN(parents)}, strlen(path), tag, NULL);
	snprintf(octal, sizeof(octal), "%04o", *mode & 07777);
	return batch_send(batch, STATEMENT_MKDIR_MODE, 3, (Parameter[]){TEXT(path), BOOLEAN(parents), TEXT(octal)},
					  strlen(path), tag, NULL);
}

bool
difs_batch_symlink(DifsBatch *batch, const char *target, const char *path, int64_t tag)
{
	return batch_send(batch, STATEMENT_SYMLINK, 2, (Parameter[]){TEXT(target), TEXT(path)}, strlen(path), tag, NULL);
}

bool
difs_batch_chmod(DifsBatch *batch, const char *path, uint32_t mode, int64_t tag)
{
	char octal[16];

	snprintf(octal, sizeof(octal), "%04o", mode & 07777);
	return batch_send(batch, STATEMENT_CHMOD, 2, (Parameter[]){TEXT(path), TEXT(octal)}, strlen(path), tag, NULL);
}

bool
difs_batch_touch(DifsBatch *batch, const char *path, const int64_t *mtime_us, int64_t tag)
{
	return batch_send(batch, STATEMENT_TOUCH, 2, (Parameter[]){TEXT(path), NUMBER(*mtime_us)}, strlen(path), tag, NULL);
}

bool
difs_batch_copy(DifsBatch *batch, const char *from_path, const char *to_path, int64_t tag)
{
	return batch_send(batch, STATEMENT_COPY, 2, (Parameter[]){TEXT(from_path), TEXT(to_path)}, strlen(from_path), tag, NULL);
}
