/* Calls that steer a daemon or look at it: one control request each, or one for each page. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/private.h"
#include "proto/codec.h"

enum { SET_ARENA_BYTES = 64 * 1024 };

/* Starts a call without a session, waits, and frees its answer. Mutex not held. */
static int simple_call(struct paramd_client *client, enum pd_kind kind, ProtobufCMessage *header,
                       int timeout_ms, const char *what)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    struct pd_call *call = pd_call_start(client->core, NULL, kind, header, NULL, 0);
    status = pd_client_finish_call(client, call, deadline_us, what);
    if (status == PARAMD_OK) {
        pd_call_destroy(call);
    }
    pd_client_leave(client);
    return status;
}

int paramd_ping(struct paramd_client *client, int timeout_ms, uint64_t *ret_us)
{
    Paramd__Ping ping = PARAMD__PING__INIT;
    uint64_t start_us = pd_transport_now_us();
    int status = simple_call(client, PD_KIND_PING, &ping.base, timeout_ms, "ping");
    if (status == PARAMD_OK && ret_us != NULL) {
        *ret_us = pd_transport_now_us() - start_us;
    }
    return status;
}

int paramd_delete(struct paramd_client *client, const char *model, uint64_t number, int timeout_ms)
{
    Paramd__Delete request = PARAMD__DELETE__INIT;
    request.model = (char *)(uintptr_t)model;
    request.number = number;
    return simple_call(client, PD_KIND_DELETE, &request.base, timeout_ms, "deleting the model");
}

/* ---- SNAPSHOT ---- */

enum { WAITING_EVERY_US = 100 * 1000 };

/* Mutex held, but not while waiting(arg) runs. */
static int finish_snapshot(struct paramd_client *client, struct pd_call *call, uint64_t deadline_us,
                           bool (*waiting)(void *arg), void *arg)
{
    while (call != NULL && waiting != NULL) {
        uint64_t turn_us = pd_transport_now_us() + WAITING_EVERY_US;
        if (turn_us >= deadline_us || pd_client_wait(client, pd_client_call_over, call, turn_us)) {
            break;
        }
        (void)pthread_mutex_unlock(&client->mutex);
        bool goes_on = waiting(arg);
        (void)pthread_mutex_lock(&client->mutex);
        if (!goes_on) {
            pd_call_destroy(call);
            return pd_error_set(PARAMD_CANCELLED, "the wait for a snapshot was given up");
        }
    }
    return pd_client_finish_call(client, call, deadline_us, "a snapshot");
}

int paramd_snapshot(struct paramd_client *client, bool pause, int timeout_ms,
                    bool (*waiting)(void *arg), void *arg, struct paramd_snapshot *ret_snapshot)
{
    Paramd__Snapshot request = PARAMD__SNAPSHOT__INIT;
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    request.pause = pause;
    struct pd_call *call =
        pd_call_start(client->core, NULL, PD_KIND_SNAPSHOT, &request.base, NULL, 0);
    status = finish_snapshot(client, call, deadline_us, waiting, arg);
    if (status == PARAMD_OK) {
        const Paramd__Snapshotted *answer = (const Paramd__Snapshotted *)pd_call_answer(call);
        if (ret_snapshot != NULL) {
            *ret_snapshot = (struct paramd_snapshot){.number = answer->number,
                                                     .bytes = answer->bytes,
                                                     .us = answer->us,
                                                     .held_us = answer->held_us};
        }
        pd_call_destroy(call);
    }
    pd_client_leave(client);
    return status;
}

/* ---- SET and REPORT ---- */

/* session NULL: by name only. Mutex held. */
static int set_locked(struct paramd_client *client, struct pd_client_session *session,
                      Paramd__Set *set, uint64_t deadline_us)
{
    struct pd_call *call =
        session != NULL ? pd_call_start_set(client->core, session, &set->base)
                        : pd_call_start(client->core, NULL, PD_KIND_SET, &set->base, NULL, 0);
    int status = pd_client_finish_call(client, call, deadline_us, "changing hyper-parameters");
    if (status == PARAMD_OK) {
        pd_call_destroy(call);
    }
    pd_client_kick(client); /* pushes that waited for it may go */
    return status;
}

static int set_any(struct paramd_client *client, struct pd_client_session *session,
                   const char *model, const char *group, const struct paramd_hyper *hypers,
                   size_t count, uint64_t clock, int timeout_ms)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    if (count > PD_HYPERS_MAX) {
        return pd_error_set(PARAMD_TOO_LARGE, "more than %d hyper-parameters in one call",
                            PD_HYPERS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (hypers[i].name == NULL) {
            return pd_error_set(PARAMD_INVALID, "hyper-parameter %zu has no name", i);
        }
    }
    struct pd_arena arena;
    Paramd__Set set = PARAMD__SET__INIT;
    pd_arena_init(&arena, SET_ARENA_BYTES);
    set.model = (char *)(uintptr_t)model;
    set.group = (char *)(uintptr_t)group;
    set.n_hypers = count;
    set.hypers = pd_hyper_messages(&arena, hypers, count);
    set.clock = clock;
    int status = set.hypers == NULL ? pd_error_plain(PARAMD_NO_MEMORY) : pd_client_enter(client);
    if (status == PARAMD_OK) {
        status = set_locked(client, session, &set, deadline_us);
        pd_client_leave(client);
    }
    pd_arena_deinit(&arena);
    return status;
}

int paramd_set(struct paramd_model *model, const char *group, const struct paramd_hyper *hypers,
               size_t count, uint64_t clock, int timeout_ms)
{
    return set_any(model->client, model->session, model->definition->name, group, hypers, count,
                   clock, timeout_ms);
}

int paramd_set_by_name(struct paramd_client *client, const char *model, const char *group,
                       const struct paramd_hyper *hypers, size_t count, uint64_t clock,
                       int timeout_ms)
{
    return set_any(client, NULL, model, group, hypers, count, clock, timeout_ms);
}

int paramd_report(struct paramd_model *model, uint64_t clock, double loss, uint64_t samples,
                  uint64_t tokens, int timeout_ms)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    struct paramd_client *client = model->client;
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    Paramd__Report report = PARAMD__REPORT__INIT;
    report.model = pd_client_session_number(model->session);
    report.clock = clock;
    report.loss = loss;
    report.samples = samples;
    report.tokens = tokens;
    struct pd_call *call =
        pd_call_start(client->core, model->session, PD_KIND_REPORT, &report.base, NULL, 0);
    status = pd_client_finish_call(client, call, deadline_us, "reporting");
    if (status == PARAMD_OK) {
        pd_call_destroy(call);
    }
    pd_client_leave(client);
    return status;
}

/* ---- LIST ---- */

static void copy_text(char *to, size_t bytes, const char *from)
{
    (void)snprintf(to, bytes, "%s", from);
}

static void copy_model(const Paramd__ModelInfo *from, struct paramd_model_info *to)
{
    copy_text(to->name, sizeof to->name, from->name);
    to->number = from->number;
    to->generation = from->generation;
    to->ready = from->ready;
    to->tensors = from->tensors;
    to->blocks = from->blocks;
    to->elements = from->elements;
    to->memory_bytes = from->memory_bytes;
    to->sessions = from->sessions;
    to->ack_level = (enum paramd_ack_level)from->ack_level;
}

struct models {
    struct paramd_model_info *items;
    size_t count;
};

static int take_models(struct models *models, const Paramd__Listed *listed)
{
    size_t count = models->count + listed->n_models;
    struct paramd_model_info *items = realloc(models->items, (count + 1) * sizeof *items);
    if (items == NULL) {
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    models->items = items;
    for (size_t i = 0; i < listed->n_models; i++) {
        copy_model(listed->models[i], &items[models->count++]);
    }
    return PARAMD_OK;
}

/* Mutex held. */
static int list_pages(struct paramd_client *client, uint64_t deadline_us, struct models *models)
{
    uint64_t after = 0;
    for (bool more = true; more;) {
        Paramd__List list = PARAMD__LIST__INIT;
        list.after = after;
        struct pd_call *call = pd_call_start(client->core, NULL, PD_KIND_LIST, &list.base, NULL, 0);
        int status = pd_client_finish_call(client, call, deadline_us, "listing models");
        if (status != PARAMD_OK) {
            return status;
        }
        const Paramd__Listed *listed = (const Paramd__Listed *)pd_call_answer(call);
        status = take_models(models, listed);
        more = listed->more && listed->n_models > 0 && models->items != NULL &&
               models->items[models->count - 1].number > after;
        after = more ? models->items[models->count - 1].number : after;
        pd_call_destroy(call);
        if (status != PARAMD_OK) {
            return status;
        }
    }
    return PARAMD_OK;
}

int paramd_list(struct paramd_client *client, int timeout_ms, struct paramd_model_info **ret_models,
                size_t *ret_count)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    struct models models = {0};
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    status = list_pages(client, deadline_us, &models);
    pd_client_leave(client);
    if (status != PARAMD_OK) {
        free(models.items);
        return status;
    }
    *ret_models = models.items;
    *ret_count = models.count;
    return PARAMD_OK;
}

/* ---- STAT ---- */

/* What pages add up to is in parts until it is put into one allocation. */
static void free_parts(struct paramd_stat *stat)
{
    free(stat->counters);
    free(stat->hypers);
    free(stat->tensors);
}

static bool take_counters(struct paramd_stat *stat, const Paramd__Stated *stated)
{
    stat->counters = calloc(stated->n_counters + 1, sizeof *stat->counters);
    if (stat->counters == NULL) {
        return false;
    }
    stat->counter_count = stated->n_counters;
    for (size_t i = 0; i < stated->n_counters; i++) {
        copy_text(stat->counters[i].name, sizeof stat->counters[i].name, stated->counters[i]->name);
        stat->counters[i].value = stated->counters[i]->value;
    }
    return true;
}

static bool take_hypers(struct paramd_stat *stat, const Paramd__Stated *stated)
{
    size_t count = 0;
    for (size_t i = 0; i < stated->n_groups; i++) {
        count += stated->groups[i]->n_hypers;
    }
    stat->hypers = calloc(count + 1, sizeof *stat->hypers);
    if (stat->hypers == NULL) {
        return false;
    }
    for (size_t i = 0; i < stated->n_groups; i++) {
        const Paramd__GroupHypers *group = stated->groups[i];
        for (size_t j = 0; j < group->n_hypers; j++) {
            struct paramd_hyper_info *info = &stat->hypers[stat->hyper_count++];
            copy_text(info->group, sizeof info->group, group->group);
            copy_text(info->optimizer, sizeof info->optimizer,
                      i < stated->n_optimizers ? stated->optimizers[i] : "");
            copy_text(info->name, sizeof info->name, group->hypers[j]->name);
            copy_text(info->text, sizeof info->text, group->hypers[j]->text);
            info->number = group->hypers[j]->number;
        }
    }
    return true;
}

static bool take_tensors(struct paramd_stat *stat, const Paramd__Stated *stated)
{
    size_t count = stat->tensor_count + stated->n_tensors;
    struct paramd_tensor_info *tensors = realloc(stat->tensors, (count + 1) * sizeof *tensors);
    if (tensors == NULL) {
        return false;
    }
    stat->tensors = tensors;
    for (size_t i = 0; i < stated->n_tensors; i++) {
        const Paramd__TensorInfo *from = stated->tensors[i];
        struct paramd_tensor_info *to = &tensors[stat->tensor_count++];
        memset(to, 0, sizeof *to);
        copy_text(to->name, sizeof to->name, from->name);
        copy_text(to->group, sizeof to->group, from->group);
        to->rank = (unsigned)(from->n_shape < PARAMD_RANK_MAX ? from->n_shape : PARAMD_RANK_MAX);
        if (to->rank > 0) {
            memcpy(to->shape, from->shape, to->rank * sizeof to->shape[0]);
        }
        to->blocks = from->blocks;
        to->version_min = from->version_min;
        to->version_max = from->version_max;
        to->version_sum = from->version_sum;
    }
    return true;
}

static bool take_page(struct paramd_stat *stat, const Paramd__Stated *stated, bool first)
{
    if (first) {
        copy_text(stat->server, sizeof stat->server, stated->server);
        if (stated->model != NULL) {
            copy_model(stated->model, &stat->model);
        }
        if (!take_counters(stat, stated) || !take_hypers(stat, stated)) {
            return false;
        }
    }
    return take_tensors(stat, stated);
}

/* Mutex held. */
static int stat_pages(struct paramd_client *client, const char *model, uint64_t deadline_us,
                      struct paramd_stat *stat)
{
    bool first = true;
    for (bool more = true; more; first = false) {
        Paramd__Stat request = PARAMD__STAT__INIT;
        if (model != NULL) {
            request.model = (char *)(uintptr_t)model;
        }
        request.first_tensor = (uint32_t)stat->tensor_count;
        struct pd_call *call =
            pd_call_start(client->core, NULL, PD_KIND_STAT, &request.base, NULL, 0);
        int status = pd_client_finish_call(client, call, deadline_us, "asking for figures");
        if (status != PARAMD_OK) {
            return status;
        }
        const Paramd__Stated *stated = (const Paramd__Stated *)pd_call_answer(call);
        bool taken = take_page(stat, stated, first);
        more = stated->more && stated->n_tensors > 0 && stat->tensor_count < PD_TENSORS_MAX;
        pd_call_destroy(call);
        if (!taken) {
            return pd_error_plain(PARAMD_NO_MEMORY);
        }
    }
    return PARAMD_OK;
}

/* One allocation that paramd_free takes. */
static struct paramd_stat *join_parts(const struct paramd_stat *parts)
{
    struct layout {
        struct paramd_stat stat;
        struct paramd_counter counters[];
    };
    size_t tensors_bytes = parts->tensor_count * sizeof *parts->tensors;
    size_t counters_bytes = parts->counter_count * sizeof *parts->counters;
    size_t hypers_bytes = parts->hyper_count * sizeof *parts->hypers;
    struct layout *layout = malloc(sizeof *layout + tensors_bytes + counters_bytes + hypers_bytes);
    if (layout == NULL) {
        return NULL;
    }
    /* All of them are multiples of 8 bytes and need no more alignment than that. */
    uint8_t *at = (uint8_t *)layout->counters;
    layout->stat = *parts;
    layout->stat.counters = memcpy(at, parts->counters, counters_bytes);
    at += counters_bytes;
    layout->stat.hypers = memcpy(at, parts->hypers, hypers_bytes);
    at += hypers_bytes;
    layout->stat.tensors = memcpy(at, parts->tensors, tensors_bytes);
    return &layout->stat;
}

int paramd_stat(struct paramd_client *client, const char *model, int timeout_ms,
                struct paramd_stat **ret_stat)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    struct paramd_stat parts = {0};
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    status = stat_pages(client, model, deadline_us, &parts);
    pd_client_leave(client);
    struct paramd_stat *stat = status == PARAMD_OK ? join_parts(&parts) : NULL;
    free_parts(&parts);
    if (status != PARAMD_OK) {
        return status;
    }
    if (stat == NULL) {
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    *ret_stat = stat;
    return PARAMD_OK;
}

/* ---- Hashes ---- */

/* Chained block by block, so that the size of a page is of no account. */
static uint64_t add_hashes(uint64_t sum, const Paramd__Stated *stated)
{
    for (size_t i = 0; i < stated->n_block_hash; i++) {
        uint64_t words[] = {htole64(sum), htole64(stated->block_hash[i])};
        sum = pd_payload_sum(&(struct pd_span){(uint8_t *)words, sizeof words}, 1);
    }
    return sum;
}

/* Mutex held. */
static int hash_pages(struct paramd_client *client, const char *model, uint64_t deadline_us,
                      uint64_t *ret_hash)
{
    Paramd__Stat request = PARAMD__STAT__INIT;
    request.model = (char *)(uintptr_t)model;
    request.hash = true;
    uint64_t sum = 0;
    uint64_t number = 0;
    for (uint64_t tensors = 1; request.first_tensor < tensors;) {
        struct pd_call *call =
            pd_call_start(client->core, NULL, PD_KIND_STAT, &request.base, NULL, 0);
        int status = pd_client_finish_call(client, call, deadline_us, "asking for hashes");
        if (status != PARAMD_OK) {
            return status;
        }
        const Paramd__Stated *stated = (const Paramd__Stated *)pd_call_answer(call);
        bool sound = stated->model != NULL && stated->n_block_hash > 0;
        bool same = sound && (number == 0 || number == stated->model->number);
        if (same) {
            number = stated->model->number;
            tensors = stated->model->tensors;
            sum = add_hashes(sum, stated);
            request.first_block = stated->more ? request.first_block + stated->n_block_hash : 0;
            request.first_tensor += !stated->more;
        }
        pd_call_destroy(call);
        if (!sound) {
            return pd_error_set(PARAMD_PROTOCOL, "the daemon told no hashes");
        }
        if (!same) {
            return pd_error_set(PARAMD_NOT_FOUND, "model %s was deleted meanwhile", model);
        }
    }
    *ret_hash = sum;
    return PARAMD_OK;
}

int paramd_hash(struct paramd_client *client, const char *model, int timeout_ms, uint64_t *ret_hash)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    int status = pd_client_enter(client);
    if (status == PARAMD_OK) {
        status = hash_pages(client, model, deadline_us, ret_hash);
        pd_client_leave(client);
    }
    return status;
}

void paramd_free(void *memory)
{
    free(memory);
}
