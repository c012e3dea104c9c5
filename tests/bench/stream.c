/* The threads of stream.h: they meet at a barrier before and after each run. */
#include <err.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/bench/base.h"
#include "tests/bench/stream.h"

enum { THREADS_MAX = 64 };

struct stream_thread {
    struct pd_stream *stream;
    pthread_t thread;
    double begin_s;
    double end_s;
};

struct pd_stream {
    const struct pd_stream_state *state;
    const void *arg;
    unsigned count;
    void (*run)(void *state); /* NULL: end. Written between two meetings only */
    pthread_barrier_t barrier;
    struct stream_thread threads[THREADS_MAX];
};

static void meet(struct pd_stream *stream)
{
    (void)pthread_barrier_wait(&stream->barrier);
}

static void *work(void *arg)
{
    struct stream_thread *thread = arg;
    struct pd_stream *stream = thread->stream;
    void *state = stream->state->create(stream->arg);
    meet(stream);
    for (;;) {
        meet(stream);
        if (stream->run == NULL) {
            break;
        }
        thread->begin_s = pd_now_s();
        stream->run(state);
        thread->end_s = pd_now_s();
        meet(stream);
    }
    stream->state->destroy(state);
    return NULL;
}

struct pd_stream *pd_stream_create(const struct pd_stream_state *state, const void *arg,
                                   unsigned threads)
{
    struct pd_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL || threads > THREADS_MAX ||
        pthread_barrier_init(&stream->barrier, NULL, threads + 1) != 0) {
        errx(1, "no %u threads", threads);
    }
    stream->state = state;
    stream->arg = arg;
    stream->count = threads;
    for (unsigned i = 0; i < threads; i++) {
        stream->threads[i].stream = stream;
        if (pthread_create(&stream->threads[i].thread, NULL, work, &stream->threads[i]) != 0) {
            errx(1, "no thread");
        }
    }
    meet(stream);
    return stream;
}

void pd_stream_destroy(struct pd_stream *stream)
{
    stream->run = NULL;
    meet(stream);
    for (unsigned i = 0; i < stream->count; i++) {
        (void)pthread_join(stream->threads[i].thread, NULL);
    }
    (void)pthread_barrier_destroy(&stream->barrier);
    free(stream);
}

double pd_stream_run(struct pd_stream *stream, void (*run)(void *state))
{
    stream->run = run;
    meet(stream);
    meet(stream);
    double begin_s = stream->threads[0].begin_s;
    double end_s = stream->threads[0].end_s;
    for (unsigned i = 1; i < stream->count; i++) {
        const struct stream_thread *thread = &stream->threads[i];
        begin_s = thread->begin_s < begin_s ? thread->begin_s : begin_s;
        end_s = thread->end_s > end_s ? thread->end_s : end_s;
    }
    return end_s - begin_s;
}
