/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The command line, as deployed clients have it, with --help, --version, --datapath and --mtu-max
 * added. -b repeats without limit: the build option MAX_BROKERS of older clients means nothing.
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

/* Options that have only a name, by their place in names. */
enum { OPTION_DATAPATH = 128, OPTION_MTU_MAX, OPTION_HELP, OPTION_VERSION };

static const struct option names[] = {
	{ "datapath", required_argument, NULL, OPTION_DATAPATH },
	{ "mtu-max", required_argument, NULL, OPTION_MTU_MAX },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ 0 },
};

/* The letters for getopt_long(), from the lines "  -u UUID\t" and "  -f\t". */
static void read_letters(char *letters)
{
	*letters++ = ':'; /* tells a missing argument from an unknown option */
	for (const char *c = td_options_help; *c != 0; c++) {
		if (c[0] != '\n' || c[1] != ' ' || c[4] == '-')
			continue;
		*letters++ = c[4];
		if (c[5] == ' ')
			*letters++ = ':';
	}
	*letters = 0;
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
	unsigned i = 0;

	while (i < 3 && strcmp(text, choices[i]) != 0)
		i++;
	options->datapath = (enum td_datapath_choice)i;
	return i < 3;
}

/* Takes an option; NULL, or what its argument may be. */
static const char *take(struct td_options *options, int code, char *text)
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

struct complaint {
	char *text;
	size_t size;
};

/* About the option code, or (0) about a word that is none. */
static enum td_options_verdict reject(const struct complaint *why, int code, const char *word,
				      const char *what, const char *allowed)
{
	const char letter[] = { (char)code, 0 };

	if (code >= OPTION_DATAPATH)
		word = names[code - OPTION_DATAPATH].name;
	else if (code > 0)
		word = letter;
	snprintf(why->text, why->size, "%s%s %s%s",
		 code >= OPTION_DATAPATH ? "--"
		 : code > 0              ? "-"
					 : "",
		 word, what, allowed);
	return TD_OPTIONS_WRONG;
}

static enum td_options_verdict take_all(struct td_options *options, int argc, char **argv,
					const struct complaint *why)
{
	static const char unknown[] = "is not an option, see --help";
	char letters[64];
	int code;

	read_letters(letters);
	optind = 0; /* from the beginning */
	while ((code = getopt_long(argc, argv, letters, names, NULL)) != -1) {
		if (code == 'h' || code == OPTION_HELP)
			return TD_OPTIONS_HELP;
		if (code == OPTION_VERSION)
			return TD_OPTIONS_VERSION;
		if (code == ':')
			return reject(why, optopt, NULL, "wants an argument, see --help", "");
		if (code == '?' && optopt == 'p')
			return reject(why, 'p', NULL, "is gone: the port follows the broker, ",
				      "-b HOST:PORT");
		if (code == '?')
			return reject(why, optopt, argv[optind - 1],
				      optopt < OPTION_DATAPATH ? unknown : "takes no argument", "");
		const char *allowed = take(options, code, optarg);
		if (allowed != NULL)
			return reject(why, code, NULL, "wants ", allowed);
	}
	return optind == argc ? TD_OPTIONS_RUN : reject(why, 0, argv[optind], unknown, "");
}

enum td_options_verdict td_options_parse(struct td_options *options, int argc, char **argv,
					 char *text, size_t size)
{
	const struct complaint why = { text, size };

	*options = (struct td_options){ .tunnel_id = 1, .max_mtu = TD_MTU_DEFAULT };
	options->brokers = calloc((size_t)argc, sizeof(options->brokers[0]));
	if (options->brokers == NULL)
		return reject(&why, 0, "memory", "is short", "");
	enum td_options_verdict verdict = take_all(options, argc, argv, &why);
	if (verdict != TD_OPTIONS_RUN)
		return verdict;
	int missing = options->uuid == NULL        ? 'u'
		      : options->ifname == NULL    ? 'i'
		      : options->broker_count == 0 ? 'b'
						   : 0;
	return missing == 0 ? TD_OPTIONS_RUN
			    : reject(&why, missing, NULL, "is missing, see --help", "");
}

void td_options_fini(struct td_options *options)
{
	free(options->brokers);
	options->brokers = NULL;
}
