/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* In place of rewrite.c, where there is no libnftnl (Meson option nft). */
#include "datapath/rewrite.h"

#include <errno.h>
#include <stdio.h>

int td_rewrite_open(struct td_rewrite **rewrite, uint32_t instance, uint32_t max_tunnels, char *why,
		    size_t size)
{
	(void)rewrite;
	(void)instance;
	(void)max_tunnels;
	snprintf(why, size,
		 "this program was built without nftables: build it with libnftnl (meson configure "
		 "-Dnft=enabled)");
	return -ENOTSUP;
}

void td_rewrite_close(struct td_rewrite *rewrite)
{
	(void)rewrite;
}
