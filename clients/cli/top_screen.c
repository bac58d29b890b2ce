#include "top_screen.h"

#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/clock.h"

#include "base/banned.h"

enum { COLUMNS_LIMIT = 16, ROWS_LEAST = 3 };
/* Pairs by the warmth of a cell (top.h), and the titles'. */
enum { PAIR_GOOD = 1, PAIR_WARM, PAIR_HOT, PAIR_DIM, PAIR_TITLE };

bool top_screen_open(struct top_screen *self)
{
    setlocale(LC_CTYPE, "");
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    if (!terminal)
        return false;
    set_term(terminal);
    self->terminal = terminal;
    self->sort[0] = 0;
    self->sort[1] = 2; /* jobs by state */
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    self->colour = has_colors() && !getenv("NO_COLOR");
    if (self->colour) {
        start_color();
        use_default_colors();
        init_pair(PAIR_GOOD, COLOR_GREEN, -1);
        init_pair(PAIR_WARM, COLOR_YELLOW, -1);
        init_pair(PAIR_HOT, COLOR_RED, -1);
        init_pair(PAIR_DIM, -1, -1);
        init_pair(PAIR_TITLE, COLOR_CYAN, -1);
    }
    return true;
}

void top_screen_close(struct top_screen *self)
{
    endwin();
    delscreen(self->terminal);
    self->terminal = NULL;
}

static attr_t look_of(const struct top_screen *self, int warmth)
{
    if (warmth == 0)
        return A_NORMAL;
    if (warmth == PAIR_DIM)
        return A_DIM;
    return self->colour ? (attr_t)COLOR_PAIR(warmth) : warmth == PAIR_HOT ? A_BOLD : A_NORMAL;
}

/* Exactly `width` columns of the screen: cut or filled. */
static void put(int y, int x, int width, bool right, const char *text, attr_t look)
{
    wchar_t wide[TOP_TEXT_BYTES * 2];
    size_t length = mbstowcs(wide, text, TOP_TEXT_BYTES * 2 - 1);
    if (length == (size_t)-1) /* not this locale's: byte by byte */
        for (length = 0; text[length] && length < TOP_TEXT_BYTES; length++)
            wide[length] = (unsigned char)text[length] < 0x80 ? (wchar_t)text[length] : L'?';
    int used = 0;
    size_t shown = 0;
    for (; shown < length; shown++) {
        int columns = wcwidth(wide[shown]);
        if (used + (columns > 0 ? columns : 0) > width)
            break;
        used += columns > 0 ? columns : 0;
    }
    attrset(look);
    mvhline(y, x, ' ', width);
    mvaddnwstr(y, right ? x + width - used : x, wide, (int)shown);
    attrset(A_NORMAL);
}

static void draw_titles(const struct top_screen *self, size_t which, int y, const int *widths)
{
    const struct top_table *table = &top_tables[which];
    attr_t plain = (self->colour ? (attr_t)COLOR_PAIR(PAIR_TITLE) : A_NORMAL) | A_BOLD;
    if (which == self->focus)
        plain |= A_UNDERLINE;
    int x = 0;
    for (size_t i = 0; i < table->n_columns; i++) {
        char title[32];
        if (widths[i] == 0)
            continue;
        bool sorted = self->sort[which] == i;
        snprintf(title, sizeof(title), "%s%s", table->columns[i].title,
                 !sorted                 ? ""
                 : self->reversed[which] ? "^"
                                         : "v");
        put(y, x, widths[i], table->columns[i].right, title, plain);
        x += widths[i] + 1;
    }
}

static void draw_row(const struct top_screen *self, const struct top_table *table,
                     const struct top_view *view, size_t row, int y, const int *widths)
{
    size_t from = table->n_columns;
    const char *note = table->note(view, row, &from);
    if (!note)
        from = table->n_columns;
    int x = 0;
    for (size_t i = 0; i < table->n_columns; i++) {
        char text[TOP_TEXT_BYTES] = "";
        if (i == from) {
            put(y, x, COLS - x, false, note, look_of(self, PAIR_DIM));
            return;
        }
        if (widths[i] == 0)
            continue;
        int warmth = table->cell(view, row, i, text);
        put(y, x, widths[i], table->columns[i].right, text, look_of(self, warmth));
        x += widths[i] + 1;
    }
}

/* Titles and rows from line `y` on, `height` lines in all; the rest is told as a count. */
static void draw_table(struct top_screen *self, size_t which, const struct top_view *view, int y,
                       int height)
{
    const struct top_table *table = &top_tables[which];
    int widths[COLUMNS_LIMIT];
    size_t count = table->count(view), rows = height > 1 ? (size_t)height - 1 : 0;
    size_t last = count > rows ? count - rows : 0;
    if (self->first[which] > last)
        self->first[which] = last;
    top_widths(table, COLS, widths);
    draw_titles(self, which, y, widths);
    for (size_t i = 0; i < rows && self->first[which] + i < count; i++) {
        size_t row = self->first[which] + i;
        bool more = i + 1 == rows && row + 1 < count;
        if (more) {
            char text[64];
            snprintf(text, sizeof(text), "… %zu more %s", count - row,
                     which == 0 ? "nodes" : "jobs");
            put(y + 1 + (int)i, 0, COLS, false, text, look_of(self, PAIR_DIM));
        } else {
            draw_row(self, table, view, row, y + 1 + (int)i, widths);
        }
    }
}

static void draw_head(const struct top_screen *self, const struct top_view *view)
{
    char text[TOP_TEXT_BYTES], now[CYX_TIME_TEXT_BYTES] = "";
    attr_t look = A_REVERSE | (self->colour ? (attr_t)COLOR_PAIR(PAIR_TITLE) : A_NORMAL);
    if (view->at_ms)
        cyx_time_format(view->at_ms, now);
    snprintf(text, sizeof(text),
             " CyxWiz   nodes: %zu online, %zu in all   jobs: %zu running, %zu waiting",
             view->online, view->n_nodes, view->running, view->waiting);
    put(0, 0, COLS, false, text, look);
    snprintf(text, sizeof(text), "%.8s", view->at_ms ? now + 11 : "");
    if (COLS >= 70)
        put(0, COLS - 9, 8, true, text, look);
    if (*view->error)
        put(1, 0, COLS, false, view->error, look_of(self, PAIR_HOT) | A_BOLD);
}

static void draw_foot(const struct top_screen *self)
{
    const char *keys = self->help
                           ? "s/S sort by the next/last column   r reverse   Tab nodes/jobs   "
                             "arrows, PgUp, PgDn scroll   q quit"
                           : "q quit  s sort  r reverse  Tab nodes/jobs  arrows scroll  ? keys";
    put(LINES - 1, 0, COLS, false, keys, look_of(self, PAIR_DIM) | A_REVERSE);
}

void top_screen_draw(struct top_screen *self, struct top_view *view)
{
    int body = LINES - 3; /* without head, error and foot */
    int for_nodes = (int)view->n_nodes + 1, most = body / 2;
    for (size_t i = 0; i < TOP_TABLES; i++)
        top_tables[i].sort(view, self->sort[i], self->reversed[i]);
    if (for_nodes > most && (int)view->n_jobs + 2 > body - for_nodes)
        for_nodes = most > body - (int)view->n_jobs - 2 ? most : body - (int)view->n_jobs - 2;
    if (for_nodes > body)
        for_nodes = body;
    erase();
    draw_head(self, view);
    if (LINES > ROWS_LEAST)
        draw_table(self, 0, view, 2, for_nodes);
    if (body - for_nodes > 2)
        draw_table(self, 1, view, 2 + for_nodes + 1, body - for_nodes - 1);
    draw_foot(self);
    refresh();
}

/* The next column that is on the screen. */
static void next_sort(struct top_screen *self, int step)
{
    const struct top_table *table = &top_tables[self->focus];
    int widths[COLUMNS_LIMIT];
    size_t *sort = &self->sort[self->focus];
    top_widths(table, COLS, widths);
    do
        *sort = (*sort + table->n_columns + (size_t)step) % table->n_columns;
    while (widths[*sort] == 0);
}

static void scroll_by(struct top_screen *self, int rows)
{
    size_t *first = &self->first[self->focus];
    *first = rows < 0 && (size_t)-rows > *first ? 0 : *first + (size_t)rows;
}

bool top_screen_key(struct top_screen *self, int timeout_ms, bool *ret_changed)
{
    timeout(timeout_ms);
    int key = getch();
    *ret_changed = key != ERR;
    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case '\t':
    case KEY_BTAB:
        self->focus = (self->focus + 1) % TOP_TABLES;
        break;
    case 's':
        next_sort(self, 1);
        break;
    case 'S':
        next_sort(self, -1);
        break;
    case 'r':
        self->reversed[self->focus] = !self->reversed[self->focus];
        break;
    case KEY_DOWN:
    case 'j':
        scroll_by(self, 1);
        break;
    case KEY_UP:
    case 'k':
        scroll_by(self, -1);
        break;
    case KEY_NPAGE:
        scroll_by(self, LINES / 2);
        break;
    case KEY_PPAGE:
        scroll_by(self, -LINES / 2);
        break;
    case 'L' & 0x1F: /* Ctrl-L: something else has written on the terminal */
        clearok(stdscr, TRUE);
        break;
    case '?':
    case 'h':
        self->help = !self->help;
        break;
    default:
        break;
    }
    return true;
}
