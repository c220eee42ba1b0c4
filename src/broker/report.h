/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Sentences for the operator about a file: "FILE:LINE: key: what is wrong; what is allowed".
 *
 * The first error ends the reading of the file and stays in the report. Warnings are handed on as
 * they arise; the sentence is valid during the call only.
 */
#ifndef TD_BROKER_REPORT_H
#define TD_BROKER_REPORT_H

#define TD_REPORT_SIZE 512

struct td_report {
	void (*warn)(void *ctx, const char *sentence); /* NULL: nobody wants to know */
	void *ctx;
	const char *file; /* set by whoever reads the file */
	char error[TD_REPORT_SIZE];
};

/* line 0: none in particular; key NULL: none. Always returns -EINVAL. */
int td_report_error(struct td_report *report, unsigned line, const char *key, const char *format,
		    ...) __attribute__((format(printf, 4, 5)));
void td_report_warning(struct td_report *report, unsigned line, const char *key, const char *format,
		       ...) __attribute__((format(printf, 4, 5)));

#endif
