/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/config_keys.h"

#include <string.h>

#define AT(member) offsetof(struct td_broker_options, member)

static const struct td_choice datapaths[] = {
	{ "auto", TD_DATAPATH_AUTO },
	{ "kernel", TD_DATAPATH_KERNEL },
	{ "tap", TD_DATAPATH_TAP },
	{ NULL, 0 },
};

static const struct td_choice rx_scalings[] = {
	{ "auto", TD_RX_SCALING_AUTO },
	{ "nft", TD_RX_SCALING_NFT },
	{ "off", TD_RX_SCALING_OFF },
	{ NULL, 0 },
};

static const struct td_choice levels[] = {
	{ "DEBUG", TD_LOG_DEBUG }, { "INFO", TD_LOG_INFO },      { "WARNING", TD_LOG_WARNING },
	{ "ERROR", TD_LOG_ERROR }, { "CRITICAL", TD_LOG_ERROR }, { NULL, 0 },
};

static const struct td_choice switches[] = {
	{ "true", true }, { "yes", true },  { "on", true }, { "1", true },   { "false", false },
	{ "no", false },  { "off", false }, { "0", false }, { NULL, false },
};

#define SECONDS(low, high) .kind = TD_KEY_SECONDS, .min = (low), .max = (high)
#define NUMBER(low, high)  .kind = TD_KEY_NUMBER, .min = (low), .max = (high)
#define HOOK(hook_name, number)                                                                   \
	{                                                                                         \
		.section = "hooks", .name = (hook_name), .kind = TD_KEY_HOOK,                     \
		.offset =                                                                         \
			AT(hooks) + (number) * sizeof(((struct td_broker_options *)0)->hooks[0]), \
		.fallback = "", .help = "the path of an executable file, without arguments",      \
	}

#define BRIDGE(bridge_name) \
	.section = "bridge", .name = (bridge_name), .stride = sizeof(struct td_bridge_set)

/* clang-format off */
const struct td_key td_config_keys[] = {
	{ "broker", "address", TD_KEY_ADDRESSES, .offset = AT(addresses),
	  .help = "numeric addresses, \"0.0.0.0, ::\" for all of this host" },
	{ "broker", "port", TD_KEY_PORTS, .offset = AT(ports), .min = 1, .max = 65535,
	  .help = "UDP ports from 1 to 65535, separated by commas" },
	{ "broker", "interface", TD_KEY_INTERFACE, .offset = AT(interface), .fallback = "",
	  .help = "the name of a network interface, or nothing for all" },
	{ "broker", "max_tunnels", NUMBER(1, 65535), .offset = AT(max_tunnels),
	  .fallback = "1024", .help = "a number from 1 to 65535" },
	{ "broker", "tunnel_id_base", NUMBER(1, 99999), .offset = AT(tunnel_id_base),
	  .fallback = "100", .help = "a number from 1 to 99999" },
	{ "broker", "connection_rate_limit", SECONDS(0, 86400), .offset = AT(rate_interval_us),
	  .fallback = "0.2", .help = "seconds from 0 (no limit) to 86400" },
	{ "broker", "connection_rate_limit_burst", NUMBER(1, 65535), .offset = AT(rate_burst),
	  .fallback = "100", .help = "a number from 1 to 65535" },
	{ "broker", "connection_rate_limit_per_ip_count", NUMBER(0, 1000000),
	  .offset = AT(per_ip_count), .fallback = "0",
	  .help = "a number from 0 (no limit) to 1000000" },
	{ "broker", "connection_rate_limit_per_ip_time", SECONDS(0, 86400),
	  .offset = AT(per_ip_time_us), .fallback = "0",
	  .help = "seconds from 0 (no limit) to 86400" },
	{ "broker", "connection_rate_limit_per_uuid_count", NUMBER(0, 1000000),
	  .offset = AT(per_uuid_count), .fallback = "0",
	  .help = "a number from 0 (no limit) to 1000000" },
	{ "broker", "connection_rate_limit_per_uuid_time", SECONDS(0, 86400),
	  .offset = AT(per_uuid_time_us), .fallback = "0",
	  .help = "seconds from 0 (no limit) to 86400" },
	{ "broker", "pmtu", NUMBER(576, 9000), .zero = true, .offset = AT(pmtu), .fallback = "0",
	  .help = "0 to measure it, or an inner MTU from 576 to 9000" },
	{ "broker", "pmtu_max", NUMBER(1280, 9000), .offset = AT(pmtu_max), .fallback = "1446",
	  .help = "a number from 1280 to 9000" },
	{ "broker", "datapath", TD_KEY_CHOICE, .choices = datapaths, .offset = AT(datapath),
	  .fallback = "auto", .help = "auto, kernel or tap" },
	{ "broker", "rx_scaling", TD_KEY_CHOICE, .choices = rx_scalings, .offset = AT(rx_scaling),
	  .fallback = "auto", .help = "auto, nft or off" },
	{ "broker", "shutdown_timeout", SECONDS(0, 600), .offset = AT(shutdown_timeout_us),
	  .fallback = "10", .help = "seconds from 0 to 600" },
	{ "log", "verbosity", TD_KEY_CHOICE, .choices = levels, .offset = AT(verbosity),
	  .fallback = "INFO", .help = "DEBUG, INFO, WARNING, ERROR or CRITICAL" },
	{ "log", "log_ip_addresses", TD_KEY_SWITCH, .choices = switches,
	  .offset = AT(log_ip_addresses), .fallback = "false", .help = "true or false" },
	HOOK("session.up", TD_HOOK_UP),
	HOOK("session.pre-down", TD_HOOK_PRE_DOWN),
	HOOK("session.down", TD_HOOK_DOWN),
	HOOK("session.mtu-changed", TD_HOOK_MTU_CHANGED),
	HOOK("broker.connection-rate-limit", TD_HOOK_RATE_LIMITED),
	{ "hooks", "timeout", SECONDS(1, 3600), .offset = AT(hook_timeout_us),
	  .fallback = "30", .help = "seconds from 1 to 3600" },
	{ "hooks", "parallel", NUMBER(1, 1024), .offset = AT(hook_parallel),
	  .fallback = "16", .help = "a number from 1 to 1024" },
	{ BRIDGE("interface"), .kind = TD_KEY_BRIDGES, .offset = AT(bridging.sets[0].list),
	  .fallback = "", .help = "the names of up to 8 bridges, separated by commas, or nothing" },
	{ BRIDGE("isolate"), .kind = TD_KEY_SWITCH, .choices = switches,
	  .offset = AT(bridging.sets[0].isolate), .fallback = "true", .help = "true or false" },
	{ 0 },
};
/* clang-format on */

const struct td_old_key td_config_old_keys[] = {
	{ "broker", "max_cookies", "cookies need no memory any more" },
	{ "broker", "port_base", "tunnels use the ports that the broker listens on" },
	{ "broker", "tunnel_timeout", "a tunnel ends after 120 seconds of silence" },
	{ "broker", "pmtu_discovery", "the key pmtu decides" },
	{ "broker", "namespace", "start the broker in the network namespace" },
	{ "broker", "check_modules", "what is missing is found out by trying" },
	{ "log", "filename", "the log goes to standard error" },
	{ "log", "script_log", "what hooks print goes to the log" },
	{ "hooks", "script_log", "what hooks print goes to the log" },
	{ 0 },
};

bool td_key_in_section(const struct td_key *key, const char *section)
{
	const size_t size = strlen(key->section);

	if (strncmp(key->section, section, size) != 0)
		return false;
	return section[size] == '\0' || (key->stride != 0 && section[size] == ' ');
}
