/* Aligned columns on stdout, whose cells come from a function, so that nothing is kept. */
#ifndef PARAMD_CLIENT_CTL_TABLE_H
#define PARAMD_CLIENT_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum { PD_CTL_CELL_BYTES = 320, PD_CTL_COLUMNS_MAX = 8 };

struct pd_ctl_table {
    const char *titles[PD_CTL_COLUMNS_MAX]; /* ended by NULL if fewer */
    bool right[PD_CTL_COLUMNS_MAX];         /* numbers stand at the right of their column */
    size_t rows;
    /* Writes the text of one cell; called twice for each. */
    void (*cell)(const void *rows, size_t row, size_t column, char text[PD_CTL_CELL_BYTES]);
};

/* What a cell function ends with. */
void pd_ctl_put_cell(char text[PD_CTL_CELL_BYTES], const char *from);
void pd_ctl_print_table(const struct pd_ctl_table *table, const void *rows);

/* Words one after the other, in lines of at most 80 columns that begin with an indent. */
struct pd_ctl_words {
    size_t columns; /* of the line so far; 0: none was begun */
};

void pd_ctl_add_word(struct pd_ctl_words *words, const char *word);
void pd_ctl_end_words(struct pd_ctl_words *words);

#endif
