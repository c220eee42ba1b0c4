/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The messages of datapath/rewrite.h to nf_tables: batches, each of which takes effect as a whole or
 * not at all. The functions write one into batch, whose messages have the numbers from
 * batch->first on, the caller's choice. 0 or -ENOMEM.
 */
#ifndef TD_DATAPATH_REWRITE_NFT_H
#define TD_DATAPATH_REWRITE_NFT_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define TD_NFT_BATCH   12288 /* without the entries of a new table */
#define TD_NFT_MESSAGE 2048  /* none is larger */
#define TD_NFT_ENTRY   192   /* none of an entry is larger, and each has two */

struct td_nft_batch {
	uint32_t first;
	uint32_t last; /* number of the message that asks for its acknowledgement */
	size_t size, room;
	/* While it is written: */
	int err;
	struct nlmsghdr *newest;
	char *bytes; /* on the heap */
};

struct td_nft_entry {
	struct td_flow flow;
	uint16_t port;
};

struct td_nft_table {
	const char *name;
	uint32_t max; /* entries of each map */
	/* Only this socket may change it, and it lives as long as that (Linux 5.12). */
	bool owned;
	const struct td_nft_entry *entries; /* that it begins with */
	uint32_t count;
};

/* Room for a table of that many entries to begin with. */
int td_nft_batch_init(struct td_nft_batch *batch, uint32_t entries)
	__attribute__((warn_unused_result));
void td_nft_batch_fini(struct td_nft_batch *batch);

/* The table with its maps and rules, in place of one of that name. apply: false: the kernel is only to
 * say whether it would do it. */
int td_nft_build_table(struct td_nft_batch *batch, const struct td_nft_table *table, bool apply)
	__attribute__((warn_unused_result));
int td_nft_build_table_delete(struct td_nft_batch *batch, const char *table)
	__attribute__((warn_unused_result));
/* The entries of one tunnel. */
int td_nft_build_add(struct td_nft_batch *batch, const char *table, const struct td_flow *flow,
		     uint16_t port) __attribute__((warn_unused_result));
int td_nft_build_remove(struct td_nft_batch *batch, const char *table, const struct td_flow *flow,
			uint16_t port) __attribute__((warn_unused_result));

/* --- between rewrite_nft.c and rewrite_rules.c --- */

#define TD_NFT_PORT_SIZE 2

struct td_nft_family {
	uint8_t nfproto;
	uint8_t address_size, saddr, daddr; /* where they are in the IP header */
	uint32_t type;
	const char *in, *out; /* the names of its maps */
};

/* The next message, which td_nft_append() ends. */
struct nlmsghdr *td_nft_message(struct td_nft_batch *batch, uint16_t type, uint16_t flags);
void td_nft_append(struct td_nft_batch *batch);
/* Has it been allocated, and everything before? */
bool td_nft_have(struct td_nft_batch *batch, const void *object);
void td_nft_put_rules(struct td_nft_batch *batch, const char *table, const struct td_nft_family *f);

#endif
