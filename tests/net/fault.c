/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For LD_PRELOAD, in test_faults.py: a system that refuses. The file FAULT_STATE says which calls
 * are counted (kinds), which of them fail (so many, from the first on), and how (err); processes that
 * are forked count on, and the test may change it all while they run. Programs of other names than ours,
 * such as hooks, are left alone.
 *
 * What it calls itself is what the worker may call.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The same as in test_faults.py. */
enum kind {
	MEMORY = 1 << 0,
	DESCRIPTOR = 1 << 1, /* whatever makes one */
	EPOLL = 1 << 2,
	UDP_SEND = 1 << 3,
	UDP_RECEIVE = 1 << 4,
	NETLINK_SEND = 1 << 5,
	NETLINK_RECEIVE = 1 << 6,
	TUN_OPEN = 1 << 7,
	TUN_SET = 1 << 8,
	OPTION = 1 << 9, /* of sockets */
	PROCESS = 1 << 10,
	THREAD = 1 << 11,
	FILTER = 1 << 12, /* memory for libseccomp, which calls more often than all others */
};

static struct state {
	uint32_t kinds, first, count, err;
	_Atomic uint32_t calls, hits;
} * state;

/* The code of libseccomp. */
static uintptr_t filter_from, filter_to;

static int find_filter(struct dl_phdr_info *info, size_t size, void *ctx)
{
	(void)size;
	(void)ctx;
	if (!strstr(info->dlpi_name, "libseccomp"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			filter_from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			filter_to = filter_from + info->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

__attribute__((constructor)) static void open_state(void)
{
	const char *path = getenv("FAULT_STATE");
	const bool ours = strncmp(program_invocation_short_name, "tunneldigger", 12) == 0;
	const int fd = path && ours ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = MAP_FAILED;

	if (fd >= 0) {
		map = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	(void)dl_iterate_phdr(find_filter, NULL);
	if (map != MAP_FAILED)
		state = map;
}

/* In a sanitizer's own work, which nothing may disturb. No memory is taken for this variable. */
static __thread bool exempt __attribute__((tls_model("initial-exec")));

static bool fails(enum kind kind)
{
	uint32_t number;

	if (!state || exempt || !(state->kinds & kind))
		return false;
	number = atomic_fetch_add(&state->calls, 1) + 1;
	if (number < state->first || number - state->first >= state->count)
		return false;
	atomic_fetch_add(&state->hits, 1);
	errno = (int)state->err;
	return true;
}

static bool is_of(int fd, int family)
{
	const int before = errno;
	int domain = AF_UNSPEC;
	socklen_t size = sizeof(domain);

	(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	errno = before;
	return domain == family || (family == AF_INET && domain == AF_INET6);
}

#define REAL(result, name, ...)             \
	static result (*real)(__VA_ARGS__); \
	if (!real)                          \
		*(void **)&real = dlsym(RTLD_NEXT, name);

/* --- memory --- */

static bool no_memory(const void *caller)
{
	const uintptr_t at = (uintptr_t)caller;

	return fails(at >= filter_from && at < filter_to ? FILTER : MEMORY);
}

#define NO_MEMORY() no_memory(__builtin_return_address(0))

void *malloc(size_t size)
{
	REAL(void *, "malloc", size_t)
	return NO_MEMORY() ? NULL : real(size);
}

void *calloc(size_t count, size_t size)
{
	REAL(void *, "calloc", size_t, size_t)
	return NO_MEMORY() ? NULL : real(count, size);
}

void *realloc(void *old, size_t size)
{
	REAL(void *, "realloc", void *, size_t)
	return NO_MEMORY() ? NULL : real(old, size);
}

char *strdup(const char *text)
{
	const size_t size = strlen(text) + 1;
	char *copy;
	REAL(char *, "malloc", size_t)
	copy = NO_MEMORY() ? NULL : real(size);
	return copy ? memcpy(copy, text, size) : NULL;
}

/* --- descriptors --- */

int socket(int domain, int type, int protocol)
{
	REAL(int, "socket", int, int, int)
	return fails(DESCRIPTOR) ? -1 : real(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	REAL(int, "socketpair", int, int, int, int *)
	return fails(DESCRIPTOR) ? -1 : real(domain, type, protocol, fds);
}

int pipe2(int fds[2], int flags)
{
	REAL(int, "pipe2", int *, int)
	return fails(DESCRIPTOR) ? -1 : real(fds, flags);
}

int epoll_create1(int flags)
{
	REAL(int, "epoll_create1", int)
	return fails(DESCRIPTOR) ? -1 : real(flags);
}

int eventfd(unsigned count, int flags)
{
	REAL(int, "eventfd", unsigned, int)
	return fails(DESCRIPTOR) ? -1 : real(count, flags);
}

int signalfd(int fd, const sigset_t *mask, int flags)
{
	REAL(int, "signalfd", int, const sigset_t *, int)
	return fails(DESCRIPTOR) ? -1 : real(fd, mask, flags);
}

int timerfd_create(clockid_t clock, int flags)
{
	REAL(int, "timerfd_create", clockid_t, int)
	return fails(DESCRIPTOR) ? -1 : real(clock, flags);
}

static bool open_fails(const char *path)
{
	return fails(DESCRIPTOR) || (strcmp(path, "/dev/net/tun") == 0 && fails(TUN_OPEN));
}

int open(const char *path, int flags, ...)
{
	REAL(int, "open", const char *, int, ...)
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return open_fails(path) ? -1 : real(path, flags, mode);
}

/* pidfd_open() has no function of its own everywhere. */
long syscall(long number, ...)
{
	REAL(long, "syscall", long, ...)
	long args[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_pidfd_open && fails(DESCRIPTOR))
		return -1;
	return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	REAL(int, "epoll_ctl", int, int, int, struct epoll_event *)
	return operation == EPOLL_CTL_ADD && fails(EPOLL) ? -1 : real(epoll, operation, fd, event);
}

/* --- datagrams and netlink --- */

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	REAL(ssize_t, "sendmsg", int, const struct msghdr *, int)
	return is_of(fd, AF_INET) && fails(UDP_SEND) ? -1 : real(fd, message, flags);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address,
	       socklen_t address_size)
{
	REAL(ssize_t, "sendto", int, const void *, size_t, int, const struct sockaddr *, socklen_t)
	if (is_of(fd, AF_INET) && fails(UDP_SEND))
		return -1;
	return real(fd, data, size, flags, address, address_size);
}

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address,
		 socklen_t *address_size)
{
	REAL(ssize_t, "recvfrom", int, void *, size_t, int, struct sockaddr *, socklen_t *)
	if (is_of(fd, AF_INET) && fails(UDP_RECEIVE))
		return -1;
	return real(fd, data, size, flags, address, address_size);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	REAL(int, "recvmmsg", int, struct mmsghdr *, unsigned, int, struct timespec *)
	if (is_of(fd, AF_INET) && fails(UDP_RECEIVE))
		return -1;
	return real(fd, messages, count, flags, timeout);
}

ssize_t write(int fd, const void *data, size_t size)
{
	REAL(ssize_t, "write", int, const void *, size_t)
	return is_of(fd, AF_NETLINK) && fails(NETLINK_SEND) ? -1 : real(fd, data, size);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
	REAL(ssize_t, "recv", int, void *, size_t, int)
	return is_of(fd, AF_NETLINK) && fails(NETLINK_RECEIVE) ? -1 : real(fd, data, size, flags);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	REAL(int, "setsockopt", int, int, int, const void *, socklen_t)
	return fails(OPTION) ? -1 : real(fd, level, name, value, size);
}

int ioctl(int fd, unsigned long request, ...)
{
	REAL(int, "ioctl", int, unsigned long, ...)
	va_list args;
	void *data;

	va_start(args, request);
	data = va_arg(args, void *);
	va_end(args);
	return request == TUNSETIFF && fails(TUN_SET) ? -1 : real(fd, request, data);
}

/* --- processes --- */

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
	int result;
	REAL(int, "pthread_getattr_np", pthread_t, pthread_attr_t *)
	exempt = true;
	result = real(thread, attr);
	exempt = false;
	return result;
}

pid_t fork(void)
{
	REAL(pid_t, "fork", void)
	return fails(PROCESS) ? -1 : real();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	REAL(int, "pthread_create", pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
	return fails(THREAD) ? (int)state->err : real(thread, attr, run, arg);
}
