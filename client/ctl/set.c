/* paramctl set MODEL GROUP KEY=VALUE...: hyper-parameters, from the next push on. Which keys and
 * values there are the daemon knows; here they are only taken apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/ctl.h"

enum pd_ctl_exit pd_ctl_read_hyper(char *pair, struct paramd_hyper *ret_hyper)
{
    char *sign = strchr(pair, '=');
    if (sign == NULL || sign == pair || sign[1] == '\0') {
        return pd_ctl_bad_usage("\"%s\" is not KEY=VALUE: write it as lr=0.001", pair);
    }
    char *rest = NULL;
    double number = strtod(sign + 1, &rest);
    bool is_number = *rest == '\0';
    *sign = '\0';
    *ret_hyper = (struct paramd_hyper){
        .name = pair, .number = is_number ? number : 0, .text = is_number ? NULL : sign + 1};
    return PD_CTL_OK;
}

enum pd_ctl_exit pd_ctl_set(const struct pd_ctl *ctl)
{
    struct paramd_hyper hypers[PD_CTL_HYPERS_MAX];
    size_t count = (size_t)ctl->argument_count - 2;
    if (count > PD_CTL_HYPERS_MAX) {
        return pd_ctl_bad_usage("%zu values are more than %d: set them in several commands", count,
                                PD_CTL_HYPERS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        enum pd_ctl_exit outcome = pd_ctl_read_hyper(ctl->arguments[2 + i], &hypers[i]);
        if (outcome != PD_CTL_OK) {
            return outcome;
        }
    }
    int status = paramd_set_by_name(ctl->client, ctl->arguments[0], ctl->arguments[1], hypers,
                                    count, 0, ctl->timeout_ms);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    if (ctl->json) {
        return pd_ctl_print_json(json_pack("{s:s, s:s, s:o}", "model", ctl->arguments[0], "group",
                                           ctl->arguments[1], "hypers",
                                           pd_ctl_json_hypers(hypers, count)));
    }
    (void)printf("set in model %s, group %s:", ctl->arguments[0], ctl->arguments[1]);
    for (size_t i = 0; i < count; i++) {
        /* pd_ctl_read_hyper put an end where the sign was: the value follows it as it was typed. */
        const char *name = ctl->arguments[2 + i];
        (void)printf(" %s=%s", name, name + strlen(name) + 1);
    }
    (void)putchar('\n');
    return PD_CTL_OK;
}
