/*
 * test_common_error.c - the error value: codes, errno, and texts that are clean whatever they are made of.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"

static void
takes_errno_only_where_it_means_something(void **state)
{
	DifsError error;

	(void) state;
	errno = ENOENT;
	assert_false(difs_error_set(&error, DIFS_ERROR_IO, "could not open \"%s\"", "x"));
	assert_int_equal(error.code, DIFS_ERROR_IO);
	assert_int_equal(error.system_errno, ENOENT);
	assert_string_equal(error.text, "could not open \"x\": No such file or directory");
	assert_int_equal(errno, ENOENT);

	assert_false(difs_error_set(&error, DIFS_ERROR_SEALED, "group %d is sealed", 7));
	assert_int_equal(error.system_errno, 0);
	assert_string_equal(error.text, "group 7 is sealed");

	errno = 0;
	assert_false(difs_error_set(&error, DIFS_ERROR_NETWORK, "closed"));
	assert_string_equal(error.text, "closed");
	assert_false(difs_error_set(NULL, DIFS_ERROR_IO, "nobody wants to know"));
}

static void
cuts_long_texts(void **state)
{
	DifsError error;
	char wide[2 * DIFS_ERROR_TEXT_SIZE + 1];

	(void) state;
	memset(wide, 'x', sizeof(wide));
	wide[sizeof(wide) - 1] = '\0';
	errno = EIO;
	difs_error_set(&error, DIFS_ERROR_IO, "%s", wide);
	assert_int_equal(strlen(error.text), DIFS_ERROR_TEXT_SIZE - 1);

	/* a character of two bytes that the end of the text cuts in half */
	wide[DIFS_ERROR_TEXT_SIZE - 2] = '\xc3';
	wide[DIFS_ERROR_TEXT_SIZE - 1] = '\xa4';
	difs_error_set(&error, DIFS_ERROR_CORRUPT, "%s", wide);
	assert_int_equal(strlen(error.text), DIFS_ERROR_TEXT_SIZE - 1);
	assert_int_equal(error.text[DIFS_ERROR_TEXT_SIZE - 2], '?');
}

static void
cleans_texts(void **state)
{
	static const char *const pairs[][2] = {
		{"/fotos/\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98", "/fotos/\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98"},
		{"a\nb\tc\x7f\x1b[31m", "a?b?c??[31m"},
		{"\xff\xfe", "??"},
		{"\xc0\xaf", "??"}, /* overlong */
		{"\xe0\x80\xaf", "???"},
		{"\xed\xa0\x80", "???"}, /* surrogate */
		{"\xf0\x80\x80\x80", "????"},
		{"\xf4\x90\x80\x80", "????"}, /* beyond the last code point */
		{"\xf5", "?"},
		{"\xe2\x82", "??"}, /* cut short */
		{"\xe2\x82x", "??x"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		DifsError error;

		difs_error_set(&error, DIFS_ERROR_REFUSED, "%s", pairs[i][0]);
		assert_string_equal(error.text, pairs[i][1]);
	}
}

static void
every_code_has_a_name(void **state)
{
	(void) state;
	for (int code = 0; code <= DIFS_ERROR_VERSION; code++)
	{
		assert_non_null(difs_error_name((DifsErrorCode) code));
		assert_string_not_equal(difs_error_name((DifsErrorCode) code), "unknown error");
	}
	assert_string_equal(difs_error_name((DifsErrorCode) 200), "unknown error");
	assert_string_equal(difs_error_name((DifsErrorCode) -1), "unknown error");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_errno_only_where_it_means_something),
		cmocka_unit_test(cuts_long_texts),
		cmocka_unit_test(cleans_texts),
		cmocka_unit_test(every_code_has_a_name),
	};

	return cmocka_run_group_tests_name("common/error", tests, NULL, NULL);
}
