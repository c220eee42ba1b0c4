/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/kept.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/log.h"

struct td_kept_session *td_kept_new(uint32_t count)
{
	struct td_kept_session *kept = calloc(count, sizeof(*kept));

	for (uint32_t i = 0; kept && i < count; i++)
		kept[i].fd = -1;
	return kept;
}

void td_kept_free(struct td_kept_session *kept, uint32_t count)
{
	for (uint32_t i = 0; kept && i < count; i++)
		td_kept_forget(&kept[i]);
	free(kept);
}

static void let_go(struct td_kept_session *kept)
{
	if (kept->fd >= 0)
		close(kept->fd);
	kept->fd = -1;
}

static void keep_record(struct td_kept_session *kept, const uint8_t *record, uint32_t size)
{
	uint8_t *copy = size > 0 ? malloc(size) : NULL;

	if (size > 0 && !copy)
		td_log(TD_LOG_ERROR, "no memory for a record: a crash would end its tunnel");
	if (copy)
		memcpy(copy, record, size);
	free(kept->record);
	kept->record = copy;
	kept->size = copy ? (uint16_t)size : 0;
}

void td_kept_put(struct td_kept_session *kept, const uint8_t *record, uint32_t size, bool holds,
		 int descriptor)
{
	if (descriptor >= 0 || !holds)
		let_go(kept);
	if (descriptor >= 0)
		kept->fd = descriptor;
	keep_record(kept, record, size);
}

void td_kept_forget(struct td_kept_session *kept)
{
	let_go(kept);
	keep_record(kept, NULL, 0);
}
