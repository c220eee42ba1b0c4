/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/text.h"

#define GROUPS 8 /* of 16 bits, in an IPv6 address */

static bool is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Is c one of the characters of set? */
static bool is_one_of(char c, const char *set)
{
	while (*set != '\0' && *set != c)
		set++;
	return *set != '\0';
}

bool td_uuid_valid(const char *uuid, size_t len)
{
	if (len < 1 || len > 255 || uuid[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_alphanumeric(uuid[i]) && !is_one_of(uuid[i], "._:@+=~-/"))
			return false;
	}
	return true;
}

bool td_ifname_valid(const char *name)
{
	size_t len = 0;

	for (; name[len] != '\0'; len++) {
		if (len == 15 || name[len] <= ' ' || name[len] > '~' || is_one_of(name[len], "/:%"))
			return false;
	}
	return len > 0 && !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

size_t td_text_u32(char to[static 11], uint32_t value)
{
	size_t len = 1;

	for (uint32_t rest = value; rest >= 10; rest /= 10)
		len++;
	to[len] = '\0';
	for (size_t i = len; i > 0; i--) {
		to[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	return len;
}

static char *put_char(char *to, char c)
{
	*to = c;
	return to + 1;
}

static char *put_u32(char *to, uint32_t value)
{
	return to + td_text_u32(to, value);
}

static char *put_ipv4(char *to, const uint8_t *ip)
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			to = put_char(to, '.');
		to = put_u32(to, ip[i]);
	}
	return to;
}

static uint32_t group(const uint8_t *ip, int i)
{
	return (uint32_t)ip[2 * i] << 8 | ip[2 * i + 1];
}

static char *put_group(char *to, uint32_t value)
{
	unsigned int shift = 12;

	while (shift > 0 && value >> shift == 0)
		shift -= 4;
	for (;; shift -= 4) {
		to = put_char(to, "0123456789abcdef"[value >> shift & 15]);
		if (shift == 0)
			return to;
	}
}

/* The first longest run of at least two zero groups (RFC 5952); its length, 0 when there is none.
 */
static int zero_run(const uint8_t *ip, int *begin)
{
	int longest = 1, run = 0;

	for (int i = 0; i < GROUPS; i++) {
		run = group(ip, i) == 0 ? run + 1 : 0;
		if (run > longest) {
			longest = run;
			*begin = i + 1 - run;
		}
	}
	return longest > 1 ? longest : 0;
}

static char *put_ipv6(char *to, const uint8_t *ip)
{
	int begin = GROUPS;
	int run = zero_run(ip, &begin);
	int i = 0;

	while (i < GROUPS) {
		if (i == begin) {
			to = put_char(put_char(to, ':'), ':');
			i += run;
			continue;
		}
		if (i > 0 && i != begin + run)
			to = put_char(to, ':');
		to = put_group(to, group(ip, i));
		i++;
	}
	return to;
}

static char *put_scoped(char *to, const struct td_addr *addr)
{
	to = put_ipv6(to, addr->ip);
	if (addr->scope != 0)
		to = put_u32(put_char(to, '%'), addr->scope);
	return to;
}

static char *put_ip(char *to, const struct td_addr *addr, bool brackets)
{
	switch ((enum td_family)addr->family) {
	case TD_FAMILY_IPV4:
		return put_ipv4(to, addr->ip);
	case TD_FAMILY_IPV6:
		if (!brackets)
			return put_scoped(to, addr);
		return put_char(put_scoped(put_char(to, '['), addr), ']');
	case TD_FAMILY_NONE:
		break;
	}
	return put_char(to, '-');
}

void td_addr_text(char to[static TD_ADDR_TEXT], const struct td_addr *addr, bool with_port)
{
	to = put_ip(to, addr, with_port);
	if (with_port)
		to = put_u32(put_char(to, ':'), addr->port);
	*to = '\0';
}
