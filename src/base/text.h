/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Checks and formatting of strings that come from, or go to, outside. */
#ifndef TD_BASE_TEXT_H
#define TD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * May these bytes be used as a tunnel's UUID? 1 to 255 bytes of A-Z a-z 0-9 . _ : @ + = ~ - / and
 * not beginning with '-': it becomes an argument of the operator's hook scripts.
 */
bool td_uuid_valid(const char *uuid, size_t len);

/* May this be a network interface's name? 1 to 15 printable ASCII bytes without '/', ':', '%' or
 * space, and not "." or "..". */
bool td_ifname_valid(const char *name);

/* Decimal digits of value into to, NUL-terminated; returns their number. */
size_t td_text_u32(char to[static 11], uint32_t value);

#define TD_ADDR_TEXT 64
/* "192.0.2.1:8942" or "[2001:db8::1%3]:8942"; the address alone, without
 * brackets, when with_port is false; "-" for TD_FAMILY_NONE. */
void td_addr_text(char to[static TD_ADDR_TEXT], const struct td_addr *addr, bool with_port);

#endif
