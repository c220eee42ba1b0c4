/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "broker/config_keys.h"
#include "broker/inifile.h"
#include "core/l2tp.h"

#define TUNNEL_ID_END 100000 /* the names of interfaces hold five digits */
#define MTU_MIN       1280   /* of an interface that carries IPv6 */

struct loading {
	struct td_ini ini;
	char text[TD_INI_VALUE + 1]; /* of the value at hand */
	struct td_broker_options *options;
	struct td_report *report;
};

static bool known_section(const char *name)
{
	for (const struct td_key *key = td_config_keys; key->name; key++) {
		if (td_key_in_section(key, name))
			return true;
	}
	return false;
}

static bool known_key(const char *section, const char *name)
{
	for (const struct td_key *key = td_config_keys; key->name; key++) {
		if (td_key_in_section(key, section) && strcasecmp(key->name, name) == 0)
			return true;
	}
	return false;
}

static const char *advice_on_old_key(const char *section, const char *name)
{
	for (const struct td_old_key *key = td_config_old_keys; key->name; key++) {
		if (strcmp(key->section, section) == 0 && strcasecmp(key->name, name) == 0)
			return key->advice;
	}
	return NULL;
}

/* [DEFAULT] is left out: what is in there may be meant for references only. */
static void warn_of_unknown(const struct td_ini *ini, struct td_report *report)
{
	for (unsigned i = 1; i < ini->section_count; i++) {
		if (!known_section(ini->sections[i].name))
			td_report_warning(report, ini->sections[i].line, NULL,
					  "[%s] is not a section of this file, it is ignored",
					  ini->sections[i].name);
	}
	for (unsigned i = 0; i < ini->option_count; i++) {
		const struct td_ini_option *option = &ini->options[i];
		const char *section = ini->sections[option->section].name;
		const char *advice = advice_on_old_key(section, option->name);

		if (advice)
			td_report_warning(report, option->line, option->name,
					  "is of no use any more, it is ignored: %s", advice);
		else if (known_section(section) && !known_key(section, option->name))
			td_report_warning(report, option->line, option->name,
					  "is not a key of [%s], it is ignored", section);
	}
}

/* section: the name it has in the file, which of that kind it is. */
static int set_key(struct loading *l, const struct td_key *key, const char *section, unsigned which)
{
	const struct td_ini_option *option = td_ini_find(&l->ini, section, key->name);
	struct td_key_origin origin = { option ? option->line : 0, l->report };
	int err;

	if (!option && !key->fallback)
		return td_report_error(l->report, 0, key->name, "is missing in [%s]; use %s",
				       section, key->help);
	if (option) {
		err = td_ini_value(&l->ini, section, option, l->text, l->report);
		if (err)
			return err;
	} else {
		memcpy(l->text, key->fallback, strlen(key->fallback) + 1);
	}
	return td_key_set(key, l->options, which, l->text, &origin);
}

static int refuse_bridge(struct loading *l, const struct td_ini_section *section, const char *why)
{
	return td_report_error(l->report, section->line, NULL, "[%s] %s", section->name, why);
}

/* The MTU in "bridge 1364"; 0: there is none that an interface can have. */
static uint32_t mtu_of(const char *section)
{
	const char *number = section + strlen("bridge") + strspn(section + strlen("bridge"), " ");
	unsigned long mtu =
		strspn(number, "0123456789") == strlen(number) ? strtoul(number, NULL, 10) : 0;

	return mtu >= MTU_MIN && mtu <= TD_MTU_MAX ? (uint32_t)mtu : 0;
}

static int set_bridge(struct loading *l, const struct td_ini_section *section)
{
	struct td_bridge_set *sets = l->options->bridging.sets;
	const uint32_t mtu = mtu_of(section->name);
	unsigned which = 1;
	int err = 0;

	if (mtu == 0)
		return refuse_bridge(l, section,
				     "names no MTU; use [bridge] or, with a number from 1280 to "
				     "9000, [bridge 1406]");
	while (which < TD_BRIDGE_SETS && sets[which].mtu != 0 && sets[which].mtu != mtu)
		which++;
	if (which == TD_BRIDGE_SETS)
		return refuse_bridge(l, section, "is one too many, 8 MTUs can have bridges");
	if (sets[which].mtu == mtu)
		return refuse_bridge(l, section, "is for the MTU of another section");
	sets[which].mtu = mtu;
	for (const struct td_key *key = td_config_keys; !err && key->name; key++) {
		if (key->stride != 0)
			err = set_key(l, key, section->name, which);
	}
	return err;
}

static int set_bridges(struct loading *l)
{
	int err = 0;

	for (unsigned i = 0; !err && i < l->ini.section_count; i++) {
		if (strncmp(l->ini.sections[i].name, "bridge ", strlen("bridge ")) == 0)
			err = set_bridge(l, &l->ini.sections[i]);
	}
	return err;
}

static unsigned line_of(const struct td_ini *ini, const char *name)
{
	const struct td_ini_option *option = td_ini_find(ini, "broker", name);

	return option ? option->line : 0;
}

static int check_ids(const struct loading *l)
{
	const struct td_broker_options *o = l->options;
	unsigned line = line_of(&l->ini, "tunnel_id_base");

	if (o->tunnel_id_base + o->max_tunnels <= TUNNEL_ID_END)
		return 0;
	if (!line)
		line = line_of(&l->ini, "max_tunnels");
	return td_report_error(l->report, line, "tunnel_id_base",
			       "%u and %u tunnels from there on go beyond the last id, 99999; "
			       "with so many tunnels it is at most %u",
			       o->tunnel_id_base, o->max_tunnels, TUNNEL_ID_END - o->max_tunnels);
}

static void warn_of_half_limit(const struct loading *l, const char *count_name, bool has_count,
			       const char *time_name, bool has_time)
{
	const char *given = has_count ? count_name : time_name;

	if (has_count != has_time)
		td_report_warning(l->report, line_of(&l->ini, given), given,
				  "limits nothing as long as %s is 0",
				  has_count ? time_name : count_name);
}

static int check_together(const struct loading *l)
{
	const struct td_broker_options *o = l->options;

	warn_of_half_limit(l, "connection_rate_limit_per_ip_count", o->per_ip_count,
			   "connection_rate_limit_per_ip_time", o->per_ip_time_us);
	warn_of_half_limit(l, "connection_rate_limit_per_uuid_count", o->per_uuid_count,
			   "connection_rate_limit_per_uuid_time", o->per_uuid_time_us);
	if (o->pmtu && o->pmtu < MTU_MIN)
		td_report_warning(l->report, line_of(&l->ini, "pmtu"), "pmtu",
				  "interfaces get an MTU of %d, the least that IPv6 needs",
				  MTU_MIN);
	return check_ids(l);
}

static int load_all(struct loading *l, const char *text, size_t size)
{
	int err = td_ini_parse(&l->ini, text, size, l->report);

	if (err)
		return err;
	warn_of_unknown(&l->ini, l->report);
	for (const struct td_key *key = td_config_keys; !err && key->name; key++)
		err = set_key(l, key, key->section, 0);
	if (!err)
		err = set_bridges(l);
	return err ? err : check_together(l);
}

int td_config_parse(struct td_broker_options *options, const char *text, size_t size,
		    struct td_report *report)
{
	struct loading *l = calloc(1, sizeof(*l));
	int err;

	memset(options, 0, sizeof(*options));
	report->error[0] = '\0';
	if (!l) {
		td_report_error(report, 0, NULL, "cannot be read: out of memory");
		return -ENOMEM;
	}
	l->options = options;
	l->report = report;
	err = load_all(l, text, size);
	td_ini_fini(&l->ini);
	free(l);
	return err;
}

/* All of it, or more than can be parsed. */
static ssize_t read_all(const char *path, char *to, size_t capacity)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 1;
	size_t size = 0;

	if (fd < 0)
		return -errno;
	while (got > 0 && size < capacity) {
		got = read(fd, to + size, capacity - size);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			size += (size_t)got;
	}
	if (got < 0)
		got = -errno;
	close(fd);
	return got < 0 ? got : (ssize_t)size;
}

int td_config_load(struct td_broker_options *options, const char *path, struct td_report *report)
{
	char *text = malloc(TD_INI_FILE + 1);
	ssize_t size = text ? read_all(path, text, TD_INI_FILE + 1) : -ENOMEM;
	int err;

	report->file = path;
	if (size < 0) {
		err = (int)size;
		td_report_error(report, 0, NULL, "cannot be read: %s", strerror(-err));
	} else {
		err = td_config_parse(options, text, (size_t)size, report);
	}
	free(text);
	return err;
}

static struct td_rate count_in_time(uint32_t count, int64_t time_us)
{
	if (count == 0 || time_us == 0)
		return (struct td_rate){ 0, 1 };
	return (struct td_rate){ (time_us + count - 1) / count, count };
}

static uint16_t fixed_mtu(uint32_t pmtu)
{
	if (pmtu == 0)
		return 0;
	return (uint16_t)(pmtu < MTU_MIN ? MTU_MIN : pmtu);
}

void td_config_engine(const struct td_broker_options *options, struct td_engine_config *engine)
{
	engine->max_tunnels = options->max_tunnels;
	engine->tunnel_id_base = options->tunnel_id_base;
	engine->fixed_mtu = fixed_mtu(options->pmtu);
	engine->max_mtu = (uint16_t)options->pmtu_max;
	engine->rate = (struct td_rate){ options->rate_interval_us, options->rate_burst };
	engine->rate_per_ip = count_in_time(options->per_ip_count, options->per_ip_time_us);
	engine->rate_per_uuid = count_in_time(options->per_uuid_count, options->per_uuid_time_us);
	engine->hooks = 0;
	for (uint32_t i = 0; i < TD_HOOK_COUNT; i++) {
		if (options->hooks[i][0])
			engine->hooks |= 1u << i;
	}
}
