/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Preloaded into a broker that runs under valgrind, which does not know seccomp(2): there the
 * worker keeps all system calls. For bench/run alone.
 */
#include <seccomp.h>

static int nothing;

scmp_filter_ctx seccomp_init(uint32_t action)
{
	(void)action;
	return &nothing;
}

int seccomp_rule_add(scmp_filter_ctx filter, uint32_t action, int number, unsigned int count, ...)
{
	(void)filter, (void)action, (void)number, (void)count;
	return 0;
}

int seccomp_load(const scmp_filter_ctx filter)
{
	(void)filter;
	return 0;
}

void seccomp_release(scmp_filter_ctx filter)
{
	(void)filter;
}
