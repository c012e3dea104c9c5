/* Every figure here was measured or counted in this run. Lost and doubled come from two sides that
 * know nothing of each other: what the workers saw acknowledged, and how far the daemon counted. */
#include "client/examples/fashion/closing.h"

#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t whole(const json_t *result, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(result, key));
}

/* Version 1 is the first values; each applied push adds 1. */
static void compare(struct run *run, uint64_t version, uint64_t applied)
{
    uint64_t counted = version - 1;
    if (counted < applied) {
        run->lost += applied - counted;
    } else {
        run->doubled += counted - applied;
    }
}

void run_gather(struct run *run, const struct crew_member *members, size_t count,
                uint64_t versions[FASHION_TENSORS][BLOCKS_MAX])
{
    uint64_t applied[FASHION_TENSORS][BLOCKS_MAX] = {{0}};
    double began = INFINITY, ended = 0.0;
    for (size_t i = 0; i < count; i++) {
        json_t *result = crew_result(&members[i]), *blocks, *pushes;
        size_t tensor, block;
        json_array_foreach(json_object_get(result, "applied"), tensor, blocks)
        {
            json_array_foreach(blocks, block, pushes)
            {
                if (tensor >= FASHION_TENSORS || block >= BLOCKS_MAX) {
                    errx(1, "%s has more blocks than the model", members[i].result);
                }
                applied[tensor][block] += (uint64_t)json_integer_value(pushes);
            }
        }
        began = fmin(began, json_number_value(json_object_get(result, "began")));
        ended = fmax(ended, json_number_value(json_object_get(result, "ended")));
        run->pushes += whole(result, "pushes");
        run->bytes_pushed += whole(result, "bytes_pushed");
        run->bytes_pulled += whole(result, "bytes_pulled");
        run->resent += whole(result, "resent");
        run->told_lost += whole(result, "lost");
        json_decref(result);
    }
    run->seconds = ended - began;
    for (size_t tensor = 0; tensor < FASHION_TENSORS; tensor++) {
        for (size_t block = 0; block < BLOCKS_MAX && versions[tensor][block] > 0; block++) {
            compare(run, versions[tensor][block], applied[tensor][block]);
        }
    }
}

void closing_read_kills(struct closing *closing, const char *path)
{
    char line[64];
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return; /* nobody has killed it yet */
    }
    while (fgets(line, sizeof line, file) != NULL) {
        closing->kills++;
        closing->seconds_unavailable += strtod(line, NULL);
    }
    (void)fclose(file);
}

static void print_row(const char *what, double accuracy, uint64_t pushes, double seconds)
{
    printf("  %-26s %7.2f %% %10llu %9.1f %10.0f\n", what, accuracy, (unsigned long long)pushes,
           seconds, (double)pushes / seconds);
}

/* A line for each age up to the 99th percentile, and one for the rest. */
static void print_staleness(const struct sight *sight, bool since_start)
{
    double blocks = 0.0, above = 0.0;
    unsigned last = (unsigned)sight->staleness_p99;
    for (unsigned s = 0; s < STALENESS_BUCKETS; s++) {
        blocks += sight->staleness[s];
        above += s > last ? sight->staleness[s] : 0.0;
    }
    if (blocks <= 0.0) {
        return; /* the last start saw no push */
    }
    printf("\n  staleness%s: how many updates of a block happened between pull and push\n",
           since_start ? " since the last start" : "");
    for (unsigned s = 0; s <= last + 1; s++) {
        static const char bar[] = "########################################";
        double share = (s <= last ? sight->staleness[s] : above) / fmax(blocks, 1.0);
        printf("  %6s %-3u %5.1f %% %.*s\n", s <= last ? "" : "above", s <= last ? s : last,
               100.0 * share, (int)lround(share * (double)(sizeof bar - 1)), bar);
    }
    printf("  mean %.2f, 99th percentile %.0f\n", sight->staleness_mean, sight->staleness_p99);
}

void closing_print(const struct closing *closing)
{
    const struct run *run = &closing->async;
    char name[64];
    printf("\nFashion-MNIST, 784-128-10, batch %d, %s in the daemon, %u shards\n\n", BATCH_MAX,
           closing->optimizer, closing->shards);
    printf("  %-26s %9s %10s %9s %10s\n", "", "accuracy", "pushes", "seconds", "pushes/s");
    snprintf(name, sizeof name, "%u workers, asynchronous", run->workers);
    print_row(name, run->accuracy, run->pushes, run->seconds);
    print_row("1 worker, same examples", closing->one_worker.accuracy, closing->one_worker.pushes,
              closing->one_worker.seconds);
    print_row("plain Adam, no daemon", closing->accuracy_local, run->pushes,
              closing->seconds_local);
    printf("  (accuracy on all 10,000 test images; the last two ran side by side)\n");
    print_staleness(&run->sight, closing->kills > 0);
    printf("\n  pushed %.2f GB, pulled %.2f GB; resent %llu\n", (double)run->bytes_pushed * 1e-9,
           (double)run->bytes_pulled * 1e-9, (unsigned long long)run->resent);
    if (closing->kills > 0) {
        printf("  daemon killed %u times, unavailable for %.1f s in all\n", closing->kills,
               closing->seconds_unavailable);
    }
    printf("  acknowledged when %s; the daemon told of %llu pushes of blocks lost in a crash\n",
           closing->ack_level, (unsigned long long)run->told_lost);
    printf("  lost %llu, doubled %llu (blocks' versions against the workers' own counts)\n",
           (unsigned long long)run->lost, (unsigned long long)run->doubled);
}

void closing_write(const struct closing *closing, const char *path)
{
    const struct run *run = &closing->async;
    json_t *table = json_pack(
        "{s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:f, s:i, s:i, s:s, s:s, s:I, s:I, s:I, s:i, "
        "s:f}",
        "accuracy_async", run->accuracy, "accuracy_one_worker", closing->one_worker.accuracy,
        "accuracy_local", closing->accuracy_local, "seconds", run->seconds, "pushes",
        (json_int_t)run->pushes, "bytes_pushed", (json_int_t)run->bytes_pushed, "bytes_pulled",
        (json_int_t)run->bytes_pulled, "staleness_mean", run->sight.staleness_mean, "staleness_p99",
        run->sight.staleness_p99, "workers", (int)run->workers, "shards", (int)closing->shards,
        "optimizer", closing->optimizer, "ack_level", closing->ack_level, "told_lost",
        (json_int_t)run->told_lost, "lost", (json_int_t)run->lost, "doubled",
        (json_int_t)run->doubled, "kills", (int)closing->kills, "seconds_unavailable",
        closing->seconds_unavailable);
    if (table == NULL ||
        json_dump_file(table, path, JSON_INDENT(2) | JSON_REAL_PRECISION(8)) != 0) {
        errx(1, "cannot write %s", path);
    }
    json_decref(table);
}
