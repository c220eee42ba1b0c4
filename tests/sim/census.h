/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What really happened in a run, counted. A fault, a quirk of a peer or a pair of peers that a plan
 * is meant to make and never makes would prove nothing, and nobody would see it: so a run of many
 * seeds must have seen each of these (sim -a).
 */
#ifndef TD_TESTS_CENSUS_H
#define TD_TESTS_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

#define CENSUS(X)                                                                     \
	/* tunnels that were judged to work, by who made them */                      \
	X(NEW_NEW, "tunnel of new client and new broker")                             \
	X(OLD_0_2_NEW, "tunnel of client 0.2 and new broker")                         \
	X(OLD_0_3_NEW, "tunnel of client 0.3.0 and new broker")                       \
	X(OLD_2017_NEW, "tunnel of client of 2017 and new broker")                    \
	X(OLD_2021_NEW, "tunnel of client of 2021 and new broker")                    \
	X(NEW_OLD, "tunnel of new client and deployed broker")                        \
	X(NEW_OLDEST, "tunnel of new client and broker without features")             \
	/* what deployed peers do */                                                  \
	X(NO_FEATURES, "PREPARE without features")                                    \
	X(NO_ID, "PREPARE without tunnel id")                                         \
	X(HASTY, "client asks at once who failed it")                                 \
	X(FORGETFUL, "TUNNEL repeated without features")                              \
	X(DEAF, "USAGE not answered")                                                 \
	X(BARE_ERROR, "ERROR without reason")                                         \
	/* datagrams */                                                               \
	X(LOST, "datagram lost")                                                      \
	X(LOST_MOST, "datagram lost where 60 % are")                                  \
	X(REPEATED, "datagram repeated")                                              \
	X(REORDERED, "datagram overtaken")                                            \
	X(CORRUPT, "datagram corrupt, and dropped")                                   \
	X(LIE, "datagram corrupt, and delivered")                                     \
	X(TOO_LARGE, "datagram too large")                                            \
	/* the way */                                                                 \
	X(CUT_UP, "way cut up")                                                       \
	X(CUT_DOWN, "way cut down")                                                   \
	X(CUT_BOTH, "way cut")                                                        \
	X(NO_DATA_UP, "way without data up")                                          \
	X(NO_DATA_DOWN, "way without data down")                                      \
	X(NO_DATA_BOTH, "way without data")                                           \
	X(OTHER_MTU, "way of another MTU")                                            \
	X(OTHER_WAY, "another way")                                                   \
	X(NAT_PORT, "NAT gives a tunnel another port")                                \
	X(NAT_ADDRESS, "NAT gives a tunnel another address")                          \
	X(BLOCKED, "socket full")                                                     \
	/* names */                                                                   \
	X(NAME_NONE, "name without address")                                          \
	X(NAME_MORE, "name with a dead address more")                                 \
	X(NAME_DEAD, "name with a dead address only")                                 \
	X(NAME_OTHER, "name with another broker's address")                           \
	X(NAME_BACK, "name mended before the network is")                             \
	X(NO_LOOKUP, "lookup fails")                                                  \
	/* lives */                                                                   \
	X(CLIENT_CRASH, "client crashes")                                             \
	X(CLIENT_CRASH_MID, "client crashes between two of its actions")              \
	X(CLIENT_STOP, "client ends in order")                                        \
	X(BROKER_CRASH, "broker crashes")                                             \
	X(BROKER_CRASH_MID, "broker crashes between two of its actions")              \
	X(BROKER_STOP, "broker ends in order")                                        \
	X(WORKER_CRASH, "worker crashes")                                             \
	X(WORKER_CRASH_MID, "worker crashes between two of its actions")              \
	X(WORKER_UPGRADE, "worker is replaced")                                       \
	X(CLIENT_STALL, "client has no time")                                         \
	X(BROKER_STALL, "broker has no time")                                         \
	X(CLIENT_JUMP, "clock of a client jumps")                                     \
	X(BROKER_JUMP, "clock of a broker jumps")                                     \
	/* data paths and hooks */                                                    \
	X(FAILED, "broker's data path fails")                                         \
	X(TIMED_OUT, "broker's data path takes longer than the engine waits")         \
	X(OUT_OF_ORDER, "result of a broker's data path overtakes an earlier one")    \
	X(TOO_LATE, "result for a session that is dead")                              \
	X(TWICE, "result told twice")                                                 \
	X(HOOK_FAILED, "hook fails")                                                  \
	X(HOOK_SLOW, "hook takes longer than its limit")                              \
	X(HOOK_TOO_LATE, "hook ends after its session")                               \
	X(LOST_IFACE, "broker's interface removed by another hand")                   \
	X(CLIENT_FAILED, "client's data path fails")                                  \
	X(CLIENT_TIMED_OUT, "client's data path takes longer than the machine waits") \
	X(CLIENT_TOO_LATE, "result for a client's tunnel that was given up")          \
	X(CLIENT_TWICE, "result told twice to a client")                              \
	X(CLIENT_LOST_IFACE, "client's interface removed by another hand")            \
	X(CLIENT_TOLD, "client told of another network or way")

#define CENSUS_ENUM(name, text) SAW_##name,
enum sim_saw { CENSUS(CENSUS_ENUM) SAW_COUNT };

struct census {
	uint64_t seen[SAW_COUNT];
};

void census_add(struct census *to, const struct census *from); /* to: shared by processes */
void census_print(const struct census *c);
/* Whether all was seen; prints what was not. */
bool census_complete(const struct census *c);

#endif
