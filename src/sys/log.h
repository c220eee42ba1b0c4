/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Log lines: to syslog, to stderr, or to both. One call, one line; never more than 1 kB of it.
 * Logging never waits: a line that the system's logger or the reader of stderr does not take is
 * lost. Both ends are opened once and work after privileges were dropped.
 */
#ifndef TD_SYS_LOG_H
#define TD_SYS_LOG_H

#include <stdbool.h>

enum td_log_level { /* numbers as of syslog.h */
		    TD_LOG_ERROR = 3,
		    TD_LOG_WARNING = 4,
		    TD_LOG_NOTICE = 5,
		    TD_LOG_INFO = 6,
		    TD_LOG_DEBUG = 7,
};

/* ident: of syslog, NULL: no syslog. to_stderr: lines "LEVEL message" there as well. */
void td_log_open(const char *ident, bool to_stderr, enum td_log_level level);
bool td_log_enabled(enum td_log_level level);
/* Unprintable bytes in the result are replaced. */
void td_log(enum td_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
