/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The command line of tunneldigger-broker(8). */
#ifndef TD_BROKER_PROGRAM_H
#define TD_BROKER_PROGRAM_H

/* The program's exit status: 0, 1 for a fault, 2 for wrong usage. */
int td_broker_main(int argc, char **argv);

#endif
