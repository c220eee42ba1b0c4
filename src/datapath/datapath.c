/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/datapath.h"

#include <stdio.h>

#define SENTENCE 200

int td_datapath_choose(enum td_datapath_choice choice, const struct td_datapath_ops **ops,
		       char *why, size_t size)
{
	char kernel[SENTENCE] = "as configured", tap[SENTENCE] = "";
	int err;

	if (choice != TD_DATAPATH_TAP) {
		*ops = &td_datapath_kernel;
		err = td_datapath_kernel.probe(kernel, sizeof(kernel));
		if (err == 0 || choice == TD_DATAPATH_KERNEL) {
			snprintf(why, size, "kernel: %s", err < 0 ? kernel : "its L2TP works");
			return err;
		}
	}
	*ops = &td_datapath_tap;
	err = td_datapath_tap.probe(tap, sizeof(tap));
	if (err == 0)
		snprintf(why, size, "tap: %s", kernel);
	else if (choice == TD_DATAPATH_TAP)
		snprintf(why, size, "tap: %s", tap);
	else
		snprintf(why, size, "no data path: %s; %s", kernel, tap);
	return err;
}
