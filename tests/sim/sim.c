/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The world: its clock, its queue of events (a binary heap), its log. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_PRIME UINT64_C(0x9e3779b97f4a7c15)

void sim_failed(const struct sim *s, const char *file, int line, const char *what)
{
	fprintf(stderr, "seed %" PRIu64 ": %s:%d at %.6f s: %s\n", s->seed, file, line,
		(double)s->now.us / 1e6, what);
	abort();
}

/* --- cmocka's assertions, for a program that is none of its tests --- */

static const struct sim *running;

static void refuse(const char *file, int line, const char *what)
{
	const char *name = strrchr(file, '/');

	sim_failed(running, name ? name + 1 : file, line, what);
}

void _assert_true(const LargestIntegralType result, const char *const expression,
		  const char *const file, const int line)
{
	if (!result)
		refuse(file, line, expression);
}

void _assert_int_equal(const LargestIntegralType a, const LargestIntegralType b,
		       const char *const file, const int line)
{
	char text[64];

	if (a == b)
		return;
	snprintf(text, sizeof(text), "%#jx is not %#jx", a, b);
	refuse(file, line, text);
}

void _assert_int_not_equal(const LargestIntegralType a, const LargestIntegralType b,
			   const char *const file, const int line)
{
	char text[64];

	if (a != b)
		return;
	snprintf(text, sizeof(text), "it is %#jx", b);
	refuse(file, line, text);
}

void _assert_in_range(const LargestIntegralType value, const LargestIntegralType minimum,
		      const LargestIntegralType maximum, const char *const file, const int line)
{
	_assert_true(value >= minimum && value <= maximum, "out of range", file, line);
}

void _fail(const char *const file, const int line)
{
	refuse(file, line, "what must not happen");
}

void print_error(const char *const format, ...)
{
	(void)format; /* _fail() follows */
}

/* --- log --- */

void sim_log(const struct sim *s, const char *format, ...)
{
	va_list args;

	if (!s->verbose)
		return;
	printf("%11.6f ", (double)s->now.us / 1e6);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* Eight bytes at a time; with the time, so that a run that is late is another one. */
void sim_digest(struct sim *s, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	uint64_t digest = (s->digest ^ (uint64_t)s->now.us) * DIGEST_PRIME;

	for (; size > 0; from += 8) {
		const size_t part = size < 8 ? size : 8;
		uint64_t word = 0;

		memcpy(&word, from, part);
		digest = (digest ^ word ^ digest >> 29) * DIGEST_PRIME;
		size -= part;
	}
	s->digest = digest;
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->at.us != b->at.us ? a->at.us < b->at.us : a->order < b->order;
}

static void push(struct sim *s, struct sim_event *e)
{
	size_t i = s->count++;

	if (s->count > s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->queue = realloc(s->queue, s->room * sizeof(*s->queue));
	}
	for (; i > 0 && earlier(e, s->queue[(i - 1) / 2]); i = (i - 1) / 2)
		s->queue[i] = s->queue[(i - 1) / 2];
	s->queue[i] = e;
}

static struct sim_event *pop(struct sim *s)
{
	struct sim_event *first = s->queue[0], *last = s->queue[--s->count];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < s->count && earlier(s->queue[child + 1], s->queue[child]))
			child++;
		if (child >= s->count || !earlier(s->queue[child], last))
			break;
		s->queue[i] = s->queue[child];
		i = child;
	}
	s->queue[i] = last;
	return first;
}

struct sim_event *sim_at(struct sim *s, int64_t delay_us,
			 void (*run)(struct sim *, const struct sim_event *), size_t size)
{
	struct sim_event *e = malloc(sizeof(*e) + size);

	memset(e, 0, sizeof(*e));
	e->at = td_time_add(s->now, delay_us);
	e->order = s->order++;
	e->run = run;
	e->size = size;
	push(s, e);
	return e;
}

bool sim_defer(struct sim *s, const struct sim_event *e, struct td_time until)
{
	struct sim_event *later, stamp;

	if (until.us <= s->now.us)
		return false;
	later = sim_at(s, until.us - s->now.us, e->run, e->size);
	stamp = *later;
	memcpy(later, e, sizeof(*e) + e->size);
	later->at = stamp.at;
	later->order = stamp.order;
	return true;
}

void sim_run_until(struct sim *s, struct td_time end)
{
	running = s;
	while (s->count > 0 && s->queue[0]->at.us <= end.us) {
		struct sim_event *e = pop(s);

		s->now = e->at;
		s->events++;
		e->run(s, e);
		free(e);
	}
	s->now = end;
}

void sim_free(struct sim *s)
{
	for (uint32_t i = 0; i < s->client_count; i++)
		if (s->clients[i].running)
			sim_client_crash(&s->clients[i]);
	for (uint32_t i = 0; i < s->broker_count; i++) {
		if (s->brokers[i].running)
			sim_broker_crash(&s->brokers[i]);
		free(s->brokers[i].ifaces);
		free(s->brokers[i].records);
		free(s->brokers[i].record_sizes);
		free(s->brokers[i].oracle.watches);
		td_hook_runs_fini(&s->brokers[i].runs);
		free(s->brokers[i].parts.parts);
		free(s->brokers[i].touched);
		free(s->brokers[i].is_touched);
	}
	for (uint32_t i = 0; i < s->client_count; i++)
		free(s->clients[i].sockets);
	while (s->count > 0)
		free(s->queue[--s->count]);
	free(s->queue);
	free(s->clients);
	free(s->brokers);
	free(s->names);
	free(s->links);
}

uint32_t sim_below(struct sim *s, uint32_t bound)
{
	return td_rng_below(&s->rng, bound);
}

bool sim_chance(struct sim *s, uint32_t permille)
{
	return permille > 0 && td_rng_below(&s->rng, 1000) < permille;
}

int64_t sim_between(struct sim *s, int64_t low_us, int64_t high_us)
{
	return td_rng_between(&s->rng, low_us, high_us);
}
