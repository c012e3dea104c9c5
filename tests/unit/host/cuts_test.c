/* Frames duplicated, split, interleaved, and cut at every byte: after a reconnect and a resend
 * weights, moments and versions are those of the undisturbed run, bit for bit. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { ELEMENTS = 1030, BLOCKS = 2, PARTS = 3, TURNS = 4 };

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;
static struct pd_plan plan;

static void start(void)
{
    rig = pd_rig_create(NULL);
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = (struct pd_plan){
        .name = "m",
        .groups = 1,
        .group = {{.optimizer = "adam"}},
        .tensors = 1,
        .tensor = {{ELEMENTS, 0, PARAMD__INITIALISER__NORMAL, 0, 1, 5}},
    };
    pd_join(wire, &worker, &plan);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

/* Everything that a run leaves behind. */
struct outcome {
    uint64_t version[BLOCKS];
    uint64_t step[BLOCKS];
    float values[PARTS][ELEMENTS];
};

static void look(struct outcome *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        for (unsigned part = 0; part < PARTS; part++) {
            const Paramd__Blocks *blocks = pd_pull(wire, &worker, 0, block, 1U << part);
            outcome->version[block] = blocks->version[0];
            outcome->step[block] = blocks->step[0];
            memcpy(&outcome->values[part][block * 1024], pd_values(wire),
                   wire->answer.payload_bytes);
        }
    }
}

static void expect_same(const struct outcome *outcome, const struct outcome *wanted, size_t offset)
{
    for (unsigned block = 0; block < BLOCKS; block++) {
        ck_assert_msg(outcome->version[block] == wanted->version[block] &&
                          outcome->step[block] == wanted->step[block],
                      "cut at byte %zu: block %u has version %llu, not %llu", offset, block,
                      (unsigned long long)outcome->version[block],
                      (unsigned long long)wanted->version[block]);
    }
    ck_assert_msg(memcmp(outcome->values, wanted->values, sizeof wanted->values) == 0,
                  "cut at byte %zu: other values", offset);
}

/* The frame of one turn: both blocks, gradients that depend on turn and place. */
static uint8_t *turn_bytes(unsigned turn, enum pd_kind kind, size_t *ret_count)
{
    struct pd_push push;
    pd_push_begin(&push, &worker, kind);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        float gradient[1024];
        uint32_t elements = pd_plan_elements(&plan, 0, block);
        for (uint32_t i = 0; i < elements; i++) {
            gradient[i] = (float)((i * 37 + turn * 11 + block) % 101) / 50.0F - 1.0F;
        }
        pd_push_add_values(&push, 0, block, turn + 1, turn + 1, gradient,
                           elements * sizeof gradient[0]);
    }
    return pd_push_bytes(&push, wire, ret_count);
}

static void reconnect(void)
{
    pd_wire_close(wire);
    wire = pd_wire_open(rig, 0);
    (void)pd_attach(wire, &worker, "m", PARAMD__ATTACH_MODE__RESUME);
}

static void expect_answers(enum pd_kind kind)
{
    const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
    for (size_t i = 0; i < ack->n_status; i++) {
        ck_assert_int_eq(ack->status[i], PARAMD_OK);
    }
    while (kind == PD_KIND_PUSH_PULL) {
        const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
        if (blocks->last) {
            return;
        }
    }
}

/* The undisturbed run, on a daemon of its own. */
static void undisturbed(struct outcome *outcome)
{
    stop();
    start();
    for (unsigned turn = 0; turn < TURNS; turn++) {
        size_t count;
        uint8_t *bytes = turn_bytes(turn, PD_KIND_PUSH, &count);
        pd_wire_send(wire, bytes, count);
        free(bytes);
        expect_answers(PD_KIND_PUSH);
    }
    look(outcome);
    stop();
    start();
}

START_TEST(a_cut_at_any_byte_of_a_push_changes_nothing)
{
    enum pd_kind kind = _i == 0 ? PD_KIND_PUSH : PD_KIND_PUSH_PULL;
    struct outcome wanted;
    struct outcome outcome;
    size_t count = 1;
    undisturbed(&wanted);
    /* Each turn is cut at four bytes, so that all offsets of the frame are tried in a quarter of
     * the runs; the first run cuts at 0, 1, 2 and 3. */
    for (size_t offset = 0; offset <= count; offset += TURNS) {
        for (unsigned turn = 0; turn < TURNS; turn++) {
            uint8_t *bytes = turn_bytes(turn, kind, &count);
            size_t given = offset + turn < count ? offset + turn : count;
            pd_wire_send(wire, bytes, given);
            reconnect();
            pd_wire_send(wire, bytes, count);
            free(bytes);
            expect_answers(kind);
        }
        look(&outcome);
        expect_same(&outcome, &wanted, offset);
        stop();
        start();
    }
}
END_TEST

START_TEST(a_cut_at_any_byte_of_the_answer_changes_nothing)
{
    struct outcome wanted;
    struct outcome outcome;
    undisturbed(&wanted);
    size_t answer_bytes = 1;
    for (size_t offset = 0; offset < answer_bytes; offset += TURNS) {
        for (unsigned turn = 0; turn < TURNS; turn++) {
            size_t count;
            uint8_t *bytes = turn_bytes(turn, PD_KIND_PUSH_PULL, &count);
            wire->appetite = offset + turn;
            pd_wire_send(wire, bytes, count);
            reconnect();
            size_t before = wire->in_first;
            pd_wire_send(wire, bytes, count);
            free(bytes);
            answer_bytes = wire->in_end - before;
            expect_answers(PD_KIND_PUSH_PULL);
        }
        look(&outcome);
        expect_same(&outcome, &wanted, offset);
        stop();
        start();
    }
}
END_TEST

START_TEST(all_unanswered_frames_sent_anew_in_order_change_nothing)
{
    enum { STEP = 611 };
    struct outcome wanted;
    struct outcome outcome;
    uint8_t *frames[TURNS];
    size_t counts[TURNS];
    size_t total = 1;
    undisturbed(&wanted);
    for (size_t offset = 0; offset < total; offset += STEP) {
        size_t left = offset;
        total = 0;
        for (unsigned turn = 0; turn < TURNS; turn++) {
            frames[turn] = turn_bytes(turn, PD_KIND_PUSH, &counts[turn]);
            size_t given = left < counts[turn] ? left : counts[turn];
            pd_wire_send(wire, frames[turn], given);
            left -= given;
            total += counts[turn];
        }
        reconnect();
        for (unsigned turn = 0; turn < TURNS; turn++) {
            pd_wire_send(wire, frames[turn], counts[turn]);
            free(frames[turn]);
            expect_answers(PD_KIND_PUSH);
        }
        look(&outcome);
        expect_same(&outcome, &wanted, offset);
        stop();
        start();
    }
}
END_TEST

START_TEST(frames_byte_by_byte_and_twice_change_nothing)
{
    struct outcome wanted;
    struct outcome outcome;
    undisturbed(&wanted);
    wire->piece = 1;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        size_t count;
        uint8_t *bytes = turn_bytes(turn, PD_KIND_PUSH, &count);
        pd_wire_send(wire, bytes, count);
        pd_wire_send(wire, bytes, count);
        free(bytes);
        expect_answers(PD_KIND_PUSH);
        expect_answers(PD_KIND_PUSH);
    }
    wire->piece = SIZE_MAX;
    look(&outcome);
    expect_same(&outcome, &wanted, 0);
}
END_TEST

START_TEST(pieces_of_frames_interleaved_over_connections_stay_apart)
{
    enum { WORKERS = 5 };
    struct pd_plan ledger = pd_plan_ledger("l", 1000);
    struct pd_wire *wires[WORKERS];
    uint8_t *bytes[WORKERS];
    size_t counts[WORKERS];
    size_t given[WORKERS] = {0};
    struct pd_worker workers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        struct pd_push push;
        workers[i] = pd_worker_named(10 + i);
        wires[i] = pd_wire_open(rig, 0);
        pd_join(wires[i], &workers[i], &ledger);
        pd_push_begin(&push, &workers[i], PD_KIND_PUSH);
        pd_push_add(&push, &ledger, 0, 0, 1, 0, (float)(1U << i));
        bytes[i] = pd_push_bytes(&push, wires[i], &counts[i]);
    }
    for (size_t left = WORKERS, turn = 0; left > 0; turn++) {
        unsigned i = (unsigned)(turn % WORKERS);
        size_t piece = 1 + turn * 7919 % 97;
        piece = piece < counts[i] - given[i] ? piece : counts[i] - given[i];
        pd_wire_send(wires[i], bytes[i] + given[i], piece);
        given[i] += piece;
        left -= piece > 0 && given[i] == counts[i] ? 1 : 0;
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        const Paramd__Ack *ack = pd_wire_expect(wires[i], PD_KIND_ACK);
        ck_assert_int_eq(ack->status[0], PARAMD_OK);
        free(bytes[i]);
    }
    (void)pd_pull(wires[0], &workers[0], 0, 0, 0);
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_float_eq(pd_values(wires[0])[i], 31);
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("cuts");
    TCase *cuts = tcase_create("cuts");
    tcase_add_checked_fixture(cuts, start, stop);
    tcase_add_loop_test(cuts, a_cut_at_any_byte_of_a_push_changes_nothing, 0, 2);
    tcase_add_test(cuts, a_cut_at_any_byte_of_the_answer_changes_nothing);
    tcase_add_test(cuts, all_unanswered_frames_sent_anew_in_order_change_nothing);
    tcase_add_test(cuts, frames_byte_by_byte_and_twice_change_nothing);
    tcase_add_test(cuts, pieces_of_frames_interleaved_over_connections_stay_apart);
    suite_add_tcase(suite, cuts);
    return suite;
}
