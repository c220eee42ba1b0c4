/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the parent keeps of sessions: above all, which descriptor is open when. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/kept.h"

#define PLACES 3

static const uint8_t first[] = "first", second[] = "the second";

static int set_up(void **state)
{
	*state = td_kept_new(PLACES);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	td_kept_free(*state, PLACES);
	return 0;
}

static int new_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void assert_open(int fd, bool is_open)
{
	assert_int_equal(fcntl(fd, F_GETFD) >= 0, is_open);
}

static void assert_record(const struct td_kept_session *kept, const uint8_t *record, size_t size)
{
	assert_int_equal(kept->size, size);
	if (size > 0)
		assert_memory_equal(kept->record, record, size);
}

static void test_new_places_are_empty(void **state)
{
	const struct td_kept_session *kept = *state;

	for (unsigned i = 0; i < PLACES; i++) {
		assert_int_equal(kept[i].fd, -1);
		assert_record(&kept[i], NULL, 0);
	}
}

static void test_last_record_counts(void **state)
{
	struct td_kept_session *kept = *state;

	td_kept_put(kept, second, sizeof(second), false, -1);
	td_kept_put(kept, first, sizeof(first), false, -1);
	assert_record(kept, first, sizeof(first));
	assert_record(kept + 1, NULL, 0);
	td_kept_put(kept, NULL, 0, false, -1);
	assert_record(kept, NULL, 0);
}

static void test_descriptor_stays_as_long_as_it_is_held(void **state)
{
	struct td_kept_session *kept = *state;
	const int fd = new_descriptor();

	td_kept_put(kept, first, sizeof(first), true, fd);
	td_kept_put(kept, second, sizeof(second), true, -1);
	assert_int_equal(kept->fd, fd);
	assert_open(fd, true);
	td_kept_put(kept, first, sizeof(first), false, -1);
	assert_int_equal(kept->fd, -1);
	assert_open(fd, false);
	assert_record(kept, first, sizeof(first));
}

static void test_descriptor_takes_the_place_of_the_last_one(void **state)
{
	struct td_kept_session *kept = *state;
	const int old = new_descriptor(), new = new_descriptor();

	td_kept_put(kept, first, sizeof(first), true, old);
	td_kept_put(kept, first, sizeof(first), true, new);
	assert_int_equal(kept->fd, new);
	assert_open(old, false);
	assert_open(new, true);
}

static void test_forgotten_is_closed(void **state)
{
	struct td_kept_session *kept = *state;
	const int fd = new_descriptor(), other = new_descriptor();

	td_kept_put(kept, first, sizeof(first), true, fd);
	td_kept_put(kept + 1, second, sizeof(second), true, other);
	td_kept_forget(kept);
	td_kept_forget(kept);
	assert_open(fd, false);
	assert_record(kept, NULL, 0);
	assert_open(other, true);
	assert_record(kept + 1, second, sizeof(second));
}

static void test_free_forgets_all(void **state)
{
	struct td_kept_session *kept = td_kept_new(PLACES);
	const int fd = new_descriptor();

	(void)state;
	assert_non_null(kept);
	td_kept_put(kept + 2, first, sizeof(first), true, fd);
	td_kept_free(kept, PLACES);
	assert_open(fd, false);
	td_kept_free(NULL, PLACES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_places_are_empty, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_last_record_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_descriptor_stays_as_long_as_it_is_held, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_descriptor_takes_the_place_of_the_last_one,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forgotten_is_closed, set_up, tear_down),
		cmocka_unit_test(test_free_forgets_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
