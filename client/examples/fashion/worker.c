/* fashion-worker: one of several processes that train one model together. It computes gradients of
 * its share of the images, pushes each to the daemon, which applies it at once, and goes on with
 * the weights that come back; it never waits for another worker. */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/examples/fashion/model.h"

enum { REPORT_EVERY = 50 };

struct settings {
    const char *model;
    const char *optimizer;
    const char *data;
    const char *result;
    enum paramd_ack_level ack_level;
    double schedule; /* the model's pushes in all, for the learning-rate schedule */
    unsigned rank;
    unsigned workers;
    uint64_t pushes; /* of this worker; 0: as many as seconds allow */
    double seconds;
};

static const char usage[] =
    "usage: fashion-worker --model NAME [--rank 0] [--workers 1] --pushes N | --seconds S\n"
    "  PARAMD_ADDRESS names the daemon (default: 127.0.0.1:7700)\n"
    "  --model NAME    the same for all workers: the first to come creates it\n"
    "  --rank R        this worker's number, from 0\n"
    "  --workers W     into how many shares the images are divided\n"
    "  --pushes N      stop after N batches\n"
    "  --seconds S     stop after S seconds\n"
    "  --optimizer O   run by the daemon (default: adam)\n"
    "  --schedule N    pushes of all workers together, to which the learning rate decays\n"
    "                  (default: constant)\n"
    "  --ack-level L   applied, or logged: what is acknowledged is on the daemon's disk\n"
    "                  (default: applied)\n"
    "  --data DIR      Fashion-MNIST (default: /usr/share/datasets/fashion-mnist)\n"
    "  --result FILE   what was done, as JSON\n";

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},    {"rank", required_argument, NULL, 'r'},
    {"workers", required_argument, NULL, 'w'},  {"pushes", required_argument, NULL, 'p'},
    {"seconds", required_argument, NULL, 's'},  {"optimizer", required_argument, NULL, 'o'},
    {"schedule", required_argument, NULL, 'c'}, {"ack-level", required_argument, NULL, 'a'},
    {"data", required_argument, NULL, 'd'},     {"result", required_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};

static void read_settings(struct settings *settings, int argc, char **argv)
{
    int option;
    *settings = (struct settings){
        .optimizer = "adam", .workers = 1, .data = "/usr/share/datasets/fashion-mnist"};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'm':
            settings->model = optarg;
            break;
        case 'r':
            settings->rank = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            settings->workers = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'p':
            settings->pushes = strtoull(optarg, NULL, 10);
            break;
        case 's':
            settings->seconds = strtod(optarg, NULL);
            break;
        case 'o':
            settings->optimizer = optarg;
            break;
        case 'c':
            settings->schedule = strtod(optarg, NULL);
            break;
        case 'a':
            settings->ack_level = fashion_ack_level(optarg);
            break;
        case 'd':
            settings->data = optarg;
            break;
        case 'f':
            settings->result = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (settings->model == NULL || settings->rank >= settings->workers ||
        (settings->pushes == 0 && !(settings->seconds > 0.0))) {
        fputs(usage, stderr);
        exit(2);
    }
}

/* Ends the program if a call of the library failed. */
static void check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "cannot %s: %s", what, paramd_error());
    }
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* What a crash took although it had been acknowledged; with --ack-level logged there is none. */
static void tell_lost(struct paramd_model *model, uint64_t blocks, void *arg)
{
    (void)arg;
    warnx("the daemon has lost %" PRIu64 " acknowledged pushes of blocks of model %s", blocks,
          paramd_model_definition(model)->name);
}

struct outcome {
    uint64_t pushes;
    double loss; /* of late */
    double began;
    double ended;
};

/* The training itself: gradient, push, pull, again. */
static void train(const struct settings *settings, struct paramd_model *model,
                  struct network *weights, struct outcome *outcome)
{
    static struct network gradient;
    struct paramd_io entries[FASHION_TENSORS];
    struct paramd_call call = {.weight = BATCH_MAX};
    struct images images;
    struct walk walk;
    images_load(&images, settings->data, "train");
    walk_init(&walk, images.count, settings->rank, settings->workers, 1 + settings->rank);
    fashion_entries(entries, &gradient, weights);
    check(paramd_pull_wait(model, entries, FASHION_TENSORS, NULL, FASHION_TIMEOUT_MS, NULL),
          "pull the weights");

    *outcome = (struct outcome){.began = now_seconds(), .loss = 2.3};
    while (settings->pushes > 0 ? outcome->pushes < settings->pushes
                                : now_seconds() - outcome->began < settings->seconds) {
        uint32_t batch[BATCH_MAX];
        walk_take(&walk, batch, BATCH_MAX);
        double loss = network_gradient(weights, &images, batch, BATCH_MAX, &gradient);
        check(
            paramd_push_pull_wait(model, entries, FASHION_TENSORS, &call, FASHION_TIMEOUT_MS, NULL),
            "push a gradient");
        outcome->loss += 0.02 * (loss - outcome->loss);
        outcome->pushes++;
        if (outcome->pushes % REPORT_EVERY == 0) {
            check(paramd_report(model, outcome->pushes, outcome->loss, outcome->pushes * BATCH_MAX,
                                0, FASHION_TIMEOUT_MS),
                  "report");
        }
    }
    outcome->ended = now_seconds();
    walk_deinit(&walk);
    images_free(&images);
}

/* How many pushes of this worker the daemon has acknowledged, for each block of each tensor. */
static json_t *applied_counts(const struct paramd_model *model)
{
    json_t *tensors = json_array();
    for (uint32_t tensor = 0; tensor < FASHION_TENSORS; tensor++) {
        json_t *blocks = json_array();
        struct paramd_block_info info;
        for (uint64_t block = 0; paramd_block(model, tensor, block, &info) == PARAMD_OK; block++) {
            json_array_append_new(blocks, json_integer((json_int_t)info.applied));
        }
        json_array_append_new(tensors, blocks);
    }
    return tensors;
}

static void write_result(const char *path, const struct paramd_model *model,
                         const struct outcome *outcome)
{
    struct paramd_counters counters;
    paramd_model_counters(model, &counters);
    json_t *result = json_pack(
        "{s:I, s:f, s:f, s:f, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "pushes",
        (json_int_t)outcome->pushes, "loss", outcome->loss, "began", outcome->began, "ended",
        outcome->ended, "applied", applied_counts(model), "bytes_pushed",
        (json_int_t)counters.bytes_pushed, "bytes_pulled", (json_int_t)counters.bytes_pulled,
        "refused", (json_int_t)counters.refused, "resent", (json_int_t)counters.resent, "lost",
        (json_int_t)counters.lost, "reconnects", (json_int_t)counters.reconnects);
    if (result == NULL || json_dump_file(result, path, JSON_COMPACT) != 0) {
        errx(1, "cannot write %s", path);
    }
    json_decref(result);
}

int main(int argc, char **argv)
{
    static struct network weights;
    struct settings settings;
    struct fashion_model definition;
    struct paramd_values initial[FASHION_TENSORS];
    struct paramd_client *client;
    struct paramd_model *model;
    struct outcome outcome;

    read_settings(&settings, argc, argv);
    fashion_define(&definition, settings.model, recipe_find(settings.optimizer), settings.schedule);
    definition.definition.ack_level = settings.ack_level;
    /* All workers offer the same first weights; those of the first to come are taken. */
    network_init(&weights, 1);
    fashion_initial(initial, &weights);

    check(paramd_open(&(struct paramd_options){.lost = tell_lost}, &client), "open a client");
    check(paramd_join(client, &definition.definition, initial, FASHION_TIMEOUT_MS, &model),
          "join the model");
    train(&settings, model, &weights, &outcome);
    if (settings.result != NULL) {
        write_result(settings.result, model, &outcome);
    }
    check(paramd_leave(model, FASHION_TIMEOUT_MS), "leave the model");
    paramd_close(client);
    return 0;
}
