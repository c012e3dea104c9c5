/* Settings from the option table: each row has a name, what is allowed, its default and a function
 * that takes a value. Values from outside are checked here and nowhere else. */
#include "server/config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/busy_poll.h"
#include "proto/limits.h"
#include "server/machine.h"

enum { SHARDS_DEFAULT_MAX = 8, CONNECTIONS_DEFAULT = 4096, CONNECTIONS_MAX = 1000000 };
enum { BUSY_POLL_MAX_US = 1000000 };
enum { MEMORY_DEFAULT_PERCENT = 80, MEMORY_MIN_BYTES = 1024 * 1024, SHARED_DEFAULT_SHARE = 64 };

#define LOG_MIN_BYTES (UINT64_C(256) << 20)
#define LOG_DEFAULT_BYTES (UINT64_C(16) << 30)

/* Times that a person could mean; longer ones would overflow on their way to microseconds. */
#define SECONDS_MIN 0.001
#define SECONDS_MAX 315360000.0 /* ten years */

/* The decimal number that text begins with, and what follows it. */
static bool parse_whole(const char *text, uint64_t *ret_number, const char **ret_rest)
{
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    char *rest = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &rest, 10);
    if (errno != 0) {
        return false;
    }
    *ret_number = number;
    *ret_rest = rest;
    return true;
}

static bool parse_count(const char *text, uint32_t least, uint32_t most, uint32_t *ret_count)
{
    uint64_t number = 0;
    const char *rest = NULL;
    if (!parse_whole(text, &number, &rest) || *rest != '\0' || number < least || number > most) {
        return false;
    }
    *ret_count = (uint32_t)number;
    return true;
}

/* 1G, 1Gi, 1GB and 1GiB are all 2^30 bytes. */
static bool parse_bytes(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "KMGT";
    uint64_t number = 0;
    const char *rest = NULL;
    unsigned shift = 0;
    if (!parse_whole(text, &number, &rest)) {
        return false;
    }
    const char *unit = *rest != '\0' ? strchr(units, toupper((unsigned char)*rest)) : NULL;
    if (unit != NULL) {
        shift = 10 * (unsigned)(unit - units + 1);
        rest++;
        rest += *rest == 'i';
    }
    rest += *rest == 'B';
    if (*rest != '\0' || number > UINT64_MAX >> shift) {
        return false;
    }
    *ret_bytes = number << shift;
    return true;
}

static bool parse_seconds(const char *text, uint64_t *ret_us)
{
    char *rest = NULL;
    if (!isdigit((unsigned char)text[0]) && text[0] != '.') {
        return false;
    }
    double seconds = strtod(text, &rest);
    if (rest == text || *rest != '\0' || !isfinite(seconds) || seconds < SECONDS_MIN ||
        seconds > SECONDS_MAX) {
        return false;
    }
    *ret_us = (uint64_t)(seconds * 1e6);
    return true;
}

/* The place of text in a NULL-terminated list. */
static bool parse_word(const char *text, const char *const *words, unsigned *ret_place)
{
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_place = i;
            return true;
        }
    }
    return false;
}

static bool set_listen(struct pd_config *config, const char *value)
{
    return pd_address_split(value, config->listen_host, &config->listen_port);
}

static bool set_unix(struct pd_config *config, const char *value)
{
    config->unix_path = value;
    return value[0] != '\0';
}

static bool set_shards(struct pd_config *config, const char *value)
{
    return parse_count(value, 1, PD_SHARDS_MAX, &config->shards);
}

static bool set_memory_max(struct pd_config *config, const char *value)
{
    return parse_bytes(value, &config->memory_max) && config->memory_max >= MEMORY_MIN_BYTES;
}

static bool set_model_memory_max(struct pd_config *config, const char *value)
{
    return parse_bytes(value, &config->model_memory_max) &&
           config->model_memory_max >= MEMORY_MIN_BYTES;
}

static bool set_shared_memory_max(struct pd_config *config, const char *value)
{
    return parse_bytes(value, &config->shared_memory_max);
}

static bool set_lease(struct pd_config *config, const char *value)
{
    return parse_seconds(value, &config->lease_us);
}

static bool set_retention(struct pd_config *config, const char *value)
{
    return parse_seconds(value, &config->retention_us);
}

static bool set_payload_sum(struct pd_config *config, const char *value)
{
    static const char *const words[] = {"auto", "on", "off", NULL};
    unsigned place = 0;
    bool good = parse_word(value, words, &place);
    config->payload_sum = (enum pd_payload_sum_mode)place;
    return good;
}

static bool set_connections_max(struct pd_config *config, const char *value)
{
    return parse_count(value, 1, CONNECTIONS_MAX, &config->connections_max);
}

static bool set_busy_poll(struct pd_config *config, const char *value)
{
    uint32_t us = 0;
    bool good = parse_count(value, 0, BUSY_POLL_MAX_US, &us);
    config->busy_poll_us = us;
    return good;
}

static bool set_pin(struct pd_config *config, const char *value)
{
    static const char *const words[] = {"off", "on", NULL};
    unsigned place = 0;
    bool good = parse_word(value, words, &place);
    config->pin = place == 1;
    return good;
}

static bool set_log_level(struct pd_config *config, const char *value)
{
    static const char *const words[] = {"debug", "info", "warn", "error", NULL};
    unsigned place = 0;
    bool good = parse_word(value, words, &place);
    config->log_level = (enum pd_log_level)place;
    return good;
}

static bool set_log_format(struct pd_config *config, const char *value)
{
    static const char *const words[] = {"logfmt", "json", NULL};
    unsigned place = 0;
    bool good = parse_word(value, words, &place);
    config->log_format = (enum pd_log_format)place;
    return good;
}

static bool set_address_file(struct pd_config *config, const char *value)
{
    config->address_file = value;
    return value[0] != '\0';
}

static bool set_data_dir(struct pd_config *config, const char *value)
{
    config->data_dir = value;
    return value[0] != '\0';
}

static bool set_snapshot_every(struct pd_config *config, const char *value)
{
    config->snapshot_every_us = 0;
    return strcmp(value, "0") == 0 || parse_seconds(value, &config->snapshot_every_us);
}

static bool set_snapshot_updates(struct pd_config *config, const char *value)
{
    const char *rest = NULL;
    return parse_whole(value, &config->snapshot_updates, &rest) && *rest == '\0';
}

static bool set_log_max(struct pd_config *config, const char *value)
{
    return parse_bytes(value, &config->log_max) && config->log_max >= LOG_MIN_BYTES;
}

/* One setting. Lines of help are short enough for a terminal behind an indent of four. */
struct option_row {
    const char *name;
    const char *value; /* what stands for it in --help; NULL: a switch, on|off in the environment */
    const char *initial; /* as shown */
    const char *allowed; /* the end of an error sentence */
    bool (*set)(struct pd_config *config, const char *value);
    const char *help;
};

static const struct option_row rows[] = {
    {"listen", "HOST:PORT", "127.0.0.1:7700",
     "HOST:PORT or [V6]:PORT with a port from 0 to 65535, as 127.0.0.1:7700", set_listen,
     "Address for workers, TCP. [::]:7700 is every address, IPv6 and IPv4; port 0\n"
     "picks a free one. Who reaches it may do everything: there is no authentication."},
    {"unix", "PATH", "none", "a path", set_unix,
     "Unix socket for workers on this machine, beside TCP. A file that a dead daemon\n"
     "left there is replaced."},
    {"shards", "N", "the cores that may be used, at most 8", "a whole number from 1 to 256",
     set_shards, "Threads that hold the parameters; each owns its share of every model."},
    {"memory-max", "BYTES", "80% of the memory that may be used",
     "a number of bytes from 1M on, with K, M, G or T for powers of 1024", set_memory_max,
     "Most memory for weights and moments of all models, in bytes or with K, M, G, T.\n"
     "Buffers and push ids may take another fifth of it; leave room for definitions."},
    {"model-memory-max", "BYTES", "as memory-max",
     "a number of bytes from 1M on, with K, M, G or T for powers of 1024", set_model_memory_max,
     "Most memory for one model, so that one user cannot take it all."},
    {"shared-memory-max", "BYTES", "a 64th of the memory that may be used",
     "a number of bytes, with K, M, G or T for powers of 1024, or 0", set_shared_memory_max,
     "Most memory for connections over the Unix socket that ask for shared memory, which\n"
     "is several times as fast: 2 MiB each; split evenly among the shards. 0: none. Who\n"
     "gets none uses the socket."},
    {"data-dir", "DIR", "none", "a path", set_data_dir,
     "Directory that keeps everything: a log, which models at ack level `logged` wait for,\n"
     "and snapshots. Made if it is not there; one daemon at a time. Without it nothing is\n"
     "written, and a daemon that stops has forgotten everything."},
    {"snapshot-every", "SECONDS", "60", "a number of seconds from 0.001 to 315360000, or 0",
     set_snapshot_every,
     "How often a snapshot is taken while pushes go on, besides after a crash, when the\n"
     "logs fill and at the end; 0: never. A crash costs models at ack level `applied` what\n"
     "came since."},
    {"snapshot-updates", "COUNT", "0", "a whole number, or 0", set_snapshot_updates,
     "A snapshot is also begun when so many blocks were updated by pushes since the last\n"
     "one began, on all shards together; 0: their number does not matter."},
    {"log-max", "BYTES", "16G", "a number of bytes from 256M on, with K, M, G or T", set_log_max,
     "Most bytes that the logs may take on the disk. Pushes to models at `logged` are\n"
     "refused while they are full; a snapshot makes room."},
    {"lease", "SECONDS", "30", "a number of seconds from 0.001 to 315360000, as 30 or 0.5",
     set_lease, "A worker that has sent nothing for so long counts as dead."},
    {"retention", "SECONDS", "86400", "a number of seconds from 0.001 to 315360000, as 86400",
     set_retention,
     "How long push ids of a worker are remembered after its last connection, so that\n"
     "it can resend without a gradient being applied twice."},
    {"payload-sum", "auto|on|off", "auto", "auto, on or off", set_payload_sum,
     "Checksums of bulk data: auto is on between machines and off within one."},
    {"connections-max", "N", "4096", "a whole number from 1 to 1000000", set_connections_max,
     "Most connections at a time; a further one is told that the daemon is busy. Kept\n"
     "below the limit of open files."},
    {"busy-poll-us", "N", "50", "a whole number of microseconds from 0 to 1000000", set_busy_poll,
     "How long a shard's thread looks for more after the last bytes before it sleeps:\n"
     "waking up costs more than most answers. 0: it sleeps at once. An idle daemon\n"
     "sleeps either way."},
    {"pin", NULL, "off", "on or off", set_pin,
     "Keeps each shard's thread on one core, in turn: for a machine that does nothing else."},
    {"log-level", "LEVEL", "info", "debug, info, warn or error", set_log_level,
     "Least level that is logged: debug, info, warn or error. Logs go to stderr."},
    {"log-format", "FORMAT", "logfmt", "logfmt or json", set_log_format,
     "Form of log lines: logfmt or json."},
    {"address-file", "FILE", "none", "a path", set_address_file,
     "File that appears, whole, when the daemon is ready, with a line for each address:\n"
     "`tcp HOST:PORT`, `unix PATH`. Removed at exit."},
};

enum { ROWS = sizeof rows / sizeof rows[0], HELP_CODE = 1000, VERSION_CODE };

/* PARAMD_MEMORY_MAX for memory-max. */
static void environment_name(const char *option, char *name, size_t name_bytes)
{
    (void)snprintf(name, name_bytes, "PARAMD_%s", option);
    for (char *at = name; *at != '\0'; at++) {
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    }
}

void pd_config_help(FILE *out)
{
    (void)fprintf(
        out, "usage: paramd [OPTION]...\n\n"
             "A parameter server: worker processes push gradients to it and pull weights; it\n"
             "holds the parameters and the optimizer's state. Runs in the foreground until\n"
             "SIGTERM or SIGINT, which let frames in hand be finished; a second one does not.\n");
    for (size_t i = 0; i < ROWS; i++) {
        char environment[64];
        environment_name(rows[i].name, environment, sizeof environment);
        (void)fprintf(out, "\n  --%s%s%s\n    ", rows[i].name, rows[i].value != NULL ? " " : "",
                      rows[i].value != NULL ? rows[i].value : "");
        for (const char *at = rows[i].help; *at != '\0'; at++) {
            (void)fputs(*at == '\n' ? "\n    " : (char[]){*at, '\0'}, out);
        }
        (void)fprintf(out, "\n    Default: %s. Environment: %s\n", rows[i].initial, environment);
    }
    (void)fprintf(out,
                  "\n  --version\n    Prints the version.\n"
                  "\n  --help\n    Prints this.\n"
                  "\nPARAMD_ISA=baseline|v3|v4 in the environment forces a vector form of the\n"
                  "optimizers (default: the best this CPU has); all give the same bits.\n"
                  "\nExit status: 0 after a signal, 1 if the daemon could not start, 2 for a bad "
                  "option.\n");
}

static void set_defaults(struct pd_config *config)
{
    uint32_t cores = pd_machine_cores("/proc/self", "/sys/fs/cgroup");
    uint64_t memory = pd_machine_memory("/proc/self", "/sys/fs/cgroup");
    *config = (struct pd_config){
        .listen_host = "127.0.0.1",
        .listen_port = 7700,
        .shards = cores < SHARDS_DEFAULT_MAX ? cores : SHARDS_DEFAULT_MAX,
        .memory_max = memory / 100 * MEMORY_DEFAULT_PERCENT,
        .shared_memory_max = memory / SHARED_DEFAULT_SHARE,
        .lease_us = UINT64_C(30) * 1000000,
        .retention_us = UINT64_C(86400) * 1000000,
        .payload_sum = PD_SUM_AUTO,
        .connections_max = CONNECTIONS_DEFAULT,
        .log_max = LOG_DEFAULT_BYTES,
        .snapshot_every_us = UINT64_C(60) * 1000000,
        .busy_poll_us = PD_BUSY_POLL_DEFAULT_US,
        .log_level = PD_LOG_INFO,
        .log_format = PD_LOG_LOGFMT,
    };
}

static bool set_from_environment(struct pd_config *config, char *error, size_t error_bytes)
{
    for (size_t i = 0; i < ROWS; i++) {
        char name[64];
        environment_name(rows[i].name, name, sizeof name);
        const char *value = getenv(name);
        if (value != NULL && !rows[i].set(config, value)) {
            (void)snprintf(error, error_bytes, "%s=\"%s\" is not allowed: give %s", name, value,
                           rows[i].allowed);
            return false;
        }
    }
    return true;
}

enum pd_config_outcome pd_config_read(int argc, char **argv, struct pd_config *ret_config,
                                      char *error, size_t error_bytes)
{
    struct option options[ROWS + 3];
    for (size_t i = 0; i < ROWS; i++) {
        options[i] = (struct option){
            rows[i].name, rows[i].value != NULL ? required_argument : no_argument, NULL, (int)i};
    }
    options[ROWS] = (struct option){"help", no_argument, NULL, HELP_CODE};
    options[ROWS + 1] = (struct option){"version", no_argument, NULL, VERSION_CODE};
    options[ROWS + 2] = (struct option){NULL, 0, NULL, 0};

    struct pd_config config;
    set_defaults(&config);
    /* A bad variable must not keep --help from being read. */
    bool environment_good = set_from_environment(&config, error, error_bytes);
    optind = 0; /* glibc then starts anew, so that this can be called twice */
    for (;;) {
        int before = optind == 0 ? 1 : optind;
        int code = getopt_long(argc, argv, "+:", options, NULL);
        if (code == -1) {
            break;
        }
        if (code == HELP_CODE) {
            return PD_CONFIG_HELP;
        }
        if (code == VERSION_CODE) {
            return PD_CONFIG_VERSION;
        }
        if (code == ':' || code == '?') {
            (void)snprintf(error, error_bytes,
                           code == ':' ? "%s needs a value: paramd --help tells which"
                                       : "%s is no option of paramd, or is cut too short, or takes "
                                         "no value: see paramd --help",
                           argv[before]);
            return PD_CONFIG_BAD;
        }
        const struct option_row *row = &rows[code];
        if (!row->set(&config, row->value != NULL ? optarg : "on")) {
            (void)snprintf(error, error_bytes, "--%s \"%s\" is not allowed: give %s", row->name,
                           optarg, row->allowed);
            return PD_CONFIG_BAD;
        }
    }
    if (optind < argc) {
        (void)snprintf(error, error_bytes,
                       "\"%s\" is not expected: paramd takes options only, see paramd --help",
                       argv[optind]);
        return PD_CONFIG_BAD;
    }
    if (!environment_good) {
        return PD_CONFIG_BAD;
    }
    *ret_config = config;
    return PD_CONFIG_RUN;
}
