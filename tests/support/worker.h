/* What a worker says: definitions, CREATE, ATTACH, INIT, PUSH, PULL and the rest, built and sent
 * over a wire; and a plain way to read weights back. */
#ifndef PARAMD_TESTS_SUPPORT_WORKER_H
#define PARAMD_TESTS_SUPPORT_WORKER_H

#include "tests/support/rig.h"

enum { PD_PLAN_TENSORS = 16, PD_PLAN_GROUPS = 4, PD_PLAN_HYPERS = 8, PD_PUSH_ENTRIES = 64 };

/* A model in few words. */
struct pd_plan {
    const char *name;
    bool logged;             /* its ack level */
    uint32_t block_elements; /* 0: 1,024 */
    unsigned groups;         /* 0: 1 */
    struct pd_plan_group {
        const char *name;      /* NULL: "g" and its number */
        const char *optimizer; /* NULL: sgd with lr -1: a push adds its gradient */
        unsigned hypers;
        struct {
            const char *name;
            double number;
            const char *text;
        } hyper[PD_PLAN_HYPERS];
    } group[PD_PLAN_GROUPS];
    unsigned tensors;
    struct pd_plan_tensor {
        uint64_t elements;
        uint32_t group;
        Paramd__Initialiser init;
        double a;
        double b;
        uint64_t seed;
    } tensor[PD_PLAN_TENSORS];
};

/* The plan as the payload of CREATE; malloc'd. */
uint8_t *pd_plan_bytes(const struct pd_plan *plan, size_t *ret_count);
uint32_t pd_plan_block_elements(const struct pd_plan *plan);
uint64_t pd_plan_blocks(const struct pd_plan *plan, uint32_t tensor);
/* Elements of one block. */
uint32_t pd_plan_elements(const struct pd_plan *plan, uint32_t tensor, uint64_t block);
/* The slot of a block. */
uint32_t pd_plan_slot(const struct pd_plan *plan, uint32_t tensor, uint64_t block);
/* One tensor of that many elements, all a, made by the server; sgd that adds. */
struct pd_plan pd_plan_ledger(const char *name, uint64_t elements);

/* A worker's identity in one model, and what the daemon said about it. */
struct pd_worker {
    uint8_t bits[PD_SESSION_BYTES];
    uint64_t nonce;
    uint64_t model;
    uint64_t generation;
    uint64_t attempt;
    uint64_t ids[PD_SLOTS]; /* the last push id given out, by slot */
};

struct pd_worker pd_worker_named(unsigned number);

/* A frame as bytes; malloc'd, payload sum on if sum. */
uint8_t *pd_frame_bytes(enum pd_kind kind, unsigned flags, const ProtobufCMessage *header,
                        const void *payload, size_t payload_bytes, size_t *ret_count);
/* Builds and sends one. */
void pd_send(struct pd_wire *wire, enum pd_kind kind, const ProtobufCMessage *header,
             const void *payload, size_t payload_bytes);

/* Sends CREATE and reads nothing. */
void pd_send_create(struct pd_wire *wire, const struct pd_worker *worker,
                    const struct pd_plan *plan);
/* CREATE answered by CREATED, whose numbers go to the worker. */
const Paramd__Created *pd_create(struct pd_wire *wire, struct pd_worker *worker,
                                 const struct pd_plan *plan);
void pd_send_attach(struct pd_wire *wire, const struct pd_worker *worker, const char *model,
                    Paramd__AttachMode mode);
/* ATTACH answered by ATTACHED. */
const Paramd__Attached *pd_attach(struct pd_wire *wire, struct pd_worker *worker, const char *model,
                                  Paramd__AttachMode mode);
/* CREATE, ATTACH as new, and time until the daemon has made the first values. */
void pd_join(struct pd_wire *wire, struct pd_worker *worker, const struct pd_plan *plan);

/* INIT of one block's part with the same value everywhere; reads nothing. */
void pd_send_init(struct pd_wire *wire, const struct pd_worker *worker, const struct pd_plan *plan,
                  uint32_t tensor, uint64_t block, Paramd__Part part, float value, uint64_t step);

/* A PUSH or PUSH_PULL under construction. */
struct pd_push {
    Paramd__Push header;
    enum pd_kind kind;
    uint32_t tensor[PD_PUSH_ENTRIES];
    uint64_t block[PD_PUSH_ENTRIES];
    uint64_t push_id[PD_PUSH_ENTRIES];
    uint64_t base_version[PD_PUSH_ENTRIES];
    uint8_t *payload;
    size_t payload_bytes;
};

/* f32, no entries. The push must not move. */
void pd_push_begin(struct pd_push *push, const struct pd_worker *worker, enum pd_kind kind);
/* One entry whose gradient is the same number everywhere. */
void pd_push_add(struct pd_push *push, const struct pd_plan *plan, uint32_t tensor, uint64_t block,
                 uint64_t push_id, uint64_t base_version, float value);
/* One entry with this gradient of elements of the push's dtype. */
void pd_push_add_values(struct pd_push *push, uint32_t tensor, uint64_t block, uint64_t push_id,
                        uint64_t base_version, const void *values, size_t bytes);
/* The frame, with a new request id of the wire; malloc'd. The push is freed. */
uint8_t *pd_push_bytes(struct pd_push *push, struct pd_wire *wire, size_t *ret_count);
/* Sends it; the push is freed. */
void pd_push_send(struct pd_push *push, struct pd_wire *wire);
/* One entry with the worker's next id for its slot, sent; the answer is not read. */
void pd_push_one(struct pd_wire *wire, struct pd_worker *worker, const struct pd_plan *plan,
                 uint32_t tensor, uint64_t block, float value);

/* PULL of one block; reads nothing. newer_than 0: in any case. */
void pd_send_pull(struct pd_wire *wire, const struct pd_worker *worker, uint32_t tensor,
                  uint64_t block, unsigned parts, uint64_t newer_than);
/* One part of one block, through PULL and the one BLOCKS frame that answers it; its values are in
 * the wire's answer. */
const Paramd__Blocks *pd_pull(struct pd_wire *wire, const struct pd_worker *worker, uint32_t tensor,
                              uint64_t block, unsigned parts);
/* The f32 values of the last answer. */
const float *pd_values(const struct pd_wire *wire);

void pd_send_skip(struct pd_wire *wire, const struct pd_worker *worker, uint32_t slot,
                  uint64_t from, uint64_t to);
/* SET of one number; reads nothing. */
void pd_send_set(struct pd_wire *wire, const char *model, const char *group, const char *name,
                 double number, uint64_t clock);
void pd_send_delete(struct pd_wire *wire, const char *model, uint64_t number);
/* The value of a counter of STAT; model NULL: of the daemon. */
double pd_counter(struct pd_wire *wire, const char *model, const char *name);

#endif
