/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The worker's system calls: its own work goes on, anything else ends the process. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/sandbox.h"
#include "sys/caps.h"
#include "sys/rtnl.h"

/* Those from before the confinement. */
static int null_fd;
static struct td_rtnl rtnl;
static int talk[2]; /* of datagrams, connected with each other */
static void *memory_page;

/* Runs what in a confined child; how the child ended. */
static int confined(void (*what)(void))
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (td_sandbox_enter() != 0)
			_exit(99);
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* By each of the calls that the worker's sockets are used with. */
static void exchange(void)
{
	char bytes[8];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct mmsghdr msg = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };

	if (send(talk[0], "a", 1, 0) != 1 || recv(talk[1], bytes, sizeof(bytes), 0) != 1 ||
	    sendmmsg(talk[0], &msg, 1, 0) != 1 ||
	    recvfrom(talk[1], bytes, sizeof(bytes), 0, NULL, NULL) != sizeof(bytes) ||
	    sendmsg(talk[0], &msg.msg_hdr, 0) != sizeof(bytes) ||
	    recvmmsg(talk[1], &msg, 1, MSG_DONTWAIT, NULL) != 1 ||
	    sendmsg(talk[0], &msg.msg_hdr, 0) != sizeof(bytes) ||
	    recvmsg(talk[1], &msg.msg_hdr, 0) != sizeof(bytes))
		_exit(1);
}

/* What the worker does, with descriptors that it had before. */
static void work(void)
{
	void *memory = malloc(1 << 20);
	struct pollfd room = { .fd = null_fd, .events = POLLOUT };

	if (!memory || write(null_fd, "x", 1) != 1 || poll(&room, 1, 0) != 1 ||
	    fcntl(null_fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) < 0 ||
	    socket(AF_INET6, SOCK_DGRAM, 0) < 0 || td_rtnl_ifindex(&rtnl, "lo") != 1 ||
	    !td_rtnl_exists(&rtnl, 1))
		_exit(1);
	free(memory);
}

/* Refused, for the C library may try. */
static void open_file(void)
{
	if (open("/etc/passwd", O_RDONLY) >= 0)
		_exit(1);
	if (errno != EACCES)
		_exit(2);
}

static void execute(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void trace(void)
{
	syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0);
}

static void make_thread(void)
{
	syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL, NULL, NULL, NULL);
}

static void read_links(void)
{
	syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", NULL, 0);
}

static void open_netlink(void)
{
	socket(AF_NETLINK, SOCK_RAW, 0);
}

static void open_stream(void)
{
	socket(AF_INET, SOCK_STREAM, 0);
}

static void open_local(void)
{
	socket(AF_UNIX, SOCK_DGRAM, 0);
}

static void open_packets(void)
{
	socket(AF_PACKET, SOCK_DGRAM, 0);
}

static void type_on_a_terminal(void)
{
	ioctl(null_fd, TIOCSTI, "x");
}

static void signal_others(void)
{
	syscall(SYS_tgkill, getppid(), getppid(), SIGUSR1);
}

static void execute_memory(void)
{
	mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_executable(void)
{
	mprotect(memory_page, 4096, PROT_READ | PROT_EXEC);
}

static void load_module(void)
{
	syscall(SYS_init_module, NULL, 0, "");
}

static void assert_killed(void (*what)(void))
{
	const int status = confined(what);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void assert_well(void (*what)(void))
{
	const int status = confined(what);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_work_goes_on(void **state)
{
	(void)state;
	assert_well(work);
	assert_well(exchange);
	if (!TD_SANITIZED)
		assert_well(open_file);
}

static void test_anything_else_is_the_end(void **state)
{
	(void)state;
	assert_killed(execute);
	assert_killed(trace);
	assert_killed(load_module);
	assert_killed(open_netlink);
	assert_killed(open_stream);
	assert_killed(open_local);
	assert_killed(open_packets);
	assert_killed(type_on_a_terminal);
	/* Sanitizers do such things. */
	if (TD_SANITIZED)
		return;
	assert_killed(make_thread);
	assert_killed(read_links);
	assert_killed(signal_others);
	assert_killed(execute_memory);
	assert_killed(make_executable);
}

/* In a child: whatever is wrong, by number. */
static int leave_files(void)
{
	char root[64] = "";

	if (td_sandbox_leave_files() != 0)
		return 1;
	if (access("/proc", F_OK) == 0 || access("../proc", F_OK) == 0)
		return 2;
	if (open("/new", O_RDWR | O_CREAT, 0600) >= 0 || mkdir("new", 0700) == 0)
		return 3;
	return getcwd(root, sizeof(root)) ? 4 : 0;
}

static void test_no_files(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (TD_SANITIZED)
		return; /* these keep their files */
	if (!td_caps_have(CAP_SYS_CHROOT)) {
		print_message("not root: no root directory to change\n");
		skip();
	}
	pid = fork();
	if (pid == 0)
		_exit(leave_files());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work_goes_on),
		cmocka_unit_test(test_anything_else_is_the_end),
		cmocka_unit_test(test_no_files),
	};

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	memory_page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (null_fd < 0 || memory_page == MAP_FAILED ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, talk) < 0 || td_rtnl_open(&rtnl) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
