/*
 * server_admin.h - what the files about chunk servers in SQL share.
 */
#ifndef DIFS_SERVER_ADMIN_H
#define DIFS_SERVER_ADMIN_H

#include "postgres.h"

/* Once this transaction has committed, the keeper reads the servers anew; and, if repair is said, begins a round of repair. */
extern void difs_wake_keeper_at_commit(bool repair);

#endif
