/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Programming faults end the program; what a peer, the kernel or an operator does never gets here.
 */
#ifndef TD_BASE_ASSERT_H
#define TD_BASE_ASSERT_H

#include "base/build.h"

/* Defined by each program (and by the tests): reports and aborts. */
_Noreturn void td_assert_failed(const char *file, int line);

/* The client alone spares the names of the files: its lines tell them apart well enough. */
#define td_assert(condition) \
	((condition) ? (void)0 : td_assert_failed(TD_WITH_BROKER ? __FILE_NAME__ : "", __LINE__))

#endif
