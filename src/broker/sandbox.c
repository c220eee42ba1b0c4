/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static const char *const allowed[] = {
	/* the loop, its descriptors and clock */
	"clock_gettime",
	"close",
	"epoll_create1",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"fcntl",
	"getrandom",
	"gettimeofday",
	"restart_syscall",
	"timerfd_create",
	"timerfd_settime",
	"eventfd2",
	/* datagrams, netlink and the parent */
	"bind",
	"connect",
	"getpeername",
	"getsockname",
	"getsockopt",
	"poll",
	"ppoll",
	"recvfrom",
	"recvmmsg",
	"recvmsg",
	"sendmmsg",
	"sendmsg",
	"sendto",
	"setsockopt",
	"socket",
	/* TAPs and the log */
	"ioctl",
	"openat",
	"read",
	"readv",
	"write",
	"writev",
	/* memory, threads, and the end */
	"brk",
	"exit",
	"exit_group",
	"futex",
	"getpid",
	"gettid",
	"madvise",
	"mmap",
	"mprotect",
	"mremap",
	"munmap",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"tgkill",
#ifdef SANITIZED
	"clone",
	"fstat",
	"getdents64",
	"getppid",
	"kill",
	"lseek",
	"newfstatat",
	"open",
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
	"uname",
	"wait4",
#endif
};

int td_sandbox_enter(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err = filter ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		const int number = seccomp_syscall_resolve_name(allowed[i]);

		/* Not every machine has all of them. */
		if (number != __NR_SCMP_ERROR)
			err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
	/* For every thread that there is. */
	if (err == 0)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (err == 0)
		err = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return err;
}
