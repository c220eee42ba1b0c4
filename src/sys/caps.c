/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* By system call: libcap would be a dependency for forty lines. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/caps.h"

/* Version 3 has two words for each set. */
struct sets {
	struct __user_cap_data_struct word[2];
};

static int get(struct sets *sets)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	*sets = (struct sets){ 0 };
	return syscall(SYS_capget, &header, sets->word) < 0 ? -errno : 0;
}

bool td_caps_have(int cap)
{
	struct sets sets;

	return get(&sets) == 0 && (sets.word[cap / 32].effective >> (cap % 32) & 1);
}

int td_caps_limit(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct sets sets;
	int err = get(&sets);

	if (err < 0)
		return err;
	for (int i = 0; i < 2; i++) {
		sets.word[i].permitted &= (uint32_t)(keep >> 32 * i);
		sets.word[i].effective = sets.word[i].permitted;
		sets.word[i].inheritable = 0;
	}
	/* The kernel takes out of the ambient set what is no longer inheritable. */
	return syscall(SYS_capset, &header, sets.word) < 0 ? -errno : 0;
}

/* Needs CAP_SETPCAP; a process without it has a bounding set that no_new_privs makes harmless. */
static int drop_bounding(uint64_t keep)
{
	if (!td_caps_have(CAP_SETPCAP))
		return 0;
	for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (!(keep & TD_CAP(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

static int change_ids(uid_t uid, gid_t gid)
{
	if ((uid || gid) && setgroups(0, NULL) < 0)
		return -errno;
	if (gid && setresgid(gid, gid, gid) < 0)
		return -errno;
	/* Else leaving root would cost the permitted set. */
	if (uid && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	if (uid && setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

int td_caps_confine(uint64_t keep, uid_t uid, gid_t gid)
{
	int err = drop_bounding(keep);

	if (err == 0)
		err = change_ids(uid, gid);
	if (err == 0)
		err = td_caps_limit(keep);
	if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = -errno;
	return err;
}
