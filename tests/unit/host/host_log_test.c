/* What leaves a host before the log has it, and what does not: answers, values and messages that
 * wait, requests and messages without room, and a disk that is full or fails. */
#include <math.h>
#include <string.h>

#include "server/host_state.h"
#include "server/storage/wal_files.h"
#include "server/storage/wal_reader.h"
#include "tests/support/check_main.h"
#include "tests/support/sim_disk.h"
#include "tests/support/worker.h"

enum { SEGMENT_BYTES = 256 * 1024, BUFFER_BYTES = 64 * 1024, SEGMENTS_MAX = 4 };

static const struct pd_wal_config config = {.log_id = 1,
                                            .segment_bytes = SEGMENT_BYTES,
                                            .buffer_bytes = BUFFER_BYTES,
                                            .segments_max = SEGMENTS_MAX};

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_wire *other;
static struct pd_wire *plain;
static struct pd_worker worker;       /* of the logged model, on wire */
static struct pd_worker other_worker; /* of the same, on other */
static struct pd_worker plain_worker; /* of the model at `applied`, on plain */
static struct pd_plan plan;
static struct pd_plan plain_plan;
static uint64_t lsn; /* the last one when the test begins: durable */

/* Three connections, and from here on the disk's jobs are the test's. */
static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){.log = &config});
    wire = pd_wire_open(rig, 0);
    other = pd_wire_open(rig, 0);
    plain = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    other_worker = pd_worker_named(2);
    plain_worker = pd_worker_named(3);
    plan = pd_plan_ledger("logged", 2000);
    plan.logged = true;
    plain_plan = pd_plan_ledger("applied", 2000);
    pd_join(wire, &worker, &plan);
    pd_join(other, &other_worker, &plan);
    pd_join(plain, &plain_worker, &plain_plan);
    rig->slow_disk = true;
    lsn = pd_host_last_lsn(rig->hosts[0]);
    ck_assert_uint_eq(pd_host_durable_lsn(rig->hosts[0]), lsn);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

/* ---- jobs ---- */

static void take(enum pd_wal_job_kind kind)
{
    struct pd_wal_job job;
    ck_assert(pd_host_take_job(rig->hosts[0], &job));
    ck_assert_int_eq(job.kind, kind);
    pd_rig_settle(rig);
}

static void done(enum paramd_status status)
{
    pd_host_job_done(rig->hosts[0], status, rig->now_us);
    pd_rig_settle(rig);
}

static void write_batch(void)
{
    take(PD_WAL_WRITE);
    done(PARAMD_OK);
}

/* All jobs that there are; a new file ends so. */
static void run_jobs(enum paramd_status prepared)
{
    struct pd_wal_job job;
    while (pd_host_take_job(rig->hosts[0], &job)) {
        done(job.kind == PD_WAL_PREPARE ? prepared : PARAMD_OK);
    }
}

/* ---- requests ---- */

static void push(void)
{
    pd_push_one(wire, &worker, &plan, 0, 0, 1);
}

static void push_id(struct pd_wire *on, const struct pd_worker *by, enum pd_kind kind, uint64_t id,
                    float value)
{
    struct pd_push frame;
    pd_push_begin(&frame, by, kind);
    pd_push_add(&frame, &plan, 0, 0, id, 0, value);
    pd_push_send(&frame, on);
}

static void ping(struct pd_wire *on)
{
    Paramd__Ping message = PARAMD__PING__INIT;
    message.request_id = pd_wire_request_id(on);
    pd_send(on, PD_KIND_PING, &message.base, NULL, 0);
}

static void expect_ack(struct pd_wire *on, uint64_t id, enum paramd_status status)
{
    const Paramd__Ack *ack = pd_wire_expect(on, PD_KIND_ACK);
    ck_assert_uint_eq(ack->push_id[0], id);
    ck_assert_int_eq(ack->status[0], status);
}

/* ---- answers ---- */

START_TEST(an_ack_leaves_when_its_record_is_durable)
{
    push();
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), lsn + 1);
    pd_wire_expect_silence(wire);
    take(PD_WAL_WRITE);
    pd_wire_expect_silence(wire);
    done(PARAMD_OK);
    ck_assert_uint_eq(pd_host_durable_lsn(rig->hosts[0]), lsn + 1);
    expect_ack(wire, 1, PARAMD_OK);
}
END_TEST

START_TEST(answers_keep_their_order_and_wait_for_the_batch_that_has_their_records)
{
    push();
    take(PD_WAL_WRITE);
    ping(wire);
    push();
    ping(wire);
    push();
    ping(wire);
    pd_wire_expect_silence(wire);
    done(PARAMD_OK);
    expect_ack(wire, 1, PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_PONG);
    pd_wire_expect_silence(wire);
    write_batch();
    expect_ack(wire, 2, PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_PONG);
    expect_ack(wire, 3, PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_PONG);
}
END_TEST

/* The bytes of answers are moved to the front of their buffer while some of them are held. */
START_TEST(a_reader_of_few_bytes_gets_no_byte_too_many)
{
    push();
    take(PD_WAL_WRITE);
    push();
    wire->appetite = 0;
    done(PARAMD_OK);
    wire->appetite = 5;
    wire->poked = true;
    for (unsigned i = 0; i < 100; i++) {
        ping(wire);
    }
    wire->appetite = SIZE_MAX;
    wire->poked = true;
    pd_rig_settle(rig);
    expect_ack(wire, 1, PARAMD_OK);
    pd_wire_expect_silence(wire);
    ck_assert(pd_frame_reader_idle(&wire->reader));
    write_batch();
    expect_ack(wire, 2, PARAMD_OK);
    for (unsigned i = 0; i < 100; i++) {
        (void)pd_wire_expect(wire, PD_KIND_PONG);
    }
}
END_TEST

START_TEST(duplicates_gaps_and_refusals_wait_too)
{
    push();
    write_batch();
    expect_ack(wire, 1, PARAMD_OK);
    push_id(wire, &worker, PD_KIND_PUSH, 1, 1);
    expect_ack(wire, 1, PARAMD_OK); /* all is durable */
    static const struct {
        uint64_t id;
        enum paramd_status status;
        float value;
    } cases[] = {{1, PARAMD_OK, 1}, {3, PARAMD_EXPECTED, 1}, {2, PARAMD_NOT_FINITE, NAN}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        push_id(other, &other_worker, PD_KIND_PUSH, i + 1, 1);
        push_id(wire, &worker, PD_KIND_PUSH, cases[i].id, cases[i].value);
        pd_wire_expect_silence(wire);
        write_batch();
        expect_ack(wire, cases[i].id, cases[i].status);
        expect_ack(other, i + 1, PARAMD_OK);
    }
}
END_TEST

START_TEST(a_model_at_applied_neither_waits_nor_is_recorded)
{
    push();
    pd_push_one(plain, &plain_worker, &plain_plan, 0, 0, 1);
    expect_ack(plain, 1, PARAMD_OK);
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), lsn + 1);
    pd_wire_expect_silence(wire);
}
END_TEST

START_TEST(values_of_a_push_pull_wait_and_those_of_a_pull_elsewhere_do_not)
{
    push_id(wire, &worker, PD_KIND_PUSH_PULL, 1, 1);
    take(PD_WAL_WRITE);
    push_id(wire, &worker, PD_KIND_PUSH_PULL, 2, 1);
    pd_wire_expect_silence(wire);
    ck_assert(!pd_host_values_wait(wire->conn));
    ck_assert_uint_eq(pd_pull(other, &other_worker, 0, 0, 0)->version[0], 3);
    done(PARAMD_OK);
    expect_ack(wire, 1, PARAMD_OK);
    const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->version[0], 3);
    pd_wire_expect_silence(wire);
    write_batch();
    expect_ack(wire, 2, PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_BLOCKS);
}
END_TEST

START_TEST(values_that_need_not_wait_leave_behind_an_answer_that_waits_for_another_model)
{
    struct pd_worker both = pd_worker_named(4);
    rig->slow_disk = false;
    pd_join(wire, &both, &plain_plan);
    rig->slow_disk = true;
    push();
    take(PD_WAL_WRITE);
    struct pd_push frame;
    pd_push_begin(&frame, &both, PD_KIND_PUSH_PULL);
    pd_push_add(&frame, &plain_plan, 0, 0, 1, 0, 1);
    pd_push_send(&frame, wire);
    pd_wire_expect_silence(wire);
    done(PARAMD_OK);
    expect_ack(wire, 1, PARAMD_OK); /* of the logged model */
    expect_ack(wire, 1, PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_BLOCKS);
}
END_TEST

START_TEST(who_leaves_while_its_answer_is_held_disturbs_nobody)
{
    push();
    push_id(other, &other_worker, PD_KIND_PUSH_PULL, 1, 1);
    pd_wire_close(wire);
    take(PD_WAL_WRITE);
    done(PARAMD_OK);
    expect_ack(other, 1, PARAMD_OK);
    (void)pd_wire_expect(other, PD_KIND_BLOCKS);
}
END_TEST

START_TEST(what_a_shard_tells_control_waits_for_its_record)
{
    pd_send_set(wire, plan.name, "g0", "lr", 0.5, 1);
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), lsn + 1);
    /* What need not wait stands behind it: control hears of things in their order. */
    Paramd__Stat stat = PARAMD__STAT__INIT;
    stat.request_id = pd_wire_request_id(other);
    pd_send(other, PD_KIND_STAT, &stat.base, NULL, 0);
    pd_wire_expect_silence(other);
    pd_wire_expect_silence(wire);
    write_batch();
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    (void)pd_wire_expect(other, PD_KIND_STATED);
}
END_TEST

/* ---- what was recorded ---- */

static struct pd_sim_disk *disk;
static struct pd_wal_files files;

static enum paramd_status do_job(uint32_t shard, const struct pd_wal_job *job)
{
    return shard == PD_RIG_CONTROL ? PARAMD_OK : pd_wal_files_run(&files, job).status;
}

static const struct pd_definition *find(void *context, uint64_t model)
{
    (void)context;
    return pd_control_definition(pd_control_host_control(rig->control), model);
}

/* A shard made of what the log has. */
static struct pd_shard *replayed(const struct pd_host_options *options, uint64_t until_lsn)
{
    static _Alignas(64) uint8_t payload[PD_PAYLOAD_BYTES_MAX];
    const struct pd_definitions definitions = {.find = find};
    struct pd_shard_options shard_options;
    struct pd_shard *shard;
    struct pd_arena arena;
    struct pd_wal_reader reader;
    struct pd_wal_record record;
    enum paramd_status status;
    pd_host_shard_options(options, &shard_options);
    ck_assert(shard_options.records);
    ck_assert_int_eq(pd_shard_create(&shard_options, &shard), PARAMD_OK);
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    ck_assert_int_eq(
        pd_wal_reader_init(&reader, pd_sim_disk_of(disk), "log", config.log_id, 1, until_lsn),
        PARAMD_OK);
    while ((status = pd_wal_reader_next(&reader, &record)) == PARAMD_OK) {
        if (record.payload_bytes > 0) {
            memcpy(payload, record.payload, record.payload_bytes);
        }
        const struct pd_logged logged = {.kind = record.kind,
                                         .header = record.header,
                                         .header_count = record.header_bytes,
                                         .payload = payload,
                                         .payload_count = record.payload_bytes};
        const char *text = "";
        status = pd_shard_replay(shard, &logged, &definitions, &arena, &text);
        ck_assert_msg(status == PARAMD_OK, "%s: %s", pd_record_name(record.kind), text);
    }
    ck_assert_int_eq(status, PARAMD_NOT_FOUND);
    ck_assert_uint_eq(reader.last_lsn, until_lsn);
    pd_wal_reader_deinit(&reader);
    pd_arena_deinit(&arena);
    return shard;
}

START_TEST(a_host_goes_on_with_what_the_log_of_another_has)
{
    disk = pd_sim_disk_create(1);
    pd_wal_files_init(&files, pd_sim_disk_of(disk), "log");
    rig = pd_rig_create(&(struct pd_rig_options){.log = &config});
    rig->do_job = do_job;
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("logged", 2000);
    plan.logged = true;
    plan.tensors = 2;
    plan.tensor[1].elements = 100;
    plan.tensor[1].init = PARAMD__INITIALISER__CLIENT;
    (void)pd_create(wire, &worker, &plan);
    (void)pd_attach(wire, &worker, plan.name, PARAMD__ATTACH_MODE__NEW);
    pd_send_init(wire, &worker, &plan, 1, 0, PARAMD__PART__WEIGHTS, 3, 7);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_rig_pass(rig, 1);
    for (uint64_t id = 1; id <= 60; id++) {
        enum paramd_status status = id % 7 == 0 ? PARAMD_NOT_FINITE : PARAMD_OK;
        push_id(wire, &worker, PD_KIND_PUSH, id, status == PARAMD_OK ? 1.5F : NAN);
        expect_ack(wire, id, status);
    }
    pd_send_skip(wire, &worker, pd_plan_slot(&plan, 0, 0), 61, 70);
    (void)pd_wire_expect(wire, PD_KIND_SKIPPED);
    pd_send_set(wire, plan.name, "g0", "lr", 0.25, 1);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    struct pd_host *host = rig->hosts[0];
    uint64_t hash = pd_shard_hash(host->shard, worker.model);
    struct pd_host_options options = host->options;
    options.log = &config;
    options.recovered = replayed(&options, pd_host_last_lsn(host));
    ck_assert_uint_ne(hash, 0);
    ck_assert_int_eq(pd_host_create(&options, &host), PARAMD_OK);
    ck_assert_uint_eq(pd_shard_hash(host->shard, worker.model), hash);
    pd_host_destroy(host);
    pd_rig_destroy(rig);
    pd_wal_files_deinit(&files);
    pd_sim_disk_destroy(disk);
}
END_TEST

/* ---- room ---- */

START_TEST(a_busy_log_holds_pushes_and_goes_on_with_them)
{
    enum { PUSHES = 40 };
    for (unsigned i = 0; i < PUSHES; i++) {
        push();
    }
    uint64_t taken = pd_host_last_lsn(rig->hosts[0]) - lsn;
    ck_assert_uint_lt(taken, PUSHES);
    pd_push_one(plain, &plain_worker, &plain_plan, 0, 0, 1);
    expect_ack(plain, 1, PARAMD_OK);
    ck_assert_double_eq(pd_counter(plain, NULL, "frames_held"), 1);
    take(PD_WAL_WRITE);
    pd_wire_expect_silence(wire);
    done(PARAMD_OK);
    for (uint64_t id = 1; id <= taken; id++) {
        expect_ack(wire, id, PARAMD_OK);
    }
    pd_wire_expect_silence(wire);
    run_jobs(PARAMD_OK);
    for (uint64_t id = taken + 1; id <= PUSHES; id++) {
        expect_ack(wire, id, PARAMD_OK);
    }
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), lsn + PUSHES);
}
END_TEST

START_TEST(a_busy_log_gathers_on_as_soon_as_its_batch_is_being_written)
{
    enum { PUSHES = 40 };
    for (unsigned i = 0; i < PUSHES; i++) {
        push();
    }
    uint64_t taken = pd_host_last_lsn(rig->hosts[0]);
    ck_assert_uint_lt(taken, lsn + PUSHES);
    take(PD_WAL_WRITE);
    ck_assert_uint_gt(pd_host_last_lsn(rig->hosts[0]), taken);
    ck_assert_uint_eq(pd_host_durable_lsn(rig->hosts[0]), lsn);
}
END_TEST

/* Pushes until the log has no room; what it took is acknowledged. Returns how many those were. */
static uint64_t fill_log(enum paramd_status prepared)
{
    for (uint64_t taken = 0;; taken++) {
        ck_assert_uint_lt(taken, 1000);
        push();
        run_jobs(prepared);
        const struct pd_answer *answer = pd_wire_read(wire);
        ck_assert_ptr_nonnull(answer);
        if (answer->kind == PD_KIND_ERROR) {
            const Paramd__Error *error = (const Paramd__Error *)answer->header;
            ck_assert_int_eq(error->status, PARAMD_RESOURCE_EXHAUSTED);
            worker.ids[pd_plan_slot(&plan, 0, 0)]--;
            return taken;
        }
        ck_assert_uint_eq(answer->kind, PD_KIND_ACK);
    }
}

START_TEST(a_full_disk_refuses_pushes_and_nothing_else_and_goes_on_by_itself)
{
    uint64_t taken = fill_log(PARAMD_RESOURCE_EXHAUSTED);
    ck_assert_uint_gt(taken, 10);
    push_id(other, &other_worker, PD_KIND_PUSH_PULL, 1, 1);
    (void)pd_wire_expect_error(other, PARAMD_RESOURCE_EXHAUSTED);
    ck_assert_uint_eq(pd_pull(other, &other_worker, 0, 0, 0)->version[0], taken + 1);
    pd_push_one(plain, &plain_worker, &plain_plan, 0, 0, 1);
    expect_ack(plain, 1, PARAMD_OK);
    take(PD_WAL_PREPARE); /* the refusals have asked for it */
    done(PARAMD_OK);
    push();
    pd_wire_expect_silence(wire);
    write_batch();
    expect_ack(wire, taken + 1, PARAMD_OK);
}
END_TEST

START_TEST(a_full_disk_is_tried_as_time_passes_until_the_host_drains)
{
    struct pd_wal_job job;
    stop();
    rig = pd_rig_create(&(struct pd_rig_options){.log = &config});
    rig->slow_disk = true;
    run_jobs(PARAMD_RESOURCE_EXHAUSTED);
    (void)pd_host_tick(rig->hosts[0], rig->now_us);
    take(PD_WAL_PREPARE);
    done(PARAMD_RESOURCE_EXHAUSTED);
    (void)pd_host_drain(rig->hosts[0]);
    (void)pd_host_tick(rig->hosts[0], rig->now_us);
    ck_assert(!pd_host_take_job(rig->hosts[0], &job));
}
END_TEST

START_TEST(a_released_segment_is_room_again)
{
    uint64_t taken = fill_log(PARAMD_OK);
    struct pd_wal_job job;
    ck_assert(!pd_host_take_job(rig->hosts[0], &job)); /* there may be no more files */
    pd_host_release_log(rig->hosts[0], pd_host_durable_lsn(rig->hosts[0]));
    push();
    write_batch();
    expect_ack(wire, taken + 1, PARAMD_OK);
}
END_TEST

START_TEST(control_still_has_room_where_pushes_have_none)
{
    (void)fill_log(PARAMD_RESOURCE_EXHAUSTED);
    pd_send_delete(wire, plain_plan.name, plain_worker.model);
    run_jobs(PARAMD_RESOURCE_EXHAUSTED);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
}
END_TEST

START_TEST(what_control_tells_waits_in_order_where_even_that_room_is_used_up)
{
    (void)fill_log(PARAMD_RESOURCE_EXHAUSTED);
    unsigned sets = 0;
    do {
        ck_assert_uint_lt(sets, 100);
        sets++;
        pd_send_set(wire, plan.name, "g0", "lr", 0.5 / sets, sets);
        run_jobs(PARAMD_RESOURCE_EXHAUSTED);
    } while (pd_wire_read(wire) != NULL);
    ck_assert_uint_gt(sets, 1);
    /* An answer of control's stands behind it. */
    Paramd__List list = PARAMD__LIST__INIT;
    list.request_id = pd_wire_request_id(wire);
    pd_send(wire, PD_KIND_LIST, &list.base, NULL, 0);
    pd_wire_expect_silence(wire);
    ck_assert_uint_eq(pd_pull(other, &other_worker, 0, 0, 0)->n_version, 1);
    pd_rig_pass(rig, 1); /* a tick asks for room again */
    take(PD_WAL_PREPARE);
    done(PARAMD_OK);
    (void)pd_wire_expect(wire, PD_KIND_LISTED);
    pd_wire_expect_silence(wire);
    write_batch();
    (void)pd_wire_expect(wire, PD_KIND_DONE);
}
END_TEST

START_TEST(a_session_is_refused_where_it_cannot_be_recorded)
{
    (void)fill_log(PARAMD_RESOURCE_EXHAUSTED);
    unsigned name = 10;
    enum pd_kind kind = PD_KIND_ATTACHED;
    while (kind == PD_KIND_ATTACHED) {
        ck_assert_uint_lt(name, 100);
        struct pd_wire *late = pd_wire_open(rig, 0);
        struct pd_worker late_worker = pd_worker_named(name++);
        pd_send_attach(late, &late_worker, plan.name, PARAMD__ATTACH_MODE__NEW);
        run_jobs(PARAMD_RESOURCE_EXHAUSTED);
        const struct pd_answer *answer = pd_wire_read(late);
        ck_assert_ptr_nonnull(answer);
        kind = (enum pd_kind)answer->kind;
        pd_wire_close(late);
    }
    ck_assert_int_eq(kind, PD_KIND_ERROR);
}
END_TEST

START_TEST(the_servers_own_first_values_wait_for_room_and_come)
{
    struct pd_plan late = pd_plan_ledger("late", 5000000); /* some steps */
    struct pd_worker late_worker = pd_worker_named(9);
    late.block_elements = 65536;
    pd_send_create(other, &late_worker, &late);
    for (unsigned i = 0; i < 40; i++) {
        push();
    }
    for (uint64_t id = 1; id <= 100; id++) { /* the log is busy, for small ones too */
        pd_send_skip(other, &other_worker, pd_plan_slot(&plan, 0, 0), id, id);
    }
    (void)pd_host_tick(rig->hosts[0], rig->now_us); /* may find the last hundred bytes */
    uint64_t last = pd_host_last_lsn(rig->hosts[0]);
    ck_assert_uint_eq(pd_host_tick(rig->hosts[0], rig->now_us), rig->now_us + 1000);
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), last);
    rig->slow_disk = false;
    pd_rig_settle(rig);
    pd_rig_pass(rig, 1000);
    const struct pd_answer *answer = pd_wire_read(other);
    while (answer != NULL && answer->kind == PD_KIND_SKIPPED) {
        answer = pd_wire_read(other);
    }
    ck_assert(answer != NULL && answer->kind == PD_KIND_CREATED);
    while (pd_wire_read(other) != NULL) {
    }
    ck_assert(pd_attach(other, &late_worker, late.name, PARAMD__ATTACH_MODE__NEW)->ready);
}
END_TEST

/* ---- the end ---- */

START_TEST(a_failed_job_releases_nothing)
{
    push();
    push_id(other, &other_worker, PD_KIND_PUSH_PULL, 1, 1);
    pd_send_set(plain, plan.name, "g0", "lr", 0.5, 1);
    take(PD_WAL_WRITE);
    done(PARAMD_DISK);
    struct pd_wal_job job;
    ck_assert(!pd_host_take_job(rig->hosts[0], &job));
    push();
    pd_rig_pass(rig, 3000000);
    pd_wire_expect_silence(wire);
    pd_wire_expect_silence(other);
    pd_wire_expect_silence(plain);
    ck_assert_uint_eq(pd_host_durable_lsn(rig->hosts[0]), lsn);
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), lsn + 3);
    ck_assert_int_eq(pd_host_end_log(rig->hosts[0]), PARAMD_DISK);
}
END_TEST

START_TEST(who_breaks_the_protocol_is_closed_when_its_answers_are_out)
{
    push();
    uint8_t garbage[PD_PREFIX_BYTES] = {1};
    pd_wire_send(wire, garbage, sizeof garbage);
    ck_assert_ptr_nonnull(wire->conn);
    pd_wire_expect_silence(wire);
    write_batch();
    expect_ack(wire, 1, PARAMD_OK);
    (void)pd_wire_expect_error(wire, PARAMD_PROTOCOL);
    ck_assert_ptr_null(wire->conn);
}
END_TEST

START_TEST(who_breaks_the_protocol_after_a_failure_is_closed_without_them)
{
    push();
    uint8_t garbage[PD_PREFIX_BYTES] = {1};
    pd_wire_send(wire, garbage, sizeof garbage);
    take(PD_WAL_WRITE);
    done(PARAMD_DISK);
    ck_assert_ptr_null(wire->conn);
    pd_wire_expect_silence(wire);
}
END_TEST

START_TEST(a_drain_waits_for_held_answers_and_the_log_ends_behind_them)
{
    push();
    push_id(other, &other_worker, PD_KIND_PUSH_PULL, 1, 1);
    ck_assert(!pd_host_drain(rig->hosts[0]));
    pd_rig_settle(rig);
    ck_assert_ptr_nonnull(wire->conn);
    write_batch();
    expect_ack(wire, 1, PARAMD_OK);
    expect_ack(other, 1, PARAMD_OK);
    (void)pd_wire_expect(other, PD_KIND_BLOCKS);
    ck_assert(pd_host_drain(rig->hosts[0]));
    ck_assert_int_eq(pd_host_end_log(rig->hosts[0]), PARAMD_OK);
    ck_assert_int_eq(pd_host_end_log(rig->hosts[0]), PARAMD_OK);
    write_batch();
    ck_assert_uint_eq(pd_host_last_lsn(rig->hosts[0]), lsn + 3);
    ck_assert_uint_eq(pd_host_durable_lsn(rig->hosts[0]), lsn + 3);
    pd_rig_pass(rig, 1000000); /* nothing is recorded any more */
    struct pd_wal_job job;
    ck_assert(!pd_host_take_job(rig->hosts[0], &job));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("host_log");
    TCase *cases = tcase_create("log");
    tcase_add_checked_fixture(cases, start, stop);
    tcase_add_test(cases, an_ack_leaves_when_its_record_is_durable);
    tcase_add_test(cases, answers_keep_their_order_and_wait_for_the_batch_that_has_their_records);
    tcase_add_test(cases, a_reader_of_few_bytes_gets_no_byte_too_many);
    tcase_add_test(cases, duplicates_gaps_and_refusals_wait_too);
    tcase_add_test(cases, a_model_at_applied_neither_waits_nor_is_recorded);
    tcase_add_test(cases, values_of_a_push_pull_wait_and_those_of_a_pull_elsewhere_do_not);
    tcase_add_test(cases,
                   values_that_need_not_wait_leave_behind_an_answer_that_waits_for_another_model);
    tcase_add_test(cases, who_leaves_while_its_answer_is_held_disturbs_nobody);
    tcase_add_test(cases, what_a_shard_tells_control_waits_for_its_record);
    tcase_add_test(cases, a_busy_log_holds_pushes_and_goes_on_with_them);
    tcase_add_test(cases, a_full_disk_refuses_pushes_and_nothing_else_and_goes_on_by_itself);
    tcase_add_test(cases, a_busy_log_gathers_on_as_soon_as_its_batch_is_being_written);
    tcase_add_test(cases, a_full_disk_is_tried_as_time_passes_until_the_host_drains);
    tcase_add_test(cases, a_released_segment_is_room_again);
    tcase_add_test(cases, control_still_has_room_where_pushes_have_none);
    tcase_add_test(cases, what_control_tells_waits_in_order_where_even_that_room_is_used_up);
    tcase_add_test(cases, a_session_is_refused_where_it_cannot_be_recorded);
    tcase_add_test(cases, the_servers_own_first_values_wait_for_room_and_come);
    tcase_add_test(cases, a_failed_job_releases_nothing);
    tcase_add_test(cases, who_breaks_the_protocol_is_closed_when_its_answers_are_out);
    tcase_add_test(cases, who_breaks_the_protocol_after_a_failure_is_closed_without_them);
    tcase_add_test(cases, a_drain_waits_for_held_answers_and_the_log_ends_behind_them);
    suite_add_tcase(suite, cases);
    TCase *written = tcase_create("written");
    tcase_add_test(written, a_host_goes_on_with_what_the_log_of_another_has);
    suite_add_tcase(suite, written);
    return suite;
}
