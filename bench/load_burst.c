/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What it costs a broker's kernel to receive: data packets one after the other, by the clock. On a wire
 * that is not more than a function call (veth), send() returns when the packet has been received, so
 * the time of the sender is that of both ends. What is reported is the median of several slices, for the
 * machine does other things now and then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "sys/udp.h"

#define SLICES 20

static int compare(const void *a, const void *b)
{
	const double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double send_slice(struct load_client *c, uint32_t packets)
{
	const struct td_time begin = td_now();

	for (uint32_t i = 0; i < packets; i++)
		load_client_send_data(c);
	return (double)td_time_since(td_now(), begin) / packets;
}

static void send_burst(struct load_client *c, const char *whose)
{
	const uint32_t packets = (load.options.burst + SLICES - 1) / SLICES;
	double us[SLICES];

	for (unsigned i = 0; i < SLICES; i++)
		us[i] = send_slice(c, packets);
	qsort(us, SLICES, sizeof(us[0]), compare);
	printf("{\"phase\": \"burst\", \"peer\": \"%s\", \"packets\": %u, \"us_per_packet\": "
	       "%.3f}\n",
	       whose, packets * SLICES, us[SLICES / 2]);
	fflush(stdout);
}

void load_burst_known(void)
{
	if (load.clients[0].state == LOAD_UP)
		send_burst(&load.clients[0], "known");
	else
		fputs("td-load: the first client has no tunnel\n", stderr);
}

void load_burst_unknown(void)
{
	struct load_client stranger = { .session_id = load.clients[0].session_id };
	int err = td_udp_connect(&stranger.udp, &load.options.broker, NULL, NULL);

	if (err == 0)
		send_burst(&stranger, "unknown");
	else
		fprintf(stderr, "td-load: no socket: %s\n", strerror(-err));
	td_udp_close(&stranger.udp);
}
