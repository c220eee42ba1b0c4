/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Is the client machine's memory consistent? Looks inside; for use whenever nothing more is to be
 * drained. engine_check.c is the same for the engine.
 */
#ifndef TD_TESTS_CLIENT_CHECK_H
#define TD_TESTS_CLIENT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/client_machine.h"

static inline void check_client(const struct td_client *m)
{
	const struct td_candidates *s = &m->candidates;

	assert_true(s->chosen == TD_NO_SLOT || s->chosen < s->slot_count);
	assert_true(s->busy == TD_NO_SLOT || s->busy < s->slot_count);
	assert_true(m->log_count == 0 && m->ack_count <= TD_MACHINE_ACKS);
	assert_in_range(s->lookups_running, 0, TD_LOOKUPS_MAX);
	assert_int_equal(s->busy != TD_NO_SLOT, m->local.state != TD_LOCAL_ABSENT);
	if (m->state == TD_CLIENT_UP)
		assert_true(m->local.state == TD_LOCAL_PRESENT && !m->local.given_up);
	/* Whoever is not at its end, and waits for nobody, has a time to go on. */
	if (m->state != TD_CLIENT_ENDED)
		assert_int_not_equal(td_client_deadline(m).us, TD_NEVER.us);
}

#endif
