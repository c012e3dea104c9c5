/* Fuzzes the reading of a snapshot file: the input lays out a head, pieces and other bytes, with
 * right and wrong numbers, and what MANIFEST says of them. What is read is the pieces from the
 * first on, and all of a file is believed only where nothing in it was wrong. */
#include "server/storage/snapshot_reader.h"

#include <string.h>

#include "proto/frame.h"
#include "server/storage/little_endian.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/one_file.h"

enum { PIECES_MAX = 64, PART_BYTES_MAX = 2 * 1024 };

static volatile uint8_t seen;

enum action { PIECE, BYTES, FLIP, END, ACTIONS };

/* The file so far, and whether all in it is as it should be. */
struct writer {
    struct pd_one_file file;
    uint64_t sum;
    uint64_t serial;
    size_t piece_bytes[PIECES_MAX]; /* header and payload */
    bool wrong;
    bool loose; /* wrong in a way that may make sense: a length, two flips, the sum of nothing */
    bool ended;
};

/* Mostly 0, so that most numbers are right. */
static uint64_t slip(struct writer *writer, struct pd_input *input)
{
    uint8_t byte = pd_input_byte(input);
    uint64_t slipped = byte < 128 ? 0 : (uint64_t)byte - 192;
    writer->wrong = writer->wrong || slipped != 0;
    return slipped;
}

static void put_piece(struct writer *writer, struct pd_input *input, uint16_t kind,
                      const uint8_t *end_header)
{
    size_t header_bytes = end_header != NULL ? PD_SNAPSHOT_END_HEADER_BYTES : pd_input_byte(input);
    size_t payload_bytes = end_header != NULL ? 0 : pd_input_number(input) % PART_BYTES_MAX;
    size_t bytes = pd_snapshot_piece_bytes(header_bytes, payload_bytes);
    if (writer->serial == PIECES_MAX || writer->ended ||
        writer->file.count + bytes > sizeof writer->file.bytes - PD_SNAPSHOT_PAGE_BYTES) {
        return;
    }
    uint8_t *out = writer->file.bytes + writer->file.count;
    memset(out, end_header != NULL ? 0 : pd_input_byte(input), bytes);
    uint8_t *header = out + PD_SNAPSHOT_PREFIX_BYTES;
    if (end_header != NULL) {
        memcpy(header, end_header, header_bytes);
    }
    struct pd_span payload = {header + header_bytes, payload_bytes};
    memset(payload.data + payload_bytes, 0, (size_t)(out + bytes - payload.data) - payload_bytes);
    writer->piece_bytes[writer->serial++] = header_bytes + payload_bytes;
    uint64_t header_slip = slip(writer, input);
    uint64_t payload_slip = slip(writer, input);
    uint64_t sum_slip = slip(writer, input);
    writer->loose = writer->loose || header_slip != 0 || payload_slip != 0 ||
                    (end_header != NULL && sum_slip != 0);
    struct pd_snapshot_prefix prefix = {
        .kind = kind,
        .header_bytes = (uint32_t)(header_bytes + header_slip),
        .payload_bytes = (uint32_t)(payload_bytes + payload_slip),
        .serial = writer->serial + slip(writer, input),
        .payload_sum = pd_payload_sum(&payload, 1) + sum_slip,
    };
    uint64_t chain = writer->sum + slip(writer, input);
    if (prefix.header_bytes > PART_BYTES_MAX) {
        prefix.header_bytes = UINT32_MAX; /* too much to be summed here, and for the reader */
        writer->sum = 0;
        pd_store(out + 16, UINT32_MAX, 4);
    } else {
        writer->sum = pd_snapshot_prefix_write(&prefix, chain, out);
    }
    writer->file.count += bytes;
}

static void put_end(struct writer *writer, struct pd_input *input)
{
    uint8_t header[PD_SNAPSHOT_END_HEADER_BYTES];
    size_t end = writer->file.count + PD_SNAPSHOT_PREFIX_BYTES + sizeof header;
    end = (end + PD_SNAPSHOT_PAGE_BYTES - 1) / PD_SNAPSHOT_PAGE_BYTES * PD_SNAPSHOT_PAGE_BYTES;
    if (writer->ended || writer->serial == PIECES_MAX ||
        end > sizeof writer->file.bytes - PD_SNAPSHOT_PAGE_BYTES) {
        return;
    }
    pd_store(header, writer->serial + slip(writer, input), 8);
    uint64_t end_slip = slip(writer, input);
    writer->loose = writer->loose || end_slip != 0; /* bytes behind may make it true */
    pd_store(header + 8, end + end_slip, 8);
    put_piece(writer, input, PD_SNAPSHOT_END, header);
    memset(writer->file.bytes + writer->file.count, 0, end - writer->file.count);
    writer->file.count = end;
    writer->ended = true;
}

static void act(struct writer *writer, struct pd_input *input)
{
    size_t left = sizeof writer->file.bytes - writer->file.count;
    size_t count;
    size_t wanted;
    const uint8_t *bytes;
    switch ((enum action)(pd_input_byte(input) % ACTIONS)) {
    case PIECE:
        put_piece(writer, input, 1 + pd_input_byte(input) % 9, NULL);
        break;
    case BYTES:
        wanted = pd_input_byte(input);
        bytes = pd_input_bytes(input, wanted < left ? wanted : left, &count);
        memcpy(writer->file.bytes + writer->file.count, bytes, count);
        writer->file.count += count;
        writer->wrong = writer->wrong || count > 0;
        break;
    case FLIP:
        writer->file.bytes[pd_input_number(input) % writer->file.count] ^= 1;
        writer->wrong = true;
        writer->loose = true;
        break;
    case END:
    default:
        put_end(writer, input);
        break;
    }
}

static void read_back(const struct writer *writer, const struct pd_disk *disk,
                      const struct pd_manifest *manifest)
{
    struct pd_snapshot_reader reader;
    struct pd_snapshot_piece piece;
    uint64_t pieces = 0;
    enum paramd_status status =
        pd_snapshot_reader_init(&reader, disk, manifest, &manifest->snapshots[0], 1);
    while (status == PARAMD_OK &&
           (status = pd_snapshot_reader_next(&reader, &piece)) == PARAMD_OK) {
        /* Their ends are looked at, so that a sanitizer sees what was promised. */
        seen = piece.header_bytes > 0 ? piece.header[piece.header_bytes - 1] : 0;
        seen = piece.payload_bytes > 0 ? piece.payload[piece.payload_bytes - 1] : 0;
        PD_FUZZ_CHECK(pieces < writer->serial);
        PD_FUZZ_CHECK(writer->wrong ||
                      piece.header_bytes + piece.payload_bytes == writer->piece_bytes[pieces]);
        pieces++;
    }
    bool right = writer->ended && !writer->wrong;
    bool whole = status == PARAMD_NOT_FOUND;
    PD_FUZZ_CHECK(!right || whole);
    PD_FUZZ_CHECK(right || !whole || writer->loose);
    PD_FUZZ_CHECK(!right || pieces + 1 == writer->serial);
    PD_FUZZ_CHECK(whole || status == PARAMD_CORRUPT || status == PARAMD_VERSION);
    PD_FUZZ_CHECK(whole || (reader.error.text != NULL && reader.error.file[0] != '\0'));
    pd_snapshot_reader_deinit(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct writer writer;
    static struct pd_manifest manifest;
    struct pd_input input = {data, data + size};
    writer.serial = 0;
    writer.wrong = false;
    writer.loose = false;
    writer.ended = false;
    struct pd_snapshot_head head = {
        .directory_id = 5 + slip(&writer, &input),
        .number = (uint32_t)(3 + slip(&writer, &input)),
        .epoch = 2,
        .shard = (uint32_t)(1 + slip(&writer, &input)),
        .shards = 2,
        .start_lsn = 9 + slip(&writer, &input),
    };
    writer.sum = pd_snapshot_head_write(&head, writer.file.bytes);
    writer.file.count = PD_SNAPSHOT_PAGE_BYTES;
    while (input.at + 4 < input.end) {
        act(&writer, &input);
    }
    manifest.directory_id = 5;
    manifest.snapshot_count = 1;
    manifest.snapshots[0] = (struct pd_manifest_snapshot){.number = 3, .epoch = 2, .shards = 2};
    manifest.snapshots[0].files[1].start_lsn = 9;
    manifest.snapshots[0].files[1].bytes = writer.file.count + slip(&writer, &input);
    manifest.snapshots[0].files[1].sum = writer.sum + slip(&writer, &input);
    struct pd_disk disk = pd_one_file_disk(&writer.file);
    read_back(&writer, &disk, &manifest);
    return 0;
}
