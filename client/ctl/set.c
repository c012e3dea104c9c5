/* paramctl set MODEL GROUP KEY=VALUE...: hyper-parameters, from the next push on. Which keys and
 * values there are the daemon knows; here they are only taken apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/ctl.h"

enum { HYPERS_MAX = 64 };

/* Cuts a KEY=VALUE at its sign; what does not read as a number is a choice's text. */
static bool split(char *pair, struct paramd_hyper *ret_hyper)
{
    char *sign = strchr(pair, '=');
    if (sign == NULL || sign == pair || sign[1] == '\0') {
        return false;
    }
    char *rest = NULL;
    double number = strtod(sign + 1, &rest);
    bool is_number = *rest == '\0';
    *sign = '\0';
    *ret_hyper = (struct paramd_hyper){
        .name = pair, .number = is_number ? number : 0, .text = is_number ? NULL : sign + 1};
    return true;
}

static json_t *describe(const struct pd_ctl *ctl, const struct paramd_hyper *hypers, size_t count)
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
    return json_pack("{s:s, s:s, s:o}", "model", ctl->arguments[0], "group", ctl->arguments[1],
                     "hypers", values);
}

enum pd_ctl_exit pd_ctl_set(const struct pd_ctl *ctl)
{
    struct paramd_hyper hypers[HYPERS_MAX];
    size_t count = (size_t)ctl->argument_count - 2;
    if (count > HYPERS_MAX) {
        return pd_ctl_bad_usage("%zu values are more than %d: set them in several commands", count,
                                HYPERS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        char *pair = ctl->arguments[2 + i];
        if (!split(pair, &hypers[i])) {
            return pd_ctl_bad_usage("\"%s\" is not KEY=VALUE: write it as lr=0.001", pair);
        }
    }
    int status = paramd_set_by_name(ctl->client, ctl->arguments[0], ctl->arguments[1], hypers,
                                    count, 0, ctl->timeout_ms);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    if (ctl->json) {
        return pd_ctl_print_json(describe(ctl, hypers, count));
    }
    (void)printf("set in model %s, group %s:", ctl->arguments[0], ctl->arguments[1]);
    for (size_t i = 0; i < count; i++) {
        /* split() put an end where the sign was: the value follows it as it was typed. */
        (void)printf(" %s=%s", hypers[i].name, hypers[i].name + strlen(hypers[i].name) + 1);
    }
    (void)putchar('\n');
    return PD_CTL_OK;
}
