/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * syslog(3) would do, were it not for its blocking socket: a system logger that hangs must not
 * take the tunnels with it. So this speaks to /dev/log itself, in the format of RFC 3164, without a
 * time, which the logger adds (§4.3.2).
 */
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/log.h"

#define LINE_MAX_BYTES  1024
#define FACILITY_DAEMON (3 << 3)

/* All zero is how it begins. */
static struct {
	const char *ident; /* NULL: no syslog */
	int fd;            /* to it; -1: it could not be made */
	bool no_stderr;
	int verbosity; /* beyond TD_LOG_INFO */
} logger;

static void connect_syslog(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

	if (logger.fd < 0)
		logger.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (logger.fd >= 0)
		(void)connect(logger.fd, (struct sockaddr *)&to, sizeof(to));
}

void td_log_open(const char *ident, bool to_stderr, enum td_log_level level)
{
	if (logger.ident && logger.fd >= 0)
		close(logger.fd);
	logger.fd = -1;
	logger.ident = ident;
	logger.no_stderr = !to_stderr;
	logger.verbosity = (int)level - TD_LOG_INFO;
	if (ident)
		connect_syslog();
}

bool td_log_enabled(enum td_log_level level)
{
	return (int)level <= TD_LOG_INFO + logger.verbosity;
}

/* One call for head and text, so that lines of several processes do not mix. */
static bool put(int fd, const char *head, char *text, size_t size)
{
	struct iovec iov[] = { { (char *)(uintptr_t)head, strlen(head) }, { text, size } };

	return writev(fd, iov, 2) >= 0;
}

/* Without a time, which every logger adds itself. */
static void write_syslog(enum td_log_level level, char *text, size_t size)
{
	char head[64];

	snprintf(head, sizeof(head), "<%d>%.40s[%d]: ", FACILITY_DAEMON | level, logger.ident,
		 getpid());
	if (put(logger.fd, head, text, size))
		return;
	connect_syslog(); /* it was restarted, or starts only now */
	(void)put(logger.fd, head, text, size);
}

static void write_stderr(enum td_log_level level, char *text, size_t size)
{
	static const char names[][9] = { "ERROR ", "WARNING ", "NOTICE ", "INFO ", "DEBUG " };
	struct pollfd room = { .fd = STDERR_FILENO, .events = POLLOUT };

	text[size++] = '\n';
	if (poll(&room, 1, 0) == 1)
		(void)put(STDERR_FILENO, names[level - TD_LOG_ERROR], text, size);
}

void td_log(enum td_log_level level, const char *format, ...)
{
	char text[LINE_MAX_BYTES];
	va_list args;
	int length;
	size_t size;

	if (!td_log_enabled(level))
		return;
	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length < 0)
		return;
	size = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < 0x20 || text[i] > 0x7e) /* also what makes a second line */
			text[i] = '?';
	}
	if (logger.ident)
		write_syslog(level, text, size);
	if (!logger.no_stderr)
		write_stderr(level, text, size);
}
