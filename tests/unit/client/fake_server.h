/* A daemon made of bytes in and bytes out, for testing the client's core: it keeps one model with
 * plain SGD (rate -1, so gradients add up), push ids with their refusal masks as proto/README.md
 * says, and a list of faults to commit. */
#ifndef PARAMD_TESTS_UNIT_CLIENT_FAKE_SERVER_H
#define PARAMD_TESTS_UNIT_CLIENT_FAKE_SERVER_H

#include "proto/arena.h"
#include "proto/codec.h"
#include "proto/definition.h"
#include "proto/frame.h"
#include "proto/slot.h"

enum { FAKE_SESSIONS_MAX = 4, FAKE_PARTS = 4 };

struct fake_session {
    uint8_t id[PD_SESSION_BYTES];
    uint64_t nonce;
    bool known;
    uint64_t last[PD_SLOTS];
    uint64_t refused[PD_SLOTS];
};

struct fake_block {
    uint64_t version;
    uint64_t step;
    float *parts[FAKE_PARTS];
    uint32_t elements;
};

/* What to do wrong, or how often to say no. Counts go down with each use. */
struct fake_faults {
    unsigned busy_frames;     /* PUSH, PUSH_PULL, PULL, INIT frames answered BUSY */
    unsigned not_attached;    /* data frames answered NOT_ATTACHED */
    unsigned moved_entries;   /* push entries answered MOVED */
    unsigned moved_requests;  /* pulls answered MOVED */
    unsigned busy_calls;      /* control calls answered BUSY */
    unsigned invalid_frames;  /* PUSH frames answered INVALID as a whole */
    bool refuse_not_finite;   /* entries whose first element is not finite */
    bool mute;                /* reads and does not answer */
    unsigned cut_after_apply; /* closes after applying a push, before its ACK */
    unsigned cut_after_skip;  /* and after a SKIP, before its answer */
    unsigned mute_snapshots;  /* SNAPSHOTs not answered */
    int attach_status;        /* ATTACH is answered with this ERROR */
};

struct fake_server {
    unsigned shards;
    uint64_t epoch;
    struct pd_definition *definition; /* NULL: no model */
    uint8_t *definition_bytes;
    size_t definition_count;
    uint64_t number;
    uint64_t generation;
    uint64_t attempt;
    bool ready;
    uint8_t initialiser[PD_SESSION_BYTES];
    bool initialiser_dead; /* its lease has run out */
    struct fake_block *blocks;
    struct fake_session sessions[FAKE_SESSIONS_MAX];
    struct fake_faults faults;
    uint64_t lease_us;
    double weight;       /* sum over frames */
    unsigned frames[32]; /* seen, by kind */
    unsigned entries[32];
    uint64_t applied;
    uint64_t base_version; /* of the last push entry */
    float learning_rate;   /* what SET said */
    uint64_t last_request; /* its id */
    bool payload_sums_seen;
    bool send_payload_sums;
};

struct fake_conn {
    struct fake_server *server;
    unsigned shard;
    bool closed; /* by the server */
    bool greeted;
    bool attached;
    unsigned session;
    uint8_t preamble[PD_PREAMBLE_BYTES];
    size_t preamble_bytes;
    struct pd_frame_reader reader;
    struct pd_arena arena;
    ProtobufCMessage *message;
    uint8_t *payload;
    struct pd_span span;
    uint8_t *definition; /* of a CREATE in several frames */
    size_t definition_bytes;
    uint8_t *out;
    size_t out_bytes;
    size_t out_capacity;
};

void fake_server_init(struct fake_server *server, unsigned shards);
void fake_server_deinit(struct fake_server *server);
/* Forgets the model, as a daemon that was restarted without data. */
void fake_server_forget(struct fake_server *server);
/* Goes back to `last` push ids in each used slot beyond it, as a daemon that was restarted from
 * older data. */
void fake_server_lose(struct fake_server *server, uint64_t last);

struct fake_conn *fake_conn_create(struct fake_server *server);
void fake_conn_destroy(struct fake_conn *conn);
/* Bytes from the client. */
void fake_conn_feed(struct fake_conn *conn, const uint8_t *bytes, size_t count);
/* Takes up to count bytes of what is to be sent. */
size_t fake_conn_take(struct fake_conn *conn, uint8_t *bytes, size_t count);
/* Adds a frame, or any bytes, to what is to be sent. */
void fake_conn_send(struct fake_conn *conn, enum pd_kind kind, const ProtobufCMessage *header,
                    const void *payload, size_t payload_bytes, unsigned flags);
void fake_conn_send_raw(struct fake_conn *conn, const void *bytes, size_t count);

#endif
