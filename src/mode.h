/*
 * mode.h - permission bits as chmod(1) has them.
 */
#ifndef DIFS_MODE_H
#define DIFS_MODE_H

#include "postgres.h"

/*
 * The mode that a specification makes of another one: octal digits ("0640"), or
 * clauses with commas between ("u=rw,g+r,o-rwx", "a+X"): whom (u, g, o, a; none:
 * a), what to do (+, -, =), and bits (r, w, x, s, t; X: x for directories and
 * where somebody has x already).  22023 for anything else, also beyond 07777.
 */
extern int32 difs_mode_apply(const char *specification, int32 mode, bool directory);

#endif
