/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Everything that the client machine asks for is done here, and everything that happens is told to
 * it. Callbacks only feed the machine; prepare(), which the loop calls before it waits, does what
 * is due, sends and acts until the machine has nothing more to say. So nothing is re-entered.
 *
 * A socket belongs to this file while brokers are being asked: one datagram is read per event, so
 * that the rest stays in the socket when CREATE hands it to the data path, which reads it from then
 * on. After DESTROY it comes back, to be closed.
 */
#include "client/client.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client/lookups.h"
#include "client/path.h"
#include "client/report.h"
#include "client/script.h"
#include "core/l2tp.h"
#include "sys/entropy.h"
#include "sys/log.h"
#include "sys/rtnl.h"

#define NO_SLOT     UINT32_MAX
#define DEBOUNCE_US TD_MS(200)    /* changes of the network come in bunches */
#define FAREWELL_US TD_SECONDS(1) /* to send what is to be said at the end */
#define RX_SIZE     512           /* before there is a tunnel, nothing longer has a meaning */

struct app;

struct slot {
	struct td_watch watch; /* first: readable() gets this */
	struct td_udp udp;
	struct app *app;
};

struct app {
	struct td_loop loop;
	const struct td_options *options;
	struct td_client *machine; /* on the heap, as slots */
	struct td_signals signals;
	struct td_netwatch netwatch;
	struct td_lookups lookups;
	struct td_script script;
	struct td_report report;
	struct slot *slots;
	uint32_t slot_count;

	const struct td_datapath_ops *ops;
	struct td_datapath *dp;
	uint32_t tunnel_slot;    /* whose socket the data path has; NO_SLOT: none */
	struct td_handle handle; /* a new generation for each tunnel */
	struct td_session_info session;

	struct td_time network_check; /* TD_NEVER: none due */
	struct td_time end;           /* then we go, whatever is still to be said */

	/* A datagram that is to be sent. */
	uint32_t tx_slot;
	size_t tx_size; /* 0: none */
	uint8_t tx[TD_MTU_MAX + TD_INNER_OVERHEAD];
};

#define owner_of(pointer, member) \
	((struct app *)(void *)((char *)(pointer)-offsetof(struct app, member)))

/* --- sockets --- */

static void readable(struct td_watch *watch, uint32_t events)
{
	struct slot *slot = (struct slot *)watch;
	struct app *app = slot->app;
	uint8_t bytes[RX_SIZE];
	struct td_datagram datagram = { .bytes = bytes, .size = sizeof(bytes) };
	int count = td_udp_receive(&slot->udp, &datagram, 1);

	(void)events;
	if (count > 0)
		td_client_rx(app->machine, (uint32_t)(slot - app->slots), bytes, datagram.size,
			     app->loop.now);
	else if (count < 0)
		td_loop_del(&app->loop, watch); /* the machine will find that nobody answers */
}

static int open_slot(struct app *app, struct slot *slot, const struct td_addr *peer)
{
	int err = td_udp_connect(&slot->udp, peer, &app->options->local, app->options->bind_ifname);

	if (err < 0)
		return err;
	slot->watch = (struct td_watch){ .fd = slot->udp.fd, .ready = readable };
	err = td_loop_add(&app->loop, &slot->watch, EPOLLIN);
	if (err < 0)
		td_udp_close(&slot->udp);
	return err;
}

static void close_slot(struct app *app, uint32_t number)
{
	struct slot *slot = &app->slots[number];

	if (slot->udp.fd < 0)
		return;
	if (number == app->tunnel_slot) {
		app->ops->forget(app->dp, &slot->udp);
		app->tunnel_slot = NO_SLOT;
	} else {
		td_loop_del(&app->loop, &slot->watch);
	}
	td_udp_close(&slot->udp);
	if (app->tx_slot == number)
		app->tx_size = 0;
}

static int send_one(struct app *app)
{
	struct td_udp *udp = &app->slots[app->tx_slot].udp;
	const struct td_flow flow = { udp->local, udp->peer };
	const struct iovec iov = { app->tx, app->tx_size };

	if (udp->fd < 0)
		return 0;
	if (app->tx_slot == app->tunnel_slot)
		return app->ops->send(app->dp, app->handle, &flow, app->tx, app->tx_size);
	int err = td_udp_send(udp, &flow, &iov, 1);
	return err == -EAGAIN ? 0 : err; /* lost: each message is repeated by the machine */
}

/* Sends what there is, until the data path's socket is full; writable() is the time to go on. */
static void send_all(struct app *app, struct td_time now)
{
	for (;;) {
		if (app->tx_size == 0)
			app->tx_size = td_client_tx(app->machine, &app->tx_slot, app->tx,
						    sizeof(app->tx), now);
		if (app->tx_size == 0 || send_one(app) == -EAGAIN)
			return;
		app->tx_size = 0;
	}
}

/* --- the data path's host --- */

static void control(void *ctx, const struct td_flow *flow, const uint8_t *bytes, size_t size)
{
	struct app *app = ctx;

	(void)flow; /* there is one, and its socket is connected */
	if (app->tunnel_slot != NO_SLOT)
		td_client_rx(app->machine, app->tunnel_slot, bytes, size, app->loop.now);
}

static void check_interface(const struct app *app, int err)
{
	if (err < 0)
		td_log(TD_LOG_ERROR, "interface %s: %s%s", app->session.ifname, strerror(-err),
		       err == -EEXIST ? "; remove what has that name or tunnel id, or take "
					"others (-i, -t)"
				      : "");
}

static void done(void *ctx, struct td_handle handle, uint32_t sequence, int err)
{
	struct app *app = ctx;

	(void)handle; /* the machine knows its actions by their sequence */
	check_interface(app, err);
	td_client_result(app->machine, sequence, err, app->loop.now);
}

static void counted(void *ctx, struct td_handle handle, const struct td_link_stats *stats)
{
	struct app *app = ctx;

	(void)handle;
	td_client_counted(app->machine, (uint32_t)stats->tx_packets, (uint32_t)stats->rx_packets);
}

static void lost(void *ctx, struct td_handle handle)
{
	struct app *app = ctx;

	if (td_handle_equal(handle, app->handle))
		td_client_lost(app->machine, app->loop.now);
}

static void writable(void *ctx)
{
	(void)ctx; /* prepare() follows */
}

/* --- what the machine asks for --- */

static void create(struct app *app, const struct td_client_action *action)
{
	struct slot *slot = &app->slots[action->slot];
	int err;

	app->session = *action->session;
	app->session.flow = (struct td_flow){ slot->udp.local, slot->udp.peer };
	app->handle.generation++;
	td_loop_del(&app->loop, &slot->watch);
	app->tunnel_slot = action->slot;
	err = app->ops->listen(app->dp, &slot->udp);
	if (err < 0)
		done(app, app->handle, action->sequence, err);
	else
		app->ops->create(app->dp, app->handle, action->sequence, &app->session, &slot->udp);
}

/* With a hook, it decides whether and when the interface goes up. */
static void run_hook(struct app *app, enum td_hook hook)
{
	if (app->options->hook != NULL)
		td_script_start(&app->script, hook == TD_HOOK_UP ? "session.up" : "session.down",
				app->session.ifname);
}

static void act(struct app *app, const struct td_client_action *action, struct td_time now)
{
	switch (action->kind) {
	case TD_CLIENT_RESOLVE:
		td_lookups_start(&app->lookups, action->broker,
				 &app->options->brokers[action->broker]);
		break;
	case TD_CLIENT_OPEN:
		td_client_result(app->machine, action->sequence,
				 open_slot(app, &app->slots[action->slot], &action->addr), now);
		break;
	case TD_CLIENT_CLOSE:
		close_slot(app, action->slot);
		break;
	case TD_CLIENT_CREATE:
		create(app, action);
		break;
	case TD_CLIENT_SET_MTU:
		app->session.mtu = action->session->mtu;
		td_log(TD_LOG_NOTICE, "MTU of %s is %u", app->session.ifname, app->session.mtu);
		app->ops->set_mtu(app->dp, app->handle, action->sequence, app->session.mtu);
		break;
	case TD_CLIENT_DESTROY:
		app->ops->destroy(app->dp, app->handle, action->sequence);
		break;
	case TD_CLIENT_COUNT:
		app->ops->count(app->dp);
		break;
	case TD_CLIENT_HOOK:
		run_hook(app, action->hook);
		break;
	case TD_CLIENT_STATE:
		td_report_state(&app->report, action, &app->session, now);
		break;
	}
}

static void resolved(struct td_lookups *lookups, uint32_t broker, const struct td_addr *addrs,
		     unsigned count)
{
	struct app *app = owner_of(lookups, lookups);

	td_client_resolved(app->machine, broker, addrs, count, app->loop.now);
}

/* --- what happens around us --- */

static void network_changed(struct td_netwatch *netwatch)
{
	struct app *app = owner_of(netwatch, netwatch);

	app->network_check =
		td_time_min(app->network_check, td_time_add(app->loop.now, DEBOUNCE_US));
}

static void check_network(struct app *app, struct td_time now)
{
	app->network_check = TD_NEVER;
	if (td_client_state(app->machine) != TD_CLIENT_UP)
		td_client_network_changed(app->machine, now);
	else if (app->tunnel_slot != NO_SLOT &&
		 td_path_moved(&app->slots[app->tunnel_slot].udp, &app->options->local,
			       app->options->bind_ifname))
		td_client_path_changed(app->machine, now);
}

static void told_to_end(struct td_signals *signals, int signo)
{
	struct app *app = owner_of(signals, signals);

	(void)signo;
	if (app->end.us != TD_NEVER.us) { /* told again */
		td_loop_stop(&app->loop);
		return;
	}
	app->end = td_time_add(app->loop.now, FAREWELL_US);
	td_client_shutdown(app->machine, app->loop.now);
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	struct app *app = ctx;
	struct td_client_action action;

	td_lookups_tick(&app->lookups, now);
	if (td_time_reached(app->network_check, now))
		check_network(app, now);
	td_client_tick(app->machine, now);
	send_all(app, now);
	while (td_client_next_action(app->machine, &action, now)) {
		act(app, &action, now);
		send_all(app, now);
	}

	bool ended = td_client_state(app->machine) == TD_CLIENT_ENDED && app->tx_size == 0;
	if (ended || td_time_reached(app->end, now))
		td_loop_stop(&app->loop);
	return td_time_min(
		td_time_min(td_client_deadline(app->machine), td_lookups_deadline(&app->lookups)),
		td_time_min(app->network_check, app->end));
}

/* --- from beginning to end --- */

static int start_machine(struct app *app)
{
	const struct td_options *options = app->options;
	uint64_t seed;

	if (td_entropy_get(&seed, sizeof(seed)) < 0)
		seed = (uint64_t)td_now().us;
	const struct td_client_config config = {
		.uuid = options->uuid,
		.ifname = options->ifname,
		.tunnel_id = options->tunnel_id,
		.limit_kbps = options->limit_kbps,
		.broker_count = options->broker_count,
		.max_mtu = (uint16_t)options->max_mtu,
		.selection = options->selection,
		.seed = seed,
	};
	void *memory = calloc(1, td_client_size(options->broker_count));

	app->slot_count = options->broker_count * TD_ADDRESSES_MAX;
	app->slots = calloc(app->slot_count, sizeof(app->slots[0]));
	if (memory == NULL || app->slots == NULL) {
		free(memory);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < app->slot_count; i++)
		app->slots[i] = (struct slot){ .udp.fd = -1, .app = app };
	app->machine = td_client_init(memory, &config, td_now());
	return 0;
}

static int start(struct app *app)
{
	static const int signals[] = { SIGTERM, SIGINT, 0 };
	const struct td_datapath_setup setup = {
		.loop = &app->loop,
		.host = { control, done, counted, lost, writable, app },
		.max_tunnels = 1,
		.link_up = app->options->hook == NULL, /* else it decides whether and when */
	};
	int err = td_loop_init(&app->loop, prepare, app);

	app->lookups.loop = &app->loop;
	app->lookups.resolved = resolved;
	app->netwatch.changed = network_changed;
	app->signals.received = told_to_end;
	if (err == 0)
		err = td_signals_init(&app->signals, &app->loop, signals);
	if (err == 0)
		err = td_netwatch_init(&app->netwatch, &app->loop);
	if (err == 0)
		err = app->ops->open(&app->dp, &setup);
	return err == 0 ? start_machine(app) : err;
}

int td_client_run(const struct td_options *options, const struct td_datapath_ops *ops)
{
	static struct app app; /* a process has one, and what is in it ends with the process */
	int err;

	app = (struct app){
		.options = options,
		.ops = ops,
		.report.datapath = ops->name,
		.script = { .loop = &app.loop, .path = options->hook },
		.tunnel_slot = NO_SLOT,
		.network_check = TD_NEVER,
		.end = TD_NEVER,
	};
	err = start(&app);
	if (err == 0)
		err = td_loop_run(&app.loop);
	if (err < 0)
		td_log(TD_LOG_ERROR, "cannot go on: %s", strerror(-err));
	return err;
}
