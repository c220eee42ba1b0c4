/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * L2TPv3 data header over UDP (RFC 3931 section 4.1.2.2) with the default 4-byte L2-specific
 * sublayer and no cookie, as the kernel's l2tp_eth sends it: docs/PROTOCOL.md section 1.
 */
#ifndef TD_CORE_L2TP_H
#define TD_CORE_L2TP_H

#include <stddef.h>
#include <stdint.h>

#define TD_L2TP_HEADER 12
#define TD_ETH_HEADER  14
/* What the tunnel adds to a packet of its interface, up to the UDP payload. */
#define TD_INNER_OVERHEAD (TD_L2TP_HEADER + TD_ETH_HEADER)
#define TD_MTU_DEFAULT    1446
#define TD_MTU_MIN        1280
#define TD_MTU_MAX        9000

void td_l2tp_put(uint8_t to[static TD_L2TP_HEADER], uint32_t session_id);

/*
 * The length of the header in front of the Ethernet frame, and its session id; 0 when this is no
 * L2TPv3 data packet or holds no whole Ethernet header.
 */
size_t td_l2tp_parse(const uint8_t *bytes, size_t size, uint32_t *session_id);

#endif
