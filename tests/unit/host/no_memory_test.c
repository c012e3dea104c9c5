/* The first, second, ... allocation of a whole scenario fails: nothing crashes or leaks, and a
 * fresh connection can do everything afterwards, with the same model too. */
#include <stdlib.h>

#include "tests/support/allocations.h"
#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { SHARDS = 2, K_MAX = 320, AT_ONCE = 8, MODEL_BYTES = 2 * 8192 * 4 };

static struct pd_rig *rig;
static struct pd_worker worker;
static struct pd_plan plan;

/* Reads what there is; the numbers of the model go to the worker. */
static void read_all(struct pd_wire *wire)
{
    const struct pd_answer *answer;
    while ((answer = pd_wire_read(wire)) != NULL) {
        if (answer->kind == PD_KIND_CREATED) {
            const Paramd__Created *created = (const Paramd__Created *)answer->header;
            worker.model = created->model;
            worker.generation = created->generation;
            worker.attempt = created->attempt;
        }
    }
}

static struct pd_wire *open_wire(uint32_t shard)
{
    struct pd_wire *wire = pd_wire_open_raw(rig, shard);
    if (wire != NULL) {
        Paramd__Hello hello = PARAMD__HELLO__INIT;
        hello.request_id = pd_wire_request_id(wire);
        pd_send(wire, PD_KIND_HELLO, &hello.base, NULL, 0);
        read_all(wire);
    }
    return wire;
}

static void talk(struct pd_wire *wire, uint64_t block)
{
    struct pd_push push;
    pd_send_create(wire, &worker, &plan);
    read_all(wire);
    pd_send_attach(wire, &worker, plan.name, PARAMD__ATTACH_MODE__NEW);
    pd_send_init(wire, &worker, &plan, 0, block, PARAMD__PART__MOMENT0, 1, 0);
    pd_send_init(wire, &worker, &plan, 0, block, PARAMD__PART__WEIGHTS, 1, 0);
    read_all(wire);
    wire->appetite = 500;
    pd_send_pull(wire, &worker, 0, block, 3, 0);
    pd_push_begin(&push, &worker, PD_KIND_PUSH_PULL);
    pd_push_add(&push, &plan, 0, block, 1, 0, 1);
    pd_push_send(&push, wire);
    wire->appetite = SIZE_MAX;
    wire->poked = true;
    pd_rig_settle(rig);
    pd_send_skip(wire, &worker, pd_plan_slot(&plan, 0, block), 2, 2);
    pd_send_set(wire, plan.name, "g0", "lr", 0.5, 0);
    read_all(wire);
}

static void look_around(struct pd_wire *wire)
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    Paramd__List list = PARAMD__LIST__INIT;
    Paramd__Report report = PARAMD__REPORT__INIT;
    Paramd__Goodbye goodbye = PARAMD__GOODBYE__INIT;
    stat.request_id = pd_wire_request_id(wire);
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    stat.model = (char *)(uintptr_t)plan.name;
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    stat.definition = 1;
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    list.request_id = pd_wire_request_id(wire);
    pd_send(wire, PD_KIND_LIST, &list.base, NULL, 0);
    report.request_id = pd_wire_request_id(wire);
    report.model = worker.model;
    pd_send(wire, PD_KIND_REPORT, &report.base, NULL, 0);
    pd_rig_pass(rig, 2000000);
    goodbye.request_id = pd_wire_request_id(wire);
    goodbye.model = worker.model;
    pd_send(wire, PD_KIND_GOODBYE, &goodbye.base, NULL, 0);
    read_all(wire);
}

static void scenario(void)
{
    for (uint64_t block = 0; block < SHARDS; block++) {
        uint32_t shard = pd_plan_slot(&plan, 0, block) % SHARDS;
        struct pd_wire *wire = open_wire(shard);
        if (wire != NULL) {
            talk(wire, block);
            look_around(wire);
        }
    }
}

/* The whole life of the model, with every answer as it should be. */
static void expect_all_well(void)
{
    struct pd_wire *wires[SHARDS];
    struct pd_worker fresh = pd_worker_named(77);
    for (uint32_t i = 0; i < SHARDS; i++) {
        wires[i] = pd_wire_open(rig, i);
    }
    pd_rig_pass(rig, 40000000); /* any lease is over */
    const Paramd__Created *created = pd_create(wires[0], &fresh, &plan);
    bool ready = created->ready;
    ck_assert(ready || created->initialiser);
    for (uint64_t block = 0; block < SHARDS; block++) {
        struct pd_wire *wire = wires[pd_plan_slot(&plan, 0, block) % SHARDS];
        (void)pd_attach(wire, &fresh, plan.name, PARAMD__ATTACH_MODE__NEW);
        if (!ready) {
            pd_send_init(wire, &fresh, &plan, 0, block, PARAMD__PART__WEIGHTS, 1, 0);
            (void)pd_wire_expect(wire, PD_KIND_DONE);
        }
    }
    pd_rig_pass(rig, 2000000);
    for (uint64_t block = 0; block < SHARDS; block++) {
        struct pd_wire *wire = wires[pd_plan_slot(&plan, 0, block) % SHARDS];
        pd_push_one(wire, &fresh, &plan, 0, block, 1);
        const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
        ck_assert_int_eq(ack->status[0], PARAMD_OK);
        (void)pd_pull(wire, &fresh, 0, block, 0);
    }
    pd_send_delete(wires[0], plan.name, 0);
    (void)pd_wire_expect(wires[0], PD_KIND_DONE);
    pd_rig_pass(rig, 2000000);
    ck_assert_double_eq(pd_counter(wires[0], NULL, "memory_bytes"), 0);
    ck_assert_double_eq(pd_counter(wires[0], NULL, "models"), 0);
}

/* True if there was a k-th allocation to fail. full: while there is no memory for blocks. */
static bool run(unsigned k, bool full)
{
    rig = pd_rig_create(&(struct pd_rig_options){.shards = SHARDS, .memory_max = MODEL_BYTES});
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", 8192); /* two blocks, large enough to be sent from their place */
    plan.block_elements = 4096;
    plan.tensor[0].init = PARAMD__INITIALISER__CLIENT;
    plan.group[0].optimizer = "momentum";
    size_t block_bytes_max = rig->block_bytes_max;
    rig->block_bytes_max = full ? 0 : block_bytes_max;
    rig->inside = pd_allocations_inside;
    pd_allocations_fail(k);
    scenario();
    bool reached = pd_allocations_failed();
    pd_allocations_fail(0);
    rig->inside = NULL;
    rig->block_bytes_max = block_bytes_max;
    expect_all_well();
    pd_rig_destroy(rig);
    return reached;
}

/* A few in one process: forking costs more than they do. */
START_TEST(whatever_allocation_fails_nothing_breaks)
{
    for (unsigned k = 1; k <= AT_ONCE; k++) {
        (void)run((unsigned)_i * AT_ONCE + k, false);
    }
}
END_TEST

START_TEST(nor_on_a_machine_without_memory_for_blocks)
{
    for (unsigned k = 1; k <= AT_ONCE; k++) {
        (void)run((unsigned)_i * AT_ONCE + k, true);
    }
}
END_TEST

START_TEST(there_are_no_more_allocations_than_were_tried)
{
    ck_assert(!run(K_MAX, false));
    ck_assert(!run(K_MAX, true));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("no_memory");
    TCase *fail = tcase_create("fail");
    tcase_add_loop_test(fail, whatever_allocation_fails_nothing_breaks, 0, K_MAX / AT_ONCE);
    tcase_add_loop_test(fail, nor_on_a_machine_without_memory_for_blocks, 0, K_MAX / AT_ONCE);
    tcase_add_test(fail, there_are_no_more_allocations_than_were_tried);
    suite_add_tcase(suite, fail);
    return suite;
}
