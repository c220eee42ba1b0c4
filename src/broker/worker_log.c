/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "broker/worker_state.h"
#include "sys/log.h"

static const char *end_text(enum td_end end)
{
	switch (end) {
	case TD_END_NONE:
		break;
	case TD_END_PEER:
		return "the client ended it";
	case TD_END_TIMEOUT:
		return "nothing heard from the client for two minutes";
	case TD_END_REPLACED:
		return "the client came again";
	case TD_END_FAILED:
		return "the data path could not make it";
	case TD_END_LOST:
		return "its interface was deleted by another hand";
	case TD_END_DATA:
		return "data did not get through";
	case TD_END_SHUTDOWN:
		return "the broker stops";
	}
	return "unknown";
}

void td_worker_log_up(const struct worker *w, const struct td_session_info *session)
{
	char peer[TD_ADDR_TEXT] = "(address not logged)";

	if (w->options->log_ip_addresses)
		td_addr_text(peer, &session->flow.peer, true);
	td_log(TD_LOG_INFO, "tunnel %u up: %s from %s, interface %s", session->tunnel_id,
	       session->uuid, peer, session->ifname);
}

void td_worker_log_down(const struct td_action *action)
{
	const struct td_session_info *session = action->session;

	if (action->end == TD_END_FAILED)
		td_log(TD_LOG_WARNING, "tunnel %u of %s failed: cannot make interface %s: %s%s",
		       session->tunnel_id, session->uuid, session->ifname, strerror(-action->err),
		       action->err == -EEXIST
			       ? "; something else has that name or id (see ip link, "
				 "ip l2tp show tunnel): remove it, or change "
				 "tunnel_id_base"
			       : "");
	else if (action->end == TD_END_DATA)
		td_log(TD_LOG_WARNING,
		       "tunnel %u down: %s, data did not get through: sent %u, the client got %u; "
		       "the client sent %u, got %u",
		       session->tunnel_id, session->uuid, action->counts.sent,
		       action->counts.peer_received, action->counts.peer_sent,
		       action->counts.received);
	else
		td_log(TD_LOG_INFO, "tunnel %u down: %s, %s", session->tunnel_id, session->uuid,
		       end_text(action->end));
}

void td_worker_log_rate(const struct td_session_info *session, uint32_t rate_kbps, int err)
{
	if (err != 0)
		td_log(TD_LOG_WARNING, "cannot limit %s to %u kbit/s: %s%s", session->ifname,
		       rate_kbps, strerror(-err),
		       err == -ENOENT ? "; does the kernel have sch_tbf?" : "");
	else
		td_log(TD_LOG_INFO, "tunnel %u: limited to %u kbit/s at the client's request",
		       session->tunnel_id, rate_kbps);
}

void td_worker_log_counters(const struct worker *w)
{
	const struct td_engine_counters *c = td_engine_counters(w->engine);
	const struct td_lane_figures creates = td_jobs_figures(w->jobs, TD_LANE_CREATE);

	td_log(TD_LOG_NOTICE,
	       "%llu tunnels established, %llu refused, %llu made to wait; "
	       "hooks skipped for lack of time: %llu; longest turn of the loop %lld us, "
	       "most processor time of one %lld us; longest wait for an interface %lld us",
	       (unsigned long long)c->established, (unsigned long long)c->refused,
	       (unsigned long long)c->parked, (unsigned long long)c->hooks_skipped,
	       (long long)w->figures.longest_wall_us, (long long)w->figures.longest_cpu_us,
	       (long long)creates.longest_us);
}
