/* Fuzzes a whole daemon in memory: control core, hosts, virtual time. The first byte chooses what
 * it holds, the rest what four connections do: frames, bytes, time passing, slow reading, ends. The
 * daemon may refuse anything, but what it says is sound, it serves the next one, and gives all
 * memory back. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support/worker.h"

enum { WIRES = 4, SHARDS = 2, OPEN_MAX = 48 };
enum { LEASE_US = 2000000, RETENTION_US = 6000000, WAIT_MAX_US = 2500000 };

/* The first byte. */
enum setup { SETUP_MODEL = 1, SETUP_CLIENT_INIT = 2, SETUP_TIGHT = 4, SETUP_SUMS = 8 };

enum action { FRAME, BYTES, WAIT, CLOSE, PACE, READ, ACTIONS };

struct play {
    struct pd_rig *rig;
    struct pd_wire *wires[WIRES];
    unsigned opened;
};

/* Models have tensors of several blocks and of few elements, in groups with and without moments. */
static struct pd_plan plan(bool client_init)
{
    return (struct pd_plan){
        .name = "m",
        .groups = 2,
        .group = {{0}, {.optimizer = "adam"}},
        .tensors = 3,
        .tensor = {{.elements = 2500,
                    .init = client_init ? PARAMD__INITIALISER__CLIENT : PARAMD__INITIALISER__ZEROS},
                   {.elements = 5, .group = 1, .init = PARAMD__INITIALISER__NORMAL, .b = 1},
                   {.elements = 3, .init = PARAMD__INITIALISER__ZEROS}},
    };
}

static struct pd_rig *create_rig(unsigned setup)
{
    struct pd_rig_options options = {
        .shards = SHARDS,
        .lease_us = LEASE_US,
        .retention_us = RETENTION_US,
        .payload_sum = (setup & SETUP_SUMS) != 0 ? PD_SUM_ON : PD_SUM_AUTO,
    };
    if ((setup & SETUP_TIGHT) != 0) {
        options.connections_max = 3;
        options.in_flight_max = 16 * 1024;
        options.copies_max = 16 * 1024;
        options.push_ids_max = 4 * 1024;
        options.memory_max = 64 * 1024;
        options.models_max = 2;
        options.sessions_max = 2;
    }
    struct pd_rig *rig = pd_rig_create(&options);
    PD_FUZZ_CHECK(rig != NULL);
    return rig;
}

/* Two workers, a connection to each shard each, and time for the daemon to make first values. */
static void join(struct play *play, bool client_init)
{
    struct pd_plan model = plan(client_init);
    for (unsigned i = 0; i < WIRES; i++) {
        struct pd_worker worker = pd_worker_named(i / SHARDS);
        play->wires[i] = pd_wire_open(play->rig, i % SHARDS);
        (void)pd_create(play->wires[i], &worker, &model);
        (void)pd_attach(play->wires[i], &worker, model.name, PARAMD__ATTACH_MODE__NEW);
    }
    pd_rig_pass(play->rig, 1);
}

static void read_answers(struct pd_wire *wire)
{
    while (pd_wire_read(wire) != NULL) {
    }
}

static void close_wire(struct play *play, unsigned place)
{
    if (play->wires[place] != NULL) {
        read_answers(play->wires[place]);
        pd_wire_close(play->wires[place]);
        play->wires[place] = NULL;
    }
}

/* The wire of that place, opened anew if there is none; NULL if the daemon takes no more. */
static struct pd_wire *wire_at(struct play *play, unsigned place)
{
    if (play->wires[place] != NULL && play->wires[place]->conn == NULL) {
        close_wire(play, place);
    }
    if (play->wires[place] == NULL && play->opened < OPEN_MAX) {
        play->opened++;
        play->wires[place] = pd_wire_open_raw(play->rig, place % SHARDS);
    }
    return play->wires[place];
}

static void send(struct pd_wire *wire, struct pd_input *input, bool is_frame)
{
    static uint8_t frame[PD_INPUT_FRAME_BYTES];
    if (is_frame) {
        pd_wire_send(wire, frame, pd_input_frame(input, frame));
    } else {
        size_t wanted = pd_input_byte(input);
        size_t count;
        const uint8_t *bytes = pd_input_bytes(input, wanted, &count);
        pd_wire_send(wire, bytes, count);
    }
}

static void act(struct play *play, struct pd_input *input)
{
    uint8_t byte = pd_input_byte(input);
    unsigned place = byte % WIRES;
    enum action action = (enum action)(byte / WIRES % ACTIONS);
    if (action == CLOSE) {
        close_wire(play, place);
        return;
    }
    if (action == WAIT) {
        pd_rig_pass(play->rig, (uint64_t)pd_input_byte(input) * (WAIT_MAX_US / UINT8_MAX));
        return;
    }
    struct pd_wire *wire = wire_at(play, place);
    if (wire == NULL) {
        return;
    }
    if (action == PACE) {
        unsigned pace = pd_input_byte(input);
        wire->piece = pace % 16 == 0 ? SIZE_MAX : (size_t)1 << pace % 16;
        wire->appetite = pace / 16 == 0 ? SIZE_MAX : (size_t)16 << pace / 16;
    } else if (action == READ) {
        read_answers(wire);
    } else {
        send(wire, input, action == FRAME);
    }
}

/* Whatever came before, a new client is served. */
static void check_alive(struct pd_rig *rig)
{
    struct pd_wire *wire = pd_wire_open(rig, 0);
    Paramd__Ping ping = PARAMD__PING__INIT;
    ping.request_id = pd_wire_request_id(wire);
    pd_send(wire, PD_KIND_PING, &ping.base, NULL, 0);
    (void)pd_wire_expect(wire, PD_KIND_PONG);
    pd_wire_close(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pd_input input = {data, data + size};
    unsigned setup = pd_input_byte(&input);
    struct play play = {.rig = create_rig(setup)};
    if ((setup & SETUP_MODEL) != 0) {
        join(&play, (setup & SETUP_CLIENT_INIT) != 0);
    }
    while (input.at < input.end) {
        act(&play, &input);
    }
    for (unsigned i = 0; i < WIRES; i++) {
        if (play.wires[i] != NULL) {
            play.wires[i]->appetite = SIZE_MAX;
        }
    }
    pd_rig_settle(play.rig);
    for (unsigned i = 0; i < WIRES; i++) {
        close_wire(&play, i);
    }
    check_alive(play.rig);
    pd_rig_destroy(play.rig);
    return 0;
}
