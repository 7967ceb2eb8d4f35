/*
 * Intrusive doubly linked list. The head is a node; an empty list points to itself.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name)                                                                            \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Adds `node` at the end of `head`. */
static inline void list_add(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Unlinks and re-initialises, so that a second call is harmless. */
static inline void list_del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define list_entry(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

#define list_for_each(pos, head, type, member)                                                     \
	for (type *pos = list_entry((head)->next, type, member); &pos->member != (head);           \
	     pos = list_entry(pos->member.next, type, member))

/* The element may be removed and freed in the body. */
#define list_for_each_safe(pos, head, type, member)                                                \
	for (type *pos = list_entry((head)->next, type, member),                                   \
		  *pos##_next = list_entry(pos->member.next, type, member);                        \
	     &pos->member != (head);                                                               \
	     pos = pos##_next, pos##_next = list_entry(pos->member.next, type, member))

#endif
