/* Malformed frames and requests, each with the status that answers it or the close that ends its
 * connection. Afterwards no memory is left behind, and another connection has noticed nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/allocations.h"
#include "tests/support/check_main.h"
#include "tests/support/worker.h"

static struct pd_rig *rig;
static struct pd_wire *victim;    /* sends what is bad */
static struct pd_wire *bystander; /* works in the same model */
static struct pd_worker worker;
static struct pd_worker other;
static struct pd_plan plan;

enum outcome { ANSWERED, CLOSED };

static void open_victim(void)
{
    victim = pd_wire_open(rig, 0);
    (void)pd_attach(victim, &worker, "m", PARAMD__ATTACH_MODE__NEW);
}

static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){.retention_us = 3600000000});
    bystander = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    other = pd_worker_named(2);
    plan = pd_plan_ledger("m", 1500);
    pd_join(bystander, &other, &plan);
    worker.model = other.model;
    worker.generation = other.generation;
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

static void bystander_works(void)
{
    Paramd__Ping ping = PARAMD__PING__INIT;
    ping.request_id = pd_wire_request_id(bystander);
    pd_send(bystander, PD_KIND_PING, &ping.base, NULL, 0);
    (void)pd_wire_expect(bystander, PD_KIND_PONG);
    pd_push_one(bystander, &other, &plan, 0, 0, 1);
    const Paramd__Ack *ack = pd_wire_expect(bystander, PD_KIND_ACK);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
    pd_wire_expect_silence(bystander);
}

/* The last frame to come is ERROR with this status; then the connection is as it should be. */
static void expect_outcome(enum paramd_status status, enum outcome outcome)
{
    (void)pd_wire_expect_error(victim, status);
    const Paramd__Error *error = (const Paramd__Error *)victim->answer.header;
    if (outcome == CLOSED) {
        ck_assert_uint_eq(error->request_id, 0);
        ck_assert_ptr_null(victim->conn);
        ck_assert_ptr_nonnull(victim->reason);
    } else {
        ck_assert_uint_ne(error->request_id, 0);
        ck_assert_ptr_nonnull(victim->conn);
    }
    pd_wire_expect_silence(victim);
}

/* Sends it again and again over new connections: memory is the same after each. */
static void run(const char *what, void (*send)(int row), int row, enum paramd_status status,
                enum outcome outcome)
{
    long live = 0;
    size_t block_bytes = 0;
    for (unsigned turn = 0; turn < 6; turn++) {
        open_victim();
        send(row);
        expect_outcome(status, outcome);
        pd_wire_close(victim);
        bystander_works();
        pd_rig_pass(rig, 1000000);
        if (turn == 2) { /* pools and tables have what they keep */
            live = pd_allocations_live();
            block_bytes = rig->block_bytes;
        }
        if (turn > 2) {
            ck_assert_msg(pd_allocations_live() == live && rig->block_bytes == block_bytes,
                          "%s: %ld allocations where there were %ld", what, pd_allocations_live(),
                          live);
        }
    }
}

/* ---- frames ---- */

struct raw {
    const char *what;
    enum paramd_status status;
    enum outcome outcome;
    unsigned kind;
    unsigned flags;
    const char *header;
    uint32_t header_count;
    uint32_t payload_count;
    uint32_t magic; /* 0: the right one */
    bool wrong_header_sum;
    bool wrong_payload_sum;
};

#define HEADER(literal) .header = (literal), .header_count = sizeof(literal) - 1

static const struct raw raws[] = {
    {"another magic", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\x05"), .magic = 1},
    {"a preamble again", PARAMD_PROTOCOL, CLOSED, .kind = 1, .magic = PD_PREAMBLE_MAGIC},
    {"a wrong header sum", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\x05"),
     .wrong_header_sum = true},
    {"a wrong payload sum", PARAMD_PROTOCOL, CLOSED, .kind = 8, HEADER("\x08\x05"),
     .flags = PD_FRAME_PAYLOAD_SUM, .payload_count = 8, .wrong_payload_sum = true},
    {"flags of tomorrow", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\x05"), .flags = 16},
    {"a header above 64 KiB", PARAMD_TOO_LARGE, CLOSED, .kind = 22, .header_count = 65537},
    {"a payload above 1 MiB", PARAMD_TOO_LARGE, CLOSED, .kind = 8, .payload_count = 1048577},
    {"all bits in the lengths", PARAMD_TOO_LARGE, CLOSED, .kind = 8, .payload_count = UINT32_MAX,
     .header_count = UINT32_MAX},
    {"an unknown kind", PARAMD_UNSUPPORTED, ANSWERED, .kind = 999, HEADER("\x08\x05")},
    {"kind 0", PARAMD_UNSUPPORTED, ANSWERED, .kind = 0, HEADER("\x08\x05")},
    {"an unknown kind without a header", PARAMD_PROTOCOL, CLOSED, .kind = 999, HEADER("\x08")},
    {"half a number", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\xff")},
    {"field 0", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x00\x01")},
    {"a group", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x0b\x0c")},
    {"a text with a NUL", PARAMD_PROTOCOL, CLOSED, .kind = 19, HEADER("\x08\x05\x12\x01\x00")},
    {"a text not in UTF-8", PARAMD_PROTOCOL, CLOSED, .kind = 19, HEADER("\x12\x01\xff")},
    {"a length beyond the end", PARAMD_PROTOCOL, CLOSED, .kind = 19, HEADER("\x12\x7f")},
    {"WELCOME", PARAMD_PROTOCOL, CLOSED, .kind = PD_KIND_WELCOME, HEADER("\x08\x05")},
    {"CREATED", PARAMD_PROTOCOL, CLOSED, .kind = PD_KIND_CREATED, HEADER("\x08\x05")},
    {"ATTACHED", PARAMD_PROTOCOL, CLOSED, .kind = PD_KIND_ATTACHED, HEADER("\x08\x05")},
    {"ACK", PARAMD_PROTOCOL, CLOSED, .kind = PD_KIND_ACK, HEADER("\x08\x05")},
    {"BLOCKS", PARAMD_PROTOCOL, CLOSED, .kind = PD_KIND_BLOCKS, HEADER("\x08\x05")},
    {"ERROR", PARAMD_PROTOCOL, CLOSED, .kind = PD_KIND_ERROR, HEADER("\x08\x05")},
    {"HELLO with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 1, HEADER("\x08\x05"),
     .payload_count = 1},
    {"PING with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\x05"),
     .payload_count = 1},
    {"PULL with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 11, HEADER("\x08\x05"),
     .payload_count = 1},
    {"SKIP with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 13, HEADER("\x08\x05"),
     .payload_count = 1},
    {"REPORT with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 16, HEADER("\x08\x05"),
     .payload_count = 1},
    {"ATTACH with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 5, HEADER("\x08\x05"),
     .payload_count = 1},
    {"SET with a payload", PARAMD_PROTOCOL, CLOSED, .kind = 15, HEADER("\x08\x05"),
     .payload_count = 1},
    {"PING that goes on", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\x05"),
     .flags = PD_FRAME_MORE},
    {"PING with request id 0", PARAMD_PROTOCOL, CLOSED, .kind = 22, HEADER("\x08\x00")},
    {"an empty CREATE", PARAMD_INVALID, ANSWERED, .kind = 3, HEADER("\x08\x05")},
    {"an empty ATTACH", PARAMD_NOT_FOUND, ANSWERED, .kind = 5, HEADER("\x08\x05")},
    {"an empty INIT", PARAMD_NOT_FOUND, ANSWERED, .kind = 7, HEADER("\x08\x05")},
    {"an empty PUSH", PARAMD_NOT_FOUND, ANSWERED, .kind = 8, HEADER("\x08\x05")},
    {"an empty PULL", PARAMD_NOT_FOUND, ANSWERED, .kind = 11, HEADER("\x08\x05")},
    {"an empty SET", PARAMD_NOT_FOUND, ANSWERED, .kind = 15, HEADER("\x08\x05")},
    {"an empty DELETE", PARAMD_NOT_FOUND, ANSWERED, .kind = 21, HEADER("\x08\x05")},
    {"an empty GOODBYE", PARAMD_NOT_FOUND, ANSWERED, .kind = 24, HEADER("\x08\x05")},
};

static void store(uint8_t *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        out[i] = (uint8_t)(value >> 8 * i);
    }
}

static void send_raw(int row)
{
    const struct raw *raw = &raws[row];
    uint8_t frame[128] = {0};
    size_t count = raw->header != NULL ? raw->header_count : 0;
    store(frame, raw->magic != 0 ? raw->magic : PD_FRAME_MAGIC, 4);
    store(frame + 4, raw->kind, 2);
    store(frame + 6, raw->flags, 2);
    store(frame + 8, raw->header_count, 4);
    store(frame + 12, raw->payload_count, 4);
    if (count > 0) {
        memcpy(frame + PD_PREFIX_BYTES, raw->header, count);
    }
    struct pd_span spans[] = {{frame, 16}, {frame + PD_PREFIX_BYTES, count}};
    store(frame + 16, pd_payload_sum(spans, 2) + (raw->wrong_header_sum ? 1 : 0), 8);
    store(frame + 24, raw->wrong_payload_sum ? 1 : 0, 8);
    count += PD_PREFIX_BYTES;
    pd_wire_send(victim, frame, raw->payload_count < 64 ? count + raw->payload_count : count);
}

START_TEST(a_frame_that_is_none_is_answered_or_ends_its_connection)
{
    run(raws[_i].what, send_raw, _i, raws[_i].status, raws[_i].outcome);
}
END_TEST

/* ---- PUSH ---- */

static const char *const pushes[] = {
    "no entries",     "fewer blocks",    "fewer push ids",   "fewer base versions",
    "more blocks",    "no such tensor",  "no such block",    "push id 0",
    "no such dtype",  "a short payload", "a long payload",   "no payload",
    "another length", "a block too far", "too many entries", "another dtype's length",
};

static void send_push(int row)
{
    static uint32_t tensors[PD_ENTRIES_MAX + 1];
    static uint64_t numbers[PD_ENTRIES_MAX + 1];
    float values[1025] = {0};
    size_t bytes = 4096;
    struct pd_push push;
    pd_push_begin(&push, &worker, PD_KIND_PUSH);
    pd_push_add_values(&push, 0, 0, 1, 1, values, 4096);
    Paramd__Push *header = &push.header;
    header->n_tensor = row == 0 ? 0 : 1;
    header->n_block = row == 1 ? 0 : row == 4 ? 2 : 1;
    header->n_push_id = row == 2 ? 0 : 1;
    header->n_base_version = row == 3 ? 0 : 1;
    push.block[1] = 0;
    push.tensor[0] = row == 5 ? 1 : 0;
    push.block[0] = row == 6 ? 2 : row == 13 ? UINT64_MAX : row == 12 ? 1 : 0;
    push.push_id[0] = row == 7 ? 0 : 1;
    header->dtype = row == 8 ? 3 : row == 15 ? PD_F16 : PD_F32;
    bytes = row == 9 ? 4092 : row == 10 ? 4100 : row == 11 ? 0 : bytes;
    if (row == 14) {
        header->n_tensor = header->n_block = header->n_push_id = header->n_base_version =
            PD_ENTRIES_MAX + 1;
        header->tensor = tensors;
        header->block = header->push_id = header->base_version = numbers;
    }
    header->request_id = pd_wire_request_id(victim);
    pd_send(victim, PD_KIND_PUSH, &header->base, values, bytes);
    free(push.payload);
}

START_TEST(a_push_that_does_not_fit_together_ends_its_connection)
{
    run(pushes[_i], send_push, _i, PARAMD_PROTOCOL, CLOSED);
    /* It used no push id and changed nothing but what the bystander did. */
    open_victim();
    pd_push_one(victim, &worker, &plan, 0, 0, 0);
    const Paramd__Ack *ack = pd_wire_expect(victim, PD_KIND_ACK);
    ck_assert_int_eq(ack->status[0], PARAMD_OK);
    ck_assert_uint_eq(ack->version[0], 8);
}
END_TEST

/* ---- PULL, SKIP, INIT, ATTACH ---- */

static const char *const pulls[] = {"no entries",    "fewer blocks",    "another newer_than",
                                    "no such dtype", "no such part",    "no such tensor",
                                    "no such block", "too many entries"};

static void send_pull(int row)
{
    static uint32_t tensors[PD_ENTRIES_MAX + 1];
    static uint64_t numbers[PD_ENTRIES_MAX + 1];
    Paramd__Pull pull = PARAMD__PULL__INIT;
    size_t count = row == 7 ? PD_ENTRIES_MAX + 1 : 2;
    pull.request_id = pd_wire_request_id(victim);
    pull.model = worker.model;
    pull.tensor = tensors;
    pull.block = numbers;
    pull.newer_than = numbers;
    pull.n_tensor = row == 0 ? 0 : count;
    pull.n_block = row <= 1 ? (size_t)row : count;
    pull.n_newer_than = row == 2 ? 1 : 0;
    pull.dtype = row == 3 ? 7 : 0;
    pull.parts = row == 4 ? 16 : 0;
    tensors[1] = row == 5 ? 9 : 0;
    numbers[1] = row == 6 ? 2 : 0;
    pd_send(victim, PD_KIND_PULL, &pull.base, NULL, 0);
}

START_TEST(a_pull_that_does_not_fit_together_ends_its_connection)
{
    run(pulls[_i], send_pull, _i, PARAMD_PROTOCOL, CLOSED);
}
END_TEST

static const struct skip_row {
    uint32_t slot;
    uint64_t from;
    uint64_t to;
} skips[] = {{4096, 1, 1}, {UINT32_MAX, 1, 1}, {0, 0, 1}, {0, 2, 1}, {0, 1, UINT64_MAX}};

static void send_skip(int row)
{
    pd_send_skip(victim, &worker, skips[row].slot, skips[row].from, skips[row].to);
}

START_TEST(a_skip_that_cannot_be_ends_its_connection)
{
    run("a SKIP", send_skip, _i, PARAMD_PROTOCOL, CLOSED);
}
END_TEST

static const char *const inits[] = {"no entries",     "fewer blocks",   "another count of steps",
                                    "no such part",   "no such tensor", "no such block",
                                    "a short payload"};

static void send_init(int row)
{
    float values[1024] = {0};
    uint32_t tensor = row == 4 ? 1 : 0;
    uint64_t block = row == 5 ? 2 : 0;
    uint64_t steps[2] = {0};
    Paramd__Init init = PARAMD__INIT__INIT;
    init.request_id = pd_wire_request_id(victim);
    init.model = worker.model;
    init.attempt = 1;
    init.tensor = &tensor;
    init.block = &block;
    init.step = steps;
    init.n_tensor = row == 0 ? 0 : 1;
    init.n_block = row <= 1 ? 0 : 1;
    init.n_step = row == 2 ? 2 : 1;
    init.part = row == 3 ? (Paramd__Part)4 : PARAMD__PART__WEIGHTS;
    pd_send(victim, PD_KIND_INIT, &init.base, values, row == 6 ? 4092 : 4096);
}

START_TEST(an_init_that_does_not_fit_together_ends_its_connection)
{
    run(inits[_i], send_init, _i, PARAMD_PROTOCOL, CLOSED);
}
END_TEST

static void send_short_session(int row)
{
    Paramd__Attach attach = PARAMD__ATTACH__INIT;
    Paramd__Create create = PARAMD__CREATE__INIT;
    static const size_t lengths[] = {0, 15, 17};
    uint8_t bits[17] = {0};
    attach.request_id = create.request_id = pd_wire_request_id(victim);
    attach.model = create.model = "m";
    attach.session.data = create.session.data = bits;
    attach.session.len = create.session.len = lengths[row / 2];
    if (row % 2 == 0) {
        pd_send(victim, PD_KIND_ATTACH, &attach.base, NULL, 0);
    } else {
        pd_send(victim, PD_KIND_CREATE, &create.base, NULL, 0);
    }
}

START_TEST(a_session_of_another_length_is_refused)
{
    run("a session", send_short_session, _i, PARAMD_INVALID, ANSWERED);
}
END_TEST

static void send_garbage_definition(int row)
{
    static const char *const payloads[] = {"\x0a", "\xff\xff\xff", "\x12\x02\x0b\x0c"};
    Paramd__Create create = PARAMD__CREATE__INIT;
    create.request_id = pd_wire_request_id(victim);
    create.model = "n";
    create.session.data = worker.bits;
    create.session.len = PD_SESSION_BYTES;
    pd_send(victim, PD_KIND_CREATE, &create.base, payloads[row], strlen(payloads[row]));
}

START_TEST(a_definition_that_is_none_is_refused)
{
    run("a definition", send_garbage_definition, _i, PARAMD_INVALID, ANSWERED);
}
END_TEST

/* ---- the order of frames ---- */

/* A CREATE that goes on: with a request id, and so many bytes of the definition. */
static void send_more(uint64_t request_id, size_t bytes)
{
    static uint8_t zeros[PD_PAYLOAD_BYTES_MAX];
    Paramd__Create create = PARAMD__CREATE__INIT;
    size_t count;
    create.request_id = request_id;
    uint8_t *frame =
        pd_frame_bytes(PD_KIND_CREATE, PD_FRAME_MORE, &create.base, zeros, bytes, &count);
    pd_wire_send(victim, frame, count);
    free(frame);
}

static void send_interrupted_create(int row)
{
    send_more(50, 10);
    if (row == 0) {
        send_more(51, 10);
    } else {
        pd_send_skip(victim, &worker, 0, 1, 1);
    }
}

START_TEST(nothing_comes_between_the_frames_of_a_create)
{
    run("an interrupted CREATE", send_interrupted_create, _i, PARAMD_PROTOCOL, CLOSED);
}
END_TEST

static void send_endless_create(int row)
{
    (void)row;
    for (unsigned i = 0; i < 17 && victim->conn != NULL; i++) {
        send_more(50, PD_PAYLOAD_BYTES_MAX);
    }
}

START_TEST(a_definition_above_its_limit_ends_its_connection)
{
    run("an endless CREATE", send_endless_create, _i, PARAMD_TOO_LARGE, CLOSED);
}
END_TEST

/* A connection without HELLO. */
static void send_before_hello(int row)
{
    Paramd__Hello hello = PARAMD__HELLO__INIT;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pd_wire_close(victim);
    victim = pd_wire_open_raw(rig, 0);
    if (row == 0) {
        pd_send_skip(victim, &worker, 0, 1, 1);
    } else if (row == 1) {
        hello.client = text;
        pd_send(victim, PD_KIND_HELLO, &hello.base, NULL, 0);
    } else {
        pd_send(victim, (enum pd_kind)999, &hello.base, NULL, 0);
    }
}

START_TEST(the_first_frame_is_a_small_hello)
{
    run("no HELLO", send_before_hello, _i, _i == 1 ? PARAMD_TOO_LARGE : PARAMD_PROTOCOL, CLOSED);
}
END_TEST

START_TEST(an_unknown_kind_that_may_be_passed_over_is)
{
    Paramd__Ping ping = PARAMD__PING__INIT;
    size_t count;
    open_victim();
    ping.request_id = 5;
    uint8_t *frame =
        pd_frame_bytes((enum pd_kind)999, PD_FRAME_SKIPPABLE, &ping.base, "payload", 7, &count);
    pd_wire_send(victim, frame, count);
    free(frame);
    pd_wire_expect_silence(victim);
    pd_send(victim, PD_KIND_PING, &ping.base, NULL, 0);
    (void)pd_wire_expect(victim, PD_KIND_PONG);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("bad_input");
    TCase *bad = tcase_create("bad");
    tcase_add_checked_fixture(bad, start, stop);
    tcase_add_loop_test(bad, a_frame_that_is_none_is_answered_or_ends_its_connection, 0,
                        ROWS(raws));
    tcase_add_loop_test(bad, a_push_that_does_not_fit_together_ends_its_connection, 0,
                        ROWS(pushes));
    tcase_add_loop_test(bad, a_pull_that_does_not_fit_together_ends_its_connection, 0, ROWS(pulls));
    tcase_add_loop_test(bad, a_skip_that_cannot_be_ends_its_connection, 0, ROWS(skips));
    tcase_add_loop_test(bad, an_init_that_does_not_fit_together_ends_its_connection, 0,
                        ROWS(inits));
    tcase_add_loop_test(bad, a_session_of_another_length_is_refused, 0, 6);
    tcase_add_loop_test(bad, a_definition_that_is_none_is_refused, 0, 3);
    tcase_add_loop_test(bad, nothing_comes_between_the_frames_of_a_create, 0, 2);
    tcase_add_loop_test(bad, a_definition_above_its_limit_ends_its_connection, 0, 1);
    tcase_add_loop_test(bad, the_first_frame_is_a_small_hello, 0, 3);
    tcase_add_test(bad, an_unknown_kind_that_may_be_passed_over_is);
    suite_add_tcase(suite, bad);
    return suite;
}
