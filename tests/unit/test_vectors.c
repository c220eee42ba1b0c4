/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Golden datagrams: every line of tests/vectors (its README.md has the format) is parsed, built
 * again, cut at every length, shortened inside, and given other padding. Blocks have the exact
 * size, so that AddressSanitizer sees every byte too many.
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

#include <cmocka.h>

#include "core/msg.h"
#include "msg_text.h"

#define VECTORS_MAX  500
#define DATAGRAM_MAX 65535

struct vector {
	char where[64]; /* file:line */
	enum td_sender from;
	char verdict[16];
	char fields[MSG_TEXT];
	uint8_t *bytes;
	size_t size;
};

static struct vector vectors[VECTORS_MAX];
static size_t vector_count;

#define for_each_vector(v) for (struct vector *v = vectors; v < vectors + vector_count; v++)

/* --- reading the files --- */

static bool malformed_line(const char *where, const char *why)
{
	print_error("%s: %s\n", where, why);
	return false;
}

static bool read_hex(uint8_t *bytes, size_t *size, const char *text)
{
	unsigned int byte, zeros;
	char end;

	if (sscanf(text, "00*%u%c", &zeros, &end) == 1) {
		if (zeros > DATAGRAM_MAX - *size)
			return false;
		memset(bytes + *size, 0, zeros);
		*size += zeros;
		return true;
	}
	for (; *text != '\0'; text += 2) {
		if (*size == DATAGRAM_MAX || strspn(text, "0123456789abcdef") < 2 ||
		    sscanf(text, "%2x", &byte) != 1)
			return false;
		bytes[(*size)++] = (uint8_t)byte;
	}
	return true;
}

static bool read_vector(struct vector *v, char *line)
{
	static uint8_t bytes[DATAGRAM_MAX];
	char *rest = NULL;
	const char *token = strtok_r(line, " \n", &rest);

	if (strcmp(token, "c>b") != 0 && strcmp(token, "b>c") != 0)
		return malformed_line(v->where, "begins with neither c>b nor b>c");
	v->from = token[0] == 'c' ? TD_FROM_CLIENT : TD_FROM_BROKER;
	token = strtok_r(NULL, " \n", &rest);
	snprintf(v->verdict, sizeof(v->verdict), "%s", token ? token : "");
	while ((token = strtok_r(NULL, " \n", &rest)) != NULL) {
		size_t used = strlen(v->fields);

		if (strchr(token, '='))
			snprintf(v->fields + used, MSG_TEXT - used, "%s%s", used > 0 ? " " : "",
				 token);
		else if (!read_hex(bytes, &v->size, token))
			return malformed_line(v->where, "unreadable hex");
	}
	v->bytes = malloc(v->size);
	memcpy(v->bytes, bytes, v->size);
	return true;
}

/* Each vector has its comment line in front. */
static bool read_lines(FILE *file, const char *name)
{
	char *line = NULL;
	size_t capacity = 0;
	bool commented = false, good = true;

	for (int number = 1; getline(&line, &capacity, file) > 0; number++) {
		struct vector *v = &vectors[vector_count];

		if (line[0] == '#' || line[0] == '\n') {
			commented = line[0] == '#';
			continue;
		}
		assert_true(vector_count < VECTORS_MAX);
		snprintf(v->where, sizeof(v->where), "%.50s:%d", name, number);
		if (!commented)
			good = malformed_line(v->where, "no comment line in front");
		good = read_vector(v, line) && good;
		commented = false;
		vector_count++;
	}
	free(line);
	return good;
}

static int read_vectors(void **state)
{
	const char *root = getenv("TD_TESTS");
	char path[4096];
	const struct dirent *entry;
	bool good = true;
	DIR *dir;

	(void)state;
	snprintf(path, sizeof(path), "%s/vectors", root ? root : "tests");
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL) {
		FILE *file;

		if (!strstr(entry->d_name, ".hex"))
			continue;
		snprintf(path, sizeof(path), "%s/vectors/%s", root ? root : "tests", entry->d_name);
		file = fopen(path, "re");
		good = file && read_lines(file, entry->d_name) && good;
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
	return good && vector_count > 0 ? 0 : -1;
}

static int free_vectors(void **state)
{
	(void)state;
	for_each_vector(v) free(v->bytes);
	return 0;
}

/* Parses a copy of exactly size bytes into verdict and fields, as one text. */
static int parse(char *text, struct td_msg *msg, enum td_sender from, const uint8_t *bytes,
		 size_t size)
{
	uint8_t *copy = malloc(size);
	int err;

	if (size > 0)
		memcpy(copy, bytes, size);
	memset(msg, 0xee, sizeof(*msg));
	err = td_msg_parse(msg, from, copy, size);
	strcpy(text, err == -EBADMSG ? "bad" : err == -ENOMSG ? "unknown" : "?");
	if (err == 0)
		show_msg(text, from, msg);
	if (err == 0 && msg->type == TD_MSG_PREPARE)
		msg->prepare.uuid = (const char *)bytes + (msg->prepare.uuid - (char *)copy);
	free(copy);
	return err;
}

/* --- the tests --- */

static bool is_good(const struct vector *v)
{
	return v->fields[0] != '\0';
}

/* Collects failures, so that one run shows them all. */
static int differs(const struct vector *v, const char *what, size_t size, const char *expected,
		   const char *got)
{
	if (strcmp(expected, got) == 0)
		return 0;
	print_error("%s: %s %zu: expected %s, got %s\n", v->where, what, size, expected, got);
	return 1;
}

static void test_parse(void **state)
{
	char text[MSG_TEXT];
	struct td_msg msg;
	int failures = 0;

	(void)state;
	for_each_vector(v)
	{
		bool good = strcmp(v->verdict, "ok") == 0 || strcmp(v->verdict, "ours") == 0;

		if (good != is_good(v))
			failures += differs(v, "fields for", v->size, v->verdict, v->fields);
		parse(text, &msg, v->from, v->bytes, v->size);
		failures += differs(v, "size", v->size, good ? v->fields : v->verdict, text);
	}
	assert_int_equal(failures, 0);
}

/* Is it a message that no td_msg stands for entirely? */
static bool is_read_only(const struct td_msg *msg)
{
	return msg->type == TD_MSG_RELIABLE_UNKNOWN ||
	       (msg->type == TD_MSG_LIMIT && !msg->limit.bandwidth);
}

/* What we build from it says the same, and for verdict "ours" in the same bytes. */
static void test_rebuild(void **state)
{
	static uint8_t bytes[DATAGRAM_MAX];
	char text[MSG_TEXT];
	struct td_msg msg;
	int failures = 0;

	(void)state;
	for_each_vector(v)
	{
		bool same;
		size_t size;

		if (parse(text, &msg, v->from, v->bytes, v->size) != 0 || is_read_only(&msg))
			continue;
		if (msg.type == TD_MSG_PMTUD && msg.size < TD_MSG_MIN_SIZE)
			continue;
		size = td_msg_put(&msg, v->from, bytes, sizeof(bytes));
		same = size == v->size && memcmp(bytes, v->bytes, size) == 0;
		failures += differs(v, "verdict", size, v->verdict, same ? "ours" : "ok");
		if (msg.type == TD_MSG_TUNNEL && msg.tunnel.features == 0)
			continue; /* features of 0 are left out */
		parse(text, &msg, v->from, bytes, size);
		failures += differs(v, "rebuilt", size, v->fields, text);
	}
	assert_int_equal(failures, 0);
}

/* A cut through the message makes it bad; in the padding, nothing (but a smaller probe). */
static void test_cut(void **state)
{
	char text[MSG_TEXT], expected[MSG_TEXT];
	struct td_msg msg;
	int failures = 0;

	(void)state;
	for_each_vector(v)
	{
		for (size_t size = 0; size < v->size; size++) {
			size_t whole = TD_MSG_HEADER;

			if (v->size >= TD_MSG_HEADER)
				whole += v->bytes[TD_MSG_HEADER - 1];
			strcpy(expected, size < whole ? "bad"
					 : is_good(v) ? v->fields
						      : v->verdict);
			if (size >= whole && strncmp(v->fields, "type=pmtud ", 11) == 0)
				sprintf(expected, "type=pmtud size=%zu", size);
			parse(text, &msg, v->from, v->bytes, size);
			failures += differs(v, "cut at", size, expected, text);
		}
	}
	assert_int_equal(failures, 0);
}

static void test_padding_is_ignored(void **state)
{
	static uint8_t bytes[DATAGRAM_MAX];
	char text[MSG_TEXT];
	struct td_msg msg;
	int failures = 0;

	(void)state;
	for_each_vector(v)
	{
		size_t whole;

		if (!is_good(v))
			continue;
		memcpy(bytes, v->bytes, v->size);
		whole = TD_MSG_HEADER + (size_t)bytes[TD_MSG_HEADER - 1];
		memset(bytes + whole, 0xa5, v->size - whole);
		parse(text, &msg, v->from, bytes, v->size);
		failures += differs(v, "padding of", v->size - whole, v->fields, text);
	}
	assert_int_equal(failures, 0);
}

/* Bytes that the payload must have for the message to be one. */
static size_t needed(const struct td_msg *msg, enum td_sender from)
{
	switch (msg->type) {
	case TD_MSG_ERROR:
	case TD_MSG_KEEPALIVE:
	case TD_MSG_PMTUD:
		return 0;
	case TD_MSG_PMTUD_ACK:
	case TD_MSG_REL_ACK:
	case TD_MSG_PMTU_NTFY:
	case TD_MSG_LIMIT:
	case TD_MSG_RELIABLE_UNKNOWN:
		return 2;
	case TD_MSG_TUNNEL:
		return 4;
	case TD_MSG_COOKIE:
		return 8;
	case TD_MSG_USAGE:
		return from == TD_FROM_CLIENT ? 8 : 2;
	case TD_MSG_PREPARE:
		return 9 + (size_t)msg->prepare.uuid_len;
	}
	return SIZE_MAX;
}

/* Has it features that announce a cookie, and not the whole of it? */
static bool lacks_cookie(const struct td_msg *msg, size_t length)
{
	return msg->type == TD_MSG_TUNNEL && (msg->tunnel.features & TD_FEATURE_DATA_COOKIES) &&
	       length >= 8 && length < 16;
}

/* What a message says whose payload has only that many bytes, at least those needed. */
static void shorten(struct td_msg *msg, enum td_sender from, size_t length)
{
	size_t beyond = length - needed(msg, from);

	if (msg->type == TD_MSG_ERROR && beyond < 1)
		msg->reason = TD_ERROR_NONE;
	if (msg->type == TD_MSG_KEEPALIVE && beyond < (from == TD_FROM_CLIENT ? 4 : 2))
		msg->keepalive.counter = 0;
	if (msg->type == TD_MSG_KEEPALIVE && beyond < (from == TD_FROM_CLIENT ? 12 : 10))
		msg->keepalive.counted = false;
	if (msg->type == TD_MSG_PMTUD)
		msg->size = (uint16_t)(TD_MSG_HEADER + length);
	if (msg->type == TD_MSG_LIMIT && beyond < 6)
		msg->limit.bandwidth = false;
	if (msg->type == TD_MSG_USAGE && from == TD_FROM_CLIENT && beyond < 4)
		msg->usage.features = 0;
	if (msg->type == TD_MSG_TUNNEL && beyond < 4) {
		msg->tunnel.has_features = false;
		msg->tunnel.features = 0;
	}
	if (msg->type == TD_MSG_PREPARE && beyond < 4)
		msg->prepare.tunnel_id = 1;
	if (msg->type == TD_MSG_PREPARE && beyond < 16)
		msg->prepare.features &= ~TD_FEATURE_DATA_COOKIES;
	if (msg->type == TD_MSG_PREPARE && beyond < 8)
		msg->prepare.features = 0;
}

/* A payload that really is shorter: a truncated field counts as absent, what is needed is needed.
 */
static void test_short_payload(void **state)
{
	char text[MSG_TEXT], expected[MSG_TEXT];
	uint8_t bytes[TD_MSG_MAX_SIZE];
	struct td_msg msg, shorter;
	int failures = 0;

	(void)state;
	for_each_vector(v)
	{
		if (parse(text, &msg, v->from, v->bytes, v->size) != 0)
			continue;
		for (size_t length = 0; length < v->bytes[TD_MSG_HEADER - 1]; length++) {
			shorter = msg;
			strcpy(expected, "bad");
			if (length >= needed(&msg, v->from) && !lacks_cookie(&msg, length)) {
				shorten(&shorter, v->from, length);
				show_msg(expected, v->from, &shorter);
			}
			memcpy(bytes, v->bytes, TD_MSG_HEADER + length);
			bytes[TD_MSG_HEADER - 1] = (uint8_t)length;
			parse(text, &shorter, v->from, bytes, TD_MSG_HEADER + length);
			failures += differs(v, "payload of", length, expected, text);
		}
	}
	assert_int_equal(failures, 0);
}

/* Is there, for each type and sender, a vector that is just what we build? */
static void test_complete(void **state)
{
	static const char by_client[] = { 1, 2, 3, 5, 6, 7, 9, 10, (char)0x80, 0 };
	static const char by_broker[] = { 1, 3, 4, 5, 6, 7, 8, 9, 10, 0 };
	bool seen[2][256] = { { false } };

	(void)state;
	for_each_vector(v)
	{
		if (strcmp(v->verdict, "ours") == 0)
			seen[v->from][v->bytes[4]] = true;
	}
	for (int i = 0; i < 256; i++) {
		assert_int_equal(seen[TD_FROM_CLIENT][i], i > 0 && strchr(by_client, i) != NULL);
		assert_int_equal(seen[TD_FROM_BROKER][i], i > 0 && strchr(by_broker, i) != NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),         cmocka_unit_test(test_rebuild),
		cmocka_unit_test(test_cut),           cmocka_unit_test(test_padding_is_ignored),
		cmocka_unit_test(test_short_payload), cmocka_unit_test(test_complete),
	};

	return cmocka_run_group_tests(tests, read_vectors, free_vectors);
}
