/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/assert.h"
#include "client/client.h"
#include "sys/log.h"

_Noreturn void td_assert_failed(const char *file, int line)
{
	td_log(TD_LOG_ERROR, "programming fault at %s:%d, please report it", file, line);
	__builtin_trap();
}

int main(int argc, char **argv)
{
	return td_client_main(argc, argv);
}
