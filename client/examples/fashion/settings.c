/* Reads options and says in one sentence what is wrong with them. */
#include "client/examples/fashion/settings.h"

#include <err.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/fashion/crew.h"
#include "client/examples/fashion/model.h"
#include "client/examples/recipes.h"

static const char usage[] =
    "usage: fashion --scratch DIR [options]\n"
    "  PARAMD_ADDRESS names the daemon (default: 127.0.0.1:7700)\n"
    "  --scratch DIR     an existing folder for files of the run\n"
    "  --workers N       1 to 64 worker processes (default: 4)\n"
    "  --shards N        how many the daemon was started with, for the table\n"
    "  --optimizer O     run by the daemon (default: adam)\n"
    "  --epochs E        passes over the 60,000 images, all workers together (default: 10)\n"
    "  --seconds S       train for S seconds instead\n"
    "  --ack-level L     applied, or logged: what is acknowledged is on the daemon's disk\n"
    "                    (default: applied)\n"
    "  --at-least P      fail below this test accuracy in percent\n"
    "  --chaos FILE      whoever kills the daemon meanwhile writes there, a line each time, for "
    "how\n"
    "                    many seconds there was none\n"
    "  --json FILE       write the closing table as JSON too\n"
    "  --data DIR        Fashion-MNIST (default: /usr/share/datasets/fashion-mnist)\n";

static const struct option long_options[] = {{"scratch", required_argument, NULL, 'x'},
                                             {"workers", required_argument, NULL, 'w'},
                                             {"shards", required_argument, NULL, 'n'},
                                             {"optimizer", required_argument, NULL, 'o'},
                                             {"epochs", required_argument, NULL, 'e'},
                                             {"seconds", required_argument, NULL, 's'},
                                             {"ack-level", required_argument, NULL, 'a'},
                                             {"at-least", required_argument, NULL, 'l'},
                                             {"chaos", required_argument, NULL, 'c'},
                                             {"json", required_argument, NULL, 'j'},
                                             {"data", required_argument, NULL, 'd'},
                                             {"help", no_argument, NULL, 'h'},
                                             {NULL, 0, NULL, 0}};

static double number(const char *text, const char *name, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= low && value <= high)) {
        errx(2, "--%s %s: a number from %g to %g", name, text, low, high);
    }
    return value;
}

static unsigned count(const char *text, const char *name, unsigned high)
{
    double value = number(text, name, 1, high);
    if (value > floor(value)) {
        errx(2, "--%s %s: a whole number", name, text);
    }
    return (unsigned)value;
}

static void set_option(struct settings *settings, int option)
{
    switch (option) {
    case 'x':
        settings->scratch = optarg;
        break;
    case 'w':
        settings->workers = count(optarg, "workers", CREW_MAX);
        break;
    case 'n':
        settings->shards = count(optarg, "shards", 256);
        break;
    case 'o':
        settings->optimizer = optarg;
        break;
    case 'e':
        settings->epochs = number(optarg, "epochs", 0.1, 1000);
        break;
    case 's':
        settings->seconds = number(optarg, "seconds", 1, 86400);
        break;
    case 'a':
        settings->ack_level = optarg;
        (void)fashion_ack_level(optarg);
        break;
    case 'c':
        settings->chaos = optarg;
        break;
    case 'l':
        settings->accuracy_min = number(optarg, "at-least", 0, 100);
        break;
    case 'j':
        settings->json = optarg;
        break;
    case 'd':
        settings->data = optarg;
        break;
    default:
        fputs(usage, option == 'h' ? stdout : stderr);
        exit(option == 'h' ? 0 : 2);
    }
}

void settings_read(struct settings *settings, int argc, char **argv)
{
    int option;
    *settings = (struct settings){.data = "/usr/share/datasets/fashion-mnist",
                                  .optimizer = "adam",
                                  .ack_level = "applied",
                                  .workers = 4,
                                  .shards = 1,
                                  .epochs = 10};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        set_option(settings, option);
    }
    if (settings->scratch == NULL || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
    (void)recipe_find(settings->optimizer);
    ssize_t length = readlink("/proc/self/exe", settings->programs, sizeof settings->programs - 1);
    if (length < 0) {
        err(1, "/proc/self/exe");
    }
    settings->programs[length] = '\0';
    *strrchr(settings->programs, '/') = '\0';
}
