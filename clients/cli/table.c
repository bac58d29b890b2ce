/* Tables whose columns fit their cells, and numbers as people read them. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli.h"

#include "base/banned.h"

static bool make_room(struct cli_table *table)
{
    if (table->n_cells < table->capacity)
        return true;
    size_t capacity = table->capacity ? 2 * table->capacity : 64;
    char **cells = realloc(table->cells, capacity * sizeof(*cells));
    if (!cells)
        return false;
    table->cells = cells;
    table->capacity = capacity;
    return true;
}

/* Takes a cell that lies in the table's arena, NULL where memory ran out. */
static void add_cell(struct cli_table *table, char *text)
{
    if (!table->failed && text && make_room(table)) {
        cyx_text_clean(text);
        table->cells[table->n_cells++] = text;
    } else {
        table->failed = true;
    }
}

void cli_table_init(struct cli_table *table, const struct cli_table_column *columns,
                    size_t n_columns)
{
    *table = (struct cli_table){.columns = columns, .n_columns = n_columns};
    for (size_t i = 0; i < n_columns; i++)
        add_cell(table, cyx_arena_strdup(&table->arena, columns[i].title));
}

void cli_table_add(struct cli_table *table, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_cell(table, cyx_arena_vprintf(&table->arena, format, args));
    va_end(args);
}

static int width_of(const struct cli_table *table, size_t column)
{
    int width = 0;
    for (size_t i = column; i < table->n_cells; i += table->n_columns) {
        int characters = cli_characters(table->cells[i]);
        width = characters > width ? characters : width;
    }
    return width;
}

static void print_cell(const struct cli_table *table, size_t cell, const int *widths)
{
    size_t column = cell % table->n_columns;
    bool last = column + 1 == table->n_columns;
    int room = widths[column] - cli_characters(table->cells[cell]);
    if (table->columns[column].right)
        printf("%*s%s", room, "", table->cells[cell]);
    else
        printf("%s%*s", table->cells[cell], last ? 0 : room, "");
    fputs(last ? "\n" : "  ", stdout);
}

enum cyx_status cli_table_print(const struct cli_table *table, struct cyx_error *err)
{
    int *widths = calloc(table->n_columns, sizeof(*widths));
    if (table->failed || !widths) {
        free(widths);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "memory ran out for a table");
    }
    bool bold = cli_is_terminal(stdout);
    for (size_t i = 0; i < table->n_columns; i++)
        widths[i] = width_of(table, i);
    for (size_t i = 0; i < table->n_cells; i++) {
        if (i == 0 && bold)
            fputs("\033[1m", stdout);
        if (i == table->n_columns && bold)
            fputs("\033[0m", stdout);
        print_cell(table, i, widths);
    }
    free(widths);
    return CYX_OK;
}

void cli_table_finish(struct cli_table *table)
{
    cyx_arena_finish(&table->arena);
    free(table->cells);
    *table = (struct cli_table){0};
}

void cli_format_count(int64_t count, char ret_text[CLI_AMOUNT_BYTES])
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%" PRIu64,
                     count < 0 ? -(uint64_t)count : (uint64_t)count);
    size_t at = 0;
    if (count < 0)
        ret_text[at++] = '-';
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            ret_text[at++] = ',';
        ret_text[at++] = digits[i];
    }
    ret_text[at] = '\0';
}

/* Three digits and a unit; whole numbers below the first unit as they are. */
static void format_scaled(double amount, double base, const char *const *units, size_t n_units,
                          char *ret_text)
{
    size_t unit = 0;
    while (unit + 1 < n_units && amount >= (unit == 0 ? base : base * 0.9995)) {
        amount /= base;
        unit++;
    }
    int digits = unit == 0 || amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2;
    snprintf(ret_text, CLI_AMOUNT_BYTES, "%.*f%s%s", digits, amount, *units[unit] ? " " : "",
             units[unit]);
}

void cli_format_short(int64_t count, char ret_text[CLI_AMOUNT_BYTES])
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    format_scaled((double)count, 1000, units, sizeof(units) / sizeof(units[0]), ret_text);
}

void cli_format_bytes(int64_t bytes, char ret_text[CLI_AMOUNT_BYTES])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    format_scaled((double)bytes, 1024, units, sizeof(units) / sizeof(units[0]), ret_text);
}
