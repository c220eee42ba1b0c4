/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The broker's configuration: refused in a printable sentence, or accepted; then what is printed of
 * it reads back as the same, and the engine takes it.
 *
 * Input: the file.
 */
#include <stdio.h>

#include "broker/config.h"
#include "fuzz.h"

#define SMALL 64 /* tunnels of an engine that is worth being made here */

static void expect_sentence(const char *sentence)
{
	const size_t length = strlen(sentence);

	assert_in_range(length, 1, TD_REPORT_SIZE - 1);
	for (size_t i = 0; i < length; i++)
		assert_true((uint8_t)sentence[i] >= ' ' && sentence[i] != 0x7f);
}

static void on_warning(void *ctx, const char *sentence)
{
	(void)ctx;
	expect_sentence(sentence);
}

static int parse(struct td_broker_options *options, const char *text, size_t size)
{
	struct td_report report = { .warn = on_warning, .file = "fuzz" };
	const int err = td_config_parse(options, text, size, &report);

	assert_int_equal(err != 0, report.error[0] != '\0');
	if (err != 0)
		expect_sentence(report.error);
	return err;
}

static char *print(const struct td_broker_options *options, size_t *size)
{
	char *text = NULL;
	FILE *stream = open_memstream(&text, size);

	assert_non_null(stream);
	td_config_print(options, stream);
	assert_int_equal(fclose(stream), 0);
	return text;
}

static void expect_stable(const struct td_broker_options *options)
{
	struct td_broker_options again;
	size_t size, size_again;
	char *text = print(options, &size), *text_again;

	assert_int_equal(parse(&again, text, size), 0);
	text_again = print(&again, &size_again);
	assert_string_equal(text, text_again);
	free(text_again);
	free(text);
}

static void expect_engine(const struct td_broker_options *options)
{
	struct td_engine_config config = { .seed = 1 };
	void *memory;

	td_config_engine(options, &config);
	if (config.max_tunnels > SMALL)
		return;
	memory = malloc(td_engine_size(config.max_tunnels));
	assert_non_null(memory);
	assert_non_null(td_engine_init(memory, &config, (struct td_time){ TD_SECONDS(1000) }));
	free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *text = (char *)fuzz_copy(bytes, size);
	struct td_broker_options options;

	if (parse(&options, text, size) == 0) {
		expect_stable(&options);
		expect_engine(&options);
	}
	free(text);
	return 0;
}
