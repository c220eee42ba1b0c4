/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The command line, as deployed clients have it, with --help, --version, --datapath and --mtu-max
 * added. -b repeats without limit: the build option MAX_BROKERS of older clients means nothing.
 *
 * The table holds arrays, not pointers: a pointer costs 24 bytes of relocation in the executable.
 */
#include "client/options.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "core/l2tp.h"
#include "sys/resolver.h"
#include "sys/udp.h"

enum { OPTION_DATAPATH = 128, OPTION_MTU_MAX, OPTION_VERSION };

static const struct td_option table[] = {
	{ 'u', "", "UUID", "name of this client at the broker (required)" },
	{ 'i', "", "INTERFACE", "name of the tunnel's interface (required)" },
	{ 'b', "", "HOST:PORT", "a broker; repeat for more; IPv6: [ADDRESS]:PORT (required)" },
	{ 'l', "", "ADDRESS", "local address to use (default: any)" },
	{ 'I', "", "INTERFACE", "reach brokers through this interface only (default: any)" },
	{ 's', "", "PATH", "run PATH session.up|session.down INTERFACE" },
	{ 't', "", "NUMBER", "tunnel id, another for each client of a host (default: 1)" },
	{ 'L', "", "KBIT/S", "limit of what the broker sends us (default: 0, none)" },
	{ 'g', "", "", "take the first broker that answers (default)" },
	{ 'a', "", "", "take the broker with the least load" },
	{ 'r', "", "", "take any broker, at random" },
	{ 'f', "", "", "log to standard error as well" },
	{ OPTION_DATAPATH, "datapath", "WHICH", "auto, kernel or tap (default: auto)" },
	{ OPTION_MTU_MAX, "mtu-max", "NUMBER", "largest MTU to look for (default: 1446)" },
	{ 'h', "help", "", "show this text" },
	{ OPTION_VERSION, "version", "", "show the version" },
};
#define COUNT (sizeof(table) / sizeof(table[0]))

const struct td_option *td_options_table(size_t *count)
{
	*count = COUNT;
	return table;
}

void td_options_help(int fd)
{
	dprintf(fd, "usage: tunneldigger -u UUID -i INTERFACE -b HOST:PORT [option ...]\n"
		    "Makes a tunnel to a broker and keeps it. Nothing in it is encrypted.\n\n");
	for (size_t i = 0; i < COUNT; i++) {
		const struct td_option *o = &table[i];
		const char letter[] = { '-', (char)o->code, ' ', 0 };
		int width = dprintf(fd, "  %s%s%s%s%s", o->code < 128 ? letter : "",
				    o->name[0] != 0 ? "--" : "", o->name,
				    o->name[0] != 0 ? " " : "", o->argument);

		dprintf(fd, "%*s%s\n", 22 - width, "", o->help);
	}
}

/* What getopt_long() wants. letters: room for 2 per option, and 2; names: 1 per option, and 1. */
static void take_table(char *letters, struct option *names)
{
	*letters++ = ':'; /* tell a missing argument from an unknown option */
	for (size_t i = 0; i < COUNT; i++) {
		const struct td_option *o = &table[i];
		bool argument = o->argument[0] != 0;

		if (o->code < 128) {
			*letters++ = (char)o->code;
			if (argument)
				*letters++ = ':';
		}
		if (o->name[0] != 0)
			*names++ = (struct option){ o->name, argument, NULL, o->code };
	}
	*letters = 0;
	*names = (struct option){ 0 };
}

static bool take_number(uint32_t *value, const char *text, unsigned long min, unsigned long max,
			int base)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(text, &end, base);
	*value = (uint32_t)n;
	return text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && n >= min && n <= max;
}

static bool take_uuid(struct td_options *options, const char *text)
{
	size_t len = strlen(text);

	options->uuid = text;
	return len <= TD_OPTIONS_UUID_MAX && td_uuid_valid(text, len);
}

static bool take_address(struct td_options *options, const char *text)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM };
	struct addrinfo *info;

	if (getaddrinfo(text, NULL, &hints, &info) != 0)
		return false;
	td_addr_from_sockaddr(&options->local, info->ai_addr);
	freeaddrinfo(info);
	return true;
}

static bool take_broker(struct td_options *options, char *text)
{
	char *host, *service;

	if (td_split_host_port(text, &host, &service) < 0)
		return false;
	options->brokers[options->broker_count++] = (struct td_broker_name){ host, service };
	return true;
}

static bool take_datapath(struct td_options *options, const char *text)
{
	static const char names[][8] = {
		[TD_DATAPATH_AUTO] = "auto",
		[TD_DATAPATH_KERNEL] = "kernel",
		[TD_DATAPATH_TAP] = "tap",
	};
	unsigned i = 0;

	while (i < 3 && strcmp(text, names[i]) != 0)
		i++;
	options->datapath = (enum td_datapath_choice)i;
	return i < 3;
}

static bool take_max_mtu(struct td_options *options, const char *text)
{
	uint32_t mtu;
	bool good = take_number(&mtu, text, TD_MTU_MIN, TD_MTU_MAX, 10);

	options->max_mtu = (uint16_t)mtu;
	return good;
}

/* Options without an argument. */
static void take_switch(struct td_options *options, int code)
{
	if (code == 'f')
		options->log_to_stderr = true;
	else
		options->selection = code == 'g'   ? TD_SELECT_FIRST
				     : code == 'a' ? TD_SELECT_USAGE
						   : TD_SELECT_RANDOM;
}

/* Takes an option's argument; NULL, or what it may be. */
static const char *take_argument(struct td_options *options, int code, char *text)
{
	switch (code) {
	case 'u':
		return take_uuid(options, text) ? NULL
						: "1 to 238 characters of A-Z a-z 0-9 . _ : @ + = "
						  "~ - / that do not begin with -";
	case 'i':
		options->ifname = text;
		return td_ifname_valid(text) ? NULL : "the name of an interface";
	case 'I':
		options->bind_ifname = text;
		return td_ifname_valid(text) ? NULL : "the name of an interface";
	case 'b':
		return take_broker(options, text) ? NULL : "HOST:PORT or [ADDRESS]:PORT";
	case 'l':
		return take_address(options, text) ? NULL : "an IPv4 or IPv6 address";
	case 's':
		options->hook = text;
		return text[0] != 0 ? NULL : "the path of a program";
	case 't':
		return take_number(&options->tunnel_id, text, 1, UINT32_MAX, 0)
			       ? NULL
			       : "a number from 1 to 4294967295";
	case 'L':
		return take_number(&options->limit_kbps, text, 0, UINT32_MAX, 10)
			       ? NULL
			       : "a number of kbit/s from 0 to 4294967295";
	case OPTION_DATAPATH:
		return take_datapath(options, text) ? NULL : "auto, kernel or tap";
	default:
		return take_max_mtu(options, text) ? NULL : "a number from 1280 to 9000";
	}
}

static const struct td_option *find(int code)
{
	for (size_t i = 0; i < COUNT; i++)
		if (table[i].code == code)
			return &table[i];
	return NULL;
}

/* "-u", "--datapath" */
static const char *spelling(char text[static 16], const struct td_option *o)
{
	if (o->code < 128)
		snprintf(text, 16, "-%c", o->code);
	else
		snprintf(text, 16, "--%s", o->name);
	return text;
}

/* What getopt_long() did not like about the option optopt or, if that is 0, argv[optind - 1]. */
static void explain_option(bool known, char **argv, char *why, size_t size)
{
	const struct td_option *o = find(optopt);
	char text[16];

	if (known && o != NULL)
		snprintf(why, size, "%s wants %s", spelling(text, o), o->argument);
	else if (optopt == 'p')
		snprintf(why, size,
			 "-p is no longer an option: the port belongs to the broker, as "
			 "in -b HOST:PORT");
	else if (optopt != 0 && o == NULL)
		snprintf(why, size, "-%c is not an option, see --help", optopt);
	else
		snprintf(why, size, "%s is not an option, see --help", argv[optind - 1]);
}

static enum td_options_verdict take_all(struct td_options *options, int argc, char **argv,
					char *why, size_t size)
{
	char letters[2 * COUNT + 2], text[16];
	struct option names[COUNT + 1];
	int code;

	take_table(letters, names);
	optind = 0; /* from the beginning */
	while ((code = getopt_long(argc, argv, letters, names, NULL)) != -1) {
		if (code == 'h')
			return TD_OPTIONS_HELP;
		if (code == OPTION_VERSION)
			return TD_OPTIONS_VERSION;
		if (code == ':' || code == '?') {
			explain_option(code == ':', argv, why, size);
			return TD_OPTIONS_WRONG;
		}
		const struct td_option *o = find(code);
		const char *allowed = NULL;
		if (optarg == NULL)
			take_switch(options, code);
		else
			allowed = take_argument(options, code, optarg);
		if (allowed != NULL) {
			snprintf(why, size, "%s wants %s, not '%s'", spelling(text, o), allowed,
				 optarg);
			return TD_OPTIONS_WRONG;
		}
	}
	if (optind < argc) {
		snprintf(why, size, "'%s' belongs to no option, see --help", argv[optind]);
		return TD_OPTIONS_WRONG;
	}
	return TD_OPTIONS_RUN;
}

enum td_options_verdict td_options_parse(struct td_options *options, int argc, char **argv,
					 char *why, size_t size)
{
	*options = (struct td_options){ .tunnel_id = 1, .max_mtu = TD_MTU_DEFAULT };
	options->brokers = calloc((size_t)argc + 1, sizeof(options->brokers[0]));
	if (options->brokers == NULL) {
		snprintf(why, size, "not enough memory");
		return TD_OPTIONS_WRONG;
	}
	enum td_options_verdict verdict = take_all(options, argc, argv, why, size);
	if (verdict != TD_OPTIONS_RUN)
		return verdict;
	int missing = options->uuid == NULL        ? 'u'
		      : options->ifname == NULL    ? 'i'
		      : options->broker_count == 0 ? 'b'
						   : 0;
	if (missing == 0)
		return TD_OPTIONS_RUN;
	snprintf(why, size, "-%c %s is missing, see --help", missing, find(missing)->argument);
	return TD_OPTIONS_WRONG;
}

void td_options_fini(struct td_options *options)
{
	free(options->brokers);
	options->brokers = NULL;
}
