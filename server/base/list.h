/* Intrusive doubly linked lists: the link is a member of the thing, nothing is allocated, removal
 * needs no search. */
#ifndef PARAMD_SERVER_BASE_LIST_H
#define PARAMD_SERVER_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A link, and also the head of a list. A thing that is in no list points to itself. */
struct pd_link {
    struct pd_link *next;
    struct pd_link *prev;
};

static inline void pd_link_init(struct pd_link *link)
{
    link->next = link;
    link->prev = link;
}

static inline bool pd_link_alone(const struct pd_link *link)
{
    return link->next == link;
}

/* link must be alone. */
static inline void pd_list_push(struct pd_link *list, struct pd_link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

/* Leaves link alone; fine if it was. */
static inline void pd_link_remove(struct pd_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    pd_link_init(link);
}

/* The first link, taken out; NULL of an empty list. */
static inline struct pd_link *pd_list_pop(struct pd_link *list)
{
    struct pd_link *first = list->next;
    if (first == list) {
        return NULL;
    }
    /* The analyzer does not see that removing the one before has changed list->next.
     * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    pd_link_remove(first);
    return first;
}

/* Appends all of from to list; from is empty afterwards. */
static inline void pd_list_move(struct pd_link *list, struct pd_link *from)
{
    if (pd_link_alone(from)) {
        return;
    }
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    pd_link_init(from);
}

/* The thing that a link is a member of. */
#define PD_CONTAINER(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
