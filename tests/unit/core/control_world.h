/* A control core with scripted shards and a log in memory: random requests, answers in random
 * order, starts from a log that was cut. Beside it a plain model of what shards and clients were
 * told, which a start must know again. */
#ifndef PARAMD_TESTS_UNIT_CORE_CONTROL_WORLD_H
#define PARAMD_TESTS_UNIT_CORE_CONTROL_WORLD_H

#include "server/core/control.h"
#include "server/core/record.h"

enum {
    PD_WORLD_SHARDS_MAX = 3,
    PD_WORLD_NAMES = 4, /* models are named "a", "b", ... */
    PD_WORLD_FORMS = 2, /* and have one of two definitions */
    PD_WORLD_GROUPS = 2,
    PD_WORLD_MODELS_MAX = 3,
    PD_WORLD_SESSIONS_MAX = 3,
    PD_WORLD_RECORDS_MAX = 1024,
    PD_WORLD_MADE_MAX = 1024,
    PD_WORLD_LEASE_US = 1000,
    PD_WORLD_RETENTION_US = 5000
};

/* What shards and clients were told of a model. No padding: compared as bytes. */
struct pd_told_model {
    uint64_t number;
    uint64_t generation;
    uint64_t attempt;
    uint64_t ready;
    uint64_t form;
    uint64_t opening; /* the last of its sessions'; no number comes again */
    char name[8];
    struct pd_session_key initialiser;
    struct pd_hyper hyper[PD_WORLD_GROUPS];
    uint64_t set[PD_WORLD_GROUPS];
    uint64_t clock[PD_WORLD_GROUPS];
};

struct pd_told {
    struct pd_told_model models[PD_WORLD_MODELS_MAX];
    uint64_t model_count;
    struct pd_session_of_model sessions[PD_WORLD_SESSIONS_MAX];
    uint64_t session_count;
};

/* A shard: what came and was not taken, and what it says and has not reached control. */
struct pd_world_shard {
    struct pd_link in;
    struct pd_link out;
    struct {
        uint64_t number;
        uint64_t attempt;
        uint64_t initialised; /* the attempt whose values it has told of */
    } models[PD_WORLD_MADE_MAX];
    unsigned model_count;
};

struct pd_world {
    uint64_t random;
    uint32_t shards;
    struct pd_control *control;
    struct pd_control_effects effects;
    struct pd_definition *definitions[PD_WORLD_NAMES][PD_WORLD_FORMS];
    uint64_t log_room; /* for the records of the step in hand */
    uint64_t now_us;
    uint64_t start_us;
    uint64_t request_id;
    uint64_t set_clock;   /* of the SET in hand */
    uint64_t number_max;  /* of all models that any shard was told of */
    unsigned answers[64]; /* by kind */
    unsigned errors[64];  /* by status, without its sign */
    struct pd_world_shard shard[PD_WORLD_SHARDS_MAX];

    struct pd_control_record *log[PD_WORLD_RECORDS_MAX]; /* of the last start */
    unsigned log_count;
    struct pd_told told;
    struct pd_told_model made[PD_WORLD_MADE_MAX]; /* CREATE_MODEL was sent */
    unsigned made_count;
    /* What had been told with so many records in the log, unless more came out of the same step. */
    struct pd_told history[PD_WORLD_RECORDS_MAX];
    bool told_at[PD_WORLD_RECORDS_MAX];
    uint64_t number_max_at[PD_WORLD_RECORDS_MAX];
};

/* With an empty log, and its first start. */
struct pd_world *pd_world_create(uint64_t seed);
void pd_world_destroy(struct pd_world *world);

/* Below a number that is not 0. */
uint64_t pd_world_random(struct pd_world *world, uint64_t below);
/* Something happens, at random. */
void pd_world_step(struct pd_world *world);
/* The daemon dies, and starts again from the first records of its log, as many as were in it when
 * told_at was set; with another log. */
void pd_world_crash(struct pd_world *world, unsigned records);

/* A control that has seen nothing, as after a start. */
struct pd_control *pd_world_control(const struct pd_world *world);
/* As a log gives it back; borrowed. */
struct pd_logged pd_world_logged(const struct pd_control_record *record);
/* What the effects of pd_control_recovered tell one shard; the clocks are not in them. Empties the
 * effects. */
struct pd_told pd_world_recovered(struct pd_world *world, struct pd_control_effects *effects);
void pd_world_discard(struct pd_control_effects *effects);

struct pd_message *pd_world_request(struct pd_world *world, unsigned kind,
                                    const ProtobufCMessage *header);
/* CREATE of a model of that name and form. */
struct pd_message *pd_world_create_request(struct pd_world *world, unsigned name, unsigned form,
                                           unsigned worker);
/* SET of the group's lr. */
struct pd_message *pd_world_set_request(struct pd_world *world, const char *name, unsigned group,
                                        double lr, uint64_t clock);

#endif
