/* paramd-sim: runs seeds, stops at the first that shows what must not be, replays and shrinks it.
 */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/reached.h"
#include "tests/sim/shrink.h"
#include "tests/sim/sim.h"

struct settings {
    uint64_t runs; /* 0: one, with its trace */
    uint64_t seed;
    uint64_t fault_mask;
    bool shrink;
    bool json;
    bool keep_going;
};

struct totals {
    uint64_t runs;
    uint64_t violations;
    uint64_t hash;
    double seconds;
    struct sim_counts counts;
    struct sim_counts runs_with; /* in how many runs there was at least one */
};

static const char usage[] =
    "usage: paramd-sim --runs N [--seed FIRST] [--plant NAME] [--faults LIST] [--shrink] [--json]\n"
    "                  [--keep-going]\n"
    "       paramd-sim --seed S [--plant NAME] [--faults LIST] [--shrink]\n"
    "       paramd-sim --list-plants\n"
    "\n"
    "  --runs N       run N seeds from FIRST (1) on; exit 1 at the first violation\n"
    "  --seed S       without --runs: that one, with a trace of its events\n"
    "  --plant NAME   with this known bug\n"
    "  --faults LIST  only these faults of the seed: all, none, or numbers as 3,7\n"
    "  --shrink       leave out what faults a violation does not need\n"
    "  --json         the summary as JSON\n"
    "  --keep-going   count violations instead of stopping\n";

static struct sim sim; /* of the run in hand */

/* ---- Options ---- */

static int fail_usage(const char *what, const char *value)
{
    (void)fprintf(stderr, "paramd-sim: %s: %s\n%s", what, value, usage);
    return 2;
}

static bool read_number(const char *text, uint64_t *ret_number)
{
    char *end;
    *ret_number = strtoull(text, &end, 10);
    return end != text && *end == '\0' && text[0] != '-';
}

static bool read_faults(const char *text, uint64_t *ret_mask)
{
    uint64_t mask = 0;
    if (strcmp(text, "all") == 0 || strcmp(text, "none") == 0) {
        *ret_mask = text[0] == 'a' ? UINT64_MAX : 0;
        return true;
    }
    for (const char *at = text; *at != '\0';) {
        char *end;
        unsigned long number = strtoul(at, &end, 10);
        if (end == at || number >= SIM_FAULTS_MAX || (*end != ',' && *end != '\0')) {
            return false;
        }
        mask |= UINT64_C(1) << number;
        at = *end == ',' ? end + 1 : end;
    }
    *ret_mask = mask;
    return true;
}

static bool read_plant(const char *name)
{
#define PLANT_MATCHES(code, plant, text)                                                           \
    if (strcmp(name, plant) == 0) {                                                                \
        sim_plant_chosen = sim_plant_##code;                                                       \
    }
    SIM_PLANT_LIST(PLANT_MATCHES)
#undef PLANT_MATCHES
    return sim_plant_chosen != sim_plant_none;
}

static int list_plants(void)
{
#define PRINT_PLANT(code, plant, text) (void)printf("%-26s %s\n", plant, text);
    SIM_PLANT_LIST(PRINT_PLANT)
#undef PRINT_PLANT
    return 0;
}

static const char *plant_name(void)
{
    static const char *const names[] = {"",
#define PLANT_NAME(code, plant, text) plant,
                                        SIM_PLANT_LIST(PLANT_NAME)
#undef PLANT_NAME
    };
    return names[sim_plant_chosen];
}

/* ---- Runs ---- */

/* What a crash prints, made before each run: a signal handler cannot. */
static char crash_text[96];

/* The code under test has failed an assertion, or worse: the seed must not be lost. */
static void crashed(int number)
{
    (void)!write(STDERR_FILENO, crash_text, strlen(crash_text));
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void add(struct totals *totals)
{
    totals->runs++;
    totals->violations += sim.violated;
    totals->hash = (totals->hash ^ sim.hash) * UINT64_C(0x9e3779b97f4a7c15);
    totals->hash ^= totals->hash >> 29;
#define ADD_COUNT(name)                                                                            \
    totals->counts.name += sim.counts.name;                                                        \
    totals->runs_with.name += sim.counts.name > 0;
    SIM_COUNT_LIST(ADD_COUNT)
#undef ADD_COUNT
    for (unsigned i = 0; i < SIM_FAULT_KINDS; i++) {
        totals->counts.fault_kinds[i] += sim.counts.fault_kinds[i];
        totals->runs_with.fault_kinds[i] += sim.counts.fault_kinds[i] > 0;
    }
}

static void tell_violation(const struct settings *settings)
{
    const struct sim_options options = sim.options;
    (void)fprintf(stderr, "seed %" PRIu64 ", %.6f s: %s\n", options.seed, (double)sim.now_us / 1e6,
                  sim.violation);
    uint64_t mask = options.fault_mask;
    if (settings->shrink) {
        mask = sim_shrink(&sim, &options);
        (void)fprintf(stderr, "with %u of its faults: %s\n", (unsigned)__builtin_popcountll(mask),
                      sim.violation);
    }
    char list[SIM_FAULTS_MAX * 3 + 8] = "";
    sim_faults_text(mask, list, sizeof list);
    (void)fprintf(stderr, "replay: paramd-sim --seed %" PRIu64 " --faults %s%s%s\n", options.seed,
                  list, sim_plant_chosen != sim_plant_none ? " --plant " : "", plant_name());
}

static void print_json(const struct totals *totals)
{
    double runs = totals->runs > 0 ? (double)totals->runs : 1;
    (void)printf("{\"runs\": %" PRIu64 ", \"violations\": %" PRIu64
                 ", \"seconds\": %.3f, \"runs_per_second\": %.1f, \"trace_hash\": \"%016" PRIx64
                 "\", \"plant\": \"%s\",\n \"means\": {",
                 totals->runs, totals->violations, totals->seconds, runs / totals->seconds,
                 totals->hash, plant_name());
    const char *comma = "";
#define PRINT_COUNT(name)                                                                          \
    (void)printf("%s\"%s\": %.3f", comma, #name, (double)totals->counts.name / runs);              \
    comma = ", ";
    SIM_COUNT_LIST(PRINT_COUNT)
#undef PRINT_COUNT
    for (unsigned i = 0; i < SIM_FAULT_KINDS; i++) {
        (void)printf(", \"fault %s\": %.3f", sim_fault_name((enum sim_fault_kind)i),
                     (double)totals->counts.fault_kinds[i] / runs);
    }
    (void)printf("},\n \"runs_with\": {");
    comma = "";
#define PRINT_SHARE(name)                                                                          \
    (void)printf("%s\"%s\": %.3f", comma, #name, (double)totals->runs_with.name / runs);           \
    comma = ", ";
    SIM_COUNT_LIST(PRINT_SHARE)
#undef PRINT_SHARE
    (void)printf("},\n ");
    sim_reached_print();
    (void)printf("}\n");
}

static void print_plain(const struct totals *totals)
{
    double runs = totals->runs > 0 ? (double)totals->runs : 1;
    (void)printf(
        "%" PRIu64 " runs, %" PRIu64 " violations, %.1f s, %.0f runs/s, trace %016" PRIx64 "\n",
        totals->runs, totals->violations, totals->seconds, runs / totals->seconds, totals->hash);
#define PRINT_LINE(name)                                                                           \
    (void)printf("  %-20s %10.2f a run, in %3.0f %% of them\n", #name,                             \
                 (double)totals->counts.name / runs, 100 * (double)totals->runs_with.name / runs);
    SIM_COUNT_LIST(PRINT_LINE)
#undef PRINT_LINE
    for (unsigned i = 0; i < SIM_FAULT_KINDS; i++) {
        (void)printf("  fault %-14s %10.2f a run, in %3.0f %% of them\n",
                     sim_fault_name((enum sim_fault_kind)i),
                     (double)totals->counts.fault_kinds[i] / runs,
                     100 * (double)totals->runs_with.fault_kinds[i] / runs);
    }
}

static double now_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run_all(const struct settings *settings)
{
    struct totals totals = {0};
    double start = now_seconds();
    uint64_t runs = settings->runs > 0 ? settings->runs : 1;
    for (uint64_t i = 0; i < runs && (totals.violations == 0 || settings->keep_going); i++) {
        const struct sim_options options = {.seed = settings->seed + i,
                                            .fault_mask = settings->fault_mask,
                                            .verbose = settings->runs == 0 && !settings->shrink};
        (void)snprintf(crash_text, sizeof crash_text, "paramd-sim: crashed in seed %" PRIu64 "\n",
                       options.seed);
        sim_run(&sim, &options);
        add(&totals);
        if (sim.violated) {
            tell_violation(settings);
        }
    }
    totals.seconds = now_seconds() - start;
    if (settings->json) {
        print_json(&totals);
    } else {
        print_plain(&totals);
    }
    return totals.violations > 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"runs", required_argument, NULL, 'r'},  {"seed", required_argument, NULL, 's'},
        {"plant", required_argument, NULL, 'p'}, {"faults", required_argument, NULL, 'f'},
        {"shrink", no_argument, NULL, 'k'},      {"json", no_argument, NULL, 'j'},
        {"keep-going", no_argument, NULL, 'g'},  {"list-plants", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    struct settings settings = {.seed = 1, .fault_mask = UINT64_MAX};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'r' && (!read_number(optarg, &settings.runs) || settings.runs == 0)) {
            return fail_usage("--runs wants a number above 0", optarg);
        }
        if (option == 's' && !read_number(optarg, &settings.seed)) {
            return fail_usage("--seed wants a number", optarg);
        }
        if (option == 'p' && !read_plant(optarg)) {
            return fail_usage("no plant has this name", optarg);
        }
        if (option == 'f' && !read_faults(optarg, &settings.fault_mask)) {
            return fail_usage("--faults wants all, none or numbers", optarg);
        }
        if (option == 'l') {
            return list_plants();
        }
        if (option == 'h' || option == '?') {
            (void)fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
        settings.shrink |= option == 'k';
        settings.json |= option == 'j';
        settings.keep_going |= option == 'g';
    }
    if (argc == 1 || optind < argc) {
        return fail_usage("nothing to do", optind < argc ? argv[optind] : "no option");
    }
    /* What one run gives back the next takes: no page faults. */
    (void)mallopt(M_MMAP_THRESHOLD, INT_MAX);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
    (void)signal(SIGABRT, crashed);
    (void)signal(SIGSEGV, crashed);
    return run_all(&settings);
}
