/* paramd-bench small: 10,000 small tensors, in one call and in one call each, beside one tensor of
 * the same size. */
#include <err.h>
#include <stdio.h>

#include "tests/bench/commands.h"
#include "tests/bench/daemon.h"
#include "tests/bench/fleet.h"
#include "tests/bench/report.h"

enum {
    TENSORS = 10000,
    TENSOR_BYTES = 2048,
    TENSOR_BYTES_MAX = 65536,
    REPEATS = 4,
    CASE_BYTES = 96
};

enum form { FORM_LARGE, FORM_ONE_CALL, FORM_CALL_EACH, FORMS };

static const char *const form_names[FORMS] = {"one tensor", "one call", "one call each"};

static void report(const struct pd_options *options, size_t tensor_bytes,
                   struct pd_samples samples[FORMS][PD_OPERATIONS])
{
    char name[CASE_BYTES];
    enum pd_transport transport = pd_options_transport(options);
    for (int operation = 0; operation < PD_OPERATIONS; operation++) {
        for (int form = 0; form < FORMS; form++) {
            if (form == FORM_LARGE) {
                (void)snprintf(name, sizeof name, "%s/%s/%s",
                               pd_operation_name((enum pd_operation)operation),
                               pd_transport_name(transport), form_names[form]);
            } else {
                (void)snprintf(name, sizeof name, "%s/%s/%dx%s/%s",
                               pd_operation_name((enum pd_operation)operation),
                               pd_transport_name(transport), TENSORS,
                               pd_size_print(tensor_bytes).text, form_names[form]);
            }
            pd_report_row(name, "GB/s", &samples[form][operation],
                          form == FORM_LARGE ? NULL : form_names[FORM_LARGE],
                          &samples[FORM_LARGE][operation]);
        }
    }
}

int pd_bench_small(const struct pd_options *options)
{
    static const char *const models[FORMS] = {"large", "one-call", "call-each"};
    struct pd_samples samples[FORMS][PD_OPERATIONS] = {0};
    struct pd_fleet *fleets[FORMS];
    size_t tensor_bytes = options->size_bytes > 0 ? options->size_bytes : TENSOR_BYTES;
    if (tensor_bytes > TENSOR_BYTES_MAX) {
        errx(2, "--size %s is not small: give at most %s", pd_size_print(tensor_bytes).text,
             pd_size_print(TENSOR_BYTES_MAX).text);
    }
    pd_report_begin(options->json, "small", options->rounds);
    enum pd_transport transport = pd_options_transport(options);
    const struct pd_daemon_task daemon_task = {.shards = options->shards > 0 ? options->shards : 1,
                                               .payload_sum = options->payload_sum};
    struct pd_daemon *daemon = pd_daemon_start(&daemon_task);
    for (int form = 0; form < FORMS; form++) {
        const struct pd_fleet_task task = {
            .way = {.address = pd_daemon_address(daemon, transport),
                    .transport = transport,
                    .payload_sum = options->payload_sum},
            .model = models[form],
            .workers = 1,
            .tensor_count = form == FORM_LARGE ? 1 : TENSORS,
            .tensor_bytes = form == FORM_LARGE ? TENSORS * tensor_bytes : tensor_bytes,
            .call_each = form == FORM_CALL_EACH};
        fleets[form] = pd_fleet_create(&task);
    }
    /* Round 0 touches memory and opens connections: it does not count. */
    for (unsigned round = 0; round <= options->rounds; round++) {
        for (int i = 0; i < PD_OPERATIONS * FORMS; i++) {
            enum pd_operation operation = (enum pd_operation)(i / FORMS);
            double rate = pd_fleet_measure(fleets[i % FORMS], operation, REPEATS);
            if (round > 0) {
                pd_samples_add(&samples[i % FORMS][operation], rate);
            }
        }
    }
    report(options, tensor_bytes, samples);
    for (int form = 0; form < FORMS; form++) {
        pd_fleet_destroy(fleets[form]);
    }
    pd_daemon_stop(daemon);
    return pd_report_end();
}
