/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * INI files in the dialect of Python's ConfigParser, which the configuration files in the field are
 * written in:
 *
 *   - sections are case-sensitive, option names are not; one that comes twice is an error
 *   - "name = value" or "name: value"; comments are whole lines that begin with ';' or '#', and
 *     nothing within a line begins one
 *   - a line that is indented deeper than its option continues the value
 *   - options of [DEFAULT] count in every section; "%(name)s" stands for the value of another
 *     option of the same section or of [DEFAULT], "%%" for a percent sign
 *
 * Everything is bounded; what goes beyond is an error that names its line.
 */
#ifndef TD_BROKER_INIFILE_H
#define TD_BROKER_INIFILE_H

#include <stddef.h>

#include "broker/report.h"

#define TD_INI_FILE     (1024 * 1024) /* bytes of a file */
#define TD_INI_LINE     190           /* … of a line that is not a comment, indentation aside */
#define TD_INI_NAME     40            /* … of a name */
#define TD_INI_VALUE    4000          /* … of a value, all its lines */
#define TD_INI_SECTIONS 32
#define TD_INI_OPTIONS  256

#define TD_INI_DEFAULT 0 /* the section of that name */

struct td_ini_section {
	char name[TD_INI_NAME + 1];
	unsigned line; /* 0: [DEFAULT] that is not in the file */
};

struct td_ini_option {
	char name[TD_INI_NAME + 1]; /* as written */
	unsigned section;
	unsigned line;
	char *value; /* as written, lines joined by '\n' */
};

struct td_ini {
	struct td_ini_section sections[TD_INI_SECTIONS];
	unsigned section_count;
	struct td_ini_option options[TD_INI_OPTIONS];
	unsigned option_count;
};

/* text: size bytes of the file report->file. 0, -EINVAL (see the report) or -ENOMEM (as well). */
int td_ini_parse(struct td_ini *ini, const char *text, size_t size, struct td_report *report)
	__attribute__((warn_unused_result));
/* After any outcome of td_ini_parse(). */
void td_ini_fini(struct td_ini *ini);

/* The option of that section, else of [DEFAULT], else NULL. */
const struct td_ini_option *td_ini_find(const struct td_ini *ini, const char *section,
					const char *name);
/* Its value in that section with all references replaced. 0 or -EINVAL (see the report). */
int td_ini_value(const struct td_ini *ini, const char *section, const struct td_ini_option *option,
		 char to[static TD_INI_VALUE + 1], struct td_report *report)
	__attribute__((warn_unused_result));

#endif
