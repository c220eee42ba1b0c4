/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The filter on tunnel sockets: of what the kernel passes up, only control.
 *
 * Each classic filter is a program of its own, compiled by the kernel into memory that it makes
 * executable, which stops every processor for a moment, for each tunnel. So the broker has one
 * program, loaded while it still may, and hands it to all sockets; where there is no bpf(2), each gets
 * its own.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/build.h"
#include "datapath/kernel.h"

/* Behind the UDP header (8 bytes), everything of ours has the T bit first. */
#define WHERE 8
#define T_BIT 0x80

int td_kernel_filter(int fd, unsigned load, unsigned offset, unsigned comparison, unsigned value)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_ABS, offset),
		BPF_JUMP(BPF_JMP | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	code[0].code |= (uint16_t)load;
	code[1].code |= (uint16_t)comparison;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

int td_kernel_load_filter(void)
{
	static const struct bpf_insn code[] = {
		/* The load wants the packet in register 6; beyond its end, it ends with 0. */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6, .src_reg = BPF_REG_1 },
		{ .code = BPF_LD | BPF_ABS | BPF_B, .imm = WHERE },
		{ .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = BPF_REG_0, .imm = T_BIT },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0, .off = 1 },
		{ .code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = sizeof(code) / sizeof(code[0]);
	attr.license = (uintptr_t) "AGPL";
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

int td_kernel_only_control(int fd, int filter)
{
	if (TD_WITH_BROKER && filter >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &filter, sizeof(filter)) == 0)
		return 0;
	return td_kernel_filter(fd, BPF_B, WHERE, BPF_JSET, T_BIT);
}
