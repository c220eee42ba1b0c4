/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/program.h"

int main(int argc, char **argv)
{
	return td_broker_main(argc, argv);
}
