/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* References in values: "%(name)s" and "%%". */
#include "broker/inifile.h"

#include <errno.h>
#include <string.h>

#define DEPTH 10  /* as in ConfigParser */
#define STEPS 200 /* references in all: empty values could else be multiplied without end */

struct expansion {
	const struct td_ini *ini;
	const char *section;
	char *to;
	size_t left;
	unsigned steps;
	const char *why; /* what is wrong */
};

static int fail(struct expansion *x, const char *why)
{
	x->why = why;
	return -EINVAL;
}

static int put(struct expansion *x, const char *text, size_t size)
{
	if (size > x->left)
		return fail(x, "the value gets too long");
	memcpy(x->to, text, size);
	x->to += size;
	x->left -= size;
	return 0;
}

/* at: behind "%("; the value is NULL when there is no such option. Skips the reference. */
static int look_up(struct expansion *x, const char **at, const char **value)
{
	const struct td_ini_option *option;
	char name[TD_INI_NAME + 1];
	size_t size = strcspn(*at, ")\n");

	if (size == 0 || size > TD_INI_NAME || strncmp(*at + size, ")s", 2) != 0)
		return fail(x, "\"%(\" begins a reference; it has the form %(name)s");
	memcpy(name, *at, size);
	name[size] = '\0';
	*at += size + 2;
	option = td_ini_find(x->ini, x->section, name);
	if (!option)
		return fail(x, "refers to an option that is neither here nor in [DEFAULT]");
	*value = option->value;
	return 0;
}

static int expand(struct expansion *x, const char *at, unsigned depth)
{
	const char *value = NULL;
	int err = 0;

	if (depth == DEPTH || x->steps++ == STEPS)
		return fail(x, "refers to itself, or to too many others");
	while (!err && *at) {
		size_t plain = strcspn(at, "%");

		err = put(x, at, plain);
		at += plain;
		if (err || !*at)
			break;
		if (at[1] == '%') {
			err = put(x, at, 1);
			at += 2;
		} else if (at[1] == '(') {
			at += 2;
			err = look_up(x, &at, &value);
			if (!err)
				err = expand(x, value, depth + 1);
		} else {
			err = fail(x, "a percent sign is written %%");
		}
	}
	return err;
}

int td_ini_value(const struct td_ini *ini, const char *section, const struct td_ini_option *option,
		 char to[static TD_INI_VALUE + 1], struct td_report *report)
{
	struct expansion x = { .ini = ini, .section = section, .to = to, .left = TD_INI_VALUE };
	int err = expand(&x, option->value, 0);

	*x.to = '\0';
	if (err)
		return td_report_error(report, option->line, option->name, "%s", x.why);
	return 0;
}
