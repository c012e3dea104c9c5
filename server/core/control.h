/* The control core: what a whole daemon knows. Models and their numbers, generations, sessions,
 * initialisers, hyper-parameters. It takes an event and says what must be done; it knows no clock,
 * socket, file, thread or log. */
#ifndef PARAMD_SERVER_CORE_CONTROL_H
#define PARAMD_SERVER_CORE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "server/core/message.h"

struct pd_control;

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

/* What must be done: filled by pd_control_step, emptied by the caller. */
struct pd_control_effects {
    struct pd_link messages; /* pd_message, each for its `shard` */
    struct pd_link notes;    /* pd_note, to be logged and freed */
};

enum paramd_status pd_control_create(const struct pd_control_options *options,
                                     struct pd_control **ret_control)
    __attribute__((warn_unused_result));
void pd_control_destroy(struct pd_control *control);

/* One event: a message from a shard (consumed), or NULL: time has passed. To be called at least
 * every second. */
void pd_control_step(struct pd_control *control, struct pd_message *message, uint64_t now_us,
                     struct pd_control_effects *effects);

#endif
