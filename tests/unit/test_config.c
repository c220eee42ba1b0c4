/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The broker's configuration against tests/config:
 *
 *	NAME.in, NAME.ok     a file, and its warnings (as comments) and effective configuration
 *	NAME.bad, NAME.err   a file, and the error that it ends with
 *
 * With TD_UPDATE in the environment .ok and .err are written anew, to be read in the diff.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "broker/config.h"
#include "broker/config_keys.h"
#include "broker/inifile.h"

#define FILE_MAX 65536

struct text {
	char *bytes;
	size_t size;
};

static struct text read_file(const char *path)
{
	struct text text = { calloc(1, FILE_MAX), 0 };
	FILE *file = fopen(path, "rb");

	assert_non_null(text.bytes);
	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	text.size = fread(text.bytes, 1, FILE_MAX - 1, file);
	fclose(file);
	return text;
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* The golden file beside the input, which ends in suffix. */
static void expect_golden(const char *input, const char *suffix, const char *is)
{
	char path[256];
	struct text want;

	snprintf(path, sizeof(path), "%.*s%s", (int)(strrchr(input, '.') - input), input, suffix);
	if (getenv("TD_UPDATE"))
		write_file(path, is);
	want = read_file(path);
	if (strcmp(is, want.bytes) != 0)
		fail_msg("%s\n--- is\n%s--- should be\n%s", path, is, want.bytes);
	free(want.bytes);
}

static void comment_warning(void *ctx, const char *sentence)
{
	fprintf(ctx, "# %s\n", sentence);
}

/* Warnings and effective configuration as one text, NULL on error; to be freed. */
static char *effective(const char *text, size_t size, struct td_report *report)
{
	struct td_broker_options options;
	char *out = NULL;
	size_t out_size = 0;
	FILE *stream = open_memstream(&out, &out_size);
	int err;

	assert_non_null(stream);
	report->warn = comment_warning;
	report->ctx = stream;
	err = td_config_parse(&options, text, size, report);
	assert_int_equal(err != 0, report->error[0] != '\0');
	if (!err)
		td_config_print(&options, stream);
	fclose(stream);
	if (!err)
		return out;
	free(out);
	return NULL;
}

/* The configuration behind the warnings, which quote parts of the file. */
static const char *without_warnings(const char *printed)
{
	while (*printed == '#')
		printed = strchr(printed, '\n') + 1;
	return printed;
}

/* What was printed, parsed and printed again is the same, without any warning but hooks'. */
static void expect_stable(const char *printed)
{
	struct td_report report = { .file = "printed" };
	const char *plain = without_warnings(printed);
	char *again;

	again = effective(plain, strlen(plain), &report);
	if (!again)
		fail_msg("cannot be read again: %s\n%s", report.error, plain);
	assert_string_equal(without_warnings(again), plain);
	free(again);
}

static void check_good(const char *name)
{
	struct text text = read_file(name);
	struct td_report report = { .file = name };
	char *is = effective(text.bytes, text.size, &report);

	if (!is)
		fail_msg("%s: refused: %s", name, report.error);
	expect_golden(name, ".ok", is);
	expect_stable(is);
	free(is);
	free(text.bytes);
}

static void check_bad(const char *name)
{
	struct text text = read_file(name);
	struct td_report report = { .file = name };
	char *is = effective(text.bytes, text.size, &report);
	char line[TD_REPORT_SIZE + 1];

	if (is)
		fail_msg("%s: accepted:\n%s", name, is);
	snprintf(line, sizeof(line), "%s\n", report.error);
	expect_golden(name, ".err", line);
	free(text.bytes);
}

/* Calls check for each file of that suffix; returns their number. */
static unsigned each_file(const char *suffix, void (*check)(const char *name))
{
	struct dirent **entries;
	int count = scandir(".", &entries, NULL, alphasort);
	unsigned checked = 0;

	assert_true(count > 0);
	for (int i = 0; i < count; i++) {
		const char *dot = strrchr(entries[i]->d_name, '.');

		if (dot && dot != entries[i]->d_name && strcmp(dot, suffix) == 0) {
			check(entries[i]->d_name);
			checked++;
		}
		free(entries[i]);
	}
	free(entries);
	return checked;
}

static void good_files_give_their_effective_configuration(void **state)
{
	(void)state;
	assert_true(each_file(".in", check_good) >= 20);
}

static void bad_files_give_their_error(void **state)
{
	(void)state;
	assert_true(each_file(".bad", check_bad) >= 20);
}

/* --- damaged files --- */

static struct td_rng rng;

static void expect_sane(const char *text, size_t size)
{
	struct td_report report = { .file = "damaged" };
	char *is = effective(text, size, &report);

	if (is)
		expect_stable(is);
	else
		assert_true(strncmp(report.error, "damaged", 7) == 0);
	free(is);
}

static void damage(struct text *text)
{
	static const char special[] = "[]=:;#%()\n\r \t,.\0\x01\xff";
	size_t place = td_rng_below(&rng, (uint32_t)text->size);
	size_t other = td_rng_below(&rng, (uint32_t)text->size);
	size_t size = td_rng_below(&rng, (uint32_t)(text->size - (place > other ? place : other)));

	switch (td_rng_below(&rng, 4)) {
	case 0:
		text->size = place;
		break;
	case 1:
		text->bytes[place] ^= (char)(1u << td_rng_below(&rng, 8));
		break;
	case 2:
		text->bytes[place] = special[td_rng_below(&rng, sizeof(special) - 1)];
		break;
	default:
		memmove(text->bytes + place, text->bytes + other, size);
	}
}

static void check_damaged(const char *name)
{
	struct text original = read_file(name);

	for (unsigned round = 0; round < 40; round++) {
		/* Of its exact size, so that a sanitizer sees a read beyond the end. */
		struct text text = { malloc(original.size + 1), original.size };

		memcpy(text.bytes, original.bytes, original.size);
		for (uint32_t i = td_rng_below(&rng, 4); i < 4 && text.size > 0; i++)
			damage(&text);
		expect_sane(text.bytes, text.size);
		free(text.bytes);
	}
	free(original.bytes);
}

static void damaged_files_are_read_or_refused(void **state)
{
	(void)state;
	td_rng_init(&rng, 20240207);
	each_file(".in", check_damaged);
	each_file(".bad", check_damaged);
}

static void every_prefix_is_read_or_refused(void **state)
{
	struct text text = read_file("everything.in");

	(void)state;
	for (size_t size = 0; size <= text.size; size++) {
		char *prefix = malloc(size + 1);

		memcpy(prefix, text.bytes, size);
		expect_sane(prefix, size);
		free(prefix);
	}
	free(text.bytes);
}

/* --- bounds --- */

/* The error for head and count times "before NUMBER after" behind it. */
static void expect_refused(const char *head, unsigned count, const char *before, const char *after,
			   const char *want)
{
	struct td_report report = { .file = "large" };
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	fputs(head, stream);
	for (unsigned i = 0; i < count; i++)
		fprintf(stream, "%s%u%s", before, i, after);
	fclose(stream);
	assert_null(effective(text, size, &report));
	assert_string_equal(report.error, want);
	free(text);
}

static void large_files_are_refused(void **state)
{
	(void)state;
	expect_refused("", 100000, "[s", "]\n", "large:32: more than 31 sections are too many");
	expect_refused("[x]\n", 50000, "k", "=v\n",
		       "large:258: more than 256 options are too many");
	expect_refused("", 150000, "[s", "]\n",
		       "large: is larger than 1 MB; a configuration file is expected");
	expect_refused("[x]\na=", 100000, " ", ",",
		       "large:2: is longer than 190 characters; continue a long value in the next "
		       "line, indented");
	expect_refused("[x]\na=\n", 10000, " value ", "\n",
		       "large:414: a: the value is longer than 4000 characters");
}

/* Empty values multiply without getting longer. */
static void references_without_end_are_refused(void **state)
{
	(void)state;
	expect_refused("[broker]\naddress=::\nport=1\nmax_tunnels=%(b)s\n", 20, "c", "=\n",
		       "large:4: max_tunnels: refers to an option that is neither here nor in "
		       "[DEFAULT]");
	expect_refused("[broker]\naddress=::\nport=1\nmax_tunnels=%(a)s\nb=\na=", 300, "%(b)s\n ;",
		       "\n ", "large:4: max_tunnels: refers to itself, or to too many others");
}

static void comments_may_be_long(void **state)
{
	static const char head[] = "[broker]\naddress=::\nport=1\n  #";
	char text[5000];
	struct td_report report = { .file = "comment" };
	char *is;

	(void)state;
	memset(text, '-', sizeof(text));
	memcpy(text, head, sizeof(head) - 1);
	is = effective(text, sizeof(text), &report);
	assert_non_null(is);
	free(is);
}

/* --- files --- */

static void unreadable_files_say_why(void **state)
{
	struct td_broker_options options;
	struct td_report report = { 0 };

	(void)state;
	assert_int_equal(td_config_load(&options, "no/such/file", &report), -ENOENT);
	assert_string_equal(report.error,
			    "no/such/file: cannot be read: No such file or directory");
	assert_int_equal(td_config_load(&options, "scripts", &report), -EISDIR);
	assert_string_equal(report.error, "scripts: cannot be read: Is a directory");
	assert_int_equal(td_config_load(&options, "/dev/zero", &report), -EINVAL);
	assert_string_equal(report.error,
			    "/dev/zero: is larger than 1 MB; a configuration file is expected");
	assert_int_equal(td_config_load(&options, "live-several-ports.in", &report), 0);
	assert_string_equal(report.error, "");
}

/* --- for the engine --- */

static struct td_engine_config engine_of(const char *lines)
{
	struct td_broker_options options;
	struct td_engine_config engine;
	struct td_report report = { .file = "engine" };
	char text[1000];

	memset(&engine, 0, sizeof(engine));
	snprintf(text, sizeof(text), "[broker]\naddress=::\nport=1\n%s", lines);
	if (td_config_parse(&options, text, strlen(text), &report) != 0)
		fail_msg("%s", report.error);
	td_config_engine(&options, &engine);
	return engine;
}

static void engine_gets_defaults(void **state)
{
	struct td_engine_config engine = engine_of("");

	(void)state;
	assert_int_equal(engine.max_tunnels, 1024);
	assert_int_equal(engine.tunnel_id_base, 100);
	assert_int_equal(engine.fixed_mtu, 0);
	assert_int_equal(engine.max_mtu, 1446);
	assert_int_equal(engine.rate.interval_us, 200000);
	assert_int_equal(engine.rate.burst, TD_ENGINE_BURST);
	assert_int_equal(engine.rate_per_ip.interval_us, 0);
	assert_int_equal(engine.rate_per_uuid.interval_us, 0);
	assert_true(engine.rate_per_ip.burst >= 1 && engine.rate_per_uuid.burst >= 1);
	assert_int_equal(engine.hooks, 0);
}

static void engine_gets_rates(void **state)
{
	struct td_engine_config engine =
		engine_of("connection_rate_limit=0\n"
			  "connection_rate_limit_burst=7\n"
			  "connection_rate_limit_per_ip_count=20\n"
			  "connection_rate_limit_per_ip_time=60\n"
			  "connection_rate_limit_per_uuid_count=3\n"
			  "connection_rate_limit_per_uuid_time=0.000001\n");

	(void)state;
	assert_int_equal(engine.rate.interval_us, 0);
	assert_int_equal(engine.rate.burst, 7);
	assert_int_equal(engine.rate_per_ip.interval_us, 3000000);
	assert_int_equal(engine.rate_per_ip.burst, 20);
	/* Rounding down would switch the limit off. */
	assert_int_equal(engine.rate_per_uuid.interval_us, 1);
	assert_int_equal(engine.rate_per_uuid.burst, 3);
}

static void engine_gets_mtu_and_hooks(void **state)
{
	(void)state;
	assert_int_equal(engine_of("pmtu=1000\n").fixed_mtu, 1280);
	assert_int_equal(engine_of("pmtu=1312\n").fixed_mtu, 1312);
	assert_int_equal(engine_of("pmtu_max=9000\n").max_mtu, 9000);
	assert_int_equal(engine_of("[hooks]\nsession.up=a\nsession.mtu-changed=b\n").hooks,
			 1u << TD_HOOK_UP | 1u << TD_HOOK_MTU_CHANGED);
}

/* --- the table --- */

static void help_names_the_range(void **state)
{
	char number[11];

	(void)state;
	for (const struct td_key *key = td_config_keys; key->name; key++) {
		assert_non_null(key->help);
		if (key->max == 0)
			continue;
		snprintf(number, sizeof(number), "%u", key->min);
		assert_non_null(strstr(key->help, number));
		snprintf(number, sizeof(number), "%u", key->max);
		assert_non_null(strstr(key->help, number));
	}
}

/*
 * In the manual page each section is ".Sh SECTION [NAME]", and in it each key ".It Cm NAME" with
 * ".Pq default: VALUE" behind it on its own.
 */
static void check_manual(const char *page, const struct td_key *key)
{
	char section[100], item[100], want[100];
	const char *at, *end;

	snprintf(section, sizeof(section), "\n.Sh SECTION [%s]", key->section);
	at = strstr(page, section);
	if (!at)
		fail_msg("the manual page lacks [%s]", key->section);
	end = at ? strstr(at + 1, "\n.Sh ") : NULL;
	snprintf(item, sizeof(item), "\n.It Cm %s\n", key->name);
	at = strstr(at, item);
	if (!at || (end && at > end))
		fail_msg("the manual page lacks %s of [%s]", key->name, key->section);
	if (!key->fallback)
		snprintf(want, sizeof(want), "\n.Pq required\n");
	else if (!*key->fallback)
		snprintf(want, sizeof(want), "\n.Pq default: empty\n");
	else
		snprintf(want, sizeof(want), "\n.Pq default: %s\n", key->fallback);
	end = strstr(at + 1, "\n.It Cm ");
	at = strstr(at, want);
	if (!at || (end && at > end))
		fail_msg("the manual page does not say of %s:%s", key->name, want);
}

static bool is_key(const char *name, size_t size)
{
	for (const struct td_key *key = td_config_keys; key->name; key++) {
		if (strlen(key->name) == size && strncmp(key->name, name, size) == 0)
			return true;
	}
	return false;
}

static void manual_page_has_every_key_and_no_other(void **state)
{
	struct text page = read_file("../../docs/man/tunneldigger-broker.conf.5");
	const char *at = page.bytes;

	(void)state;
	for (const struct td_key *key = td_config_keys; key->name; key++)
		check_manual(page.bytes, key);
	for (const struct td_old_key *key = td_config_old_keys; key->name; key++)
		assert_non_null(strstr(page.bytes, key->name));
	while ((at = strstr(at, "\n.It Cm "))) {
		at += strlen("\n.It Cm ");
		if (!is_key(at, strcspn(at, "\n")))
			fail_msg("the manual page has %.40s", at);
	}
	free(page.bytes);
}

static void example_is_good(void **state)
{
	struct text text = read_file("../../examples/tunneldigger-broker.conf");
	struct td_report report = { .file = "example" };
	char *is = effective(text.bytes, text.size, &report);

	(void)state;
	if (!is)
		fail_msg("%s", report.error);
	assert_true(strncmp(is, "[broker]", 8) == 0); /* no warnings */
	free(is);
	free(text.bytes);
}

static int enter_directory(void **state)
{
	const char *tests = getenv("TD_TESTS");

	(void)state;
	return !tests || chdir(tests) != 0 || chdir("config") != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_give_their_effective_configuration),
		cmocka_unit_test(bad_files_give_their_error),
		cmocka_unit_test(damaged_files_are_read_or_refused),
		cmocka_unit_test(every_prefix_is_read_or_refused),
		cmocka_unit_test(large_files_are_refused),
		cmocka_unit_test(references_without_end_are_refused),
		cmocka_unit_test(comments_may_be_long),
		cmocka_unit_test(unreadable_files_say_why),
		cmocka_unit_test(engine_gets_defaults),
		cmocka_unit_test(engine_gets_rates),
		cmocka_unit_test(engine_gets_mtu_and_hooks),
		cmocka_unit_test(help_names_the_range),
		cmocka_unit_test(manual_page_has_every_key_and_no_other),
		cmocka_unit_test(example_is_good),
	};

	return cmocka_run_group_tests(tests, enter_directory, NULL);
}
