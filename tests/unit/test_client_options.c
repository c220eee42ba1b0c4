/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client's command line: what it accepts, what it says about the rest, and its manual page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/options.h"

#define REQUIRED "-u", "node", "-i", "l2tp0", "-b", "192.0.2.1:8942"
#define WORDS    40

struct parsed {
	enum td_options_verdict verdict;
	struct td_options options;
	char why[200];
	char *argv[WORDS];
};

/* Parses copies of the words, as the parser cuts them. */
static struct parsed *parse(const char *const *words)
{
	struct parsed *p = calloc(1, sizeof(*p));
	int argc = 0;

	assert_non_null(p);
	p->argv[argc++] = strdup("tunneldigger");
	for (; *words != NULL; words++) {
		assert_true(argc < WORDS);
		p->argv[argc++] = strdup(*words);
	}
	p->verdict = td_options_parse(&p->options, argc, p->argv, p->why, sizeof(p->why));
	return p;
}

static void discard(struct parsed *p)
{
	td_options_fini(&p->options);
	for (int i = 0; i < WORDS; i++)
		free(p->argv[i]);
	free(p);
}

#define PARSE(...) parse((const char *const[]){ __VA_ARGS__, NULL })

#define assert_wrong(sentence, ...)                              \
	do {                                                     \
		struct parsed *p_ = PARSE(__VA_ARGS__);          \
		assert_int_equal(p_->verdict, TD_OPTIONS_WRONG); \
		assert_string_equal(p_->why, sentence);          \
		discard(p_);                                     \
	} while (0)

static void defaults_are_those_of_deployed_clients(void **state)
{
	struct parsed *p = PARSE(REQUIRED);
	const struct td_options *o = &p->options;

	(void)state;
	assert_int_equal(p->verdict, TD_OPTIONS_RUN);
	assert_string_equal(o->uuid, "node");
	assert_string_equal(o->ifname, "l2tp0");
	assert_int_equal(o->broker_count, 1);
	assert_string_equal(o->brokers[0].host, "192.0.2.1");
	assert_string_equal(o->brokers[0].service, "8942");
	assert_null(o->bind_ifname);
	assert_null(o->hook);
	assert_int_equal(o->local.family, TD_FAMILY_NONE);
	assert_int_equal(o->tunnel_id, 1);
	assert_int_equal(o->limit_kbps, 0);
	assert_int_equal(o->max_mtu, 1446);
	assert_int_equal(o->selection, TD_SELECT_FIRST);
	assert_int_equal(o->datapath, TD_DATAPATH_AUTO);
	assert_false(o->log_to_stderr);
	discard(p);
}

static void every_option_is_taken(void **state)
{
	struct parsed *p =
		PARSE(REQUIRED, "-f", "-a", "-l", "192.0.2.7", "-I", "eth1", "-s", "/etc/hook",
		      "-t", "7", "-L", "10000", "--datapath", "tap", "--mtu-max=9000");
	const struct td_options *o = &p->options;

	(void)state;
	assert_int_equal(p->verdict, TD_OPTIONS_RUN);
	assert_true(o->log_to_stderr);
	assert_int_equal(o->selection, TD_SELECT_USAGE);
	assert_int_equal(o->local.family, TD_FAMILY_IPV4);
	assert_memory_equal(o->local.ip, "\xc0\x00\x02\x07", 4);
	assert_int_equal(o->local.port, 0);
	assert_string_equal(o->bind_ifname, "eth1");
	assert_string_equal(o->hook, "/etc/hook");
	assert_int_equal(o->tunnel_id, 7);
	assert_int_equal(o->limit_kbps, 10000);
	assert_int_equal(o->datapath, TD_DATAPATH_TAP);
	assert_int_equal(o->max_mtu, 9000);
	discard(p);
}

static void check_selection(const char *letters, enum td_selection selection)
{
	struct parsed *p = PARSE(REQUIRED, letters);

	assert_int_equal(p->verdict, TD_OPTIONS_RUN);
	assert_int_equal(p->options.selection, selection);
	discard(p);
}

static void the_last_selection_counts(void **state)
{
	(void)state;
	check_selection("-a", TD_SELECT_USAGE);
	check_selection("-r", TD_SELECT_RANDOM);
	check_selection("-arg", TD_SELECT_FIRST);
	check_selection("-gra", TD_SELECT_USAGE);
}

static void a_tunnel_id_may_have_any_base(void **state)
{
	static const char *const texts[] = { "0x64", "0144", "100" };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct parsed *p = PARSE(REQUIRED, "-t", texts[i]);

		assert_int_equal(p->options.tunnel_id, 100);
		discard(p);
	}
}

static void brokers_keep_their_order_without_limit(void **state)
{
	enum { COUNT = 1000 };
	static char words[5][16] = { "tunneldigger", "-u", "node", "-i", "l2tp0" };
	static char option[] = "-b", texts[COUNT][24];
	static char *argv[5 + 2 * COUNT + 1];
	int argc = 0;
	struct td_options o;
	char why[200];

	(void)state;
	for (int i = 0; i < 5; i++)
		argv[argc++] = words[i];
	for (int i = 0; i < COUNT; i++) {
		snprintf(texts[i], sizeof(texts[i]), "broker%d:%d", i, i + 1);
		argv[argc++] = option;
		argv[argc++] = texts[i];
	}
	assert_int_equal(td_options_parse(&o, argc, argv, why, sizeof(why)), TD_OPTIONS_RUN);
	assert_int_equal(o.broker_count, COUNT);
	assert_string_equal(o.brokers[0].host, "broker0");
	assert_string_equal(o.brokers[999].host, "broker999");
	assert_string_equal(o.brokers[999].service, "1000");
	td_options_fini(&o);
}

static void a_broker_may_be_a_name_or_an_ipv6_address(void **state)
{
	struct parsed *p = PARSE("-u", "node", "-i", "l2tp0", "-b", "[2001:db8::1]:8942", "-b",
				 "broker.example.net:l2tp");

	(void)state;
	assert_int_equal(p->verdict, TD_OPTIONS_RUN);
	assert_string_equal(p->options.brokers[0].host, "2001:db8::1");
	assert_string_equal(p->options.brokers[0].service, "8942");
	assert_string_equal(p->options.brokers[1].host, "broker.example.net");
	assert_string_equal(p->options.brokers[1].service, "l2tp");
	discard(p);
}

static void an_ipv6_address_can_be_bound(void **state)
{
	struct parsed *p = PARSE(REQUIRED, "-l", "2001:db8::7");

	(void)state;
	assert_int_equal(p->options.local.family, TD_FAMILY_IPV6);
	assert_int_equal(p->options.local.ip[15], 7);
	discard(p);
}

static void what_is_required_is_named(void **state)
{
	(void)state;
	assert_wrong("-u is missing, see --help", "-i", "l2tp0", "-b", "192.0.2.1:1");
	assert_wrong("-i is missing, see --help", "-u", "node", "-b", "192.0.2.1:1");
	assert_wrong("-b is missing, see --help", "-u", "node", "-i", "l2tp0");
}

static void an_option_that_does_not_exist_is_named(void **state)
{
	(void)state;
	assert_wrong("-x is not an option, see --help", REQUIRED, "-x");
	assert_wrong("-x is not an option, see --help", "-fx", REQUIRED);
	assert_wrong("--foo is not an option, see --help", REQUIRED, "--foo");
	assert_wrong("--help takes no argument", REQUIRED, "--help=yes");
	assert_wrong("eth0 is not an option, see --help", REQUIRED, "eth0");
	assert_wrong("-p is gone: the port follows the broker, -b HOST:PORT", REQUIRED, "-p",
		     "8942");
}

static void a_missing_argument_is_named(void **state)
{
	(void)state;
	assert_wrong("-u wants an argument, see --help", "-i", "l2tp0", "-u");
	assert_wrong("-L wants an argument, see --help", REQUIRED, "-L");
	assert_wrong("--datapath wants an argument, see --help", REQUIRED, "--datapath");
}

#define UUIDS "1 to 238 characters of A-Z a-z 0-9 . _ : @ + = ~ - / that do not begin with -"

static void check_uuid(const char *uuid)
{
	struct parsed *p = PARSE(REQUIRED, "-u", uuid);

	assert_int_equal(p->verdict, TD_OPTIONS_WRONG);
	assert_string_equal(p->why, "-u wants " UUIDS);
	discard(p);
}

static void a_uuid_that_a_broker_would_refuse_is_refused(void **state)
{
	char longest[TD_OPTIONS_UUID_MAX + 2] = { 0 };

	(void)state;
	check_uuid("");
	check_uuid("-rf");
	check_uuid("a b");
	check_uuid("$(reboot)");
	check_uuid("n\303\266de");
	memset(longest, 'a', TD_OPTIONS_UUID_MAX + 1);
	check_uuid(longest);
	longest[TD_OPTIONS_UUID_MAX] = 0;
	struct parsed *p = PARSE(REQUIRED, "-u", longest);
	assert_int_equal(p->verdict, TD_OPTIONS_RUN);
	discard(p);
}

#define IDS    "-t wants a number from 1 to 4294967295"
#define LIMITS "-L wants a number from 0 to 4294967295"
#define MTUS   "--mtu-max wants a number from 1280 to 9000"

static void a_number_out_of_range_is_refused(void **state)
{
	(void)state;
	assert_wrong(IDS, REQUIRED, "-t", "0");
	assert_wrong(IDS, REQUIRED, "-t", "-1");
	assert_wrong(IDS, REQUIRED, "-t", "4294967296");
	assert_wrong(IDS, REQUIRED, "-t", "99999999999999999999");
	assert_wrong(IDS, REQUIRED, "-t", " 1");
	assert_wrong(IDS, REQUIRED, "-t", "1x");
	assert_wrong(IDS, REQUIRED, "-t", "");
	assert_wrong(LIMITS, REQUIRED, "-L", "10mbit");
	assert_wrong(LIMITS, REQUIRED, "-L", "0x10");
	assert_wrong(MTUS, REQUIRED, "--mtu-max", "1279");
	assert_wrong(MTUS, REQUIRED, "--mtu-max", "9001");
}

static void a_name_or_address_that_cannot_be_is_refused(void **state)
{
	(void)state;
	assert_wrong("-i wants the name of an interface, of at most 15 characters", REQUIRED, "-i",
		     "sixteen-letters-");
	assert_wrong("-i wants the name of an interface, of at most 15 characters", REQUIRED, "-i",
		     "td%d");
	assert_wrong("-I wants the name of an interface, of at most 15 characters", REQUIRED, "-I",
		     "a/b");
	assert_wrong("-l wants an IPv4 or IPv6 address", REQUIRED, "-l", "localhost");
	assert_wrong("-l wants an IPv4 or IPv6 address", REQUIRED, "-l", "192.0.2.256");
	assert_wrong("-b wants HOST:PORT or [ADDRESS]:PORT", REQUIRED, "-b", "broker");
	assert_wrong("-b wants HOST:PORT or [ADDRESS]:PORT", REQUIRED, "-b", ":8942");
	assert_wrong("-b wants HOST:PORT or [ADDRESS]:PORT", REQUIRED, "-b", "broker:70000");
	assert_wrong("-s wants the path of a program", REQUIRED, "-s", "");
	assert_wrong("--datapath wants auto, kernel or tap", REQUIRED, "--datapath", "fast");
}

static void help_and_version_need_nothing_else(void **state)
{
	static const struct {
		const char *word;
		enum td_options_verdict verdict;
	} cases[] = {
		{ "-h", TD_OPTIONS_HELP },
		{ "--help", TD_OPTIONS_HELP },
		{ "--version", TD_OPTIONS_VERSION },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct parsed *p = PARSE(cases[i].word);

		assert_int_equal(p->verdict, cases[i].verdict);
		discard(p);
	}
}

/* The next option that --help shows, from *at on: "-u UUID", "-h, --help"; NULL: no more. */
static const char *next_option(const char **at, char *option, size_t size)
{
	const char *line = strstr(*at, "\n  -");

	if (line == NULL)
		return NULL;
	line += 3;
	size_t len = strcspn(line, "\t");
	assert_true(len < size);
	memcpy(option, line, len);
	option[len] = 0;
	*at = line;
	return option;
}

static void help_fits_a_terminal_in_two_columns(void **state)
{
	size_t column = 0;

	(void)state;
	for (const char *c = td_options_help; *c != 0; c++) {
		if (*c == '\t')
			column = (column | 7) + 1;
		else
			column = *c == '\n' ? 0 : column + 1;
		assert_true(column <= 79);
		if (c[0] == '\t' && c[1] != '\t')
			assert_int_equal(column, 24);
	}
}

/* Without required arguments each ends in one known way, so that help shows no option too many. */
static void every_option_of_help_is_known(void **state)
{
	const char *at = td_options_help;
	char option[32];

	(void)state;
	while (next_option(&at, option, sizeof(option)) != NULL) {
		bool argument = strrchr(option, ' ') != NULL && strchr(option, ',') == NULL;

		option[strcspn(option, ", ")] = 0;
		struct parsed *p = PARSE(REQUIRED, option);
		if (argument)
			assert_non_null(strstr(p->why, "wants an argument"));
		else
			assert_int_not_equal(p->verdict, TD_OPTIONS_WRONG);
		discard(p);
	}
}

static char *read_all(FILE *file)
{
	static char text[65536];

	assert_non_null(file);
	size_t size = fread(text, 1, sizeof(text) - 1, file);
	assert_true(size > 0 && size < sizeof(text) - 1);
	text[size] = 0;
	assert_int_equal(fclose(file), 0);
	return text;
}

/* How the manual page begins an option: "-u UUID" is ".It Fl u Ar UUID", "-h, --help" is
 * ".It Fl h , -help". */
static void manual_item(char *to, size_t size, const char *option)
{
	const char *argument = strchr(option, ' ');
	size_t len = strcspn(option + 1, ", ");

	if (argument == NULL)
		snprintf(to, size, "\n.It Fl %s\n", option + 1);
	else if (argument[-1] == ',')
		snprintf(to, size, "\n.It Fl %.*s , %s\n", (int)len, option + 1, argument + 2);
	else
		snprintf(to, size, "\n.It Fl %.*s Ar %s\n", (int)len, option + 1, argument + 1);
}

static void the_manual_page_has_every_option_and_no_other(void **state)
{
	size_t options = 0, items = 0;
	char path[1024], option[32], item[64];
	const char *at = td_options_help;

	(void)state;
	snprintf(path, sizeof(path), "%s/../docs/man/tunneldigger.8", getenv("TD_TESTS"));
	char *page = read_all(fopen(path, "r"));
	for (; next_option(&at, option, sizeof(option)) != NULL; options++) {
		manual_item(item, sizeof(item), option);
		if (strstr(page, item) == NULL)
			fail_msg("not in the manual page: %s", item);
	}
	for (const char *found = page; (found = strstr(found, "\n.It Fl ")) != NULL; found++)
		items++;
	assert_true(options > 10);
	assert_int_equal(items, options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_deployed_clients),
		cmocka_unit_test(every_option_is_taken),
		cmocka_unit_test(the_last_selection_counts),
		cmocka_unit_test(a_tunnel_id_may_have_any_base),
		cmocka_unit_test(brokers_keep_their_order_without_limit),
		cmocka_unit_test(a_broker_may_be_a_name_or_an_ipv6_address),
		cmocka_unit_test(an_ipv6_address_can_be_bound),
		cmocka_unit_test(what_is_required_is_named),
		cmocka_unit_test(an_option_that_does_not_exist_is_named),
		cmocka_unit_test(a_missing_argument_is_named),
		cmocka_unit_test(a_uuid_that_a_broker_would_refuse_is_refused),
		cmocka_unit_test(a_number_out_of_range_is_refused),
		cmocka_unit_test(a_name_or_address_that_cannot_be_is_refused),
		cmocka_unit_test(help_and_version_need_nothing_else),
		cmocka_unit_test(help_fits_a_terminal_in_two_columns),
		cmocka_unit_test(every_option_of_help_is_known),
		cmocka_unit_test(the_manual_page_has_every_option_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
