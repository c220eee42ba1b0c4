/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The command line, as deployed clients have it, with --help, --version, --datapath and --mtu-max
 * added. -b repeats without limit: the build option MAX_BROKERS of older clients means nothing.
 *
 * getopt_long() would want a second table and costs 1 % of the client.
 */
#include "client/options.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "core/l2tp.h"
#include "sys/resolver.h"
#include "sys/udp.h"

const char td_options_help[] =
	"usage: tunneldigger -u UUID -i INTERFACE -b HOST:PORT [option ...]\n"
	"Makes a tunnel to a broker and keeps it. Nothing in it is encrypted.\n"
	"\n"
	"  -u UUID\t\tname of this client at the broker (required)\n"
	"  -i INTERFACE\t\tname of the tunnel's interface (required)\n"
	"  -b HOST:PORT\t\ta broker (required, can be repeated); [ADDRESS]:PORT\n"
	"  -l ADDRESS\t\tlocal address to use (default: any)\n"
	"  -I INTERFACE\t\treach brokers through this one only (default: any)\n"
	"  -s PATH\t\trun this with session.up|session.down INTERFACE\n"
	"  -t NUMBER\t\ttunnel id, one for each client of a host (default: 1)\n"
	"  -L KBIT/S\t\tlimit of what the broker sends us (default: 0, none)\n"
	"  -g\t\t\ttake the first broker that answers (default)\n"
	"  -a\t\t\ttake the broker with the least load\n"
	"  -r\t\t\ttake any broker, at random\n"
	"  -f\t\t\tlog to standard error as well\n"
	"  --datapath WHICH\tauto, kernel or tap (default: auto)\n"
	"  --mtu-max NUMBER\tlargest MTU to look for (default: 1446)\n"
	"  -h, --help\t\tshow this text\n"
	"  --version\t\tshow the version\n";

/* Options by name: the first letter of it, and 128. */
enum {
	OPTION_DATAPATH = 128 + 'd',
	OPTION_HELP = 128 + 'h',
	OPTION_MTU_MAX = 128 + 'm',
	OPTION_VERSION = 128 + 'v',
};

/* What the help says behind the option ("-u", "--help"): " UUID\t…", "\t…"; NULL: there is none. */
static const char *find(const char *option, size_t len)
{
	const char *end = td_options_help + sizeof(td_options_help) - len - 1;

	for (const char *c = td_options_help; c < end; c++)
		if (*c == ' ' && memcmp(c + 1, option, len) == 0 &&
		    (c[len + 1] == ' ' || c[len + 1] == '\t' || c[len + 1] == ','))
			return c + len + 1;
	return NULL;
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
	static const char choices[][8] = {
		[TD_DATAPATH_AUTO] = "auto",
		[TD_DATAPATH_KERNEL] = "kernel",
		[TD_DATAPATH_TAP] = "tap",
	};
	const size_t size = strlen(text) + 1;
	unsigned i = 0;

	while (i < 3 && (size > sizeof(choices[0]) || memcmp(text, choices[i], size) != 0))
		i++;
	options->datapath = (enum td_datapath_choice)i;
	return i < 3;
}

/* Takes an option; NULL, or what its argument may be. */
static const char interface_wanted[] = "the name of an interface, of at most 15 characters";

static const char *take(struct td_options *options, int code, char *text)
{
	switch (code) {
	case 'u':
		return take_uuid(options, text) ? NULL
						: "1 to 238 characters of A-Z a-z 0-9 . _ : @ + = "
						  "~ - / that do not begin with -";
	case 'i':
		options->ifname = text;
		return td_ifname_valid(text) ? NULL : interface_wanted;
	case 'I':
		options->bind_ifname = text;
		return td_ifname_valid(text) ? NULL : interface_wanted;
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
			       : "a number from 0 to 4294967295";
	case 'g':
		options->selection = TD_SELECT_FIRST;
		return NULL;
	case 'a':
		options->selection = TD_SELECT_USAGE;
		return NULL;
	case 'r':
		options->selection = TD_SELECT_RANDOM;
		return NULL;
	case 'f':
		options->log_to_stderr = true;
		return NULL;
	case OPTION_DATAPATH:
		return take_datapath(options, text) ? NULL : "auto, kernel or tap";
	default:
		return take_number(&options->max_mtu, text, TD_MTU_MIN, TD_MTU_MAX, 10)
			       ? NULL
			       : "a number from 1280 to 9000";
	}
}

struct command_line {
	struct td_options *options;
	char **next; /* word */
	char *why;
	size_t size;
};

static enum td_options_verdict reject(const struct command_line *line, const char *option,
				      size_t len, const char *what, const char *allowed)
{
	snprintf(line->why, line->size, "%.*s %s%s", (int)len, option, what, allowed);
	return TD_OPTIONS_WRONG;
}

/* help: of the option; value: what stands behind it in its word, NULL: nothing. */
static enum td_options_verdict take_option(struct command_line *line, const char *option,
					   size_t len, const char *help, char *value)
{
	int code = option[1] == '-' ? 128 + option[2] : option[1];

	if (code == 'p')
		return reject(line, option, len, "is gone: the port follows the broker, ",
			      "-b HOST:PORT");
	if (help == NULL)
		return reject(line, option, len, "is not an option, see --help", "");
	if (*help != ' ' && value != NULL)
		return reject(line, option, len, "takes no argument", "");
	if (code == 'h' || code == OPTION_HELP)
		return TD_OPTIONS_HELP;
	if (code == OPTION_VERSION)
		return TD_OPTIONS_VERSION;
	if (*help == ' ' && value == NULL)
		value = *line->next++;
	if (*help == ' ' && value == NULL)
		return reject(line, option, len, "wants an argument, see --help", "");
	const char *allowed = take(line->options, code, value);
	return allowed == NULL ? TD_OPTIONS_RUN : reject(line, option, len, "wants ", allowed);
}

/* "--name", "--name=value", "-abc", "-cvalue" */
static enum td_options_verdict take_word(struct command_line *line, char *word)
{
	size_t len = 0;

	while (word[len] != 0 && word[len] != '=')
		len++;
	if (word[0] != '-' || word[1] == 0)
		return reject(line, word, len, "is not an option, see --help", "");
	if (word[1] == '-')
		return take_option(line, word, len, find(word, len),
				   word[len] != 0 ? &word[len + 1] : NULL);
	for (word++; *word != 0; word++) {
		const char letter[] = { '-', *word };
		const char *help = find(letter, 2);
		bool argument = help != NULL && *help == ' ';
		enum td_options_verdict verdict = take_option(
			line, letter, 2, help, argument && word[1] != 0 ? word + 1 : NULL);

		if (argument || verdict != TD_OPTIONS_RUN)
			return verdict;
	}
	return TD_OPTIONS_RUN;
}

enum td_options_verdict td_options_parse(struct td_options *options, int argc, char **argv,
					 char *why, size_t size)
{
	struct command_line line = { options, argv + 1, why, size };
	enum td_options_verdict verdict = TD_OPTIONS_RUN;
	const char *missing = NULL;

	*options = (struct td_options){ .tunnel_id = 1, .max_mtu = TD_MTU_DEFAULT };
	options->brokers = calloc((size_t)argc, sizeof(options->brokers[0]));
	if (options->brokers == NULL)
		return reject(&line, "memory", 6, "is short", "");
	while (verdict == TD_OPTIONS_RUN && *line.next != NULL)
		verdict = take_word(&line, *line.next++);
	if (verdict != TD_OPTIONS_RUN)
		return verdict;
	if (options->broker_count == 0)
		missing = "-b";
	if (options->ifname == NULL)
		missing = "-i";
	if (options->uuid == NULL)
		missing = "-u";
	return missing == NULL ? TD_OPTIONS_RUN
			       : reject(&line, missing, 2, "is missing, see --help", "");
}

void td_options_fini(struct td_options *options)
{
	free(options->brokers);
	options->brokers = NULL;
}
