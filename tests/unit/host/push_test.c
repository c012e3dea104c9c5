/* What a PUSH, PUSH_PULL or SKIP does: each push once, in order, each entry with its own result. */
#include <math.h>
#include <stdlib.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;
static struct pd_plan plan;
static uint32_t slot; /* of the first block */

static void start(void)
{
    rig = pd_rig_create(NULL);
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", 2000);
    slot = pd_plan_slot(&plan, 0, 0);
    pd_join(wire, &worker, &plan);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

/* One entry for block 0; its result. */
static const Paramd__Ack *push(uint64_t push_id, uint64_t base, float value)
{
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH);
    pd_push_add(&frame, &plan, 0, 0, push_id, base, value);
    pd_push_send(&frame, wire);
    const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
    ck_assert_uint_eq(ack->request_id, wire->request_id);
    ck_assert_uint_eq(ack->n_status, 1);
    ck_assert_uint_eq(ack->slot[0], slot);
    ck_assert_uint_eq(ack->push_id[0], push_id);
    return ack;
}

static void expect_weight(uint64_t version, float value)
{
    const Paramd__Blocks *blocks = pd_pull(wire, &worker, 0, 0, 0);
    ck_assert_uint_eq(blocks->version[0], version);
    ck_assert_uint_eq(wire->answer.payload_bytes, 4096);
    for (unsigned i = 0; i < 1024; i++) {
        ck_assert_float_eq(pd_values(wire)[i], value);
    }
}

START_TEST(a_push_is_applied_and_its_version_told)
{
    const Paramd__Ack *ack = push(1, 1, 2.5F);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
    ck_assert_uint_eq(ack->version[0], 2);
    expect_weight(2, 2.5F);
}
END_TEST

START_TEST(a_push_sent_twice_is_applied_once)
{
    (void)push(1, 1, 1);
    (void)push(2, 1, 1);
    const Paramd__Ack *ack = push(1, 1, 1);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
    ck_assert_uint_eq(ack->version[0], 3);
    expect_weight(3, 2);
    ck_assert_double_eq(pd_counter(wire, "m", "pushes_applied"), 2);
    ck_assert_double_eq(pd_counter(wire, "m", "pushes_duplicate"), 1);
}
END_TEST

START_TEST(a_gap_is_answered_with_the_expected_id_and_uses_none)
{
    (void)push(1, 1, 1);
    const Paramd__Ack *ack = push(3, 1, 1);
    ck_assert_int_eq(ack->status[0], PARAMD_EXPECTED);
    ck_assert_uint_eq(ack->version[0], 2);
    ck_assert_int_eq(push(2, 1, 1)->status[0], PARAMD_OK);
    ck_assert_int_eq(push(3, 1, 1)->status[0], PARAMD_OK);
    expect_weight(4, 3);
}
END_TEST

START_TEST(a_refused_push_uses_its_id_and_a_resend_learns_so)
{
    ck_assert_int_eq(push(1, 1, NAN)->status[0], PARAMD_NOT_FINITE);
    ck_assert_int_eq(push(1, 1, 1)->status[0], PARAMD_REFUSED);
    ck_assert_int_eq(push(2, 1, 1)->status[0], PARAMD_OK);
    ck_assert_int_eq(push(1, 1, 1)->status[0], PARAMD_REFUSED);
    expect_weight(2, 1);
    ck_assert_double_eq(pd_counter(wire, "m", "pushes_refused_not_finite"), 1);
}
END_TEST

START_TEST(refusals_are_remembered_for_64_ids)
{
    ck_assert_int_eq(push(1, 1, INFINITY)->status[0], PARAMD_NOT_FINITE);
    for (uint64_t id = 2; id <= 64; id++) {
        ck_assert_int_eq(push(id, 0, 1)->status[0], PARAMD_OK);
    }
    ck_assert_int_eq(push(1, 1, 1)->status[0], PARAMD_REFUSED);
    ck_assert_int_eq(push(65, 1, 1)->status[0], PARAMD_OK);
    ck_assert_int_eq(push(1, 1, 1)->status[0], PARAMD_OK);
    expect_weight(65, 64);
}
END_TEST

START_TEST(the_entries_of_a_frame_have_results_of_their_own)
{
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH);
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 1);
    pd_push_add(&frame, &plan, 0, 1, 1, 0, NAN);
    pd_push_add(&frame, &plan, 0, 0, 3, 0, 1);
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 1);
    pd_push_add(&frame, &plan, 0, 0, 2, 0, 1);
    pd_push_add(&frame, &plan, 0, 1, 2, 0, 1);
    pd_push_send(&frame, wire);
    const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
    static const int status[] = {PARAMD_OK, PARAMD_NOT_FINITE, PARAMD_EXPECTED,
                                 PARAMD_OK, PARAMD_OK,         PARAMD_OK};
    static const uint64_t version[] = {2, 1, 2, 2, 3, 2};
    ck_assert_uint_eq(ack->n_status, 6);
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_int_eq(ack->status[i], status[i]);
        ck_assert_uint_eq(ack->version[i], version[i]);
    }
    expect_weight(3, 2);
}
END_TEST

START_TEST(the_scale_multiplies_the_gradient)
{
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH);
    frame.header.scale = 0.25F;
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 8);
    pd_push_send(&frame, wire);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    expect_weight(2, 2);
}
END_TEST

START_TEST(gradients_may_be_bf16_or_f16)
{
    for (uint32_t dtype = PD_BF16; dtype <= PD_F16; dtype++) {
        struct pd_push frame;
        pd_push_begin(&frame, &worker, PD_KIND_PUSH);
        frame.header.dtype = dtype;
        pd_push_add(&frame, &plan, 0, 0, dtype, 0, 1.5F);
        pd_push_send(&frame, wire);
        const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
        ck_assert_int_eq(ack->status[0], PARAMD_OK);
    }
    expect_weight(3, 3);
}
END_TEST

START_TEST(the_weights_of_pushes_are_added_up_once)
{
    for (unsigned turn = 0; turn < 3; turn++) {
        struct pd_push frame;
        pd_push_begin(&frame, &worker, PD_KIND_PUSH);
        frame.header.weight = 32;
        pd_push_add(&frame, &plan, 0, 0, 1 + turn / 2, 0, 1); /* ids 1, 1, 2 */
        pd_push_send(&frame, wire);
        (void)pd_wire_expect(wire, PD_KIND_ACK);
    }
    ck_assert_double_eq(pd_counter(wire, "m", "weight"), 64);
}
END_TEST

START_TEST(staleness_is_counted_from_the_version_the_push_names)
{
    for (uint64_t id = 1; id <= 4; id++) {
        (void)push(id, 1, 1); /* at versions 1, 2, 3, 4: 0 to 3 behind */
    }
    (void)push(5, 0, 1); /* 0: none is known */
    (void)push(6, 900, 1);
    ck_assert_double_eq(pd_counter(wire, "m", "staleness_0"), 3);
    ck_assert_double_eq(pd_counter(wire, "m", "staleness_1"), 1);
    ck_assert_double_eq(pd_counter(wire, "m", "staleness_2"), 1);
    ck_assert_double_eq(pd_counter(wire, "m", "staleness_3"), 1);
    ck_assert_double_eq(pd_counter(wire, "m", "staleness_mean"), 1);
}
END_TEST

START_TEST(versions_of_another_generation_count_as_none)
{
    for (uint64_t id = 1; id <= 3; id++) {
        (void)push(id, 0, 1);
    }
    worker.generation++;
    (void)push(4, 1, 1);
    ck_assert_double_eq(pd_counter(wire, "m", "staleness_0"), 4);
}
END_TEST

START_TEST(a_push_above_the_staleness_bound_is_refused_for_good)
{
    pd_send_set(wire, "m", "g0", "staleness_max", 2, 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    for (uint64_t id = 1; id <= 3; id++) {
        (void)push(id, 0, 1);
    }
    ck_assert_int_eq(push(4, 1, 1)->status[0], PARAMD_TOO_STALE);
    ck_assert_int_eq(push(4, 4, 1)->status[0], PARAMD_REFUSED);
    ck_assert_int_eq(push(5, 2, 1)->status[0], PARAMD_OK);
    expect_weight(5, 4);
    ck_assert_double_eq(pd_counter(wire, "m", "pushes_refused_stale"), 1);
}
END_TEST

START_TEST(a_push_before_the_model_is_ready_uses_no_id)
{
    struct pd_plan waiting = pd_plan_ledger("w", 10);
    waiting.tensor[0].init = PARAMD__INITIALISER__CLIENT;
    struct pd_worker other = pd_worker_named(2);
    pd_join(wire, &other, &waiting);
    pd_push_one(wire, &other, &waiting, 0, 0, 1);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_READY);
    pd_send_init(wire, &other, &waiting, 0, 0, PARAMD__PART__WEIGHTS, 5, 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    other.ids[pd_plan_slot(&waiting, 0, 0)] = 0;
    pd_push_one(wire, &other, &waiting, 0, 0, 1);
    const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
    ck_assert_uint_eq(ack->version[0], 2);
}
END_TEST

START_TEST(an_entry_of_another_shard_is_moved_and_the_slot_map_follows)
{
    struct pd_rig *two = pd_rig_create(&(struct pd_rig_options){.shards = 2});
    struct pd_wire *even = pd_wire_open(two, slot % 2);
    struct pd_worker other = pd_worker_named(2);
    pd_join(even, &other, &plan);
    struct pd_push frame;
    pd_push_begin(&frame, &other, PD_KIND_PUSH);
    pd_push_add(&frame, &plan, 0, 1, 1, 0, 1);
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 1);
    pd_push_send(&frame, even);
    const Paramd__Ack *ack = pd_wire_expect(even, PD_KIND_ACK);
    ck_assert_int_eq(ack->status[0], PARAMD_MOVED);
    ck_assert_int_eq(ack->status[1], PARAMD_OK);
    const Paramd__Moved *moved = pd_wire_expect(even, PD_KIND_MOVED);
    ck_assert_uint_eq(moved->request_id, 0);
    ck_assert_uint_eq(moved->slot_map->shards, 2);
    pd_send_skip(even, &other, slot + 1, 1, 1);
    (void)pd_wire_expect(even, PD_KIND_MOVED);
    /* Its own shard still has the id: MOVED used none. */
    struct pd_wire *odd = pd_wire_open(two, (slot + 1) % 2);
    (void)pd_attach(odd, &other, "m", PARAMD__ATTACH_MODE__RESUME);
    pd_push_one(odd, &other, &plan, 0, 1, 1);
    ack = pd_wire_expect(odd, PD_KIND_ACK);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
    pd_rig_destroy(two);
}
END_TEST

START_TEST(push_pull_brings_the_values_of_final_results_only)
{
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH_PULL);
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 3);
    pd_push_add(&frame, &plan, 0, 1, 7, 0, 3); /* out of order: passing */
    pd_push_send(&frame, wire);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->request_id, wire->request_id);
    ck_assert_uint_eq(blocks->n_tensor, 1);
    ck_assert_uint_eq(blocks->block[0], 0);
    ck_assert_uint_eq(blocks->version[0], 2);
    ck_assert(blocks->last);
    ck_assert_float_eq(pd_values(wire)[1023], 3);
    pd_wire_expect_silence(wire);
}
END_TEST

START_TEST(push_pull_brings_values_for_refusals_and_duplicates_too)
{
    (void)push(1, 0, 3);
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH_PULL);
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 3);
    pd_push_add(&frame, &plan, 0, 1, 1, 0, NAN);
    pd_push_send(&frame, wire);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->n_tensor, 2);
    ck_assert_uint_eq(blocks->version[0], 2);
    ck_assert_uint_eq(blocks->version[1], 1);
    ck_assert_float_eq(pd_values(wire)[0], 3);
    ck_assert_float_eq(pd_values(wire)[1024], 0);
}
END_TEST

START_TEST(push_pull_without_a_final_result_ends_with_an_empty_frame)
{
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH_PULL);
    pd_push_add(&frame, &plan, 0, 0, 9, 0, 3);
    pd_push_send(&frame, wire);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->n_tensor, 0);
    ck_assert(blocks->last);
}
END_TEST

START_TEST(push_pull_answers_in_the_dtype_of_the_push)
{
    struct pd_push frame;
    pd_push_begin(&frame, &worker, PD_KIND_PUSH_PULL);
    frame.header.dtype = PD_BF16;
    pd_push_add(&frame, &plan, 0, 0, 1, 0, 1.0F);
    pd_push_send(&frame, wire);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->dtype, PD_BF16);
    ck_assert_uint_eq(wire->answer.payload_bytes, 2048);
    float value;
    pd_dtype_widen(PD_BF16, wire->answer.payload, &value, 1);
    ck_assert_float_eq(value, 1);
}
END_TEST

static void expect_skipped(enum paramd_status status, uint64_t last, uint64_t mask)
{
    const Paramd__Skipped *skipped = pd_wire_expect(wire, PD_KIND_SKIPPED);
    ck_assert_uint_eq(skipped->request_id, wire->request_id);
    ck_assert_int_eq(skipped->status, status);
    ck_assert_uint_eq(skipped->last, last);
    ck_assert_uint_eq(skipped->refused_mask, mask);
}

START_TEST(skip_uses_ids_up_only_from_the_next_one_on)
{
    pd_send_skip(wire, &worker, slot, 2, 3);
    expect_skipped(PARAMD_EXPECTED, 0, 0);
    pd_send_skip(wire, &worker, slot, 1, 2);
    expect_skipped(PARAMD_OK, 2, 3);
    ck_assert_int_eq(push(1, 0, 1)->status[0], PARAMD_REFUSED);
    ck_assert_int_eq(push(3, 0, 1)->status[0], PARAMD_OK);
    pd_send_skip(wire, &worker, slot, 3, 3);
    expect_skipped(PARAMD_ALREADY, 3, 6);
    pd_send_skip(wire, &worker, slot, 1, 9);
    expect_skipped(PARAMD_ALREADY, 3, 6);
    pd_send_skip(wire, &worker, slot, 4, 1000);
    expect_skipped(PARAMD_OK, 1000, UINT64_MAX);
    ck_assert_int_eq(push(1001, 0, 1)->status[0], PARAMD_OK);
    expect_weight(3, 2);
}
END_TEST

START_TEST(hyper_parameters_set_hold_from_the_next_push_on)
{
    (void)push(1, 0, 1);
    pd_send_set(wire, "m", "g0", "lr", 10, 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    (void)push(2, 0, 1);
    expect_weight(3, 11);
}
END_TEST

START_TEST(a_report_shows_in_the_counters)
{
    Paramd__Report report = PARAMD__REPORT__INIT;
    report.request_id = pd_wire_request_id(wire);
    report.model = worker.model;
    report.clock = 7;
    report.loss = 0.5;
    report.samples = 640;
    pd_send(wire, PD_KIND_REPORT, &report.base, NULL, 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    ck_assert_double_eq(pd_counter(wire, "m", "reported_loss_mean"), 0.5);
    ck_assert_double_eq(pd_counter(wire, "m", "reported_samples"), 640);
    ck_assert_double_eq(pd_counter(wire, "m", "reported_clock_max"), 7);
    ck_assert_double_eq(pd_counter(wire, "m", "workers_alive"), 1);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("push");
    TCase *once = tcase_create("once");
    tcase_add_checked_fixture(once, start, stop);
    tcase_add_test(once, a_push_is_applied_and_its_version_told);
    tcase_add_test(once, a_push_sent_twice_is_applied_once);
    tcase_add_test(once, a_gap_is_answered_with_the_expected_id_and_uses_none);
    tcase_add_test(once, a_refused_push_uses_its_id_and_a_resend_learns_so);
    tcase_add_test(once, refusals_are_remembered_for_64_ids);
    tcase_add_test(once, the_entries_of_a_frame_have_results_of_their_own);
    tcase_add_test(once, a_push_before_the_model_is_ready_uses_no_id);
    tcase_add_test(once, an_entry_of_another_shard_is_moved_and_the_slot_map_follows);
    tcase_add_test(once, skip_uses_ids_up_only_from_the_next_one_on);
    suite_add_tcase(suite, once);
    TCase *values = tcase_create("values");
    tcase_add_checked_fixture(values, start, stop);
    tcase_add_test(values, the_scale_multiplies_the_gradient);
    tcase_add_test(values, gradients_may_be_bf16_or_f16);
    tcase_add_test(values, the_weights_of_pushes_are_added_up_once);
    tcase_add_test(values, staleness_is_counted_from_the_version_the_push_names);
    tcase_add_test(values, versions_of_another_generation_count_as_none);
    tcase_add_test(values, a_push_above_the_staleness_bound_is_refused_for_good);
    tcase_add_test(values, hyper_parameters_set_hold_from_the_next_push_on);
    tcase_add_test(values, a_report_shows_in_the_counters);
    suite_add_tcase(suite, values);
    TCase *push_pull = tcase_create("push_pull");
    tcase_add_checked_fixture(push_pull, start, stop);
    tcase_add_test(push_pull, push_pull_brings_the_values_of_final_results_only);
    tcase_add_test(push_pull, push_pull_brings_values_for_refusals_and_duplicates_too);
    tcase_add_test(push_pull, push_pull_without_a_final_result_ends_with_an_empty_frame);
    tcase_add_test(push_pull, push_pull_answers_in_the_dtype_of_the_push);
    suite_add_tcase(suite, push_pull);
    return suite;
}
