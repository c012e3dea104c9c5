/* Loops over memory on several threads at once, each on memory of its own. */
#ifndef PARAMD_TESTS_BENCH_STREAM_H
#define PARAMD_TESTS_BENCH_STREAM_H

/* What every thread works on. Both are called on the thread itself, so that memory is first touched
 * where it is used. */
struct pd_stream_state {
    void *(*create)(const void *arg);
    void (*destroy)(void *state);
};

struct pd_stream;

/* Starts the threads; each creates its state. */
struct pd_stream *pd_stream_create(const struct pd_stream_state *state, const void *arg,
                                   unsigned threads);
void pd_stream_destroy(struct pd_stream *stream);

/* All threads run once, at the same time: seconds from the first begin to the last end. */
double pd_stream_run(struct pd_stream *stream, void (*run)(void *state));

#endif
