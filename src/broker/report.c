/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/* What the file contains may be quoted in a sentence, which goes to terminals and logs. */
static void make_printable(char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			*text = ' ';
		else if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

__attribute__((format(printf, 5, 0))) static void compose(char to[static TD_REPORT_SIZE],
							  const struct td_report *report,
							  unsigned line, const char *key,
							  const char *format, va_list args)
{
	char where[16] = "";
	char what[TD_REPORT_SIZE / 2];

	if (line)
		snprintf(where, sizeof(where), ":%u", line);
	vsnprintf(what, sizeof(what), format, args);
	snprintf(to, TD_REPORT_SIZE, "%.200s%s: %s%s%s", report->file, where, key ? key : "",
		 key ? ": " : "", what);
	make_printable(to);
}

int td_report_error(struct td_report *report, unsigned line, const char *key, const char *format,
		    ...)
{
	va_list args;

	va_start(args, format);
	compose(report->error, report, line, key, format, args);
	va_end(args);
	return -EINVAL;
}

void td_report_warning(struct td_report *report, unsigned line, const char *key, const char *format,
		       ...)
{
	char sentence[TD_REPORT_SIZE];
	va_list args;

	if (!report->warn)
		return;
	va_start(args, format);
	compose(sentence, report, line, key, format, args);
	va_end(args);
	report->warn(report->ctx, sentence);
}
