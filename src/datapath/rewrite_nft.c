/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * As nft(8) would show it:
 *
 *	table inet tunneldigger_100 {
 *		map in4 {
 *			type ipv4_addr . inet_service . ipv4_addr . inet_service : inet_service
 *			elements = { PEER . PORT . LOCAL . PUBLIC : PRIVATE }
 *		}
 *		map out4 {
 *			type ipv4_addr . inet_service : inet_service
 *			elements = { LOCAL . PRIVATE : PUBLIC }
 *		}
 *		chain input {
 *			type filter hook input priority 200
 *			ip protocol udp udp checksum != 0 udp dport set
 *				ip saddr . udp sport . ip daddr . udp dport map @in4 accept
 *			ip protocol udp udp checksum 0 …
 *		}
 *		chain output {
 *			type filter hook output priority -300
 *			ip protocol udp udp sport set ip saddr . udp sport map @out4 accept
 *		}
 *	}
 *
 * and the same for IPv6. The keys have all addresses, for one client may speak to two of ours from
 * one port, and a private port is ours on one address only.
 *
 * UDP over IPv4 may have no checksum, which is 0. The kernel would mend that one as well, and make a
 * wrong one of it, so there is a rule apart, which leaves it alone. (Over IPv6 such a datagram is
 * dropped anyway.) Our own sockets send none.
 */
#include "datapath/rewrite_nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "base/assert.h"

/* What <linux/netfilter/nf_tables.h> had not always. */
#define TABLE_OWNER 0x2

#define PRIORITY_BEHIND_FILTERS 200  /* before the last of conntrack, though */
#define PRIORITY_BEFORE_ALL     -300 /* conntrack is at -200 */

/* Numbers by which nft(8) knows the types that it shows, and how it joins them. */
#define TYPE_IPV4_ADDR    7
#define TYPE_IPV6_ADDR    8
#define TYPE_INET_SERVICE 13
#define TYPE_BITS         6

#define KEY_MAX 40

static const struct td_nft_family families[] = {
	{ NFPROTO_IPV4, 4, 12, 16, TYPE_IPV4_ADDR, "in4", "out4" },
	{ NFPROTO_IPV6, 16, 8, 24, TYPE_IPV6_ADDR, "in6", "out6" },
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

/* --- batches --- */

int td_nft_batch_init(struct td_nft_batch *batch, uint32_t entries)
{
	*batch = (struct td_nft_batch){ .room = TD_NFT_BATCH + (size_t)entries * 2 * TD_NFT_ENTRY };
	batch->bytes = malloc(batch->room);
	return batch->bytes ? 0 : -ENOMEM;
}

void td_nft_batch_fini(struct td_nft_batch *batch)
{
	free(batch->bytes);
	batch->bytes = NULL;
}

static void *end_of(struct td_nft_batch *batch)
{
	return batch->bytes + batch->size;
}

static void go_behind(struct td_nft_batch *batch, const struct nlmsghdr *nlh)
{
	batch->size = (size_t)((char *)mnl_nlmsg_get_payload_tail(nlh) - batch->bytes);
}

/* How much room all messages need is known beforehand. */
static void begin(struct td_nft_batch *batch)
{
	struct nlmsghdr *nlh = nftnl_batch_begin(batch->bytes, batch->first);

	go_behind(batch, nlh);
	batch->last = batch->first;
	batch->err = 0;
}

struct nlmsghdr *td_nft_message(struct td_nft_batch *batch, uint16_t type, uint16_t flags)
{
	td_assert(batch->room - batch->size >= TD_NFT_MESSAGE);
	batch->newest =
		nftnl_nlmsg_build_hdr(end_of(batch), type, NFPROTO_INET, flags, ++batch->last);
	return batch->newest;
}

void td_nft_append(struct td_nft_batch *batch)
{
	td_assert(batch->newest->nlmsg_len <= TD_NFT_MESSAGE);
	go_behind(batch, batch->newest);
}

/* What has no end, the kernel only looks at. */
static int end(struct td_nft_batch *batch, bool apply)
{
	struct nlmsghdr *nlh;

	if (batch->err < 0)
		return batch->err;
	batch->newest->nlmsg_flags |= NLM_F_ACK;
	if (!apply)
		return 0;
	nlh = nftnl_batch_end(end_of(batch), batch->last + 1);
	go_behind(batch, nlh);
	return 0;
}

bool td_nft_have(struct td_nft_batch *batch, const void *object)
{
	if (!object)
		batch->err = -ENOMEM;
	return batch->err == 0;
}

/* --- table, maps, chains --- */

/* Without flags, which a table that is there already could not be given. */
static void put_table(struct td_nft_batch *batch, uint16_t type, const char *name, bool owned)
{
	struct nftnl_table *table = nftnl_table_alloc();
	struct nlmsghdr *nlh;

	if (td_nft_have(batch, table) && nftnl_table_set_str(table, NFTNL_TABLE_NAME, name) < 0)
		batch->err = -ENOMEM;
	if (batch->err == 0) {
		nlh = td_nft_message(batch, type, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);
		if (owned)
			nftnl_table_set_u32(table, NFTNL_TABLE_FLAGS, TABLE_OWNER);
		nftnl_table_nlmsg_build_payload(nlh, table);
		td_nft_append(batch);
	}
	if (table)
		nftnl_table_free(table);
}

static struct nftnl_set *new_map(struct td_nft_batch *batch, const char *table, const char *name)
{
	struct nftnl_set *set = nftnl_set_alloc();

	if (td_nft_have(batch, set) && (nftnl_set_set_str(set, NFTNL_SET_TABLE, table) < 0 ||
					nftnl_set_set_str(set, NFTNL_SET_NAME, name) < 0))
		batch->err = -ENOMEM;
	return set;
}

struct key_format {
	const char *name;
	uint32_t type, size, max;
};

static void put_map(struct td_nft_batch *batch, const char *table, const struct key_format *format)
{
	struct nftnl_set *set = new_map(batch, table, format->name);
	struct nlmsghdr *nlh;

	if (batch->err == 0) {
		nlh = td_nft_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
		nftnl_set_set_u32(set, NFTNL_SET_ID, batch->last);
		nftnl_set_set_u32(set, NFTNL_SET_FLAGS, NFT_SET_MAP);
		nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, format->type);
		nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, format->size);
		nftnl_set_set_u32(set, NFTNL_SET_DATA_TYPE, TYPE_INET_SERVICE);
		nftnl_set_set_u32(set, NFTNL_SET_DATA_LEN, TD_NFT_PORT_SIZE);
		nftnl_set_set_u32(set, NFTNL_SET_DESC_SIZE, format->max);
		nftnl_set_nlmsg_build_payload(nlh, set);
		td_nft_append(batch);
	}
	if (set)
		nftnl_set_free(set);
}

static void put_maps(struct td_nft_batch *batch, const char *table, const struct td_nft_family *f,
		     uint32_t max)
{
	const uint32_t end_type = f->type << TYPE_BITS | TYPE_INET_SERVICE;
	const uint32_t end_size = f->address_size + sizeof(uint32_t);
	const struct key_format in = { f->in, end_type << 2 * TYPE_BITS | end_type, 2 * end_size,
				       max };
	const struct key_format out = { f->out, end_type, end_size, max };

	put_map(batch, table, &in);
	put_map(batch, table, &out);
}

static void put_chain(struct td_nft_batch *batch, const char *table, const char *name,
		      uint32_t hook, int32_t priority)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();
	struct nlmsghdr *nlh;

	if (td_nft_have(batch, chain) &&
	    (nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, table) < 0 ||
	     nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name) < 0 ||
	     nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, "filter") < 0))
		batch->err = -ENOMEM;
	if (batch->err == 0) {
		nlh = td_nft_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, hook);
		nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, priority);
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, NF_ACCEPT);
		nftnl_chain_nlmsg_build_payload(nlh, chain);
		td_nft_append(batch);
	}
	if (chain)
		nftnl_chain_free(chain);
}

/* --- entries --- */

struct key {
	uint8_t bytes[KEY_MAX];
	uint32_t size;
};

static void put_end(struct key *key, const struct td_nft_family *f, const struct td_addr *addr,
		    uint16_t port)
{
	const uint16_t wire = htons(port);

	memcpy(key->bytes + key->size, addr->ip, f->address_size);
	key->size += f->address_size;
	memcpy(key->bytes + key->size, &wire, sizeof(wire));
	key->size += sizeof(uint32_t);
}

static void put_entry(struct td_nft_batch *batch, uint16_t type, struct nftnl_set *set,
		      const struct key *key, uint16_t port)
{
	const uint16_t flags = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE | NLM_F_EXCL : 0;
	struct nftnl_set_elem *entry = batch->err == 0 ? nftnl_set_elem_alloc() : NULL;
	const uint16_t wire = htons(port);
	struct nlmsghdr *nlh;

	if (!td_nft_have(batch, entry))
		return;
	if (nftnl_set_elem_set(entry, NFTNL_SET_ELEM_KEY, key->bytes, key->size) < 0 ||
	    (type == NFT_MSG_NEWSETELEM &&
	     nftnl_set_elem_set(entry, NFTNL_SET_ELEM_DATA, &wire, sizeof(wire)) < 0))
		batch->err = -ENOMEM;
	nftnl_set_elem_add(set, entry);
	nlh = td_nft_message(batch, type, flags);
	nftnl_set_elems_nlmsg_build_payload(nlh, set);
	td_assert(nlh->nlmsg_len <= TD_NFT_ENTRY);
	td_nft_append(batch);
}

/* key leads to port. */
static void put_mapping(struct td_nft_batch *batch, uint16_t type, const char *table,
			const char *map, const struct key *key, uint16_t port)
{
	struct nftnl_set *set = new_map(batch, table, map);

	put_entry(batch, type, set, key, port);
	if (set)
		nftnl_set_free(set); /* with its entry */
}

static void put_entries(struct td_nft_batch *batch, uint16_t type, const char *table,
			const struct td_flow *flow, uint16_t port)
{
	const struct td_nft_family *f = &families[flow->local.family == TD_FAMILY_IPV6];
	struct key in = { .size = 0 }, out = { .size = 0 };

	put_end(&in, f, &flow->peer, flow->peer.port);
	put_end(&in, f, &flow->local, flow->local.port);
	put_end(&out, f, &flow->local, port);
	put_mapping(batch, type, table, f->in, &in, port);
	put_mapping(batch, type, table, f->out, &out, flow->local.port);
}

static int build(struct td_nft_batch *batch, uint16_t type, const char *table,
		 const struct td_flow *flow, uint16_t port)
{
	begin(batch);
	put_entries(batch, type, table, flow, port);
	return end(batch, true);
}

int td_nft_build_add(struct td_nft_batch *batch, const char *table, const struct td_flow *flow,
		     uint16_t port)
{
	return build(batch, NFT_MSG_NEWSETELEM, table, flow, port);
}

int td_nft_build_remove(struct td_nft_batch *batch, const char *table, const struct td_flow *flow,
			uint16_t port)
{
	return build(batch, NFT_MSG_DELSETELEM, table, flow, port);
}

/* --- the whole --- */

/* Added first, so that there is one to be deleted. */
int td_nft_build_table(struct td_nft_batch *batch, const struct td_nft_table *table, bool apply)
{
	const char *name = table->name;

	begin(batch);
	put_table(batch, NFT_MSG_NEWTABLE, name, false);
	put_table(batch, NFT_MSG_DELTABLE, name, false);
	put_table(batch, NFT_MSG_NEWTABLE, name, table->owned);
	for (unsigned i = 0; i < FAMILIES; i++)
		put_maps(batch, name, &families[i], table->max);
	put_chain(batch, name, "input", NF_INET_LOCAL_IN, PRIORITY_BEHIND_FILTERS);
	put_chain(batch, name, "output", NF_INET_LOCAL_OUT, PRIORITY_BEFORE_ALL);
	for (unsigned i = 0; i < FAMILIES; i++)
		td_nft_put_rules(batch, name, &families[i]);
	for (uint32_t i = 0; i < table->count; i++)
		put_entries(batch, NFT_MSG_NEWSETELEM, name, &table->entries[i].flow,
			    table->entries[i].port);
	return end(batch, apply);
}

int td_nft_build_table_delete(struct td_nft_batch *batch, const char *table)
{
	begin(batch);
	put_table(batch, NFT_MSG_DELTABLE, table, false);
	return end(batch, true);
}
