/* Settings from command line and environment, the machine's limits, and block memory. */
#include "server/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/block_memory.h"
#include "server/machine.h"
#include "tests/support/check_main.h"

enum { ARGUMENTS_MAX = 16 };

static struct pd_config config;
static char error[512];

/* Reads one command line: words with spaces between them. */
static enum pd_config_outcome read_line(const char *line)
{
    static char words[512];
    char *arguments[ARGUMENTS_MAX] = {NULL};
    int count = 0;
    (void)snprintf(words, sizeof words, "paramd %s", line);
    char *rest = words;
    char *word;
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        arguments[count++] = word;
    }
    error[0] = '\0';
    return pd_config_read(count, arguments, &config, error, sizeof error);
}

START_TEST(without_options_the_defaults_hold)
{
    ck_assert_int_eq(read_line(""), PD_CONFIG_RUN);
    ck_assert_str_eq(config.listen_host, "127.0.0.1");
    ck_assert_uint_eq(config.listen_port, 7700);
    ck_assert_ptr_null(config.unix_path);
    ck_assert_ptr_null(config.address_file);
    ck_assert_uint_ge(config.shards, 1);
    ck_assert_uint_le(config.shards, 8);
    ck_assert_uint_eq(config.lease_us, 30000000);
    ck_assert_uint_eq(config.retention_us, UINT64_C(86400000000));
    ck_assert_uint_eq(config.connections_max, 4096);
    ck_assert_int_eq(config.payload_sum, PD_SUM_AUTO);
    ck_assert_int_eq(config.log_level, PD_LOG_INFO);
    ck_assert_int_eq(config.log_format, PD_LOG_LOGFMT);
    uint64_t memory = pd_machine_memory("/proc/self", "/sys/fs/cgroup");
    ck_assert_uint_eq(config.memory_max, memory / 100 * 80);
}
END_TEST

START_TEST(options_are_taken)
{
    ck_assert_int_eq(read_line("--listen [::1]:0 --unix /run/x --shards=3 --memory-max 2G "
                               "--lease 0.25 --retention 60 --shared-memory-max 0"),
                     PD_CONFIG_RUN);
    ck_assert_str_eq(config.listen_host, "::1");
    ck_assert_uint_eq(config.listen_port, 0);
    ck_assert_str_eq(config.unix_path, "/run/x");
    ck_assert_uint_eq(config.shards, 3);
    ck_assert_uint_eq(config.memory_max, UINT64_C(2) << 30);
    ck_assert_uint_eq(config.shared_memory_max, 0);
    ck_assert_uint_eq(config.lease_us, 250000);
    ck_assert_uint_eq(config.retention_us, 60000000);
    ck_assert_int_eq(read_line("--payload-sum off --connections-max 7 --log-level debug "
                               "--log-format json --address-file a --busy-poll-us 20 --pin"),
                     PD_CONFIG_RUN);
    ck_assert_int_eq(config.payload_sum, PD_SUM_OFF);
    ck_assert_uint_eq(config.connections_max, 7);
    ck_assert_int_eq(config.log_level, PD_LOG_DEBUG);
    ck_assert_int_eq(config.log_format, PD_LOG_JSON);
    ck_assert_str_eq(config.address_file, "a");
    ck_assert_uint_eq(config.busy_poll_us, 20);
    ck_assert(config.pin);
}
END_TEST

START_TEST(bytes_have_suffixes)
{
    static const struct {
        const char *line;
        uint64_t bytes;
    } rows[] = {
        {"--memory-max 1048576", UINT64_C(1) << 20}, {"--memory-max 4096K", UINT64_C(1) << 22},
        {"--memory-max 3m", UINT64_C(3) << 20},      {"--memory-max 5GiB", UINT64_C(5) << 30},
        {"--memory-max 7TB", UINT64_C(7) << 40},     {"--memory-max 2000000B", 2000000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(read_line(rows[i].line), PD_CONFIG_RUN);
        ck_assert_uint_eq(config.memory_max, rows[i].bytes);
    }
}
END_TEST

/* Each is refused in a sentence that has all of the words. */
static const char *const bad_lines[][3] = {
    {"--shards 0", "--shards", "1 to 256"},
    {"--shards 257", "\"257\"", "1 to 256"},
    {"--shards -1", "\"-1\"", "whole number"},
    {"--shards 2x", "\"2x\"", "whole number"},
    {"--shards 99999999999999999999", "--shards", "whole number"},
    {"--shards", "--shards", "needs a value"},
    {"--listen localhost", "--listen", "HOST:PORT"},
    {"--listen 127.0.0.1:65536", "--listen", "65535"},
    {"--listen 127.0.0.1:", "--listen", "HOST:PORT"},
    {"--listen ::1:7700", "--listen", "[V6]:PORT"},
    {"--memory-max 1", "--memory-max", "1M"},
    {"--memory-max 1X", "--memory-max", "K, M, G or T"},
    {"--memory-max 99999999999T", "--memory-max", "number of bytes"},
    {"--memory-max -1G", "--memory-max", "number of bytes"},
    {"--lease 0", "--lease", "from 0.001"},
    {"--lease nan", "--lease", "from 0.001"},
    {"--lease 1e99", "--lease", "seconds"},
    {"--lease 5s", "--lease", "seconds"},
    {"--retention -5", "--retention", "from 0.001"},
    {"--payload-sum yes", "--payload-sum", "auto, on or off"},
    {"--shared-memory-max x", "--shared-memory-max", "or 0"},
    {"--connections-max 0", "--connections-max", "1 to 1000000"},
    {"--busy-poll-us 2000000", "--busy-poll-us", "0 to 1000000"},
    {"--pin=on", "--pin=on", "takes no value"},
    {"--log-level loud", "--log-level", "debug, info, warn or error"},
    {"--log-format xml", "--log-format", "logfmt or json"},
    {"--unix=", "--unix", "a path"},
    {"--colour", "--colour", "--help"},
    {"-v", "-v", "--help"},
    {"--help=yes", "--help=yes", "takes no value"},
    {"model", "\"model\"", "options only"},
};

START_TEST(bad_line_is_refused_by_a_sentence_that_names_it)
{
    const char *const *row = bad_lines[_i];
    ck_assert_int_eq(read_line(row[0]), PD_CONFIG_BAD);
    ck_assert_msg(strstr(error, row[1]) != NULL && strstr(error, row[2]) != NULL,
                  "%s is answered: %s", row[0], error);
}
END_TEST

START_TEST(environment_fills_in_and_the_command_line_wins)
{
    ck_assert_int_eq(setenv("PARAMD_SHARDS", "5", 1), 0);
    ck_assert_int_eq(setenv("PARAMD_MEMORY_MAX", "3G", 1), 0);
    ck_assert_int_eq(read_line("--shards 2"), PD_CONFIG_RUN);
    ck_assert_uint_eq(config.shards, 2);
    ck_assert_uint_eq(config.memory_max, UINT64_C(3) << 30);
    ck_assert_int_eq(setenv("PARAMD_MEMORY_MAX", "lots", 1), 0);
    ck_assert_int_eq(read_line("--shards 2"), PD_CONFIG_BAD);
    ck_assert_ptr_nonnull(strstr(error, "PARAMD_MEMORY_MAX=\"lots\""));
    ck_assert_int_eq(read_line("--help"), PD_CONFIG_HELP);
}
END_TEST

START_TEST(help_and_version_are_outcomes)
{
    ck_assert_int_eq(read_line("--help"), PD_CONFIG_HELP);
    ck_assert_int_eq(read_line("--shards 2 --version"), PD_CONFIG_VERSION);
}
END_TEST

/* Writes a file of a made-up machine. */
static void put(const char *folder, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(tightest_limit_of_the_groups_around_counts)
{
    char folder[] = "/tmp/paramd-machine-XXXXXX";
    char inner[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(inner, sizeof inner, "%s/outer", folder);
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    (void)snprintf(inner, sizeof inner, "%s/outer/inner", folder);
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    put(folder, "cgroup", "4:memory:/elsewhere\n0::/outer/inner\n");
    put(folder, "outer/memory.max", "123456789\n");
    put(folder, "outer/inner/memory.max", "max\n");
    put(folder, "outer/cpu.max", "max 100000\n");
    put(folder, "outer/inner/cpu.max", "50000 100000\n");
    ck_assert_uint_eq(pd_machine_memory(folder, folder), 123456789);
    ck_assert_uint_eq(pd_machine_cores(folder, folder), 1);
    put(folder, "outer/inner/cpu.max", "max 100000\n");
    put(folder, "outer/memory.max", "max\n");
    ck_assert_uint_eq(pd_machine_cores(folder, folder), pd_machine_cores("/nowhere", "/nowhere"));
    ck_assert_uint_eq(pd_machine_memory(folder, folder), pd_machine_memory("/nowhere", "/nowhere"));
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(block_memory_is_zeroed_and_aligned)
{
    static const size_t sizes[] = {1, 64, 100, 786432, 2097152, 2097153, 5000001};
    struct pd_memory memory = pd_block_memory();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *piece = memory.take(memory.context, sizes[i]);
        ck_assert_ptr_nonnull(piece);
        ck_assert_uint_eq((uintptr_t)piece % 64, 0);
        size_t zeros = 0;
        while (zeros < sizes[i] && piece[zeros] == 0) {
            zeros++;
        }
        ck_assert_uint_eq(zeros, sizes[i]);
        memset(piece, 0xff, sizes[i]);
        memory.give(memory.context, piece, sizes[i]);
    }
    ck_assert_ptr_null(memory.take(memory.context, SIZE_MAX));
    ck_assert_ptr_null(memory.take(memory.context, SIZE_MAX / 2));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *all = tcase_create("settings");
    tcase_add_test(all, without_options_the_defaults_hold);
    tcase_add_test(all, options_are_taken);
    tcase_add_test(all, bytes_have_suffixes);
    tcase_add_loop_test(all, bad_line_is_refused_by_a_sentence_that_names_it, 0,
                        sizeof bad_lines / sizeof bad_lines[0]);
    tcase_add_test(all, environment_fills_in_and_the_command_line_wins);
    tcase_add_test(all, help_and_version_are_outcomes);
    tcase_add_test(all, tightest_limit_of_the_groups_around_counts);
    tcase_add_test(all, block_memory_is_zeroed_and_aligned);
    suite_add_tcase(suite, all);
    return suite;
}
