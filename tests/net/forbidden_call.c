/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For LD_PRELOAD, in test_privileges.py: what somebody does who has taken the worker over. On SIGUSR1
 * it executes a shell. The handler is put there when the worker names itself, after it has been
 * forked.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <unistd.h>

static void take_over(int signo)
{
	(void)signo;
	execl("/bin/sh", "sh", (char *)NULL);
}

int prctl(int option, ...)
{
	int (*real)(int, ...);
	unsigned long more[4];
	va_list args;

	va_start(args, option);
	for (unsigned i = 0; i < 4; i++)
		more[i] = va_arg(args, unsigned long);
	va_end(args);
	*(void **)&real = dlsym(RTLD_NEXT, "prctl");
	if (option == PR_SET_NAME)
		signal(SIGUSR1, take_over);
	return real(option, more[0], more[1], more[2], more[3]);
}
