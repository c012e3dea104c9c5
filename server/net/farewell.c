/* Farewells: a poll handle and a timer for each socket that is waiting for its peer to close. */
#include "server/net/farewell.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAREWELL_MS = 1000, DISCARD_BYTES = 64 * 1024, DISCARDS_PER_TURN = 16 };

struct farewell {
    struct pd_link link;
    struct pd_farewells *owner;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
};

void pd_farewells_init(struct pd_farewells *farewells, uv_loop_t *loop, uint32_t count_max,
                       void (*gone)(void *context), void *context)
{
    farewells->_loop = loop;
    pd_link_init(&farewells->_list);
    farewells->_count = 0;
    farewells->_count_max = count_max;
    farewells->_gone = gone;
    farewells->_context = context;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct farewell *farewell = handle->data;
    uv_close((uv_handle_t *)&farewell->timer, on_timer_closed);
}

static void close_descriptor(struct pd_farewells *farewells, int fd)
{
    (void)close(fd);
    if (farewells->_gone != NULL) {
        farewells->_gone(farewells->_context);
    }
}

static void end(struct farewell *farewell)
{
    farewell->owner->_count--;
    pd_link_remove(&farewell->link);
    (void)uv_poll_stop(&farewell->poll);
    (void)uv_timer_stop(&farewell->timer);
    uv_close((uv_handle_t *)&farewell->poll, on_poll_closed);
    close_descriptor(farewell->owner, farewell->fd);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct farewell *farewell = poll->data;
    if (status < 0) {
        end(farewell);
        return;
    }
    char discarded[DISCARD_BYTES];
    for (int i = 0; i < DISCARDS_PER_TURN; i++) {
        ssize_t count = recv(farewell->fd, discarded, sizeof discarded, MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (count <= 0) {
            end(farewell);
            return;
        }
    }
}

static void on_timeout(uv_timer_t *timer)
{
    end(timer->data);
}

void pd_farewells_begin(struct pd_farewells *farewells, int fd, bool polite)
{
    struct farewell *farewell = polite ? malloc(sizeof *farewell) : NULL;
    if (farewell == NULL || shutdown(fd, SHUT_WR) != 0 ||
        uv_poll_init(farewells->_loop, &farewell->poll, fd) != 0) {
        free(farewell);
        close_descriptor(farewells, fd);
        return;
    }
    if (farewells->_count >= farewells->_count_max) {
        end(PD_CONTAINER(farewells->_list.next, struct farewell, link));
    }
    farewells->_count++;
    farewell->owner = farewells;
    farewell->fd = fd;
    farewell->poll.data = farewell;
    farewell->timer.data = farewell;
    pd_link_init(&farewell->link);
    pd_list_push(&farewells->_list, &farewell->link);
    (void)uv_timer_init(farewells->_loop, &farewell->timer);
    (void)uv_timer_start(&farewell->timer, on_timeout, FAREWELL_MS, 0);
    (void)uv_poll_start(&farewell->poll, UV_READABLE, on_readable);
}

bool pd_farewells_empty(const struct pd_farewells *farewells)
{
    return farewells->_count == 0;
}

void pd_farewells_abort(struct pd_farewells *farewells)
{
    while (!pd_farewells_empty(farewells)) {
        end(PD_CONTAINER(farewells->_list.next, struct farewell, link));
    }
}
