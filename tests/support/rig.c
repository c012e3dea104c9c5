/* The daemon in memory. Bytes move through the same calls that net makes, and only when it would
 * make them: a wire that was not marked active is not asked, so that a lost wake-up shows. */
#include "tests/support/rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"

enum { TICK_US = 250000, WIRE_ARENA_BYTES = 64 * 1024 * 1024 };

static void *take(void *context, size_t bytes)
{
    struct pd_rig *rig = context;
    if (rig->block_bytes + bytes > rig->block_bytes_max) {
        return NULL;
    }
    size_t rounded = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded);
    if (memory != NULL) {
        memset(memory, 0, rounded);
        rig->block_bytes += bytes;
    }
    return memory;
}

static void give(void *context, void *memory, size_t bytes)
{
    struct pd_rig *rig = context;
    rig->block_bytes -= bytes;
    free(memory);
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static enum paramd_status create_control(struct pd_rig *rig)
{
    const struct pd_rig_options *options = &rig->options;
    const struct pd_rig_recovered *recovered = options->recovered;
    const struct pd_control_options control = {
        .shards = options->shards,
        .memory_max = options->memory_max,
        .model_memory_max = options->model_memory_max,
        .models_max = options->models_max,
        .sessions_max = options->sessions_max,
        .lease_us = options->lease_us,
        .retention_us = options->retention_us,
        .start_us = 1000000,
        .records = options->log != NULL,
        .version = "paramd/test",
    };
    struct pd_control_host_options host = {.log = options->log};
    enum paramd_status status = PARAMD_OK;
    if (recovered != NULL) {
        host.control = recovered->control;
        host.log = recovered->control_log;
    } else {
        status = pd_control_create(&control, &host.control);
    }
    if (status == PARAMD_OK) {
        status = pd_control_host_create(&host, &rig->control);
    }
    if (status == PARAMD_OK && host.log != NULL) {
        bool clean = recovered != NULL && recovered->clean;
        status = pd_control_host_recovered(rig->control, clean, rig->now_us);
    }
    return status;
}

static bool create_parts(struct pd_rig *rig)
{
    const struct pd_rig_options *options = &rig->options;
    const struct pd_rig_recovered *recovered = options->recovered;
    if (create_control(rig) != PARAMD_OK) {
        return false;
    }
    for (uint32_t i = 0; i < options->shards; i++) {
        struct pd_host_options host = {
            .shard = i,
            .shards = options->shards,
            .connections_max = options->connections_max,
            .in_flight_max = options->in_flight_max,
            .copies_max = options->copies_max,
            .push_ids_max = options->push_ids_max,
            .lease_us = options->lease_us,
            .retention_us = options->retention_us,
            .payload_sum = options->payload_sum,
            .memory = {take, give, rig},
            .version = "paramd/test",
            .log = options->log,
        };
        if (recovered != NULL) {
            host.memory = recovered->memory;
            host.log = &recovered->shard_logs[i];
            host.recovered = recovered->shards[i];
        }
        if (pd_host_create(&host, &rig->hosts[i]) != PARAMD_OK) {
            return false;
        }
    }
    return true;
}

struct pd_rig *pd_rig_create(const struct pd_rig_options *options)
{
    struct pd_rig *rig = calloc(1, sizeof *rig);
    if (rig == NULL) {
        return NULL;
    }
    struct pd_rig_options *own = &rig->options;
    if (options != NULL) {
        *own = *options;
    }
    own->shards = (uint32_t)or_default(own->shards, 1);
    own->connections_max = (uint32_t)or_default(own->connections_max, 1000);
    own->in_flight_max = or_default(own->in_flight_max, 64U << 20);
    own->copies_max = or_default(own->copies_max, 64U << 20);
    own->push_ids_max = or_default(own->push_ids_max, 64U << 20);
    own->lease_us = or_default(own->lease_us, 30000000);
    own->retention_us = or_default(own->retention_us, UINT64_C(86400000000));
    own->models_max = (uint32_t)or_default(own->models_max, 100);
    own->sessions_max = (uint32_t)or_default(own->sessions_max, 1000);
    rig->now_us = 5000000;
    rig->block_bytes_max = SIZE_MAX / 2;
    if (!create_parts(rig)) {
        pd_rig_destroy(rig);
        return NULL;
    }
    return rig;
}

static void destroy_wire(struct pd_wire *wire)
{
    pd_frame_reader_deinit(&wire->reader);
    pd_arena_deinit(&wire->arena);
    free(wire->pending);
    free(wire->payload);
    free(wire->in);
    free(wire);
}

void pd_rig_destroy(struct pd_rig *rig)
{
    if (rig == NULL) {
        return;
    }
    for (uint32_t i = 0; i < rig->options.shards; i++) {
        pd_host_destroy(rig->hosts[i]);
    }
    pd_control_host_destroy(rig->control);
    for (uint32_t i = 0; i < rig->wire_count; i++) {
        destroy_wire(rig->wires[i]);
    }
    ck_assert_msg(rig->block_bytes == 0, "%zu bytes of blocks were not given back",
                  rig->block_bytes);
    free(rig);
}

static void inside(const struct pd_rig *rig, bool now_inside)
{
    if (rig->inside != NULL) {
        rig->inside(now_inside);
    }
}

/* ---- bytes ---- */

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

static void keep(struct pd_wire *wire, const uint8_t *bytes, size_t count)
{
    if (wire->in_end + count > wire->in_capacity) {
        wire->in_capacity = (wire->in_end + count) * 2;
        wire->in = realloc(wire->in, wire->in_capacity);
        ck_assert_ptr_nonnull(wire->in);
    }
    memcpy(wire->in + wire->in_end, bytes, count);
    wire->in_end += count;
}

static bool read_turn(struct pd_wire *wire)
{
    struct pd_host *host = wire->rig->hosts[wire->shard];
    bool moved = false;
    while (!wire->paused && wire->pending_first < wire->pending_end) {
        struct pd_span spans[PD_HOST_READ_SPANS];
        unsigned count = pd_host_read_target(host, wire->conn, spans);
        wire->paused = count == 0;
        if (count == 0) {
            return moved;
        }
        size_t left = wire->piece;
        size_t given = 0;
        for (unsigned i = 0; i < count; i++) {
            size_t step = smallest(spans[i].bytes, wire->pending_end - wire->pending_first, left);
            memcpy(spans[i].data, wire->pending + wire->pending_first, step);
            wire->pending_first += step;
            left -= step;
            given += step;
        }
        inside(wire->rig, true);
        pd_host_received(host, wire->conn, given, wire->rig->now_us);
        inside(wire->rig, false);
        wire->poked = true;
        moved = true;
    }
    return moved;
}

/* True if bytes moved. */
static bool write_turn(struct pd_wire *wire)
{
    struct pd_host *host = wire->rig->hosts[wire->shard];
    bool moved = false;
    for (;;) {
        struct pd_span spans[PD_HOST_WRITE_SPANS];
        inside(wire->rig, true);
        unsigned count = pd_host_write_source(host, wire->conn, spans);
        inside(wire->rig, false);
        if (count == 0) {
            wire->poked = false;
            return moved;
        }
        size_t taken = 0;
        size_t left = wire->appetite < wire->piece ? wire->appetite : wire->piece;
        for (unsigned i = 0; i < count && left > 0; i++) {
            size_t step = spans[i].bytes < left ? spans[i].bytes : left;
            keep(wire, spans[i].data, step);
            left -= step;
            taken += step;
        }
        if (taken == 0) {
            return moved; /* it goes on when the test has an appetite: poll would say so */
        }
        if (wire->appetite != SIZE_MAX) {
            wire->appetite -= taken;
        }
        inside(wire->rig, true);
        pd_host_written(host, wire->conn, taken, wire->rig->now_us);
        inside(wire->rig, false);
        moved = true;
    }
}

static void disconnect(struct pd_wire *wire)
{
    struct pd_host_conn *conn = wire->conn;
    if (conn != NULL) {
        wire->conn = NULL;
        inside(wire->rig, true);
        pd_host_closed(wire->rig->hosts[wire->shard], conn, wire->rig->now_us);
        inside(wire->rig, false);
    }
}

static bool turn(struct pd_wire *wire)
{
    struct pd_host *host = wire->rig->hosts[wire->shard];
    struct pd_span spans[PD_HOST_READ_SPANS];
    const char *reason = NULL;
    if (wire->conn == NULL) {
        return false;
    }
    bool moved = read_turn(wire);
    if (wire->poked) {
        moved = write_turn(wire) || moved;
        if (pd_host_finished(wire->conn, &reason)) {
            wire->reason = reason;
            disconnect(wire);
            return true;
        }
        if (wire->paused) {
            wire->paused = pd_host_read_target(host, wire->conn, spans) == 0;
            moved = moved || !wire->paused;
        }
    }
    return moved;
}

/* ---- messages ---- */

static bool carry_messages(struct pd_rig *rig)
{
    bool moved = false;
    struct pd_message *message;
    size_t requests = 0;
    for (uint32_t i = 0; i < rig->options.shards; i++) {
        while ((message = pd_host_next_outgoing(rig->hosts[i])) != NULL) {
            requests += message->kind == PD_MESSAGE_REQUEST;
            inside(rig, true);
            pd_control_host_step(rig->control, message, rig->now_us);
            inside(rig, false);
            moved = true;
        }
    }
    rig->requests_peak = requests > rig->requests_peak ? requests : rig->requests_peak;
    while ((message = pd_control_host_next_message(rig->control)) != NULL) {
        inside(rig, true);
        pd_host_message(rig->hosts[message->shard], message, rig->now_us);
        inside(rig, false);
        moved = true;
    }
    struct pd_note *note;
    while ((note = pd_control_host_next_note(rig->control)) != NULL) {
        free(note);
    }
    return moved;
}

static enum paramd_status do_job(const struct pd_rig *rig, uint32_t shard,
                                 const struct pd_wal_job *job)
{
    return rig->do_job != NULL ? rig->do_job(shard, job) : PARAMD_OK;
}

static bool do_jobs(struct pd_rig *rig)
{
    struct pd_wal_job job;
    bool moved = false;
    for (uint32_t i = 0; i < rig->options.shards && !rig->slow_disk; i++) {
        while (pd_host_take_job(rig->hosts[i], &job)) {
            pd_host_job_done(rig->hosts[i], do_job(rig, i, &job), rig->now_us);
            moved = true;
        }
    }
    while (!rig->slow_control_disk && pd_control_host_take_job(rig->control, &job)) {
        enum paramd_status status = do_job(rig, PD_RIG_CONTROL, &job);
        pd_control_host_job_done(rig->control, status, rig->now_us);
        moved = true;
    }
    return moved;
}

static void mark_active(struct pd_rig *rig)
{
    for (uint32_t i = 0; i < rig->options.shards; i++) {
        struct pd_host_conn *conn;
        while ((conn = pd_host_next_active(rig->hosts[i])) != NULL) {
            struct pd_wire *wire = pd_host_conn_user(conn);
            wire->poked = true;
        }
    }
}

void pd_rig_settle(struct pd_rig *rig)
{
    bool moved = true;
    while (moved) {
        mark_active(rig);
        moved = do_jobs(rig);
        moved = carry_messages(rig) || moved;
        mark_active(rig);
        for (uint32_t i = 0; i < rig->wire_count; i++) {
            moved = turn(rig->wires[i]) || moved;
        }
    }
}

void pd_rig_pass(struct pd_rig *rig, uint64_t us)
{
    uint64_t end_us = rig->now_us + us;
    while (rig->now_us < end_us) {
        uint64_t step = end_us - rig->now_us < TICK_US ? end_us - rig->now_us : TICK_US;
        rig->now_us += step;
        for (uint32_t i = 0; i < rig->options.shards; i++) {
            inside(rig, true);
            while (pd_host_tick(rig->hosts[i], rig->now_us) <= rig->now_us) {
            }
            inside(rig, false);
        }
        pd_rig_settle(rig);
        inside(rig, true);
        pd_control_host_step(rig->control, NULL, rig->now_us);
        inside(rig, false);
        pd_rig_settle(rig);
    }
}

/* ---- wires ---- */

struct pd_wire *pd_wire_open_raw(struct pd_rig *rig, uint32_t shard)
{
    struct pd_wire *wire = NULL;
    uint32_t place = 0;
    while (place < rig->wire_count && !rig->wires[place]->released) {
        place++;
    }
    ck_assert_uint_lt(place, PD_RIG_WIRES_MAX);
    wire = calloc(1, sizeof *wire);
    if (wire == NULL) {
        return NULL;
    }
    wire->rig = rig;
    wire->shard = shard;
    wire->piece = SIZE_MAX;
    wire->appetite = SIZE_MAX;
    pd_frame_reader_init(&wire->reader,
                         PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX);
    pd_arena_init(&wire->arena, WIRE_ARENA_BYTES);
    inside(rig, true);
    wire->conn = pd_host_open(rig->hosts[shard], true, wire, rig->now_us);
    inside(rig, false);
    if (wire->conn == NULL) {
        destroy_wire(wire);
        return NULL;
    }
    if (place < rig->wire_count) {
        destroy_wire(rig->wires[place]);
    } else {
        rig->wire_count++;
    }
    rig->wires[place] = wire;
    return wire;
}

void pd_wire_close(struct pd_wire *wire)
{
    disconnect(wire);
    wire->released = true;
}

void pd_wire_send(struct pd_wire *wire, const uint8_t *bytes, size_t count)
{
    size_t waiting = wire->pending_end - wire->pending_first;
    uint8_t *pending = malloc(waiting + count + 1);
    ck_assert_ptr_nonnull(pending);
    if (waiting > 0) {
        memcpy(pending, wire->pending + wire->pending_first, waiting);
    }
    if (count > 0) {
        memcpy(pending + waiting, bytes, count);
    }
    free(wire->pending);
    wire->pending = pending;
    wire->pending_first = 0;
    wire->pending_end = waiting + count;
    pd_rig_settle(wire->rig);
}

uint64_t pd_wire_request_id(struct pd_wire *wire)
{
    return ++wire->request_id;
}

/* ---- answers ---- */

static void place_payload(struct pd_wire *wire)
{
    wire->payload = malloc((size_t)wire->reader.payload_bytes + 1);
    ck_assert_ptr_nonnull(wire->payload);
    wire->span = (struct pd_span){wire->payload, wire->reader.payload_bytes};
    pd_frame_reader_place(&wire->reader, &wire->span, 1);
}

const struct pd_answer *pd_wire_read(struct pd_wire *wire)
{
    struct pd_frame_reader *reader = &wire->reader;
    if (reader->state == PD_FRAME_WHOLE) {
        pd_frame_reader_next(reader);
        pd_arena_reset(&wire->arena);
        free(wire->payload);
        wire->payload = NULL;
    }
    while (reader->state != PD_FRAME_WHOLE) {
        if (reader->state == PD_FRAME_WANTS_PAYLOAD) {
            place_payload(wire);
            continue;
        }
        ck_assert_msg(reader->state != PD_FRAME_FAILED, "the daemon's bytes: %s",
                      reader->error_text);
        if (wire->in_first == wire->in_end) {
            wire->in_first = wire->in_end = 0;
            return NULL;
        }
        wire->in_first +=
            pd_frame_reader_feed(reader, wire->in + wire->in_first, wire->in_end - wire->in_first);
    }
    const ProtobufCMessageDescriptor *descriptor = pd_kind_descriptor(reader->kind);
    ck_assert_ptr_nonnull(descriptor);
    wire->answer = (struct pd_answer){
        .kind = reader->kind,
        .flags = reader->flags,
        .header = pd_decode(descriptor, &wire->arena, reader->header, reader->header_bytes),
        .payload = wire->payload,
        .payload_bytes = reader->payload_bytes,
    };
    ck_assert_ptr_nonnull(wire->answer.header);
    return &wire->answer;
}

struct pd_wire *pd_wire_open(struct pd_rig *rig, uint32_t shard)
{
    struct pd_wire *wire = pd_wire_open_raw(rig, shard);
    ck_assert_ptr_nonnull(wire);
    Paramd__Hello hello = PARAMD__HELLO__INIT;
    uint8_t bytes[256];
    hello.request_id = pd_wire_request_id(wire);
    pd_frame_head_write(bytes, PD_KIND_HELLO, 0, &hello.base, 0, 0);
    pd_wire_send(wire, bytes, pd_frame_head_bytes(&hello.base));
    const Paramd__Welcome *welcome = pd_wire_expect(wire, PD_KIND_WELCOME);
    ck_assert_uint_eq(welcome->shard, shard);
    return wire;
}

const void *pd_wire_expect(struct pd_wire *wire, unsigned kind)
{
    const struct pd_answer *answer = pd_wire_read(wire);
    ck_assert_msg(answer != NULL, "no answer, but %s was expected (%s)", pd_kind_name(kind),
                  wire->reason != NULL ? wire->reason : "open");
    if (answer->kind != kind && answer->kind == PD_KIND_ERROR) {
        const Paramd__Error *error = (const Paramd__Error *)answer->header;
        ck_abort_msg("ERROR %s \"%s\" came where %s was expected",
                     paramd_status_name(error->status), error->message, pd_kind_name(kind));
    }
    ck_assert_msg(answer->kind == kind, "%s came where %s was expected", pd_kind_name(answer->kind),
                  pd_kind_name(kind));
    return answer->header;
}

const char *pd_wire_expect_error(struct pd_wire *wire, enum paramd_status status)
{
    const Paramd__Error *error = pd_wire_expect(wire, PD_KIND_ERROR);
    ck_assert_msg(error->status == (int)status, "ERROR %s \"%s\" came where %s was expected",
                  paramd_status_name(error->status), error->message, paramd_status_name(status));
    ck_assert_str_ne(error->message, "");
    return error->message;
}

void pd_wire_expect_silence(struct pd_wire *wire)
{
    const struct pd_answer *answer = pd_wire_read(wire);
    ck_assert_msg(answer == NULL, "%s came where nothing was expected",
                  pd_kind_name(answer != NULL ? answer->kind : 0));
}
