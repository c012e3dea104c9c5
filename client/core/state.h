/* The structs of the core and who owns what, for the files of client/core only. One file per struct
 * acts on it: client.c, link.c, session.c, lane.c, op.c, call.c, join.c; pack.c makes frames of
 * units, answer.c undoes it. */
#ifndef PARAMD_CLIENT_CORE_STATE_H
#define PARAMD_CLIENT_CORE_STATE_H

#include "client/core/core.h"
#include "proto/arena.h"
#include "proto/codec.h"
#include "proto/dtype.h"
#include "proto/slot.h"

enum {
    PD_LINK_OUT_FRAMES_MAX = 16, /* built and not yet written */
    PD_LINK_WAITING_MAX = 1024,  /* written and not yet answered */
    PD_LANE_UNFILLED_MAX = 4,    /* frames in flight at which small work waits to fill one */
    PD_GAPS_MAX = 4,             /* losses of a slot that are remembered */
    PD_SPARE_OPS_MAX = 256,      /* freed ops kept for the next calls */
    PD_SPARE_OP_BYTES = 4096,    /* larger ones are not kept */
    PD_SCRATCH_BYTES = 64 * 1024,
    PD_SCRATCH_BEHIND_PAYLOAD =
        4096, /* read beyond a large payload, so that little is copied twice */
    PD_LARGE_PAYLOAD = 64 * 1024,
    PD_CONNECT_TIMEOUT_US = 5 * 1000 * 1000, /* to connect, and again to be welcomed */
    PD_RECONNECT_US_MIN = 20 * 1000,
    PD_RECONNECT_US_MAX = 2 * 1000 * 1000,
    PD_RETRY_US_MIN = 2 * 1000, /* after BUSY, NOT_READY and the like */
    PD_RETRY_US_MAX = 200 * 1000,
    PD_LEASE_US_DEFAULT = 30 * 1000 * 1000
};

/* One block of one op. It is in one list at a time, or in none when the core is done with it. */
struct pd_unit {
    struct pd_op *op;
    struct pd_unit *prev;
    struct pd_unit *next;
    struct pd_units *home;  /* the list it is in */
    uint64_t block;         /* in the tensor */
    uint64_t push_id;       /* 0: none given yet */
    uint64_t known_version; /* pushes: the base version; pulls: newer_than */
    uint64_t version;       /* of the parts received so far */
    uint32_t entry;         /* in the op */
    int status;
    uint8_t parts_missing; /* bit per part still to come */
    bool answered;         /* the push part has its final answer */
    bool finished;         /* the op knows what became of it */
    bool refused;          /* its frame was refused for good without using its id */
    bool skip_sent;        /* a SKIP of its id went out */
    bool skip_resent;      /* and once more */
};

enum pd_place { PD_PARKED, PD_READY, PD_RESEND, PD_IN_FLIGHT, PD_TAKEN_BACK };

struct pd_units {
    enum pd_place place;
    struct pd_unit *head;
    size_t count;
    uint64_t bytes; /* of payload that goes out with them */
};

struct pd_op_entry {
    uint32_t tensor;
    uint8_t parts;           /* pulls */
    const uint8_t *gradient; /* what is sent; of PD_OP_INIT the values of the part */
    uint8_t *parts_to[1 + PARAMD_MOMENTS_MAX];
    uint64_t first_block; /* whose place is where the buffers begin */
    uint64_t block_count;
    const uint64_t *steps; /* PD_OP_INIT: one for each block; NULL: step for all */
    uint64_t step;
};

struct pd_op {
    struct pd_client *client;
    struct pd_client_session *session; /* NULL once that is destroyed */
    struct pd_op *prev;                /* in session->ops, from start to end */
    struct pd_op *next;
    struct pd_op *done_next; /* in client->done */
    size_t capacity;         /* bytes of the op and what follows it: units, entries */
    enum pd_op_kind kind;
    enum pd_dtype dtype;
    float scale;
    double weight;
    uint32_t part; /* PD_OP_INIT */
    size_t entry_count;
    size_t unit_count;
    struct pd_op_entry *entries;
    struct pd_unit *units;
    size_t open;        /* units that are not finished */
    size_t in_core;     /* units that are in a list */
    bool waits_for_set; /* not queued yet */
    bool cancelled;
    bool released;
    bool in_done; /* in client->done */
    struct paramd_result result;
    const struct pd_unit *bad; /* the one that result.status is about */
    void (*done)(struct paramd_ticket *ticket, void *arg);
    void *arg;
    void *owner;
    char *text; /* the daemon's sentence about a frame that failed as a whole; NULL: none */
};

/* A frame on its way out or waiting for its answer. */
struct pd_request {
    struct pd_request *prev;
    struct pd_request *next;
    uint64_t id;
    enum pd_kind kind;
    struct pd_lane *lane; /* data and ATTACH frames; NULL once the session is gone */
    struct pd_call *call; /* control frames; NULL once nobody wants the answer */
    struct pd_units units;
    struct pd_unit *cursor; /* where to look first for the next block of an answer */
    bool acked;             /* PUSH_PULL: the ACK has come */
    uint32_t slot;          /* SKIP of lost ids */
    uint32_t parts;         /* PULL */
    enum pd_dtype dtype;
    uint8_t *head;
    size_t head_bytes;
    size_t head_capacity;
    size_t bytes; /* the whole frame, or all frames of a call */
    size_t written;
    struct pd_unit *out_unit; /* the payload being written */
    size_t out_offset;        /* in that unit */
};

/* Push ids of a slot that a restarted daemon lost, and that were counted. */
struct pd_gap {
    uint64_t from;
    uint64_t to;
};

/* A session's push ids in one slot. */
struct pd_slot_state {
    uint64_t assigned; /* last push id given to a unit */
    uint64_t answered; /* last one with a final answer */
    /* The last ones, in order: a start from an older snapshot loses what lies between them. */
    struct pd_gap gaps[PD_GAPS_MAX];
    uint32_t gap_count;
    uint64_t skip_from; /* lost ids to SKIP on this connection: 0 if none */
    uint64_t skip_to;
    uint32_t
        admitted; /* units in ready, resend, returned or in flight: at most PD_UNANSWERED_MAX */
    struct pd_units parked;
};

enum pd_lane_state { PD_LANE_DETACHED, PD_LANE_ATTACHING, PD_LANE_ATTACHED };

/* One session on one link. */
struct pd_lane {
    struct pd_client_session *session;
    unsigned link;
    enum pd_lane_state state;
    uint64_t generation; /* of the model, when it was attached last */
    bool wanted;         /* keep it attached */
    struct pd_units
        ready; /* never sent, in call order; of pushes only as many as the slots admit */
    struct pd_units resend;       /* with push ids, to be sent before ready */
    struct pd_units returned;     /* refused in passing; joins resend when nothing is in flight */
    struct pd_units taken_pushes; /* while a link goes down: what was in flight */
    struct pd_units taken_others;
    unsigned pushes_in_flight; /* frames: PUSH, PUSH_PULL until the ACK, SKIP */
    unsigned pulls_in_flight;
    uint64_t held_until_us;
    uint64_t retry_us;  /* the next hold */
    unsigned gaps_next; /* slots from here on may have lost ids to SKIP; PD_SLOTS: none */
};

struct pd_block_state {
    uint64_t pulled; /* version of the last BLOCKS */
    uint64_t seen;   /* of ACKs too */
    uint64_t step;
    uint64_t applied;
    uint64_t mark; /* the last request that holds it with an answer to be placed */
};

struct pd_client_session {
    struct pd_client *client;
    struct pd_client_session *prev;
    struct pd_client_session *next;
    struct pd_definition *definition;
    uint8_t id[PD_SESSION_BYTES];
    uint64_t nonce;
    uint64_t number;
    uint64_t generation;
    uint64_t attempt;
    bool established; /* an ATTACH has succeeded */
    bool left;        /* GOODBYE was answered */
    int gone;         /* PARAMD_OK, or why it is over */
    struct pd_lane *lanes;
    unsigned lane_count;
    struct pd_slot_state *slots;   /* PD_SLOTS */
    struct pd_block_state *blocks; /* definition->block_count */
    uint64_t *tensor_mark;         /* one for each tensor: the last call that named it */
    uint64_t calls_started;
    struct pd_op *ops;
    size_t unfinished;
    unsigned sets_pending;
    struct paramd_counters counters;
};

enum pd_call_state { PD_CALL_QUEUED, PD_CALL_IN_FLIGHT, PD_CALL_FINISHED };

struct pd_call {
    struct pd_client *client;
    struct pd_client_session *session;
    struct pd_call *prev;
    struct pd_call *next;
    enum pd_call_state state;
    enum pd_kind kind;
    bool repeated;              /* sent more than once */
    bool is_set;                /* it holds the session's pushes */
    bool destroyed;             /* by its owner, while its bytes are being written */
    struct pd_request *request; /* IN_FLIGHT */
    uint64_t id;
    uint8_t *bytes;
    size_t byte_count;
    uint64_t held_until_us;
    uint64_t retry_us;
    int status;
    char text[PD_CALL_TEXT_BYTES];
    struct pd_arena arena;
    const ProtobufCMessage *answer;
    uint8_t *payload;
    size_t payload_bytes;
    size_t payload_capacity;
};

enum pd_link_state {
    PD_LINK_IDLE,   /* no connection, none asked for */
    PD_LINK_WANTED, /* to be named by connect_wanted */
    PD_LINK_CONNECTING,
    PD_LINK_GREETING, /* HELLO sent */
    PD_LINK_READY,
    PD_LINK_BACKING_OFF
};

struct pd_link {
    struct pd_client *client;
    unsigned index;
    enum pd_link_state state;
    bool close_wanted;
    bool was_ready; /* once, since the client was opened */
    bool payload_sum;
    uint64_t deadline_us; /* CONNECTING, GREETING: gives up; BACKING_OFF: tries again */
    uint64_t backoff_us;
    uint64_t sent_us; /* the last byte */
    uint64_t received_us;
    uint64_t ping_us; /* when the unanswered PING was made; 0: none */
    struct pd_request *out;
    unsigned out_count;
    size_t out_bytes;
    struct pd_request *waiting;
    unsigned waiting_count;
    struct pd_frame_reader reader;
    bool after_bulk; /* the last frame was large: the next one may be, and is not to be copied */
    struct pd_arena arena; /* the header being answered */
    ProtobufCMessage *message;
    struct pd_request *answered; /* the request that message answers */
    uint8_t *scratch;
    struct pd_span *placed; /* where the payload goes, and whose it is */
    struct pd_unit **placed_units;
    size_t placed_count;
    size_t placed_capacity;
    uint8_t *discard; /* 1 MiB, for what was cancelled */
};

struct pd_client {
    char name[64];
    enum paramd_payload_sum payload_sum;
    uint64_t now_us;
    uint64_t random;
    uint64_t
        request_id; /* the last one given: unique in the client, so that a call keeps its bytes */
    uint64_t lease_us;
    unsigned shards;    /* 1 until a WELCOME says more */
    unsigned links_end; /* behind the last link that was ever made */
    struct pd_link *links[PD_SHARDS_MAX];
    struct pd_client_session *sessions;
    struct pd_client_session *next_served; /* whose lane builds the next frame */
    struct pd_call *calls;
    struct pd_join *joins;
    struct pd_op *orphans; /* ops of destroyed sessions that are not released */
    struct pd_op *done;    /* finished, with a done function */
    struct pd_op *done_last;
    size_t tickets;    /* unfinished */
    uint64_t finished; /* ops, since the start */
    struct pd_request *free_requests;
    struct pd_op *spare_ops; /* by next */
    size_t spare_op_count;
    char trouble[PD_CALL_TEXT_BYTES];
    /* What a header is put together in: one frame at a time. */
    struct {
        uint32_t tensor[PD_ENTRIES_MAX];
        uint64_t block[PD_ENTRIES_MAX];
        uint64_t push_id[PD_ENTRIES_MAX];
        uint64_t version[PD_ENTRIES_MAX];
        struct pd_span spans[PD_ENTRIES_MAX];
    } pack;
};

/* client.c */
/* Takes a slot map over. keep: the link that brought it, which stays open if its shard exists. */
bool pd_client_slot_map(struct pd_client *client, const Paramd__SlotMap *map, struct pd_link *keep);
void pd_client_set_trouble(struct pd_client *client, const char *text);
/* now + a random time between half of us and us. */
uint64_t pd_client_later(struct pd_client *client, uint64_t us);

/* link.c */
struct pd_link *pd_link_create(struct pd_client *client, unsigned index);
void pd_link_destroy(struct pd_link *link);
uint64_t pd_link_tick(struct pd_link *link);
/* Drops the connection: what was in flight is queued again; a new one follows after a back-off. */
void pd_link_down(struct pd_link *link, const char *text);
/* A request object, of head_bytes room; NULL without memory. */
struct pd_request *pd_link_request(struct pd_link *link, enum pd_kind kind, size_t head_bytes);
/* Queues it for writing. bytes is the whole frame. */
void pd_link_send(struct pd_link *link, struct pd_request *request, size_t bytes);
/* One frame without payload. False without memory. */
bool pd_link_send_header(struct pd_link *link, enum pd_kind kind, struct pd_lane *lane, uint64_t id,
                         const ProtobufCMessage *header);
struct pd_request *pd_link_find(struct pd_link *link, uint64_t id);
/* Takes it out of its list and back to the free ones. Its units are elsewhere by now. */
void pd_link_request_free(struct pd_link *link, struct pd_request *request);
/* No byte of these ops' buffers is touched from now on. Either may be NULL. */
void pd_link_revoke(struct pd_link *link, const struct pd_op *op,
                    const struct pd_client_session *session);

/* The same for a call's place for an answer's payload. */
void pd_link_revoke_answer(struct pd_link *link, const struct pd_request *request);

/* answer.c: a header is there: where does the payload go? False: the peer is broken, the link is
 * down. */
bool pd_answer_head(struct pd_link *link);
/* The frame is whole. */
bool pd_answer_whole(struct pd_link *link);
bool pd_answer_broken(struct pd_link *link, const char *text);

/* answer_data.c: ACK, BLOCKS, SKIPPED, and what else may answer a data frame. */
bool pd_answer_ack(struct pd_link *link, struct pd_request *request, const Paramd__Ack *ack);
bool pd_answer_blocks_head(struct pd_link *link, struct pd_request *request,
                           const Paramd__Blocks *blocks);
bool pd_answer_blocks(struct pd_link *link, struct pd_request *request,
                      const Paramd__Blocks *blocks);
bool pd_answer_skipped(struct pd_link *link, struct pd_request *request,
                       const Paramd__Skipped *skipped);
/* text: the daemon's sentence about a frame that failed as a whole. */
void pd_answer_data_error(struct pd_link *link, struct pd_request *request, int status,
                          const char *text);
void pd_answer_init_done(struct pd_link *link, struct pd_request *request);

/* lane.c */
void pd_lane_init(struct pd_lane *lane, struct pd_client_session *session, unsigned link);
/* A unit joins for the first time, or is parked in its slot. */
void pd_lane_submit(struct pd_lane *lane, struct pd_unit *unit);
/* Takes back a unit that was refused in passing; the lane rests a while. */
void pd_lane_return(struct pd_lane *lane, struct pd_unit *unit);
void pd_lane_hold(struct pd_lane *lane);
/* Nothing of returned stays if nothing is in flight any more. */
void pd_lane_settle(struct pd_lane *lane);
/* The link is gone: takes back the units of all requests, oldest first. */
void pd_lane_take_back(struct pd_lane *lane, struct pd_request *request);
/* After that: they wait to be sent again, before all others. */
void pd_lane_detached(struct pd_lane *lane);
bool pd_lane_attached(struct pd_lane *lane, const Paramd__Attached *attached);
/* Sends ATTACH if it is time. */
bool pd_lane_attach(struct pd_lane *lane, struct pd_link *link);
uint64_t pd_lane_wake(const struct pd_lane *lane);
/* The unit's push id has its final answer, or will never be sent: on with those parked behind it.
 */
void pd_lane_slot_done(struct pd_lane *lane, struct pd_unit *unit);

/* pack.c: makes the lane's next frame; false if there is nothing to send now. */
bool pd_pack_next(struct pd_lane *lane, struct pd_link *link);

/* op.c */
void pd_units_append(struct pd_units *units, struct pd_unit *unit);
void pd_unit_unlink(struct pd_unit *unit);
/* Moves all of from, in order, before what is in to. */
void pd_units_move_front(struct pd_units *to, struct pd_units *from);
size_t pd_unit_bytes(const struct pd_unit *unit); /* of one part, in the op's dtype */
const uint8_t *pd_unit_out(const struct pd_unit *unit);
uint8_t *pd_unit_place(const struct pd_unit *unit, unsigned part);
uint32_t pd_unit_tensor(const struct pd_unit *unit);
uint32_t pd_unit_slot(const struct pd_unit *unit);
uint64_t pd_unit_step(const struct pd_unit *unit); /* PD_OP_INIT */
struct pd_block_state *pd_unit_block(const struct pd_unit *unit);
bool pd_unit_pushes(const struct pd_unit *unit);
/* The push was cancelled: its id is passed over instead. */
bool pd_unit_skips(const struct pd_unit *unit);
/* Its values come from the first part on (again): all parts are of one version. */
void pd_unit_restart(struct pd_unit *unit);
/* Tells the op; the unit may stay in the core. */
void pd_unit_finish(struct pd_unit *unit, int status);
/* Out of all lists; may free the op. */
void pd_unit_leave(struct pd_unit *unit);
/* The session is over: tells the op what can be said, and leaves. */
void pd_unit_drop(struct pd_unit *unit, int status);
/* Keeps the daemon's sentence about the first frame that failed as a whole. */
void pd_op_set_text(struct pd_op *op, const char *text);
/* Queues a started op. */
void pd_op_submit(struct pd_op *op);
/* Init ops take paramd_values instead of paramd_io. */
int pd_op_start_init(struct pd_client_session *session, const struct paramd_values *initial,
                     uint32_t part, struct pd_op **ret_op);

/* session.c */
/* Why a session is over, and what to do; of any other status its own sentence. */
const char *pd_gone_text(int status);
struct pd_client_session *pd_client_session_create(struct pd_client *client,
                                                   struct pd_definition *definition);
/* Destroys the session but for its definition, which is the caller's then. */
struct pd_definition *pd_client_session_dissolve(struct pd_client_session *session);
void pd_client_session_end(struct pd_client_session *session, int status);
void pd_client_session_generation(struct pd_client_session *session, uint64_t generation);
void pd_client_session_reshard(struct pd_client_session *session);
struct pd_lane *pd_client_session_lane(struct pd_client_session *session,
                                       const struct pd_unit *unit);
/* A SET is over: the ops behind it go on. */
void pd_client_session_set_over(struct pd_client_session *session);

/* call.c */
/* Sends the next call that is due on link 0; false if there is none. */
bool pd_call_send_next(struct pd_client *client, struct pd_link *link);
void pd_call_requeue(struct pd_call *call);
void pd_call_finish(struct pd_call *call, int status, const char *text);
/* One frame of the answer is there; false: more follow. */
bool pd_call_answered(struct pd_link *link, struct pd_call *call);
void pd_call_failed(struct pd_call *call, int status, const char *text);
/* Room for so many bytes more of the answer's payload. */
bool pd_call_reserve(struct pd_call *call, size_t bytes);
uint64_t pd_call_wake(const struct pd_call *call);

/* join.c */
uint64_t pd_join_tick(struct pd_join *join);
struct pd_join *pd_join_next(const struct pd_join *join);

#endif
