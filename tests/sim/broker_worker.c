/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A broker's worker is replaced: the next one takes over from the records that the parent has. */
#include <stdlib.h>

#include "core/engine_impl.h"
#include "sim.h"

static void adopt(struct sim_broker *b, uint32_t index)
{
	struct watch *v = &b->oracle.watches[index];
	struct sim_iface *iface = &b->ifaces[index];
	enum session_state state;
	struct td_handle handle;

	v->path_sequence = 0;
	v->destroys = 0;
	iface->gone |= !iface->present;
	iface->used = b->sim->now; /* a new worker gives everybody the whole time */
	v->destroying |= v->closing && td_time_reached(b->oracle.stop_at, sim_broker_now(b));
	if (b->record_sizes[index] == 0) {
		*v = (struct watch){ 0 };
		iface->present = false; /* the parent removes what nobody knows any more */
		return;
	}
	sim_check(b->sim, td_engine_adopt(b->engine, b->records[index], b->record_sizes[index],
					  &handle, sim_broker_now(b)) == 0);
	sim_check(b->sim, handle.index == index && td_handle_equal(handle, v->handle));
	/* What the old one did without having it recorded has not been done. */
	state = b->engine->sessions[index].state;
	v->closing &= state != SESSION_UP;
	v->gone &= state == SESSION_DOWN || state == SESSION_FREE;
	if (!iface->present) /* its descriptor leads nowhere */
		td_engine_lost(b->engine, handle, sim_broker_now(b));
	/* A DESTROY that was under way may have been done. */
	if (v->destroying && iface->present && sim_chance(b->sim, 500)) {
		iface->present = false;
		iface->gone = true;
	}
}

/* orderly: an upgrade, in which the old one is asked for its records; otherwise those that the
 * parent has have to do. */
void sim_broker_restart_worker(struct sim_broker *b, bool orderly)
{
	void *old_memory = b->memory;
	struct td_engine *old = b->engine;

	if (b->old_model || b->stopping)
		return;
	sim_log(b->sim, "broker %u gets another worker", b->number);
	for (uint32_t i = 0; orderly && i < b->config.max_tunnels; i++)
		b->record_sizes[i] =
			b->oracle.watches[i].live
				? (uint16_t)td_engine_export(old, b->oracle.watches[i].handle,
							     b->records[i], sim_broker_now(b))
				: 0;
	b->worker++;
	sim_broker_new_engine(b);
	for (uint32_t i = b->config.max_tunnels; i-- > 0;)
		adopt(b, i);
	free(old_memory);
	b->wake_at = TD_NEVER;
	td_hook_runs_worker_died(&b->runs);
	sim_broker_tell_hooks(b);
	if (b->running) /* that may have been its last step */
		sim_broker_settle(b);
}

void sim_broker_lose(struct sim_broker *b)
{
	const uint32_t start = sim_below(b->sim, b->config.max_tunnels);

	for (uint32_t n = 0; !b->old_model && n < b->config.max_tunnels; n++) {
		const uint32_t i = (start + n) % b->config.max_tunnels;

		if (!b->ifaces[i].present || !b->oracle.watches[i].up)
			continue;
		sim_log(b->sim, "broker %u loses interface %u", b->number, i);
		b->ifaces[i].present = false;
		b->ifaces[i].gone = true;
		sim_saw(b->sim, SAW_LOST_IFACE);
		td_engine_lost(b->engine, b->oracle.watches[i].handle, sim_broker_now(b));
		sim_broker_settle(b);
		return;
	}
}
