/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Path MTU search for the sending direction of a tunnel: docs/PROTOCOL.md section 4.
 *
 * A search runs in rounds. Each sends a fan of probes, the largest first, and ends a moment after
 * its first acknowledgement (what was larger had been sent before it), or when nothing of it can
 * come any more. The first fan holds the largest size and those of common links; every further one
 * spreads its sizes evenly over (low, high), the open interval between the largest size
 * acknowledged and the smallest one above it that seems too large. When it is empty, the size
 * above the result is verified by some repeats: a probe that the network lost must not pass for
 * one that was too large. Whatever then (or late, from an earlier fan) is acknowledged at or above
 * high lifts the bound again and the search goes on. A limit of rounds bounds it even against a
 * peer that acknowledges as it likes.
 *
 * The wait of a round follows the round-trip time, taken from the first transmission of a size, so
 * that it is never too small; that of the first fan, when the path may have changed, is generous
 * and doubles.
 */
#include "core/pmtu.h"

#include <string.h>

#include "base/assert.h"
#include "core/l2tp.h"

/* What a peer may say about itself: less leaves no path of the Internet (IP packets of 576 bytes),
 * more passes no switch. */
#define PEER_MTU_MIN (548 - TD_INNER_OVERHEAD - 8) /* with data cookies */
#define PEER_MTU_MAX 9216

#define FIRST_TRIES       3
#define FIRST_WAIT_US     TD_MS(500)
#define VERIFICATIONS     2
#define VERIFY_COUNT      4
#define ROUNDS_MAX        60
#define GRACE_MIN_MS      30
#define RTT_MAX_MS        2000
#define CONFIRM_US        TD_SECONDS(60)
#define CONFIRM_JITTER_US TD_SECONDS(3)
#define CONFIRM_WAIT_US   TD_SECONDS(1)
#define CONFIRM_TRIES     3
#define AGAIN_US          TD_SECONDS(600)
#define AGAIN_JITTER_US   TD_SECONDS(60)
#define GRID_US           TD_SECONDS(5) /* many tunnels confirm together, and then rest together */
#define RETRY_US          TD_SECONDS(30)
#define RETRY_MAX_US      TD_SECONDS(600)

/* UDP payloads of IP packets of 1500, 1492, 1450, 1400, 1334 and 576 bytes over IPv4, and of 1500
 * bytes over IPv6. The smallest is below the floor of the interface's MTU: a peer that acknowledges
 * only that one is told from a peer that acknowledges nothing. */
static const uint16_t common_sizes[TD_PMTU_FAN - 1] = { 1472, 1464, 1452, 1422, 1372, 1306, 548 };

void td_pmtu_init(struct td_pmtu *p, uint16_t max_mtu, struct td_rng *rng)
{
	td_assert(max_mtu >= TD_MTU_MIN && max_mtu <= TD_MTU_MAX);
	*p = (struct td_pmtu){
		.max_size = (uint16_t)(max_mtu + TD_INNER_OVERHEAD),
		.accepted_mtu = max_mtu,
		.overhead = TD_INNER_OVERHEAD,
		.deadline = TD_NEVER,
		.rng = rng,
	};
}

void td_pmtu_stop(struct td_pmtu *p)
{
	p->state = TD_PMTU_IDLE;
	p->deadline = TD_NEVER;
	p->fan_count = p->fan_sent = 0;
	p->notify = false;
}

struct td_time td_pmtu_deadline(const struct td_pmtu *p)
{
	return p->deadline;
}

static uint16_t clock_ms(struct td_time now)
{
	return (uint16_t)(now.us / 1000);
}

static struct td_pmtu_probe *find_outstanding(struct td_pmtu *p, uint16_t size)
{
	for (unsigned int i = 0; size != 0 && i < TD_PMTU_FAN * 3; i++)
		if (p->outstanding[i].size == size)
			return &p->outstanding[i];
	return NULL;
}

/* A size that is outstanding already keeps its time: an acknowledgement may be for that. */
static void add_outstanding(struct td_pmtu *p, uint16_t size, struct td_time now)
{
	if (find_outstanding(p, size) != NULL)
		return;
	p->newest = (uint8_t)((p->newest + 1) % (TD_PMTU_FAN * 3));
	p->outstanding[p->newest] = (struct td_pmtu_probe){ size, clock_ms(now) };
}

static void begin_fan(struct td_pmtu *p)
{
	p->fan_count = 0;
	p->fan_sent = 0;
}

static void add_to_fan(struct td_pmtu *p, uint16_t size)
{
	p->fan[p->fan_count++] = size;
}

static void fill_first_fan(struct td_pmtu *p)
{
	add_to_fan(p, p->max_size);
	for (unsigned int i = 0; i < TD_PMTU_FAN - 1; i++)
		if (common_sizes[i] < p->max_size)
			add_to_fan(p, common_sizes[i]);
}

static void fill_spread_fan(struct td_pmtu *p)
{
	const unsigned int parts = (unsigned int)(p->high - p->low);
	const unsigned int count = parts - 1 < TD_PMTU_FAN ? parts - 1 : TD_PMTU_FAN;

	for (unsigned int i = count; i > 0; i--)
		add_to_fan(p, (uint16_t)(p->low + i * parts / (count + 1)));
}

static void fill_verifying_fan(struct td_pmtu *p)
{
	for (unsigned int i = 0; i < VERIFY_COUNT; i++)
		add_to_fan(p, p->high);
	p->verifications++;
}

static int64_t grace_us(const struct td_pmtu *p)
{
	return TD_MS(p->rtt_ms / 8 > GRACE_MIN_MS ? p->rtt_ms / 8 : GRACE_MIN_MS);
}

static void await_confirmation(struct td_pmtu *p, struct td_time now)
{
	const int64_t delay_us = td_rng_between(p->rng, CONFIRM_US - CONFIRM_JITTER_US,
						CONFIRM_US + CONFIRM_JITTER_US);

	p->state = TD_PMTU_SETTLED;
	p->deadline =
		td_time_min(p->search_at, td_time_round_up(td_time_add(now, delay_us), GRID_US));
}

static void settle(struct td_pmtu *p, struct td_time now)
{
	p->state = TD_PMTU_SETTLED;
	p->measured_size = p->low;
	p->misses = 0;
	p->failures = 0;
	p->notify = true;
	p->search_at =
		td_time_round_up(td_time_add(now, td_rng_between(p->rng, AGAIN_US - AGAIN_JITTER_US,
								 AGAIN_US + AGAIN_JITTER_US)),
				 GRID_US);
	await_confirmation(p, now);
}

/* Nothing was acknowledged: less often from one search to the next. */
static void give_up(struct td_pmtu *p, struct td_time now)
{
	int64_t delay_us = RETRY_US << p->failures;

	if (delay_us < RETRY_MAX_US)
		p->failures++;
	else
		delay_us = RETRY_MAX_US;
	p->state = TD_PMTU_UNKNOWN;
	p->deadline = td_time_add(now, td_rng_between(p->rng, delay_us, delay_us + delay_us / 10));
}

static bool search_done(const struct td_pmtu *p)
{
	return p->low == p->max_size || p->rounds == ROUNDS_MAX ||
	       (p->high == p->low + 1 && p->verifications == VERIFICATIONS);
}

/* Sends the next fan, or ends the search. */
static void next_round(struct td_pmtu *p, struct td_time now)
{
	int64_t wait_us = TD_MS(p->rtt_ms) + grace_us(p);

	begin_fan(p);
	if (p->low == 0 && p->rounds == FIRST_TRIES) {
		give_up(p, now);
	} else if (search_done(p)) {
		settle(p, now);
	} else {
		if (p->low == 0) {
			fill_first_fan(p);
			wait_us = FIRST_WAIT_US << p->rounds;
		} else if (p->high > p->low + 1) {
			fill_spread_fan(p);
		} else {
			fill_verifying_fan(p);
		}
		p->rounds++;
		p->deadline = td_time_add(now, wait_us);
	}
}

void td_pmtu_start(struct td_pmtu *p, struct td_time now)
{
	memset(p->outstanding, 0, sizeof(p->outstanding));
	p->state = TD_PMTU_SEARCHING;
	p->low = 0;
	p->high = (uint16_t)(p->max_size + 1);
	p->rtt_ms = 0;
	p->rounds = 0;
	p->verifications = 0;
	p->misses = 0;
	next_round(p, now);
}

/* What of the fan was not acknowledged seems too large, the smallest of it is the new bound. */
static void end_round(struct td_pmtu *p, struct td_time now)
{
	for (unsigned int i = 0; p->low != 0 && i < p->fan_sent; i++)
		if (p->fan[i] > p->low && p->fan[i] < p->high)
			p->high = p->fan[i];
	next_round(p, now);
}

static void confirm(struct td_pmtu *p, struct td_time now)
{
	if (p->misses == CONFIRM_TRIES) {
		td_pmtu_start(p, now);
		return;
	}
	p->state = TD_PMTU_CONFIRMING;
	p->misses++;
	begin_fan(p);
	add_to_fan(p, p->measured_size);
	p->deadline = td_time_add(now, CONFIRM_WAIT_US);
}

void td_pmtu_tick(struct td_pmtu *p, struct td_time now)
{
	if (!td_time_reached(p->deadline, now))
		return;
	switch (p->state) {
	case TD_PMTU_IDLE:
		break;
	case TD_PMTU_SEARCHING:
		end_round(p, now);
		break;
	case TD_PMTU_SETTLED:
		if (td_time_reached(p->search_at, now))
			td_pmtu_start(p, now);
		else
			confirm(p, now);
		break;
	case TD_PMTU_CONFIRMING:
		confirm(p, now);
		break;
	case TD_PMTU_UNKNOWN:
		td_pmtu_start(p, now);
		break;
	}
}

uint16_t td_pmtu_next_probe(struct td_pmtu *p, struct td_time now)
{
	if (p->fan_sent == p->fan_count)
		return 0;
	add_outstanding(p, p->fan[p->fan_sent], now);
	return p->fan[p->fan_sent++];
}

bool td_pmtu_next_notify(struct td_pmtu *p, uint16_t *mtu)
{
	if (!p->notify)
		return false;
	p->notify = false;
	*mtu = (uint16_t)(p->measured_size - p->overhead);
	return true;
}

/* Up at once, down by halves. */
static void measure_rtt(struct td_pmtu *p, uint16_t sent_ms, struct td_time now)
{
	uint16_t sample = (uint16_t)(clock_ms(now) - sent_ms + 1);

	if (sample > RTT_MAX_MS)
		sample = RTT_MAX_MS;
	p->rtt_ms = (uint16_t)(sample > p->rtt_ms ? sample : (p->rtt_ms + sample) / 2);
}

/* Can an acknowledgement still come that the round is waiting for? */
static bool fan_open(const struct td_pmtu *p)
{
	return p->fan_count > 0 && p->fan[0] > p->low;
}

/* A size above everything that was acknowledged before: also after its round, and after the search
 * that asked for it had settled too low. */
static void raise_low(struct td_pmtu *p, uint16_t size, struct td_time now)
{
	p->state = TD_PMTU_SEARCHING;
	p->low = size;
	if (size >= p->high) {
		p->high = (uint16_t)(p->max_size + 1);
		p->verifications = 0;
	}
	if (fan_open(p))
		p->deadline = td_time_min(p->deadline, td_time_add(now, grace_us(p)));
	else
		next_round(p, now);
}

void td_pmtu_ack(struct td_pmtu *p, uint16_t size, struct td_time now)
{
	struct td_pmtu_probe *probe = find_outstanding(p, size);

	if (p->state == TD_PMTU_IDLE || probe == NULL)
		return;
	probe->size = 0;
	measure_rtt(p, probe->sent_ms, now);
	if (size > p->low) {
		raise_low(p, size, now);
	} else if (p->state == TD_PMTU_CONFIRMING && size == p->measured_size) {
		p->misses = 0;
		p->notify = true;
		await_confirmation(p, now);
	}
}

void td_pmtu_notified(struct td_pmtu *p, uint16_t mtu)
{
	if (mtu >= PEER_MTU_MIN && mtu <= PEER_MTU_MAX)
		p->peer_mtu = mtu;
}

uint16_t td_pmtu_inner_mtu(const struct td_pmtu *p)
{
	const uint16_t usual_size = TD_MTU_DEFAULT + TD_INNER_OVERHEAD;
	uint16_t mtu = p->peer_mtu, size = p->measured_size;

	if (size == 0 && mtu == 0)
		size = p->max_size < usual_size ? p->max_size : usual_size;
	if (size != 0 && (mtu == 0 || size - p->overhead < mtu))
		mtu = (uint16_t)(size - p->overhead);
	if (mtu > p->accepted_mtu)
		mtu = p->accepted_mtu;
	return mtu > TD_MTU_MIN ? mtu : TD_MTU_MIN;
}
