/*
 * chunkd_fixture.h - the server of a test that needs one: made before each test, and removed after it.
 */
#ifndef CHUNKD_FIXTURE_H
#define CHUNKD_FIXTURE_H

#include "test_chunkd_harness.h"

extern Server server;

/* For cmocka_unit_test_setup_teardown(). The server runs, with the options that are the test's initial state. */
extern int server_set_up(void **state);

/* It has its directory and key; the test starts it. */
extern int server_set_up_stopped(void **state);

extern int server_tear_down(void **state);

#endif
