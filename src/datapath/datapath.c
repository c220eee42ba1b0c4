/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/datapath.h"

#include <stdio.h>

#define SENTENCE 200

static int try(const struct td_datapath_ops *candidate, const struct td_datapath_ops **ops,
	       char *why, size_t size)
{
	int err = candidate->probe(why, size);

	if (err == 0)
		*ops = candidate;
	return err;
}

static int choose_one(const struct td_datapath_ops *candidate, const struct td_datapath_ops **ops,
		      char *why, size_t size)
{
	int err = try(candidate, ops, why, size);

	if (err == 0)
		snprintf(why, size, "%s: as configured", candidate->name);
	return err;
}

static int choose_any(const struct td_datapath_ops **ops, char *why, size_t size)
{
	char kernel[SENTENCE], tap[SENTENCE];
	int err;

	if (try(&td_datapath_kernel, ops, kernel, sizeof(kernel)) == 0) {
		snprintf(why, size, "kernel: its L2TP works");
		return 0;
	}
	err = try(&td_datapath_tap, ops, tap, sizeof(tap));
	if (err == 0)
		snprintf(why, size, "tap: %s", kernel);
	else
		snprintf(why, size, "no data path: %s; %s", kernel, tap);
	return err;
}

int td_datapath_choose(enum td_datapath_choice choice, const struct td_datapath_ops **ops,
		       char *why, size_t size)
{
	switch (choice) {
	case TD_DATAPATH_KERNEL:
		return choose_one(&td_datapath_kernel, ops, why, size);
	case TD_DATAPATH_TAP:
		return choose_one(&td_datapath_tap, ops, why, size);
	case TD_DATAPATH_AUTO:
		break;
	}
	return choose_any(ops, why, size);
}
