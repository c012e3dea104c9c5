/* Log lines as a reader gets them: whole, escaped, filtered and limited. JSON is judged by jansson.
 */
#include "server/base/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check_main.h"

static int pipe_end;
static char output[64 * 1024];

/* From here on stderr is a pipe. Each test has a process of its own. */
static void capture(enum pd_log_level level, enum pd_log_format format)
{
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_NONBLOCK), 0);
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    (void)close(ends[1]);
    pipe_end = ends[0];
    pd_log_setup(level, format);
}

static const char *captured(void)
{
    ssize_t count = read(pipe_end, output, sizeof output - 1);
    output[count > 0 ? count : 0] = '\0';
    return output;
}

/* The value of key in the one JSON line that was written. */
static char *json_value(const char *key)
{
    static char value[8192];
    json_error_t error;
    json_t *line = json_loads(captured(), JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(line != NULL, "no JSON (%s): %s", error.text, output);
    const char *found = json_string_value(json_object_get(line, key));
    ck_assert_msg(found != NULL, "no %s in %s", key, output);
    (void)snprintf(value, sizeof value, "%s", found);
    json_decref(line);
    return value;
}

static void log_value(const char *value)
{
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_INFO, "test");
    pd_log_text(&line, "value", "%s", value);
    pd_log_end(&line);
}

START_TEST(logfmt_line_has_time_level_message_and_keys)
{
    capture(PD_LOG_INFO, PD_LOG_LOGFMT);
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_WARN, "it happened");
    pd_log_text(&line, "who", "%s:%d", "peer", 7);
    pd_log_number(&line, "count", UINT64_MAX);
    pd_log_end(&line);
    const char *got = captured();
    int end = 0;
    ck_assert_int_eq(sscanf(got, "time=20%*2d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ%n", &end), 0);
    ck_assert_int_eq(end, (int)strlen("time=2026-01-02T03:04:05.678Z"));
    ck_assert_str_eq(got + end,
                     " level=warn msg=\"it happened\" who=peer:7 count=18446744073709551615\n");
}
END_TEST

START_TEST(logfmt_quotes_what_would_be_misread)
{
    static const char *const values[][2] = {
        {"", "value=\"\"\n"},
        {"plain-7.0/x", "value=plain-7.0/x\n"},
        {"two words", "value=\"two words\"\n"},
        {"a=b", "value=\"a=b\"\n"},
        {"say \"hi\"", "value=\"say \\\"hi\\\"\"\n"},
        {"back\\slash", "value=\"back\\\\slash\"\n"},
        {"new\nline", "value=\"new\\nline\"\n"},
        {"\x1b[31mred", "value=\"\\u001b[31mred\"\n"},
        {"gr\xc3\xbc\xc3\x9f", "value=\"gr\xc3\xbc\xc3\x9f\"\n"},
    };
    capture(PD_LOG_INFO, PD_LOG_LOGFMT);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        log_value(values[i][0]);
        const char *got = strstr(captured(), "value=");
        ck_assert_str_eq(got, values[i][1]);
    }
}
END_TEST

START_TEST(json_gives_every_text_back)
{
    static const char *const values[] = {
        "",
        "quote \" backslash \\ slash / end",
        "\t tab \n line \r return \b back \f feed \x01 one \x1f last \x7f del",
        "two \xc3\xbc three \xe2\x82\xac four \xf0\x9f\x99\x82",
        "c1 \xc2\x85 next line",
    };
    capture(PD_LOG_INFO, PD_LOG_JSON);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        log_value(values[i]);
        ck_assert_str_eq(json_value("value"), values[i]);
    }
}
END_TEST

START_TEST(json_replaces_what_is_no_utf8)
{
    static const char *const values[] = {
        "\x80",             /* a continuation alone */
        "\xc3",             /* cut short */
        "\xe2\x82",         /* cut short later */
        "\xc0\xaf",         /* two bytes for what needs one */
        "\xe0\x80\xaf",     /* three bytes for what needs one */
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* above U+10FFFF */
        "\xff\xfe",         /* no lead bytes */
        "\xc3(",            /* continuation missing */
    };
    capture(PD_LOG_INFO, PD_LOG_JSON);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        log_value(values[i]);
        const char *got = json_value("value");
        ck_assert_int_eq(strncmp(got, "\xef\xbf\xbd", 3), 0);
        ck_assert_ptr_null(strstr(got, values[i]));
    }
}
END_TEST

START_TEST(long_value_is_cut_between_characters)
{
    char value[2 * PD_LOG_VALUE_BYTES];
    capture(PD_LOG_INFO, PD_LOG_JSON);
    for (size_t offset = 0; offset < 3; offset++) {
        memset(value, 'x', offset);
        for (size_t i = offset; i + 4 < sizeof value; i += 3) {
            memcpy(value + i, "\xe2\x82\xac", 4);
        }
        log_value(value);
        const char *got = json_value("value");
        size_t bytes = strlen(got);
        ck_assert_uint_lt(bytes, PD_LOG_VALUE_BYTES);
        ck_assert_uint_gt(bytes, PD_LOG_VALUE_BYTES - 8);
        ck_assert_str_eq(got + bytes - 3, "...");
        ck_assert_int_eq(memcmp(got, value, bytes - 3), 0);
    }
}
END_TEST

START_TEST(line_that_is_too_long_stays_json_and_says_so)
{
    char controls[PD_LOG_VALUE_BYTES];
    memset(controls, 1, sizeof controls - 1);
    controls[sizeof controls - 1] = '\0';
    capture(PD_LOG_INFO, PD_LOG_JSON);
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_INFO, "test");
    for (int i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        pd_log_text(&line, key, "%s", controls);
    }
    pd_log_end(&line);
    json_t *parsed = json_loads(captured(), JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(parsed);
    ck_assert(json_is_true(json_object_get(parsed, "truncated")));
    ck_assert_str_eq(json_string_value(json_object_get(parsed, "k0")), controls);
    ck_assert_uint_le(strlen(output), PD_LOG_LINE_BYTES);
    json_decref(parsed);
}
END_TEST

START_TEST(lines_below_the_level_are_dropped)
{
    capture(PD_LOG_WARN, PD_LOG_LOGFMT);
    pd_log_message(PD_LOG_DEBUG, "one");
    pd_log_message(PD_LOG_INFO, "two");
    log_value("three");
    ck_assert_str_eq(captured(), "");
    pd_log_message(PD_LOG_ERROR, "four %d", 4);
    ck_assert_ptr_nonnull(strstr(captured(), "level=error msg=\"four 4\"\n"));
}
END_TEST

static unsigned count_lines(const char *text)
{
    unsigned lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static void log_limited(struct pd_log_limit *limit, uint64_t now_us)
{
    struct pd_log_line line;
    pd_log_begin_limited(&line, limit, now_us, PD_LOG_WARN, "test");
    pd_log_end(&line);
}

START_TEST(limited_lines_are_held_back_and_counted)
{
    struct pd_log_limit limit = {0};
    capture(PD_LOG_INFO, PD_LOG_LOGFMT);
    for (int i = 0; i < 100; i++) {
        log_limited(&limit, 5000000);
    }
    ck_assert_uint_eq(count_lines(captured()), 10);
    log_limited(&limit, 6000000);
    ck_assert_ptr_nonnull(strstr(captured(), "held_back=90\n"));
    log_limited(&limit, 6000000);
    ck_assert_ptr_null(strstr(captured(), "held_back"));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *all = tcase_create("lines");
    tcase_add_test(all, logfmt_line_has_time_level_message_and_keys);
    tcase_add_test(all, logfmt_quotes_what_would_be_misread);
    tcase_add_test(all, json_gives_every_text_back);
    tcase_add_test(all, json_replaces_what_is_no_utf8);
    tcase_add_test(all, long_value_is_cut_between_characters);
    tcase_add_test(all, line_that_is_too_long_stays_json_and_says_so);
    tcase_add_test(all, lines_below_the_level_are_dropped);
    tcase_add_test(all, limited_lines_are_held_back_and_counted);
    suite_add_tcase(suite, all);
    return suite;
}
