/*
 * insert_url.c - what a source of difs_insert() may look like (insert.h).
 *
 * What is said here is said by syntax alone: no name is looked up and nothing is
 * opened, so that a call tells nothing of this machine or its network.
 */
#include "postgres.h"

#include <curl/curl.h>

#include "src/insert.h"
#include "src/report.h"
#include "src/settings.h"

static void check_url(const char *source);
static bool has_part(CURLU *url, CURLUPart part);
pg_noreturn static void refuse(const char *source, const char *why);

void
difs_insert_check_source(const char *source)
{
	const char *file = difs_insert_source_file(source);

	if (strlen(source) > DIFS_MAX_SOURCE)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("a source must not be longer than %d bytes", DIFS_MAX_SOURCE));
	for (const char *at = source; *at != '\0'; at++)
	{
		if ((unsigned char) *at < ' ' || *at == 0x7f)
			refuse("", "It has a control character.");
	}
	if (file == NULL)
		check_url(source);
	else if (file[0] == '\0')
		refuse(source, "It names no file.");
	else if (difs_insert_directory[0] == '\0')
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("files of the server are not inserted here"),
				errhint("The administrator names a directory for them with difs.insert_directory."));
}

/* With and without the slashes that RFC 8089 wants: the directory is the root. */
const char *
difs_insert_source_file(const char *source)
{
	const char *name = source + strlen(DIFS_FILE_SCHEME);

	if (pg_strncasecmp(source, DIFS_FILE_SCHEME, strlen(DIFS_FILE_SCHEME)) != 0)
		return NULL;
	while (*name == '/')
		name++;
	return name;
}

static void
check_url(const char *source)
{
	CURLU *url = curl_url();
	char *scheme = NULL;
	bool fit = url != NULL && curl_url_set(url, CURLUPART_URL, source, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK;
	bool web = fit && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
	bool secret = fit && (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD));

	curl_free(scheme);
	curl_url_cleanup(url);
	if (!web)
		refuse(source, "It must be a URL that begins with http:, https: or file:.");
	if (secret)
		refuse("", "A source is shown in difs.inserts, so it must not have a user or password.");
}

static bool
has_part(CURLU *url, CURLUPart part)
{
	char *text = NULL;
	bool there = curl_url_get(url, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return there;
}

/* source "": is not to be repeated. */
static void
refuse(const char *source, const char *why)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			source[0] == '\0' ? errmsg("this source cannot be inserted") : errmsg("source \"%s\" cannot be inserted", source),
			errdetail_internal("%s", why));
}
