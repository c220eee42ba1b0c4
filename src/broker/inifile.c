/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * inih splits lines into names and values. What it does otherwise than ConfigParser, and cannot be
 * told not to do at run time, is kept from it by the reader that stands between it and the text:
 * a reader knows by the indentation whether a line continues a value, drops comments, hides what
 * inih would take for an inline comment, and refuses lines that would be cut. One line of the file
 * is one line for inih, so that both count the same.
 */
#include "broker/inifile.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Stands for ';' on the way through inih; as a control character it is in no line. */
#define HIDDEN_SEMICOLON '\x01'

struct source {
	const char *at;
	size_t left;
	unsigned line;
	size_t indent;     /* of the last line that was no continuation */
	bool continuation; /* the current line continues the last option */
	bool in_option;    /* … which an indented line does now */
	unsigned section;
	struct td_ini *ini;
	struct td_report *report;
	int err;
};

/* Part of the text, not terminated. */
struct span {
	const char *at;
	size_t size;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span take_line(struct source *s)
{
	const char *newline = memchr(s->at, '\n', s->left);
	struct span line = { s->at, newline ? (size_t)(newline - s->at) : s->left };
	size_t taken = line.size + (newline ? 1 : 0);

	s->at += taken;
	s->left -= taken;
	s->line++;
	if (line.size > 0 && line.at[line.size - 1] == '\r')
		line.size--;
	return line;
}

/* Removes blanks at both ends; returns how many there were in front. */
static size_t trim(struct span *line)
{
	size_t indent = 0;

	while (indent < line->size && is_blank(line->at[indent]))
		indent++;
	line->at += indent;
	line->size -= indent;
	while (line->size > 0 && is_blank(line->at[line->size - 1]))
		line->size--;
	return indent;
}

static bool has_control(const struct span *line)
{
	for (size_t i = 0; i < line->size; i++) {
		unsigned char c = (unsigned char)line->at[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

static int find_section(const struct td_ini *ini, const char *name)
{
	for (unsigned i = 0; i < ini->section_count; i++) {
		if (strcmp(ini->sections[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static int add_section(struct source *s, const char *name)
{
	struct td_ini *ini = s->ini;
	struct td_ini_section *section;

	if (ini->section_count == TD_INI_SECTIONS)
		return td_report_error(s->report, s->line, NULL,
				       "more than %d sections are too many", TD_INI_SECTIONS - 1);
	s->section = ini->section_count++;
	section = &ini->sections[s->section];
	snprintf(section->name, sizeof(section->name), "%s", name);
	section->line = s->line;
	return 0;
}

static int enter_section(struct source *s, struct span name)
{
	char text[TD_INI_NAME + 1];
	int found;

	if (name.size == 0 || name.size > TD_INI_NAME)
		return td_report_error(s->report, s->line, NULL,
				       "a section needs a name of 1 to %d characters", TD_INI_NAME);
	memcpy(text, name.at, name.size);
	text[name.size] = '\0';
	found = find_section(s->ini, text);
	if (found < 0)
		return add_section(s, text);
	if (found != TD_INI_DEFAULT)
		return td_report_error(s->report, s->line, NULL,
				       "[%s] is there already, in line %u; make them one section",
				       text, s->ini->sections[found].line);
	s->section = TD_INI_DEFAULT;
	s->ini->sections[TD_INI_DEFAULT].line = s->line;
	return 0;
}

/* What kind of line is it? Sets what the handler needs to know. */
static int classify(struct source *s, struct span line, size_t indent)
{
	const char *end;

	s->continuation = s->in_option && indent > s->indent;
	if (s->continuation)
		return 0;
	s->indent = indent;
	s->in_option = false; /* until it proves to be one */
	end = memchr(line.at, ']', line.size);
	if (line.at[0] == '[' && end)
		return enter_section(s, (struct span){ line.at + 1, (size_t)(end - line.at) - 1 });
	if (line.at[0] != '[' && s->section == TD_INI_DEFAULT &&
	    s->ini->sections[TD_INI_DEFAULT].line == 0)
		return td_report_error(s->report, s->line, NULL,
				       "comes before the first section; begin with [broker]");
	return 0;
}

/* Indented if and only if the line is to be a continuation for inih as well. */
static void hand_over(char *to, const struct source *s, struct span line)
{
	if (s->continuation)
		*to++ = ' ';
	for (size_t i = 0; i < line.size; i++)
		*to++ = line.at[i] == ';' ? HIDDEN_SEMICOLON : line.at[i];
	*to++ = '\n';
	*to = '\0';
}

static int read_line(struct source *s, char *to, size_t capacity)
{
	struct span line = take_line(s);
	size_t indent;

	if (has_control(&line))
		return td_report_error(s->report, s->line, NULL,
				       "contains a control character; a text file is expected");
	indent = trim(&line);
	if (line.size == 0 || line.at[0] == ';' || line.at[0] == '#') {
		snprintf(to, capacity, "\n");
		return 0;
	}
	if (line.size > TD_INI_LINE || line.size + 4 > capacity)
		return td_report_error(s->report, s->line, NULL,
				       "is longer than %d characters; continue a long value "
				       "in the next line, indented",
				       TD_INI_LINE);
	s->err = classify(s, line, indent);
	if (!s->err)
		hand_over(to, s, line);
	return s->err;
}

/* As fgets(). */
static char *next_line(char *to, int capacity, void *stream)
{
	struct source *s = stream;

	if (s->err || s->left == 0)
		return NULL;
	s->err = read_line(s, to, (size_t)capacity);
	return s->err ? NULL : to;
}

/* The option of exactly that section. */
static const struct td_ini_option *find_option(const struct td_ini *ini, unsigned section,
					       const char *name)
{
	for (unsigned i = 0; i < ini->option_count; i++) {
		if (ini->options[i].section == section &&
		    strcasecmp(ini->options[i].name, name) == 0)
			return &ini->options[i];
	}
	return NULL;
}

/* Appends to a value, which may be NULL; frees it when that is not possible. */
static int append(struct source *s, struct td_ini_option *option, const char *text)
{
	size_t old = option->value && *option->value ? strlen(option->value) + 1 : 0;
	size_t size = strlen(text);
	char *value;

	if (old + size > TD_INI_VALUE)
		return td_report_error(s->report, s->line, option->name,
				       "the value is longer than %d characters", TD_INI_VALUE);
	value = realloc(option->value, old + size + 1);
	if (!value) {
		td_report_error(s->report, s->line, option->name, "out of memory");
		return -ENOMEM;
	}
	if (old)
		value[old - 1] = '\n';
	for (size_t i = 0; i <= size; i++)
		value[old + i] = text[i] == HIDDEN_SEMICOLON ? ';' : text[i];
	option->value = value;
	return 0;
}

static int add_option(struct source *s, const char *name, const char *value)
{
	struct td_ini *ini = s->ini;
	struct td_ini_option *option = &ini->options[ini->option_count];
	const struct td_ini_option *same;
	size_t size = strlen(name);

	if (size == 0 || size > TD_INI_NAME)
		return td_report_error(s->report, s->line, NULL,
				       "an option needs a name of 1 to %d characters", TD_INI_NAME);
	if (ini->option_count == TD_INI_OPTIONS)
		return td_report_error(s->report, s->line, NULL,
				       "more than %d options are too many", TD_INI_OPTIONS);
	for (size_t i = 0; i <= size; i++)
		option->name[i] = name[i] == HIDDEN_SEMICOLON ? ';' : name[i];
	option->section = s->section;
	option->line = s->line;
	option->value = NULL;
	same = find_option(ini, s->section, option->name);
	if (same)
		return td_report_error(s->report, s->line, option->name,
				       "is there already, in line %u; remove one of them",
				       same->line);
	ini->option_count++;
	s->in_option = true;
	return append(s, option, value);
}

/* inih's: 1 well, 0 not. It may also report that a section begins (no name): the reader knows. */
static int take_option(void *user, const char *section, const char *name, const char *value)
{
	struct source *s = user;

	(void)section;
	if (!name || s->err)
		return 1;
	if (!value)
		return 0;
	if (s->continuation)
		s->err = append(s, &s->ini->options[s->ini->option_count - 1], value);
	else
		s->err = add_option(s, name, value);
	return s->err == 0;
}

int td_ini_parse(struct td_ini *ini, const char *text, size_t size, struct td_report *report)
{
	struct source s = { .at = text, .left = size, .ini = ini, .report = report };
	int line;

	memset(ini, 0, sizeof(*ini));
	snprintf(ini->sections[TD_INI_DEFAULT].name, sizeof(ini->sections[0].name), "DEFAULT");
	ini->section_count = 1;
	if (size > TD_INI_FILE)
		return td_report_error(report, 0, NULL,
				       "is larger than 1 MB; a configuration file is expected");
	if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		s.at += 3;
		s.left -= 3;
	}
	line = ini_parse_stream(next_line, &s, take_option, &s);
	/* A line that inih could not split comes before whatever went wrong later. */
	if (line > 0 && (!s.err || (unsigned)line < s.line))
		return td_report_error(report, (unsigned)line, NULL,
				       "is neither \"[section]\" nor \"name = value\"");
	if (line < 0 && !s.err)
		return td_report_error(report, 0, NULL, "cannot be parsed: out of memory");
	return s.err;
}

void td_ini_fini(struct td_ini *ini)
{
	for (unsigned i = 0; i < ini->option_count; i++)
		free(ini->options[i].value);
	ini->option_count = 0;
}

const struct td_ini_option *td_ini_find(const struct td_ini *ini, const char *section,
					const char *name)
{
	int number = find_section(ini, section);
	const struct td_ini_option *option = NULL;

	if (number >= 0)
		option = find_option(ini, (unsigned)number, name);
	return option ? option : find_option(ini, TD_INI_DEFAULT, name);
}
