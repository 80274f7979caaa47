/*
 * report.h - the parts of the page that difs report writes which are the same each time: style sheet and script.
 */
#ifndef DIFS_REPORT_H
#define DIFS_REPORT_H

extern const char report_style[];
extern const char report_script[];

#endif
