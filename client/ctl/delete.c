/* paramctl delete MODEL: asks a person first, and then deletes the very model that was shown, not
 * one of the same name that came since. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/ctl/ctl.h"
#include "client/ctl/units.h"

/* Whoever sits there says yes. */
static bool confirmed(const struct paramd_model_info *model)
{
    char answer[16] = "";
    (void)fprintf(
        stderr,
        "Delete model %s with all its state (%s tensors, %s elements, %s, %s sessions)? "
        "[y/N] ",
        model->name, pd_ctl_thousands(model->tensors).text, pd_ctl_thousands(model->elements).text,
        pd_ctl_bytes((double)model->memory_bytes).text, pd_ctl_thousands(model->sessions).text);
    if (fgets(answer, sizeof answer, stdin) == NULL) {
        (void)fputc('\n', stderr);
        return false;
    }
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

enum pd_ctl_exit pd_ctl_delete(const struct pd_ctl *ctl)
{
    const char *name = ctl->arguments[0];
    if (!ctl->yes && (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0)) {
        return pd_ctl_bad_usage("nobody is here to confirm that model %s is to be deleted: give "
                                "--yes",
                                name);
    }
    struct paramd_stat *stat;
    int status = paramd_stat(ctl->client, name, ctl->timeout_ms, &stat);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    uint64_t number = stat->model.number;
    bool wanted = ctl->yes || confirmed(&stat->model);
    paramd_free(stat);
    if (!wanted) {
        (void)fprintf(stderr, "paramctl: model %s was not deleted: answer y to delete it\n", name);
        return PD_CTL_FAILED;
    }
    status = paramd_delete(ctl->client, name, number, ctl->timeout_ms);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    if (ctl->json) {
        return pd_ctl_print_json(
            json_pack("{s:s, s:I}", "deleted", name, "number", (json_int_t)number));
    }
    (void)printf("deleted model %s\n", name);
    return PD_CTL_OK;
}
