/*
 * directory.h - the data directory as a whole: whose it is and who uses it.
 */
#ifndef DIFS_DIRECTORY_H
#define DIFS_DIRECTORY_H

#include <stdbool.h>

#include "../common/error.h"
#include "options.h"

/* Makes the directory if it is not there, takes its lock (waiting up to 10 s for another difsd to end) and checks or
 * writes its identity.  Returns a descriptor of it, or -1.  The lock lasts until the process ends. */
extern int difs_directory_open(DifsOptions *options, DifsError *error);

#endif
