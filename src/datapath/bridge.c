/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* All of it is called by the tasks, but td_bridges_init(). */
#include "datapath/bridge.h"

#include <errno.h>
#include <string.h>

#include "sys/log.h"

#define NO_BRIDGE (-ENOTTY) /* an interface, but no bridge */

bool td_bridging_any(const struct td_bridging *bridging)
{
	for (unsigned i = 0; i < TD_BRIDGE_SETS; i++) {
		if (bridging->sets[i].list.count > 0)
			return true;
	}
	return false;
}

static unsigned set_of(const struct td_bridging *bridging, uint32_t mtu)
{
	for (unsigned i = 1; i < TD_BRIDGE_SETS; i++) {
		if (bridging->sets[i].mtu == mtu)
			return i;
	}
	return 0;
}

/* --- what the log hears --- */

static void warn(const char *name, int err)
{
	switch (-err) {
	case ENODEV:
		td_log(TD_LOG_WARNING,
		       "bridge %s is not there, and tunnels do not join it: make it "
		       "(ip link add name %s up type bridge)",
		       name, name);
		break;
	case -NO_BRIDGE:
		td_log(TD_LOG_WARNING, "%s is no bridge, and tunnels do not join it", name);
		break;
	case EXFULL:
		td_log(TD_LOG_WARNING,
		       "bridge %s is full: tunnels join the next one that the configuration names, "
		       "or none",
		       name);
		break;
	default:
		td_log(TD_LOG_WARNING, "tunnels cannot join bridge %s as configured: %s", name,
		       strerror(-err));
	}
}

/*
 * Each change once. A bridge that is full has room whenever a client leaves and not when the next
 * one comes, so that being full is told once and its end not at all.
 */
static void note(int *fault, const char *name, int err)
{
	if (err == *fault || (err == 0 && *fault == -EXFULL))
		return;
	*fault = err;
	if (err != 0)
		warn(name, err);
	else
		td_log(TD_LOG_NOTICE, "tunnels join bridge %s again", name);
}

/* --- one bridge --- */

static int find_bridge(struct td_rtnl *rtnl, const char *name, unsigned *ifindex)
{
	struct td_rtnl_link link;
	int err = td_rtnl_get_link(rtnl, 0, name, &link);

	if (err == 0 && !link.is_bridge)
		err = NO_BRIDGE;
	if (err == 0)
		*ifindex = link.ifindex;
	return err;
}

void td_bridges_init(struct td_bridges *bridges, const struct td_bridging *bridging,
		     struct td_rtnl *rtnl)
{
	memset(bridges, 0, sizeof(*bridges));
	bridges->bridging = bridging;
	for (unsigned i = 0; bridging && i < TD_BRIDGE_SETS; i++) {
		const struct td_bridge_list *list = &bridging->sets[i].list;

		for (uint32_t k = 0; k < list->count; k++) {
			unsigned ifindex;

			note(&bridges->faults[i][k], list->names[k],
			     find_bridge(rtnl, list->names[k], &ifindex));
		}
	}
}

/* 0, or -errno, and then it is in no bridge; *safe becomes false when that is not certain. */
static int join(struct td_rtnl *rtnl, unsigned ifindex, const char *name, bool isolate, bool *safe)
{
	unsigned bridge = 0;
	int err = find_bridge(rtnl, name, &bridge);

	if (err < 0)
		return err;
	err = td_rtnl_set_master(rtnl, ifindex, bridge);
	if (err == 0 && isolate)
		err = td_rtnl_isolate(rtnl, ifindex);
	/* What the kernel did not answer may have been done. */
	if (err < 0 && err != -EXFULL)
		*safe = td_rtnl_set_master(rtnl, ifindex, 0) == 0;
	return err;
}

/* --- an interface --- */

int td_bridges_join(struct td_bridges *bridges, struct td_rtnl *rtnl, unsigned ifindex,
		    uint32_t mtu)
{
	const unsigned number = set_of(bridges->bridging, mtu);
	const struct td_bridge_set *set = &bridges->bridging->sets[number];
	bool safe = true;

	for (uint32_t i = 0; i < set->list.count; i++) {
		int err = join(rtnl, ifindex, set->list.names[i], set->isolate, &safe);

		if (!safe) /* or the interface is gone: then nobody is to blame */
			return err;
		note(&bridges->faults[number][i], set->list.names[i], err);
		if (err == 0)
			return 0;
	}
	return 0;
}

/* Is the interface where a hook, or somebody else, wants it? */
static bool is_elsewhere(const struct td_bridging *bridging, struct td_rtnl *rtnl, unsigned master)
{
	unsigned ifindex;

	if (master == 0)
		return false;
	for (unsigned i = 0; i < TD_BRIDGE_SETS; i++) {
		const struct td_bridge_list *list = &bridging->sets[i].list;

		for (uint32_t k = 0; k < list->count; k++) {
			if (find_bridge(rtnl, list->names[k], &ifindex) == 0 && ifindex == master)
				return false;
		}
	}
	return true;
}

static int move(struct td_bridges *bridges, struct td_rtnl *rtnl, const struct td_rtnl_link *link,
		uint32_t mtu)
{
	bool safe = true;
	int err = link->is_up ? td_rtnl_set_state(rtnl, link->ifindex, false) : 0;

	/* Out first: the MTU of a bridge may follow the smallest of its ports. */
	if (err == 0)
		err = td_rtnl_set_master(rtnl, link->ifindex, 0);
	if (err == 0)
		err = td_rtnl_set_mtu(rtnl, link->ifindex, mtu);
	if (err == 0) {
		err = td_bridges_join(bridges, rtnl, link->ifindex, mtu);
		safe = err == 0;
	}
	if (link->is_up && safe) {
		const int up = td_rtnl_set_state(rtnl, link->ifindex, true);

		err = err < 0 ? err : up;
	}
	return err;
}

int td_bridges_set_mtu(struct td_bridges *bridges, struct td_rtnl *rtnl, unsigned ifindex,
		       uint32_t mtu)
{
	const struct td_bridging *bridging = bridges->bridging;
	struct td_rtnl_link link;
	int err = td_rtnl_get_link(rtnl, ifindex, NULL, &link);

	if (err < 0)
		return err;
	if (set_of(bridging, link.mtu) == set_of(bridging, mtu) ||
	    is_elsewhere(bridging, rtnl, link.master))
		return td_rtnl_set_mtu(rtnl, link.ifindex, mtu);
	return move(bridges, rtnl, &link, mtu);
}
