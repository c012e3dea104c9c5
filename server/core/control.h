/* The control core: what a whole daemon knows. Models and their numbers, generations, sessions,
 * initialisers, hyper-parameters. It takes an event and says what must be done; it knows no clock,
 * socket, file, thread or log. */
#ifndef PARAMD_SERVER_CORE_CONTROL_H
#define PARAMD_SERVER_CORE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/definition.h"
#include "server/core/message.h"

struct pd_control;
struct pd_logged;

struct pd_control_options {
    uint32_t shards;
    uint64_t memory_max;       /* bytes of weights and moments of all models; 0: no limit */
    uint64_t model_memory_max; /* of one model; 0: no limit */
    uint32_t models_max;
    uint32_t sessions_max;
    uint64_t lease_us;
    uint64_t retention_us;
    uint64_t
        start_us; /* microseconds since 1970 at start: model numbers and generations begin there */
    bool records; /* a log is kept: models may ask for the ack level `logged` */
    const char *version;
};

enum pd_note_level { PD_NOTE_DEBUG = 0, PD_NOTE_INFO, PD_NOTE_WARN };

/* Something a person may want to read in the log. */
struct pd_note {
    struct pd_link link;
    enum pd_note_level level;
    char text[512];
};

/* For control's log. Freed by who takes it out of the list. */
struct pd_control_record {
    struct pd_link link;
    unsigned kind; /* enum pd_record_kind */
    size_t header_count;
    size_t payload_count;
    uint8_t bytes[]; /* header, payload */
};

/* What must be done: filled by pd_control_step, emptied by the caller. Messages leave in order, and
 * only when all records that came out with them or before are durable: so no shard and no client
 * ever knows of a decision that a crash could undo. */
struct pd_control_effects {
    uint64_t log_room;       /* given, with options.records: bytes of headers and payloads that
                                the log takes now */
    struct pd_link records;  /* pd_control_record */
    struct pd_link messages; /* pd_message, each for its `shard` */
    struct pd_link notes;    /* pd_note, to be logged and freed */
    bool unanswered;         /* for the control core: there was no memory for an answer */
};

enum paramd_status pd_control_create(const struct pd_control_options *options,
                                     struct pd_control **ret_control)
    __attribute__((warn_unused_result));
void pd_control_destroy(struct pd_control *control);

/* One event: a message from a shard (consumed), or NULL: time has passed. To be called at least
 * every second. */
void pd_control_step(struct pd_control *control, struct pd_message *message, uint64_t now_us,
                     struct pd_control_effects *effects);

/* What the records of a step with this message (NULL: time) may take of the log's room for it not
 * to refuse for the lack of it: bytes of headers and payloads. */
size_t pd_control_record_bytes(const struct pd_control *control, const struct pd_message *message);

/* ---- recovery: replay of one whole log, then recovered, then the first step ---- */

/* One record of the log, in order, by a control that has done nothing yet. A log stands by itself:
 * it begins with a start and the state that this start found. PARAMD_INVALID and a sentence if the
 * record does not fit what came before, or PARAMD_NO_MEMORY; the control is then of no use. */
enum paramd_status pd_control_replay(struct pd_control *control, const struct pd_logged *logged,
                                     char error[PD_ERROR_TEXT_BYTES])
    __attribute__((warn_unused_result));

/* Whether the state was replayed whole (STATE_END was seen). Of a log that ends before it nobody
 * was told anything: the log of the epoch before is the one to go by. */
bool pd_control_state_complete(const struct pd_control *control);

/* The definition of a model that exists, for a shard that replays its own log: it lives until all
 * shards took DROP_MODEL. NULL: what a log says of this number is to be passed over. Any thread may
 * ask while recovery lasts. */
const struct pd_definition *pd_control_definition(const struct pd_control *control, uint64_t model);

/* With options.records, once at every start, when the shards have replayed their logs: a new epoch
 * begins. The records are the beginning of a new log: all that is known, each definition in one.
 * The messages tell the shards what exists; what of it they have already they keep. clean: all logs
 * ended with a drain, so that nothing that anybody has seen was lost, and generations stay.
 * PARAMD_NO_MEMORY, or PARAMD_RESOURCE_EXHAUSTED if the log has no room. */
enum paramd_status pd_control_recovered(struct pd_control *control, bool clean, uint64_t now_us,
                                        struct pd_control_effects *effects)
    __attribute__((warn_unused_result));

/* ---- snapshots: whoever takes them asks what is wanted, one at a time ---- */

/* What became of one. */
struct pd_snapshot_result {
    enum paramd_status status;
    const char *text; /* what went wrong, a sentence; borrowed for the call */
    uint64_t number;
    uint64_t bytes;   /* of all its files */
    uint64_t us;      /* from its beginning until it was published */
    uint64_t held_us; /* for so long pushes were held at most, on any shard */
};

/* Whether somebody waits for one that can begin now; ret_pause: for one cut across all shards. */
bool pd_control_snapshot_wanted(const struct pd_control *control, bool *ret_pause);
/* One begins, wanted or not: it is for all who have asked for one of its kind until now. */
void pd_control_snapshot_begun(struct pd_control *control, bool pause);
/* That one is over: those it was for are answered. */
void pd_control_snapshot_done(struct pd_control *control, const struct pd_snapshot_result *result,
                              uint64_t now_us, struct pd_control_effects *effects);
/* The daemon stops: who waits is sent away, also from the one that is under way. */
void pd_control_snapshots_end(struct pd_control *control, struct pd_control_effects *effects);

#endif
