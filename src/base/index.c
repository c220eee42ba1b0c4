/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Probing starts at the cell hash & mask, its home, and goes up, around the end, to the first empty
 * cell. What makes that complete: between an entry's home and its cell no cell is ever empty.
 */
#include "base/index.h"

#include <stdbool.h>

#include "base/assert.h"

uint32_t td_index_cells(uint32_t max)
{
	uint32_t cells = 2;

	td_assert(max <= UINT32_C(1) << 30);
	while (cells / 2 < max)
		cells *= 2;
	return cells;
}

static bool is_empty(const struct td_index_cell *cell)
{
	return cell->number == TD_INDEX_NONE;
}

void td_index_init(struct td_index *index, struct td_index_cell *memory, uint32_t cells)
{
	td_assert(cells >= 2 && (cells & (cells - 1)) == 0);
	*index = (struct td_index){ .cells = memory, .mask = cells - 1 };
	for (uint32_t i = 0; i < cells; i++)
		memory[i] = (struct td_index_cell){ .number = TD_INDEX_NONE };
}

void td_index_add(struct td_index *index, uint32_t hash, uint32_t number)
{
	uint32_t i = hash & index->mask;

	td_assert(number != TD_INDEX_NONE && index->count <= index->mask / 2);
	while (!is_empty(&index->cells[i]))
		i = (i + 1) & index->mask;
	index->cells[i] = (struct td_index_cell){ .hash = hash, .number = number };
	index->count++;
}

/* The first entry with that hash at or after cell i. */
static struct td_index_pos search(const struct td_index *index, uint32_t hash, uint32_t i)
{
	while (!is_empty(&index->cells[i]) && index->cells[i].hash != hash)
		i = (i + 1) & index->mask;
	return (struct td_index_pos){ .number = index->cells[i].number, .hash = hash, .cell = i };
}

struct td_index_pos td_index_find(const struct td_index *index, uint32_t hash)
{
	return search(index, hash, hash & index->mask);
}

struct td_index_pos td_index_next(const struct td_index *index, struct td_index_pos pos)
{
	return search(index, pos.hash, (pos.cell + 1) & index->mask);
}

/* Empties a cell: entries further on move up where that brings them no lower than their home. */
static void close_gap(struct td_index *index, uint32_t gap)
{
	struct td_index_cell *cells = index->cells;
	uint32_t i = gap;

	for (;;) {
		uint32_t way_home;

		i = (i + 1) & index->mask;
		if (is_empty(&cells[i]))
			break;
		way_home = (i - cells[i].hash) & index->mask;
		if (way_home < ((i - gap) & index->mask))
			continue;
		cells[gap] = cells[i];
		gap = i;
	}
	cells[gap].number = TD_INDEX_NONE;
}

void td_index_remove(struct td_index *index, uint32_t hash, uint32_t number)
{
	struct td_index_pos pos = td_index_find(index, hash);

	while (pos.number != number && pos.number != TD_INDEX_NONE)
		pos = td_index_next(index, pos);
	td_assert(pos.number != TD_INDEX_NONE);
	close_gap(index, pos.cell);
	index->count--;
}
