/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The messages to nf_tables, attribute by attribute; without memory; a kernel that knows no owners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "datapath/rewrite.h"
#include "datapath/rewrite_nft.h"
#include "sys/netlink.h"

static struct td_nft_batch batch;

/* --- libnftnl without memory --- */

static int allocations_left = -1; /* -1: without end */

static void *allocate(const char *name)
{
	void *(*real)(void);

	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	*(void **)&real = dlsym(RTLD_NEXT, name);
	return real();
}

struct nftnl_table *nftnl_table_alloc(void)
{
	return allocate(__func__);
}

struct nftnl_set *nftnl_set_alloc(void)
{
	return allocate(__func__);
}

struct nftnl_chain *nftnl_chain_alloc(void)
{
	return allocate(__func__);
}

struct nftnl_rule *nftnl_rule_alloc(void)
{
	return allocate(__func__);
}

struct nftnl_set_elem *nftnl_set_elem_alloc(void)
{
	return allocate(__func__);
}

struct nftnl_expr *nftnl_expr_alloc(const char *name)
{
	struct nftnl_expr *(*real)(const char *name);

	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	*(void **)&real = dlsym(RTLD_NEXT, __func__);
	return real(name);
}

/* --- a kernel --- */

static struct {
	int owner_error; /* to a table that is to have an owner */
	unsigned batches, owned, applied;
	uint32_t last, refused; /* numbers; 0: none */
} kernel;

/* The flags of the table that is made. */
static uint32_t table_flags(const struct nlmsghdr *nlh)
{
	struct nftnl_table *table = nftnl_table_alloc();
	uint32_t flags;

	assert_non_null(table);
	assert_int_equal(nftnl_table_nlmsg_parse(nlh, table), 0);
	flags = nftnl_table_get_u32(table, NFTNL_TABLE_FLAGS);
	nftnl_table_free(table);
	return flags;
}

/* Of libc: these are linked in their place. */
ssize_t __wrap_write(int fd, const void *request, size_t size);
ssize_t __wrap_recv(int fd, void *to, size_t capacity, int flags);

ssize_t __wrap_write(int fd, const void *request, size_t size)
{
	const struct nlmsghdr *nlh = request;
	int left = (int)size;

	(void)fd;
	kernel.batches++;
	kernel.refused = 0;
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		if (nlh->nlmsg_flags & NLM_F_ACK)
			kernel.last = nlh->nlmsg_seq;
		kernel.applied += nlh->nlmsg_type == NFNL_MSG_BATCH_END;
		if (nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE) ||
		    !(table_flags(nlh) & 0x2))
			continue;
		kernel.owned++;
		if (kernel.owner_error)
			kernel.refused = nlh->nlmsg_seq;
	}
	return (ssize_t)size;
}

/* Nothing there of earlier owners of the socket. */
static bool nothing_to_say(int flags)
{
	errno = EAGAIN;
	return flags & MSG_DONTWAIT;
}

ssize_t __wrap_recv(int fd, void *to, size_t capacity, int flags)
{
	struct nlmsghdr *nlh;
	struct nlmsgerr *body;

	(void)fd;
	if (nothing_to_say(flags))
		return -1;
	assert_true(capacity >= 256);
	nlh = mnl_nlmsg_put_header(to);
	body = mnl_nlmsg_put_extra_header(nlh, sizeof(*body));
	nlh->nlmsg_type = NLMSG_ERROR;
	nlh->nlmsg_seq = kernel.refused ? kernel.refused : kernel.last;
	body->error = kernel.refused ? kernel.owner_error : 0;
	kernel.refused = 0;
	return nlh->nlmsg_len;
}

static void owner_is_not_known(void **state)
{
	static const int errors[] = { -EOPNOTSUPP, -EINVAL };
	const struct td_rewrite_setup setup = { td_rewrite_socket(), 1, 4 };
	struct td_rewrite *rewrite = NULL;
	char why[256];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.owner_error = errors[i];
		assert_int_equal(td_rewrite_open(&rewrite, &setup, why, sizeof(why)), 0);
		assert_int_equal(kernel.batches, 2);
		assert_int_equal(kernel.applied, 0);
		assert_int_equal(td_rewrite_start(rewrite), 0);
		assert_int_equal(kernel.batches, 3);
		assert_int_equal(kernel.applied, 1);
		assert_int_equal(kernel.owned, 1);
		td_rewrite_close(rewrite);
		assert_int_equal(kernel.batches, 4);
		assert_int_equal(kernel.applied, 2);
	}
	memset(&kernel, 0, sizeof(kernel));
	kernel.owner_error = -EPERM;
	assert_int_equal(td_rewrite_open(&rewrite, &setup, why, sizeof(why)), -EPERM);
	assert_int_equal(kernel.batches, 1);
}

/* --- batches --- */

static const struct nlmsghdr *messages[64];
static unsigned message_count;

/* Between begin and end of the batch. All belong to the family inet, only the last one is answered. */
static void take_apart(void)
{
	const struct nlmsghdr *nlh = (const void *)batch.bytes;
	int left = (int)batch.size;

	message_count = 0;
	assert_int_equal(nlh->nlmsg_type, NFNL_MSG_BATCH_BEGIN);
	assert_int_equal(nlh->nlmsg_seq, 50);
	for (nlh = mnl_nlmsg_next(nlh, &left); mnl_nlmsg_ok(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		const struct nfgenmsg *head = mnl_nlmsg_get_payload(nlh);

		assert_int_equal(nlh->nlmsg_seq, 51 + message_count);
		if (nlh->nlmsg_type == NFNL_MSG_BATCH_END)
			break;
		assert_true(nlh->nlmsg_len <= TD_NFT_MESSAGE);
		assert_int_equal(nlh->nlmsg_type >> 8, NFNL_SUBSYS_NFTABLES);
		assert_true(nlh->nlmsg_flags & NLM_F_REQUEST);
		assert_int_equal((nlh->nlmsg_flags & NLM_F_ACK) != 0, nlh->nlmsg_seq == batch.last);
		assert_int_equal(head->nfgen_family, NFPROTO_INET);
		messages[message_count++] = nlh;
	}
	assert_int_equal(nlh->nlmsg_type, NFNL_MSG_BATCH_END);
	assert_int_equal(left, nlh->nlmsg_len);
	assert_int_equal(batch.last, 50 + message_count);
}

static unsigned kind(unsigned number)
{
	return messages[number]->nlmsg_type & 0xff;
}

static const uint8_t *find(const struct nlmsghdr *nlh, const char *bytes, size_t size)
{
	return memmem(nlh, nlh->nlmsg_len, bytes, size);
}

/* NFTA_DATA_VERDICT with NFTA_VERDICT_CODE in it: NF_ACCEPT */
#define ACCEPT "\x0c\0\x02\x80\x08\0\x01\0\0\0\0\x01"

static void table(void **state)
{
	static const unsigned kinds[] = {
		NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWTABLE, NFT_MSG_NEWSET,
		NFT_MSG_NEWSET,   NFT_MSG_NEWSET,   NFT_MSG_NEWSET,   NFT_MSG_NEWCHAIN,
		NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE,  NFT_MSG_NEWRULE,  NFT_MSG_NEWRULE,
		NFT_MSG_NEWRULE,  NFT_MSG_NEWRULE,
	};
	const struct td_nft_table largest = { "tunneldigger_4294967295", 70000, true, NULL, 0 };
	const struct td_nft_table small = { "t", 1, false, NULL, 0 };
	size_t whole;

	(void)state;
	assert_int_equal(td_nft_build_table(&batch, &largest, true), 0);
	take_apart();
	assert_int_equal(message_count, sizeof(kinds) / sizeof(kinds[0]));
	for (unsigned i = 0; i < message_count; i++)
		assert_int_equal(kind(i), kinds[i]);
	/* A rule that does something ends the chain. */
	for (unsigned i = 0; i < message_count; i++)
		assert_int_equal(find(messages[i], ACCEPT, sizeof(ACCEPT) - 1) != NULL,
				 kinds[i] == NFT_MSG_NEWRULE);
	/* One that has no owner yet could not be given one. */
	assert_int_equal(table_flags(messages[0]), 0);
	assert_int_equal(table_flags(messages[2]), 2);
	/* One that is only looked at has no end. */
	whole = batch.size;
	assert_int_equal(td_nft_build_table(&batch, &largest, false), 0);
	assert_int_equal(batch.size, whole - NLMSG_LENGTH(sizeof(struct nfgenmsg)));
	assert_int_equal(td_nft_build_table(&batch, &small, true), 0);
	take_apart();
	assert_int_equal(table_flags(messages[2]), 0);

	assert_int_equal(td_nft_build_table_delete(&batch, "t"), 0);
	take_apart();
	assert_int_equal(message_count, 1);
	assert_int_equal(kind(0), NFT_MSG_DELTABLE);
}

/* Attributes in the order in which libnftnl writes them: their values are found as bytes. */
#define assert_has(number, bytes)   assert_non_null(find(messages[number], bytes, sizeof(bytes) - 1))
#define assert_lacks(number, bytes) assert_null(find(messages[number], bytes, sizeof(bytes) - 1))

static struct td_flow flow_of(uint8_t family)
{
	struct td_flow flow = { .local = { .family = family, .port = 8942 },
				.peer = { .family = family, .port = 0x1234 } };

	memcpy(flow.local.ip, "LOCALaddressLOCA", family == TD_FAMILY_IPV6 ? 16 : 4);
	memcpy(flow.peer.ip, "PEERpeerPEERpeer", family == TD_FAMILY_IPV6 ? 16 : 4);
	return flow;
}

#define IN4  "PEER\x12\x34\0\0LOCA\x22\xee\0\0"
#define IN6  "PEERpeerPEERpeer\x12\x34\0\0LOCALaddressLOCA\x22\xee\0\0"
#define OUT4 "LOCA\x75\x31\0\0"
#define OUT6 "LOCALaddressLOCA\x75\x31\0\0"
/* NFTA_SET_ELEM_DATA with NFTA_DATA_VALUE in it */
#define PORT(value) "\x0c\0\2\x80\6\0\1\0" value

static void entries(void **state)
{
	const struct td_flow ipv4 = flow_of(TD_FAMILY_IPV4), ipv6 = flow_of(TD_FAMILY_IPV6);

	(void)state;
	assert_int_equal(td_nft_build_add(&batch, "tablename", &ipv4, 30001), 0);
	take_apart();
	assert_int_equal(message_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(kind(i), NFT_MSG_NEWSETELEM);
		assert_int_equal(messages[i]->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL),
				 NLM_F_CREATE | NLM_F_EXCL);
		assert_has(i, "tablename");
	}
	assert_has(0, "in4");
	assert_has(0, IN4);
	assert_has(0, PORT("\x75\x31"));
	assert_has(1, "out4");
	assert_has(1, OUT4);
	assert_has(1, PORT("\x22\xee"));

	assert_int_equal(td_nft_build_add(&batch, "tablename", &ipv6, 30001), 0);
	take_apart();
	assert_has(0, "in6");
	assert_has(0, IN6);
	assert_has(0, PORT("\x75\x31"));
	assert_has(1, "out6");
	assert_has(1, OUT6);
	assert_has(1, PORT("\x22\xee"));

	assert_int_equal(td_nft_build_remove(&batch, "tablename", &ipv4, 30001), 0);
	take_apart();
	assert_int_equal(message_count, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(kind(i), NFT_MSG_DELSETELEM);
	assert_has(0, IN4);
	assert_lacks(0, PORT("\x75\x31"));
	assert_has(1, OUT4);
}

/* The longest names and addresses there are, behind the table. */
static void table_with_entries(void **state)
{
	struct td_nft_entry entries[20] = { 0 };
	const struct td_nft_table table = { "tunneldigger_4294967295", 20, true, entries, 20 };

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		entries[i] =
			(struct td_nft_entry){ flow_of(i % 2 ? TD_FAMILY_IPV6 : TD_FAMILY_IPV4),
					       30001 };
	td_nft_batch_fini(&batch);
	assert_int_equal(td_nft_batch_init(&batch, 20), 0);
	batch.first = 50;
	assert_int_equal(td_nft_build_table(&batch, &table, true), 0);
	take_apart();
	assert_int_equal(message_count, 14 + 40);
	assert_has(14, IN4);
	assert_has(15, OUT4);
	assert_has(52, IN6);
	assert_has(53, OUT6);
	assert_has(53, PORT("\x22\xee"));
}

/* Whichever allocation fails. */
static void without_memory(void **state)
{
	const struct td_nft_table table = { "t", 1, true, NULL, 0 };
	const struct td_flow flow = flow_of(TD_FAMILY_IPV4);
	int err = -ENOMEM, allowed;

	(void)state;
	for (allowed = 0; err == -ENOMEM; allowed++) {
		allocations_left = allowed;
		err = td_nft_build_table(&batch, &table, true);
	}
	assert_int_equal(err, 0);
	assert_in_range(allowed, 50, 100);
	err = -ENOMEM;
	for (allowed = 0; err == -ENOMEM; allowed++) {
		allocations_left = allowed;
		err = td_nft_build_add(&batch, "t", &flow, 1);
	}
	assert_int_equal(err, 0);
	assert_int_equal(allowed, 5);
	allocations_left = 0;
	assert_int_equal(td_nft_build_remove(&batch, "t", &flow, 1), -ENOMEM);
	assert_int_equal(td_nft_build_table_delete(&batch, "t"), -ENOMEM);
	allocations_left = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(entries),
		cmocka_unit_test(table_with_entries),
		cmocka_unit_test(without_memory),
		cmocka_unit_test(owner_is_not_known),
	};

	if (td_nft_batch_init(&batch, 0) != 0)
		return 1;
	batch.first = 50;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
