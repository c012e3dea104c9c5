/* fashion: trains Fashion-MNIST through a paramd daemon with several worker processes, then with
 * one worker alone and with no daemon at all, and says what each came to. deploy/quickstart starts
 * it. */
#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client/examples/fashion/closing.h"
#include "client/examples/fashion/crew.h"
#include "client/examples/fashion/observer.h"
#include "client/examples/fashion/progress.h"
#include "client/examples/fashion/settings.h"

enum {
    EPOCH_PUSHES = 60000 / BATCH_MAX,
    GLIMPSE_IMAGES = 1000,
    /* A first guess for --seconds, corrected while training goes. */
    PUSHES_PER_SECOND = 400
};

static const double look_seconds = 0.5;

/* Of one run, all workers together: pushes, or seconds with an estimate of the pushes. */
struct budget {
    uint64_t pushes;
    double seconds;
    double schedule;
};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void start_worker(const struct settings *settings, struct crew *crew, const char *model,
                         const struct budget *budget, unsigned rank, unsigned workers)
{
    char program[1024], name[128], result[512], rank_text[16], workers_text[16], amount[32];
    char schedule[32];
    uint64_t share = budget->pushes / workers + (rank < budget->pushes % workers);
    snprintf(program, sizeof program, "%s/fashion-worker", settings->programs);
    snprintf(name, sizeof name, "worker %u of %s", rank, model);
    snprintf(result, sizeof result, "%s/%s-%u.json", settings->scratch, model, rank);
    snprintf(rank_text, sizeof rank_text, "%u", rank);
    snprintf(workers_text, sizeof workers_text, "%u", workers);
    snprintf(schedule, sizeof schedule, "%.0f", budget->schedule);
    if (budget->seconds > 0.0) {
        snprintf(amount, sizeof amount, "%g", budget->seconds);
    } else {
        snprintf(amount, sizeof amount, "%llu", (unsigned long long)share);
    }
    const char *arguments[] = {program,
                               "--model",
                               model,
                               "--rank",
                               rank_text,
                               "--workers",
                               workers_text,
                               "--optimizer",
                               settings->optimizer,
                               "--ack-level",
                               settings->ack_level,
                               "--schedule",
                               schedule,
                               "--data",
                               settings->data,
                               "--result",
                               result,
                               budget->seconds > 0.0 ? "--seconds" : "--pushes",
                               amount,
                               NULL};
    crew_start(crew, name, result, arguments);
}

static void start_local(const struct settings *settings, struct crew *crew, uint64_t pushes)
{
    char program[1024], result[512], amount[32];
    snprintf(program, sizeof program, "%s/fashion-local", settings->programs);
    snprintf(result, sizeof result, "%s/local.json", settings->scratch);
    snprintf(amount, sizeof amount, "%llu", (unsigned long long)pushes);
    const char *arguments[] = {program,        "--pushes", amount, "--data",
                               settings->data, "--result", result, NULL};
    crew_start(crew, "fashion-local", result, arguments);
}

/* How far a run is, 0 to 1. With seconds the schedule follows the rate of pushes so far. */
static double share_done(struct observer *observer, const struct budget *budget, double elapsed,
                         uint64_t pushes)
{
    if (budget->seconds <= 0.0) {
        return (double)pushes / (double)budget->pushes;
    }
    if (elapsed >= 1.0 && elapsed < budget->seconds) {
        observer_set_schedule(observer, (double)pushes * budget->seconds / elapsed);
    }
    return fmin(elapsed / budget->seconds, 1.0);
}

/* What the bar says beside how far the run is. before is what was seen last, seconds ago. */
static void describe(const struct sight *sight, const struct sight *before, double seconds,
                     double accuracy, char *text, size_t bytes)
{
    char loss[16] = "-";
    if (sight->loss > 0.0) {
        snprintf(loss, sizeof loss, "%.3f", sight->loss);
    }
    snprintf(text, bytes, "loss %s  accuracy %.1f %%  %.0f pushes/s  staleness %.1f", loss,
             accuracy, (double)(sight->pushes - before->pushes) / seconds, sight->staleness_mean);
}

/* Watches a run until all its processes are done. */
static void follow(struct observer *observer, struct crew *crew, const struct budget *budget,
                   const char *title)
{
    struct progress progress;
    struct sight sight, before = {.pushes = 0};
    double began = now_seconds(), looked = began;
    char text[128];
    progress_begin(&progress, title);
    progress_show(&progress, 0.0, began, "starting");
    while (crew_poll(crew)) {
        double now = now_seconds();
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        if (now - looked < look_seconds) {
            continue;
        }
        observer_look(observer, &sight);
        if (before.pushes == 0) {
            began = now;
        }
        if (sight.pushes > 0) {
            describe(&sight, &before, now - looked,
                     observer_score(observer, GLIMPSE_IMAGES).accuracy, text, sizeof text);
            progress_show(&progress, share_done(observer, budget, now - began, sight.pushes), now,
                          text);
        }
        before = sight;
        looked = now;
    }
    progress_end(&progress, "done");
}

/* One run through the daemon, from the start of its processes to the count of its pushes. */
static void train(const struct settings *settings, const struct images *test,
                  const struct budget *budget, unsigned workers, bool with_local, struct run *run)
{
    struct crew crew;
    struct observer observer;
    uint64_t versions[FASHION_TENSORS][BLOCKS_MAX];
    char model[64], title[64];
    snprintf(model, sizeof model, "fashion-%u-%d", workers, (int)getpid());
    snprintf(title, sizeof title, with_local ? "%u worker" : "%u workers", workers);
    crew_init(&crew);
    /* All processes are started before this one opens a client: it holds no thread at a fork. */
    for (unsigned rank = 0; rank < workers; rank++) {
        start_worker(settings, &crew, model, budget, rank, workers);
    }
    if (with_local) {
        start_local(settings, &crew, budget->pushes);
    }
    observer_open(&observer, model, test);
    follow(&observer, &crew, budget, title);
    run->workers = workers;
    run->accuracy = observer_score(&observer, test->count).accuracy;
    observer_look(&observer, &run->sight);
    observer_versions(&observer, versions);
    run_gather(run, crew.members, workers, versions);
    observer_close(&observer);
    crew_deinit(&crew);
}

static void read_local(const struct settings *settings, struct closing *closing)
{
    struct crew_member local = {.name = "fashion-local"};
    snprintf(local.result, sizeof local.result, "%s/local.json", settings->scratch);
    json_t *result = crew_result(&local);
    closing->accuracy_local = json_number_value(json_object_get(result, "accuracy"));
    closing->seconds_local = json_number_value(json_object_get(result, "seconds"));
    json_decref(result);
}

/* What is not as it must be, in words; the exit code. */
static int judge(const struct settings *settings, const struct closing *closing)
{
    const struct run *runs[] = {&closing->async, &closing->one_worker};
    int code = 0;
    for (size_t i = 0; i < 2; i++) {
        if (runs[i]->lost != runs[i]->told_lost || runs[i]->doubled != 0) {
            warnx("the run with %u worker(s): %llu pushes lost, %llu of them told; %llu doubled",
                  runs[i]->workers, (unsigned long long)runs[i]->lost,
                  (unsigned long long)runs[i]->told_lost, (unsigned long long)runs[i]->doubled);
            code = 1;
        }
    }
    if (closing->async.accuracy < settings->accuracy_min) {
        warnx("accuracy %.2f %% is below %.2f %%", closing->async.accuracy, settings->accuracy_min);
        code = 1;
    }
    return code;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct images test;
    struct closing closing = {.accuracy_local = 0.0};

    settings_read(&settings, argc, argv);
    images_load(&test, settings.data, "t10k");
    crew_prepare();
    closing.optimizer = settings.optimizer;
    closing.ack_level = settings.ack_level;
    closing.shards = settings.shards;

    struct budget budget = {.seconds = settings.seconds};
    if (settings.seconds > 0.0) {
        budget.schedule = settings.seconds * PUSHES_PER_SECOND;
    } else {
        budget.pushes = (uint64_t)(settings.epochs * EPOCH_PUSHES);
        budget.schedule = (double)budget.pushes;
    }
    train(&settings, &test, &budget, settings.workers, false, &closing.async);
    /* The others get as many examples as the workers together have seen. */
    budget =
        (struct budget){.pushes = closing.async.pushes, .schedule = (double)closing.async.pushes};
    train(&settings, &test, &budget, 1, true, &closing.one_worker);
    read_local(&settings, &closing);

    if (settings.chaos != NULL) {
        closing_read_kills(&closing, settings.chaos);
    }
    closing_print(&closing);
    if (settings.json != NULL) {
        closing_write(&closing, settings.json);
    }
    images_free(&test);
    return judge(&settings, &closing);
}
