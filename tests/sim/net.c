/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Addresses, NAT and links.
 *
 * Client n has the address 10.G.n over IPv4 (the first of those who share a NAT gives its number)
 * and 2001:db8::G:n over IPv6; G changes when the network gives it another address. The NAT keeps
 * ports, plus a shift that changes when it forgets.
 */
#include <string.h>

#include "old_wire.h"
#include "sim.h"

#define IPV4_UDP_HEADERS 28
#define IPV6_UDP_HEADERS 48
#define DIGESTED         64 /* bytes of a datagram; behind them there are zeros of a probe */

struct sim_link *sim_link(const struct sim *s, uint32_t client, uint32_t broker)
{
	return &s->links[(size_t)client * s->broker_count + broker];
}

static uint32_t nat_of(const struct sim_client *c)
{
	return c->number - c->number % c->sim->nat_share;
}

/* How the network sees the socket. */
static struct td_addr outside(const struct sim_client *c, const struct sim_socket *socket)
{
	struct td_addr addr = { .family = socket->remote.family };
	const uint32_t nat = addr.family == TD_FAMILY_IPV4 ? nat_of(c) : c->number;
	uint8_t *tail = addr.family == TD_FAMILY_IPV4 ? &addr.ip[1] : &addr.ip[13];

	if (addr.family == TD_FAMILY_IPV6)
		memcpy(addr.ip,
		       (const uint8_t[]){ 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, (uint8_t)c->number }, 8);
	else
		addr.ip[0] = 10;
	tail[0] = (uint8_t)c->address;
	tail[1] = (uint8_t)(nat >> 8);
	tail[2] = (uint8_t)nat;
	addr.port = socket->port;
	if (addr.family == TD_FAMILY_IPV4)
		addr.port = (uint16_t)(1024 + (socket->port + c->shift) % 64000);
	return addr;
}

uint32_t sim_broker_at(const struct sim *s, const struct td_addr *addr)
{
	for (uint32_t b = 0; b < s->broker_count; b++)
		if (td_addr_equal(addr, &s->brokers[b].addr[0]) ||
		    td_addr_equal(addr, &s->brokers[b].addr[1]))
			return b;
	return UINT32_MAX;
}

/* Who may be behind that address: the first of them. */
static uint32_t nat_at(const struct td_addr *addr)
{
	const uint8_t *tail = addr->family == TD_FAMILY_IPV4 ? &addr->ip[1] : &addr->ip[13];

	return (uint32_t)tail[1] << 8 | tail[2];
}

uint32_t sim_client_at(const struct sim *s, const struct td_addr *addr, uint32_t *slot)
{
	const uint32_t first = nat_at(addr);

	for (uint32_t n = first; n < first + s->nat_share && n < s->client_count; n++) {
		const struct sim_client *c = &s->clients[n];

		for (*slot = 0; *slot < sim_slots(s); ++*slot)
			if (c->sockets[*slot].open &&
			    c->sockets[*slot].outside.port == addr->port &&
			    td_addr_equal(&c->sockets[*slot].outside, addr))
				return n;
	}
	return UINT32_MAX;
}

/* A NAT gives no port twice. */
static void place(struct sim_client *c, struct sim_socket *socket)
{
	uint32_t slot;

	socket->open = false;
	socket->outside = outside(c, socket);
	while (sim_client_at(c->sim, &socket->outside, &slot) != UINT32_MAX) {
		c->shift++;
		socket->outside = outside(c, socket);
	}
	socket->open = true;
}

void sim_open_socket(struct sim_client *c, uint32_t slot, const struct td_addr *remote)
{
	struct sim_socket *socket = &c->sockets[slot];

	sim_check(c->sim, slot < sim_slots(c->sim) && !socket->open);
	socket->remote = *remote;
	socket->port = ++c->port;
	place(c, socket);
}

void sim_close_socket(struct sim_client *c, uint32_t slot)
{
	sim_check(c->sim, slot < sim_slots(c->sim) && c->sockets[slot].open);
	c->sockets[slot].open = false;
}

static void place_again(struct sim_client *c)
{
	for (uint32_t slot = 0; slot < sim_slots(c->sim); slot++)
		if (c->sockets[slot].open)
			place(c, &c->sockets[slot]);
}

void sim_rebind(struct sim_client *c, bool address)
{
	struct sim *s = c->sim;
	const uint32_t first = nat_of(c);

	if (sim_client_view(c).up)
		sim_saw(s, address ? SAW_NAT_ADDRESS : SAW_NAT_PORT);
	c->shift = (uint16_t)(c->shift + 1 + sim_below(s, 1000));
	s->next_address += address;
	for (uint32_t n = first; address && n < first + s->nat_share && n < s->client_count; n++) {
		s->clients[n].address = s->next_address;
		place_again(&s->clients[n]);
	}
	place_again(c);
}

/* --- datagrams --- */

static void arrive_up(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];
	const struct td_flow flow = { .local = e->to, .peer = e->from };

	if (sim_defer(s, e, b->busy_until))
		return;
	if (b->running)
		sim_broker_rx(b, &flow, e->bytes, e->size);
}

static void arrive_down(struct sim *s, const struct sim_event *e)
{
	uint32_t slot, n = sim_client_at(s, &e->to, &slot);
	struct sim_client *c = n == UINT32_MAX ? NULL : &s->clients[n];

	if (c && sim_defer(s, e, c->busy_until))
		return;
	if (c && c->running && td_addr_equal(&c->sockets[slot].remote, &e->from))
		sim_client_rx(c, slot, e->bytes, e->size);
}

/* A deployed broker answers a PREPARE that the network repeated without features. When its first
 * answer is lost, nobody can know that there were any: this is not simulated. */
static uint32_t duplicates(const struct sim *s, const struct sim_way *way,
			   const struct sim_event *like, uint8_t type)
{
	const bool up = like->run == arrive_up;

	return up && type == OLD_MSG_PREPARE && s->brokers[like->node].old_model ? 0
										 : way->duplicate;
}

/* Whether it never leaves the way. */
static bool swallowed(struct sim *s, const struct sim_way *way, size_t size)
{
	if (way->cut)
		return true;
	if (size > way->mtu) {
		sim_saw(s, SAW_TOO_LARGE);
		return true;
	}
	if (!sim_chance(s, way->loss))
		return false;
	sim_saw(s, SAW_LOST);
	if (way->loss == SIM_LOSS_MAX)
		sim_saw(s, SAW_LOST_MOST);
	return true;
}

/* How long one copy is under way; <0: for ever. */
static int64_t draw_delay(struct sim *s, const struct sim_way *way, bool damaged)
{
	int64_t us = way->delay_us + sim_between(s, 0, way->jitter_us);

	if (damaged && !way->lies) {
		sim_saw(s, SAW_CORRUPT);
		return -1;
	}
	if (sim_chance(s, way->reorder)) {
		sim_saw(s, SAW_REORDERED);
		us += sim_between(s, 0, TD_SECONDS(sim_chance(s, 20) ? 20 : 2));
	}
	return us;
}

static void corrupt(struct sim *s, uint8_t *bytes, size_t size)
{
	for (uint32_t n = 1 + sim_below(s, 3); n > 0; n--)
		bytes[sim_below(s, size < 40 ? (uint32_t)size : 40)] ^=
			(uint8_t)(1u << sim_below(s, 8));
}

static void travel(struct sim *s, const struct sim_way *way, const struct sim_event *like,
		   const uint8_t *bytes, size_t size)
{
	const size_t headers =
		like->to.family == TD_FAMILY_IPV4 ? IPV4_UDP_HEADERS : IPV6_UDP_HEADERS;
	int copies = 1 + sim_chance(s, duplicates(s, way, like, bytes[4]));

	s->datagrams++;
	sim_digest(s, bytes, size < DIGESTED ? size : DIGESTED);
	if (swallowed(s, way, size + headers))
		return;
	if (copies > 1)
		sim_saw(s, SAW_REPEATED);
	while (copies-- > 0) {
		const bool damaged = sim_chance(s, way->corrupt);
		const int64_t us = draw_delay(s, way, damaged);
		struct sim_event *e;

		if (us < 0)
			continue;
		e = sim_at(s, us, like->run, size);
		e->node = like->node;
		e->from = like->from;
		e->to = like->to;
		memcpy(e->bytes, bytes, size);
		if (damaged) {
			corrupt(s, e->bytes, size);
			sim_saw(s, SAW_LIE);
			s->lied = true;
		}
	}
}

/* What a deployed client says that new ones do not. */
static void note_old_client(struct sim *s, const uint8_t *bytes)
{
	const size_t length = bytes[5], uuid = bytes[14];

	if (bytes[4] != OLD_MSG_PREPARE)
		return;
	if (length < 17 + uuid)
		sim_saw(s, SAW_NO_FEATURES);
	if (length < 13 + uuid)
		sim_saw(s, SAW_NO_ID);
}

static void note_old_broker(const struct sim_broker *b, const struct td_flow *flow,
			    const uint8_t *bytes)
{
	const struct old_tunnel *t = old_broker_tunnel(&b->old, flow);

	if (bytes[4] == OLD_MSG_TUNNEL && bytes[5] == 4 && t && t->features != 0)
		sim_saw(b->sim, SAW_FORGETFUL);
	if (bytes[4] == OLD_MSG_ERROR && bytes[5] == 0)
		sim_saw(b->sim, SAW_BARE_ERROR);
}

void sim_send_up(struct sim_client *c, uint32_t slot, const uint8_t *bytes, size_t size)
{
	struct sim *s = c->sim;
	const struct sim_socket *socket = &c->sockets[slot];
	struct sim_event like = { .run = arrive_up };

	sim_check(s, slot < sim_slots(s) && socket->open && size >= 12);
	sim_log(s, "client %u slot %u port %u > type %02x, %zu bytes", c->number, slot,
		socket->outside.port, bytes[4], size);
	c->sent++;
	if (c->old_kind)
		note_old_client(s, bytes);
	like.from = socket->outside;
	like.to = socket->remote;
	like.node = sim_broker_at(s, &socket->remote);
	if (like.node != UINT32_MAX)
		travel(s, &sim_link(s, c->number, like.node)->up, &like, bytes, size);
}

void sim_send_down(struct sim_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size)
{
	struct sim *s = b->sim;
	struct sim_event like = { .run = arrive_down, .from = flow->local, .to = flow->peer };
	uint32_t slot;
	const uint32_t client = sim_client_at(s, &flow->peer, &slot);

	sim_check(s, size >= 12);
	if (b->old_model)
		note_old_broker(b, flow, bytes);
	sim_log(s, "broker %u > client %u port %u type %02x, %zu bytes", b->number, client,
		flow->peer.port, bytes[4], size);
	if (client < s->client_count)
		travel(s, &sim_link(s, client, b->number)->down, &like, bytes, size);
}
