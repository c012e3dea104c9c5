/* Random models, pushes, repeats, cuts and resends over several sessions and shards: in the end
 * every block is what a plain loop makes of the acknowledged pushes, each applied once, in the
 * order of their versions. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum {
    WORKERS = 3,
    SHARDS_MAX = 5,
    STEPS = 120,
    BLOCKS_MAX = 24,
    HISTORY_MAX = 256,
    SEED_FIRST = 1000,
    RUNS = 24
};

/* One applied push: gradients come from its seed, so that nothing else needs to be kept. */
struct applied {
    bool known;
    uint64_t seed;
    uint64_t base_version;
};

struct block {
    uint32_t tensor;
    uint64_t block;
    uint32_t slot;
    struct applied history[HISTORY_MAX]; /* by version */
};

/* One entry that a worker has sent and has no answer for. */
struct flight {
    unsigned block;
    uint64_t push_id;
    uint64_t seed;
    uint64_t base_version;
};

struct member {
    struct pd_worker worker;
    struct pd_wire *wires[SHARDS_MAX];
    struct flight flights[SHARDS_MAX][STEPS * 4];
    unsigned flight_count[SHARDS_MAX];
};

static uint64_t seed_now;
static struct pd_rig *rig;
static struct pd_plan plan;
static struct block blocks[BLOCKS_MAX];
static unsigned block_count;
static struct member members[WORKERS];

static uint64_t mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(unsigned bound)
{
    return bound > 0 ? (unsigned)(mix(&seed_now) % bound) : 0;
}

/* One gradient in a hundred holds a NaN. */
static void gradient_of(uint64_t seed, float *gradient, uint32_t elements)
{
    uint64_t state = seed;
    for (uint32_t i = 0; i < elements; i++) {
        gradient[i] = (float)(int64_t)(mix(&state) >> 40) / 1e6F - 8.0F;
    }
    if (seed % 100 == 0) {
        memset(&gradient[elements / 2], 0xff, sizeof gradient[0]);
    }
}

/* ---- the model ---- */

static void make_plan(void)
{
    static const char *optimizers[] = {"sgd", "adam", "momentum", "adagrad", "rmsprop", "nadam"};
    plan = (struct pd_plan){.name = "random", .block_elements = 1024U << below(2)};
    plan.groups = 1 + below(2);
    for (unsigned i = 0; i < plan.groups; i++) {
        plan.group[i].optimizer = optimizers[below(6)];
        if (below(3) == 0) {
            plan.group[i].hypers = 2;
            plan.group[i].hyper[0].name = "staleness";
            plan.group[i].hyper[0].text = "inverse";
            plan.group[i].hyper[1].name = "staleness_max";
            plan.group[i].hyper[1].number = 6;
        }
    }
    plan.tensors = 2 + below(3);
    block_count = 0;
    for (unsigned i = 0; i < plan.tensors; i++) {
        plan.tensor[i] = (struct pd_plan_tensor){.elements = 1 + below(5000),
                                                 .group = below(plan.groups),
                                                 .init = PARAMD__INITIALISER__NORMAL,
                                                 .b = 1,
                                                 .seed = i};
        for (uint64_t j = 0; j < pd_plan_blocks(&plan, i); j++) {
            ck_assert_uint_lt(block_count, BLOCKS_MAX);
            memset(&blocks[block_count], 0, sizeof blocks[0]);
            blocks[block_count].tensor = i;
            blocks[block_count].block = j;
            blocks[block_count++].slot = pd_plan_slot(&plan, i, j);
        }
    }
}

static void connect(struct member *member, uint32_t shard, Paramd__AttachMode mode)
{
    if (member->wires[shard] != NULL) {
        pd_wire_close(member->wires[shard]);
    }
    member->wires[shard] = pd_wire_open(rig, shard);
    (void)pd_attach(member->wires[shard], &member->worker, plan.name, mode);
}

static void begin(void)
{
    make_plan();
    rig = pd_rig_create(&(struct pd_rig_options){.shards = 1 + below(SHARDS_MAX)});
    struct pd_wire *wire = pd_wire_open(rig, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        memset(&members[i], 0, sizeof members[i]);
        members[i].worker = pd_worker_named(i);
        (void)pd_create(wire, &members[i].worker, &plan);
        for (uint32_t shard = 0; shard < rig->options.shards; shard++) {
            connect(&members[i], shard, PARAMD__ATTACH_MODE__NEW);
        }
    }
    pd_rig_pass(rig, 1000);
}

/* ---- a worker's turn ---- */

static void note_result(const struct flight *flight, int status, uint64_t version)
{
    struct block *block = &blocks[flight->block];
    if (status != PARAMD_OK) {
        ck_assert_msg(status == PARAMD_NOT_FINITE || status == PARAMD_TOO_STALE ||
                          status == PARAMD_REFUSED,
                      "%s", paramd_status_name(status));
        return;
    }
    ck_assert_uint_lt(version, HISTORY_MAX);
    ck_assert_msg(!block->history[version].known, "version %llu was made twice",
                  (unsigned long long)version);
    block->history[version] = (struct applied){true, flight->seed, flight->base_version};
}

static void add_entry(struct pd_push *push, const struct flight *flight)
{
    const struct block *block = &blocks[flight->block];
    uint32_t elements = pd_plan_elements(&plan, block->tensor, block->block);
    float gradient[2048];
    gradient_of(flight->seed, gradient, elements);
    pd_push_add_values(push, block->tensor, block->block, flight->push_id, flight->base_version,
                       gradient, elements * sizeof gradient[0]);
}

/* The frame of the given flights of one shard. */
static uint8_t *frame_of(struct member *member, uint32_t shard, unsigned first, unsigned count,
                         size_t *ret_count)
{
    struct pd_push push;
    pd_push_begin(&push, &member->worker, PD_KIND_PUSH);
    for (unsigned i = first; i < first + count; i++) {
        add_entry(&push, &member->flights[shard][i]);
    }
    return pd_push_bytes(&push, member->wires[shard], ret_count);
}

/* What a push was applied as is known from its first answer only: a repeat tells the version of
 * today. A worker whose answer was lost therefore asks before anybody else pushes: the run gives
 * turns so. */
static void read_ack(struct member *member, uint32_t shard, unsigned first, unsigned count)
{
    const Paramd__Ack *ack = pd_wire_expect(member->wires[shard], PD_KIND_ACK);
    ck_assert_uint_eq(ack->n_status, count);
    uint64_t later[BLOCKS_MAX] = {0};
    /* From the back: of several repeats of one block, the last made today's version. */
    for (unsigned i = count; i-- > 0;) {
        const struct flight *flight = &member->flights[shard][first + i];
        ck_assert_uint_eq(ack->push_id[i], flight->push_id);
        uint64_t version = ack->version[i];
        uint64_t *bound = &later[flight->block];
        if (ack->status[i] == PARAMD_OK) {
            version = *bound != 0 && version >= *bound ? *bound - 1 : version;
            *bound = version;
        }
        note_result(flight, ack->status[i], version);
    }
}

static void take_turn(struct member *member)
{
    uint32_t shard = below(rig->options.shards);
    unsigned first = member->flight_count[shard];
    unsigned count = 0;
    for (unsigned tries = 0; tries < 6; tries++) {
        unsigned at = below(block_count);
        if (blocks[at].slot % rig->options.shards == shard) {
            member->flights[shard][first + count++] = (struct flight){
                .block = at,
                .push_id = ++member->worker.ids[blocks[at].slot],
                .seed = mix(&seed_now),
                .base_version = below(3) == 0 ? 1 + below(10) : 0,
            };
        }
    }
    if (count == 0) {
        return;
    }
    size_t bytes_count;
    uint8_t *bytes = frame_of(member, shard, first, count, &bytes_count);
    struct pd_wire *wire = member->wires[shard];
    wire->piece = below(2) == 0 ? SIZE_MAX : 1 + below(3000);
    unsigned fate = below(4);
    if (fate == 0) { /* cut anywhere, the whole frame included, and sent anew */
        wire->appetite = below(60);
        pd_wire_send(wire, bytes, below((unsigned)bytes_count + 1));
        connect(member, shard, PARAMD__ATTACH_MODE__RESUME);
        wire = member->wires[shard];
    }
    pd_wire_send(wire, bytes, bytes_count);
    read_ack(member, shard, first, count);
    if (fate == 1) { /* twice: the answers are not needed */
        pd_wire_send(wire, bytes, bytes_count);
        (void)pd_wire_expect(wire, PD_KIND_ACK);
    }
    free(bytes);
    member->flight_count[shard] = first + count;
}

/* ---- the reference ---- */

static struct pd_hyper hyper_of(const struct pd_plan_group *group)
{
    struct pd_hyper hyper;
    char error[256];
    const struct pd_optimizer *optimizer = pd_optimizer_find(group->optimizer);
    pd_hyper_defaults(optimizer, &hyper);
    for (unsigned i = 0; i < group->hypers; i++) {
        ck_assert_int_eq(pd_hyper_set(optimizer, &hyper, group->hyper[i].name,
                                      group->hyper[i].number, group->hyper[i].text, error,
                                      sizeof error),
                         PARAMD_OK);
    }
    return hyper;
}

static void check_block(const struct block *block, const float *first_values)
{
    static _Alignas(64) float parts[1 + PD_MOMENTS_MAX][2048];
    static float gradient[2048];
    const struct pd_plan_group *group = &plan.group[plan.tensor[block->tensor].group];
    const struct pd_optimizer *optimizer = pd_optimizer_find(group->optimizer);
    struct pd_hyper hyper = hyper_of(group);
    uint32_t elements = pd_plan_elements(&plan, block->tensor, block->block);
    struct pd_optim_block state = {
        .p = parts[0], .moments = {parts[1], parts[2], parts[3]}, .elements = elements};
    uint64_t version = 1;
    memset(parts, 0, sizeof parts);
    memcpy(parts[0], first_values, elements * sizeof(float));
    pd_optim_start(optimizer, &hyper, &state);
    for (; version + 1 < HISTORY_MAX && block->history[version + 1].known; version++) {
        const struct applied *applied = &block->history[version + 1];
        uint64_t base = applied->base_version;
        gradient_of(applied->seed, gradient, elements);
        struct pd_optim_push push = {.gradient = gradient,
                                     .scale = 1,
                                     .staleness = base != 0 && base < version ? version - base : 0};
        ck_assert_int_eq(pd_optim_apply(optimizer, &hyper, &state, &push), PARAMD_OK);
    }
    struct pd_wire *wire = members[0].wires[block->slot % rig->options.shards];
    unsigned moments = pd_optimizer_moments(optimizer, &hyper);
    for (unsigned part = 0; part <= moments; part++) {
        const Paramd__Blocks *answer =
            pd_pull(wire, &members[0].worker, block->tensor, block->block, 1U << part);
        ck_assert_uint_eq(answer->version[0], version);
        ck_assert_uint_eq(answer->step[0], version - 1);
        ck_assert_mem_eq(pd_values(wire), parts[part], elements * sizeof(float));
    }
}

START_TEST(random_runs_end_as_the_plain_loop_does)
{
    static float first_values[BLOCKS_MAX][2048];
    seed_now = (uint64_t)_i; /* Check prints it with a failure */
    begin();
    for (unsigned i = 0; i < block_count; i++) {
        struct pd_wire *wire = members[0].wires[blocks[i].slot % rig->options.shards];
        (void)pd_pull(wire, &members[0].worker, blocks[i].tensor, blocks[i].block, 0);
        memcpy(first_values[i], wire->answer.payload, wire->answer.payload_bytes);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        take_turn(&members[below(WORKERS)]);
    }
    for (unsigned i = 0; i < block_count; i++) {
        check_block(&blocks[i], first_values[i]);
    }
    pd_rig_destroy(rig);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("ledger");
    TCase *random = tcase_create("random");
    tcase_add_loop_test(random, random_runs_end_as_the_plain_loop_does, SEED_FIRST,
                        SEED_FIRST + RUNS);
    suite_add_tcase(suite, random);
    return suite;
}
