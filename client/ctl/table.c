/* Tables and wrapped words on stdout. Names are never cut: who copies one wants all of it, so a
 * long one makes its column wider. */
#include "client/ctl/table.h"

#include <stdio.h>
#include <string.h>

enum { LINE_COLUMNS = 80, INDENT_COLUMNS = 4 };

static size_t count_columns(const struct pd_ctl_table *table)
{
    size_t count = 0;
    while (count < PD_CTL_COLUMNS_MAX && table->titles[count] != NULL) {
        count++;
    }
    return count;
}

static void print_cell(const char *text, size_t width, bool right, bool last)
{
    int fill = (int)(width - strlen(text));
    if (right) {
        (void)printf("%*s%s", fill, "", text);
    } else if (last) {
        (void)fputs(text, stdout); /* no blanks at the end of a line */
    } else {
        (void)printf("%s%*s", text, fill, "");
    }
    (void)fputs(last ? "\n" : "  ", stdout);
}

void pd_ctl_put_cell(char text[PD_CTL_CELL_BYTES], const char *from)
{
    (void)snprintf(text, PD_CTL_CELL_BYTES, "%s", from);
}

void pd_ctl_print_table(const struct pd_ctl_table *table, const void *rows)
{
    size_t columns = count_columns(table);
    size_t widths[PD_CTL_COLUMNS_MAX];
    char text[PD_CTL_CELL_BYTES];
    for (size_t j = 0; j < columns; j++) {
        widths[j] = strlen(table->titles[j]);
        for (size_t i = 0; i < table->rows; i++) {
            table->cell(rows, i, j, text);
            widths[j] = strlen(text) > widths[j] ? strlen(text) : widths[j];
        }
    }
    for (size_t j = 0; j < columns; j++) {
        print_cell(table->titles[j], widths[j], table->right[j], j + 1 == columns);
    }
    for (size_t i = 0; i < table->rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            table->cell(rows, i, j, text);
            print_cell(text, widths[j], table->right[j], j + 1 == columns);
        }
    }
}

void pd_ctl_add_word(struct pd_ctl_words *words, const char *word)
{
    size_t length = strlen(word);
    if (words->columns > 0 && words->columns + 1 + length > LINE_COLUMNS) {
        pd_ctl_end_words(words);
    }
    if (words->columns == 0) {
        words->columns = INDENT_COLUMNS + length;
        (void)printf("%*s%s", INDENT_COLUMNS, "", word);
    } else {
        words->columns += 1 + length;
        (void)printf(" %s", word);
    }
}

void pd_ctl_end_words(struct pd_ctl_words *words)
{
    if (words->columns > 0) {
        (void)putchar('\n');
        words->columns = 0;
    }
}
