/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The table of all keys: where each one is kept, what it may be, and what it is when not given. */
#ifndef TD_BROKER_CONFIG_KEYS_H
#define TD_BROKER_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/config.h"

enum td_key_kind {
	TD_KEY_ADDRESSES, /* with their count behind them */
	TD_KEY_PORTS,     /* as well */
	TD_KEY_INTERFACE,
	TD_KEY_NUMBER,  /* uint32_t */
	TD_KEY_SECONDS, /* int64_t microseconds; min and max are seconds */
	TD_KEY_CHOICE,  /* int: one of choices */
	TD_KEY_SWITCH,  /* bool: one of choices */
	TD_KEY_HOOK,
	TD_KEY_BRIDGES, /* struct td_bridge_list */
};

struct td_choice {
	const char *name; /* NULL ends the list */
	int value;        /* written back by the first name that has it */
};

struct td_key {
	const char *section;
	const char *name;
	enum td_key_kind kind;
	bool zero; /* may be 0 although min is more */
	uint32_t min, max;
	size_t offset;                   /* in struct td_broker_options */
	const struct td_choice *choices; /* … of TD_KEY_CHOICE and TD_KEY_SWITCH */
	const char *fallback;            /* the default as text; NULL: must be given */
	const char *help;                /* what is allowed: "…; use HELP" */
	/* The section may come again, with a number behind its name; so far apart are their values in
	 * struct td_broker_options. 0: it may not. */
	size_t stride;
};

/* Ordered by sections; the last one has no name. */
extern const struct td_key td_config_keys[];

/* Keys of deployed files that mean nothing any more. */
struct td_old_key {
	const char *section;
	const char *name;
	const char *advice;
};

extern const struct td_old_key td_config_old_keys[];

/* Is that the name of the key's section? */
bool td_key_in_section(const struct td_key *key, const char *section);

/* The memory of a key in options; which: of the sections of its name, 0 but for a stride. */
static inline void *td_key_at(const struct td_key *key, struct td_broker_options *options,
			      unsigned which)
{
	return (char *)options + key->offset + which * key->stride;
}

/* Where a value comes from, for messages. */
struct td_key_origin {
	unsigned line; /* 0: it is the default */
	struct td_report *report;
};

/* Sets the key to text, which may be changed. 0 or -EINVAL (see the report). */
int td_key_set(const struct td_key *key, struct td_broker_options *options, unsigned which,
	       char *text, const struct td_key_origin *origin) __attribute__((warn_unused_result));

#endif
