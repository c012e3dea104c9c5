/* Log lines for people and machines: logfmt or JSON, one line and one write(2) each, to stderr. Any
 * thread may log at any time without a lock. */
#ifndef PARAMD_SERVER_BASE_LOG_H
#define PARAMD_SERVER_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pd_log_level { PD_LOG_DEBUG = 0, PD_LOG_INFO, PD_LOG_WARN, PD_LOG_ERROR };
enum pd_log_format { PD_LOG_LOGFMT = 0, PD_LOG_JSON };

/* A line is at most PIPE_BUF long, so that a pipe takes it whole; a value that is longer than its
 * share is cut. */
enum { PD_LOG_LINE_BYTES = 4096, PD_LOG_VALUE_BYTES = 512 };

/* A line under construction, on the caller's stack. */
struct pd_log_line {
    bool _wanted;
    bool _cut; /* something did not fit */
    size_t _used;
    char _text[PD_LOG_LINE_BYTES];
};

/* Lines below level are dropped. To be called before a second thread starts; without it: info and
 * logfmt. */
void pd_log_setup(enum pd_log_level level, enum pd_log_format format);

/* A whole line without keys. */
void pd_log_message(enum pd_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A line with keys: begin, then text and number in any order, then end, which writes it. message is
 * the same for every line of its sort: what differs goes into keys. Keys are plain words. */
void pd_log_begin(struct pd_log_line *line, enum pd_log_level level, const char *message);
void pd_log_text(struct pd_log_line *line, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void pd_log_number(struct pd_log_line *line, const char *key, uint64_t number);
void pd_log_end(struct pd_log_line *line);

/* For lines that a peer can cause: at most 10 a second of one limit are written, and the next one
 * that is says how many were held back. All zeros at the start; one thread. */
struct pd_log_limit {
    uint64_t _second;
    uint64_t _held_back;
    unsigned _lines;
};

/* As pd_log_begin, under a limit. now_us: any clock that does not go back. */
void pd_log_begin_limited(struct pd_log_line *line, struct pd_log_limit *limit, uint64_t now_us,
                          enum pd_log_level level, const char *message);

#endif
