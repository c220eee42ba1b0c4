/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The messages to and from the kernel's L2TP, attribute by attribute; hostile answers. */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/l2tp.h>
#include <string.h>

#include "datapath/datapath.h"
#include "datapath/l2tp_genl.h"

#define FAMILY 0x23

static _Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

static const struct td_tunnel_info info = {
	.tunnel_id = 0x11223344,
	.peer_tunnel_id = 0x55667788,
	.session_id = 0x99aabbcc,
	.peer_session_id = 0xddeeff01,
	.mtu = 1400,
	.ifname = "l2tp12345-12345",
};

static void expect_header(const struct nlmsghdr *nlh, uint16_t type, uint8_t command)
{
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);

	assert_int_equal(nlh->nlmsg_type, type);
	assert_int_equal(nlh->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
	assert_int_equal(genl->cmd, command);
	assert_int_equal(genl->version, 1);
	assert_int_equal(genl->reserved, 0);
	assert_true(nlh->nlmsg_len <= sizeof(buf));
}

static int collect(const struct nlattr *attr, void *table)
{
	const struct nlattr **attrs = table;
	uint16_t type = mnl_attr_get_type(attr);

	assert_in_range(type, 1, L2TP_ATTR_MAX);
	assert_null(attrs[type]);
	attrs[type] = attr;
	return MNL_CB_OK;
}

/* Returns how many attributes there are. */
static unsigned attributes(const struct nlmsghdr *nlh,
			   const struct nlattr *table[L2TP_ATTR_MAX + 1])
{
	unsigned count = 0;

	memset(table, 0, sizeof(*table) * (L2TP_ATTR_MAX + 1));
	assert_true(mnl_attr_parse(nlh, sizeof(struct genlmsghdr), collect, table) >= 0);
	for (unsigned i = 0; i <= L2TP_ATTR_MAX; i++)
		count += table[i] != NULL;
	return count;
}

static void expect_u8(const struct nlattr *attr, uint8_t value)
{
	assert_non_null(attr);
	assert_int_equal(mnl_attr_validate(attr, MNL_TYPE_U8), 0);
	assert_int_equal(mnl_attr_get_u8(attr), value);
}

static void expect_u16(const struct nlattr *attr, uint16_t value)
{
	assert_non_null(attr);
	assert_int_equal(mnl_attr_validate(attr, MNL_TYPE_U16), 0);
	assert_int_equal(mnl_attr_get_u16(attr), value);
}

static void expect_u32(const struct nlattr *attr, uint32_t value)
{
	assert_non_null(attr);
	assert_int_equal(mnl_attr_validate(attr, MNL_TYPE_U32), 0);
	assert_int_equal(mnl_attr_get_u32(attr), value);
}

static void get_family(void **state)
{
	const struct nlmsghdr *nlh = td_l2tp_build_get_family(buf);
	const struct nlattr *table[L2TP_ATTR_MAX + 1];

	(void)state;
	expect_header(nlh, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	assert_int_equal(attributes(nlh, table), 1);
	assert_non_null(table[CTRL_ATTR_FAMILY_NAME]);
	assert_string_equal(mnl_attr_get_str(table[CTRL_ATTR_FAMILY_NAME]), "l2tp");
}

static void tunnel_create(void **state)
{
	const struct nlmsghdr *nlh = td_l2tp_build_tunnel_create(buf, FAMILY, &info, 17);
	const struct nlattr *table[L2TP_ATTR_MAX + 1];

	(void)state;
	expect_header(nlh, FAMILY, L2TP_CMD_TUNNEL_CREATE);
	assert_int_equal(attributes(nlh, table), 5);
	expect_u32(table[L2TP_ATTR_CONN_ID], 0x11223344);
	expect_u32(table[L2TP_ATTR_PEER_CONN_ID], 0x55667788);
	expect_u8(table[L2TP_ATTR_PROTO_VERSION], 3);
	expect_u16(table[L2TP_ATTR_ENCAP_TYPE], L2TP_ENCAPTYPE_UDP);
	expect_u32(table[L2TP_ATTR_FD], 17);
}

static void session_create(void **state)
{
	const struct nlmsghdr *nlh = td_l2tp_build_session_create(buf, FAMILY, &info);
	const struct nlattr *table[L2TP_ATTR_MAX + 1];

	(void)state;
	expect_header(nlh, FAMILY, L2TP_CMD_SESSION_CREATE);
	assert_int_equal(attributes(nlh, table), 5);
	expect_u32(table[L2TP_ATTR_CONN_ID], 0x11223344);
	expect_u32(table[L2TP_ATTR_SESSION_ID], 0x99aabbcc);
	expect_u32(table[L2TP_ATTR_PEER_SESSION_ID], 0xddeeff01);
	expect_u16(table[L2TP_ATTR_PW_TYPE], L2TP_PWTYPE_ETH);
	assert_non_null(table[L2TP_ATTR_IFNAME]);
	assert_int_equal(mnl_attr_validate(table[L2TP_ATTR_IFNAME], MNL_TYPE_NUL_STRING), 0);
	assert_string_equal(mnl_attr_get_str(table[L2TP_ATTR_IFNAME]), "l2tp12345-12345");
	/* The sublayer of the wire is the default; a cookie would make the header longer. */
	assert_null(table[L2TP_ATTR_L2SPEC_TYPE]);
	assert_null(table[L2TP_ATTR_COOKIE]);
	assert_null(table[L2TP_ATTR_PEER_COOKIE]);
}

static void tunnel_delete(void **state)
{
	const struct nlmsghdr *nlh = td_l2tp_build_tunnel_delete(buf, FAMILY, 0xffffffff);
	const struct nlattr *table[L2TP_ATTR_MAX + 1];

	(void)state;
	expect_header(nlh, FAMILY, L2TP_CMD_TUNNEL_DELETE);
	assert_int_equal(attributes(nlh, table), 1);
	expect_u32(table[L2TP_ATTR_CONN_ID], 0xffffffff);
}

static void tunnel_get(void **state)
{
	const struct nlmsghdr *nlh = td_l2tp_build_tunnel_get(buf, FAMILY, 9);
	const struct nlattr *table[L2TP_ATTR_MAX + 1];

	(void)state;
	expect_header(nlh, FAMILY, L2TP_CMD_TUNNEL_GET);
	assert_int_equal(attributes(nlh, table), 1);
	expect_u32(table[L2TP_ATTR_CONN_ID], 9);
}

static void session_get(void **state)
{
	const struct nlmsghdr *nlh = td_l2tp_build_session_get(buf, FAMILY, 7, 8);
	const struct nlattr *table[L2TP_ATTR_MAX + 1];

	(void)state;
	expect_header(nlh, FAMILY, L2TP_CMD_SESSION_GET);
	assert_int_equal(attributes(nlh, table), 2);
	expect_u32(table[L2TP_ATTR_CONN_ID], 7);
	expect_u32(table[L2TP_ATTR_SESSION_ID], 8);
}

/* --- answers --- */

static struct nlmsghdr *answer(uint8_t command)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = FAMILY;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = command;
	return nlh;
}

static void family_is_parsed(void **state)
{
	struct nlmsghdr *nlh = answer(CTRL_CMD_NEWFAMILY);
	uint16_t family = 0;

	(void)state;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, "l2tp");
	assert_true(td_l2tp_parse_family(nlh, &family) >= 0);
	assert_int_equal(family, 0);
	mnl_attr_put_u16(nlh, CTRL_ATTR_FAMILY_ID, 0x1f);
	mnl_attr_put_u32(nlh, 40, 1); /* unknown: newer than we */
	assert_true(td_l2tp_parse_family(nlh, &family) >= 0);
	assert_int_equal(family, 0x1f);

	nlh = answer(CTRL_CMD_NEWFAMILY);
	mnl_attr_put_u8(nlh, CTRL_ATTR_FAMILY_ID, 1);
	assert_true(td_l2tp_parse_family(nlh, &family) < 0);
}

/* Cut at every byte, in memory that ends there: the sanitizers see every access beyond. */
static void answers_are_cut(void **state)
{
	const struct nlmsghdr *whole = answer(CTRL_CMD_NEWFAMILY);
	const size_t size = whole->nlmsg_len;

	(void)state;
	for (size_t cut = sizeof(struct nlmsghdr); cut < size; cut++) {
		struct nlmsghdr *nlh = malloc(cut);
		uint16_t family = 0;

		assert_non_null(nlh);
		memcpy(nlh, whole, cut);
		nlh->nlmsg_len = (uint32_t)cut;
		(void)td_l2tp_parse_family(nlh, &family);
		free(nlh);
	}
}

static int count(const struct nlmsghdr *nlh, void *messages)
{
	(void)nlh;
	++*(unsigned *)messages;
	return MNL_CB_OK;
}

/* A length beyond 2 GB is negative for libmnl, which then stays where it is. */
static void absurd_lengths_come_to_an_end(void **state)
{
	static const uint32_t lengths[] = { 0, 15, 17, 4096, 0x7fffffff, 0x80000000, 0xffffffff };
	alignas(struct nlmsghdr) char two[2 * sizeof(struct nlmsghdr)];
	struct nlmsghdr *second;
	unsigned messages = 0;

	(void)state;
	mnl_nlmsg_put_header(two)->nlmsg_type = FAMILY;
	second = mnl_nlmsg_put_header(two + sizeof(two) / 2);
	second->nlmsg_type = FAMILY;
	assert_int_equal(td_netlink_parse(two, sizeof(two), 0, count, &messages), MNL_CB_OK);
	assert_int_equal(messages, 2);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		second->nlmsg_len = lengths[i];
		(void)!td_netlink_parse(two, sizeof(two), 0, count, &messages);
	}
	assert_true(messages < 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_family),
		cmocka_unit_test(tunnel_create),
		cmocka_unit_test(session_create),
		cmocka_unit_test(tunnel_delete),
		cmocka_unit_test(tunnel_get),
		cmocka_unit_test(session_get),
		cmocka_unit_test(family_is_parsed),
		cmocka_unit_test(answers_are_cut),
		cmocka_unit_test(absurd_lengths_come_to_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
