/* What a run came to, and the table and the JSON object that say so at the end. */
#ifndef FASHION_CLOSING_H
#define FASHION_CLOSING_H

#include <stdint.h>

#include "client/examples/fashion/crew.h"
#include "client/examples/fashion/observer.h"

/* One run through the daemon. */
struct run {
    unsigned workers;
    uint64_t pushes; /* whole gradients, as the workers counted them */
    double seconds;  /* from the first worker's first gradient to the last one's last */
    double accuracy; /* percent of all test images */
    uint64_t bytes_pushed;
    uint64_t bytes_pulled;
    uint64_t resent;
    uint64_t told_lost; /* what the daemon told the workers that it had lost, in blocks */
    uint64_t lost;      /* pushes of blocks that were acknowledged, and that no version shows */
    uint64_t doubled;   /* versions of blocks that no acknowledged push accounts for */
    struct sight sight;
};

struct closing {
    const char *optimizer;
    const char *ack_level;
    unsigned shards;
    unsigned kills;             /* of the daemon, while all of this went on */
    double seconds_unavailable; /* without it */
    struct run async;
    struct run one_worker;
    double accuracy_local;
    double seconds_local;
};

/* Adds up what the workers left behind, and holds their counts against the versions. */
void run_gather(struct run *run, const struct crew_member *members, size_t count,
                uint64_t versions[FASHION_TENSORS][BLOCKS_MAX]);

/* Adds up what the killer of the daemon has written. */
void closing_read_kills(struct closing *closing, const char *path);

void closing_print(const struct closing *closing);

/* Ends the program if the file cannot be written. */
void closing_write(const struct closing *closing, const char *path);

#endif
