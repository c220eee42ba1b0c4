/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The broker's configuration: read, checked, completed by defaults, written back.
 *
 * The format is the one deployed brokers read (broker/inifile.h); which keys there are, and what
 * each may be, is one table (config_keys.c), which the manual page is tested against. An unknown
 * key is a warning, because deployed files contain some; a wrong value is an error.
 */
#ifndef TD_BROKER_CONFIG_H
#define TD_BROKER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"
#include "broker/report.h"
#include "core/engine.h"
#include "core/session_info.h"
#include "datapath/bridge.h"
#include "datapath/datapath.h"
#include "sys/log.h"

#define TD_CONFIG_ADDRESSES 16
#define TD_CONFIG_PORTS     64
#define TD_CONFIG_PATH      150 /* characters of a path */

enum td_rx_scaling {
	TD_RX_SCALING_AUTO,
	TD_RX_SCALING_NFT,
	TD_RX_SCALING_OFF,
};

/* Owns nothing: it can be copied, and needs no end. */
struct td_broker_options {
	struct td_addr addresses[TD_CONFIG_ADDRESSES]; /* port 0: each is to listen on all ports */
	uint32_t address_count;
	uint16_t ports[TD_CONFIG_PORTS];
	uint32_t port_count;
	char interface[TD_IFNAME_SIZE]; /* "": any */
	uint32_t max_tunnels;
	uint32_t tunnel_id_base;
	int64_t rate_interval_us; /* between two new tunnels; 0: no limit */
	uint32_t rate_burst;
	uint32_t per_ip_count; /* so many tunnels in that time; one of them 0: no limit */
	int64_t per_ip_time_us;
	uint32_t per_uuid_count;
	int64_t per_uuid_time_us;
	uint32_t pmtu;     /* fixed inner MTU as configured; 0: measure */
	uint32_t pmtu_max; /* largest inner MTU to look for */
	enum td_datapath_choice datapath;
	enum td_rx_scaling rx_scaling;
	int64_t shutdown_timeout_us;
	enum td_log_level verbosity;
	bool log_ip_addresses;
	char hooks[TD_HOOK_COUNT][TD_CONFIG_PATH + 1]; /* "": none */
	int64_t hook_timeout_us;
	uint32_t hook_parallel;
	struct td_bridging bridging;
};

/* Reads the file at path, which must stay until the report has been used. 0 or -errno; then
 * report->error is the sentence for the operator. */
int td_config_load(struct td_broker_options *options, const char *path, struct td_report *report)
	__attribute__((warn_unused_result));
/* The same for size bytes in memory; report->file is their name. */
int td_config_parse(struct td_broker_options *options, const char *text, size_t size,
		    struct td_report *report) __attribute__((warn_unused_result));

/* Writes the effective configuration: all keys, in a form that reads back as the same. */
void td_config_print(const struct td_broker_options *options, FILE *to);

/* What the engine needs of it. Keys and seed are the caller's to fill in. */
void td_config_engine(const struct td_broker_options *options, struct td_engine_config *engine);

#endif
