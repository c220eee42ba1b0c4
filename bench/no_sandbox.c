/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Preloaded into a broker that runs under valgrind, which does not know seccomp(2), and writes a file
 * at the end: there the worker keeps all system calls, its user, and its root directory. For bench/run
 * alone.
 */
#include <dlfcn.h>
#include <seccomp.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static int nothing;

scmp_filter_ctx seccomp_init(uint32_t action)
{
	(void)action;
	return &nothing;
}

int seccomp_rule_add(scmp_filter_ctx filter, uint32_t action, int number, unsigned int count, ...)
{
	(void)filter, (void)action, (void)number, (void)count;
	return 0;
}

int seccomp_rule_add_array(scmp_filter_ctx filter, uint32_t action, int number, unsigned int count,
			   const struct scmp_arg_cmp *args)
{
	(void)filter, (void)action, (void)number, (void)count, (void)args;
	return 0;
}

int seccomp_attr_set(scmp_filter_ctx filter, enum scmp_filter_attr attr, uint32_t value)
{
	(void)filter, (void)attr, (void)value;
	return 0;
}

int seccomp_export_bpf(const scmp_filter_ctx filter, int fd)
{
	(void)filter, (void)fd;
	return 0;
}

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long args[6];
	va_list list;

	if (number == SYS_seccomp)
		return 0;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	(void)real, (void)effective, (void)saved;
	return 0;
}

int setresgid(gid_t real, gid_t effective, gid_t saved)
{
	(void)real, (void)effective, (void)saved;
	return 0;
}

int chroot(const char *path)
{
	(void)path;
	return 0;
}
