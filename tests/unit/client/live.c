/* One thread with poll over a listener, a pipe to be woken by, and the connections. */
#include "tests/unit/client/live.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNS_MAX = 32, BUFFER_BYTES = 64 * 1024 };

struct live {
    struct fake_server server;
    pthread_mutex_t mutex;
    pthread_t thread;
    int listener;
    int wake[2];
    bool stopping;
    bool breaking;
    char directory[32];
    char address[80];
    int fds[CONNS_MAX];
    struct fake_conn *conns[CONNS_MAX];
    unsigned count;
    uint8_t out[BUFFER_BYTES]; /* taken from a connection and not yet written */
};

static void drop(struct live *live, unsigned i)
{
    (void)close(live->fds[i]);
    fake_conn_destroy(live->conns[i]);
    live->count--;
    live->fds[i] = live->fds[live->count];
    live->conns[i] = live->conns[live->count];
}

/* False: the connection is over. Writing may block: the client under test reads. */
static bool serve(struct live *live, unsigned i)
{
    uint8_t bytes[BUFFER_BYTES];
    ssize_t count = recv(live->fds[i], bytes, sizeof bytes, 0);
    if (count <= 0) {
        return false;
    }
    fake_conn_feed(live->conns[i], bytes, (size_t)count);
    return !live->conns[i]->closed;
}

static bool flush(struct live *live, unsigned i)
{
    size_t bytes =
        live->conns[i]->out_bytes < BUFFER_BYTES ? live->conns[i]->out_bytes : BUFFER_BYTES;
    if (bytes == 0) {
        return true;
    }
    ssize_t sent = send(live->fds[i], live->conns[i]->out, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        (void)fake_conn_take(live->conns[i], live->out, (size_t)sent);
    }
    return sent >= 0;
}

static void turn(struct live *live, const struct pollfd *polled, unsigned polled_count)
{
    for (unsigned i = polled_count; i-- > 0;) {
        short events = polled[i + 2].revents;
        bool alive = !live->breaking;
        if (alive && (events & (POLLIN | POLLHUP | POLLERR)) != 0) {
            alive = serve(live, i);
        }
        if (alive && (events & POLLOUT) != 0) {
            alive = flush(live, i);
        }
        if (!alive) {
            drop(live, i);
        }
    }
    live->breaking = false;
    if ((polled[0].revents & POLLIN) != 0 && live->count < CONNS_MAX) {
        int fd = accept(live->listener, NULL, NULL);
        if (fd >= 0) {
            live->fds[live->count] = fd;
            live->conns[live->count++] = fake_conn_create(&live->server);
        }
    }
    if ((polled[1].revents & POLLIN) != 0) {
        char ignored[64];
        (void)!read(live->wake[0], ignored, sizeof ignored);
    }
}

static void *thread_main(void *arg)
{
    struct live *live = arg;
    (void)pthread_mutex_lock(&live->mutex);
    while (!live->stopping) {
        struct pollfd polled[CONNS_MAX + 2] = {{.fd = live->listener, .events = POLLIN},
                                               {.fd = live->wake[0], .events = POLLIN}};
        unsigned count = live->count;
        for (unsigned i = 0; i < count; i++) {
            short out = live->conns[i]->out_bytes > 0 ? POLLOUT : 0;
            polled[i + 2] = (struct pollfd){.fd = live->fds[i], .events = (short)(POLLIN | out)};
        }
        (void)pthread_mutex_unlock(&live->mutex);
        (void)poll(polled, count + 2, -1);
        (void)pthread_mutex_lock(&live->mutex);
        turn(live, polled, count);
    }
    (void)pthread_mutex_unlock(&live->mutex);
    return NULL;
}

static void listen_tcp(struct live *live)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    live->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (live->listener < 0 ||
        bind(live->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(live->listener, (struct sockaddr *)&address, &bytes) != 0) {
        abort();
    }
    (void)snprintf(live->address, sizeof live->address, "127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
}

static void listen_unix(struct live *live)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(live->directory, sizeof live->directory, "/tmp/paramd-test-XXXXXX");
    if (mkdtemp(live->directory) == NULL) {
        abort();
    }
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", live->directory);
    (void)snprintf(live->address, sizeof live->address, "unix:%s/s", live->directory);
    live->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (live->listener < 0 ||
        bind(live->listener, (struct sockaddr *)&address, sizeof address) != 0) {
        abort();
    }
}

struct live *live_start(unsigned shards, bool tcp)
{
    struct live *live = calloc(1, sizeof *live);
    fake_server_init(&live->server, shards);
    (void)pthread_mutex_init(&live->mutex, NULL);
    if (tcp) {
        listen_tcp(live);
    } else {
        listen_unix(live);
    }
    if (listen(live->listener, 16) != 0 || pipe(live->wake) != 0 ||
        pthread_create(&live->thread, NULL, thread_main, live) != 0) {
        abort();
    }
    return live;
}

const char *live_address(const struct live *live)
{
    return live->address;
}

struct fake_server *live_lock(struct live *live)
{
    (void)pthread_mutex_lock(&live->mutex);
    return &live->server;
}

void live_unlock(struct live *live)
{
    (void)pthread_mutex_unlock(&live->mutex);
    (void)!write(live->wake[1], "w", 1);
}

void live_break(struct live *live)
{
    (void)live_lock(live);
    live->breaking = true;
    live_unlock(live);
}

void live_stop(struct live *live)
{
    (void)live_lock(live);
    live->stopping = true;
    live_unlock(live);
    (void)pthread_join(live->thread, NULL);
    while (live->count > 0) {
        drop(live, live->count - 1);
    }
    (void)close(live->listener);
    (void)close(live->wake[0]);
    (void)close(live->wake[1]);
    if (live->directory[0] != '\0') {
        (void)unlink(live->address + strlen("unix:"));
        (void)rmdir(live->directory);
    }
    fake_server_deinit(&live->server);
    (void)pthread_mutex_destroy(&live->mutex);
    free(live);
}
