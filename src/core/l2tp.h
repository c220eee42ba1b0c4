/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * L2TPv3 data header over UDP (RFC 3931 section 4.1.2.2) with the default 4-byte L2-specific
 * sublayer, and a cookie of 8 bytes or none, as the kernel's l2tp_eth sends it: docs/PROTOCOL.md
 * section 1.
 */
#ifndef TD_CORE_L2TP_H
#define TD_CORE_L2TP_H

#include <stddef.h>
#include <stdint.h>

#define TD_L2TP_HEADER     12 /* without cookie */
#define TD_L2TP_HEADER_MAX (TD_L2TP_HEADER + 8)
#define TD_L2TP_COOKIE     8 /* where it is, if there is one */
#define TD_ETH_HEADER      14
/* What a tunnel without cookies adds to a packet of its interface, up to the UDP payload. */
#define TD_INNER_OVERHEAD (TD_L2TP_HEADER + TD_ETH_HEADER)
#define TD_MTU_DEFAULT    1446
#define TD_MTU_MIN        1280
#define TD_MTU_MAX        9000

/* Returns its length. cookie: of cookie_size bytes, 0 or 8. */
size_t td_l2tp_put(uint8_t to[static TD_L2TP_HEADER_MAX], uint32_t session_id,
		   const uint8_t *cookie, size_t cookie_size);

/*
 * The length of the header in front of the Ethernet frame, and its session id; 0 when this is no
 * L2TPv3 data packet or holds no whole Ethernet header. The cookie is the caller's to compare.
 */
size_t td_l2tp_parse(const uint8_t *bytes, size_t size, size_t cookie_size, uint32_t *session_id);

#endif
