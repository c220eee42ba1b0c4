/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A recording of tests/transcripts, what a model said when it was played to it, and whether that is
 * the same, byte for byte but for cookies and what is behind a short message, and at the same time,
 * give or take TOLERANCE_US (a machine was slow when they were recorded, and seconds are counted from
 * the start of a process).
 */
#ifndef TD_TESTS_TRANSCRIPT_H
#define TD_TESTS_TRANSCRIPT_H

#include "old_client.h"

#define LINES        400
#define FLOWS        8
#define TOLERANCE_US INT64_C(1500000)

struct line {
	int64_t at_us;
	unsigned flow;
	bool to_broker;
	size_t size;
	uint8_t bytes[2048];
};

struct transcript {
	const char *name;
	const struct old_client_kind *client;
	uint16_t fixed_mtu;
	uint32_t max_tunnels;
	int64_t gap_us;
	/* read */
	struct line recorded[LINES], said[LINES];
	size_t recorded_count, said_count;
	int64_t now_us;
	unsigned flows[FLOWS]; /* of the client that is played, in the order of its attempts */
	unsigned flow_count, attempts;
	uint8_t cookies[FLOWS + 1][8]; /* as the broker's model gave them */
	int faults;
};

bool transcript_load(struct transcript *t, const char *directory);
/* A model says something, at t->now_us. */
void transcript_note(struct transcript *t, unsigned flow, bool to_broker, const uint8_t *bytes,
		     size_t size);
/* The first recorded one of that kind, or NULL. */
const struct line *transcript_first(const struct transcript *t, unsigned flow, uint8_t type,
				    bool to_broker);
/* Is the flow of the client that is played? */
bool transcript_is_mine(const struct transcript *t, unsigned flow);
/* Compares what was said in that direction, by that client, with the recording; counts faults. */
void transcript_compare(struct transcript *t, bool to_broker);

#endif
