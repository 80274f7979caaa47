/*
 * get_many.c - difs_get_many(): many small files in one call.
 *
 * Files are taken in windows, each of which ends with the file that is its
 * WINDOW_FILES-th or reaches WINDOW_BYTES: they are looked up one after the other,
 * then the segments of all of them are fetched together, so that they share round
 * trips to chunk servers.  All windows are read under one snapshot.  Rows come in
 * the order of the paths.  An error of one file is that of the call.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "src/cache.h"
#include "src/fetch.h"
#include "src/get.h"
#include "src/report.h"
#include "src/table.h"

#define WINDOW_FILES 128
#define WINDOW_BYTES (8 * 1024 * 1024)

typedef struct Window
{
	int files;
	int ranges; /* of files that are not empty */
	int64 bytes;
	Datum paths[WINDOW_FILES];
	bytea *data[WINDOW_FILES];
	DifsVersion versions[WINDOW_FILES];
	DifsFetchRange range[WINDOW_FILES];
} Window;

static void add_file(Window *window, Datum path);
static void end_window(Window *window, ReturnSetInfo *result);

PG_FUNCTION_INFO_V1(difs_get_many);

/* difs_get_many(paths text[]) */
Datum
difs_get_many(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext caller;
	Window *window;
	Datum *paths;
	bool *nulls;
	int count;

	DIFS_ARG_NOT_NULL(0, "paths");
	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &paths, &nulls, &count);
	window = palloc(sizeof(Window));
	window->files = window->ranges = 0;
	window->bytes = 0;
	context = AllocSetContextCreate(CurrentMemoryContext, "difs_get_many", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	difs_read_begin();
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_ARGUMENT),
					 errmsg("path %d must not be null", i + 1)));
		add_file(window, paths[i]);
		if (window->files < WINDOW_FILES && window->bytes < WINDOW_BYTES && i + 1 < count)
			continue;
		end_window(window, (ReturnSetInfo *) fcinfo->resultinfo);
		MemoryContextReset(context);
	}
	difs_read_end();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	pfree(window);
	return (Datum) 0;
}

static void
add_file(Window *window, Datum path)
{
	int file = window->files++;
	DifsVersion *version = &window->versions[file];
	char *name;

	difs_get_current(DatumGetTextPP(path), &name, version);
	window->paths[file] = path;
	window->data[file] = difs_get_room(name, version->size);
	window->bytes += version->size;
	if (version->size > 0)
		window->range[window->ranges++] = (DifsFetchRange){
			.path = name,
			.version = version,
			.length = version->size,
			.caching = difs_cache_for(version->size),
			.out = VARDATA(window->data[file]),
		};
}

static void
end_window(Window *window, ReturnSetInfo *result)
{
	difs_fetch_ranges(window->range, window->ranges);
	for (int file = 0; file < window->files; file++)
	{
		Datum values[2] = {window->paths[file], PointerGetDatum(window->data[file])};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	window->files = window->ranges = 0;
	window->bytes = 0;
}
