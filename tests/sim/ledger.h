/* What must be true of every block, however the run went. Of a ledger tensor (SGD that adds its
 * gradient) each push owns one coordinate: 0 or 1, 1 from its acknowledgement on, never 2. Of a
 * uniform one all elements are equal, so that half a push or half a read shows. A crash may take a
 * block back to a version it had, and then it is what it was at that version, bit for bit. */
#ifndef PARAMD_TESTS_SIM_LEDGER_H
#define PARAMD_TESTS_SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/include/paramd.h"
#include "proto/definition.h"
#include "server/core/model.h"

enum { SIM_LEDGER_MODELS = 3, SIM_TENSORS_MAX = 4, SIM_GROUPS_MAX = 2 };

struct sim;

enum sim_tensor_kind {
    SIM_TENSOR_LEDGER,
    SIM_TENSOR_UNIFORM,
    SIM_TENSOR_PLAIN /* random first values: only its versions are checked */
};

struct sim_tensor_plan {
    char name[16];
    enum sim_tensor_kind kind;
    uint64_t elements;
    uint32_t group;
    Paramd__Initialiser init;
    unsigned moments;
};

struct sim_model_plan {
    char name[16];
    uint32_t block_elements;
    uint32_t group_count;
    const char *optimizers[SIM_GROUPS_MAX];
    uint32_t tensor_count;
    struct sim_tensor_plan tensors[SIM_TENSORS_MAX];
    bool moments_given; /* the initialiser sends moments and a step, too */
    bool logged;        /* its ack level */
    uint32_t stale_max; /* older gradients are refused; 0: none is too old */
    float *zeros;       /* first values of ledger tensors */
};

/* One push of one block. */
struct sim_claim {
    uint64_t number;     /* of the model */
    uint32_t block;      /* counted through the model */
    uint32_t coordinate; /* ledger tensors */
    uint64_t floor;      /* a version its client had seen when it began */
    uint64_t owner;      /* its client's handle */
    uint64_t start;      /* of the daemon that was there when it began */
};

enum sim_rule { SIM_RULE_NONE, SIM_RULE_ONE, SIM_RULE_ZERO };

struct sim_block_record {
    enum sim_tensor_kind kind;
    uint32_t elements;
    uint64_t version;     /* as last seen */
    bool first_checked;   /* its first values, since the model was ready */
    uint64_t started;     /* pushes that clients began */
    uint64_t answered;    /* of those, acknowledged */
    uint64_t *applied_at; /* ledger: the version with which each coordinate became 1 */
    uint64_t *owners;     /* ledger: whose push each coordinate is */
    uint8_t *rules;       /* ledger: enum sim_rule of each coordinate */
    uint32_t *values;     /* uniform: the bits of each part of each version */
    size_t value_capacity;
    uint64_t *hashes; /* of the block at each version; 0: was not looked at */
    size_t hash_capacity;
};

/* One SET, as control decided it. */
struct sim_set {
    size_t group;
    struct pd_hyper hyper;
};

/* A model by its number: one that is made anew has another. */
struct sim_model_record {
    struct sim_model_record *next;
    uint64_t number;
    uint32_t model; /* place in the plan */
    const struct sim_model_plan *plan;
    const struct pd_definition *definition;
    uint32_t first_bits; /* the initialiser's mark; 0: not seen yet */
    struct sim_block_record *blocks;
    uint64_t block_count;
    bool told;            /* a client has joined it */
    uint64_t generation;  /* as control had it last */
    struct sim_set *sets; /* by their numbers, from 1 on */
    uint64_t set_count;
    uint64_t sets_told; /* so many were answered to those who asked for them */
};

struct sim_ledger {
    struct sim_model_record *records; /* newest first */
    bool deleted[SIM_LEDGER_MODELS];  /* a DELETE of this name was sent once */
};

struct sim_model_record *sim_ledger_find(struct sim *sim, uint64_t number);
/* Found or made. */
struct sim_model_record *sim_ledger_model(struct sim *sim, uint64_t number, const char *name);
void sim_ledger_free(struct sim *sim);

/* Whether each block of a ledger tensor has a coordinate left; of others true. */
bool sim_ledger_room(const struct sim_model_record *record, uint32_t tensor);
/* A push of one block by this handle begins. */
struct sim_claim sim_ledger_claim(struct sim_model_record *record, uint32_t block, uint64_t owner);
/* What its client was told. bad: it held a NaN; cancelled: it was given up. */
void sim_ledger_settle(struct sim *sim, const struct sim_claim *claim, int status, bool bad,
                       bool cancelled);
/* The block is as the daemon has it now; its version is not the one last seen. */
void sim_ledger_observe(struct sim *sim, struct sim_model_record *record,
                        const struct pd_block *block);
/* A daemon has started: the block is at a version it had before, or without values if the model was
 * not ready; what was acknowledged at its level is there. */
void sim_ledger_recover(struct sim *sim, struct sim_model_record *record,
                        const struct pd_block *block);
/* The first values of a block of a model that is ready. */
void sim_ledger_first(struct sim *sim, struct sim_model_record *record, uint64_t in_model);

/* Values of a block that came to a client. pushed: its own push is in them. */
void sim_ledger_read(struct sim *sim, const struct sim_claim *claim, enum paramd_dtype dtype,
                     const void *values, bool pushed);
/* Moments of a uniform block that came with values; a part that is NULL was not asked for. */
void sim_ledger_read_parts(struct sim *sim, const struct sim_claim *claim,
                           const float *const parts[PD_PARTS_MAX]);

#endif
