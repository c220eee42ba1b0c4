/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * How a tunnel of the kernel back-end goes: deleted by us, a paced task first and the kernel's own
 * time then, or by another hand. Which tunnel an interface belongs to is looked up by its index,
 * and while tunnels leave, or notifications were lost, a timer has us look at a bounded number of
 * them.
 *
 * Removal is TUNNEL_DELETE and closing the socket, never SESSION_DELETE, which may block all of
 * generic netlink for long. The kernel does it some time later: first the interface goes, then the
 * tunnel. destroy() ends when both are gone, for until then name and id are taken.
 */
#include <errno.h>
#include <stddef.h>

#include "base/build.h"
#include "datapath/kernel.h"
#include "sys/log.h"

/* Thousands of interfaces that are ports of bridges take the kernel minutes. */
#define LEAVE_LIMIT TD_SECONDS(180)

#define LOOK_OVER 128 /* interfaces at each tick of the timer */

#define leaving_of(pointer)                                                                      \
	((struct td_kernel_tunnel *)(void *)((char *)(pointer)-offsetof(struct td_kernel_tunnel, \
									link)))

struct td_kernel_tunnel *td_kernel_at(const struct td_kernel *k, uint32_t number)
{
	struct td_tunnel *t = td_backend_place(&k->dp, number);

	return t->handle.generation != 0 ? (struct td_kernel_tunnel *)t : NULL;
}

void td_kernel_set_ifindex(struct td_kernel *k, struct td_kernel_tunnel *t, unsigned ifindex)
{
	const uint32_t number = t->base.handle.index;

	if (TD_WITH_BROKER && t->base.ifindex != 0)
		td_index_remove(&k->by_ifindex, t->base.ifindex, number);
	t->base.ifindex = ifindex;
	if (TD_WITH_BROKER && ifindex != 0)
		td_index_add(&k->by_ifindex, ifindex, number);
}

static void run_timer(struct td_kernel *k)
{
	td_kernel_timer(k,
			k->leaving_count > 0 || (TD_WITH_BROKER && k->unseen < k->dp.max_tunnels));
}

void td_kernel_enter(struct td_kernel *k, struct td_kernel_tunnel *t, enum td_kernel_state state)
{
	if (TD_WITH_BROKER && state == TD_KERNEL_LEAVING)
		td_list_add(&k->leaving, &t->link);
	if (TD_WITH_BROKER && t->state == TD_KERNEL_LEAVING)
		td_list_remove(&t->link);
	k->leaving_count += state == TD_KERNEL_LEAVING;
	k->leaving_count -= t->state == TD_KERNEL_LEAVING;
	t->state = state;
	run_timer(k);
}

/* --- in the thread --- */

static void unmake(struct td_job *job)
{
	struct td_tunnel *t = td_backend_tunnel(job);
	struct td_kernel *k = (struct td_kernel *)t->task.dp;

	if (TD_WITH_BROKER)
		td_kernel_undivert(t);
	t->task.err = td_l2tp_tunnel_delete(&k->l2tp, t->info.tunnel_id);
}

/* Of a tunnel that was deleted by another hand. */
static void forget(struct td_job *job)
{
	td_kernel_undivert(td_backend_tunnel(job));
}

static void look(struct td_job *job)
{
	struct td_tunnel *t = td_backend_tunnel(job);
	struct td_kernel *k = (struct td_kernel *)t->task.dp;

	t->task.err = td_l2tp_tunnel_get(&k->l2tp, t->info.tunnel_id);
}

/* --- in the loop --- */

void td_kernel_finish(struct td_kernel *k, struct td_kernel_tunnel *t, int result)
{
	const struct td_handle handle = t->base.handle;

	if (t->state == TD_KERNEL_REMOVING || t->state == TD_KERNEL_LEAVING)
		td_jobs_removed(k->dp.jobs);
	td_kernel_set_ifindex(k, t, 0);
	td_kernel_enter(k, t, TD_KERNEL_FREE);
	t->base.handle = TD_NO_HANDLE;
	td_backend_done(&k->dp, handle, t->base.sequence, result);
}

static void looked(struct td_tunnel *base)
{
	struct td_kernel_tunnel *t = (struct td_kernel_tunnel *)base;

	if (base->task.err == -ENODEV)
		td_kernel_finish((struct td_kernel *)base->task.dp, t, t->result);
}

/* Ends it when there is nothing left of it. */
static void finish_if_gone(struct td_kernel_tunnel *t)
{
	if (t->state == TD_KERNEL_LEAVING && t->base.ifindex == 0 && !t->base.busy)
		td_backend_run(&t->base, TD_LANE_CHANGE, look, looked);
}

static void detach(struct td_kernel_tunnel *t)
{
	if (TD_WITH_BROKER && t->base.task.rewritten)
		td_log(TD_LOG_WARNING,
		       "nf_tables does not forget UDP port %u of a tunnel that is gone",
		       t->base.task.port);
	td_kernel_detach(t);
}

static void forgotten(struct td_tunnel *base)
{
	struct td_kernel_tunnel *t = (struct td_kernel_tunnel *)base;

	detach(t);
	td_kernel_finish((struct td_kernel *)base->task.dp, t, t->result);
}

static void delete_again(struct td_job *job)
{
	struct td_tunnel *t = td_backend_tunnel(job);
	struct td_kernel *k = (struct td_kernel *)t->task.dp;

	t->task.err = td_l2tp_tunnel_delete(&k->l2tp, t->info.tunnel_id);
}

static void deleted(struct td_tunnel *base)
{
	((struct td_kernel_tunnel *)base)->undeleted =
		base->task.err != 0 && base->task.err != -ENODEV;
}

static void unmade(struct td_tunnel *base)
{
	struct td_kernel *k = (struct td_kernel *)base->task.dp;
	struct td_kernel_tunnel *t = (struct td_kernel_tunnel *)base;
	const bool own = base->port == &t->own;
	const int err = base->task.err;

	detach(t);
	/* If it could not be deleted, closing the socket does it: ours is closed. Copies of it may not
	 * be, so it is asked for again. */
	deleted(base);
	if (own || !t->undeleted) {
		t->deadline = td_time_add(k->dp.loop->now, LEAVE_LIMIT);
		td_kernel_enter(k, t, TD_KERNEL_LEAVING);
		finish_if_gone(t);
	} else {
		td_kernel_finish(k, t, t->result < 0 ? t->result : err);
	}
}

void td_kernel_leave(struct td_kernel *k, struct td_kernel_tunnel *t, int result)
{
	t->result = result;
	if (t->state == TD_KERNEL_LOST) {
		/* Its id may be another's by now. */
		if (TD_WITH_BROKER && t->base.task.rewritten)
			td_backend_run(&t->base, TD_LANE_CHANGE, forget, forgotten);
		else
			forgotten(&t->base);
		return;
	}
	td_kernel_enter(k, t, TD_KERNEL_REMOVING);
	td_backend_run(&t->base, TD_LANE_DESTROY, unmake, unmade);
}

static void gone(struct td_kernel *k, struct td_kernel_tunnel *t)
{
	td_kernel_set_ifindex(k, t, 0);
	if (t->state == TD_KERNEL_LIVE) {
		td_kernel_enter(k, t, TD_KERNEL_LOST);
		k->dp.host.lost(k->dp.host.ctx, t->base.handle);
	} else {
		finish_if_gone(t);
	}
}

struct td_kernel_tunnel *td_kernel_find(const struct td_kernel *k, unsigned ifindex)
{
	struct td_kernel_tunnel *only = td_kernel_at(k, 0);
	struct td_index_pos pos;

	if (!TD_WITH_BROKER)
		return only && only->base.ifindex == ifindex ? only : NULL;
	pos = td_index_find(&k->by_ifindex, ifindex);
	return pos.number != TD_INDEX_NONE ? td_kernel_at(k, pos.number) : NULL;
}

void td_kernel_gone(struct td_kernel *k, unsigned ifindex, bool moved)
{
	struct td_kernel_tunnel *t = td_kernel_find(k, ifindex);

	if (!t)
		return;
	if (moved && t->state == TD_KERNEL_LIVE)
		td_kernel_set_ifindex(k, t, 0);
	else
		gone(k, t);
}

static void look_at(struct td_kernel *k, struct td_kernel_tunnel *t)
{
	if (t && t->base.ifindex != 0 && !td_rtnl_exists(&k->dp.rtnl, t->base.ifindex))
		gone(k, t);
}

static void look_over(struct td_kernel *k)
{
	for (unsigned i = 0; i < LOOK_OVER && k->unseen < k->dp.max_tunnels; i++)
		look_at(k, td_kernel_at(k, k->unseen++));
	run_timer(k);
}

void td_kernel_missed(struct td_kernel *k)
{
	k->unseen = 0;
	if (TD_WITH_BROKER)
		look_over(k);
	else
		look_at(k, td_kernel_at(k, 0));
}

/* The one whose turn it is. */
static struct td_kernel_tunnel *next_leaving(struct td_kernel *k)
{
	struct td_kernel_tunnel *t = td_kernel_at(k, 0);

	if (TD_WITH_BROKER) {
		t = leaving_of(k->leaving.next);
		td_list_remove(&t->link);
		td_list_add(&k->leaving, &t->link);
	}
	return t;
}

void td_kernel_tick(struct td_kernel *k)
{
	if (TD_WITH_BROKER)
		look_over(k);
	/* Each one once; the host may have others leave meanwhile. */
	for (unsigned count = k->leaving_count; count > 0 && k->leaving_count > 0; count--) {
		struct td_kernel_tunnel *t = next_leaving(k);

		if (!t->base.busy && td_time_reached(t->deadline, k->dp.loop->now))
			td_kernel_finish(k, t, t->result < 0 ? t->result : -ETIMEDOUT);
		else if (TD_WITH_BROKER && t->undeleted && !t->base.busy)
			td_backend_run(&t->base, TD_LANE_CHANGE, delete_again, deleted);
		else
			finish_if_gone(t);
	}
}
