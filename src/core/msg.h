/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Control messages on the wire: docs/PROTOCOL.md sections 1 and 2.
 *
 * Parsing never reads beyond the datagram and never fails on padding. Who sent a message decides
 * its layout, so both directions name the sender.
 */
#ifndef TD_CORE_MSG_H
#define TD_CORE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TD_MSG_HEADER   6
#define TD_MSG_MIN_SIZE 12  /* shorter ones are padded with zeros */
#define TD_MSG_MAX_SIZE 261 /* header and 255 bytes of payload; only PMTUD is larger */
#define TD_COOKIE_SIZE  8
/* Of a PMTUD that asks whether the other end is there: bytes of UDP payload. */
#define TD_MSG_CHALLENGE_SIZE 64
#define TD_DATA_COOKIE \
	8 /* bytes; in data packets, RFC 3931 section 4.1: not that of the handshake */
#define TD_UUID_MAX 255

enum td_sender {
	TD_FROM_CLIENT,
	TD_FROM_BROKER,
};

enum td_msg_type {
	TD_MSG_COOKIE = 0x01,
	TD_MSG_PREPARE = 0x02,
	TD_MSG_ERROR = 0x03,
	TD_MSG_TUNNEL = 0x04,
	TD_MSG_KEEPALIVE = 0x05,
	TD_MSG_PMTUD = 0x06,
	TD_MSG_PMTUD_ACK = 0x07,
	TD_MSG_REL_ACK = 0x08,
	TD_MSG_PMTU_NTFY = 0x09,
	TD_MSG_USAGE = 0x0a,
	TD_MSG_LIMIT = 0x80,
	/* Not a type of the wire: a reliable message (type >= 0x80) that we do not know. */
	TD_MSG_RELIABLE_UNKNOWN = 0x100,
};

enum td_error_reason {
	TD_ERROR_NONE = 0x00, /* no reason byte */
	TD_ERROR_BROKER_OTHER_SIDE = 0x01,
	TD_ERROR_BROKER_SHUTDOWN = 0x02,
	TD_ERROR_BROKER_TIMEOUT = 0x03,
	TD_ERROR_BROKER_FAILURE = 0x04,
	TD_ERROR_BROKER_UNDEFINED = 0x05,
	TD_ERROR_CLIENT_OTHER_SIDE = 0x10,
	TD_ERROR_CLIENT_SHUTDOWN = 0x11,
	TD_ERROR_CLIENT_TIMEOUT = 0x12,
	TD_ERROR_CLIENT_FAILURE = 0x13,
	TD_ERROR_CLIENT_DATA = 0x14, /* with TD_FEATURE_DATA_COUNTS: data does not arrive */
};

#define TD_FEATURE_UNIQUE_SESSION_ID (1u << 0)
#define TD_FEATURE_DATA_COOKIES      (1u << 16)
#define TD_FEATURE_DATA_COUNTS       (1u << 17)
#define TD_FEATURE_SPARSE_KEEPALIVES (1u << 18)

#define TD_LIMIT_BANDWIDTH_DOWN 1

struct td_msg {
	enum td_msg_type type;
	union {
		uint8_t cookie[TD_COOKIE_SIZE]; /* COOKIE, either way */
		struct {
			uint8_t cookie[TD_COOKIE_SIZE];
			uint8_t uuid_len;
			const char *uuid;                    /* any bytes, not terminated */
			uint32_t tunnel_id;                  /* 1 when absent */
			uint32_t features;                   /* 0 when absent */
			uint8_t data_cookie[TD_DATA_COOKIE]; /* with TD_FEATURE_DATA_COOKIES */
		} prepare;
		uint8_t reason; /* ERROR: enum td_error_reason, or what the peer made up */
		struct {
			uint32_t id;
			uint32_t features;
			bool has_features;
			uint8_t data_cookie[TD_DATA_COOKIE]; /* with TD_FEATURE_DATA_COOKIES */
		} tunnel;
		struct {
			uint32_t counter; /* 16 bits of it from a broker */
			bool counted;     /* are there counts of data packets? */
			uint32_t data_sent, data_received;
		} keepalive;
		uint16_t size;     /* PMTUD: the datagram's own; PMTUD_ACK: the one acknowledged */
		uint16_t sequence; /* REL_ACK, RELIABLE_UNKNOWN */
		uint16_t mtu;      /* PMTU_NTFY */
		struct {
			uint32_t features; /* from a client */
			uint16_t load;     /* from a broker */
		} usage;
		struct {
			uint16_t sequence;
			bool bandwidth;     /* is it a bandwidth limit with a whole value? */
			uint32_t rate_kbps; /* then this */
		} limit;
	};
};

/* Is this datagram for us (a control message) rather than for the data path? */
static inline bool td_msg_is_control(const uint8_t *bytes, size_t size)
{
	return size > 0 && (bytes[0] & 0x80) != 0;
}

/*
 * Parses a datagram, which must live as long as msg: the UUID of a PREPARE points there. 0;
 * -EBADMSG: not a whole message of this protocol, version and sender; -ENOMSG: one of a type that we
 * do not know. In both cases: drop it and count it.
 */
int td_msg_parse(struct td_msg *msg, enum td_sender from, const uint8_t *bytes, size_t size)
	__attribute__((warn_unused_result));

/*
 * Writes a message, padded to TD_MSG_MIN_SIZE (PMTUD: to msg->size). Returns its size, 0 when it
 * does not fit in capacity or a payload's 255 bytes, which is a fault of the caller's for every
 * type but PMTUD. ERROR with TD_ERROR_NONE carries no reason, which deployed brokers ignore: give
 * one. TUNNEL carries features when it has any that are not 0. Asserts that the sender may send the
 * type.
 */
size_t td_msg_put(const struct td_msg *msg, enum td_sender from, uint8_t *to, size_t capacity);

#endif
