/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "load.h"

void load_samples_add(struct load_samples *samples, int64_t us)
{
	if (samples->count < samples->capacity)
		samples->us[samples->count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The smallest sample that at least percent of them do not exceed. */
static double quantile_ms(const struct load_samples *samples, unsigned percent)
{
	const size_t rank = (samples->count * percent + 99) / 100;

	return rank == 0 ? 0 : samples->us[rank - 1] / 1e3;
}

static void print_samples(const char *name, struct load_samples *samples)
{
	qsort(samples->us, samples->count, sizeof(*samples->us), compare);
	printf(", \"%s_p50_ms\": %.3f, \"%s_p99_ms\": %.3f, \"%s_max_ms\": %.3f", name,
	       quantile_ms(samples, 50), name, quantile_ms(samples, 99), name,
	       quantile_ms(samples, 100));
}

static void print_count(const char *name, uint64_t value)
{
	printf(", \"%s\": %" PRIu64, name, value);
}

void load_report_setup(struct load_stats *stats, int64_t took_us)
{
	const struct load_counters *c = &stats->counters;
	const double seconds = (double)took_us / 1e6;

	printf("{\"phase\": \"setup\", \"seconds\": %.3f", seconds);
	printf(", \"per_second\": %.1f", seconds > 0 ? (double)c->established / seconds : 0);
	print_samples("reply", &stats->reply);
	print_samples("handshake", &stats->handshake);
	print_count("established", c->established);
	print_count("retries", c->retries);
	print_count("refused", c->refused);
	print_count("failed", c->failed);
	puts("}");
	fflush(stdout);
}

void load_report_end(const struct load_stats *stats, int64_t held_us, int64_t leaving_us)
{
	const struct load_counters *c = &stats->counters;

	printf("{\"phase\": \"end\", \"held_seconds\": %.3f, \"leaving_seconds\": %.3f",
	       (double)held_us / 1e6, (double)leaving_us / 1e6);
	printf(", \"keepalive_gap_max_ms\": %.1f", (double)c->gap_max_us / 1e3);
	print_count("lost", c->lost);
	print_count("left", c->left);
	print_count("unanswered", c->unanswered);
	print_count("keepalives_in", c->keepalives_in);
	print_count("keepalives_out", c->keepalives_out);
	print_count("probes_in", c->probes_in);
	print_count("data_in", c->data_in);
	print_count("data_out", c->data_out);
	print_count("send_errors", c->send_errors);
	puts("}");
	fflush(stdout);
}
