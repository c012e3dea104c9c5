/* A daemon in memory: one control core and its hosts, messages carried between them, time a number.
 * Wires are its connections: they behave as net's do, and a test is the other end. */
#ifndef PARAMD_TESTS_SUPPORT_RIG_H
#define PARAMD_TESTS_SUPPORT_RIG_H

#include "proto/arena.h"
#include "proto/paramd.pb-c.h"
#include "server/control_host.h"
#include "server/host.h"

enum { PD_RIG_SHARDS_MAX = 8, PD_RIG_WIRES_MAX = 64, PD_RIG_CONTROL = PD_RIG_SHARDS_MAX };

/* A daemon that goes on with what recovery found. Control and shards are the rig's from then on. */
struct pd_rig_recovered {
    struct pd_control *control;
    struct pd_shard *const *shards;
    struct pd_memory memory; /* that they are in, and what is taken later */
    const struct pd_wal_config *control_log;
    const struct pd_wal_config *shard_logs;
    bool clean;
};

/* 0 means a default that is in nobody's way. */
struct pd_rig_options {
    uint32_t shards;
    uint32_t connections_max;
    uint64_t in_flight_max;
    uint64_t copies_max;
    uint64_t push_ids_max;
    uint64_t lease_us;
    uint64_t retention_us;
    uint64_t memory_max;
    uint64_t model_memory_max;
    uint32_t models_max;
    uint32_t sessions_max;
    enum pd_payload_sum_mode payload_sum;
    const struct pd_wal_config *log;          /* of each shard, and of control; NULL: none */
    const struct pd_rig_recovered *recovered; /* with logs of its own; NULL: an empty daemon */
};

struct pd_rig;

/* One frame that came from the daemon; valid until the next one is read from the same wire. */
struct pd_answer {
    unsigned kind;
    unsigned flags;
    const ProtobufCMessage *header;
    const uint8_t *payload;
    size_t payload_bytes;
};

/* One connection. The first fields are the test's to set. */
struct pd_wire {
    size_t piece;    /* bytes given to the daemon at a time; SIZE_MAX */
    size_t appetite; /* bytes the test still takes from it; SIZE_MAX */

    struct pd_rig *rig;
    struct pd_host_conn *conn; /* NULL: closed */
    const char *reason;        /* why the daemon closed it */
    uint32_t shard;
    uint64_t request_id; /* of the last request that pd_wire_request_id numbered */
    bool released;       /* the test has closed it: its place may be used again */
    bool paused;
    bool poked;
    uint8_t *pending; /* not yet given to the daemon */
    size_t pending_first;
    size_t pending_end;
    uint8_t *in; /* came from the daemon, not yet looked at */
    size_t in_first;
    size_t in_end;
    size_t in_capacity;
    uint8_t *payload;
    struct pd_span span; /* over the payload */
    struct pd_frame_reader reader;
    struct pd_arena arena;
    struct pd_answer answer;
};

struct pd_rig {
    struct pd_rig_options options;
    struct pd_control_host *control;
    struct pd_host *hosts[PD_RIG_SHARDS_MAX];
    struct pd_wire *wires[PD_RIG_WIRES_MAX];
    uint32_t wire_count;
    uint64_t now_us;
    size_t block_bytes;     /* taken from the memory provider and not given back */
    size_t block_bytes_max; /* the provider says no above it */
    size_t requests_peak;   /* the most requests that control found waiting at a time */
    void (*inside)(bool);   /* if set: called with true before the daemon runs, with false after */
    /* Jobs of a shard's log, or PD_RIG_CONTROL's; NULL: OK at once. */
    enum paramd_status (*do_job)(uint32_t shard, const struct pd_wal_job *job);
    bool slow_disk;         /* the shards' jobs are the test's to do */
    bool slow_control_disk; /* control's too */
};

/* NULL options: all defaults. NULL without memory. */
struct pd_rig *pd_rig_create(const struct pd_rig_options *options);
/* With all its wires. */
void pd_rig_destroy(struct pd_rig *rig);

/* Carries messages and bytes until nothing moves. */
void pd_rig_settle(struct pd_rig *rig);

/* Time passes, with a tick at least every quarter of a second of it. */
void pd_rig_pass(struct pd_rig *rig, uint64_t us);

/* A connection to one shard, before HELLO; freed with the rig. NULL if the host takes none. */
struct pd_wire *pd_wire_open_raw(struct pd_rig *rig, uint32_t shard);
/* With HELLO sent and WELCOME read. */
struct pd_wire *pd_wire_open(struct pd_rig *rig, uint32_t shard);
/* The client's end goes away; the wire is not to be used any more. */
void pd_wire_close(struct pd_wire *wire);

/* Bytes to the daemon; as many as it reads now are given, the rest when it does. */
void pd_wire_send(struct pd_wire *wire, const uint8_t *bytes, size_t count);

/* A request id that was not used on this wire. */
uint64_t pd_wire_request_id(struct pd_wire *wire);

/* The next frame from the daemon, or NULL if there is no whole one. */
const struct pd_answer *pd_wire_read(struct pd_wire *wire);
/* The header of the next frame, which must be of this kind. */
const void *pd_wire_expect(struct pd_wire *wire, unsigned kind);
/* The next frame must be ERROR with this status; its text. */
const char *pd_wire_expect_error(struct pd_wire *wire, enum paramd_status status);
/* There must be no frame. */
void pd_wire_expect_silence(struct pd_wire *wire);

#endif
