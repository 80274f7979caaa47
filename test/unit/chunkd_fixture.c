/*
 * chunkd_fixture.c - the server of a test that needs one (chunkd_fixture.h).
 */
#include "chunkd_fixture.h"

Server server;

int
server_set_up(void **state)
{
	server_prepare(&server, NULL);
	server_start(&server, *state);
	return 0;
}

int
server_set_up_stopped(void **state)
{
	(void) state;
	server_prepare(&server, NULL);
	return 0;
}

int
server_tear_down(void **state)
{
	(void) state;
	server_remove(&server);
	return 0;
}
