/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Until td_rewrite_start(), entries are collected. Then they go with the table to the kernel, as one
 * transaction: packets meet the old table or the new one.
 */
#include "datapath/rewrite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "datapath/rewrite_nft.h"
#include "sys/netlink.h"

#define OLD_ANSWERS_MAX 10000

struct rewrite {
	struct td_rewrite ops;
	struct td_netlink netlink;
	struct td_nft_batch batch;
	struct td_nft_table table;
	char name[32];
	struct td_nft_entry *collected; /* NULL: the table has been made */
};

/* Sends the batch, if it could be built. */
static int send_batch(struct rewrite *r, int err, uint32_t *refused)
{
	const struct td_netlink_batch batch = { r->batch.bytes, r->batch.size, r->batch.first,
						r->batch.last };

	*refused = r->batch.first;
	if (err < 0)
		return err;
	r->netlink.sequence = batch.last + 1;
	return td_netlink_send_batch(&r->netlink, &batch, refused);
}

static struct td_nft_batch *next_batch(struct rewrite *r)
{
	r->batch.first = r->netlink.sequence + 1;
	return &r->batch;
}

/* refused: which message, by its place. */
static int make_table(struct rewrite *r, bool apply, uint32_t *refused)
{
	int err = td_nft_build_table(next_batch(r), &r->table, apply);

	err = send_batch(r, err, refused);
	*refused -= r->batch.first;
	return err;
}

static void explain(const struct rewrite *r, int err, uint32_t refused, char *why, size_t size)
{
	switch (-err) {
	case EPERM:
	case EACCES:
		/* Who may do nothing is refused the whole, not the first thing in it. */
		if (refused == 0)
			snprintf(why, size,
				 "not permitted to use nf_tables: run as root (CAP_NET_ADMIN)");
		else
			snprintf(why, size,
				 "the table inet %s is another process's: give each broker a "
				 "tunnel_id_base of its own",
				 r->name);
		break;
	case EPROTONOSUPPORT:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EINVAL:
	case ENOENT:
		snprintf(why, size,
			 "the kernel has no nf_tables for the family inet: load the module "
			 "(modprobe nf_tables)");
		break;
	default:
		snprintf(why, size, "nf_tables fails: %s", strerror(-err));
	}
}

static int collect(struct rewrite *r, const struct td_flow *flow, uint16_t port)
{
	if (r->table.count == r->table.max)
		return -ENFILE; /* as the kernel says it */
	r->collected[r->table.count++] = (struct td_nft_entry){ *flow, port };
	return 0;
}

/* The last one, usually: the caller could do nothing with it. */
static int uncollect(struct rewrite *r, const struct td_flow *flow)
{
	for (uint32_t i = r->table.count; i-- > 0;) {
		if (td_flow_equal(&r->collected[i].flow, flow)) {
			r->collected[i] = r->collected[--r->table.count];
			break;
		}
	}
	return 0;
}

static int add(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	uint32_t refused;

	if (r->collected)
		return collect(r, flow, port);
	return send_batch(r, td_nft_build_add(next_batch(r), r->name, flow, port), &refused);
}

static int take_back(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	uint32_t refused;
	int err;

	if (r->collected)
		return uncollect(r, flow);
	err = send_batch(r, td_nft_build_remove(next_batch(r), r->name, flow, port), &refused);
	return err == -ENOENT ? 0 : err;
}

int td_rewrite_socket(void)
{
	struct td_netlink netlink;
	int err = td_netlink_open(&netlink, NETLINK_NETFILTER);

	return err < 0 ? err : netlink.fd;
}

/* Answers to who had the socket before, and an error that says that some were lost. */
static void forget_answers(const struct rewrite *r)
{
	char answer[64];

	for (unsigned i = 0; i < OLD_ANSWERS_MAX; i++)
		if (recv(r->netlink.fd, answer, sizeof(answer), MSG_DONTWAIT) < 0 &&
		    errno != ENOBUFS)
			break;
}

static int allocate(struct rewrite *r)
{
	const size_t size = r->table.max * sizeof(*r->collected);

	r->collected = malloc(size);
	r->table.entries = r->collected;
	return r->collected ? td_nft_batch_init(&r->batch, 0) : -ENOMEM;
}

static void destroy(struct rewrite *r)
{
	td_nft_batch_fini(&r->batch);
	free(r->collected);
	free(r);
}

/* Would the kernel do it, and with an owner? */
static int try_table(struct rewrite *r, uint32_t *refused)
{
	int err;

	if (r->netlink.fd < 0)
		return r->netlink.fd;
	forget_answers(r);
	err = make_table(r, false, refused);
	if (err != -EOPNOTSUPP && err != -EINVAL)
		return err;
	r->table.owned = false;
	return make_table(r, false, refused);
}

int td_rewrite_open(struct td_rewrite **rewrite, const struct td_rewrite_setup *setup, char *why,
		    size_t size)
{
	struct rewrite *r = calloc(1, sizeof(*r));
	uint32_t refused = 0;
	int err;

	if (!r) {
		snprintf(why, size, "out of memory");
		return -ENOMEM;
	}
	r->ops = (struct td_rewrite){ add, take_back };
	r->netlink.fd = setup->socket;
	snprintf(r->name, sizeof(r->name), "tunneldigger_%u", (unsigned)setup->instance);
	r->table = (struct td_nft_table){ r->name, setup->max_tunnels, true, NULL, 0 };
	err = allocate(r);
	if (err == 0)
		err = try_table(r, &refused);
	if (err < 0) {
		explain(r, err, refused, why, size);
		destroy(r);
		return err;
	}
	*rewrite = &r->ops;
	return 0;
}

/* In one piece, beyond what a socket usually takes. */
static int send_whole(struct rewrite *r)
{
	const int room = (int)r->batch.room;
	uint32_t refused;

	if (setsockopt(r->netlink.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		return -errno;
	return make_table(r, true, &refused);
}

int td_rewrite_start(struct td_rewrite *rewrite)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	int err;

	td_nft_batch_fini(&r->batch);
	err = td_nft_batch_init(&r->batch, r->table.count);
	if (err == 0)
		err = send_whole(r);
	td_nft_batch_fini(&r->batch);
	free(r->collected);
	r->collected = NULL;
	return err < 0 ? err : td_nft_batch_init(&r->batch, 0);
}

void td_rewrite_close(struct td_rewrite *rewrite)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	uint32_t refused;

	if (!r)
		return;
	if (r->batch.bytes)
		(void)!send_batch(r, td_nft_build_table_delete(next_batch(r), r->name), &refused);
	destroy(r);
}
