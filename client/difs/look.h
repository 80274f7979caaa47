/*
 * look.h - how a database and its chunk servers are doing at one moment, as views of difs.stat_… say, and what has happened between two.
 */
#ifndef DIFS_LOOK_H
#define DIFS_LOOK_H

#include <jansson.h>
#include <stdbool.h>

/* A look is a JSON object: now, database, claim, servers (by name), stream, staged, cache, repair, duties (in order). NULL: it failed, and that has
 * been said. */
extern json_t *look_take(void);

/* A number of an object, or NAN: it has none. */
extern double look_number(const json_t *object, const char *name);
extern const char *look_text(const json_t *object, const char *name); /* "": it has none */

/* How much a count has grown between two looks, and that a second; NAN if there was no look before, or counts began anew. */
extern double look_grown(const json_t *now, const json_t *before, const char *name);

/* What that share of the requests in between stayed below, in ms, by the histogram of that name; NAN: there were none. */
extern double look_quantile(const json_t *now, const json_t *before, const char *histogram, double share);

/* The same for arrays of counts as SQL gives them; before NULL: all zeros. */
extern double histogram_quantile(const json_t *now, const json_t *before, double share);

#endif
