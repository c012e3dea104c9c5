/* What belongs to the process: its forks, its nonce, its random source. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "client/private.h"

static atomic_uint forks;
static _Atomic uint64_t nonce;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Runs in the child, where a lock may be held by a thread that does not exist: nothing is
 * locked. */
static void forked(void)
{
    atomic_fetch_add(&forks, 1);
    atomic_store(&nonce, 0);
    pd_identity_forked();
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, forked);
}

unsigned pd_forks(void)
{
    (void)pthread_once(&once, watch_forks);
    return atomic_load(&forks);
}

bool pd_random_bytes(void *memory, size_t bytes)
{
    uint8_t *at = memory;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno != EINTR) {
            return false;
        }
        if (got > 0) {
            at += got;
            bytes -= (size_t)got;
        }
    }
    return true;
}

uint64_t pd_process_nonce(void)
{
    uint64_t known = atomic_load(&nonce);
    uint64_t drawn = 0;
    if (known != 0 || !pd_random_bytes(&drawn, sizeof drawn)) {
        return known;
    }
    drawn |= 1;
    /* Whoever comes first in this process decides. */
    return atomic_compare_exchange_strong(&nonce, &known, drawn) ? drawn : known;
}
