/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the worker is left with beside its capabilities (sys/caps.h): no file system, and the system
 * calls that its loop, its data paths and its memory need, with the arguments that they need.
 * Any other call ends the process at once, and the parent starts the next.
 */
#ifndef TD_BROKER_SANDBOX_H
#define TD_BROKER_SANDBOX_H

/* Sanitizers look for leaks, and report, by means that a worker has not. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TD_SANITIZED 1
#endif
#endif
#ifndef TD_SANITIZED
#define TD_SANITIZED 0
#endif

/*
 * Makes an empty directory that nobody can put anything into the root of this process. Needs
 * CAP_SYS_CHROOT, and a directory to make it in. 0 or -errno. Does nothing in builds with sanitizers,
 * whose reports need /proc.
 */
int td_sandbox_leave_files(void) __attribute__((warn_unused_result));

/* For this process and all its threads, for good. Needs no_new_privs. 0 or -errno. */
int td_sandbox_enter(void) __attribute__((warn_unused_result));

#endif
