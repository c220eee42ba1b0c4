/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "sys/udp.h"

#define EXIT_USAGE 2

static void usage(FILE *to)
{
	fputs("Usage: td-load [OPTION...] ADDRESS PORT\n"
	      "Open and hold many tunnels' control sessions at the broker of ADDRESS and PORT.\n"
	      "\n"
	      "  -n CLIENTS    1 to 60000 (default 1000)\n"
	      "  -p PARALLEL   handshakes at a time (default 64)\n"
	      "  -r RATE       begin so many handshakes a second at most (default: no limit)\n"
	      "  -t SECONDS    hold the tunnels for so long, or churn (default 0)\n"
	      "  -k SECONDS    between keepalives; 0: none (default 5; after -N, 10)\n"
	      "  -R SECONDS    repeat a request that is not answered (default 2)\n"
	      "  -g SECONDS    give up a handshake (default 15)\n"
	      "  -s ADDRESS    first local address (default: the route's)\n"
	      "  -S COUNT      so many consecutive local addresses, in turn (default 1)\n"
	      "  -d RATE       data packets a second while holding, over all tunnels (default 0)\n"
	      "  -b COUNT      while holding, on SIGUSR1: send so many data packets on the first "
	      "tunnel,\n"
	      "                on SIGUSR2: as somebody who has none, and print what one took\n"
	      "  -u PREFIX     of the UUIDs; a number follows (default load-)\n"
	      "  -o            as old clients do it: no tunnel id, no features\n"
	      "  -N            as ours do it: keepalives every 10 s, with counts of data; a look "
	      "at the\n"
	      "                MTU each minute (default: as deployed ones of 2017 and later)\n"
	      "  -c            churn: leave when established, and come back at once\n"
	      "  -q            quiet: read established tunnels a few times a second only, so that "
	      "the\n"
	      "                broker's CPU is not used for waking this program\n"
	      "  -v            vanish in the end, instead of sending ERROR on all tunnels\n"
	      "  -h            print this and exit\n"
	      "\n"
	      "Prints a line of JSON when all tunnels are established or refused, and one in the "
	      "end. SIGTERM ends the holding.\n",
	      to);
}

static _Noreturn void fail(const char *what, const char *text)
{
	fprintf(stderr, "td-load: %s: %s\n", what, text);
	exit(EXIT_USAGE);
}

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max)
		fail("not a number, or out of range", text);
	return (uint32_t)value;
}

static struct td_addr address(const char *host, uint16_t port)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM };
	struct addrinfo *info;
	struct td_addr addr;

	if (getaddrinfo(host, NULL, &hints, &info) != 0)
		fail("not an IPv4 or IPv6 address", host);
	td_addr_from_sockaddr(&addr, info->ai_addr);
	freeaddrinfo(info);
	addr.port = port;
	return addr;
}

static void take(struct load_options *o, int option, const char *value)
{
	switch (option) {
	case 'n':
		o->clients = number(value, 1, 60000);
		break;
	case 'p':
		o->parallel = number(value, 1, 60000);
		break;
	case 'r':
		o->rate = number(value, 0, 1000000);
		break;
	case 't':
		o->hold_us = TD_SECONDS(number(value, 0, 3600));
		break;
	case 'k':
		o->keepalive_us = TD_SECONDS(number(value, 0, 60));
		break;
	case 'R':
		o->retry_us = TD_SECONDS(number(value, 1, 300));
		break;
	case 'g':
		o->give_up_us = TD_SECONDS(number(value, 1, 300));
		break;
	case 's':
		o->source = address(value, 0);
		break;
	case 'S':
		o->sources = number(value, 1, 60000);
		break;
	case 'd':
		o->data = number(value, 0, 1000000);
		break;
	case 'b':
		o->burst = number(value, 1, 10000000);
		break;
	case 'u':
		if (strlen(value) > 32)
			fail("longer than 32 characters", value);
		o->uuid_prefix = value;
		break;
	case 'N':
		o->features |= TD_FEATURE_DATA_COUNTS | TD_FEATURE_SPARSE_KEEPALIVES;
		o->keepalive_us = TD_SECONDS(10);
		break;
	case 'o':
		o->old_style = true;
		break;
	case 'c':
		o->churn = true;
		break;
	case 'q':
		o->quiet = true;
		break;
	case 'v':
		o->vanish = true;
		break;
	case 'h':
		usage(stdout);
		exit(EXIT_SUCCESS);
	default:
		usage(stderr);
		exit(EXIT_USAGE);
	}
}

void load_options_parse(struct load_options *options, int argc, char **argv)
{
	int option;

	*options = (struct load_options){
		.uuid_prefix = "load-",
		.sources = 1,
		.clients = 1000,
		.parallel = 64,
		.features = TD_FEATURE_UNIQUE_SESSION_ID,
		.keepalive_us = TD_SECONDS(5),
		.retry_us = TD_SECONDS(2),
		.give_up_us = TD_SECONDS(15),
	};
	while ((option = getopt(argc, argv, "n:p:r:t:k:R:g:s:S:d:b:u:oNcqvh")) != -1)
		take(options, option, optarg);
	if (optind + 2 != argc) {
		usage(stderr);
		exit(EXIT_USAGE);
	}
	options->broker = address(argv[optind], (uint16_t)number(argv[optind + 1], 1, UINT16_MAX));
	if (options->sources > 1 && options->source.family == TD_FAMILY_NONE)
		fail("needs the first address (-s)", "-S");
}
