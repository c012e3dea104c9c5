/* The public API over real sockets: with and without a thread, from many threads, with done
 * functions, across fork and with deadlines. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/include/paramd.h"
#include "client/net/address.h"
#include "tests/support/check_main.h"
#include "tests/unit/client/live.h"

enum { ELEMENTS = 5000, PATIENCE_MS = 30000 };

static struct paramd_definition *definition(void)
{
    static const struct paramd_hyper lr = {.name = "lr", .number = 1};
    static const struct paramd_group group = {
        .name = "all", .optimizer = "sgd", .hypers = &lr, .hyper_count = 1};
    static struct paramd_tensor tensors[2];
    static struct paramd_definition whole;
    tensors[0] = (struct paramd_tensor){
        .name = "w", .rank = 2, .shape = {5, 1000}, .init = PARAMD_INIT_ZEROS};
    tensors[1] =
        (struct paramd_tensor){.name = "b", .rank = 1, .shape = {10}, .init = PARAMD_INIT_CLIENT};
    whole = (struct paramd_definition){.name = "demo",
                                       .groups = &group,
                                       .group_count = 1,
                                       .tensors = tensors,
                                       .tensor_count = 2,
                                       .block_elements = 1024};
    return &whole;
}

static struct paramd_model *open_and_join_with(const struct paramd_options *options,
                                               struct paramd_client **ret_client)
{
    static const float bias[10] = {1, 2, 3};
    struct paramd_values values[2] = {{0}, {.weights = bias}};
    struct paramd_model *model = NULL;
    ck_assert_int_eq(paramd_open(options, ret_client), PARAMD_OK);
    int status = paramd_join(*ret_client, definition(), values, PATIENCE_MS, &model);
    ck_assert_msg(status == PARAMD_OK, "join: %s", paramd_error());
    return model;
}

static struct paramd_model *open_and_join(const struct live *live, bool no_thread,
                                          struct paramd_client **ret_client)
{
    struct paramd_options options = {.address = live_address(live), .no_thread = no_thread};
    return open_and_join_with(&options, ret_client);
}

static float *ones(void)
{
    float *memory = malloc(ELEMENTS * sizeof *memory);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        memory[i] = 1;
    }
    return memory;
}

START_TEST(a_worker_joins_trains_and_leaves)
{
    struct live *live = live_start(2, _i % 2 == 0);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i / 2 == 0, &client);
    float *gradient = ones();
    float *values = calloc(ELEMENTS, sizeof *values);
    float bias[10];
    struct paramd_io entry = {.gradient = gradient, .values = values};
    struct paramd_io other = {.tensor = 1, .values = bias};
    struct paramd_result result;
    struct paramd_block_info info;
    for (unsigned i = 1; i <= 5; i++) {
        ck_assert_int_eq(paramd_push_pull_wait(model, &entry, 1, NULL, PATIENCE_MS, &result),
                         PARAMD_OK);
        ck_assert_uint_eq(result.done, 5);
        ck_assert_float_eq(values[ELEMENTS - 1], (float)i);
    }
    ck_assert_int_eq(paramd_pull_wait(model, &other, 1, NULL, PATIENCE_MS, NULL), PARAMD_OK);
    ck_assert_float_eq(bias[2], 3);
    ck_assert_int_eq(paramd_model_tensor(model, "b"), 1);
    ck_assert_int_eq(paramd_model_tensor(model, "c"), -1);
    ck_assert_str_eq(paramd_model_definition(model)->groups[0].hypers[0].name, "lr");
    ck_assert_int_eq(paramd_block(model, 0, 4, &info), PARAMD_OK);
    ck_assert_uint_eq(info.applied, 5);
    ck_assert_int_eq(paramd_block(model, 0, 5, &info), PARAMD_NOT_FOUND);
    uint64_t us;
    ck_assert_int_eq(paramd_ping(client, PATIENCE_MS, &us), PARAMD_OK);
    ck_assert_int_eq(paramd_report(model, 1, 0.5, 32, 0, PATIENCE_MS), PARAMD_OK);
    struct paramd_model_info *models;
    size_t count;
    ck_assert_int_eq(paramd_list(client, PATIENCE_MS, &models, &count), PARAMD_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(models[0].name, "demo");
    paramd_free(models);
    ck_assert_int_eq(paramd_leave(model, PATIENCE_MS), PARAMD_OK);
    ck_assert(!live_lock(live)->sessions[0].known);
    live_unlock(live);
    paramd_close(client);
    live_stop(live);
    free(gradient);
    free(values);
}
END_TEST

START_TEST(a_call_about_some_blocks_uses_buffers_of_just_those)
{
    struct live *live = live_start(2, false);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i == 0, &client);
    float gradient[2 * 1024];
    float values[2 * 1024 + 1];
    float *whole = calloc(ELEMENTS, sizeof *whole);
    struct paramd_io some = {
        .gradient = gradient, .values = values, .first_block = 1, .block_count = 2};
    struct paramd_io rest = {.values = values, .first_block = 4};
    struct paramd_io all = {.values = whole};
    struct paramd_io none[] = {{.values = whole, .first_block = 5},
                               {.values = whole, .first_block = 4, .block_count = 2}};
    struct paramd_result result;
    for (unsigned i = 0; i < 2 * 1024; i++) {
        gradient[i] = (float)i;
    }
    values[2 * 1024] = -1;
    ck_assert_int_eq(paramd_push_pull_wait(model, &some, 1, NULL, PATIENCE_MS, &result), PARAMD_OK);
    ck_assert_uint_eq(result.blocks, 2);
    ck_assert_int_eq(paramd_pull_wait(model, &all, 1, NULL, PATIENCE_MS, NULL), PARAMD_OK);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        ck_assert_float_eq(whole[i], i < 1024 || i >= 3 * 1024 ? 0 : (float)(i - 1024));
    }
    ck_assert_mem_eq(values, gradient, sizeof gradient);
    ck_assert_int_eq(paramd_pull_wait(model, &rest, 1, NULL, PATIENCE_MS, &result), PARAMD_OK);
    ck_assert_uint_eq(result.blocks, 1);
    ck_assert_float_eq(values[ELEMENTS - 4 * 1024 - 1], 0);
    ck_assert_float_eq(values[ELEMENTS - 4 * 1024], gradient[ELEMENTS - 4 * 1024]);
    ck_assert_float_eq(values[2 * 1024], -1);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(paramd_pull_wait(model, &none[i], 1, NULL, PATIENCE_MS, NULL),
                         PARAMD_INVALID);
        ck_assert_ptr_nonnull(strstr(paramd_error(), "no such blocks"));
    }
    paramd_close(client);
    live_stop(live);
    free(whole);
}
END_TEST

START_TEST(first_values_come_in_pieces_with_a_step_for_each_block)
{
    static const uint64_t steps[5] = {3, 1, 4, 1, 5};
    struct live *live = live_start(2, false);
    struct paramd_options options = {.address = live_address(live), .no_thread = _i == 0};
    struct paramd_client *clients[2];
    struct paramd_model *model;
    struct paramd_model *other;
    struct paramd_definition pieces = *definition();
    struct paramd_tensor tensor = {.name = "w", .rank = 2, .shape = {5, 1000}};
    struct paramd_block_info info;
    float *memory = malloc(ELEMENTS * sizeof *memory);
    float *values = calloc(ELEMENTS, sizeof *values);
    float *moments = calloc(ELEMENTS, sizeof *moments);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        memory[i] = (float)i;
    }
    pieces.tensors = &tensor;
    pieces.tensor_count = 1;
    ck_assert_int_eq(paramd_open(&options, &clients[0]), PARAMD_OK);
    ck_assert_int_eq(paramd_open(&options, &clients[1]), PARAMD_OK);
    ck_assert_int_eq(paramd_create(clients[0], &pieces, PATIENCE_MS, &model), PARAMD_OK);
    ck_assert_int_eq(paramd_create(clients[1], &pieces, PATIENCE_MS, &other),
                     PARAMD_NOT_INITIALISER);
    struct paramd_fill fills[] = {
        {.values = memory + 1024, .first_block = 1, .steps = steps + 1},
        {.values = memory, .block_count = 1, .steps = steps},
        {.values = memory, .first_block = 5},
        {.values = memory, .tensor = 1},
        {.values = NULL},
    };
    for (unsigned i = 2; i < 5; i++) {
        ck_assert_int_eq(paramd_fill(model, 0, &fills[i], 1, PATIENCE_MS), PARAMD_INVALID);
    }
    ck_assert_int_eq(paramd_fill(model, 4, fills, 1, PATIENCE_MS), PARAMD_INVALID);
    ck_assert_int_eq(paramd_fill(model, 0, fills, 0, PATIENCE_MS), PARAMD_INVALID);
    ck_assert_int_eq(paramd_fill(model, 2, fills, 1, PATIENCE_MS), PARAMD_OK);
    ck_assert_int_eq(paramd_fill(model, 0, fills, 1, PATIENCE_MS), PARAMD_OK);
    ck_assert(!live_lock(live)->ready);
    live_unlock(live);
    ck_assert_int_eq(paramd_fill(model, 0, fills + 1, 1, PATIENCE_MS), PARAMD_OK);
    struct paramd_io io = {.values = values, .moments = {NULL, moments}};
    ck_assert_int_eq(paramd_pull_wait(model, &io, 1, NULL, PATIENCE_MS, NULL), PARAMD_OK);
    ck_assert_mem_eq(values, memory, ELEMENTS * sizeof *values);
    ck_assert_float_eq(moments[1023], 0);
    ck_assert_mem_eq(moments + 1024, memory + 1024, (ELEMENTS - 1024) * sizeof *values);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(paramd_block(model, 0, i, &info), PARAMD_OK);
        ck_assert_uint_eq(info.step, steps[i]);
    }
    ck_assert_int_eq(paramd_create(clients[1], &pieces, PATIENCE_MS, &other),
                     PARAMD_NOT_INITIALISER);
    ck_assert_ptr_nonnull(strstr(paramd_error(), "has values"));
    paramd_close(clients[0]);
    paramd_close(clients[1]);
    live_stop(live);
    free(memory);
    free(values);
    free(moments);
}
END_TEST

START_TEST(a_session_id_has_one_handle_in_a_process)
{
    static const float bias[10] = {0};
    const struct paramd_values values[2] = {{0}, {.weights = bias}};
    const struct paramd_session session = {{7}};
    struct live *live = live_start(1, false);
    struct paramd_options options = {.address = live_address(live)};
    struct paramd_client *clients[2];
    struct paramd_model *model;
    struct paramd_model *other = NULL;
    ck_assert_int_eq(paramd_open(&options, &clients[0]), PARAMD_OK);
    ck_assert_int_eq(paramd_open(&options, &clients[1]), PARAMD_OK);
    ck_assert_int_eq(
        paramd_join_as(clients[0], &session, definition(), values, PATIENCE_MS, &model), PARAMD_OK);
    ck_assert_int_eq(
        paramd_join_as(clients[1], &session, definition(), values, PATIENCE_MS, &other),
        PARAMD_SESSION_IN_USE);
    ck_assert_ptr_null(other);
    paramd_model_close(model);
    ck_assert_int_eq(
        paramd_join_as(clients[1], &session, definition(), values, PATIENCE_MS, &other), PARAMD_OK);
    paramd_close(clients[0]);
    paramd_close(clients[1]);
    live_stop(live);
}
END_TEST

START_TEST(figures_of_all_pages_are_put_together)
{
    struct live *live = live_start(2, false);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i == 1, &client);
    struct paramd_hyper lr = {.name = "lr", .number = 0.25};
    struct paramd_stat *stat;
    ck_assert_int_eq(paramd_set(model, "all", &lr, 1, 0, PATIENCE_MS), PARAMD_OK);
    ck_assert_int_eq(paramd_stat(client, "demo", PATIENCE_MS, &stat), PARAMD_OK);
    ck_assert_uint_eq(stat->tensor_count, 2);
    ck_assert_str_eq(stat->tensors[0].name, "w");
    ck_assert_uint_eq(stat->tensors[0].rank, 2);
    ck_assert_uint_eq(stat->tensors[0].shape[1], 1000);
    ck_assert_str_eq(stat->tensors[1].name, "b");
    ck_assert_uint_eq(stat->hyper_count, 1);
    ck_assert_str_eq(stat->hypers[0].optimizer, "sgd");
    ck_assert_double_eq(stat->hypers[0].number, 0.25);
    ck_assert_uint_eq(stat->counter_count, 1);
    ck_assert_str_eq(stat->model.name, "demo");
    paramd_free(stat);
    lr.number = 0.5;
    ck_assert_int_eq(paramd_set_by_name(client, "demo", "all", &lr, 1, 7, PATIENCE_MS), PARAMD_OK);
    ck_assert_float_eq(live_lock(live)->learning_rate, 0.5F);
    live_unlock(live);
    ck_assert_int_eq(paramd_delete(client, "demo", 0, PATIENCE_MS), PARAMD_OK);
    ck_assert_int_eq(paramd_stat(client, "demo", PATIENCE_MS, &stat), PARAMD_NOT_FOUND);
    ck_assert_str_eq(paramd_error(), "asking for figures: no such model");
    paramd_close(client);
    live_stop(live);
}
END_TEST

struct pusher {
    struct paramd_model *model;
    const float *gradient;
    unsigned count;
};

static void *push_many(void *arg)
{
    const struct pusher *pusher = arg;
    struct paramd_io entry = {.gradient = pusher->gradient};
    for (unsigned i = 0; i < pusher->count; i++) {
        struct paramd_ticket *tickets[4];
        for (unsigned j = 0; j < 4; j++) {
            ck_assert_int_eq(paramd_push(pusher->model, &entry, 1, NULL, &tickets[j]), PARAMD_OK);
        }
        for (unsigned j = 0; j < 4; j++) {
            ck_assert_int_eq(paramd_wait(tickets[j], PATIENCE_MS, NULL), PARAMD_OK);
            paramd_release(tickets[j]);
        }
    }
    return NULL;
}

START_TEST(many_threads_share_a_handle_while_connections_break)
{
    enum { THREADS = 4, ROUNDS = 10 };
    struct live *live = live_start(2, false);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i == 1, &client);
    float *gradient = ones();
    struct pusher pusher = {.model = model, .gradient = gradient, .count = ROUNDS};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, push_many, &pusher), 0);
    }
    live_break(live);
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    struct paramd_counters counters;
    paramd_model_counters(model, &counters);
    ck_assert_uint_eq(counters.pushes, THREADS * ROUNDS * 4 * 5);
    ck_assert_uint_eq(live_lock(live)->applied, THREADS * ROUNDS * 4 * 5);
    live_unlock(live);
    paramd_model_close(model);
    paramd_close(client);
    live_stop(live);
    free(gradient);
}
END_TEST

struct chain {
    struct paramd_model *model;
    struct paramd_io entry;
    atomic_uint calls;
    struct paramd_ticket *tickets[5];
};

/* A done function that starts the next call. */
static void push_next(struct paramd_ticket *ticket, void *arg)
{
    struct chain *chain = arg;
    struct paramd_result result;
    ck_assert_int_eq(paramd_wait(ticket, 0, &result), PARAMD_OK);
    unsigned calls = atomic_fetch_add(&chain->calls, 1) + 1;
    if (calls < 5) {
        struct paramd_call call = {.done = push_next, .arg = chain};
        ck_assert_int_eq(paramd_push(chain->model, &chain->entry, 1, &call, &chain->tickets[calls]),
                         PARAMD_OK);
    }
}

START_TEST(a_done_function_may_start_the_next_call)
{
    struct live *live = live_start(1, false);
    struct paramd_client *client;
    struct chain chain = {.model = open_and_join(live, _i == 1, &client)};
    float *gradient = ones();
    chain.entry.gradient = gradient;
    struct paramd_call call = {.done = push_next, .arg = &chain};
    ck_assert_int_eq(paramd_push(chain.model, &chain.entry, 1, &call, &chain.tickets[0]),
                     PARAMD_OK);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(paramd_wait(chain.tickets[i], PATIENCE_MS, NULL), PARAMD_OK);
        ck_assert_uint_gt(atomic_load(&chain.calls), i);
    }
    ck_assert_uint_eq(atomic_load(&chain.calls), 5);
    for (unsigned i = 0; i < 5; i++) {
        paramd_release(chain.tickets[i]);
    }
    paramd_close(client);
    live_stop(live);
    free(gradient);
}
END_TEST

static void add_lost(struct paramd_model *model, uint64_t blocks, void *arg)
{
    struct paramd_counters counters;
    paramd_model_counters(model, &counters);
    uint64_t sum = atomic_fetch_add((atomic_ullong *)arg, blocks) + blocks;
    ck_assert_uint_eq(counters.lost, sum);
}

START_TEST(a_function_is_told_what_a_restarted_daemon_has_lost)
{
    struct live *live = live_start(2, false);
    atomic_ullong lost = 0;
    struct paramd_options options = {
        .address = live_address(live), .no_thread = _i == 1, .lost = add_lost, .lost_arg = &lost};
    struct paramd_client *client;
    struct paramd_model *model = open_and_join_with(&options, &client);
    float *gradient = ones();
    struct paramd_io entry = {.gradient = gradient, .values = gradient};
    for (unsigned round = 1; round <= 2; round++) {
        for (unsigned i = 0; i < 5; i++) {
            ck_assert_int_eq(paramd_push_wait(model, &entry, 1, NULL, PATIENCE_MS, NULL),
                             PARAMD_OK);
        }
        fake_server_lose(live_lock(live), round == 1 ? 2 : 9);
        live_unlock(live);
        live_break(live);
        uint64_t expected = round == 1 ? 5 * 3 : 5 * 3 + 5 * 1;
        for (unsigned i = 0; i < 1000 && atomic_load(&lost) < expected; i++) {
            ck_assert_int_eq(paramd_pull_wait(model, &entry, 1, NULL, PATIENCE_MS, NULL),
                             PARAMD_OK);
        }
        ck_assert_uint_eq(atomic_load(&lost), expected);
    }
    paramd_model_close(model);
    paramd_close(client);
    live_stop(live);
    free(gradient);
}
END_TEST

START_TEST(a_deadline_ends_the_wait_and_the_blocking_forms_free_the_buffers)
{
    struct live *live = live_start(1, true);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i == 1, &client);
    float *gradient = ones();
    struct paramd_io entry = {.gradient = gradient};
    struct paramd_ticket *ticket;
    struct paramd_result result;
    live_lock(live)->faults.mute = true;
    live_unlock(live);
    ck_assert_int_eq(paramd_push(model, &entry, 1, NULL, &ticket), PARAMD_OK);
    ck_assert_int_eq(paramd_wait(ticket, 20, &result), PARAMD_TIMEOUT);
    ck_assert_int_eq(result.status, PARAMD_PENDING);
    ck_assert_int_eq(paramd_push_wait(model, &entry, 1, NULL, 20, &result), PARAMD_TIMEOUT);
    ck_assert_uint_eq(result.done, 0);
    ck_assert_uint_eq(result.unknown, 5);
    ck_assert_int_eq(paramd_cancel(ticket, 20, &result), PARAMD_UNKNOWN);
    paramd_release(ticket);
    memset(gradient, 0, ELEMENTS * sizeof *gradient);
    free(gradient);
    ck_assert_int_eq(paramd_leave(model, 20), PARAMD_TIMEOUT);
    paramd_close(client);
    live_stop(live);
}
END_TEST

START_TEST(without_a_daemon_calls_end_with_their_deadline_and_say_why)
{
    struct live *live = live_start(1, true);
    struct paramd_options options = {.no_thread = _i == 1};
    struct paramd_client *client;
    char address[64];
    (void)snprintf(address, sizeof address, "%s", live_address(live));
    options.address = address;
    live_stop(live); /* nobody listens there now */
    ck_assert_int_eq(paramd_open(&options, &client), PARAMD_OK);
    ck_assert_int_eq(paramd_ping(client, 50, NULL), PARAMD_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(paramd_error(), "cannot connect to 127.0.0.1:"));
    paramd_close(client);
}
END_TEST

START_TEST(a_name_is_resolved_and_each_of_its_addresses_tried)
{
    struct live *live = live_start(1, true);
    char address[64];
    (void)snprintf(address, sizeof address, "localhost%s", strrchr(live_address(live), ':'));
    struct paramd_options options = {.address = address};
    struct paramd_client *client;
    ck_assert_int_eq(paramd_open(&options, &client), PARAMD_OK);
    ck_assert_msg(paramd_ping(client, PATIENCE_MS, NULL) == PARAMD_OK, "%s", paramd_error());
    paramd_close(client);
    live_stop(live);
}
END_TEST

START_TEST(a_child_after_fork_gets_an_error_and_touches_nothing)
{
    struct live *live = live_start(1, false);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i == 1, &client);
    float *gradient = ones();
    struct paramd_io entry = {.gradient = gradient};
    struct paramd_ticket *ticket;
    struct paramd_ticket *none = NULL;
    ck_assert_int_eq(paramd_push(model, &entry, 1, NULL, &ticket), PARAMD_OK);
    pid_t child = fork();
    if (child == 0) {
        bool right = paramd_push(model, &entry, 1, NULL, &none) == PARAMD_FORKED &&
                     paramd_wait(ticket, -1, NULL) == PARAMD_FORKED &&
                     paramd_ping(client, -1, NULL) == PARAMD_FORKED &&
                     paramd_run(client, -1) == PARAMD_FORKED &&
                     paramd_leave(model, -1) == PARAMD_FORKED && none == NULL;
        paramd_release(ticket);
        paramd_model_close(model);
        paramd_close(client);
        _exit(right ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(paramd_wait(ticket, PATIENCE_MS, NULL), PARAMD_OK);
    paramd_release(ticket);
    paramd_close(client);
    live_stop(live);
    free(gradient);
}
END_TEST

START_TEST(run_moves_tickets_of_a_client_without_a_thread)
{
    struct live *live = live_start(1, false);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, true, &client);
    float *gradient = ones();
    struct paramd_io entry = {.gradient = gradient};
    struct paramd_ticket *ticket;
    ck_assert_int_eq(paramd_push(model, &entry, 1, NULL, &ticket), PARAMD_OK);
    ck_assert_int_eq(paramd_run(client, PATIENCE_MS), PARAMD_OK);
    ck_assert_int_eq(paramd_wait(ticket, 0, NULL), PARAMD_OK);
    ck_assert_int_eq(paramd_run(client, 1), PARAMD_TIMEOUT);
    paramd_release(ticket);
    paramd_close(client);
    live_stop(live);
    free(gradient);
}
END_TEST

START_TEST(closing_with_unfinished_tickets_frees_everything)
{
    struct live *live = live_start(2, false);
    struct paramd_client *client;
    struct paramd_model *model = open_and_join(live, _i == 1, &client);
    float *gradient = ones();
    struct paramd_io entry = {.gradient = gradient, .values = gradient};
    struct paramd_ticket *tickets[3];
    ck_assert_int_eq(paramd_push(model, &entry, 1, NULL, &tickets[0]), PARAMD_OK);
    ck_assert_int_eq(paramd_pull(model, &entry, 1, NULL, &tickets[1]), PARAMD_OK);
    ck_assert_int_eq(paramd_push_pull(model, &entry, 1, NULL, &tickets[2]), PARAMD_OK);
    if (_i == 0) {
        paramd_model_close(model);
        ck_assert_int_ne(paramd_wait(tickets[0], 0, NULL), PARAMD_TIMEOUT);
    }
    paramd_close(client);
    live_stop(live);
    free(gradient);
}
END_TEST

START_TEST(addresses_are_read_as_people_write_them)
{
    static const struct {
        const char *text;
        bool right;
        const char *host;
    } cases[] = {{"127.0.0.1:7700", true, "127.0.0.1"},
                 {"[::1]:7700", true, "::1"},
                 {"host.example:1", true, "host.example"},
                 {"unix:/run/paramd", true, "/run/paramd"},
                 {"host", false, ""},
                 {"host:", false, ""},
                 {"host:0", false, ""},
                 {"host:65536", false, ""},
                 {"host:12x", false, ""},
                 {":7700", false, ""},
                 {"::1:7700", false, ""},
                 {"[::1:7700", false, ""},
                 {"[]:7700", false, ""},
                 {"unix:", false, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pd_address address;
        ck_assert_msg(pd_address_parse(cases[i].text, &address) == cases[i].right, "%s",
                      cases[i].text);
        if (cases[i].right) {
            ck_assert_str_eq(address.host, cases[i].host);
        }
    }
    struct paramd_client *client = NULL;
    ck_assert_int_eq(paramd_open(&(struct paramd_options){.address = "nonsense"}, &client),
                     PARAMD_INVALID);
    ck_assert_ptr_nonnull(strstr(paramd_error(), "nonsense is no address"));
}
END_TEST

START_TEST(a_wrong_definition_is_refused_before_anything_is_sent)
{
    struct live *live = live_start(1, false);
    struct paramd_options options = {.address = live_address(live)};
    struct paramd_client *client;
    struct paramd_model *model = NULL;
    struct paramd_definition wrong = *definition();
    ck_assert_int_eq(paramd_open(&options, &client), PARAMD_OK);
    ck_assert_int_eq(paramd_join(client, &wrong, NULL, PATIENCE_MS, &model), PARAMD_INVALID);
    ck_assert_ptr_nonnull(strstr(paramd_error(), "tensor b: no first values are given for it"));
    wrong.name = "no such name!";
    struct paramd_values values[2] = {{0}, {.weights = (const float[10]){0}}};
    ck_assert_int_eq(paramd_join(client, &wrong, values, PATIENCE_MS, &model), PARAMD_INVALID);
    ck_assert_int_eq(paramd_attach(client, "", PATIENCE_MS, &model), PARAMD_INVALID);
    ck_assert_int_eq(paramd_attach(client, "other", PATIENCE_MS, &model), PARAMD_NOT_FOUND);
    paramd_close(client);
    live_stop(live);
}
END_TEST

START_TEST(a_snapshot_is_waited_for_and_told)
{
    struct live *live = live_start(1, false);
    struct paramd_options options = {.address = live_address(live), .no_thread = _i == 0};
    struct paramd_client *client;
    struct paramd_snapshot snapshot;
    ck_assert_int_eq(paramd_open(&options, &client), PARAMD_OK);
    ck_assert_int_eq(paramd_snapshot(client, true, PATIENCE_MS, NULL, NULL, &snapshot), PARAMD_OK);
    ck_assert_uint_eq(snapshot.number, 3);
    ck_assert_uint_eq(snapshot.bytes, 1000);
    ck_assert_uint_eq(snapshot.us, 20);
    ck_assert_uint_eq(snapshot.held_us, 10);
    ck_assert_int_eq(paramd_snapshot(client, false, PATIENCE_MS, NULL, NULL, NULL), PARAMD_OK);
    paramd_close(client);
    live_stop(live);
}
END_TEST

struct waiter {
    struct paramd_client *client;
    unsigned turns; /* until the wait is given up */
};

static bool ask_meanwhile(void *arg)
{
    struct waiter *waiter = arg;
    ck_assert_int_eq(paramd_ping(waiter->client, PATIENCE_MS, NULL), PARAMD_OK);
    return --waiter->turns > 0;
}

START_TEST(who_waits_for_a_snapshot_may_call_meanwhile_and_give_it_up)
{
    struct live *live = live_start(1, false);
    struct paramd_options options = {.address = live_address(live), .no_thread = _i == 0};
    struct waiter waiter = {.turns = 2};
    ck_assert_int_eq(paramd_open(&options, &waiter.client), PARAMD_OK);
    live_lock(live)->faults.mute_snapshots = 1;
    live_unlock(live);
    ck_assert_int_eq(paramd_snapshot(waiter.client, false, -1, ask_meanwhile, &waiter, NULL),
                     PARAMD_CANCELLED);
    ck_assert_uint_eq(waiter.turns, 0);
    ck_assert_int_eq(paramd_snapshot(waiter.client, false, -1, ask_meanwhile, &waiter, NULL),
                     PARAMD_OK);
    paramd_close(waiter.client);
    live_stop(live);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/api");
    TCase *tests = tcase_create("api");
    tcase_add_loop_test(tests, a_worker_joins_trains_and_leaves, 0, 4);
    tcase_add_loop_test(tests, a_call_about_some_blocks_uses_buffers_of_just_those, 0, 2);
    tcase_add_loop_test(tests, first_values_come_in_pieces_with_a_step_for_each_block, 0, 2);
    tcase_add_test(tests, a_session_id_has_one_handle_in_a_process);
    tcase_add_loop_test(tests, figures_of_all_pages_are_put_together, 0, 2);
    tcase_add_loop_test(tests, a_snapshot_is_waited_for_and_told, 0, 2);
    tcase_add_loop_test(tests, who_waits_for_a_snapshot_may_call_meanwhile_and_give_it_up, 0, 2);
    tcase_add_loop_test(tests, many_threads_share_a_handle_while_connections_break, 0, 2);
    tcase_add_loop_test(tests, a_done_function_may_start_the_next_call, 0, 2);
    tcase_add_loop_test(tests, a_function_is_told_what_a_restarted_daemon_has_lost, 0, 2);
    tcase_add_loop_test(tests, a_deadline_ends_the_wait_and_the_blocking_forms_free_the_buffers, 0,
                        2);
    tcase_add_loop_test(tests, without_a_daemon_calls_end_with_their_deadline_and_say_why, 0, 2);
    tcase_add_test(tests, a_name_is_resolved_and_each_of_its_addresses_tried);
    tcase_add_loop_test(tests, a_child_after_fork_gets_an_error_and_touches_nothing, 0, 2);
    tcase_add_test(tests, run_moves_tickets_of_a_client_without_a_thread);
    tcase_add_loop_test(tests, closing_with_unfinished_tickets_frees_everything, 0, 2);
    tcase_add_test(tests, addresses_are_read_as_people_write_them);
    tcase_add_test(tests, a_wrong_definition_is_refused_before_anything_is_sent);
    suite_add_tcase(suite, tests);
    return suite;
}
