/* What a PULL brings: whole blocks, of one version, in the parts and the dtype that were asked for,
 * and nothing that the reader has already. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;
static struct pd_plan plan; /* two small tensors, one large, with adam; and its twin of sgd */

static void start(void)
{
    rig = pd_rig_create(NULL);
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = (struct pd_plan){
        .name = "m",
        .block_elements = 8192,
        .groups = 2,
        .group = {{.optimizer = "adam"}, {.optimizer = "sgd"}},
        .tensors = 4,
        .tensor = {{100, 0, PARAMD__INITIALISER__CONSTANT, 1, 0, 0},
                   {100, 0, PARAMD__INITIALISER__CONSTANT, 2, 0, 0},
                   {20000, 0, PARAMD__INITIALISER__CONSTANT, 3, 0, 0},
                   {50, 1, PARAMD__INITIALISER__CONSTANT, 4, 0, 0}},
    };
    pd_join(wire, &worker, &plan);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

/* A PULL of these blocks of tensors; block i is of tensor tensors[i]. */
static void send_pull(const uint32_t *tensors, const uint64_t *blocks, const uint64_t *newer_than,
                      size_t count, unsigned parts, uint32_t dtype)
{
    Paramd__Pull pull = PARAMD__PULL__INIT;
    pull.request_id = pd_wire_request_id(wire);
    pull.model = worker.model;
    pull.generation = worker.generation;
    pull.parts = parts;
    pull.dtype = dtype;
    pull.n_tensor = pull.n_block = count;
    pull.tensor = (uint32_t *)(uintptr_t)tensors;
    pull.block = (uint64_t *)(uintptr_t)blocks;
    pull.newer_than = (uint64_t *)(uintptr_t)newer_than;
    pull.n_newer_than = newer_than != NULL ? count : 0;
    pd_send(wire, PD_KIND_PULL, &pull.base, NULL, 0);
}

START_TEST(small_blocks_are_packed_and_large_ones_come_alone)
{
    static const uint32_t tensors[] = {0, 1, 2, 2, 3, 2};
    static const uint64_t blocks[] = {0, 0, 0, 1, 0, 2};
    /* The last block of the large tensor is small again: it goes with its neighbour. */
    static const unsigned entries[] = {2, 1, 1, 2};
    static const size_t elements[] = {200, 8192, 8192, 50 + 3616};
    send_pull(tensors, blocks, NULL, 6, 0, PD_F32);
    for (unsigned i = 0, next = 0; i < 4; i++) {
        const Paramd__Blocks *frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
        ck_assert_uint_eq(frame->n_tensor, entries[i]);
        ck_assert_uint_eq(wire->answer.payload_bytes, elements[i] * 4);
        for (size_t j = 0; j < frame->n_tensor; j++, next++) {
            ck_assert_uint_eq(frame->tensor[j], tensors[next]);
            ck_assert_uint_eq(frame->block[j], blocks[next]);
            ck_assert_uint_eq(frame->version[j], 1);
        }
        ck_assert_int_eq(frame->last, i == 3);
    }
    pd_wire_expect_silence(wire);
}
END_TEST

START_TEST(parts_are_of_one_version_and_come_in_consecutive_frames)
{
    static const uint32_t tensors[] = {2, 0};
    static const uint64_t blocks[] = {1, 0};
    struct pd_wire *other = pd_wire_open(rig, 0);
    struct pd_worker second = pd_worker_named(2);
    (void)pd_attach(other, &second, "m", PARAMD__ATTACH_MODE__NEW);
    wire->appetite = 100; /* the first frame has begun */
    send_pull(tensors, blocks, NULL, 2, 7, PD_F32);
    pd_push_one(other, &second, &plan, 2, 1, 1);
    pd_push_one(other, &second, &plan, 0, 0, 1);
    wire->appetite = SIZE_MAX;
    pd_rig_settle(rig);
    for (unsigned i = 0; i < 6; i++) {
        const Paramd__Blocks *frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
        ck_assert_uint_eq(frame->n_tensor, 1);
        ck_assert_uint_eq(frame->tensor[0], tensors[i / 3]);
        ck_assert_int_eq(frame->part, (int)(i % 3));
        ck_assert_uint_eq(frame->version[0], i / 3 + 1);
        ck_assert_uint_eq(frame->step[0], i / 3);
        ck_assert_int_eq(frame->last, i == 5);
        float moment = i / 3 == 0 ? 0 : i == 4 ? 0.1F : 0.001F;
        if (i % 3 != 0) {
            ck_assert_float_eq_tol(pd_values(wire)[99], moment, 1e-6F);
        }
    }
}
END_TEST

START_TEST(blocks_that_the_reader_has_are_left_out)
{
    static const uint32_t tensors[] = {0, 2, 1, 2};
    static const uint64_t blocks[] = {0, 0, 0, 1};
    static const uint64_t newer_than[] = {1, 1, 1, 1};
    send_pull(tensors, blocks, newer_than, 4, 0, PD_F32);
    const Paramd__Blocks *frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(frame->n_tensor, 0);
    ck_assert(frame->last);
    pd_push_one(wire, &worker, &plan, 2, 0, 1);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    send_pull(tensors, blocks, newer_than, 4, 0, PD_F32);
    frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(frame->n_tensor, 1);
    ck_assert_uint_eq(frame->tensor[0], 2);
    ck_assert_uint_eq(frame->version[0], 2);
    ck_assert(frame->last);
    ck_assert_double_eq(pd_counter(wire, "m", "blocks_unchanged"), 7);
    ck_assert_double_eq(pd_counter(wire, "m", "blocks_pulled"), 1);
}
END_TEST

START_TEST(versions_of_another_generation_leave_nothing_out)
{
    worker.generation--;
    pd_send_pull(wire, &worker, 0, 0, 0, 1);
    const Paramd__Blocks *frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(frame->n_tensor, 1);
}
END_TEST

START_TEST(values_may_be_asked_for_in_bf16_or_f16)
{
    static const uint32_t tensors[] = {0, 2};
    static const uint64_t blocks[] = {0, 2};
    for (uint32_t dtype = PD_BF16; dtype <= PD_F16; dtype++) {
        send_pull(tensors, blocks, NULL, 2, 0, dtype);
        const Paramd__Blocks *frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
        ck_assert_uint_eq(frame->dtype, dtype);
        ck_assert_uint_eq(frame->n_tensor, 2);
        ck_assert_uint_eq(wire->answer.payload_bytes, 3716 * 2);
        float values[3716];
        pd_dtype_widen((enum pd_dtype)dtype, wire->answer.payload, values, 3716);
        ck_assert_float_eq(values[99], 1);
        ck_assert_float_eq(values[100], 3);
        send_pull(tensors + 1, blocks + 1, NULL, 1, 2, dtype);
        frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
        ck_assert_int_eq(frame->part, PARAMD__PART__MOMENT0);
        ck_assert_uint_eq(wire->answer.payload_bytes, 3616 * 2);
    }
}
END_TEST

START_TEST(a_part_that_a_block_does_not_have_is_refused)
{
    static const uint32_t tensors[] = {0, 3};
    static const uint64_t blocks[] = {0, 0};
    send_pull(tensors, blocks, NULL, 2, 3, PD_F32);
    (void)pd_wire_expect_error(wire, PARAMD_INVALID);
    send_pull(tensors, blocks, NULL, 1, 3, PD_F32);
    (void)pd_wire_expect(wire, PD_KIND_BLOCKS);
}
END_TEST

START_TEST(a_pull_before_the_model_is_ready_is_not_ready)
{
    struct pd_plan waiting = pd_plan_ledger("w", 10);
    waiting.tensor[0].init = PARAMD__INITIALISER__CLIENT;
    pd_join(wire, &worker, &waiting);
    pd_send_pull(wire, &worker, 0, 0, 0, 0);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_READY);
}
END_TEST

START_TEST(a_block_of_another_shard_is_moved)
{
    struct pd_rig *two = pd_rig_create(&(struct pd_rig_options){.shards = 2});
    struct pd_wire *own = pd_wire_open(two, pd_plan_slot(&plan, 0, 0) % 2);
    pd_join(own, &worker, &plan);
    pd_send_pull(own, &worker, 1, 0, 0, 0);
    const Paramd__Moved *moved = pd_wire_expect(own, PD_KIND_MOVED);
    ck_assert_uint_eq(moved->request_id, own->request_id);
    (void)pd_pull(own, &worker, 0, 0, 0);
    pd_rig_destroy(two);
}
END_TEST

START_TEST(many_answers_wait_at_a_time_and_come_in_order)
{
    static const uint32_t tensors[] = {2, 2, 0, 2};
    static const uint64_t blocks[] = {0, 1, 0, 2};
    enum { PULLS = 200 };
    uint64_t first = wire->request_id + 1;
    wire->appetite = 0;
    for (unsigned i = 0; i < PULLS; i++) {
        send_pull(tensors, blocks, NULL, 4, 0, PD_F32);
    }
    wire->appetite = SIZE_MAX;
    pd_rig_settle(rig);
    for (unsigned i = 0; i < PULLS; i++) {
        bool last = false;
        unsigned entries = 0;
        while (!last) {
            const Paramd__Blocks *frame = pd_wire_expect(wire, PD_KIND_BLOCKS);
            ck_assert_uint_eq(frame->request_id, first + i);
            entries += (unsigned)frame->n_tensor;
            last = frame->last;
        }
        ck_assert_uint_eq(entries, 4);
    }
}
END_TEST

START_TEST(payload_sums_are_sent_where_they_are_asked_for)
{
    struct pd_rig *with = pd_rig_create(&(struct pd_rig_options){.payload_sum = PD_SUM_ON});
    struct pd_wire *own = pd_wire_open(with, 0);
    pd_join(own, &worker, &plan);
    (void)pd_pull(own, &worker, 2, 0, 0); /* the reader has checked the sum */
    ck_assert_uint_eq(own->answer.flags & PD_FRAME_PAYLOAD_SUM, PD_FRAME_PAYLOAD_SUM);
    pd_rig_destroy(with);
    pd_join(wire, &worker, &plan);
    (void)pd_pull(wire, &worker, 2, 0, 0); /* auto, and a connection of this host */
    ck_assert_uint_eq(wire->answer.flags & PD_FRAME_PAYLOAD_SUM, 0);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("pull");
    TCase *pull = tcase_create("pull");
    tcase_add_checked_fixture(pull, start, stop);
    tcase_add_test(pull, small_blocks_are_packed_and_large_ones_come_alone);
    tcase_add_test(pull, parts_are_of_one_version_and_come_in_consecutive_frames);
    tcase_add_test(pull, blocks_that_the_reader_has_are_left_out);
    tcase_add_test(pull, versions_of_another_generation_leave_nothing_out);
    tcase_add_test(pull, values_may_be_asked_for_in_bf16_or_f16);
    tcase_add_test(pull, a_part_that_a_block_does_not_have_is_refused);
    tcase_add_test(pull, a_pull_before_the_model_is_ready_is_not_ready);
    tcase_add_test(pull, a_block_of_another_shard_is_moved);
    tcase_add_test(pull, many_answers_wait_at_a_time_and_come_in_order);
    tcase_add_test(pull, payload_sums_are_sent_where_they_are_asked_for);
    suite_add_tcase(suite, pull);
    return suite;
}
