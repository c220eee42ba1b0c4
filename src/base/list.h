/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A doubly linked ring, embedded in its members: the list itself is a link of it. A member is in
 * one list at most.
 */
#ifndef TD_BASE_LIST_H
#define TD_BASE_LIST_H

#include <stdbool.h>

struct td_link {
	struct td_link *next, *prev;
};

static inline void td_list_init(struct td_link *list)
{
	list->next = list->prev = list;
}

static inline bool td_list_empty(const struct td_link *list)
{
	return list->next == list;
}

/* At the end. */
static inline void td_list_add(struct td_link *list, struct td_link *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

static inline void td_list_remove(struct td_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	td_list_init(link);
}

#endif
