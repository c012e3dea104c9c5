/* Points and the gnuplot that draws them, for plot.h. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/peer.h"
#include "tests/bench/plot.h"

enum { CURVE_BYTES = 96, PATH_BYTES = 4096, POINTS_MAX = 16384 };

struct point {
    char curve[CURVE_BYTES];
    double x;
    double y;
};

struct pd_plot {
    const struct pd_plot_task *task;
    size_t count;
    struct point points[POINTS_MAX];
};

/* Whether gnuplot ran, and ended well. */
static bool run_gnuplot(const char *argument)
{
    int status = 0;
    pid_t pid = pd_peer_fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(null, STDOUT_FILENO);
        (void)execlp("gnuplot", "gnuplot", argument, (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

struct pd_plot *pd_plot_create(const struct pd_plot_task *task)
{
    if (task->folder == NULL) {
        return NULL;
    }
    struct pd_plot *plot = calloc(1, sizeof *plot);
    if (plot == NULL) {
        err(1, "plot");
    }
    if (!run_gnuplot("--version")) {
        errx(1, "--plot needs gnuplot: install the package gnuplot-nox");
    }
    if (mkdir(task->folder, 0777) != 0 && errno != EEXIST) {
        err(1, "%s", task->folder);
    }
    plot->task = task;
    return plot;
}

void pd_plot_add(struct pd_plot *plot, const char *curve, double x, double y)
{
    if (plot == NULL || plot->count == POINTS_MAX) {
        return;
    }
    struct point *point = &plot->points[plot->count++];
    (void)snprintf(point->curve, sizeof point->curve, "%s", curve);
    point->x = x;
    point->y = y;
}

static int compare(const void *a, const void *b)
{
    const struct point *one = a;
    const struct point *two = b;
    int order = strcmp(one->curve, two->curve);
    return order != 0 ? order : (one->x > two->x) - (one->x < two->x);
}

static FILE *open_file(const struct pd_plot *plot, const char *ending, char *ret_path)
{
    (void)snprintf(ret_path, PATH_BYTES, "%s/%s.%s", plot->task->folder, plot->task->name, ending);
    FILE *file = fopen(ret_path, "we");
    if (file == NULL) {
        err(1, "%s", ret_path);
    }
    return file;
}

static void close_file(FILE *file, const char *path)
{
    if (fclose(file) != 0) {
        err(1, "%s", path);
    }
}

/* Curves as gnuplot's indexed blocks, each under its name. Returns how many there are. */
static unsigned write_data(const struct pd_plot *plot)
{
    char path[PATH_BYTES];
    FILE *file = open_file(plot, "dat", path);
    unsigned curves = 0;
    for (size_t i = 0; i < plot->count; i++) {
        const struct point *point = &plot->points[i];
        if (i == 0 || strcmp(point->curve, plot->points[i - 1].curve) != 0) {
            (void)fprintf(file, "%s\"%s\"\n", i > 0 ? "\n\n" : "", point->curve);
            curves++;
        }
        (void)fprintf(file, "%.17g %.6g\n", point->x, point->y);
    }
    close_file(file, path);
    return curves;
}

void pd_plot_draw(struct pd_plot *plot)
{
    char path[PATH_BYTES];
    if (plot == NULL) {
        return;
    }
    const struct pd_plot_task *task = plot->task;
    qsort(plot->points, plot->count, sizeof plot->points[0], compare);
    unsigned curves = write_data(plot);
    FILE *file = open_file(plot, "gnuplot", path);
    (void)fprintf(file,
                  "set terminal svg size 1000,600 background \"white\"\n"
                  "set output \"%s/%s.svg\"\n"
                  "set title \"paramd-bench %s\"\n"
                  "set xlabel \"%s\"\nset ylabel \"%s\"\n"
                  "set logscale x %u\nset yrange [0:]\nset format x \"%s\"\n"
                  "set grid\nset key outside right noenhanced\n"
                  "plot for [i=0:%u] \"%s/%s.dat\" index i using 1:2 with linespoints "
                  "title columnheader(1)\n",
                  task->folder, task->name, task->name, task->x_label, task->y_label, task->x_base,
                  task->x_base == 2 ? "2^{%L}" : "10^{%L}", curves - 1, task->folder, task->name);
    close_file(file, path);
    if (curves > 0 && !run_gnuplot(path)) {
        errx(1, "gnuplot could not draw %s", path);
    }
    free(plot);
}
