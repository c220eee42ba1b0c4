/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/sandbox.h"
#include "broker/worker_state.h"
#include "sys/caps.h"
#include "sys/entropy.h"
#include "sys/log.h"

#define NOBODY 65534U /* user and group */

int td_worker_open_engine(struct worker *w)
{
	struct td_engine_config config = { 0 };
	void *memory = malloc(td_engine_size(w->options->max_tunnels));

	w->slots = calloc(w->options->max_tunnels, sizeof(*w->slots));
	if (!memory || !w->slots) {
		free(memory);
		td_log(TD_LOG_ERROR, "not enough memory for %u tunnels: lower max_tunnels",
		       w->options->max_tunnels);
		return -ENOMEM;
	}
	td_config_engine(w->options, &config);
	config.shared_session_id = w->ops->shares_session_id(w->path);
	if (td_entropy_get(config.cookie_key, sizeof(config.cookie_key)) != 0 ||
	    td_entropy_get(config.index_key, sizeof(config.index_key)) != 0 ||
	    td_entropy_get(&config.seed, sizeof(config.seed)) != 0) {
		free(memory);
		td_log(TD_LOG_ERROR, "the kernel gives no random numbers");
		return -EIO;
	}
	w->engine = td_engine_init(memory, &config, w->loop.now);
	return 0;
}

/* How the kernel data path receives. */
static int scale_receiving(struct worker *w)
{
	const enum td_rx_scaling choice = w->options->rx_scaling;
	const struct td_rewrite_setup setup = { w->setup->rewrite_fd, w->options->tunnel_id_base,
						w->options->max_tunnels };
	char why[200];
	int err;

	if (choice == TD_RX_SCALING_OFF) {
		td_log(TD_LOG_NOTICE, "rx_scaling off: as configured");
		return 0;
	}
	err = td_rewrite_open(&w->rewrite, &setup, why, sizeof(why));
	if (err == 0)
		td_log(TD_LOG_NOTICE, "rx_scaling nft: each tunnel has a port of its own");
	else if (choice == TD_RX_SCALING_NFT)
		td_log(TD_LOG_ERROR, "rx_scaling nft: %s", why);
	else
		td_log(TD_LOG_WARNING,
		       "rx_scaling off, so that receiving costs more with each tunnel: %s", why);
	return choice == TD_RX_SCALING_NFT ? err : 0;
}

static int choose_path(struct worker *w)
{
	char why[256];
	int err = td_datapath_choose(w->options->datapath, &w->ops, why, sizeof(why));

	if (err != 0) {
		td_log(TD_LOG_ERROR, "%s", why);
		return err;
	}
	td_log(TD_LOG_NOTICE, "data path %s", why);
	return w->ops == &td_datapath_kernel ? scale_receiving(w) : 0;
}

int td_worker_open_path(struct worker *w, const struct td_datapath_host *host)
{
	const bool bridging = td_bridging_any(&w->options->bridging);
	struct td_datapath_setup setup = {
		.loop = &w->loop,
		.host = *host,
		.max_tunnels = w->options->max_tunnels,
		.jobs = w->jobs,
		.count_jobs = w->count_jobs,
		/* A hook does it otherwise: field scripts bridge the interface first. */
		.link_up = bridging || w->options->hooks[TD_HOOK_UP][0] == '\0',
		.bridging = bridging ? &w->options->bridging : NULL,
	};
	struct td_listeners *listeners = w->setup->listeners;
	int err = choose_path(w);

	if (err != 0)
		return err;
	setup.rewrite = w->rewrite;
	err = w->ops->open(&w->path, &setup);
	for (uint32_t i = 0; err == 0 && i < listeners->count; i++)
		err = w->ops->listen(w->path, &listeners->udp[i]);
	if (err != 0)
		td_log(TD_LOG_ERROR, "cannot open the data path: %s", strerror(-err));
	return err;
}

static void adopt_one(struct worker *w, struct td_kept_session *kept)
{
	const struct td_session_info *session;
	const int fd = kept->fd;
	struct td_handle handle;
	struct td_udp *udp;

	if (td_engine_adopt(w->engine, kept->record, kept->size, &handle, w->loop.now) != 0) {
		td_log(TD_LOG_WARNING,
		       "a session cannot be taken over: its client has to come again");
		return;
	}
	session = td_engine_session(w->engine, handle);
	if (!session)
		return;
	udp = td_listeners_find(w->setup->listeners, &session->flow);
	if (udp && fd >= 0) {
		kept->fd = -1; /* the back-end's now, also if it fails */
		w->slots[handle.index].fd_sent =
			w->ops->adopt(w->path, handle, session, udp, fd) == 0;
	}
	if (!w->slots[handle.index].fd_sent)
		td_engine_lost(w->engine, handle, w->loop.now);
}

void td_worker_adopt(struct worker *w)
{
	for (uint32_t i = 0; i < w->options->max_tunnels; i++) {
		struct td_kept_session *kept = &w->setup->kept[i];

		if (kept->size > 0)
			adopt_one(w, kept);
		if (kept->fd >= 0)
			close(kept->fd);
		kept->fd = -1;
	}
}

int td_worker_start_rewriting(struct worker *w)
{
	int err = td_rewrite_start(w->rewrite);

	if (err != 0)
		td_log(TD_LOG_ERROR, "rx_scaling nft: the table cannot be made: %s",
		       strerror(-err));
	return err;
}

/*
 * Where root cannot change the user, in containers of few ids or capabilities, the worker stays root
 * without root's capabilities, and without files.
 */
static int drop_privileges(uint64_t keep)
{
	int err;

	if (geteuid() != 0)
		return td_caps_confine(keep, 0, 0);
	err = td_sandbox_leave_files();
	if (err != 0)
		td_log(TD_LOG_NOTICE, "the worker keeps its root directory: %s", strerror(-err));
	err = td_caps_confine(keep, NOBODY, NOBODY);
	if (err != -EPERM && err != -EINVAL)
		return err;
	td_log(TD_LOG_NOTICE, "the worker keeps the user id 0: %u cannot be had (%s)", NOBODY,
	       strerror(-err));
	return td_caps_confine(keep, 0, 0);
}

int td_worker_confine(const struct worker *w)
{
	uint64_t keep = TD_CAP(CAP_NET_ADMIN);
	int err;

	/* It binds a socket to the listener's port (53, perhaps) for each tunnel. */
	if (w->ops == &td_datapath_kernel && !w->rewrite)
		keep |= TD_CAP(CAP_NET_BIND_SERVICE);
	err = drop_privileges(keep);
	if (err == 0)
		err = td_jobs_run(w->jobs, "td-kernel");
	if (err == 0)
		err = td_jobs_run(w->count_jobs, "td-stats");
	if (err == 0)
		err = td_sandbox_enter();
	if (err != 0)
		td_log(TD_LOG_ERROR, "cannot give up privileges: %s", strerror(-err));
	return err;
}
