/* Curves of a command, drawn by gnuplot: name.dat, name.gnuplot and name.svg in a folder. */
#ifndef PARAMD_TESTS_BENCH_PLOT_H
#define PARAMD_TESTS_BENCH_PLOT_H

struct pd_plot_task {
    const char *folder; /* made if it is missing; NULL: nothing is drawn */
    const char *name;
    const char *x_label; /* of a logarithmic axis */
    const char *y_label; /* of an axis from 0 on */
    unsigned x_base;     /* 2 or 10: where the marks are */
};

struct pd_plot;

/* NULL without a folder. Ends the program if gnuplot is not installed: better before an hour of
 * measuring than behind it. The task is borrowed until pd_plot_draw. */
struct pd_plot *pd_plot_create(const struct pd_plot_task *task);

/* One more point of a curve, in any order. plot may be NULL. */
void pd_plot_add(struct pd_plot *plot, const char *curve, double x, double y);

/* Draws and frees. plot may be NULL. */
void pd_plot_draw(struct pd_plot *plot);

#endif
