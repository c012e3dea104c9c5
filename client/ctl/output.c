/* What all commands print alike: error sentences, JSON documents and the parts they share. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/ctl.h"
#include "client/ctl/progress.h"

/* Whole numbers up to here have an exact double. */
#define EXACT_MAX 9007199254740992.0

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
    pd_ctl_progress_end();
    (void)fputs("paramctl: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
}

enum pd_ctl_exit pd_ctl_bad_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    return PD_CTL_USAGE;
}

enum pd_ctl_exit pd_ctl_refuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    return PD_CTL_FAILED;
}

enum pd_ctl_exit pd_ctl_failed(const struct pd_ctl *ctl, int status)
{
    const char *next = "";
    switch (status) {
    case PARAMD_NOT_FOUND:
        next = "; paramctl models lists the models, paramctl tensors MODEL its groups";
        break;
    case PARAMD_TIMEOUT:
    case PARAMD_UNREACHABLE:
        return pd_ctl_refuse("%s; see that paramd runs and listens on %s, or give another "
                             "--address or a longer --timeout",
                             paramd_error(), ctl->address);
    default:
        if (paramd_status_retryable(status)) {
            next = "; try again";
        }
        break;
    }
    return pd_ctl_refuse("%s%s", paramd_error(), next);
}

enum pd_ctl_exit pd_ctl_print_json(json_t *document)
{
    bool written = document != NULL && json_dumpf(document, stdout, JSON_INDENT(2)) == 0;
    json_decref(document);
    if (!written) {
        return pd_ctl_refuse("the JSON document could not be made or written: free memory, or look "
                             "at where the output goes");
    }
    (void)putchar('\n');
    return PD_CTL_OK;
}

json_t *pd_ctl_json_number(double number)
{
    if (!isfinite(number)) {
        return json_null();
    }
    if (number == floor(number) && fabs(number) <= EXACT_MAX) {
        return json_integer((json_int_t)number);
    }
    return json_real(number);
}

json_t *pd_ctl_json_hypers(const struct paramd_hyper *hypers, size_t count)
{
    json_t *values = json_object();
    for (size_t i = 0; i < count; i++) {
        json_t *value = hypers[i].text != NULL ? json_string(hypers[i].text)
                                               : pd_ctl_json_number(hypers[i].number);
        if (json_object_set_new(values, hypers[i].name, value) != 0) {
            json_decref(values);
            return NULL;
        }
    }
    return values;
}

json_t *pd_ctl_json_counters(const struct paramd_stat *stat)
{
    json_t *counters = json_object();
    for (size_t i = 0; i < stat->counter_count; i++) {
        const struct paramd_counter *counter = &stat->counters[i];
        if (json_object_set_new(counters, counter->name, pd_ctl_json_number(counter->value)) != 0) {
            json_decref(counters);
            return NULL;
        }
    }
    return counters;
}

static const char *const ack_levels[] = {
    [PARAMD_ACK_APPLIED] = "applied", [PARAMD_ACK_LOGGED] = "logged"};

enum { ACK_LEVELS = sizeof ack_levels / sizeof ack_levels[0] };

const char *pd_ctl_ack_level_name(enum paramd_ack_level level)
{
    return (unsigned)level < ACK_LEVELS ? ack_levels[level] : "?";
}

bool pd_ctl_find_ack_level(const char *name, enum paramd_ack_level *ret_level)
{
    for (unsigned i = 0; i < ACK_LEVELS; i++) {
        if (strcmp(ack_levels[i], name) == 0) {
            *ret_level = (enum paramd_ack_level)i;
            return true;
        }
    }
    return false;
}

json_t *pd_ctl_json_model(const struct paramd_model_info *info)
{
    return json_pack("{s:s, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:I, s:I}", "name", info->name,
                     "number", (json_int_t)info->number, "generation", (json_int_t)info->generation,
                     "ready", (int)info->ready, "ack_level", pd_ctl_ack_level_name(info->ack_level),
                     "tensors", (json_int_t)info->tensors, "blocks", (json_int_t)info->blocks,
                     "elements", (json_int_t)info->elements, "memory_bytes",
                     (json_int_t)info->memory_bytes, "sessions", (json_int_t)info->sessions);
}

double pd_ctl_counter(const struct paramd_stat *stat, const char *name)
{
    for (size_t i = 0; i < stat->counter_count; i++) {
        if (strcmp(stat->counters[i].name, name) == 0) {
            return stat->counters[i].value;
        }
    }
    return 0;
}
