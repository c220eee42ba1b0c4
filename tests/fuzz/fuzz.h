/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What all fuzz targets share. A target reads its input through a td_reader: after the end there
 * are zeros, so every input means something, and every prefix of it as well.
 *
 * Assertions are cmocka's, as in the harnesses of tests/unit; one that fails aborts.
 */
#ifndef TD_TESTS_FUZZ_H
#define TD_TESTS_FUZZ_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A copy of exactly that size, so that the address sanitizer finds who reads beyond it. */
static inline uint8_t *fuzz_copy(const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));

	assert_non_null(copy);
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

/* The next piece: a length byte (or two) and as many bytes, or what is left of them. */
static inline struct td_reader fuzz_piece(struct td_reader *r, size_t size)
{
	return td_read_sub(r, size < r->left ? size : r->left);
}

#endif
