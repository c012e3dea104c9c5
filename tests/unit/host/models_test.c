/* The life of a model: CREATE and its comparison, first values from an initialiser or the server,
 * SET, DELETE, and what LIST and STAT tell. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/initialiser.h"
#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { LEASE_US = 30000000 };

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;

static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){
        .shards = 2, .memory_max = 1 << 20, .model_memory_max = 1 << 19, .models_max = 3});
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

/* Two blocks, one on each of two shards, whose first values a client sends. */
static struct pd_plan client_plan(const char *name)
{
    struct pd_plan plan = pd_plan_ledger(name, 2048);
    plan.tensor[0].init = PARAMD__INITIALISER__CLIENT;
    return plan;
}

/* The wire that reaches the shard of a block. */
static struct pd_wire *wire_of(struct pd_worker *who, const struct pd_plan *plan, uint64_t block)
{
    struct pd_wire *own = pd_wire_open(rig, pd_plan_slot(plan, 0, block) % rig->options.shards);
    (void)pd_attach(own, who, plan->name, PARAMD__ATTACH_MODE__NEW);
    return own;
}

static void init_block(struct pd_worker *who, const struct pd_plan *plan, uint64_t block,
                       float value)
{
    struct pd_wire *own = wire_of(who, plan, block);
    pd_send_init(own, who, plan, 0, block, PARAMD__PART__WEIGHTS, value, 0);
    (void)pd_wire_expect(own, PD_KIND_DONE);
    pd_wire_close(own);
}

static float first_weight(struct pd_worker *who, const struct pd_plan *plan, uint64_t block)
{
    struct pd_wire *own = wire_of(who, plan, block);
    (void)pd_pull(own, who, 0, block, 0);
    float value = pd_values(own)[0];
    pd_wire_close(own);
    return value;
}

/* ---- CREATE ---- */

START_TEST(create_makes_a_model_once)
{
    struct pd_plan plan = client_plan("m");
    const Paramd__Created *created = pd_create(wire, &worker, &plan);
    ck_assert(created->created);
    ck_assert(created->initialiser);
    ck_assert(!created->ready);
    ck_assert_uint_eq(created->attempt, 1);
    uint64_t number = created->model;
    struct pd_worker other = pd_worker_named(2);
    created = pd_create(wire, &other, &plan);
    ck_assert(!created->created);
    ck_assert(!created->initialiser);
    ck_assert_uint_eq(created->model, number);
    created = pd_create(wire, &worker, &plan);
    ck_assert(!created->created);
    ck_assert(created->initialiser);
}
END_TEST

START_TEST(another_definition_is_refused_and_the_difference_named)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    plan.tensor[0].elements = 2047;
    pd_send_create(wire, &worker, &plan);
    const char *text = pd_wire_expect_error(wire, PARAMD_MISMATCH);
    ck_assert_ptr_nonnull(strstr(text, "t0"));
    ck_assert_ptr_nonnull(strstr(text, "shape"));
    plan = client_plan("m");
    plan.group[0] = (struct pd_plan_group){
        .optimizer = "sgd", .hypers = 2, .hyper = {{"lr", 0.5, NULL}, {"maximize", 1, NULL}}};
    pd_send_create(wire, &worker, &plan);
    text = pd_wire_expect_error(wire, PARAMD_MISMATCH);
    ck_assert_ptr_nonnull(strstr(text, "lr=0.5"));
}
END_TEST

START_TEST(defaults_named_explicitly_are_no_difference)
{
    struct pd_plan plan = client_plan("m");
    plan.group[0].optimizer = "adam";
    (void)pd_create(wire, &worker, &plan);
    plan.group[0].hypers = 2;
    plan.group[0].hyper[0].name = "beta2";
    plan.group[0].hyper[0].number = 0.999;
    plan.group[0].hyper[1].name = "schedule";
    plan.group[0].hyper[1].text = "constant";
    ck_assert(!pd_create(wire, &worker, &plan)->created);
}
END_TEST

START_TEST(hyper_parameters_set_since_are_returned_and_no_difference)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    ck_assert_uint_eq(pd_create(wire, &worker, &plan)->n_groups, 0);
    pd_send_set(wire, "m", "g0", "lr", 0.125, 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    const Paramd__Created *created = pd_create(wire, &worker, &plan);
    ck_assert_uint_eq(created->n_groups, 1);
    ck_assert_str_eq(created->groups[0]->group, "g0");
    double lr = 0;
    for (size_t i = 0; i < created->groups[0]->n_hypers; i++) {
        const Paramd__Hyper *hyper = created->groups[0]->hypers[i];
        lr = strcmp(hyper->name, "lr") == 0 ? hyper->number : lr;
    }
    ck_assert_double_eq(lr, 0.125);
}
END_TEST

START_TEST(what_cannot_be_kept_is_refused_by_name)
{
    struct pd_plan plan = client_plan("m");
    plan.group[0].optimizer = "adamax";
    pd_send_create(wire, &worker, &plan);
    ck_assert_ptr_nonnull(strstr(pd_wire_expect_error(wire, PARAMD_UNSUPPORTED), "adamax"));
    plan.group[0].optimizer = "adam";
    plan.group[0].hypers = 1;
    plan.group[0].hyper[0].name = "nesterov_power";
    pd_send_create(wire, &worker, &plan);
    ck_assert_ptr_nonnull(strstr(pd_wire_expect_error(wire, PARAMD_INVALID), "nesterov_power"));
    plan.group[0].hyper[0].name = "schedule"; /* linear, but no total */
    plan.group[0].hyper[0].text = "linear";
    pd_send_create(wire, &worker, &plan);
    ck_assert_ptr_nonnull(strstr(pd_wire_expect_error(wire, PARAMD_INVALID), "total"));
}
END_TEST

START_TEST(a_model_beyond_the_memory_limits_is_refused_and_none_is_taken)
{
    struct pd_plan plan = pd_plan_ledger("big", (1 << 19) / 4 + 1);
    pd_send_create(wire, &worker, &plan);
    ck_assert_ptr_nonnull(
        strstr(pd_wire_expect_error(wire, PARAMD_RESOURCE_EXHAUSTED), "model-memory-max"));
    plan.tensor[0].elements = 1 << 20;
    pd_send_create(wire, &worker, &plan);
    ck_assert_ptr_nonnull(
        strstr(pd_wire_expect_error(wire, PARAMD_RESOURCE_EXHAUSTED), "--memory-max"));
    ck_assert_uint_eq(rig->block_bytes, 0);
}
END_TEST

START_TEST(there_are_no_more_models_than_allowed)
{
    static const char *names[] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 3; i++) {
        struct pd_plan plan = client_plan(names[i]);
        (void)pd_create(wire, &worker, &plan);
    }
    struct pd_plan plan = client_plan("d");
    pd_send_create(wire, &worker, &plan);
    (void)pd_wire_expect_error(wire, PARAMD_BUSY);
    pd_send_delete(wire, "a", 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    (void)pd_create(wire, &worker, &plan);
}
END_TEST

START_TEST(a_machine_without_memory_refuses_the_model_and_gives_all_back)
{
    struct pd_plan plan = client_plan("m");
    rig->block_bytes_max = 4096; /* one of the two shards gets its block */
    pd_send_create(wire, &worker, &plan);
    (void)pd_wire_expect_error(wire, PARAMD_RESOURCE_EXHAUSTED);
    pd_rig_pass(rig, 2000000);
    ck_assert_uint_eq(rig->block_bytes, 0);
    rig->block_bytes_max = SIZE_MAX / 2;
    ck_assert(pd_create(wire, &worker, &plan)->created);
    ck_assert_double_eq(pd_counter(wire, NULL, "models"), 1);
}
END_TEST

START_TEST(a_definition_may_come_in_many_frames)
{
    struct pd_plan plan = client_plan("m");
    size_t count;
    uint8_t *bytes = pd_plan_bytes(&plan, &count);
    Paramd__Create create = PARAMD__CREATE__INIT;
    create.request_id = pd_wire_request_id(wire);
    create.model = "m";
    create.session.data = worker.bits;
    create.session.len = PD_SESSION_BYTES;
    for (size_t i = 0; i < count; i++) {
        size_t frame_bytes;
        unsigned more = i + 1 < count ? PD_FRAME_MORE : 0;
        uint8_t *frame =
            pd_frame_bytes(PD_KIND_CREATE, more, &create.base, bytes + i, 1, &frame_bytes);
        pd_wire_send(wire, frame, frame_bytes);
        free(frame);
    }
    const Paramd__Created *created = pd_wire_expect(wire, PD_KIND_CREATED);
    ck_assert(created->created);
    free(bytes);
}
END_TEST

/* A CREATE of which more is said to come: so many bytes of a definition. */
static void send_half_a_create(struct pd_wire *on, size_t count)
{
    static const uint8_t bytes[PD_PAYLOAD_BYTES_MAX];
    Paramd__Create create = PARAMD__CREATE__INIT;
    create.request_id = 7;
    create.model = "m";
    create.session.data = worker.bits;
    create.session.len = PD_SESSION_BYTES;
    size_t frame_bytes;
    uint8_t *frame =
        pd_frame_bytes(PD_KIND_CREATE, PD_FRAME_MORE, &create.base, bytes, count, &frame_bytes);
    pd_wire_send(on, frame, frame_bytes);
    pd_rig_settle(rig);
    free(frame);
}

START_TEST(a_create_left_half_way_loses_its_connection_in_time)
{
    struct pd_wire *other = pd_wire_open(rig, 0);
    send_half_a_create(other, 100);
    pd_rig_pass(rig, 20000000);
    ck_assert_ptr_nonnull(other->conn);
    pd_rig_pass(rig, 5000000);
    ck_assert_ptr_null(other->conn);
}
END_TEST

START_TEST(definitions_that_arrive_at_once_are_bounded)
{
    const unsigned frames = PD_DEFINITION_BYTES_MAX / PD_PAYLOAD_BYTES_MAX;
    const unsigned full = PD_DEFINITIONS_BYTES_MAX / PD_DEFINITION_BYTES_MAX;
    struct pd_wire *first = NULL;
    for (unsigned i = 0; i < full; i++) {
        struct pd_wire *other = pd_wire_open(rig, 0);
        first = first == NULL ? other : first;
        for (unsigned j = 0; j < frames; j++) {
            send_half_a_create(other, PD_PAYLOAD_BYTES_MAX);
        }
        ck_assert_ptr_nonnull(other->conn);
    }
    struct pd_wire *late = pd_wire_open(rig, 0);
    send_half_a_create(late, 1);
    (void)pd_wire_expect_error(late, PARAMD_BUSY);
    /* What one gives up, another may use. */
    pd_wire_close(first);
    struct pd_wire *next = pd_wire_open(rig, 0);
    send_half_a_create(next, PD_PAYLOAD_BYTES_MAX);
    ck_assert_ptr_nonnull(next->conn);
    pd_wire_expect_silence(next);
}
END_TEST

/* ---- first values ---- */

START_TEST(a_model_is_ready_when_all_blocks_of_all_shards_have_values)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    init_block(&worker, &plan, 0, 1);
    pd_rig_pass(rig, 3000000);
    ck_assert(!pd_create(wire, &worker, &plan)->ready);
    init_block(&worker, &plan, 0, 9); /* a repeat: ignored */
    ck_assert(!pd_create(wire, &worker, &plan)->ready);
    init_block(&worker, &plan, 1, 2);
    ck_assert(pd_create(wire, &worker, &plan)->ready);
    ck_assert_float_eq(first_weight(&worker, &plan, 0), 1);
    ck_assert_float_eq(first_weight(&worker, &plan, 1), 2);
    init_block(&worker, &plan, 1, 9);
    ck_assert_float_eq(first_weight(&worker, &plan, 1), 2);
}
END_TEST

START_TEST(init_by_a_stranger_or_of_another_attempt_is_refused)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    struct pd_worker other = pd_worker_named(2);
    (void)pd_create(wire, &other, &plan);
    struct pd_wire *own = wire_of(&other, &plan, 0);
    pd_send_init(own, &other, &plan, 0, 0, PARAMD__PART__WEIGHTS, 1, 0);
    (void)pd_wire_expect_error(own, PARAMD_NOT_INITIALISER);
    own = wire_of(&worker, &plan, 0);
    worker.attempt++;
    pd_send_init(own, &worker, &plan, 0, 0, PARAMD__PART__WEIGHTS, 1, 0);
    (void)pd_wire_expect_error(own, PARAMD_NOT_INITIALISER);
}
END_TEST

START_TEST(init_that_does_not_fit_is_refused_or_closes)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    struct pd_wire *own = wire_of(&worker, &plan, 0);
    pd_send_init(own, &worker, &plan, 0, 0, PARAMD__PART__WEIGHTS, NAN, 0);
    (void)pd_wire_expect_error(own, PARAMD_INVALID);
    pd_send_init(own, &worker, &plan, 0, 0, PARAMD__PART__MOMENT0, 1, 0); /* sgd has none */
    (void)pd_wire_expect_error(own, PARAMD_INVALID);
    pd_send_init(own, &worker, &plan, 0, 0, PARAMD__PART__WEIGHTS, 1, UINT64_MAX);
    (void)pd_wire_expect_error(own, PARAMD_INVALID);
    pd_send_init(own, &worker, &plan, 0, 1, PARAMD__PART__WEIGHTS, 1, 0);
    (void)pd_wire_expect(own, PD_KIND_MOVED);
    plan.tensor[0].elements = 1500; /* a payload of another length */
    pd_send_init(own, &worker, &plan, 0, 1, PARAMD__PART__WEIGHTS, 1, 0);
    (void)pd_wire_expect_error(own, PARAMD_PROTOCOL);
    ck_assert_ptr_null(own->conn);
}
END_TEST

START_TEST(moments_and_steps_given_by_init_are_kept)
{
    struct pd_plan plan = client_plan("m");
    plan.tensor[0].elements = 100;
    plan.group[0].optimizer = "adam";
    (void)pd_create(wire, &worker, &plan);
    struct pd_wire *own = wire_of(&worker, &plan, 0);
    pd_send_init(own, &worker, &plan, 0, 0, PARAMD__PART__MOMENT1, 0.25F, 0);
    (void)pd_wire_expect(own, PD_KIND_DONE);
    pd_send_init(own, &worker, &plan, 0, 0, PARAMD__PART__WEIGHTS, 4, 77);
    (void)pd_wire_expect(own, PD_KIND_DONE);
    const Paramd__Blocks *blocks = pd_pull(own, &worker, 0, 0, 1U << PARAMD__PART__MOMENT1);
    ck_assert_uint_eq(blocks->step[0], 77);
    ck_assert_uint_eq(blocks->version[0], 1);
    ck_assert_float_eq(pd_values(own)[99], 0.25F);
    (void)pd_pull(own, &worker, 0, 0, 1U << PARAMD__PART__MOMENT0);
    ck_assert_float_eq(pd_values(own)[0], 0);
}
END_TEST

START_TEST(when_the_initialisers_lease_runs_out_another_begins_anew)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    init_block(&worker, &plan, 0, 1);
    struct pd_wire *old = wire_of(&worker, &plan, 1);
    struct pd_worker other = pd_worker_named(2);
    pd_rig_pass(rig, LEASE_US - 1000000);
    ck_assert(!pd_create(wire, &other, &plan)->initialiser);
    pd_rig_pass(rig, 4000000);
    const Paramd__Created *created = pd_create(wire, &other, &plan);
    ck_assert(created->initialiser);
    ck_assert_uint_eq(created->attempt, 2);
    /* The first one comes back too late, and its values are gone. */
    pd_send_init(old, &worker, &plan, 0, 1, PARAMD__PART__WEIGHTS, 1, 0);
    (void)pd_wire_expect_error(old, PARAMD_NOT_INITIALISER);
    init_block(&other, &plan, 1, 20);
    ck_assert(!pd_create(wire, &other, &plan)->ready);
    init_block(&other, &plan, 0, 10);
    ck_assert(pd_create(wire, &other, &plan)->ready);
    ck_assert_float_eq(first_weight(&other, &plan, 0), 10);
    ck_assert_float_eq(first_weight(&other, &plan, 1), 20);
}
END_TEST

START_TEST(frames_on_an_attached_connection_keep_the_initialisers_lease)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    (void)pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__NEW);
    struct pd_wire *second = pd_wire_open(rig, 0);
    struct pd_worker other = pd_worker_named(2);
    for (unsigned i = 0; i < 5; i++) {
        pd_rig_pass(rig, LEASE_US / 3);
        Paramd__Ping ping = PARAMD__PING__INIT;
        ping.request_id = pd_wire_request_id(wire);
        pd_send(wire, PD_KIND_PING, &ping.base, NULL, 0);
        (void)pd_wire_expect(wire, PD_KIND_PONG);
        ck_assert(!pd_create(second, &other, &plan)->initialiser);
    }
}
END_TEST

START_TEST(the_servers_own_values_are_the_same_on_any_number_of_shards)
{
    struct pd_plan plan = {
        .name = "own",
        .tensors = 4,
        .tensor = {{5000, 0, PARAMD__INITIALISER__NORMAL, 1, 2, 7},
                   {3000, 0, PARAMD__INITIALISER__UNIFORM, -1, 1, 8},
                   {1, 0, PARAMD__INITIALISER__CONSTANT, 3, 0, 0},
                   {1025, 0, PARAMD__INITIALISER__ZEROS, 0, 0, 0}},
    };
    static const uint32_t shards[] = {1, 2, 3, 5};
    for (unsigned s = 0; s < 4; s++) {
        struct pd_rig *many = pd_rig_create(&(struct pd_rig_options){.shards = shards[s]});
        struct pd_worker who = pd_worker_named(1);
        struct pd_wire *wires[5];
        for (uint32_t i = 0; i < shards[s]; i++) {
            wires[i] = pd_wire_open(many, i);
            pd_join(wires[i], &who, &plan);
        }
        ck_assert(pd_create(wires[0], &who, &plan)->ready);
        for (uint32_t t = 0; t < 4; t++) {
            for (uint64_t b = 0; b < pd_plan_blocks(&plan, t); b++) {
                struct pd_wire *own = wires[pd_plan_slot(&plan, t, b) % shards[s]];
                struct pd_tensor_def def = {.init = plan.tensor[t].init,
                                            .a = plan.tensor[t].a,
                                            .b = plan.tensor[t].b,
                                            .seed = plan.tensor[t].seed};
                float wanted[1024];
                uint32_t elements = pd_plan_elements(&plan, t, b);
                pd_initialise(&def, b * 1024, wanted, elements);
                (void)pd_pull(own, &who, t, b, 0);
                ck_assert_uint_eq(own->answer.payload_bytes, elements * 4);
                ck_assert_mem_eq(pd_values(own), wanted, elements * 4);
            }
        }
        pd_rig_destroy(many);
    }
}
END_TEST

START_TEST(many_first_values_are_made_in_steps_between_which_others_are_served)
{
    enum { BLOCKS = 5, BLOCK_ELEMENTS = 65536 };
    struct pd_rig *one = pd_rig_create(NULL);
    struct pd_wire *own = pd_wire_open(one, 0);
    struct pd_plan many = pd_plan_ledger("many", BLOCKS * BLOCK_ELEMENTS);
    many.block_elements = BLOCK_ELEMENTS;
    many.tensor[0].init = PARAMD__INITIALISER__NORMAL;
    many.tensor[0].b = 1;
    (void)pd_create(own, &(struct pd_worker){.nonce = 1}, &many);
    unsigned steps = 2; /* with the one in CREATE, and the last */
    while (pd_host_tick(one->hosts[0], one->now_us) <= one->now_us) {
        steps++;
    }
    ck_assert_uint_eq(steps, BLOCKS);
    pd_rig_destroy(one);
}
END_TEST

START_TEST(random_first_values_are_distributed_as_asked)
{
    enum { N = 100000 };
    float *values = malloc(N * sizeof *values);
    struct pd_tensor_def def = {.init = PARAMD__INITIALISER__NORMAL, .a = 3, .b = 2, .seed = 99};
    double sum = 0;
    double squares = 0;
    pd_initialise(&def, 0, values, N);
    for (unsigned i = 0; i < N; i++) {
        sum += values[i];
        squares += (values[i] - 3.0) * (values[i] - 3.0);
    }
    /* Five standard errors: 2 / sqrt(N) and 4 sqrt(2 / N). */
    ck_assert_double_eq_tol(sum / N, 3, 0.032);
    ck_assert_double_eq_tol(squares / N, 4, 0.09);
    def.init = PARAMD__INITIALISER__UNIFORM;
    def.a = -1;
    def.b = 5;
    sum = 0;
    pd_initialise(&def, 0, values, N);
    for (unsigned i = 0; i < N; i++) {
        ck_assert(values[i] >= -1 && values[i] <= 5);
        sum += values[i];
    }
    ck_assert_double_eq_tol(sum / N, 2, 0.028);
    free(values);
}
END_TEST

/* ---- SET ---- */

START_TEST(of_two_sets_with_clocks_the_higher_wins)
{
    struct pd_plan plan = client_plan("m");
    (void)pd_create(wire, &worker, &plan);
    pd_send_set(wire, "m", "g0", "lr", 0.5, 10);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_send_set(wire, "m", "g0", "lr", 0.6, 9);
    (void)pd_wire_expect_error(wire, PARAMD_SUPERSEDED);
    pd_send_set(wire, "m", "g0", "lr", 0.6, 10);
    (void)pd_wire_expect_error(wire, PARAMD_SUPERSEDED);
    pd_send_set(wire, "m", "g0", "lr", 0.5, 10); /* a resend */
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_send_set(wire, "m", "g0", "lr", 0.7, 0); /* without a clock: the last wins */
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_send_set(wire, "m", "g0", "lr", 0.8, 11);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
}
END_TEST

START_TEST(a_set_that_cannot_be_is_refused_and_changes_nothing)
{
    struct pd_plan plan = client_plan("m");
    plan.group[0].optimizer = "rmsprop";
    (void)pd_create(wire, &worker, &plan);
    pd_send_set(wire, "none", "g0", "lr", 0.5, 0);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
    pd_send_set(wire, "m", "none", "lr", 0.5, 0);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
    pd_send_set(wire, "m", "g0", "lr", -0.5, 0);
    ck_assert_ptr_nonnull(strstr(pd_wire_expect_error(wire, PARAMD_INVALID), "lr"));
    pd_send_set(wire, "m", "g0", "momentum", 0.5, 0); /* one moment more */
    ck_assert_ptr_nonnull(strstr(pd_wire_expect_error(wire, PARAMD_INVALID), "moments"));
    pd_send_set(wire, "m", "g0", "warmup", 100, 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    Paramd__Set set = PARAMD__SET__INIT;
    set.request_id = pd_wire_request_id(wire);
    set.model = "m";
    set.group = "g0";
    pd_send(wire, PD_KIND_SET, &set.base, NULL, 0);
    (void)pd_wire_expect_error(wire, PARAMD_INVALID);
}
END_TEST

/* ---- DELETE ---- */

START_TEST(a_deleted_model_gives_its_memory_back_though_workers_stay_connected)
{
    struct pd_plan plan = pd_plan_ledger("m", 100000);
    pd_join(wire, &worker, &plan);
    ck_assert_uint_ge(rig->block_bytes, 400000);
    pd_send_delete(wire, "m", 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_rig_pass(rig, 2000000);
    ck_assert_uint_eq(rig->block_bytes, 0);
    ck_assert_double_eq(pd_counter(wire, NULL, "memory_bytes"), 0);
    ck_assert_double_eq(pd_counter(wire, NULL, "sessions"), 0);
}
END_TEST

START_TEST(a_number_is_never_used_again_and_old_requests_are_refused)
{
    struct pd_plan plan = pd_plan_ledger("m", 10);
    struct pd_wire *own = pd_wire_open(rig, pd_plan_slot(&plan, 0, 0) % 2);
    pd_join(own, &worker, &plan);
    uint64_t number = worker.model;
    pd_push_one(own, &worker, &plan, 0, 0, 1);
    (void)pd_wire_expect(own, PD_KIND_ACK);
    pd_send_delete(wire, "m", number + 1);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
    pd_send_delete(wire, "m", number);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_push_one(own, &worker, &plan, 0, 0, 1);
    (void)pd_wire_expect_error(own, PARAMD_NOT_FOUND);
    pd_send_pull(own, &worker, 0, 0, 0, 0);
    (void)pd_wire_expect_error(own, PARAMD_NOT_FOUND);
    (void)pd_join(own, &worker, &plan);
    ck_assert_uint_gt(worker.model, number);
    worker.ids[pd_plan_slot(&plan, 0, 0)] = 0;
    pd_push_one(own, &worker, &plan, 0, 0, 1);
    const Paramd__Ack *ack = pd_wire_expect(own, PD_KIND_ACK);
    ck_assert_uint_eq(ack->version[0], 2);
}
END_TEST

START_TEST(one_connection_can_outlive_any_number_of_models)
{
    struct pd_plan plan = pd_plan_ledger("m", 10);
    for (unsigned i = 0; i < 100; i++) {
        pd_join(wire, &worker, &plan);
        pd_send_delete(wire, "m", 0);
        (void)pd_wire_expect(wire, PD_KIND_DONE);
    }
}
END_TEST

/* ---- looking ---- */

START_TEST(list_tells_models_in_pages)
{
    struct pd_rig *many = pd_rig_create(&(struct pd_rig_options){.models_max = 1000});
    struct pd_wire *own = pd_wire_open(many, 0);
    for (unsigned i = 0; i < 150; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "model%u", i);
        struct pd_plan plan = pd_plan_ledger(name, 10);
        (void)pd_create(own, &worker, &plan);
    }
    Paramd__List list = PARAMD__LIST__INIT;
    unsigned seen = 0;
    bool more = true;
    while (more) {
        list.request_id = pd_wire_request_id(own);
        pd_send(own, PD_KIND_LIST, &list.base, NULL, 0);
        const Paramd__Listed *listed = pd_wire_expect(own, PD_KIND_LISTED);
        ck_assert_uint_gt(listed->n_models, 0);
        for (size_t i = 0; i < listed->n_models; i++) {
            ck_assert_uint_gt(listed->models[i]->number, list.after);
            list.after = listed->models[i]->number;
            ck_assert_uint_eq(listed->models[i]->elements, 10);
            seen++;
        }
        more = listed->more;
    }
    ck_assert_uint_eq(seen, 150);
    pd_rig_destroy(many);
}
END_TEST

START_TEST(stat_tells_tensors_with_their_versions_over_all_shards)
{
    struct pd_plan plan = pd_plan_ledger("m", 3000);
    struct pd_wire *own = pd_wire_open(rig, pd_plan_slot(&plan, 0, 1) % 2);
    pd_join(own, &worker, &plan);
    pd_push_one(own, &worker, &plan, 0, 1, 1);
    pd_push_one(own, &worker, &plan, 0, 1, 1);
    (void)pd_wire_expect(own, PD_KIND_ACK);
    Paramd__Stat stat = PARAMD__STAT__INIT;
    stat.request_id = pd_wire_request_id(wire);
    stat.model = "m";
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    const Paramd__Stated *stated = pd_wire_expect(wire, PD_KIND_STATED);
    ck_assert_uint_eq(stated->n_tensors, 1);
    const Paramd__TensorInfo *tensor = stated->tensors[0];
    ck_assert_str_eq(tensor->name, "t0");
    ck_assert_str_eq(tensor->group, "g0");
    ck_assert_uint_eq(tensor->shape[0], 3000);
    ck_assert_uint_eq(tensor->blocks, 3);
    ck_assert_uint_eq(tensor->version_min, 1);
    ck_assert_uint_eq(tensor->version_max, 3);
    ck_assert_uint_eq(tensor->version_sum, 5);
    ck_assert(!stated->more);
    ck_assert_str_eq(stated->optimizers[0], "sgd");
    ck_assert_uint_eq(stated->model->sessions, 1);
    stat.model = "none";
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
}
END_TEST

START_TEST(the_definition_comes_back_as_it_was_given)
{
    struct pd_plan plan = client_plan("m");
    size_t count;
    uint8_t *bytes = pd_plan_bytes(&plan, &count);
    (void)pd_create(wire, &worker, &plan);
    Paramd__Stat stat = PARAMD__STAT__INIT;
    stat.request_id = pd_wire_request_id(wire);
    stat.model = "m";
    stat.definition = 1;
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    (void)pd_wire_expect(wire, PD_KIND_STATED);
    ck_assert_uint_eq(wire->answer.payload_bytes, count);
    ck_assert_mem_eq(wire->answer.payload, bytes, count);
    free(bytes);
}
END_TEST

START_TEST(the_largest_definition_can_be_looked_at)
{
    enum { TENSORS = 300 };
    static char names[TENSORS][PD_NAME_BYTES_MAX + 1];
    static Paramd__Group groups[PD_GROUPS_MAX];
    static Paramd__Group *group_pointers[PD_GROUPS_MAX];
    static Paramd__Tensor tensors[TENSORS];
    static Paramd__Tensor *tensor_pointers[TENSORS];
    static uint8_t bytes[1 << 20];
    uint64_t shape = 1;
    Paramd__Definition definition = PARAMD__DEFINITION__INIT;
    Paramd__Create create = PARAMD__CREATE__INIT;
    Paramd__Stat stat = PARAMD__STAT__INIT;
    for (unsigned i = 0; i < TENSORS; i++) {
        memset(names[i], 'n', PD_NAME_BYTES_MAX);
        (void)snprintf(names[i] + 250, 6, "%05u", i);
        paramd__tensor__init(&tensors[i]);
        tensors[i].name = names[i];
        tensors[i].shape = &shape;
        tensors[i].n_shape = 1;
        tensors[i].group = i % PD_GROUPS_MAX;
        tensor_pointers[i] = &tensors[i];
    }
    for (unsigned i = 0; i < PD_GROUPS_MAX; i++) {
        paramd__group__init(&groups[i]);
        groups[i].name = names[i];
        groups[i].optimizer = "nadam";
        group_pointers[i] = &groups[i];
    }
    definition.groups = group_pointers;
    definition.n_groups = PD_GROUPS_MAX;
    definition.tensors = tensor_pointers;
    definition.n_tensors = TENSORS;
    create.request_id = pd_wire_request_id(wire);
    create.model = "m";
    create.session.data = worker.bits;
    create.session.len = PD_SESSION_BYTES;
    pd_send(wire, PD_KIND_CREATE, &create.base, bytes,
            protobuf_c_message_pack(&definition.base, bytes));
    (void)pd_wire_expect(wire, PD_KIND_CREATED);
    stat.model = "m";
    for (bool more = true; more;) {
        stat.request_id = pd_wire_request_id(wire);
        pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
        const Paramd__Stated *stated = pd_wire_expect(wire, PD_KIND_STATED);
        ck_assert_uint_gt(stated->n_tensors, 0);
        ck_assert_uint_eq(stated->n_groups, stat.first_tensor == 0 ? PD_GROUPS_MAX : 0);
        stat.first_tensor += (uint32_t)stated->n_tensors;
        more = stated->more;
    }
    ck_assert_uint_eq(stat.first_tensor, TENSORS);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("models");
    TCase *create = tcase_create("create");
    tcase_add_checked_fixture(create, start, stop);
    tcase_add_test(create, create_makes_a_model_once);
    tcase_add_test(create, a_create_left_half_way_loses_its_connection_in_time);
    tcase_add_test(create, definitions_that_arrive_at_once_are_bounded);
    tcase_add_test(create, another_definition_is_refused_and_the_difference_named);
    tcase_add_test(create, defaults_named_explicitly_are_no_difference);
    tcase_add_test(create, hyper_parameters_set_since_are_returned_and_no_difference);
    tcase_add_test(create, what_cannot_be_kept_is_refused_by_name);
    tcase_add_test(create, a_model_beyond_the_memory_limits_is_refused_and_none_is_taken);
    tcase_add_test(create, there_are_no_more_models_than_allowed);
    tcase_add_test(create, a_machine_without_memory_refuses_the_model_and_gives_all_back);
    tcase_add_test(create, a_definition_may_come_in_many_frames);
    suite_add_tcase(suite, create);
    TCase *values = tcase_create("first_values");
    tcase_add_checked_fixture(values, start, stop);
    tcase_add_test(values, a_model_is_ready_when_all_blocks_of_all_shards_have_values);
    tcase_add_test(values, init_by_a_stranger_or_of_another_attempt_is_refused);
    tcase_add_test(values, init_that_does_not_fit_is_refused_or_closes);
    tcase_add_test(values, moments_and_steps_given_by_init_are_kept);
    tcase_add_test(values, when_the_initialisers_lease_runs_out_another_begins_anew);
    tcase_add_test(values, frames_on_an_attached_connection_keep_the_initialisers_lease);
    tcase_add_test(values, the_servers_own_values_are_the_same_on_any_number_of_shards);
    tcase_add_test(values, random_first_values_are_distributed_as_asked);
    tcase_add_test(values, many_first_values_are_made_in_steps_between_which_others_are_served);
    suite_add_tcase(suite, values);
    TCase *later = tcase_create("later");
    tcase_add_checked_fixture(later, start, stop);
    tcase_add_test(later, of_two_sets_with_clocks_the_higher_wins);
    tcase_add_test(later, a_set_that_cannot_be_is_refused_and_changes_nothing);
    tcase_add_test(later, a_deleted_model_gives_its_memory_back_though_workers_stay_connected);
    tcase_add_test(later, a_number_is_never_used_again_and_old_requests_are_refused);
    tcase_add_test(later, one_connection_can_outlive_any_number_of_models);
    tcase_add_test(later, list_tells_models_in_pages);
    tcase_add_test(later, stat_tells_tensors_with_their_versions_over_all_shards);
    tcase_add_test(later, the_definition_comes_back_as_it_was_given);
    tcase_add_test(later, the_largest_definition_can_be_looked_at);
    suite_add_tcase(suite, later);
    return suite;
}
