/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "transcript.h"

#include <stdio.h>
#include <stdlib.h>

#include "old_wire.h"

#define SECOND_US INT64_C(1000000)

/* --- reading --- */

static size_t read_bytes(uint8_t *to, const char *hex)
{
	size_t size = 0;
	unsigned value, zeros = 0;

	for (; sscanf(hex, "%2x", &value) == 1 && hex[0] != ' ' && size < 1000; hex += 2)
		to[size++] = (uint8_t)value;
	if (sscanf(hex, " 00*%u", &zeros) != 1 || zeros > 1500)
		zeros = 0;
	memset(to + size, 0, zeros);
	return size + zeros;
}

bool transcript_load(struct transcript *t, const char *directory)
{
	char path[512], text[4096], *hex;
	double at;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.txt", directory, t->name);
	file = fopen(path, "r");
	while (file && fgets(text, sizeof(text), file) && t->recorded_count < LINES) {
		struct line *l = &t->recorded[t->recorded_count];

		if (sscanf(text, " %lf flow%u", &at, &l->flow) != 2 || l->flow > FLOWS)
			continue;
		hex = strstr(text, "8073a7");
		l->to_broker = strstr(text, "c>b") != NULL;
		l->at_us = (int64_t)(at * 1e6);
		l->size = hex ? read_bytes(l->bytes, hex) : 0;
		t->recorded_count += l->size >= 12;
	}
	if (file)
		fclose(file);
	return t->recorded_count > 0;
}

void transcript_note(struct transcript *t, unsigned flow, bool to_broker, const uint8_t *bytes,
		     size_t size)
{
	struct line *l = &t->said[t->said_count];

	if (t->said_count == LINES)
		return;
	t->said_count++;
	*l = (struct line){
		.at_us = t->now_us, .flow = flow, .to_broker = to_broker, .size = size
	};
	memcpy(l->bytes, bytes, size);
}

/* --- comparing --- */

static bool same(const struct line *a, const struct line *b)
{
	const size_t length = (size_t)a->bytes[5] + 6;

	if (a->size != b->size)
		return false;
	if (a->bytes[4] == OLD_MSG_COOKIE && !a->to_broker) /* the cookie itself is chance */
		return memcmp(a->bytes, b->bytes, 6) == 0;
	/* Behind a short message there is what was in memory; a probe is what it says. */
	return memcmp(a->bytes, b->bytes, a->bytes[4] == OLD_MSG_PMTUD ? a->size : length) == 0;
}

static const struct line *nth(const struct line *lines, size_t count, const struct line *like,
			      unsigned n)
{
	for (size_t i = 0; i < count; i++)
		if (lines[i].flow == like->flow && lines[i].to_broker == like->to_broker &&
		    lines[i].bytes[4] == like->bytes[4] && n-- == 0)
			return &lines[i];
	return NULL;
}

static unsigned rank(const struct line *lines, const struct line *line)
{
	unsigned n = 0;

	for (; lines < line; lines++)
		n += lines->flow == line->flow && lines->to_broker == line->to_broker &&
		     lines->bytes[4] == line->bytes[4];
	return n;
}

static void complain(struct transcript *t, const char *what, const struct line *l)
{
	t->faults++;
	printf("%s: %s: %.3f flow%u %s type %02x, %zu bytes\n", t->name, what,
	       (double)l->at_us / 1e6, l->flow, l->to_broker ? "c>b" : "b>c", l->bytes[4], l->size);
}

/* Everything recorded was said, and nothing else before the recording ended. */
static void compare(struct transcript *t, const struct line *recorded)
{
	const unsigned n = rank(t->recorded, recorded);
	const struct line *said = nth(t->said, t->said_count, recorded, n);

	if (!said)
		complain(t, "not said", recorded);
	else if (!same(recorded, said))
		complain(t, "said differently", recorded);
	else if (llabs(said->at_us - recorded->at_us) > TOLERANCE_US)
		complain(t, "said at another time", said);
}

/* What is of one flow and direction was said in the recorded order, but for what a different fraction
 * of a second makes of it. */
static void compare_order(struct transcript *t, bool to_broker)
{
	for (unsigned flow = 0; flow <= FLOWS; flow++) {
		const struct line *before = NULL;

		for (size_t i = 0; i < t->recorded_count; i++) {
			const struct line *l = &t->recorded[i], *said;

			if (l->flow != flow || l->to_broker != to_broker)
				continue;
			said = nth(t->said, t->said_count, l, rank(t->recorded, l));
			if (said && before && said < before &&
			    before->at_us - said->at_us > SECOND_US)
				complain(t, "said in another order", said);
			before = said ? said : before;
		}
	}
}

static void compare_extra(struct transcript *t, const struct line *said)
{
	const int64_t end_us = t->recorded[t->recorded_count - 1].at_us;

	if (said->at_us < end_us - TOLERANCE_US &&
	    !nth(t->recorded, t->recorded_count, said, rank(t->said, said)))
		complain(t, "not recorded", said);
}

const struct line *transcript_first(const struct transcript *t, unsigned flow, uint8_t type,
				    bool to_broker)
{
	for (size_t i = 0; i < t->recorded_count; i++)
		if (t->recorded[i].flow == flow && t->recorded[i].bytes[4] == type &&
		    t->recorded[i].to_broker == to_broker)
			return &t->recorded[i];
	return NULL;
}

bool transcript_is_mine(const struct transcript *t, unsigned flow)
{
	for (unsigned i = 0; i < t->flow_count; i++)
		if (t->flows[i] == flow)
			return true;
	return false;
}

void transcript_compare(struct transcript *t, bool to_broker)
{
	for (size_t i = 0; i < t->recorded_count; i++) {
		const struct line *l = &t->recorded[i];

		if (l->to_broker == to_broker && (!to_broker || transcript_is_mine(t, l->flow)))
			compare(t, l);
	}
	for (size_t i = 0; i < t->said_count; i++)
		compare_extra(t, &t->said[i]);
	compare_order(t, to_broker);
}
