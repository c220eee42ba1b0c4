/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Files: there are none. openat() is refused rather than fatal, for the C library may look into /proc or
 * /sys at any time, and does without.
 *
 * Sockets: datagrams over IP only; those of netlink and of AF_UNIX have all been opened before.
 */
#include "broker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* With any arguments. Those with 64 in their names are those of 32-bit machines. */
static const char *const allowed[] = {
	/* the loop, its descriptors and clock */
	"clock_gettime",
	"clock_gettime64",
	"close",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_wait",
	"restart_syscall",
	"timerfd_settime",
	"timerfd_settime64",
	/* datagrams, netlink and the parent */
	"bind",
	"connect",
	"getpeername",
	"getsockname",
	"getsockopt",
	"poll",
	"ppoll",
	"ppoll_time64",
	"recv",
	"recvfrom",
	"recvmmsg",
	"recvmmsg_time64",
	"recvmsg",
	"send",
	"sendmmsg",
	"sendmsg",
	"sendto",
	"setsockopt",
	/* TAPs and the log */
	"read",
	"write",
	"writev",
	/* memory, threads, and the end */
	"brk",
	"exit",
	"exit_group",
	"futex",
	"futex_time64",
	"getpid",
	"gettid",
	"madvise",
	"mremap",
	"munmap",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
};

/* What sanitizers need on top, to look for leaks and to report. */
static const char *const sanitizers[] = {
	"clone",
	"fstat",
	"getdents64",
	"getppid",
	"kill",
	"lseek",
	"mmap",
	"mprotect",
	"newfstatat",
	"open",
	"openat",
	"pipe2",
	"prctl",
	"prlimit64",
	"process_vm_readv",
	"ptrace",
	"readlink",
	"readlinkat",
	"sched_getaffinity",
	"sched_yield",
	"set_tid_address",
	"sigaltstack",
	"stat",
	"tgkill",
	"uname",
	"wait4",
};

/* With the arguments that compare. All of them are int, whatever is in the rest of a register. */
struct narrow {
	const char *name;
	unsigned count;
	struct scmp_arg_cmp args[2];
};

#define WHOLE                 UINT32_MAX
#define IS(number, what)      SCMP_CMP(number, SCMP_CMP_MASKED_EQ, WHOLE, (uint32_t)(what))
#define HAS_NOT(number, bits) SCMP_CMP(number, SCMP_CMP_MASKED_EQ, (uint32_t)(bits), 0)
#define DATAGRAMS                                                                          \
	SCMP_CMP(1, SCMP_CMP_MASKED_EQ, WHOLE & ~(uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), \
		 SOCK_DGRAM)

static const struct narrow narrow[] = {
	{ "fcntl", 1, { IS(1, F_SETFD) } },
	{ "fcntl", 1, { IS(1, F_SETFL) } },
	{ "fcntl64", 1, { IS(1, F_SETFD) } },
	{ "fcntl64", 1, { IS(1, F_SETFL) } },
	{ "ioctl", 1, { IS(1, SIOCGIFINDEX) } },
	{ "ioctl", 1, { IS(1, SIOCGIFNAME) } },
	{ "ioctl", 1, { IS(1, TUNGETIFF) } },
	{ "ioctl", 1, { IS(1, TUNSETIFF) } },
	{ "mmap", 1, { HAS_NOT(2, PROT_EXEC) } },
	{ "mmap2", 1, { HAS_NOT(2, PROT_EXEC) } },
	{ "mprotect", 1, { HAS_NOT(2, PROT_EXEC) } },
	{ "socket", 2, { IS(0, AF_INET), DATAGRAMS } },
	{ "socket", 2, { IS(0, AF_INET6), DATAGRAMS } },
};

#define MAKING_LIMIT_S 10

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Goes into a new directory, which is deleted, so that nobody can put anything into it. 0 or -errno. */
static int make_empty_directory(char *path)
{
	int err = 0;

	if (!mkdtemp(path))
		return -errno;
	if (chdir(path) < 0)
		err = -errno;
	if (rmdir(path) < 0 && err == 0)
		err = -errno;
	return err;
}

int td_sandbox_leave_files(void)
{
	char in_run[] = "/run/tunneldigger-XXXXXX", in_tmp[] = "/tmp/tunneldigger-XXXXXX";
	int err;

	if (TD_SANITIZED)
		return 0;
	err = make_empty_directory(in_run);
	if (err < 0)
		err = make_empty_directory(in_tmp);
	if (err < 0)
		return err;
	return chroot(".") < 0 ? -errno : 0;
}

/* Not every machine has all of them. */
static int add(scmp_filter_ctx filter, uint32_t action, const struct narrow *call)
{
	const int number = seccomp_syscall_resolve_name(call->name);

	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action, number, call->count, call->args);
}

static int add_all(scmp_filter_ctx filter, const char *const *names, size_t count)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < count; i++)
		err = add(filter, SCMP_ACT_ALLOW, &(struct narrow){ names[i], 0, { { 0 } } });
	return err;
}

static int add_narrow(scmp_filter_ctx filter)
{
	/* abort(). This process makes the filter for its parent. */
	const struct narrow own = { "tgkill", 1, { IS(0, getppid()) } };
	int err = add(filter, SCMP_ACT_ALLOW, &own);

	for (size_t i = 0; err == 0 && i < COUNT(narrow); i++)
		err = add(filter, SCMP_ACT_ALLOW, &narrow[i]);
	return err;
}

static int refuse_files(scmp_filter_ctx filter)
{
	const struct narrow open = { .name = "open" }, openat = { .name = "openat" };
	int err = add(filter, SCMP_ACT_ERRNO(EACCES), &open);

	return err < 0 ? err : add(filter, SCMP_ACT_ERRNO(EACCES), &openat);
}

static int add_rules(scmp_filter_ctx filter)
{
	int err = add_all(filter, allowed, COUNT(allowed));

	if (err == 0)
		err = TD_SANITIZED ? add_all(filter, sanitizers, COUNT(sanitizers))
				   : refuse_files(filter);
	return err < 0 ? err : add_narrow(filter);
}

/*
 * Without memory libseccomp (2.5) crashes, never returns, or makes a filter that lacks calls. So it
 * works in processes of its own, in two one after the other, which have to come to the same.
 */

static _Noreturn void write_filter(int fd)
{
	scmp_filter_ctx filter;
	int err;

	close(STDERR_FILENO); /* what its faults make the C library say is no news */
	alarm(MAKING_LIMIT_S);
	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	err = filter ? add_rules(filter) : -ENOMEM;
	if (err == 0)
		err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (err == 0)
		err = seccomp_export_bpf(filter, fd);
	_exit(-err);
}

/* All that there is; its size, or -errno. */
static ssize_t read_all(int fd, void *to, size_t capacity)
{
	size_t used = 0;
	ssize_t size = 1;

	while (size > 0 && used < capacity) {
		size = read(fd, (char *)to + used, capacity - used);
		if (size < 0 && errno != EINTR)
			return -errno;
		used += size > 0 ? (size_t)size : 0;
		if (size < 0)
			size = 1;
	}
	return (ssize_t)used;
}

/* 0, or -errno of what the child could not do; -ENOMEM: it did not end by itself. */
static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ENOMEM;
}

/* The size of the filter, or -errno. */
static ssize_t make_filter(struct sock_filter to[static BPF_MAXINSNS])
{
	int ends[2], err;
	ssize_t size;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	err = child < 0 ? -errno : 0;
	if (child == 0)
		write_filter(ends[1]);
	close(ends[1]);
	size = read_all(ends[0], to, BPF_MAXINSNS * sizeof(*to));
	close(ends[0]);
	if (child > 0)
		err = wait_for(child);
	return err < 0 ? err : size;
}

static int load(struct sock_filter *filter, size_t size)
{
	const struct sock_fprog program = { (unsigned short)(size / sizeof(*filter)), filter };

	/* A change of user forbids it, and the search for leaks is done by a process apart. */
	if (TD_SANITIZED && prctl(PR_SET_DUMPABLE, 1) < 0)
		return -errno;
	/* For every thread that there is. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
		return -errno;
	return 0;
}

int td_sandbox_enter(void)
{
	struct sock_filter filter[BPF_MAXINSNS], again[BPF_MAXINSNS];
	ssize_t size, size_again;

	size = make_filter(filter);
	size_again = size < 0 ? size : make_filter(again);
	if (size_again < 0)
		return (int)size_again;
	if (size != size_again || memcmp(filter, again, (size_t)size) != 0)
		return -ENOMEM;
	return load(filter, (size_t)size);
}
