/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The rules of rewrite_nft.c, as the kernel executes them: registers have four bytes, a key lies in
 * as many of them as it needs, from the first on, and a rule ends where it does not match.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "datapath/rewrite_nft.h"

#define UDP_SPORT    0
#define UDP_DPORT    2
#define UDP_CHECKSUM 6

struct rule {
	struct td_nft_batch *batch;
	struct nftnl_rule *rule;
	uint32_t at; /* the next free register */
};

static struct nftnl_expr *add_expr(struct rule *r, const char *name)
{
	struct nftnl_expr *expr = NULL;

	if (r->batch->err == 0)
		expr = nftnl_expr_alloc(name);
	if (td_nft_have(r->batch, expr))
		nftnl_rule_add_expr(r->rule, expr);
	return expr;
}

static void compare(struct rule *r, uint32_t operator, const void * value, uint32_t size)
{
	struct nftnl_expr *expr = add_expr(r, "cmp");

	if (!expr)
		return;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_CMP_SREG, NFT_REG32_00);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_CMP_OP, operator);
	nftnl_expr_set(expr, NFTNL_EXPR_CMP_DATA, value, size);
}

/* Goes on when that property of the packet has this value. */
static void match(struct rule *r, uint32_t property, uint8_t value)
{
	struct nftnl_expr *expr = add_expr(r, "meta");

	if (!expr)
		return;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_META_KEY, property);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_META_DREG, NFT_REG32_00);
	compare(r, NFT_CMP_EQ, &value, sizeof(value));
}

static void load(struct rule *r, uint32_t base, uint32_t offset, uint32_t size)
{
	struct nftnl_expr *expr = add_expr(r, "payload");

	if (!expr)
		return;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_LEN, size);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_DREG, r->at);
	r->at += (size + 3) / 4;
}

/* The value of the key in the registers, into the first one; ends here when there is none. */
static void look_up(struct rule *r, const char *map)
{
	struct nftnl_expr *expr = add_expr(r, "lookup");

	if (!expr)
		return;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_SREG, NFT_REG32_00);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_DREG, NFT_REG32_00);
	if (nftnl_expr_set_str(expr, NFTNL_EXPR_LOOKUP_SET, map) < 0)
		r->batch->err = -ENOMEM;
}

static void write_port(struct rule *r, uint32_t offset, bool mend_checksum)
{
	struct nftnl_expr *expr = add_expr(r, "payload");

	if (!expr)
		return;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_SREG, NFT_REG32_00);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_LEN, TD_NFT_PORT_SIZE);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_CSUM_TYPE,
			   mend_checksum ? NFT_PAYLOAD_CSUM_INET : NFT_PAYLOAD_CSUM_NONE);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, mend_checksum ? UDP_CHECKSUM : 0);
}

/* No other rule of the chain has anything to do. */
static void accept_packet(struct rule *r)
{
	struct nftnl_expr *expr = add_expr(r, "immediate");

	if (!expr)
		return;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_VERDICT, NF_ACCEPT);
}

static void begin_rule(struct rule *r, const char *table, const char *chain,
		       const struct td_nft_family *f)
{
	r->rule = nftnl_rule_alloc();
	r->at = NFT_REG32_00;
	if (!td_nft_have(r->batch, r->rule))
		return;
	if (nftnl_rule_set_str(r->rule, NFTNL_RULE_TABLE, table) < 0 ||
	    nftnl_rule_set_str(r->rule, NFTNL_RULE_CHAIN, chain) < 0)
		r->batch->err = -ENOMEM;
	match(r, NFT_META_NFPROTO, f->nfproto);
	match(r, NFT_META_L4PROTO, IPPROTO_UDP);
}

static void end_rule(struct rule *r)
{
	struct nlmsghdr *nlh;

	if (r->batch->err == 0) {
		nlh = td_nft_message(r->batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
		nftnl_rule_nlmsg_build_payload(nlh, r->rule);
		td_nft_append(r->batch);
	}
	if (r->rule)
		nftnl_rule_free(r->rule);
}

static void put_input(struct td_nft_batch *batch, const char *table, const struct td_nft_family *f,
		      bool has_checksum)
{
	static const uint8_t none[2];
	struct rule r = { .batch = batch };

	begin_rule(&r, table, "input", f);
	load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_CHECKSUM, sizeof(none));
	compare(&r, has_checksum ? NFT_CMP_NEQ : NFT_CMP_EQ, none, sizeof(none));
	r.at = NFT_REG32_00;
	load(&r, NFT_PAYLOAD_NETWORK_HEADER, f->saddr, f->address_size);
	load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_SPORT, TD_NFT_PORT_SIZE);
	load(&r, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->address_size);
	load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_DPORT, TD_NFT_PORT_SIZE);
	look_up(&r, f->in);
	write_port(&r, UDP_DPORT, has_checksum);
	accept_packet(&r);
	end_rule(&r);
}

static void put_output(struct td_nft_batch *batch, const char *table, const struct td_nft_family *f)
{
	struct rule r = { .batch = batch };

	begin_rule(&r, table, "output", f);
	load(&r, NFT_PAYLOAD_NETWORK_HEADER, f->saddr, f->address_size);
	load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_SPORT, TD_NFT_PORT_SIZE);
	look_up(&r, f->out);
	write_port(&r, UDP_SPORT, true);
	accept_packet(&r);
	end_rule(&r);
}

void td_nft_put_rules(struct td_nft_batch *batch, const char *table, const struct td_nft_family *f)
{
	put_input(batch, table, f, true);
	if (f->nfproto == NFPROTO_IPV4)
		put_input(batch, table, f, false);
	put_output(batch, table, f);
}
