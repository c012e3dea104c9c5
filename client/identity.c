/* Which session ids handles of this process use. The daemon tells processes apart, by their nonce;
 * two handles of one process with one id would both be let in, and give their pushes the same ids.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/private.h"

struct pd_identity {
    struct pd_identity *prev;
    struct pd_identity *next;
    uint8_t id[PD_SESSION_BYTES];
    char model[];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pd_identity *taken;

int pd_identity_take(const char *model, const uint8_t id[PD_SESSION_BYTES],
                     struct pd_identity **ret_identity)
{
    size_t bytes = strlen(model) + 1;
    struct pd_identity *own = calloc(1, sizeof *own + bytes);
    if (own == NULL) {
        return PARAMD_NO_MEMORY;
    }
    memcpy(own->id, id, sizeof own->id);
    memcpy(own->model, model, bytes);
    struct pd_identity *other = NULL;
    (void)pthread_mutex_lock(&mutex);
    DL_FOREACH(taken, other) {
        if (memcmp(other->id, id, sizeof other->id) == 0 && strcmp(other->model, model) == 0) {
            break;
        }
    }
    if (other == NULL) {
        DL_APPEND(taken, own);
    }
    (void)pthread_mutex_unlock(&mutex);
    if (other != NULL) {
        free(own);
        return PARAMD_SESSION_IN_USE;
    }
    *ret_identity = own;
    return PARAMD_OK;
}

void pd_identity_give(struct pd_identity *identity)
{
    if (identity == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&mutex);
    DL_DELETE(taken, identity);
    (void)pthread_mutex_unlock(&mutex);
    free(identity);
}

void pd_identity_forked(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    mutex = fresh; /* a thread that does not exist here may hold it */
    taken = NULL;
}
