/*
 * ddl.h - statements that concern the workers.
 */
#ifndef DIFS_DDL_H
#define DIFS_DDL_H

/* Installs the ProcessUtility hook and what ends its work at the end of a transaction. From _PG_init while
 * preloading. */
extern void difs_ddl_install(void);

#endif
