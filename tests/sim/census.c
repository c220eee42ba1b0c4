/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "census.h"

#include <inttypes.h>
#include <stdio.h>

#define CENSUS_TEXT(name, text) text,

static const char *const texts[] = { CENSUS(CENSUS_TEXT) };

void census_add(struct census *to, const struct census *from)
{
	for (int i = 0; i < SAW_COUNT; i++)
		__atomic_fetch_add(&to->seen[i], from->seen[i], __ATOMIC_RELAXED);
}

void census_print(const struct census *c)
{
	for (int i = 0; i < SAW_COUNT; i++)
		printf("%10" PRIu64 "  %s\n", c->seen[i], texts[i]);
}

bool census_complete(const struct census *c)
{
	bool complete = true;

	for (int i = 0; i < SAW_COUNT; i++) {
		if (c->seen[i] > 0)
			continue;
		printf("never seen: %s\n", texts[i]);
		complete = false;
	}
	return complete;
}
