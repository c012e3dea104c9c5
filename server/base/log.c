/* Log lines: built in the caller's buffer, escaped as they are built, and written with one call.
 * What comes from a peer may stand in a value, so everything that a terminal or a parser could
 * stumble over is escaped, and bytes that are not UTF-8 become U+FFFD. */
#include "server/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Kept free at the end of a line for `truncated` and the end itself. */
enum { TAIL_BYTES = 32 };

enum { LIMITED_LINES_PER_SECOND = 10 };

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Written once, before there is a second thread. */
static enum pd_log_level least_level = PD_LOG_INFO;
static enum pd_log_format line_format = PD_LOG_LOGFMT;

void pd_log_setup(enum pd_log_level level, enum pd_log_format format)
{
    least_level = level;
    line_format = format;
}

static bool wanted(enum pd_log_level level)
{
    return level >= least_level;
}

static void append(struct pd_log_line *line, const char *bytes, size_t count)
{
    if (line->_cut || line->_used + count > sizeof line->_text - TAIL_BYTES) {
        line->_cut = true;
        return;
    }
    memcpy(line->_text + line->_used, bytes, count);
    line->_used += count;
}

static void append_text(struct pd_log_line *line, const char *text)
{
    append(line, text, strlen(text));
}

/* Bytes of the UTF-8 sequence that text begins with, and its code point; 0 if it is none: too
 * short, longer than need be, a surrogate, or above U+10FFFF. text ends with NUL, which stops every
 * read. */
static size_t utf8_bytes(const unsigned char *text, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = text[0] < 0x80             ? 1
                   : (text[0] & 0xe0) == 0xc0 ? 2
                   : (text[0] & 0xf0) == 0xe0 ? 3
                   : (text[0] & 0xf8) == 0xf0 ? 4
                                              : 0;
    if (bytes <= 1) {
        *ret_point = text[0];
        return bytes;
    }
    uint32_t point = text[0] & (0x7fU >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (text[i] & 0x3fU);
    }
    if (point < least[bytes] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    *ret_point = point;
    return bytes;
}

static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

/* The inside of a quoted value; JSON's rules serve for logfmt as well. */
static void append_escaped(struct pd_log_line *line, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;
    while (*at != '\0') {
        uint32_t point = 0;
        size_t bytes = utf8_bytes(at, &point);
        if (bytes == 0) {
            append_text(line, "\xef\xbf\xbd");
            at++;
            continue;
        }
        if (point == '"' || point == '\\') {
            append(line, "\\", 1);
            append(line, (const char *)at, 1);
        } else if (point == '\n') {
            append_text(line, "\\n");
        } else if (point == '\t') {
            append_text(line, "\\t");
        } else if (point == '\r') {
            append_text(line, "\\r");
        } else if (is_control(point)) {
            char escape[8];
            (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)point & 0xffffU);
            append_text(line, escape);
        } else {
            append(line, (const char *)at, bytes);
        }
        at += bytes;
    }
}

/* Whether logfmt may have it without quotes. */
static bool is_plain(const char *value)
{
    if (*value == '\0') {
        return false;
    }
    for (const char *at = value; *at != '\0'; at++) {
        if (*at <= ' ' || *at >= 0x7f || *at == '"' || *at == '=' || *at == '\\') {
            return false;
        }
    }
    return true;
}

/* One key with its value; all of it or nothing. */
static void append_pair(struct pd_log_line *line, const char *key, const char *value, bool number)
{
    size_t before = line->_used;
    bool json = line_format == PD_LOG_JSON;
    if (before > 0) {
        append_text(line, json ? "," : " ");
    } else if (json) {
        append_text(line, "{");
    }
    append_text(line, json ? "\"" : "");
    append_text(line, key);
    append_text(line, json ? "\":" : "=");
    bool quoted = !number && (json || !is_plain(value));
    append_text(line, quoted ? "\"" : "");
    append_escaped(line, value);
    append_text(line, quoted ? "\"" : "");
    if (line->_cut) {
        line->_used = before;
    }
}

static void append_time(struct pd_log_line *line)
{
    struct timespec now;
    struct tm parts;
    char day[32];
    char text[48];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    (void)strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text, sizeof text, "%s.%03ldZ", day, now.tv_nsec / 1000000);
    append_pair(line, "time", text, false);
}

void pd_log_begin(struct pd_log_line *line, enum pd_log_level level, const char *message)
{
    line->_wanted = wanted(level);
    line->_cut = false;
    line->_used = 0;
    if (!line->_wanted) {
        return;
    }
    append_time(line);
    append_pair(line, "level", level_names[level], false);
    pd_log_text(line, "msg", "%s", message);
}

void pd_log_begin_limited(struct pd_log_line *line, struct pd_log_limit *limit, uint64_t now_us,
                          enum pd_log_level level, const char *message)
{
    uint64_t second = now_us / 1000000;
    if (second != limit->_second) {
        limit->_second = second;
        limit->_lines = 0;
    }
    if (!wanted(level) || limit->_lines >= LIMITED_LINES_PER_SECOND) {
        limit->_held_back += wanted(level);
        line->_wanted = false;
        return;
    }
    limit->_lines++;
    pd_log_begin(line, level, message);
    if (limit->_held_back > 0) {
        pd_log_number(line, "held_back", limit->_held_back);
        limit->_held_back = 0;
    }
}

/* Formats into value; what is too long ends in three dots, cut between characters. */
__attribute__((format(printf, 2, 0))) static void
format_value(char value[PD_LOG_VALUE_BYTES], const char *format, va_list arguments)
{
    int length = vsnprintf(value, PD_LOG_VALUE_BYTES, format, arguments);
    if (length < 0) {
        value[0] = '\0';
        return;
    }
    if (length >= PD_LOG_VALUE_BYTES) {
        size_t end = PD_LOG_VALUE_BYTES - 4;
        while (end > 0 && ((unsigned char)value[end] & 0xc0) == 0x80) {
            end--;
        }
        memcpy(value + end, "...", 4);
    }
}

void pd_log_text(struct pd_log_line *line, const char *key, const char *format, ...)
{
    if (!line->_wanted) {
        return;
    }
    char value[PD_LOG_VALUE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_value(value, format, arguments);
    va_end(arguments);
    append_pair(line, key, value, false);
}

void pd_log_number(struct pd_log_line *line, const char *key, uint64_t number)
{
    if (!line->_wanted) {
        return;
    }
    char value[24];
    (void)snprintf(value, sizeof value, "%" PRIu64, number);
    append_pair(line, key, value, true);
}

void pd_log_end(struct pd_log_line *line)
{
    if (!line->_wanted) {
        return;
    }
    bool json = line_format == PD_LOG_JSON;
    const char *tail = json ? (line->_cut ? ",\"truncated\":true}\n" : "}\n")
                            : (line->_cut ? " truncated=true\n" : "\n");
    size_t bytes = strlen(tail);
    memcpy(line->_text + line->_used, tail, bytes);
    line->_used += bytes;
    /* A line that stderr does not take is lost: there is nowhere to say so. */
    while (write(STDERR_FILENO, line->_text, line->_used) < 0 && errno == EINTR) {
    }
}

void pd_log_message(enum pd_log_level level, const char *format, ...)
{
    if (!wanted(level)) {
        return;
    }
    char message[PD_LOG_VALUE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_value(message, format, arguments);
    va_end(arguments);
    struct pd_log_line line;
    pd_log_begin(&line, level, message);
    pd_log_end(&line);
}
