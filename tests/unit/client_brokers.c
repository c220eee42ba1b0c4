/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The brokers of the client's world: what they hear, and what they say. */
#include "client_world.h"

void world_say(struct world *w, uint32_t slot, uint32_t port, const struct td_msg *msg)
{
	uint8_t bytes[WORLD_DATAGRAM];
	size_t size = td_msg_put(msg, TD_FROM_BROKER, bytes, sizeof(bytes));

	assert_true(size > 0);
	world_fly(w, WORLD_TO_CLIENT, slot / TD_ADDRESSES_MAX, slot, port, bytes, size);
}

void world_tell(struct world *w, uint32_t broker, const struct td_msg *msg)
{
	world_say(w, w->broker[broker].tunnel_slot, w->broker[broker].tunnel_port, msg);
}

void world_tell_error(struct world *w, uint32_t broker)
{
	world_tell(w, broker,
		   &(struct td_msg){ .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_SHUTDOWN });
	w->broker[broker].tunnel_port = 0;
}

static void world_broker_prepare(struct world *w, uint32_t broker, uint32_t slot, uint32_t port,
				 const struct td_msg *msg)
{
	struct world_broker *b = &w->broker[broker];
	bool again = b->tunnel_port == port;
	struct td_msg reply = { .type = TD_MSG_TUNNEL };

	b->prepare = *msg;
	b->prepare.prepare.uuid = memcpy(b->uuid, msg->prepare.uuid, msg->prepare.uuid_len);
	b->uuid[msg->prepare.uuid_len] = '\0';
	if (msg->prepare.cookie[0] != 0xc0 || msg->prepare.cookie[1] != (uint8_t)broker ||
	    msg->prepare.cookie[2] != (uint8_t)port || msg->prepare.cookie[3] != (uint8_t)slot) {
		if (w->forgers)
			return;
		fail_msg("cookie of another socket");
	}
	if (b->parks)
		return;
	if (b->refuses) {
		reply = (struct td_msg){ .type = TD_MSG_ERROR };
		world_say(w, slot, port, &reply);
		return;
	}
	if (!again) {
		b->tunnel_port = port;
		b->tunnel_slot = slot;
		b->tunnel_id++;
		b->keepalive_at = td_time_add(w->now, TD_SECONDS(4));
	}
	if (b->late_mute)
		return;
	reply.tunnel.id = b->tunnel_id;
	reply.tunnel.has_features = !b->old && !(again && b->forgets_features);
	reply.tunnel.features = msg->prepare.features & (TD_FEATURE_UNIQUE_SESSION_ID | b->shares);
	memcpy(reply.tunnel.data_cookie, "broker's", TD_DATA_COOKIE);
	world_say(w, slot, port, &reply);
	reply = (struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = b->fixed_mtu };
	if (b->fixed_mtu)
		world_say(w, slot, port, &reply);
}

static void world_broker_tunnel(struct world *w, uint32_t broker, const struct td_msg *msg)
{
	struct world_broker *b = &w->broker[broker];
	struct td_msg reply = { .type = TD_MSG_REL_ACK };

	switch ((int)msg->type) {
	case TD_MSG_PMTUD:
		reply.type = b->fixed_mtu ? TD_MSG_PMTU_NTFY : TD_MSG_PMTUD_ACK;
		reply.size = b->fixed_mtu ? b->fixed_mtu : msg->size;
		world_tell(w, broker, &reply);
		break;
	case TD_MSG_LIMIT:
		b->limit = *msg;
		reply.sequence = msg->limit.sequence;
		if (!b->ignores_limit)
			world_tell(w, broker, &reply);
		break;
	case TD_MSG_ERROR:
		b->tunnel_port = 0;
		break;
	case TD_MSG_KEEPALIVE:
		b->keepalive = *msg;
		break;
	default:
		break;
	}
}

void world_broker_rx(struct world *w, const struct world_event *e)
{
	struct world_broker *b = &w->broker[e->broker];
	struct td_msg msg, reply;

	assert_int_equal(td_msg_parse(&msg, TD_FROM_CLIENT, e->bytes, e->size), 0);
	if (b->dead || (b->blackholes & 1u << e->slot % TD_ADDRESSES_MAX))
		return;
	b->got[msg.type]++;
	b->last[msg.type] = w->now;
	if (msg.type == TD_MSG_ERROR)
		b->last_reason = msg.reason;
	reply = (struct td_msg){ .type = msg.type };
	if (msg.type == TD_MSG_USAGE && !b->deaf_to_usage) {
		assert_int_equal(msg.usage.features & ~TD_FEATURE_DATA_COOKIES,
				 ALL_FEATURES & ~TD_FEATURE_DATA_COOKIES);
		reply.usage.load = b->load;
		world_say(w, e->slot, e->port, &reply);
	} else if (msg.type == TD_MSG_COOKIE) {
		reply.cookie[0] = 0xc0;
		reply.cookie[1] = (uint8_t)e->broker;
		reply.cookie[2] = (uint8_t)e->port;
		reply.cookie[3] = (uint8_t)e->slot;
		world_say(w, e->slot, e->port, &reply);
	} else if (msg.type == TD_MSG_PREPARE) {
		world_broker_prepare(w, e->broker, e->slot, e->port, &msg);
	} else if (b->tunnel_port == e->port) {
		world_broker_tunnel(w, e->broker, &msg);
	}
}

struct td_time world_broker_time(struct world *w)
{
	struct td_time first = TD_NEVER;

	for (int i = 0; i < WORLD_BROKERS; i++)
		if (w->broker[i].has_keepalives && w->broker[i].tunnel_port && !w->broker[i].dead)
			first = td_time_min(first, w->broker[i].keepalive_at);
	return first;
}

static int64_t world_keepalive_us(const struct world_broker *b)
{
	return b->shares & TD_FEATURE_SPARSE_KEEPALIVES ? TD_SECONDS(10) : TD_SECONDS(5);
}

void world_broker_tick(struct world *w)
{
	for (uint32_t i = 0; i < WORLD_BROKERS; i++) {
		struct world_broker *b = &w->broker[i];

		if (!b->has_keepalives || !b->tunnel_port || b->dead ||
		    !td_time_reached(b->keepalive_at, w->now))
			continue;
		b->keepalive_at = td_time_add(w->now, world_keepalive_us(b));
		world_tell(w, i,
			   &(struct td_msg){ .type = TD_MSG_KEEPALIVE,
					     .keepalive.counter = b->keepalives++ });
	}
}

struct td_msg world_error(void)
{
	return (struct td_msg){ .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_SHUTDOWN };
}
