/* Sessions: who may attach, what resume finds, who is closed by a newer one, when they end. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { LEASE_US = 30000000, RETENTION_US = 120000000, SESSIONS_MAX = 3 };

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;
static struct pd_plan plan;

static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){
        .lease_us = LEASE_US, .retention_us = RETENTION_US, .sessions_max = SESSIONS_MAX});
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", 3000);
    pd_join(wire, &worker, &plan);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

static void push_once(uint64_t block)
{
    pd_push_one(wire, &worker, &plan, 0, block, 1);
    const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
}

static void send_goodbye(struct pd_wire *own, const struct pd_worker *of)
{
    Paramd__Goodbye goodbye = PARAMD__GOODBYE__INIT;
    goodbye.request_id = pd_wire_request_id(own);
    goodbye.model = of->model;
    pd_send(own, PD_KIND_GOODBYE, &goodbye.base, NULL, 0);
}

START_TEST(attached_names_the_last_push_id_of_each_used_slot)
{
    push_once(2);
    push_once(2);
    push_once(0);
    pd_wire_close(wire);
    wire = pd_wire_open(rig, 0);
    const Paramd__Attached *attached = pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
    ck_assert(attached->ready);
    ck_assert_uint_eq(attached->n_slot, 2);
    ck_assert_uint_eq(attached->n_push_id, 2);
    for (size_t i = 0; i < 2; i++) {
        bool third = attached->slot[i] == pd_plan_slot(&plan, 0, 2);
        ck_assert(third || attached->slot[i] == pd_plan_slot(&plan, 0, 0));
        ck_assert_uint_eq(attached->push_id[i], third ? 2 : 1);
    }
}
END_TEST

START_TEST(new_of_a_session_that_exists_continues_it)
{
    push_once(0);
    struct pd_wire *second = pd_wire_open(rig, 0);
    ck_assert_uint_eq(pd_attach(second, &worker, "m", PARAMD__ATTACH_MODE__NEW)->n_slot, 1);
}
END_TEST

START_TEST(resume_of_an_unknown_session_is_expired)
{
    struct pd_worker other = pd_worker_named(2);
    pd_send_attach(wire, &other, "m", PARAMD__ATTACH_MODE__RESUME);
    (void)pd_wire_expect_error(wire, PARAMD_SESSION_EXPIRED);
    pd_send_attach(wire, &other, "none", PARAMD__ATTACH_MODE__NEW);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
    pd_send_attach(wire, &other, "m", (Paramd__AttachMode)7);
    (void)pd_wire_expect_error(wire, PARAMD_INVALID);
}
END_TEST

START_TEST(a_second_live_process_with_the_same_session_is_refused)
{
    struct pd_worker twin = worker;
    twin.nonce++;
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_send_attach(second, &twin, "m", PARAMD__ATTACH_MODE__RESUME);
    (void)pd_wire_expect_error(second, PARAMD_SESSION_IN_USE);
    push_once(0); /* the first one notices nothing */
}
END_TEST

START_TEST(after_the_lease_another_process_takes_the_session_over)
{
    push_once(0);
    struct pd_worker twin = worker;
    twin.nonce++;
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_rig_pass(rig, LEASE_US + 2000000);
    const Paramd__Attached *attached = pd_attach(second, &twin, "m", PARAMD__ATTACH_MODE__NEW);
    ck_assert_uint_eq(attached->push_id[0], 1);
    ck_assert_ptr_null(wire->conn);
    ck_assert_ptr_nonnull(strstr(wire->reason, "newer connection"));
    worker = twin;
    wire = second;
    push_once(0);
}
END_TEST

START_TEST(a_process_resumes_nothing_that_another_took_over_meanwhile)
{
    struct pd_worker twin = worker;
    twin.nonce++;
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_rig_pass(rig, LEASE_US + 2000000);
    (void)pd_attach(second, &twin, "m", PARAMD__ATTACH_MODE__NEW);
    pd_wire_close(second);
    pd_rig_pass(rig, LEASE_US + 2000000);
    wire = pd_wire_open(rig, 0);
    pd_send_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
    (void)pd_wire_expect_error(wire, PARAMD_SESSION_EXPIRED);
    (void)pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__NEW);
}
END_TEST

START_TEST(a_take_over_closes_the_older_connections_of_all_shards)
{
    struct pd_rig *three = pd_rig_create(&(struct pd_rig_options){.shards = 3});
    struct pd_wire *old[3];
    struct pd_worker twin = worker;
    twin.nonce++;
    for (uint32_t i = 0; i < 3; i++) {
        old[i] = pd_wire_open(three, i);
        pd_join(old[i], &worker, &plan);
    }
    pd_rig_pass(three, LEASE_US + 2000000);
    struct pd_wire *own = pd_wire_open(three, 1);
    (void)pd_attach(own, &twin, "m", PARAMD__ATTACH_MODE__NEW);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_ptr_null(old[i]->conn);
    }
    ck_assert_ptr_nonnull(own->conn);
    pd_rig_destroy(three);
}
END_TEST

START_TEST(a_nonce_of_zero_is_one_like_any_other)
{
    struct pd_rig *two = pd_rig_create(&(struct pd_rig_options){.shards = 2});
    struct pd_wire *old = pd_wire_open(two, 1);
    struct pd_wire *own = pd_wire_open(two, 0);
    struct pd_worker twin = worker;
    worker.nonce = 0;
    pd_join(old, &worker, &plan);
    pd_rig_pass(two, LEASE_US + 2000000);
    (void)pd_attach(own, &twin, "m", PARAMD__ATTACH_MODE__NEW);
    ck_assert_ptr_null(old->conn);
    pd_rig_destroy(two);
}
END_TEST

START_TEST(a_reconnect_of_the_same_process_replaces_its_older_connection)
{
    struct pd_wire *second = pd_wire_open(rig, 0);
    (void)pd_attach(second, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
    ck_assert_ptr_null(wire->conn);
    wire = second;
    push_once(0);
}
END_TEST

START_TEST(one_connection_has_one_session_in_a_model)
{
    struct pd_worker other = pd_worker_named(2);
    pd_send_attach(wire, &other, "m", PARAMD__ATTACH_MODE__NEW);
    (void)pd_wire_expect_error(wire, PARAMD_INVALID);
    push_once(0);
}
END_TEST

START_TEST(a_session_is_forgotten_when_its_retention_is_over)
{
    push_once(0);
    pd_wire_close(wire);
    wire = pd_wire_open(rig, 0);
    pd_rig_pass(rig, RETENTION_US - 35000000);
    (void)pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
    pd_wire_close(wire);
    wire = pd_wire_open(rig, 0);
    pd_rig_pass(rig, RETENTION_US + 2000000);
    ck_assert_double_eq(pd_counter(wire, NULL, "sessions"), 0);
    ck_assert_double_eq(pd_counter(wire, NULL, "sessions_expired"), 1);
    pd_send_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
    (void)pd_wire_expect_error(wire, PARAMD_SESSION_EXPIRED);
    (void)pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__NEW);
    worker.ids[pd_plan_slot(&plan, 0, 0)] = 0;
    push_once(0);
}
END_TEST

START_TEST(a_connection_keeps_its_session_without_any_traffic)
{
    push_once(0);
    pd_rig_pass(rig, RETENTION_US * 3);
    push_once(0);
}
END_TEST

START_TEST(a_retention_shorter_than_the_lease_spares_who_is_connected)
{
    struct pd_rig *hasty =
        pd_rig_create(&(struct pd_rig_options){.lease_us = LEASE_US, .retention_us = 400000});
    struct pd_wire *own = pd_wire_open(hasty, 0);
    pd_join(own, &worker, &plan);
    pd_rig_pass(hasty, 5000000);
    pd_push_one(own, &worker, &plan, 0, 0, 1);
    ck_assert_int_eq(((const Paramd__Ack *)pd_wire_expect(own, PD_KIND_ACK))->status[0], PARAMD_OK);
    pd_rig_destroy(hasty);
}
END_TEST

START_TEST(goodbye_forgets_the_session)
{
    push_once(0);
    send_goodbye(wire, &worker);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_push_one(wire, &worker, &plan, 0, 0, 1);
    (void)pd_wire_expect_error(wire, PARAMD_SESSION_EXPIRED);
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_send_attach(second, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
    (void)pd_wire_expect_error(second, PARAMD_SESSION_EXPIRED);
    /* The same connection may begin anew. */
    ck_assert_uint_eq(pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__NEW)->n_slot, 0);
    worker.ids[pd_plan_slot(&plan, 0, 0)] = 0;
    push_once(0);
    (void)pd_pull(wire, &worker, 0, 0, 0);
    ck_assert_float_eq(pd_values(wire)[0], 2);
}
END_TEST

/* What a connection of the host says to control at this frame; the caller hands it on. */
static struct pd_message *said_to_control(struct pd_wire *own, enum pd_kind kind,
                                          const ProtobufCMessage *header)
{
    struct pd_span spans[PD_HOST_READ_SPANS];
    size_t count;
    uint8_t *frame = pd_frame_bytes(kind, 0, header, NULL, 0, &count);
    ck_assert_uint_eq(pd_host_read_target(own->rig->hosts[own->shard], own->conn, spans), 1);
    ck_assert_uint_ge(spans[0].bytes, count);
    memcpy(spans[0].data, frame, count);
    free(frame);
    pd_host_received(own->rig->hosts[own->shard], own->conn, count, own->rig->now_us);
    return pd_host_next_outgoing(own->rig->hosts[own->shard]);
}

START_TEST(a_goodbye_that_a_take_over_overtakes_ends_nothing)
{
    push_once(0);
    struct pd_worker twin = worker;
    twin.nonce++;
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_rig_pass(rig, LEASE_US + 2000000);
    Paramd__Goodbye goodbye = PARAMD__GOODBYE__INIT;
    goodbye.request_id = pd_wire_request_id(wire);
    goodbye.model = worker.model;
    struct pd_message *late = said_to_control(wire, PD_KIND_GOODBYE, &goodbye.base);
    ck_assert_ptr_nonnull(late);
    (void)pd_attach(second, &twin, "m", PARAMD__ATTACH_MODE__NEW);
    pd_control_host_step(rig->control, late, rig->now_us);
    pd_rig_settle(rig);
    worker = twin;
    wire = second;
    push_once(0);
}
END_TEST

START_TEST(push_ids_have_a_budget_and_come_back_with_their_session)
{
    enum { PAGE_BYTES = 1024, SHARDS = 4 };
    struct pd_rig *narrow =
        pd_rig_create(&(struct pd_rig_options){.shards = SHARDS, .push_ids_max = PAGE_BYTES});
    struct pd_wire *first = pd_wire_open(narrow, 1);
    struct pd_worker own = pd_worker_named(1);
    pd_join(first, &own, &plan);
    /* 64 slots of the shard, which are every fourth one, go into one page. */
    for (uint32_t i = 0; i < 64; i++) {
        pd_send_skip(first, &own, 1 + SHARDS * i, 1, i + 1);
        const Paramd__Skipped *skipped = pd_wire_expect(first, PD_KIND_SKIPPED);
        ck_assert_int_eq(skipped->status, PARAMD_OK);
        ck_assert_uint_eq(skipped->last, i + 1);
    }
    pd_send_skip(first, &own, 1 + SHARDS * 64, 1, 1);
    (void)pd_wire_expect_error(first, PARAMD_RESOURCE_EXHAUSTED);
    send_goodbye(first, &own);
    (void)pd_wire_expect(first, PD_KIND_DONE);
    (void)pd_attach(first, &own, "m", PARAMD__ATTACH_MODE__NEW);
    pd_send_skip(first, &own, 1 + SHARDS * 64, 1, 1);
    ck_assert_int_eq(((const Paramd__Skipped *)pd_wire_expect(first, PD_KIND_SKIPPED))->status,
                     PARAMD_OK);
    pd_rig_destroy(narrow);
}
END_TEST

START_TEST(requests_need_a_session)
{
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_push_one(second, &worker, &plan, 0, 0, 1);
    (void)pd_wire_expect_error(second, PARAMD_NOT_ATTACHED);
    pd_send_pull(second, &worker, 0, 0, 0, 0);
    (void)pd_wire_expect_error(second, PARAMD_NOT_ATTACHED);
    pd_send_init(second, &worker, &plan, 0, 0, PARAMD__PART__WEIGHTS, 1, 0);
    (void)pd_wire_expect_error(second, PARAMD_NOT_ATTACHED);
    pd_send_skip(second, &worker, 0, 1, 1);
    (void)pd_wire_expect_error(second, PARAMD_NOT_ATTACHED);
    send_goodbye(second, &worker);
    (void)pd_wire_expect_error(second, PARAMD_NOT_ATTACHED);
    worker.model += 5;
    pd_push_one(second, &worker, &plan, 0, 0, 1);
    (void)pd_wire_expect_error(second, PARAMD_NOT_FOUND);
}
END_TEST

START_TEST(at_the_cap_a_live_session_is_never_evicted)
{
    struct pd_wire *wires[SESSIONS_MAX + 1];
    for (unsigned i = 1; i < SESSIONS_MAX; i++) {
        struct pd_worker other = pd_worker_named(1 + i);
        wires[i] = pd_wire_open(rig, 0);
        (void)pd_attach(wires[i], &other, "m", PARAMD__ATTACH_MODE__NEW);
    }
    struct pd_worker late = pd_worker_named(50);
    struct pd_wire *own = pd_wire_open(rig, 0);
    pd_send_attach(own, &late, "m", PARAMD__ATTACH_MODE__NEW);
    (void)pd_wire_expect_error(own, PARAMD_BUSY);
    /* The oldest that is not alive any more makes room. */
    pd_wire_close(wires[1]);
    for (unsigned i = 0; i < 4; i++) {
        pd_rig_pass(rig, LEASE_US / 3);
        push_once(0);
    }
    (void)pd_attach(own, &late, "m", PARAMD__ATTACH_MODE__NEW);
    push_once(0);
    struct pd_worker gone = pd_worker_named(2);
    pd_send_attach(own, &gone, "m", PARAMD__ATTACH_MODE__RESUME);
    (void)pd_wire_expect_error(own, PARAMD_SESSION_EXPIRED);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("sessions");
    TCase *attach = tcase_create("attach");
    tcase_add_checked_fixture(attach, start, stop);
    tcase_add_test(attach, attached_names_the_last_push_id_of_each_used_slot);
    tcase_add_test(attach, new_of_a_session_that_exists_continues_it);
    tcase_add_test(attach, resume_of_an_unknown_session_is_expired);
    tcase_add_test(attach, one_connection_has_one_session_in_a_model);
    tcase_add_test(attach, requests_need_a_session);
    suite_add_tcase(suite, attach);
    TCase *twins = tcase_create("take_over");
    tcase_add_checked_fixture(twins, start, stop);
    tcase_add_test(twins, a_second_live_process_with_the_same_session_is_refused);
    tcase_add_test(twins, after_the_lease_another_process_takes_the_session_over);
    tcase_add_test(twins, a_process_resumes_nothing_that_another_took_over_meanwhile);
    tcase_add_test(twins, a_take_over_closes_the_older_connections_of_all_shards);
    tcase_add_test(twins, a_goodbye_that_a_take_over_overtakes_ends_nothing);
    tcase_add_test(twins, a_nonce_of_zero_is_one_like_any_other);
    tcase_add_test(twins, a_reconnect_of_the_same_process_replaces_its_older_connection);
    suite_add_tcase(suite, twins);
    TCase *end = tcase_create("end");
    tcase_add_checked_fixture(end, start, stop);
    tcase_add_test(end, a_session_is_forgotten_when_its_retention_is_over);
    tcase_add_test(end, a_connection_keeps_its_session_without_any_traffic);
    tcase_add_test(end, a_retention_shorter_than_the_lease_spares_who_is_connected);
    tcase_add_test(end, goodbye_forgets_the_session);
    tcase_add_test(end, push_ids_have_a_budget_and_come_back_with_their_session);
    tcase_add_test(end, at_the_cap_a_live_session_is_never_evicted);
    suite_add_tcase(suite, end);
    return suite;
}
