/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/rewrite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/rewrite_nft.h"
#include "sys/netlink.h"

struct rewrite {
	struct td_rewrite ops;
	struct td_netlink netlink;
	struct td_nft_batch batch;
	char table[32];
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

static int make_table(struct rewrite *r, uint32_t max, bool owned, uint32_t *refused)
{
	int err = td_nft_build_table(next_batch(r), r->table, max, owned);

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
				 r->table);
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

static int add(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	uint32_t refused;

	return send_batch(r, td_nft_build_add(next_batch(r), r->table, flow, port), &refused);
}

static int take_back(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	uint32_t refused;
	int err = send_batch(r, td_nft_build_remove(next_batch(r), r->table, flow, port), &refused);

	return err == -ENOENT ? 0 : err;
}

int td_rewrite_open(struct td_rewrite **rewrite, uint32_t instance, uint32_t max_tunnels, char *why,
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
	snprintf(r->table, sizeof(r->table), "tunneldigger_%u", (unsigned)instance);
	err = td_netlink_open(&r->netlink, NETLINK_NETFILTER);
	if (err == 0) {
		err = make_table(r, max_tunnels, true, &refused);
		if (err == -EOPNOTSUPP || err == -EINVAL)
			err = make_table(r, max_tunnels, false, &refused);
	}
	if (err < 0) {
		explain(r, err, refused, why, size);
		td_netlink_close(&r->netlink);
		free(r);
		return err;
	}
	*rewrite = &r->ops;
	return 0;
}

void td_rewrite_close(struct td_rewrite *rewrite)
{
	struct rewrite *r = (struct rewrite *)rewrite;
	uint32_t refused;

	if (!r)
		return;
	(void)!send_batch(r, td_nft_build_table_delete(next_batch(r), r->table), &refused);
	td_netlink_close(&r->netlink);
	free(r);
}
