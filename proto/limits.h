/* Every cap on what a peer can make this process hold or believe, in one place. Both sides check
 * against it. */
#ifndef PARAMD_PROTO_LIMITS_H
#define PARAMD_PROTO_LIMITS_H

#include <stdint.h>

enum {
    PD_PROTOCOL_VERSION = 1,
    PD_PREAMBLE_BYTES = 16,
    PD_SHARED_ANSWER_BYTES = 8,
    PD_PREFIX_BYTES = 32,

    PD_HEADER_BYTES_MAX = 64 * 1024,    /* the protobuf header of one frame */
    PD_PAYLOAD_BYTES_MAX = 1024 * 1024, /* the raw payload of one frame */
    PD_PACKED_BYTES = 256 * 1024, /* small blocks are packed into one frame up to about this */
    PD_ENTRIES_MAX = 4096,        /* entries of one frame */
    PD_UNNAMED_FRAME_BYTES_MAX = 4 * 1024, /* a whole frame before HELLO was answered */
    PD_DECODED_BYTES_MAX = 512 * 1024,     /* what one decoded header may take in memory */
    PD_UNKNOWN_FIELDS_MAX = 16, /* protobuf fields this version does not know, in one message */

    PD_DEFINITION_BYTES_MAX = 16 * 1024 * 1024,
    PD_DEFINITION_DECODED_MAX = 128 * 1024 * 1024,
    PD_DEFINITIONS_BYTES_MAX = 64 * 1024 * 1024, /* definitions arriving at one shard at a time */
    PD_TENSORS_MAX = 65536,
    PD_GROUPS_MAX = 64, /* all their hyper-parameters fit into one header */
    PD_HYPERS_MAX = 64, /* hyper-parameters named in one group or one SET */
    PD_RANK_MAX = 8,
    PD_NAME_BYTES_MAX = 255,

    PD_BLOCK_ELEMENTS_MIN = 1024,
    PD_BLOCK_ELEMENTS_DEFAULT = 65536,
    PD_BLOCK_ELEMENTS_MAX = 262144,

    PD_SLOTS = 4096,
    PD_SHARDS_MAX = 256,
    PD_SESSION_BYTES = 16,
    PD_UNANSWERED_MAX =
        64, /* entries a client keeps unanswered for one slot: the width of the refusal mask */
    PD_ATTACHMENTS_MAX = 64,     /* models that one connection uses at a time */
    PD_CONTROL_REQUESTS_MAX = 8, /* of one connection, forwarded to control and not answered yet */
    PD_SNAPSHOT_ASKERS_MAX = 64, /* SNAPSHOTs not answered yet, of all connections */
    PD_FEATURES_MAX = 16,
    PD_PAGE_ITEMS = 256 /* models or tensors in one page of a long answer */
};

#define PD_TENSOR_ELEMENTS_MAX ((uint64_t)1 << 40)
#define PD_ANY_SHARD UINT32_MAX

#endif
