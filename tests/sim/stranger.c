/* Somebody who speaks nonsense to a host, on a connection of his own: he gets the answer that he
 * has earned, is closed if the stream is broken, and disturbs nobody. */
#include <string.h>

#include "proto/codec.h"
#include "proto/paramd.pb-c.h"
#include "server/core/shard_state.h"
#include "server/host_state.h"
#include "tests/sim/sim.h"

enum { BYTES_MAX = 1024, KIND_NOBODY_KNOWS = 1000 };

static size_t write_nonsense(enum sim_nonsense what, uint64_t model, uint8_t *out)
{
    Paramd__Ping ping = PARAMD__PING__INIT;
    Paramd__Pull pull = PARAMD__PULL__INIT;
    ping.request_id = pull.request_id = 2;
    pull.model = model;
    switch (what) {
    case SIM_NOT_ATTACHED:
        pd_frame_head_write(out, PD_KIND_PULL, 0, &pull.base, 0, 0);
        return pd_frame_head_bytes(&pull.base);
    case SIM_NO_KIND:
        pd_frame_head_write(out, (enum pd_kind)KIND_NOBODY_KNOWS, 0, &ping.base, 0, 0);
        break;
    default:
        pd_frame_head_write(out, PD_KIND_PUSH, 0, &ping.base,
                            what == SIM_TOO_MUCH ? PD_PAYLOAD_BYTES_MAX + 1 : 0, 0);
        out[0] ^= what == SIM_BROKEN;
        break;
    }
    return pd_frame_head_bytes(&ping.base);
}

static void say(struct sim *sim, struct pd_host *host, struct pd_host_conn *conn,
                const uint8_t *bytes, size_t count)
{
    struct pd_span spans[PD_HOST_READ_SPANS];
    if (pd_host_read_target(host, conn, spans) == 1 && spans[0].bytes >= count) {
        memcpy(spans[0].data, bytes, count);
        pd_host_received(host, conn, count, sim->now_us);
    }
}

/* What a frame says went wrong. */
static int status_of(const struct pd_frame_reader *reader)
{
    struct pd_arena arena;
    pd_arena_init(&arena, PD_HEADER_BYTES_MAX);
    const Paramd__Error *error = NULL;
    if (reader->kind == PD_KIND_ERROR) {
        error = (const Paramd__Error *)pd_decode(&paramd__error__descriptor, &arena, reader->header,
                                                 reader->header_bytes);
    }
    int status = error != NULL ? error->status : PARAMD_OK;
    pd_arena_deinit(&arena);
    return status;
}

static int read_frames(struct pd_frame_reader *reader, const struct pd_span *bytes)
{
    int status = PARAMD_OK;
    for (size_t taken = 0; taken < bytes->bytes || reader->state != PD_FRAME_HEAD;) {
        if (reader->state == PD_FRAME_WANTS_PAYLOAD) {
            pd_frame_reader_place(reader, NULL, 0);
        } else if (reader->state == PD_FRAME_WHOLE) {
            status = status_of(reader);
            pd_frame_reader_next(reader);
        } else {
            taken += pd_frame_reader_feed(reader, bytes->data + taken, bytes->bytes - taken);
        }
    }
    return status;
}

/* The status of the last answer. */
static int hear(struct sim *sim, struct pd_host *host, struct pd_host_conn *conn)
{
    struct pd_span spans[PD_HOST_WRITE_SPANS];
    struct pd_frame_reader reader;
    int status = PARAMD_OK;
    pd_frame_reader_init(&reader, PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX);
    while (pd_host_write_source(host, conn, spans) > 0) {
        status = read_frames(&reader, &spans[0]);
        pd_host_written(host, conn, spans[0].bytes, sim->now_us);
    }
    pd_frame_reader_deinit(&reader);
    return status;
}

void sim_stranger_visit(struct sim *sim, uint32_t shard, enum sim_nonsense what)
{
    int earned[SIM_NONSENSES] = {[SIM_TOO_MUCH] = PARAMD_TOO_LARGE,
                                 [SIM_BROKEN] = PARAMD_PROTOCOL,
                                 [SIM_NO_KIND] = PARAMD_UNSUPPORTED};
    struct pd_host *host = sim->daemon.hosts[shard];
    uint64_t model = host->shard->models != NULL ? host->shard->models->number : 0;
    earned[SIM_NOT_ATTACHED] = model != 0 ? PARAMD_NOT_ATTACHED : PARAMD_NOT_FOUND;
    struct pd_host_conn *conn = pd_host_open(host, true, NULL, sim->now_us);
    if (conn == NULL) {
        return;
    }
    uint8_t bytes[BYTES_MAX];
    const char *reason = NULL;
    Paramd__Hello hello = PARAMD__HELLO__INIT;
    hello.request_id = 1;
    pd_frame_head_write(bytes, PD_KIND_HELLO, 0, &hello.base, 0, 0);
    say(sim, host, conn, bytes, pd_frame_head_bytes(&hello.base));
    say(sim, host, conn, bytes, write_nonsense(what, model, bytes));
    int status = hear(sim, host, conn);
    bool closed = pd_host_finished(conn, &reason);
    if (status != earned[what] || closed != (what == SIM_TOO_MUCH || what == SIM_BROKEN)) {
        sim_violate(sim, "nonsense of kind %d is answered with %s, and the connection is %s",
                    (int)what, paramd_status_name(status), closed ? "closed" : "open");
    }
    pd_host_closed(host, conn, sim->now_us);
    sim_daemon_serve(sim, shard);
}
