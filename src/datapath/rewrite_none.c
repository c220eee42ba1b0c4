/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* In place of rewrite.c, where there is no libnftnl (Meson option nft). */
#include "datapath/rewrite.h"

#include <errno.h>
#include <stdio.h>

int td_rewrite_socket(void)
{
	return -ENOTSUP;
}

int td_rewrite_open(struct td_rewrite **rewrite, const struct td_rewrite_setup *setup, char *why,
		    size_t size)
{
	(void)rewrite;
	(void)setup;
	snprintf(why, size,
		 "this program was built without nftables: build it with libnftnl (meson configure "
		 "-Dnft=enabled)");
	return -ENOTSUP;
}

int td_rewrite_start(struct td_rewrite *rewrite)
{
	(void)rewrite;
	return -ENOTSUP;
}

void td_rewrite_close(struct td_rewrite *rewrite)
{
	(void)rewrite;
}
