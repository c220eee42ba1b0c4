/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/report.h"

#include <arpa/inet.h>

#include "sys/log.h"

static void report_up(struct td_report *report, const struct td_session_info *s, struct td_time now)
{
	const struct td_addr *peer = &s->flow.peer;
	const bool v6 = peer->family == TD_FAMILY_IPV6;
	char ip[INET6_ADDRSTRLEN] = "";

	inet_ntop(v6 ? AF_INET6 : AF_INET, peer->ip, ip, sizeof(ip));
	td_log(TD_LOG_NOTICE,
	       "connected to broker %s%s%s:%u in %u ms, interface %s, tunnel id %u, data path %s, "
	       "MTU %u",
	       v6 ? "[" : "", ip, v6 ? "]" : "", peer->port,
	       (unsigned)((td_time_since(now, report->asked) + 999) / 1000), s->ifname,
	       s->peer_tunnel_id, report->datapath, s->mtu);
	report->trouble = NULL;
}

/* A network that is away for hours makes the client try for hours: it says so once. */
static void report_trouble(struct td_report *report, const char *why, const char *consequence)
{
	if (report->trouble != why)
		td_log(TD_LOG_NOTICE, "%s: %s", why, consequence);
	report->trouble = why;
}

void td_report_state(struct td_report *report, const struct td_client_action *action,
		     const struct td_session_info *session, struct td_time now)
{
	const char *why = action->why;

	switch (action->state) {
	case TD_CLIENT_OFFLINE:
		report_trouble(report, why, "waiting for the network");
		break;
	case TD_CLIENT_WAITING:
		report_trouble(report, why, "trying again later");
		break;
	case TD_CLIENT_SELECTING:
		report->asked = now;
		break;
	case TD_CLIENT_UP:
		report_up(report, session, now);
		break;
	case TD_CLIENT_CLOSING:
		td_log(TD_LOG_NOTICE, "tunnel over interface %s ends: %s", session->ifname, why);
		break;
	case TD_CLIENT_COOKIE:
	case TD_CLIENT_PREPARE:
	case TD_CLIENT_CREATING:
	case TD_CLIENT_ENDED:
		break;
	}
}
