/* Snapshots on command, but for the taking: who asks, who shares one, who is refused, and what a
 * pause holds. */
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

static const struct pd_wal_config config = {
    .log_id = 1, .segment_bytes = 1024 * 1024, .buffer_bytes = 1024 * 1024, .segments_max = 64};

static const struct pd_snapshot_result good = {.number = 7, .bytes = 1000, .us = 20, .held_us = 10};

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_wire *other;
static struct pd_worker worker;
static struct pd_plan plan;

static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){.shards = 2, .log = &config});
    wire = pd_wire_open(rig, 0);
    other = pd_wire_open(rig, 1);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

static void ask(struct pd_wire *on, bool pause)
{
    Paramd__Snapshot message = PARAMD__SNAPSHOT__INIT;
    message.request_id = pd_wire_request_id(on);
    message.pause = pause;
    pd_send(on, PD_KIND_SNAPSHOT, &message.base, NULL, 0);
}

/* The one that is wanted begins, and must be of this kind. */
static void begin(bool pause)
{
    bool with_pause;
    ck_assert(pd_control_host_wants_snapshot(rig->control, &with_pause));
    ck_assert(with_pause == pause);
    pd_control_host_snapshot_begun(rig->control, pause);
}

static void expect_none_wanted(void)
{
    bool pause;
    ck_assert(!pd_control_host_wants_snapshot(rig->control, &pause));
}

static void finish(const struct pd_snapshot_result *result)
{
    pd_control_host_snapshot_done(rig->control, result, rig->now_us);
    pd_rig_settle(rig);
}

START_TEST(who_asks_is_told_what_was_taken)
{
    expect_none_wanted();
    ask(wire, false);
    begin(false);
    pd_wire_expect_silence(wire);
    finish(&good);
    const Paramd__Snapshotted *answer = pd_wire_expect(wire, PD_KIND_SNAPSHOTTED);
    ck_assert_uint_eq(answer->request_id, wire->request_id);
    ck_assert_uint_eq(answer->number, good.number);
    ck_assert_uint_eq(answer->bytes, good.bytes);
    ck_assert_uint_eq(answer->us, good.us);
    ck_assert_uint_eq(answer->held_us, good.held_us);
    expect_none_wanted();
}
END_TEST

START_TEST(who_ask_before_it_begins_share_one_and_who_ask_later_get_the_next)
{
    ask(wire, false);
    ask(other, false);
    begin(false);
    ask(other, false);
    expect_none_wanted(); /* one at a time */
    finish(&good);
    (void)pd_wire_expect(wire, PD_KIND_SNAPSHOTTED);
    (void)pd_wire_expect(other, PD_KIND_SNAPSHOTTED);
    pd_wire_expect_silence(other);
    begin(false);
    finish(&good);
    (void)pd_wire_expect(other, PD_KIND_SNAPSHOTTED);
    pd_wire_expect_silence(wire);
}
END_TEST

START_TEST(one_that_was_due_anyway_is_for_those_who_wait_too)
{
    ask(wire, false);
    pd_control_host_snapshot_begun(rig->control, false);
    finish(&good);
    (void)pd_wire_expect(wire, PD_KIND_SNAPSHOTTED);
    expect_none_wanted();
}
END_TEST

START_TEST(with_and_without_a_pause_take_turns)
{
    ask(wire, false);
    ask(other, true);
    for (unsigned i = 0; i < 4; i++) {
        bool pause = i % 2 == 0;
        begin(pause);
        finish(&good);
        (void)pd_wire_expect(pause ? other : wire, PD_KIND_SNAPSHOTTED);
        pd_wire_expect_silence(pause ? wire : other);
        ask(pause ? other : wire, pause);
    }
}
END_TEST

START_TEST(one_that_fails_is_answered_with_the_reason)
{
    ask(wire, false);
    begin(false);
    finish(&(struct pd_snapshot_result){.status = PARAMD_DISK, .text = "no snapshot today"});
    ck_assert_str_eq(pd_wire_expect_error(wire, PARAMD_DISK), "no snapshot today");
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshots_failed"), 1);
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshots_taken"), 0);
}
END_TEST

START_TEST(status_tells_of_the_last_one)
{
    pd_control_host_snapshot_begun(rig->control, false);
    finish(&good);
    pd_rig_pass(rig, 3000000);
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshots_taken"), 1);
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshot_number"), 7);
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshot_bytes"), 1000);
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshot_seconds"), 20e-6);
    ck_assert_double_eq(pd_counter(wire, NULL, "snapshot_age_seconds"), 3);
}
END_TEST

START_TEST(only_so_many_may_wait)
{
    struct pd_wire *wires[PD_SNAPSHOT_ASKERS_MAX / PD_CONTROL_REQUESTS_MAX];
    for (unsigned i = 0; i < PD_SNAPSHOT_ASKERS_MAX; i++) {
        struct pd_wire **on = &wires[i / PD_CONTROL_REQUESTS_MAX];
        *on = i % PD_CONTROL_REQUESTS_MAX == 0 ? pd_wire_open(rig, 0) : *on;
        ask(*on, i % 3 == 0);
    }
    ask(wire, false);
    (void)pd_wire_expect_error(wire, PARAMD_BUSY);
    begin(true);
    finish(&good);
    ask(wire, false); /* there is room again */
    pd_wire_expect_silence(wire);
    pd_wire_close(wires[0]); /* nobody hears of what its askers get */
    begin(false);
    finish(&good);
    (void)pd_wire_expect(wire, PD_KIND_SNAPSHOTTED);
}
END_TEST

START_TEST(at_the_end_who_waits_is_sent_away)
{
    ask(wire, true);
    begin(true);
    ask(other, false);
    ask(other, true);
    pd_control_host_end_snapshots(rig->control);
    pd_rig_settle(rig);
    (void)pd_wire_expect_error(other, PARAMD_BUSY);
    (void)pd_wire_expect_error(other, PARAMD_BUSY);
    (void)pd_wire_expect_error(wire, PARAMD_BUSY);
    ask(other, false);
    (void)pd_wire_expect_error(other, PARAMD_BUSY);
    finish(&good);
    pd_wire_expect_silence(wire);
    expect_none_wanted();
}
END_TEST

START_TEST(a_daemon_that_keeps_nothing_refuses)
{
    struct pd_rig *forgetful = pd_rig_create(NULL);
    struct pd_wire *to = pd_wire_open(forgetful, 0);
    ask(to, false);
    ck_assert_ptr_nonnull(strstr(pd_wire_expect_error(to, PARAMD_UNSUPPORTED), "--data-dir"));
    pd_rig_destroy(forgetful);
}
END_TEST

/* ---- a pause ---- */

static void join(void)
{
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", 3000);
    pd_join(wire, &worker, &plan);
    (void)pd_attach(other, &worker, plan.name, PARAMD__ATTACH_MODE__RESUME);
}

START_TEST(in_a_pause_pushes_wait_and_all_else_goes_on)
{
    join();
    uint32_t shard = pd_plan_slot(&plan, 0, 0) % 2;
    struct pd_wire *to = shard == 0 ? wire : other;
    struct pd_wire *next = shard == 0 ? other : wire;
    pd_host_pause(rig->hosts[shard]);
    pd_push_one(to, &worker, &plan, 0, 0, 1);
    pd_send_pull(to, &worker, 0, 0, 0, 0);
    pd_wire_expect_silence(to); /* one that is held holds what came behind it */

    pd_push_one(next, &worker, &plan, 0, 1, 1);
    (void)pd_wire_expect(next, PD_KIND_ACK);
    struct pd_wire *fresh = pd_wire_open(rig, shard);
    struct pd_worker reader = pd_worker_named(2);
    (void)pd_create(fresh, &reader, &plan);
    (void)pd_attach(fresh, &reader, plan.name, PARAMD__ATTACH_MODE__NEW);
    ck_assert_uint_eq(pd_pull(fresh, &reader, 0, 0, 0)->version[0], 1);

    pd_host_resume(rig->hosts[shard], rig->now_us);
    pd_rig_settle(rig);
    (void)pd_wire_expect(to, PD_KIND_ACK);
    const Paramd__Blocks *blocks = pd_wire_expect(to, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->version[0], 2);
}
END_TEST

START_TEST(a_pause_holds_whatever_changes_blocks)
{
    join();
    uint32_t slot = pd_plan_slot(&plan, 0, 0);
    uint32_t shard = slot % 2;
    struct pd_wire *to = shard == 0 ? wire : other;
    for (unsigned i = 0; i < 3; i++) {
        pd_host_pause(rig->hosts[shard]);
        if (i == 0) {
            pd_send_skip(to, &worker, slot, 1, 1);
            worker.ids[slot] = 1;
        } else if (i == 1) {
            pd_send_init(to, &worker, &plan, 0, 0, PARAMD__PART__WEIGHTS, 1, 0);
        } else {
            struct pd_push push;
            pd_push_begin(&push, &worker, PD_KIND_PUSH_PULL);
            pd_push_add(&push, &plan, 0, 0, ++worker.ids[slot], 1, 1);
            pd_push_send(&push, to);
        }
        pd_wire_expect_silence(to);
        pd_host_resume(rig->hosts[shard], rig->now_us);
        pd_rig_settle(rig);
        ck_assert_ptr_nonnull(pd_wire_read(to));
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("snapshots");
    TCase *askers = tcase_create("askers");
    tcase_add_checked_fixture(askers, start, stop);
    tcase_add_test(askers, who_asks_is_told_what_was_taken);
    tcase_add_test(askers, who_ask_before_it_begins_share_one_and_who_ask_later_get_the_next);
    tcase_add_test(askers, one_that_was_due_anyway_is_for_those_who_wait_too);
    tcase_add_test(askers, with_and_without_a_pause_take_turns);
    tcase_add_test(askers, one_that_fails_is_answered_with_the_reason);
    tcase_add_test(askers, status_tells_of_the_last_one);
    tcase_add_test(askers, only_so_many_may_wait);
    tcase_add_test(askers, at_the_end_who_waits_is_sent_away);
    tcase_add_test(askers, a_daemon_that_keeps_nothing_refuses);
    suite_add_tcase(suite, askers);
    TCase *pause = tcase_create("pause");
    tcase_add_checked_fixture(pause, start, stop);
    tcase_add_test(pause, in_a_pause_pushes_wait_and_all_else_goes_on);
    tcase_add_test(pause, a_pause_holds_whatever_changes_blocks);
    suite_add_tcase(suite, pause);
    return suite;
}
