/* Requests that control decides: how many of one connection may wait for it, and what becomes of
 * those behind them; and the hashes of blocks, which it gathers. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { LEASE_US = 30000000, MANY = 100 };

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;
static struct pd_plan plan;

static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){.shards = 2, .lease_us = LEASE_US});
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", 3000);
    pd_join(wire, &worker, &plan);
    rig->requests_peak = 0;
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

/* So many frames as one piece of memory, with request ids of the wire; malloc'd. */
static uint8_t *flood(unsigned count, enum pd_kind kind, ProtobufCMessage *header,
                      size_t *ret_bytes)
{
    size_t capacity = 128 * (size_t)count;
    uint8_t *bytes = malloc(capacity);
    size_t end = 0;
    ck_assert_ptr_nonnull(bytes);
    for (unsigned i = 0; i < count; i++) {
        ((Paramd__Ping *)header)->request_id = pd_wire_request_id(wire);
        size_t head_bytes = pd_frame_head_bytes(header);
        ck_assert_uint_le(end + head_bytes, capacity);
        pd_frame_head_write(bytes + end, kind, 0, header, 0, 0);
        end += head_bytes;
    }
    *ret_bytes = end;
    return bytes;
}

static void expect_answers(unsigned count, enum pd_kind kind)
{
    uint64_t first = wire->request_id - count + 1;
    for (unsigned i = 0; i < count; i++) {
        const ProtobufCMessage *header = pd_wire_expect(wire, kind);
        ck_assert_uint_eq(((const Paramd__Ping *)header)->request_id, first + i);
    }
    pd_wire_expect_silence(wire);
}

START_TEST(a_flood_waits_with_its_sender_and_every_request_is_answered)
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    Paramd__List list = PARAMD__LIST__INIT;
    Paramd__Report report = PARAMD__REPORT__INIT;
    report.model = worker.model;
    const struct {
        enum pd_kind kind;
        ProtobufCMessage *header;
        enum pd_kind answer;
    } rows[] = {{PD_KIND_STAT, &stat.base, PD_KIND_STATED},
                {PD_KIND_LIST, &list.base, PD_KIND_LISTED},
                {PD_KIND_REPORT, &report.base, PD_KIND_DONE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t bytes;
        uint8_t *frames = flood(MANY, rows[i].kind, rows[i].header, &bytes);
        pd_wire_send(wire, frames, bytes);
        free(frames);
        expect_answers(MANY, rows[i].answer);
        ck_assert_uint_eq(rig->requests_peak, PD_CONTROL_REQUESTS_MAX);
    }
}
END_TEST

START_TEST(a_push_behind_a_flood_is_taken_in_its_turn)
{
    Paramd__List list = PARAMD__LIST__INIT;
    size_t bytes;
    uint8_t *frames = flood(MANY, PD_KIND_LIST, &list.base, &bytes);
    struct pd_push push;
    pd_push_begin(&push, &worker, PD_KIND_PUSH);
    pd_push_add(&push, &plan, 0, 0, 1, 1, 1.0F);
    size_t push_count;
    uint8_t *push_frame = pd_push_bytes(&push, wire, &push_count);
    uint8_t *both = malloc(bytes + push_count);
    ck_assert_ptr_nonnull(both);
    memcpy(both, frames, bytes);
    memcpy(both + bytes, push_frame, push_count);
    pd_wire_send(wire, both, bytes + push_count);
    free(both);
    free(frames);
    free(push_frame);
    for (unsigned i = 0; i < MANY; i++) {
        const struct pd_answer *answer = pd_wire_read(wire);
        ck_assert_ptr_nonnull(answer);
        if (answer->kind == PD_KIND_ACK) {
            /* Nearly all LISTs are answered before it: those that may wait at a time are not. */
            ck_assert_uint_ge(i, MANY - PD_CONTROL_REQUESTS_MAX);
            ck_assert_int_eq(((const Paramd__Ack *)answer->header)->status[0], PARAMD_OK);
        }
    }
    ck_assert_ptr_nonnull(pd_wire_read(wire));
    pd_wire_expect_silence(wire);
}
END_TEST

START_TEST(who_hangs_up_in_a_flood_leaves_nothing_behind)
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    size_t bytes;
    uint8_t *frames = flood(MANY, PD_KIND_STAT, &stat.base, &bytes);
    struct pd_wire *second = pd_wire_open(rig, 0);
    wire->piece = bytes / 2; /* the rest comes when control has all it may have */
    pd_wire_send(wire, frames, bytes);
    pd_wire_close(wire);
    free(frames);
    pd_rig_settle(rig);
    ck_assert_double_eq(pd_counter(second, NULL, "connections"), 1);
}
END_TEST

enum { HASHED_BLOCKS = 100 };

/* All hashes of the tensor, page by page. */
static void hash_blocks(uint64_t hashes[HASHED_BLOCKS])
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    stat.model = "hashed";
    stat.hash = true;
    for (bool more = true; more;) {
        stat.request_id = pd_wire_request_id(wire);
        pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
        const Paramd__Stated *stated = pd_wire_expect(wire, PD_KIND_STATED);
        ck_assert_uint_gt(stated->n_block_hash, 0);
        ck_assert_uint_le(stated->n_block_hash, HASHED_BLOCKS - stat.first_block);
        memcpy(hashes + stat.first_block, stated->block_hash,
               stated->n_block_hash * sizeof *hashes);
        stat.first_block += stated->n_block_hash;
        more = stated->more;
    }
    ck_assert_uint_eq(stat.first_block, HASHED_BLOCKS);
}

/* The hashes after one push to block 70, and how many another push to it changes. */
static unsigned hash_on(uint32_t shards, uint64_t hashes[HASHED_BLOCKS])
{
    uint64_t after[HASHED_BLOCKS];
    unsigned changed = 0;
    rig = pd_rig_create(&(struct pd_rig_options){.shards = shards});
    plan = pd_plan_ledger("hashed", (HASHED_BLOCKS - 1) * 1024 + 5);
    plan.group[0].optimizer = "adam";
    worker = pd_worker_named(1);
    uint32_t shard = pd_plan_slot(&plan, 0, 70) % shards;
    wire = pd_wire_open(rig, shard);
    pd_join(wire, &worker, &plan);
    pd_push_one(wire, &worker, &plan, 0, 70, 0.5F);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    hash_blocks(hashes);
    pd_push_one(wire, &worker, &plan, 0, 70, 0.25F);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    hash_blocks(after);
    for (unsigned i = 0; i < HASHED_BLOCKS; i++) {
        changed += hashes[i] != after[i];
        ck_assert(i == 0 || hashes[i] != hashes[i - 1]);
    }
    pd_rig_destroy(rig);
    return changed;
}

START_TEST(equal_blocks_have_equal_hashes_on_any_number_of_shards)
{
    uint64_t on_one[HASHED_BLOCKS];
    uint64_t on_three[HASHED_BLOCKS];
    ck_assert_uint_eq(hash_on(1, on_one), 1);
    ck_assert_uint_eq(hash_on(3, on_three), 1);
    ck_assert_mem_eq(on_one, on_three, sizeof on_one);
}
END_TEST

START_TEST(hashes_of_blocks_that_do_not_exist_are_refused)
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    start();
    stat.hash = true;
    for (unsigned i = 0; i < 3; i++) {
        stat.request_id = pd_wire_request_id(wire);
        stat.model = i == 0 ? "" : "m";
        stat.first_tensor = i == 1 ? 1 : 0;
        stat.first_block = i == 2 ? 3 : 0;
        pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
        (void)pd_wire_expect_error(wire, PARAMD_INVALID);
    }
    stop();
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("control");
    TCase *floods = tcase_create("floods");
    tcase_add_checked_fixture(floods, start, stop);
    tcase_add_test(floods, a_flood_waits_with_its_sender_and_every_request_is_answered);
    tcase_add_test(floods, a_push_behind_a_flood_is_taken_in_its_turn);
    tcase_add_test(floods, who_hangs_up_in_a_flood_leaves_nothing_behind);
    suite_add_tcase(suite, floods);
    TCase *hashes = tcase_create("hashes");
    tcase_add_test(hashes, equal_blocks_have_equal_hashes_on_any_number_of_shards);
    tcase_add_test(hashes, hashes_of_blocks_that_do_not_exist_are_refused);
    suite_add_tcase(suite, hashes);
    return suite;
}
