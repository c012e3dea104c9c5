/* The bare loop's two ends. The server receives a block into a small buffer that stays in L2 and
 * applies it at once; a pull is written straight from the block's memory. */
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/bench/bare.h"
#include "tests/bench/kernel.h"
#include "tests/bench/report.h"

enum { FORMS = 2, BLOCKS_AHEAD = 16 };

static const char *const names[PD_OPERATIONS] = {"push", "pull", "push_pull"};
/* Below this share of the raw stream a bare loop is no limit but a mistake, unless the tensor is so
 * small that waiting for each operation's end is most of it. */
static const double RAW_SHARE_MIN[PD_OPERATIONS] = {0.5, 0.5, 0.4};
static const size_t STREAM_BYTES_MIN = 16 * PD_MIB;

struct order {
    uint64_t operation;
    uint64_t repeats;
};

/* One connection's part of the tensor. */
struct share {
    size_t bytes;
    enum pd_dtype dtype;
};

struct bare_form {
    struct pd_peer peer;
    struct share share;
    struct pd_samples samples[PD_OPERATIONS];
};

struct pd_bare {
    char *gradient;
    char *values;
    size_t tensor_bytes;
    enum pd_dtype dtype;
    unsigned forms; /* form i has i + 1 connections */
    struct bare_form form[FORMS];
};

const char *pd_operation_name(enum pd_operation operation)
{
    return names[operation];
}

/* The end that holds the parameters. */
struct server {
    int fd;
    enum pd_dtype dtype;
    struct pd_kernel kernel;
    void *staging;  /* a gradient's block */
    void *narrowed; /* a block of weights in bf16 */
};

static size_t block_bytes(const struct server *server, size_t block)
{
    return pd_kernel_block_elements(&server->kernel, block) * pd_dtype_bytes(server->dtype);
}

/* The weights of a block as they travel; until the next call. */
static const void *weights(struct server *server, size_t block)
{
    const float *p = pd_kernel_weights(&server->kernel, block);
    if (server->dtype == PD_F32) {
        return p;
    }
    pd_optim_narrow(server->dtype, p, server->narrowed,
                    pd_kernel_block_elements(&server->kernel, block));
    return server->narrowed;
}

static bool serve_push(struct server *server)
{
    char done = 1;
    for (size_t block = 0; block < pd_kernel_blocks(&server->kernel); block++) {
        if (!pd_peer_read(server->fd, server->staging, block_bytes(server, block))) {
            return false;
        }
        pd_kernel_update(&server->kernel, block, server->staging, server->dtype);
    }
    return pd_peer_write(server->fd, &done, 1);
}

static bool serve_pull(struct server *server)
{
    for (size_t block = 0; block < pd_kernel_blocks(&server->kernel); block++) {
        if (!pd_peer_write(server->fd, weights(server, block), block_bytes(server, block))) {
            return false;
        }
    }
    return true;
}

/* What happened to both directions in one try. */
struct progress {
    bool moved;
    bool gone; /* the other end is */
};

static void move_in(int fd, void *buf, size_t bytes, size_t *moved, struct progress *progress)
{
    ssize_t n = recv(fd, (char *)buf + *moved, bytes - *moved, MSG_DONTWAIT);
    if (n > 0) {
        *moved += (size_t)n;
        progress->moved = true;
    }
    progress->gone = progress->gone || n == 0 || (n < 0 && errno != EAGAIN);
}

static void move_out(int fd, const void *buf, size_t bytes, size_t *moved,
                     struct progress *progress)
{
    ssize_t n = send(fd, (const char *)buf + *moved, bytes - *moved, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        *moved += (size_t)n;
        progress->moved = true;
    }
    progress->gone = progress->gone || (n < 0 && errno != EAGAIN);
}

/* Sleeps only after a try in which nothing moved. False: the other end is gone. */
static bool go_on(int fd, const struct progress *progress, bool in, bool out)
{
    struct pollfd wanted = {.fd = fd, .events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0))};
    return !progress->gone && (progress->moved || poll(&wanted, 1, -1) > 0);
}

/* Blocks come in and go back, updated, at the same time. */
static bool serve_push_pull(struct server *server)
{
    size_t blocks = pd_kernel_blocks(&server->kernel);
    size_t applied = 0;
    size_t returned = 0;
    size_t in = 0;
    size_t out = 0;
    const void *source = NULL;
    while (returned < blocks) {
        struct progress progress = {0};
        if (applied < blocks) {
            move_in(server->fd, server->staging, block_bytes(server, applied), &in, &progress);
            if (in == block_bytes(server, applied)) {
                pd_kernel_update(&server->kernel, applied++, server->staging, server->dtype);
                in = 0;
            }
        }
        if (returned < applied) {
            size_t bytes = block_bytes(server, returned);
            source = out == 0 ? weights(server, returned) : source;
            move_out(server->fd, source, bytes, &out, &progress);
            if (out == bytes) {
                returned++;
                out = 0;
            }
        }
        if (!go_on(server->fd, &progress, applied < blocks, returned < applied)) {
            return false;
        }
    }
    return true;
}

static void serve(int fd, unsigned index, const void *arg)
{
    static bool (*const serves[PD_OPERATIONS])(struct server *) = {serve_push, serve_pull,
                                                                   serve_push_pull};
    const struct share *share = arg;
    struct server server = {.fd = fd,
                            .dtype = share->dtype,
                            .staging = pd_memory_take(PD_BLOCK_BYTES),
                            .narrowed = pd_memory_take(PD_BLOCK_BYTES)};
    struct order order;
    bool runs = true;
    pd_peer_pin((int)index + 1);
    pd_kernel_init(&server.kernel, "adam", share->bytes / pd_dtype_bytes(share->dtype));
    while (runs && pd_peer_read(fd, &order, sizeof order)) {
        for (uint64_t i = 0; runs && i < order.repeats; i++) {
            runs = serves[order.operation](&server);
        }
    }
    pd_kernel_deinit(&server.kernel);
    pd_memory_give(server.staging, PD_BLOCK_BYTES);
    pd_memory_give(server.narrowed, PD_BLOCK_BYTES);
}

static bool push_pull(int fd, const char *gradient, char *values, size_t bytes)
{
    const size_t ahead = (size_t)BLOCKS_AHEAD * PD_BLOCK_BYTES;
    size_t sent = 0;
    size_t received = 0;
    while (received < bytes) {
        struct progress progress = {0};
        size_t end = bytes - received > ahead ? received + ahead : bytes;
        if (sent < end) {
            /* Steps of a block, so that what comes back is read in between. */
            size_t step = end - sent > PD_BLOCK_BYTES ? sent + PD_BLOCK_BYTES : end;
            move_out(fd, gradient, step, &sent, &progress);
        }
        move_in(fd, values, bytes, &received, &progress);
        if (!go_on(fd, &progress, true, sent < end)) {
            return false;
        }
    }
    return true;
}

/* One connection's part of a measurement. */
struct part {
    int fd;
    unsigned index;
    const char *gradient;
    char *values;
    size_t bytes;
    struct order order;
};

static void *run_part(void *arg)
{
    const struct part *part = arg;
    pd_peer_pin((int)part->index);
    bool runs = pd_peer_write(part->fd, &part->order, sizeof part->order);
    char done;
    for (uint64_t i = 0; runs && i < part->order.repeats; i++) {
        switch ((enum pd_operation)part->order.operation) {
        case PD_PUSH:
            runs = pd_peer_write(part->fd, part->gradient, part->bytes) &&
                   pd_peer_read(part->fd, &done, 1);
            break;
        case PD_PULL:
            runs = pd_peer_read(part->fd, part->values, part->bytes);
            break;
        default:
            runs = push_pull(part->fd, part->gradient, part->values, part->bytes);
            break;
        }
    }
    if (!runs) {
        errx(1, "the bare loop's other end is gone");
    }
    return NULL;
}

static double run_form(const struct pd_bare *bare, const struct bare_form *form,
                       const struct order *order)
{
    struct part parts[PD_PEER_CONNECTIONS_MAX] = {0};
    pthread_t threads[PD_PEER_CONNECTIONS_MAX] = {0};
    double begin = pd_now_s();
    for (unsigned i = 0; i < form->peer.connections; i++) {
        parts[i] = (struct part){.fd = form->peer.fds[i],
                                 .index = i,
                                 .gradient = bare->gradient + i * form->share.bytes,
                                 .values = bare->values + i * form->share.bytes,
                                 .bytes = form->share.bytes,
                                 .order = *order};
        if (i > 0 && pthread_create(&threads[i], NULL, run_part, &parts[i]) != 0) {
            errx(1, "no thread");
        }
    }
    (void)run_part(&parts[0]);
    for (unsigned i = 1; i < form->peer.connections; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    double seconds = pd_now_s() - begin;
    pd_peer_pin(-1);
    return seconds;
}

struct pd_bare *pd_bare_create(enum pd_transport transport, size_t tensor_bytes,
                               enum pd_dtype dtype)
{
    struct pd_bare *bare = calloc(1, sizeof *bare);
    if (bare == NULL) {
        err(1, "bare loop");
    }
    bare->tensor_bytes = tensor_bytes;
    bare->dtype = dtype;
    bare->forms = tensor_bytes % (2 * PD_BLOCK_BYTES) == 0 ? 2 : 1;
    for (unsigned i = 0; i < bare->forms; i++) {
        struct bare_form *form = &bare->form[i];
        form->share = (struct share){.bytes = tensor_bytes / (i + 1), .dtype = dtype};
        form->peer = pd_peer_start(transport, i + 1, PD_SOCKET_BUFFER_LARGE, serve, &form->share);
    }
    bare->gradient = pd_memory_take(tensor_bytes);
    bare->values = pd_memory_take(tensor_bytes);
    if (dtype == PD_F32) {
        pd_gradient_fill((float *)(void *)bare->gradient, tensor_bytes / sizeof(float));
    } else {
        pd_gradient_fill_bf16((uint16_t *)(void *)bare->gradient, tensor_bytes / sizeof(uint16_t));
    }
    memset(bare->values, 0, tensor_bytes);
    /* Else the first pull after each later fork pays for pages that the child might need. */
    if (madvise(bare->values, tensor_bytes, MADV_DONTFORK) != 0) {
        err(1, "madvise");
    }
    return bare;
}

void pd_bare_destroy(struct pd_bare *bare)
{
    if (bare == NULL) {
        return;
    }
    for (unsigned i = 0; i < bare->forms; i++) {
        pd_peer_stop(&bare->form[i].peer);
    }
    pd_memory_give(bare->gradient, bare->tensor_bytes);
    pd_memory_give(bare->values, bare->tensor_bytes);
    free(bare);
}

void pd_bare_measure(struct pd_bare *bare, enum pd_operation operation, unsigned repeats)
{
    const struct order order = {.operation = operation, .repeats = repeats};
    for (unsigned i = 0; i < bare->forms; i++) {
        double seconds = run_form(bare, &bare->form[i], &order);
        double bytes = (double)bare->tensor_bytes * repeats;
        pd_samples_add(&bare->form[i].samples[operation], bytes / 1e9 / seconds);
    }
}

const struct pd_samples *pd_bare_best(const struct pd_bare *bare, enum pd_operation operation)
{
    const struct pd_samples *best = &bare->form[0].samples[operation];
    for (unsigned i = 1; i < bare->forms; i++) {
        const struct pd_samples *other = &bare->form[i].samples[operation];
        best = pd_samples_median(other) > pd_samples_median(best) ? other : best;
    }
    return best;
}

const struct pd_samples *pd_bare_samples(const struct pd_bare *bare, enum pd_operation operation,
                                         unsigned connections)
{
    return connections <= bare->forms ? &bare->form[connections - 1].samples[operation] : NULL;
}

void pd_bare_check(const struct pd_bare *bare, enum pd_operation operation,
                   const struct pd_samples *raw)
{
    double median = pd_samples_median(pd_bare_best(bare, operation));
    double share = RAW_SHARE_MIN[operation];
    if (bare->tensor_bytes >= STREAM_BYTES_MIN && bare->dtype == PD_F32 &&
        median < share * pd_samples_median(raw)) {
        pd_report_void("the bare loop's %s of %s moves %.2f GB/s, less than %.1f of the raw "
                       "stream's %.2f",
                       pd_operation_name(operation), pd_size_print(bare->tensor_bytes).text, median,
                       share, pd_samples_median(raw));
    }
}
