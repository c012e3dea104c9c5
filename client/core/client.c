/* The client as a whole: its links, the slot map, time. */
#include "client/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct pd_client *pd_client_create(const struct pd_client_options *options)
{
    struct pd_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return NULL;
    }
    (void)snprintf(client->name, sizeof client->name, "%s", options->name);
    client->payload_sum = options->payload_sum;
    client->random = options->random;
    client->lease_us = PD_LEASE_US_DEFAULT;
    client->shards = 1;
    client->links[0] = pd_link_create(client, 0);
    if (client->links[0] == NULL) {
        free(client);
        return NULL;
    }
    client->links[0]->state = PD_LINK_WANTED;
    client->links_end = 1;
    return client;
}

void pd_client_destroy(struct pd_client *client)
{
    if (client == NULL) {
        return;
    }
    while (client->joins != NULL) {
        pd_join_destroy(client->joins);
    }
    while (client->sessions != NULL) {
        pd_client_session_destroy(client->sessions);
    }
    for (unsigned i = 0; i < client->links_end; i++) {
        if (client->links[i] != NULL) {
            pd_link_down(client->links[i], ""); /* lets go of the bytes of calls half sent */
        }
    }
    while (client->calls != NULL) {
        pd_call_destroy(client->calls);
    }
    while (client->orphans != NULL) {
        pd_op_release(client->orphans);
    }
    for (unsigned i = 0; i < client->links_end; i++) {
        pd_link_destroy(client->links[i]);
    }
    while (client->free_requests != NULL) {
        struct pd_request *request = client->free_requests;
        client->free_requests = request->next;
        free(request->head);
        free(request);
    }
    while (client->spare_ops != NULL) {
        struct pd_op *op = client->spare_ops;
        client->spare_ops = op->next;
        free(op);
    }
    free(client);
}

/* splitmix64: enough for spreading reconnects. */
static uint64_t next_random(struct pd_client *client)
{
    client->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = client->random;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t pd_client_later(struct pd_client *client, uint64_t us)
{
    return client->now_us + us / 2 + next_random(client) % (us / 2 + 1);
}

void pd_client_set_trouble(struct pd_client *client, const char *text)
{
    (void)snprintf(client->trouble, sizeof client->trouble, "%s", text);
}

const char *pd_client_trouble(const struct pd_client *client)
{
    if (client->trouble[0] == '\0' && client->links[0]->state == PD_LINK_CONNECTING) {
        return "still connecting";
    }
    if (client->trouble[0] == '\0' && client->links[0]->state == PD_LINK_GREETING) {
        return "connected, but HELLO is not answered: is it paramd that listens there?";
    }
    return client->trouble;
}

uint64_t pd_client_finished(const struct pd_client *client)
{
    return client->finished;
}

bool pd_client_slot_map(struct pd_client *client, const Paramd__SlotMap *map, struct pd_link *keep)
{
    if (map == NULL || map->shards == 0 || map->shards > PD_SHARDS_MAX) {
        return false;
    }
    if (map->shards == client->shards) {
        return true;
    }
    /* Slots change hands: all that is in flight is asked for again where it belongs now. */
    for (unsigned i = 0; i < client->links_end; i++) {
        struct pd_link *link = client->links[i];
        if (link != NULL && link != keep) {
            pd_link_down(link, "the daemon has another number of shards now");
            if (i >= map->shards) {
                link->state = PD_LINK_IDLE;
            }
        }
    }
    client->shards = map->shards;
    struct pd_client_session *session;
    DL_FOREACH(client->sessions, session) {
        pd_client_session_reshard(session);
    }
    return true;
}

/* Links are opened when a lane first needs them. */
static void want_links(struct pd_client *client)
{
    struct pd_client_session *session;
    DL_FOREACH(client->sessions, session) {
        for (unsigned i = 0; i < session->lane_count; i++) {
            if (!session->lanes[i].wanted || session->gone != PARAMD_OK) {
                continue;
            }
            if (client->links[i] == NULL) {
                client->links[i] = pd_link_create(client, i);
                client->links_end = i < client->links_end ? client->links_end : i + 1;
            }
            if (client->links[i] != NULL && client->links[i]->state == PD_LINK_IDLE) {
                client->links[i]->state = PD_LINK_WANTED;
            }
        }
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t pd_client_tick(struct pd_client *client, uint64_t now_us)
{
    client->now_us = now_us;
    uint64_t wake = PD_NEVER;
    struct pd_join *join;
    struct pd_join *join_next;
    for (join = client->joins; join != NULL; join = join_next) {
        join_next = pd_join_next(join);
        wake = earlier(wake, pd_join_tick(join));
    }
    want_links(client);
    for (unsigned i = 0; i < client->links_end; i++) {
        if (client->links[i] != NULL) {
            wake = earlier(wake, pd_link_tick(client->links[i]));
        }
    }
    struct pd_client_session *session;
    DL_FOREACH(client->sessions, session) {
        for (unsigned i = 0; i < session->lane_count; i++) {
            wake = earlier(wake, pd_lane_wake(&session->lanes[i]));
        }
    }
    struct pd_call *call;
    DL_FOREACH(client->calls, call) {
        wake = earlier(wake, pd_call_wake(call));
    }
    return wake;
}

bool pd_client_connect_wanted(struct pd_client *client, unsigned *ret_link)
{
    for (unsigned i = 0; i < client->shards; i++) {
        struct pd_link *link = client->links[i];
        if (link != NULL && link->state == PD_LINK_WANTED && !link->close_wanted) {
            link->state = PD_LINK_CONNECTING;
            link->deadline_us = client->now_us + PD_CONNECT_TIMEOUT_US;
            *ret_link = i;
            return true;
        }
    }
    return false;
}

bool pd_client_close_wanted(struct pd_client *client, unsigned *ret_link)
{
    for (unsigned i = 0; i < client->links_end; i++) {
        struct pd_link *link = client->links[i];
        if (link != NULL && link->close_wanted) {
            link->close_wanted = false;
            *ret_link = i;
            return true;
        }
    }
    return false;
}
