/* Decoding of protobuf headers under a quota, with the checks that protobuf-c leaves out. */
#ifndef PARAMD_PROTO_CODEC_H
#define PARAMD_PROTO_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/arena.h"
#include "proto/paramd.pb-c.h"
#include "proto/paramd_status.h"

/* Decodes into arena memory, which the caller resets when done with the message. NULL: malformed,
 * over the quota, more than PD_UNKNOWN_FIELDS_MAX unknown fields, a text with NUL or not in UTF-8.
 * The result borrows nothing of bytes. */
ProtobufCMessage *pd_decode(const ProtobufCMessageDescriptor *descriptor, struct pd_arena *arena,
                            const uint8_t *bytes, size_t count);

/* The descriptor of a kind's header; NULL for an unknown kind. */
const ProtobufCMessageDescriptor *pd_kind_descriptor(unsigned kind);

/* The request id of any decoded header of the schema: it is field 1 of all of them. */
uint64_t pd_request_id(const ProtobufCMessage *header);

/* Bytes of value as a protobuf varint: 1 to 10. */
unsigned pd_varint_bytes(uint64_t value);

/* 1 to 255 bytes of [A-Za-z0-9._/-]. */
bool pd_name_valid(const char *name);

#endif
