/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/l2tp_genl.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/l2tp.h>
#include <string.h>

#include "core/l2tp.h"
#include "datapath/datapath.h"

static struct nlmsghdr *begin(void *buf, uint16_t family, uint8_t command, uint8_t version)
{
	struct nlmsghdr *nlh = td_netlink_begin(buf, family, 0, sizeof(struct genlmsghdr));
	struct genlmsghdr *genl = NLMSG_DATA(nlh);

	genl->cmd = command;
	genl->version = version;
	return nlh;
}

static struct nlmsghdr *begin_l2tp(void *buf, uint16_t family, uint8_t command, uint32_t tunnel_id)
{
	struct nlmsghdr *nlh = begin(buf, family, command, L2TP_GENL_VERSION);

	mnl_attr_put_u32(nlh, L2TP_ATTR_CONN_ID, tunnel_id);
	return nlh;
}

struct nlmsghdr *td_l2tp_build_get_family(void *buf)
{
	struct nlmsghdr *nlh = begin(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, L2TP_GENL_NAME);
	return nlh;
}

struct nlmsghdr *td_l2tp_build_tunnel_create(void *buf, uint16_t family,
					     const struct td_tunnel_info *info, int fd)
{
	struct nlmsghdr *nlh = begin_l2tp(buf, family, L2TP_CMD_TUNNEL_CREATE, info->tunnel_id);

	mnl_attr_put_u32(nlh, L2TP_ATTR_PEER_CONN_ID, info->peer_tunnel_id);
	mnl_attr_put_u8(nlh, L2TP_ATTR_PROTO_VERSION, 3);
	mnl_attr_put_u16(nlh, L2TP_ATTR_ENCAP_TYPE, L2TP_ENCAPTYPE_UDP);
	mnl_attr_put_u32(nlh, L2TP_ATTR_FD, (uint32_t)fd);
	return nlh;
}

/* Without L2TP_ATTR_L2SPEC_TYPE the kernel takes the default sublayer, which is the wire's. */
struct nlmsghdr *td_l2tp_build_session_create(void *buf, uint16_t family,
					      const struct td_tunnel_info *info)
{
	struct nlmsghdr *nlh = begin_l2tp(buf, family, L2TP_CMD_SESSION_CREATE, info->tunnel_id);

	mnl_attr_put_u32(nlh, L2TP_ATTR_SESSION_ID, info->session_id);
	mnl_attr_put_u32(nlh, L2TP_ATTR_PEER_SESSION_ID, info->peer_session_id);
	mnl_attr_put_u16(nlh, L2TP_ATTR_PW_TYPE, L2TP_PWTYPE_ETH);
	mnl_attr_put_strz(nlh, L2TP_ATTR_IFNAME, info->ifname);
	if (info->cookie_size != 0) {
		mnl_attr_put(nlh, L2TP_ATTR_COOKIE, info->cookie_size, info->peer_cookie);
		mnl_attr_put(nlh, L2TP_ATTR_PEER_COOKIE, info->cookie_size, info->cookie);
	}
	return nlh;
}

struct nlmsghdr *td_l2tp_build_tunnel_delete(void *buf, uint16_t family, uint32_t tunnel_id)
{
	return begin_l2tp(buf, family, L2TP_CMD_TUNNEL_DELETE, tunnel_id);
}

struct nlmsghdr *td_l2tp_build_tunnel_get(void *buf, uint16_t family, uint32_t tunnel_id)
{
	return begin_l2tp(buf, family, L2TP_CMD_TUNNEL_GET, tunnel_id);
}

struct nlmsghdr *td_l2tp_build_session_get(void *buf, uint16_t family, uint32_t tunnel_id,
					   uint32_t session_id)
{
	struct nlmsghdr *nlh = begin_l2tp(buf, family, L2TP_CMD_SESSION_GET, tunnel_id);

	mnl_attr_put_u32(nlh, L2TP_ATTR_SESSION_ID, session_id);
	return nlh;
}

static int family_attribute(const struct nlattr *attr, void *ctx)
{
	uint16_t *family = ctx;

	if ((attr->nla_type & NLA_TYPE_MASK) != CTRL_ATTR_FAMILY_ID)
		return MNL_CB_OK;
	if (attr->nla_len != sizeof(*attr) + sizeof(*family))
		return MNL_CB_ERROR;
	memcpy(family, attr + 1, sizeof(*family));
	return MNL_CB_OK;
}

int td_l2tp_parse_family(const struct nlmsghdr *nlh, void *family)
{
	return mnl_attr_parse(nlh, sizeof(struct genlmsghdr), family_attribute, family);
}

static int transact(struct td_l2tp *l2tp, struct nlmsghdr *request)
{
	return td_netlink_transact(&l2tp->netlink, request, NULL, NULL);
}

int td_l2tp_open(struct td_l2tp *l2tp)
{
	int err = td_netlink_open(&l2tp->netlink, NETLINK_GENERIC);

	if (err < 0)
		return err;
	l2tp->family = 0;
	err = td_netlink_transact(&l2tp->netlink, td_l2tp_build_get_family(l2tp->request),
				  td_l2tp_parse_family, &l2tp->family);
	if (err == 0 && l2tp->family == 0)
		err = -ENOENT;
	if (err < 0)
		td_l2tp_close(l2tp);
	return err;
}

void td_l2tp_close(struct td_l2tp *l2tp)
{
	td_netlink_close(&l2tp->netlink);
}

int td_l2tp_tunnel_create(struct td_l2tp *l2tp, const struct td_tunnel_info *info, int fd)
{
	return transact(l2tp, td_l2tp_build_tunnel_create(l2tp->request, l2tp->family, info, fd));
}

int td_l2tp_session_create(struct td_l2tp *l2tp, const struct td_tunnel_info *info)
{
	return transact(l2tp, td_l2tp_build_session_create(l2tp->request, l2tp->family, info));
}

int td_l2tp_tunnel_delete(struct td_l2tp *l2tp, uint32_t tunnel_id)
{
	return transact(l2tp, td_l2tp_build_tunnel_delete(l2tp->request, l2tp->family, tunnel_id));
}

int td_l2tp_tunnel_get(struct td_l2tp *l2tp, uint32_t tunnel_id)
{
	return transact(l2tp, td_l2tp_build_tunnel_get(l2tp->request, l2tp->family, tunnel_id));
}

int td_l2tp_session_get(struct td_l2tp *l2tp, uint32_t tunnel_id, uint32_t session_id)
{
	return transact(l2tp, td_l2tp_build_session_get(l2tp->request, l2tp->family, tunnel_id,
							session_id));
}
