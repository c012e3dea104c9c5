/* All that is known of a run comes from the daemon itself: its counters, versions and weights. */
#include "client/examples/fashion/observer.h"

#include <ctype.h>
#include <err.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "cannot %s: %s", what, paramd_error());
    }
}

void observer_open(struct observer *observer, const char *model, const struct images *test)
{
    *observer = (struct observer){.name = model, .test = test};
    check(paramd_open(NULL, &observer->client), "open a client");
}

void observer_close(struct observer *observer)
{
    if (observer->model != NULL) {
        check(paramd_leave(observer->model, FASHION_TIMEOUT_MS), "leave the model");
    }
    check(paramd_delete(observer->client, observer->name, 0, FASHION_TIMEOUT_MS),
          "delete the model");
    paramd_close(observer->client);
}

/* Mean and 99th percentile of the histogram. */
static void summarise(struct sight *sight)
{
    double blocks = 0.0, sum = 0.0, seen = 0.0;
    for (unsigned s = 0; s < STALENESS_BUCKETS; s++) {
        blocks += sight->staleness[s];
        sum += s * sight->staleness[s];
    }
    if (blocks == 0.0) {
        return;
    }
    sight->staleness_mean = sum / blocks;
    for (unsigned s = 0; s < STALENESS_BUCKETS && seen < 0.99 * blocks; s++) {
        seen += sight->staleness[s];
        sight->staleness_p99 = s;
    }
}

void observer_look(struct observer *observer, struct sight *ret_sight)
{
    static const char prefix[] = "staleness_";
    struct paramd_stat *stat;
    memset(ret_sight, 0, sizeof *ret_sight);
    int status = paramd_stat(observer->client, observer->name, FASHION_TIMEOUT_MS, &stat);
    if (status == PARAMD_NOT_FOUND) {
        return;
    }
    check(status, "ask the daemon about the model");
    ret_sight->ready = stat->model.ready;
    for (size_t i = 0; i < stat->tensor_count; i++) {
        const struct paramd_tensor_info *tensor = &stat->tensors[i];
        if (ret_sight->ready && strcmp(tensor->name, "b2") == 0) {
            ret_sight->pushes = tensor->version_max - 1;
        }
    }
    for (size_t i = 0; i < stat->counter_count; i++) {
        const struct paramd_counter *counter = &stat->counters[i];
        const char *age = counter->name + sizeof prefix - 1;
        if (strcmp(counter->name, "reported_loss_mean") == 0) {
            ret_sight->loss = counter->value;
        } else if (strncmp(counter->name, prefix, sizeof prefix - 1) == 0 && isdigit(*age)) {
            unsigned long s = strtoul(age, NULL, 10);
            ret_sight->staleness[s < STALENESS_BUCKETS ? s : STALENESS_BUCKETS - 1] +=
                counter->value;
        }
    }
    paramd_free(stat);
    summarise(ret_sight);
}

static void pull(struct observer *observer, struct network *weights)
{
    struct paramd_io entries[FASHION_TENSORS];
    if (observer->model == NULL) {
        check(paramd_attach(observer->client, observer->name, FASHION_TIMEOUT_MS, &observer->model),
              "attach to the model");
    }
    fashion_entries(entries, NULL, weights);
    check(
        paramd_pull_wait(observer->model, entries, FASHION_TENSORS, NULL, FASHION_TIMEOUT_MS, NULL),
        "pull the weights");
}

struct score observer_score(struct observer *observer, size_t count)
{
    static struct network weights;
    pull(observer, &weights);
    return network_score(&weights, observer->test, count);
}

void observer_versions(struct observer *observer, uint64_t versions[FASHION_TENSORS][BLOCKS_MAX])
{
    static struct network weights;
    pull(observer, &weights);
    memset(versions, 0, sizeof(uint64_t[FASHION_TENSORS][BLOCKS_MAX]));
    for (uint32_t tensor = 0; tensor < FASHION_TENSORS; tensor++) {
        struct paramd_block_info info;
        for (uint64_t block = 0;
             block < BLOCKS_MAX && paramd_block(observer->model, tensor, block, &info) == PARAMD_OK;
             block++) {
            versions[tensor][block] = info.version;
        }
    }
}

void observer_set_schedule(struct observer *observer, double pushes)
{
    const struct paramd_hyper hypers[] = {{.name = "hold", .number = floor(pushes / 2.0)},
                                          {.name = "total", .number = ceil(pushes)}};
    check(paramd_set_by_name(observer->client, observer->name, fashion_group_name, hypers, 2, 0,
                             FASHION_TIMEOUT_MS),
          "set the schedule");
}
