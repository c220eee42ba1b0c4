/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client's log: one line per change of state, and no repetitions while nothing changes. */
#ifndef TD_CLIENT_REPORT_H
#define TD_CLIENT_REPORT_H

#include "core/client.h"

struct td_report {
	const char *datapath;
	struct td_time asked; /* when the search for a broker began */
	const char *trouble;  /* reported since the tunnel was up; NULL: none */
};

void td_report_state(struct td_report *report, const struct td_client_action *action,
		     const struct td_session_info *session, struct td_time now);

#endif
