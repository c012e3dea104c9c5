/* Fuzzes the client's core against a daemon that lies: a joined session, ops and calls under way,
 * and between the answers of an honest daemon whatever the input says. Once only the honest one is
 * left, every op comes to an end. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/client/world.h"

enum { SHARDS = 2, TENSORS = 3, ELEMENTS = 1500, OPS = 8, WAIT_MAX_US = 20000000 };
#define FINISH_US UINT64_C(600000000)

enum action { FRAME, BYTES, OP, STEP, WAIT, FAULTS, END_OP, CALL, ACTIONS };

struct play {
    struct world world;
    struct pd_op *ops[OPS];
    struct pd_call *call;
    float gradients[TENSORS * ELEMENTS];
    float values[OPS][TENSORS * ELEMENTS];
};

static void start_op(struct play *play, struct pd_input *input)
{
    static const struct paramd_call plain = {0};
    unsigned byte = pd_input_byte(input);
    unsigned place = byte % OPS;
    enum pd_op_kind kind = (enum pd_op_kind)(byte / OPS % 3);
    unsigned first = pd_input_byte(input) % TENSORS;
    struct paramd_io entries[TENSORS];
    char text[PD_CALL_TEXT_BYTES];
    if (play->ops[place] != NULL) {
        return;
    }
    for (unsigned i = first; i < TENSORS; i++) {
        entries[i - first] = (struct paramd_io){
            .tensor = i,
            .gradient = kind == PD_OP_PULL ? NULL : play->gradients + i * ELEMENTS,
            .values = kind == PD_OP_PUSH ? NULL : play->values[place] + i * ELEMENTS};
    }
    (void)pd_op_start(play->world.session, kind, entries, TENSORS - first, &plain,
                      &play->ops[place], text);
}

static void start_call(struct play *play)
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    stat.model = (char *)(uintptr_t) "model";
    stat.definition = true;
    if (play->call != NULL) {
        (void)pd_call_status(play->call);
        (void)pd_call_text(play->call);
    }
    pd_call_destroy(play->call);
    play->call = pd_call_start(play->world.client, NULL, PD_KIND_STAT, &stat.base, NULL, 0);
}

static void set_faults(struct play *play, unsigned byte)
{
    struct fake_faults *faults = &play->world.server.faults;
    faults->mute = (byte & 1) != 0;
    faults->busy_frames = byte >> 1 & 1;
    faults->moved_entries = byte >> 2 & 1;
    faults->not_attached = byte >> 3 & 1;
    faults->cut_after_apply = byte >> 4 & 1;
    play->world.unreachable = (byte & 0x20) != 0;
    play->world.whole_pieces = (byte & 0x40) != 0;
    if ((byte & 0x80) != 0) {
        play->world.server.generation++;
    }
}

static void lie(struct fake_conn *conn, struct pd_input *input, bool is_frame)
{
    static uint8_t frame[PD_INPUT_FRAME_BYTES];
    const uint8_t *bytes = frame;
    size_t count;
    if (is_frame) {
        count = pd_input_frame(input, frame);
    } else {
        size_t wanted = pd_input_byte(input);
        bytes = pd_input_bytes(input, wanted, &count);
    }
    if (conn != NULL) {
        fake_conn_send_raw(conn, bytes, count);
    }
}

static void act(struct play *play, struct pd_input *input)
{
    uint8_t byte = pd_input_byte(input);
    unsigned place;
    switch ((enum action)(byte % ACTIONS)) {
    case FRAME:
    case BYTES:
        lie(play->world.conns[byte / ACTIONS % SHARDS], input, byte % ACTIONS == FRAME);
        break;
    case OP:
        start_op(play, input);
        break;
    case STEP:
        for (unsigned i = 0; i <= byte / ACTIONS; i++) {
            (void)world_step(&play->world);
        }
        break;
    case WAIT:
        world_pass(&play->world, (uint64_t)pd_input_byte(input) * (WAIT_MAX_US / UINT8_MAX));
        break;
    case FAULTS:
        set_faults(play, pd_input_byte(input));
        break;
    case END_OP:
        place = pd_input_byte(input) % OPS;
        if (play->ops[place] != NULL) {
            pd_op_release(play->ops[place]);
            play->ops[place] = NULL;
        }
        break;
    case CALL:
    default:
        start_call(play);
        break;
    }
}

/* The daemon is honest from now on, on new connections. */
static void finish(struct play *play)
{
    char text[PD_CALL_TEXT_BYTES];
    set_faults(play, 0);
    for (unsigned i = 0; i < PD_SHARDS_MAX; i++) {
        if (play->world.conns[i] != NULL) {
            world_break(&play->world, i);
        }
    }
    world_pass(&play->world, FINISH_US);
    for (unsigned i = 0; i < OPS; i++) {
        if (play->ops[i] != NULL) {
            struct paramd_result result;
            PD_FUZZ_CHECK(pd_op_finished(play->ops[i]));
            pd_op_result(play->ops[i], &result);
            if (result.status != PARAMD_OK) {
                pd_op_text(play->ops[i], text);
            }
            pd_op_release(play->ops[i]);
        }
    }
    pd_call_destroy(play->call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play;
    struct pd_input input = {data, data + size};
    memset(play.ops, 0, sizeof play.ops);
    play.call = NULL;
    world_init(&play.world, SHARDS, 1);
    play.world.whole_pieces = true;
    play.world.server.send_payload_sums = (pd_input_byte(&input) & 1) != 0;
    world_join(&play.world, TENSORS, ELEMENTS, 1024);
    while (input.at < input.end) {
        act(&play, &input);
    }
    finish(&play);
    world_deinit(&play.world);
    return 0;
}
