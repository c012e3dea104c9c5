/* Frames: the 32-byte prefix, the reader that turns bytes in any splits into frames, and the writer
 * of heads. No I/O: bytes come in and go out through the caller. Layout in proto/README.md. */
#ifndef PARAMD_PROTO_FRAME_H
#define PARAMD_PROTO_FRAME_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/kinds.h"
#include "proto/limits.h"
#include "proto/paramd_status.h"

#define PD_PREAMBLE_MAGIC UINT32_C(0x31444d50) /* "PMD1" on the wire */
#define PD_FRAME_MAGIC UINT32_C(0x464d4450)    /* "PDMF" on the wire */
#define PD_SHARED_MAGIC UINT32_C(0x534d4450)   /* "PDMS" on the wire */

enum pd_frame_flags {
    PD_FRAME_PAYLOAD_SUM = 1, /* the payload sum is valid */
    PD_FRAME_SKIPPABLE = 2,   /* who does not know this kind passes over the frame */
    PD_FRAME_MORE = 4         /* the payload goes on in the next frame of this kind and request */
};

/* Memory to read into or to write from. */
struct pd_span {
    uint8_t *data;
    size_t bytes;
};

enum pd_preamble_flags {
    PD_PREAMBLE_SHARED_MEMORY = 1 /* the client would rather use shared memory: answer that first */
};

/* What the first 16 bytes of a connection say. */
struct pd_preamble {
    uint32_t version;
    uint32_t flags;
    uint32_t shard; /* PD_ANY_SHARD: any */
};

void pd_preamble_write(const struct pd_preamble *preamble, uint8_t out[PD_PREAMBLE_BYTES]);
/* PARAMD_OK, PARAMD_PROTOCOL (not paramd), PARAMD_VERSION (ret_preamble is set all the same). */
enum paramd_status pd_preamble_read(const uint8_t in[PD_PREAMBLE_BYTES],
                                    struct pd_preamble *ret_preamble)
    __attribute__((warn_unused_result));

/* The answer to PD_PREAMBLE_SHARED_MEMORY: the size of each ring in the memory whose descriptor
 * comes with it; 0: none, the socket carries the frames. */
void pd_shared_answer_write(uint32_t ring_bytes, uint8_t out[PD_SHARED_ANSWER_BYTES]);
/* False: it is something else (an ERROR frame, if the daemon refuses the connection). */
bool pd_shared_answer_read(const uint8_t in[PD_SHARED_ANSWER_BYTES], uint32_t *ret_ring_bytes);

enum pd_frame_state {
    PD_FRAME_HEAD,          /* prefix or header incomplete: feed */
    PD_FRAME_WANTS_PAYLOAD, /* head complete and right: look at it, then say where the payload goes
                             */
    PD_FRAME_PAYLOAD,       /* payload incomplete: feed, or fill the rest directly */
    PD_FRAME_WHOLE,         /* all there and right: use it, then call next */
    PD_FRAME_FAILED         /* the stream is broken for good */
};

/* The reader. Fields with _ are its own; the others are valid from PD_FRAME_WANTS_PAYLOAD until
 * next. */
struct pd_frame_reader {
    enum pd_frame_state state;
    uint16_t kind;
    uint16_t flags;
    uint32_t header_bytes;
    uint32_t payload_bytes;
    uint64_t payload_sum;
    const uint8_t *header;
    enum paramd_status error; /* why the state is PD_FRAME_FAILED */
    const char *error_text;
    uint32_t frame_bytes_max; /* prefix, header and payload; set by the owner, checked before
                                 anything is believed */

    uint8_t *_head;
    size_t _head_capacity;
    size_t _head_bytes;
    const struct pd_span *_spans;
    size_t _span_count;
    size_t _span;        /* the span being filled */
    size_t _span_offset; /* and how far it is */
    size_t _payload_have;
};

void pd_frame_reader_init(struct pd_frame_reader *reader, uint32_t frame_bytes_max);
void pd_frame_reader_deinit(struct pd_frame_reader *reader);

/* Takes bytes up to the next point where the owner must act (state other than HEAD and PAYLOAD) and
 * returns how many it took. In the states WANTS_PAYLOAD, WHOLE and FAILED it takes none. */
size_t pd_frame_reader_feed(struct pd_frame_reader *reader, const uint8_t *bytes, size_t count);

/* In WANTS_PAYLOAD: where the payload goes; the spans together hold exactly payload_bytes, and stay
 * with their memory until next. A frame without payload takes count 0. */
void pd_frame_reader_place(struct pd_frame_reader *reader, const struct pd_span *spans,
                           size_t count);

/* In PAYLOAD: the spans still to be filled, at most max, for readv; returns how many. */
size_t pd_frame_reader_rest(const struct pd_frame_reader *reader, struct pd_span *ret_spans,
                            size_t max);
/* In PAYLOAD: so many bytes of the rest were filled directly. */
void pd_frame_reader_filled(struct pd_frame_reader *reader, size_t count);

/* In WHOLE: on to the next frame. */
void pd_frame_reader_next(struct pd_frame_reader *reader);
/* Whether nothing of a next frame has arrived. */
bool pd_frame_reader_idle(const struct pd_frame_reader *reader);
/* Gives memory back that an idle connection does not need. */
void pd_frame_reader_shrink(struct pd_frame_reader *reader);

/* Bytes of prefix and header together; 0 if the header is above PD_HEADER_BYTES_MAX. */
size_t pd_frame_head_bytes(const ProtobufCMessage *header);

/* Writes prefix and header (pd_frame_head_bytes of them) to out. payload_sum counts if flags has
 * PD_FRAME_PAYLOAD_SUM. */
void pd_frame_head_write(uint8_t *out, enum pd_kind kind, unsigned flags,
                         const ProtobufCMessage *header, uint32_t payload_bytes,
                         uint64_t payload_sum);

/* XXH3_64 over the spans, one after the other. */
uint64_t pd_payload_sum(const struct pd_span *spans, size_t count);

#endif
