/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* From the text of a value to the value, one function per kind of key. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/config_keys.h"

#define BLANKS " \t\n"

struct value {
	const struct td_key *key;
	char *text;
	const struct td_key_origin *origin;
};

/* In these files nothing within a line begins a comment, which surprises many. */
static const char *hint(const char *text)
{
	return strstr(text, " ;") || strstr(text, " #") ? " (a comment needs a line of its own)"
							: "";
}

static int refuse(const struct value *v, const char *text, const char *why)
{
	return td_report_error(v->origin->report, v->origin->line, v->key->name,
			       "'%.60s' %s%s; use %s", text, why, hint(text), v->key->help);
}

static int refuse_empty(const struct value *v)
{
	return td_report_error(v->origin->report, v->origin->line, v->key->name, "is empty; use %s",
			       v->key->help);
}

/* The text ends behind the first item by now. */
static int refuse_list(const struct value *v, uint32_t items)
{
	if (items == 1 && !*v->text)
		return refuse_empty(v);
	return td_report_error(v->origin->report, v->origin->line, v->key->name,
			       "'%.60s%s' leaves nothing to listen on%s; use %s", v->text,
			       items > 1 ? ", ..." : "", hint(v->text), v->key->help);
}

static void skip(const struct value *v, const char *item, const char *why)
{
	td_report_warning(v->origin->report, v->origin->line, v->key->name,
			  "'%.60s' %s%s, it is skipped", item, why, hint(item));
}

/* The next item of a comma list, blanks removed; NULL at the end. */
static char *next_item(char **list)
{
	char *item = strsep(list, ",");
	size_t size;

	if (!item)
		return NULL;
	item += strspn(item, BLANKS);
	size = strlen(item);
	while (size > 0 && strchr(BLANKS, item[size - 1]))
		size--;
	item[size] = '\0';
	return item;
}

/* Decimal digits only; -EINVAL for other text, -ERANGE beyond max. */
static int parse_number(const char *text, uint64_t max, uint64_t *number)
{
	uint64_t value = 0;

	if (!*text || text[strspn(text, "0123456789")])
		return -EINVAL;
	for (; *text; text++) {
		value = value * 10 + (uint64_t)(*text - '0');
		if (value > max)
			return -ERANGE;
	}
	*number = value;
	return 0;
}

/* "12", "0.2", ".5" to microseconds, rounded up; the same errors. */
static int parse_seconds(char *text, uint64_t max, uint64_t *us)
{
	uint64_t seconds = 0, fraction = 0, unit = 1000000;
	char *point = strchr(text, '.');
	char *digit = point ? point + 1 : text + strlen(text);
	int err = 0;

	if (digit[strspn(digit, "0123456789")] || (point == text && !*digit))
		return -EINVAL;
	if (point)
		*point = '\0';
	if (point != text)
		err = parse_number(text, max, &seconds);
	for (; *digit && unit > 1; digit++) {
		unit /= 10;
		fraction += (uint64_t)(*digit - '0') * unit;
	}
	if (digit[strspn(digit, "0")])
		fraction++;
	if (point)
		*point = '.';
	*us = seconds * 1000000 + fraction;
	if (!err && *us > max * 1000000)
		err = -ERANGE;
	return err;
}

static int set_number(const struct value *v, uint32_t *to)
{
	uint64_t number = 0;
	int err = parse_number(v->text, v->key->max, &number);

	if (!*v->text)
		return refuse_empty(v);
	if (err == -EINVAL)
		return refuse(v, v->text, "is not a number");
	if (err || (number < v->key->min && !(number == 0 && v->key->zero)))
		return refuse(v, v->text, "is out of range");
	*to = (uint32_t)number;
	return 0;
}

static int set_seconds(const struct value *v, int64_t *to)
{
	uint64_t us = 0;
	int err = parse_seconds(v->text, v->key->max, &us);

	if (!*v->text)
		return refuse_empty(v);
	if (err == -EINVAL)
		return refuse(v, v->text, "is not a number such as 10 or 0.2");
	if (err || us < (uint64_t)v->key->min * 1000000)
		return refuse(v, v->text, "is out of range");
	*to = (int64_t)us;
	return 0;
}

static int find_choice(const struct value *v, int *to)
{
	for (const struct td_choice *c = v->key->choices; c->name; c++) {
		if (strcasecmp(c->name, v->text) == 0) {
			*to = c->value;
			return 0;
		}
	}
	return refuse(v, v->text, "is unknown");
}

static int set_switch(const struct value *v, bool *to)
{
	int chosen = 0;
	int err = find_choice(v, &chosen);

	*to = chosen != 0;
	return err;
}

static int set_interface(const struct value *v, char to[static TD_IFNAME_SIZE])
{
	to[0] = '\0';
	if (!v->text[0])
		return 0;
	if (!td_ifname_valid(v->text))
		return refuse(v, v->text, "cannot be an interface");
	snprintf(to, TD_IFNAME_SIZE, "%s", v->text);
	return 0;
}

/* "%eth0" or "%3" behind a link-local address. */
static int parse_scope(const char *text, uint32_t *scope)
{
	uint64_t number = 0;

	if (parse_number(text, UINT32_MAX, &number) == 0)
		*scope = (uint32_t)number;
	else
		*scope = if_nametoindex(text);
	return *scope ? 0 : -ENODEV;
}

static int parse_address(char *text, struct td_addr *addr)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char *scope = strchr(text, '%');

	memset(addr, 0, sizeof(*addr));
	addr->family = TD_FAMILY_IPV4;
	if (inet_pton(AF_INET, text, addr->ip) == 1)
		return 0;
	addr->family = TD_FAMILY_IPV6;
	if (scope)
		*scope = '\0';
	if (inet_pton(AF_INET6, text, addr->ip) != 1)
		return -EINVAL;
	if (scope) {
		*scope = '%';
		return parse_scope(scope + 1, &addr->scope);
	}
	if (memcmp(addr->ip, mapped, sizeof(mapped)) == 0) {
		memcpy(addr->ip, addr->ip + 12, 4);
		memset(addr->ip + 4, 0, 12);
		addr->family = TD_FAMILY_IPV4;
	}
	return 0;
}

static bool have_bridge(const struct td_bridge_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if (strcmp(list->names[i], name) == 0)
			return true;
	}
	return false;
}

static int set_bridges(const struct value *v, struct td_bridge_list *to)
{
	char *list = v->text;
	char *item;

	to->count = 0;
	if (!*v->text)
		return 0;
	while ((item = next_item(&list))) {
		if (!td_ifname_valid(item))
			return refuse(v, item, "cannot be a bridge");
		if (have_bridge(to, item)) {
			skip(v, item, "comes twice");
			continue;
		}
		if (to->count == TD_BRIDGES)
			return refuse(v, item, "is one bridge too many");
		snprintf(to->names[to->count++], TD_IFNAME_SIZE, "%s", item);
	}
	return 0;
}

static bool have_address(const struct td_broker_options *o, const struct td_addr *addr)
{
	for (uint32_t i = 0; i < o->address_count; i++) {
		if (td_addr_equal(&o->addresses[i], addr))
			return true;
	}
	return false;
}

static void add_address(const struct value *v, struct td_broker_options *o, char *item)
{
	struct td_addr addr;
	int err = parse_address(item, &addr);

	if (err == -ENODEV)
		skip(v, item, "is in the scope of an interface that is not there");
	else if (err)
		skip(v, item, "is not a numeric address");
	else if (have_address(o, &addr))
		skip(v, item, "comes twice");
	else
		o->addresses[o->address_count++] = addr;
}

static int set_addresses(const struct value *v, struct td_broker_options *o)
{
	char *list = v->text;
	char *item;
	uint32_t items = 0;

	o->address_count = 0;
	while ((item = next_item(&list))) {
		if (items++ == TD_CONFIG_ADDRESSES)
			return refuse(v, item, "is one address too many, there can be 16");
		add_address(v, o, item);
	}
	return o->address_count ? 0 : refuse_list(v, items);
}

static bool have_port(const struct td_broker_options *o, uint64_t port)
{
	for (uint32_t i = 0; i < o->port_count; i++) {
		if (o->ports[i] == port)
			return true;
	}
	return false;
}

/* Deployed brokers skip what is no port, and files that rely on it exist. Addresses are alike. */
static void add_port(const struct value *v, struct td_broker_options *o, const char *item)
{
	uint64_t port = 0;

	if (parse_number(item, v->key->max, &port) != 0 || port < v->key->min)
		skip(v, item, "is not a port from 1 to 65535");
	else if (have_port(o, port))
		skip(v, item, "comes twice");
	else
		o->ports[o->port_count++] = (uint16_t)port;
}

static int set_ports(const struct value *v, struct td_broker_options *o)
{
	char *list = v->text;
	char *item;
	uint32_t items = 0;

	o->port_count = 0;
	while ((item = next_item(&list))) {
		if (items++ == TD_CONFIG_PORTS)
			return refuse(v, item, "is one port too many, there can be 64");
		add_port(v, o, item);
	}
	return o->port_count ? 0 : refuse_list(v, items);
}

static const char *why_not_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a file";
	if (access(path, X_OK) < 0)
		return strerror(errno);
	return NULL;
}

/* A script that is not there yet is none of our business: deployed brokers start as well. */
static int set_hook(const struct value *v, char to[static TD_CONFIG_PATH + 1])
{
	const char *why;
	size_t size = strlen(v->text);

	to[0] = '\0';
	if (size == 0)
		return 0;
	for (const char *percent = v->text; (percent = strchr(percent, '%')); percent++)
		size++; /* is written as two */
	if (size > TD_CONFIG_PATH)
		return refuse(v, v->text, "is longer than 150 characters");
	if (strchr(v->text, '\n'))
		return refuse(v, v->text, "has several lines");
	memcpy(to, v->text, strlen(v->text) + 1);
	why = why_not_executable(to);
	if (why)
		td_report_warning(v->origin->report, v->origin->line, v->key->name,
				  "'%.100s' cannot be run now: %s", to, why);
	return 0;
}

int td_key_set(const struct td_key *key, struct td_broker_options *options, unsigned which,
	       char *text, const struct td_key_origin *origin)
{
	const struct value v = { key, text, origin };
	void *to = td_key_at(key, options, which);

	switch (key->kind) {
	case TD_KEY_ADDRESSES:
		return set_addresses(&v, options);
	case TD_KEY_PORTS:
		return set_ports(&v, options);
	case TD_KEY_INTERFACE:
		return set_interface(&v, to);
	case TD_KEY_NUMBER:
		return set_number(&v, to);
	case TD_KEY_SECONDS:
		return set_seconds(&v, to);
	case TD_KEY_CHOICE:
		return find_choice(&v, to);
	case TD_KEY_SWITCH:
		return set_switch(&v, to);
	case TD_KEY_HOOK:
		return set_hook(&v, to);
	case TD_KEY_BRIDGES:
		return set_bridges(&v, to);
	}
	return -EINVAL;
}
