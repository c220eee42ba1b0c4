/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/config_keys.h"

#define PER_LINE 8 /* items of a list: lines of a file have a limit */

static void separate(uint32_t place, FILE *to)
{
	if (place > 0)
		fputs(place % PER_LINE ? ", " : ",\n\t", to);
}

/* As a value is written: a percent sign is doubled. */
static void print_escaped(const char *text, FILE *to)
{
	for (; *text; text++) {
		if (*text == '%')
			fputc('%', to);
		fputc(*text, to);
	}
}

static void print_addresses(const struct td_broker_options *options, FILE *to)
{
	char text[TD_ADDR_TEXT];

	for (uint32_t i = 0; i < options->address_count; i++) {
		separate(i * 2, to);
		td_addr_text(text, &options->addresses[i], false);
		print_escaped(text, to);
	}
}

static void print_ports(const struct td_broker_options *options, FILE *to)
{
	for (uint32_t i = 0; i < options->port_count; i++) {
		separate(i, to);
		fprintf(to, "%u", options->ports[i]);
	}
}

static void print_seconds(int64_t us, FILE *to)
{
	char fraction[8];
	int size = snprintf(fraction, sizeof(fraction), "%06" PRId64, us % 1000000);

	while (size > 0 && fraction[size - 1] == '0')
		fraction[--size] = '\0';
	fprintf(to, "%" PRId64 "%s%s", us / 1000000, size ? "." : "", fraction);
}

static void print_choice(const struct td_key *key, int value, FILE *to)
{
	for (const struct td_choice *c = key->choices; c->name; c++) {
		if (c->value == value) {
			fputs(c->name, to);
			return;
		}
	}
}

static void print_bridges(const struct td_bridge_list *list, FILE *to)
{
	for (uint32_t i = 0; i < list->count; i++) {
		separate(i, to);
		fputs(list->names[i], to);
	}
}

static bool is_empty(const struct td_key *key, const void *at)
{
	if (key->kind == TD_KEY_BRIDGES)
		return ((const struct td_bridge_list *)at)->count == 0;
	return (key->kind == TD_KEY_INTERFACE || key->kind == TD_KEY_HOOK) && !*(const char *)at;
}

static void print_value(const struct td_key *key, const struct td_broker_options *options,
			const void *at, FILE *to)
{

	switch (key->kind) {
	case TD_KEY_ADDRESSES:
		print_addresses(options, to);
		break;
	case TD_KEY_PORTS:
		print_ports(options, to);
		break;
	case TD_KEY_INTERFACE:
	case TD_KEY_HOOK:
		print_escaped(at, to);
		break;
	case TD_KEY_NUMBER:
		fprintf(to, "%" PRIu32, *(const uint32_t *)at);
		break;
	case TD_KEY_SECONDS:
		print_seconds(*(const int64_t *)at, to);
		break;
	case TD_KEY_CHOICE:
		print_choice(key, *(const int *)at, to);
		break;
	case TD_KEY_SWITCH:
		print_choice(key, *(const bool *)at, to);
		break;
	case TD_KEY_BRIDGES:
		print_bridges(at, to);
		break;
	}
}

static void print_key(const struct td_key *key, const struct td_broker_options *options,
		      unsigned which, FILE *to)
{
	const void *at = (const char *)options + key->offset + which * key->stride;

	fprintf(to, "%s =%s", key->name, is_empty(key, at) ? "" : " ");
	print_value(key, options, at, to);
	fputc('\n', to);
}

/* Those for an MTU; the first one is printed like all other sections. */
static void print_more_bridges(const struct td_broker_options *options, FILE *to)
{
	for (unsigned i = 1; i < TD_BRIDGE_SETS; i++) {
		if (options->bridging.sets[i].mtu == 0)
			continue;
		fprintf(to, "\n[bridge %" PRIu32 "]\n", options->bridging.sets[i].mtu);
		for (const struct td_key *key = td_config_keys; key->name; key++) {
			if (key->stride != 0)
				print_key(key, options, i, to);
		}
	}
}

void td_config_print(const struct td_broker_options *options, FILE *to)
{
	const char *section = NULL;

	for (const struct td_key *key = td_config_keys; key->name; key++) {
		if (!section || strcmp(section, key->section) != 0) {
			fprintf(to, "%s[%s]\n", section ? "\n" : "", key->section);
			section = key->section;
		}
		print_key(key, options, 0, to);
	}
	print_more_bridges(options, to);
}
