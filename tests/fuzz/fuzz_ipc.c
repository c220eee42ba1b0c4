/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the broker's parent, which is root, does with the messages of a worker that somebody else has
 * taken over. Whatever comes: a hook is run with sound arguments or not at all, and all descriptors
 * are closed in the end.
 *
 * Input: messages, each (u8 kind, fields): see send_one().
 */
#include <fcntl.h>
#include <stdalign.h>
#include <sys/socket.h>

#include "../../src/broker/parent.c" /* what it does with a message is its own */
#include "base/text.h"
#include "fuzz.h"

#define TUNNELS  4
#define RUNS_MAX 32

static struct td_broker_options options = {
	.max_tunnels = TUNNELS,
	.hooks = { "/up", "/pre-down", "/down", "", "/rate-limited" },
};

/* Hooks that run, as far as the parent knows. */
static struct {
	uint64_t tokens[RUNS_MAX];
	unsigned count;
} running;

__typeof__(td_hooks_run) __wrap_td_hooks_run;

int __wrap_td_hooks_run(struct td_hooks *hooks, const char *path, const char *const *args,
			struct td_time start_by, uint64_t token)
{
	unsigned count = 0;

	(void)start_by;
	assert_null(hooks);
	assert_int_equal(path[0], '/');
	for (; args[count]; count++) {
		assert_true(count < TD_HOOK_ARGS - 1);
		assert_true(strlen(args[count]) <= TD_UUID_MAX);
		for (const char *c = args[count]; *c; c++)
			assert_true(*c > ' ' && *c <= '~');
		assert_true(args[count][0] != '-' || args[count][1] == '\0');
	}
	assert_true(count == 9 || count == 6 || count == 3);
	if (running.count == RUNS_MAX)
		return -ENOBUFS;
	if (token != TOKEN_NONE)
		running.tokens[running.count++] = token;
	return 0;
}

static void read_session(struct td_session_info *s, struct td_reader *r)
{
	s->flow.peer.family = td_read_u8(r);
	td_read_bytes(r, s->flow.peer.ip, sizeof(s->flow.peer.ip));
	s->flow.peer.scope = td_read_u32(r);
	s->flow.peer.port = td_read_u16(r);
	s->flow.local.port = td_read_u16(r);
	s->tunnel_id = td_read_u32(r);
	s->session_id = td_read_u32(r);
	s->mtu = td_read_u16(r);
	td_read_bytes(r, s->ifname, td_read_u8(r) % (sizeof(s->ifname) + 1));
	s->uuid_len = td_read_u8(r);
	td_read_bytes(r, s->uuid, td_read_u8(r));
}

static struct td_handle read_handle(struct td_reader *r)
{
	struct td_handle handle = { .index = td_read_u8(r) % (TUNNELS + 1) };

	handle.index += td_read_u8(r) == 0xff ? UINT32_MAX - TUNNELS : 0;
	handle.generation = td_read_u8(r);
	return handle;
}

static void read_hook(struct td_ipc_message *message, struct td_reader *r)
{
	message->hook.handle = read_handle(r);
	message->hook.sequence = td_read_u8(r);
	message->hook.hook = (enum td_hook)(int8_t)td_read_u8(r);
	message->hook.old_mtu = td_read_u16(r);
	read_session(&message->hook.session, r);
}

static void read_record(struct td_ipc_message *message, struct td_reader *r)
{
	message->record.holds = td_read_u8(r);
	message->record.index = read_handle(r).index;
	message->record.size = td_read_u16(r);
	if (message->record.size == UINT16_MAX)
		message->record.size = UINT32_MAX;
	memset(message->record.bytes, 0x5a, sizeof(message->record.bytes));
}

/* Any number of descriptors, and not all of the message perhaps. False: the socket is full. */
static bool send_raw(int fd, const struct td_ipc_message *message, size_t size, unsigned count)
{
	struct iovec iov = { (void *)(uintptr_t)message, size };
	alignas(struct cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))] = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg = (void *)control;
	const int fds[3] = { 0, 0, 0 };
	ssize_t sent;

	if (count > 0) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	}
	sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	assert_true(sent == (ssize_t)size || errno == EAGAIN);
	return sent >= 0;
}

/* Kind: bits 0 to 2 the type, 3 and 4 how many descriptors, 5 to 7 all set: of another size. */
static bool send_one(int fd, uint8_t kind, struct td_reader *r)
{
	struct td_ipc_message message;
	size_t size = sizeof(message);

	memset(&message, 0, sizeof(message));
	message.type = (enum td_ipc_type)((kind & 7) == 7 ? -1 : kind & 7);
	if (message.type == TD_IPC_HOOK)
		read_hook(&message, r);
	if (message.type == TD_IPC_HOOK || message.type == TD_IPC_RECORD ||
	    message.type == TD_IPC_FORGET)
		read_record(&message, r);
	if (kind >> 5 == 7)
		size = td_read_u16(r) % (sizeof(message) + 1);
	return send_raw(fd, &message, size, kind >> 3 & 3);
}

static void end_a_hook(struct parent *p, uint8_t which, int result)
{
	uint64_t token;

	if (running.count == 0)
		return;
	which = (uint8_t)(which % running.count);
	token = running.tokens[which];
	running.tokens[which] = running.tokens[--running.count];
	on_hook_ended(p, token, result);
}

/* The worker hears of the ends of hooks of sessions, and of nothing else. */
static void hear(int fd)
{
	struct td_ipc_message message;
	int descriptor;

	while (td_ipc_receive(fd, &message, &descriptor) > 0) {
		assert_int_equal(message.type, TD_IPC_HOOK_ENDED);
		assert_true(message.ended.handle.index < TUNNELS);
		assert_int_equal(descriptor, -1);
	}
}

static void converse(struct parent *p, int worker, struct td_reader *r)
{
	while (r->left > 0 && p->ipc.fd >= 0) {
		const uint8_t kind = td_read_u8(r);

		if ((kind & 7) == 6) {
			end_a_hook(p, kind >> 3, td_read_u8(r));
			continue;
		}
		if (!send_one(worker, kind, r) || kind & 0x20)
			on_ipc(&p->ipc, EPOLLIN | EPOLLOUT);
		if (kind & 0x40)
			hear(worker);
	}
	on_ipc(&p->ipc, EPOLLIN | EPOLLOUT);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 64; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void check_kept(const struct parent *p)
{
	for (uint32_t i = 0; i < TUNNELS; i++) {
		assert_true(p->kept[i].size <= TD_RECORD_MAX);
		assert_int_equal(p->kept[i].size == 0, p->kept[i].record == NULL);
		assert_true(p->kept[i].fd < 0 || fcntl(p->kept[i].fd, F_GETFD) == FD_CLOEXEC);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const unsigned before = open_descriptors();
	struct td_reader r = td_reader_init(bytes, size);
	struct parent p = {
		.options = &options, .kill_at = TD_NEVER, .tun = { .fd = -1 }, .rewrite_fd = -1
	};
	int fds[2];

	running.count = 0;
	assert_int_equal(td_loop_init(&p.loop, prepare, &p), 0);
	assert_int_equal(allocate(&p), 0);
	assert_int_equal(td_ipc_pair(fds), 0);
	p.ipc = (struct td_watch){ .fd = fds[0], .ready = on_ipc };
	assert_int_equal(td_loop_add(&p.loop, &p.ipc, EPOLLIN), 0);

	converse(&p, fds[1], &r);
	check_kept(&p);
	/* It dies, and hooks end meanwhile. */
	while (read_ipc(&p))
		;
	close_ipc(&p);
	close(fds[1]);
	td_hook_runs_worker_died(&p.runs);
	while (running.count > 0)
		end_a_hook(&p, 0, 0);
	td_kept_free(p.kept, TUNNELS);
	td_loop_fini(&p.loop);
	td_hook_runs_fini(&p.runs);
	assert_int_equal(open_descriptors(), before);
	return 0;
}
