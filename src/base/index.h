/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Fixed-size hash index: from a hash to the numbers of the pool slots that have it.
 *
 * Open addressing with linear probing and backward-shift deletion, in an array that the caller
 * provides; it holds {hash, number} only, the keys stay in the pool, and the caller compares. The
 * caller hashes with a secret key, so that no peer can choose collisions.
 *
 *	for (it = td_index_find(&ix, hash); it.number != TD_INDEX_NONE; it = td_index_next(&ix, it))
 *		if (key of pool[it.number] matches) …
 *
 * Adding and removing make positions invalid.
 */
#ifndef TD_BASE_INDEX_H
#define TD_BASE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define TD_INDEX_NONE UINT32_MAX

struct td_index_cell {
	uint32_t hash;
	uint32_t number; /* TD_INDEX_NONE: empty */
};

struct td_index {
	struct td_index_cell *cells;
	uint32_t mask;
	uint32_t count;
};

struct td_index_pos {
	uint32_t number; /* TD_INDEX_NONE: no (further) one */
	uint32_t hash;
	uint32_t cell;
};

/* Cells needed for up to max entries: a power of two, at most half filled. */
uint32_t td_index_cells(uint32_t max);
/* cells must be a value of td_index_cells(). */
void td_index_init(struct td_index *index, struct td_index_cell *memory, uint32_t cells);

void td_index_add(struct td_index *index, uint32_t hash, uint32_t number);
/* Removes that pair; asserts that it is there. */
void td_index_remove(struct td_index *index, uint32_t hash, uint32_t number);
struct td_index_pos td_index_find(const struct td_index *index, uint32_t hash);
struct td_index_pos td_index_next(const struct td_index *index, struct td_index_pos pos);

#endif
