/* What control decides leaves when its log has it: records in order, answers behind them, and
 * refusals where there is no room. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { SEGMENT_BYTES = 256 * 1024, BUFFER_BYTES = 64 * 1024, SEGMENTS_MAX = 4, WIRES = 40 };

static const struct pd_wal_config config = {.log_id = 1,
                                            .segment_bytes = SEGMENT_BYTES,
                                            .buffer_bytes = BUFFER_BYTES,
                                            .segments_max = SEGMENTS_MAX};

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_wire *other;
static struct pd_worker worker;
static struct pd_plan plan;

/* The daemon has only just begun: nothing of control's log is on the disk. */
static void begin(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){.shards = 2, .log = &config});
    rig->slow_control_disk = true;
    wire = pd_wire_open(rig, 0);
    other = pd_wire_open(rig, 1);
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", 2000);
}

static void start(void)
{
    begin();
    rig->slow_control_disk = false;
    pd_join(wire, &worker, &plan);
    rig->slow_control_disk = true;
    ck_assert(pd_control_host_idle(rig->control));
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

static void take(enum pd_wal_job_kind kind)
{
    struct pd_wal_job job;
    ck_assert(pd_control_host_take_job(rig->control, &job));
    ck_assert_int_eq(job.kind, kind);
    pd_rig_settle(rig);
}

static void done(enum paramd_status status)
{
    pd_control_host_job_done(rig->control, status, rig->now_us);
    pd_rig_settle(rig);
}

static void write_batch(void)
{
    take(PD_WAL_WRITE);
    done(PARAMD_OK);
}

static void run_jobs(enum paramd_status prepared)
{
    struct pd_wal_job job;
    while (pd_control_host_take_job(rig->control, &job)) {
        done(job.kind == PD_WAL_PREPARE ? prepared : PARAMD_OK);
    }
}

static void set(struct pd_wire *on, uint64_t clock)
{
    pd_send_set(on, plan.name, "g0", "lr", 1 / (double)(1 + clock), clock);
}

static void list(struct pd_wire *on)
{
    Paramd__List message = PARAMD__LIST__INIT;
    message.request_id = pd_wire_request_id(on);
    pd_send(on, PD_KIND_LIST, &message.base, NULL, 0);
}

START_TEST(nothing_is_decided_before_a_start_is_in_the_log)
{
    ck_assert(!pd_control_host_idle(rig->control));
    list(wire);
    pd_wire_expect_silence(wire);
    take(PD_WAL_PREPARE);
    pd_wire_expect_silence(wire);
    done(PARAMD_OK);
    pd_wire_expect_silence(wire);
    write_batch();
    (void)pd_wire_expect(wire, PD_KIND_LISTED);
    ck_assert(pd_control_host_idle(rig->control));
}
END_TEST

START_TEST(a_model_is_answered_when_its_record_is_durable)
{
    struct pd_plan late = pd_plan_ledger("late", 10);
    pd_send_create(wire, &worker, &late);
    ck_assert(!pd_control_host_idle(rig->control));
    pd_wire_expect_silence(wire);
    take(PD_WAL_WRITE);
    pd_wire_expect_silence(wire);
    done(PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_CREATED);
}
END_TEST

START_TEST(decisions_leave_in_order_each_with_its_batch)
{
    uint64_t told = pd_host_last_lsn(rig->hosts[0]); /* a shard records what it is told */
    set(wire, 1);
    take(PD_WAL_WRITE);
    set(other, 2);
    list(wire);
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), told);
    done(PARAMD_OK);
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), told + 1);
    /* The answers stand behind the second decision, which came before all shards had the first. */
    pd_wire_expect_silence(wire);
    pd_wire_expect_silence(other);
    write_batch();
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), told + 2);
    (void)pd_wire_expect(wire, PD_KIND_LISTED);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    (void)pd_wire_expect(other, PD_KIND_DONE);
}
END_TEST

/* Decides until the log has no room; returns how often it could. */
static uint64_t fill_log(uint64_t clock)
{
    for (uint64_t taken = 0;; taken++) {
        ck_assert_uint_lt(taken, 1000);
        set(wire, ++clock);
        run_jobs(PARAMD_RESOURCE_EXHAUSTED);
        const struct pd_answer *answer = pd_wire_read(wire);
        ck_assert_ptr_nonnull(answer);
        if (answer->kind == PD_KIND_ERROR) {
            const Paramd__Error *error = (const Paramd__Error *)answer->header;
            ck_assert_int_eq(error->status, PARAMD_RESOURCE_EXHAUSTED);
            return taken;
        }
    }
}

START_TEST(a_full_disk_refuses_decisions_and_answers_questions)
{
    uint64_t taken = fill_log(0);
    ck_assert_uint_gt(taken, 3);
    list(wire);
    (void)pd_wire_expect(wire, PD_KIND_LISTED);
    struct pd_plan late = pd_plan_ledger("late", 10);
    pd_send_create(wire, &worker, &late);
    (void)pd_wire_expect_error(wire, PARAMD_RESOURCE_EXHAUSTED);
    take(PD_WAL_PREPARE); /* the refusals have asked for it */
    done(PARAMD_OK);
    set(wire, 1000);
    write_batch();
    (void)pd_wire_expect(wire, PD_KIND_DONE);
}
END_TEST

/* From each of so many connections as many decisions as it may ask for; of all wires: more than the
 * log's buffer takes. */
static void flood(struct pd_wire *wires[WIRES], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        wires[i] = pd_wire_open(rig, i % 2);
    }
    for (unsigned round = 0; round < PD_CONTROL_REQUESTS_MAX; round++) {
        for (unsigned i = 0; i < count; i++) {
            pd_send_set(wires[i], plan.name, "g0", "lr", 1.0 / (1 + round * WIRES + i), 0);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pd_wire_expect_silence(wires[i]);
    }
}

START_TEST(a_busy_log_queues_what_shards_ask)
{
    struct pd_wire *wires[WIRES];
    unsigned answered = 0;
    flood(wires, WIRES);
    run_jobs(PARAMD_OK);
    for (unsigned i = 0; i < WIRES; i++) {
        while (pd_wire_read(wires[i]) != NULL) {
            ck_assert_uint_eq(wires[i]->answer.kind, PD_KIND_DONE);
            answered++;
        }
    }
    ck_assert_uint_eq(answered, PD_CONTROL_REQUESTS_MAX * WIRES);
    ck_assert(pd_control_host_idle(rig->control));
}
END_TEST

/* CREATE of a small model whose definition has so many bytes more, in a field that nobody knows. */
static void create_long(size_t more)
{
    struct pd_plan late = pd_plan_ledger("late", 10);
    size_t count = 0;
    uint8_t *bytes = pd_plan_bytes(&late, &count);
    uint8_t *definition = calloc(1, count + 5 + more);
    ck_assert_ptr_nonnull(definition);
    memcpy(definition, bytes, count);
    const uint8_t field[5] = {0xfa, 0x07, (uint8_t)(0x80 | (more & 0x7f)),
                              (uint8_t)(0x80 | (more >> 7 & 0x7f)), (uint8_t)(more >> 14)};
    memcpy(definition + count, field, sizeof field);
    Paramd__Create create = PARAMD__CREATE__INIT;
    create.request_id = pd_wire_request_id(wire);
    create.model = (char *)(uintptr_t)late.name;
    create.session.data = worker.bits;
    create.session.len = PD_SESSION_BYTES;
    create.nonce = worker.nonce;
    pd_send(wire, PD_KIND_CREATE, &create.base, definition, count + sizeof field + more);
    free(definition);
    free(bytes);
}

START_TEST(a_definition_larger_than_the_log_takes_is_refused)
{
    create_long(BUFFER_BYTES);
    (void)pd_wire_expect_error(wire, PARAMD_RESOURCE_EXHAUSTED);
    create_long(BUFFER_BYTES / 2);
    pd_wire_expect_silence(wire);
    write_batch();
    (void)pd_wire_expect(wire, PD_KIND_CREATED);
}
END_TEST

START_TEST(what_waits_for_room_is_not_overtaken)
{
    struct pd_wire *wires[WIRES];
    rig->slow_disk = true; /* the shards' answers come when the log is busy */
    create_long(BUFFER_BYTES / 2);
    flood(wires, WIRES / 4);
    rig->slow_disk = false;
    pd_rig_settle(rig);
    list(wire); /* would find room for itself */
    pd_wire_expect_silence(wire);
    run_jobs(PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_CREATED);
    (void)pd_wire_expect(wire, PD_KIND_LISTED);
}
END_TEST

START_TEST(a_failed_job_lets_nothing_leave)
{
    set(wire, 1);
    take(PD_WAL_WRITE);
    set(other, 2);
    done(PARAMD_DISK);
    list(wire);
    pd_rig_pass(rig, 1000000);
    pd_wire_expect_silence(wire);
    pd_wire_expect_silence(other);
    ck_assert(!pd_control_host_idle(rig->control));
    ck_assert_int_eq(pd_control_host_end_log(rig->control), PARAMD_DISK);
}
END_TEST

START_TEST(the_log_ends_once_and_nothing_is_decided_after_it)
{
    set(wire, 1);
    write_batch();
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    ck_assert_int_eq(pd_control_host_end_log(rig->control), PARAMD_OK);
    ck_assert(!pd_control_host_idle(rig->control));
    write_batch();
    ck_assert(pd_control_host_idle(rig->control));
    set(wire, 2);
    pd_rig_pass(rig, 1000000);
    pd_wire_expect_silence(wire);
    struct pd_wal_job job;
    ck_assert(!pd_control_host_take_job(rig->control, &job));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("control_log");
    TCase *first = tcase_create("start");
    tcase_add_checked_fixture(first, begin, stop);
    tcase_add_test(first, nothing_is_decided_before_a_start_is_in_the_log);
    suite_add_tcase(suite, first);
    TCase *cases = tcase_create("running");
    tcase_add_checked_fixture(cases, start, stop);
    tcase_add_test(cases, a_model_is_answered_when_its_record_is_durable);
    tcase_add_test(cases, decisions_leave_in_order_each_with_its_batch);
    tcase_add_test(cases, a_full_disk_refuses_decisions_and_answers_questions);
    tcase_add_test(cases, a_busy_log_queues_what_shards_ask);
    tcase_add_test(cases, a_definition_larger_than_the_log_takes_is_refused);
    tcase_add_test(cases, what_waits_for_room_is_not_overtaken);
    tcase_add_test(cases, a_failed_job_lets_nothing_leave);
    tcase_add_test(cases, the_log_ends_once_and_nothing_is_decided_after_it);
    suite_add_tcase(suite, cases);
    return suite;
}
