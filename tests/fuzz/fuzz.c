/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	/* A failed assertion shows where it came from. */
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}
