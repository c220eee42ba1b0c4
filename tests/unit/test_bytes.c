/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Blocks are allocated in the exact size, so that AddressSanitizer sees every byte too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/rng.h"

static void test_read(void **state)
{
	static const uint8_t bytes[] = { 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 'a', 'b' };
	struct td_reader r = td_reader_init(bytes, sizeof(bytes));
	struct td_reader sub;
	char text[2];

	(void)state;
	assert_int_equal(td_read_u8(&r), 0xfe);
	assert_int_equal(td_read_u16(&r), 0xdcba);
	assert_int_equal(td_read_u32(&r), 0x98765432);
	sub = td_read_sub(&r, 2);
	assert_int_equal(td_read_u16(&sub), 0x1061);
	assert_false(sub.failed);
	assert_int_equal(td_read_u8(&sub), 0); /* not the 'b' */
	assert_true(sub.failed);
	assert_int_equal(r.left, 1);
	td_read_bytes(&r, text, 1);
	assert_int_equal(text[0], 'b');
	assert_false(r.failed);
}

static void test_read_fails_stickily(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3 };
	struct td_reader r = td_reader_init(bytes, sizeof(bytes));
	struct td_reader sub;
	uint8_t text[3] = { 9, 9, 9 };

	(void)state;
	assert_int_equal(td_read_u32(&r), 0);
	assert_true(r.failed);
	assert_int_equal(r.left, 0);
	assert_int_equal(td_read_u8(&r), 0);
	assert_int_equal(td_read_u16(&r), 0);
	td_read_bytes(&r, text, sizeof(text));
	assert_memory_equal(text, ((uint8_t[]){ 0, 0, 0 }), 3);
	sub = td_read_sub(&r, 0);
	assert_true(sub.failed);
	assert_int_equal(td_read_u8(&sub), 0);
}

static void test_read_nothing(void **state)
{
	struct td_reader r = td_reader_init(NULL, 0);
	struct td_reader sub = td_read_sub(&r, 0);

	(void)state;
	td_read_bytes(&r, NULL, 0);
	assert_false(r.failed);
	assert_false(sub.failed);
	sub = td_read_sub(&r, SIZE_MAX);
	assert_true(r.failed);
	assert_true(sub.failed);
}

static void test_write(void **state)
{
	static const uint8_t expected[] = { 1, 2, 3, 4, 5, 6, 7, 'x', 'y', 0, 0 };
	uint8_t bytes[sizeof(expected) + 1];
	struct td_writer w = td_writer_init(bytes, sizeof(bytes));

	(void)state;
	memset(bytes, 0xee, sizeof(bytes));
	td_write_u8(&w, 0x01);
	td_write_u16(&w, 0x0203);
	td_write_u32(&w, 0x04050607);
	td_write_bytes(&w, "xy", 2);
	td_write_bytes(&w, NULL, 0);
	td_write_pad(&w, 3); /* there already */
	td_write_pad(&w, sizeof(expected));
	assert_false(w.failed);
	assert_int_equal(w.used, sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
	assert_int_equal(bytes[sizeof(expected)], 0xee);
}

static void test_write_fails_stickily(void **state)
{
	uint8_t bytes[3] = { 9, 9, 9 };
	struct td_writer w = td_writer_init(bytes, sizeof(bytes));

	(void)state;
	td_write_u32(&w, 1);
	assert_true(w.failed);
	td_write_u8(&w, 1);
	td_write_u16(&w, 1);
	td_write_bytes(&w, "x", 1);
	td_write_pad(&w, 2);
	assert_int_equal(w.used, 0);
	assert_memory_equal(bytes, ((uint8_t[]){ 9, 9, 9 }), 3);
}

/* One random access of each cursor; both move over the same number of bytes, or fail. */
static void step(struct td_rng *rng, struct td_reader *r, struct td_writer *w)
{
	uint8_t bytes[8];
	size_t size = td_rng_below(rng, sizeof(bytes) + 1);

	switch (td_rng_below(rng, 5)) {
	case 0:
		td_write_u8(w, td_read_u8(r));
		break;
	case 1:
		td_write_u16(w, td_read_u16(r));
		break;
	case 2:
		td_write_u32(w, td_read_u32(r));
		break;
	case 3:
		td_read_bytes(r, bytes, size);
		td_write_bytes(w, bytes, size);
		break;
	default:
		td_read_sub(r, size);
		td_write_pad(w, w->used + size);
		break;
	}
}

static void test_any_sequence(void **state)
{
	struct td_rng rng;

	(void)state;
	td_rng_init(&rng, 2);
	for (int round = 0; round < 2000; round++) {
		size_t size = td_rng_below(&rng, 40);
		uint8_t *from = malloc(size), *to = malloc(size);
		struct td_reader r = td_reader_init(from, size);
		struct td_writer w = td_writer_init(to, size);

		memset(from, 0, size);
		for (int i = 0; i < 20; i++) {
			step(&rng, &r, &w);
			assert_int_equal(r.failed, w.failed);
			assert_true(w.used <= size);
			if (!r.failed)
				assert_int_equal(w.used + r.left, size);
		}
		for (size_t i = 0; i < w.used; i++)
			assert_int_equal(to[i], 0);
		free(from);
		free(to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_fails_stickily),
		cmocka_unit_test(test_read_nothing),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_fails_stickily),
		cmocka_unit_test(test_any_sequence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
