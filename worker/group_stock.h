/*
 * group_stock.h - open block groups in stock, for each class that is in use.
 */
#ifndef DIFS_GROUP_STOCK_H
#define DIFS_GROUP_STOCK_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Begins to open what is missing; moves *next to when to try again. False if the extension is gone. */
extern bool difs_group_stock_fill(TimestampTz *next);

/* Something has changed: what could not be opened lately is to be tried again now. */
extern void difs_group_stock_hurry(void);

#endif
