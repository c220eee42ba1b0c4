/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/index.h"
#include "base/rng.h"
#include "faults.h"

#define MAX 32

struct fixture {
	struct td_index index;
	struct td_index_cell cells[2 * MAX];
	uint32_t hash[MAX]; /* of each number, while it is in */
	bool in[MAX];
};

static void init(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	assert_int_equal(td_index_cells(MAX), 2 * MAX);
	td_index_init(&f->index, f->cells, 2 * MAX);
}

/* Do all numbers with that hash come, each once, and no other? */
static void check_hash(const struct fixture *f, uint32_t hash)
{
	bool found[MAX] = { false };
	struct td_index_pos it;

	for (it = td_index_find(&f->index, hash); it.number != TD_INDEX_NONE;
	     it = td_index_next(&f->index, it)) {
		assert_in_range(it.number, 0, MAX - 1);
		assert_false(found[it.number]);
		found[it.number] = true;
	}
	for (int i = 0; i < MAX; i++)
		assert_int_equal(found[i], f->in[i] && f->hash[i] == hash);
}

static void toggle(struct fixture *f, uint32_t number, uint32_t hash)
{
	if (f->in[number]) {
		td_index_remove(&f->index, f->hash[number], number);
		f->in[number] = false;
		return;
	}
	f->hash[number] = hash;
	f->in[number] = true;
	td_index_add(&f->index, hash, number);
}

/* spread hashes of which several share a home, near the end of the array so that probing wraps. */
static void any_sequence(uint64_t seed, uint32_t spread)
{
	struct fixture f;
	struct td_rng rng;

	init(&f);
	td_rng_init(&rng, seed);
	for (int step = 0; step < 5000; step++) {
		uint32_t home = 2 * MAX - 4 + td_rng_below(&rng, spread);
		uint32_t hash = home + 0x1000 * td_rng_below(&rng, 2);

		toggle(&f, td_rng_below(&rng, MAX), hash);
		check_hash(&f, hash);
		check_hash(&f, home);
		check_hash(&f, home + 1);
	}
	for (uint32_t home = 2 * MAX - 4; home < 2 * MAX - 4 + spread; home++)
		check_hash(&f, home);
}

static void test_any_sequence(void **state)
{
	(void)state;
	any_sequence(6, 1);
	any_sequence(7, 3);
	any_sequence(8, 10);
	any_sequence(9, 2 * MAX);
}

static void test_full_and_empty_again(void **state)
{
	struct fixture f;

	(void)state;
	init(&f);
	for (uint32_t i = 0; i < MAX; i++)
		toggle(&f, i, UINT32_MAX);
	assert_int_equal(f.index.count, MAX);
	check_hash(&f, UINT32_MAX);
	check_hash(&f, 0);
	for (uint32_t i = 0; i < MAX; i++)
		toggle(&f, i, 0);
	assert_int_equal(f.index.count, 0);
	for (uint32_t i = 0; i < 2 * MAX; i++)
		assert_int_equal(f.cells[i].number, TD_INDEX_NONE);
}

static void test_cells(void **state)
{
	(void)state;
	assert_int_equal(td_index_cells(0), 2);
	assert_int_equal(td_index_cells(1), 2);
	assert_int_equal(td_index_cells(2), 4);
	assert_int_equal(td_index_cells(3), 8);
	assert_int_equal(td_index_cells(65535), 131072);
	assert_int_equal(td_index_cells(UINT32_C(1) << 30), UINT32_C(1) << 31);
}

static void remove_absent(void)
{
	struct fixture f;

	init(&f);
	td_index_add(&f.index, 1, 1);
	td_index_remove(&f.index, 1, 2);
}

static void add_one_too_many(void)
{
	struct fixture f;

	init(&f);
	for (uint32_t i = 0; i <= MAX; i++)
		td_index_add(&f.index, 0, i);
}

static void test_faults(void **state)
{
	(void)state;
	assert_true(faults(remove_absent));
	assert_true(faults(add_one_too_many));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_sequence),
		cmocka_unit_test(test_full_and_empty_again),
		cmocka_unit_test(test_cells),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
