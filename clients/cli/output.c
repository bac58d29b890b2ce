/* What the user sees: tables, JSON, the progress bar. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli.h"

#include "base/banned.h"

bool cli_is_terminal(FILE *stream)
{
    return isatty(fileno(stream));
}

/* 15 digits: what was written as 0.9807 is shown so, and not as 0.98070000000000002. */
static void print_json(const json_t *json, size_t flags)
{
    json_dumpf(json, stdout, flags | JSON_REAL_PRECISION(15));
    putchar('\n');
}

void cli_print_json(const json_t *json)
{
    print_json(json, cli_is_terminal(stdout) ? JSON_INDENT(2) : JSON_COMPACT);
}

void cli_print_json_line(const json_t *json)
{
    print_json(json, JSON_COMPACT);
}

const char *cli_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

double cli_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* The bytes of at most `width` characters of UTF-8. */
static int bytes_of(const char *text, int width)
{
    int bytes = 0, characters = 0;
    for (; text[bytes]; bytes++) {
        if (((unsigned char)text[bytes] & 0xC0) != 0x80 && characters++ == width)
            break;
    }
    return bytes;
}

int cli_characters(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

void cli_print_row(const struct cli_column *columns, const char *const *cells, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i + 1 == count) {
            printf("%s\n", cells[i]);
            return;
        }
        int width = columns[i].width, used = cli_characters(cells[i]);
        printf("%.*s%*s", bytes_of(cells[i], width), cells[i], used < width ? width - used + 2 : 2,
               "");
    }
}

void cli_print_titles(const struct cli_column *columns, size_t count)
{
    const char *titles[16];
    for (size_t i = 0; i < count && i < 16; i++)
        titles[i] = columns[i].title;
    bool colour = cli_is_terminal(stdout);
    fputs(colour ? "\033[1m" : "", stdout);
    cli_print_row(columns, titles, count);
    fputs(colour ? "\033[0m" : "", stdout);
}

static void format_left(double seconds, char *ret_text, size_t size)
{
    if (seconds < 0)
        snprintf(ret_text, size, "--:--");
    else if (seconds < 3600)
        snprintf(ret_text, size, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(ret_text, size, "%d:%02d:%02d", (int)seconds / 3600, (int)seconds / 60 % 60,
                 (int)seconds % 60);
}

const char *cli_percent(double part, char ret_text[CLI_PERCENT_BYTES])
{
    if (isnan(part))
        return "-";
    snprintf(ret_text, CLI_PERCENT_BYTES, "%.2f %%", 100 * part);
    return ret_text;
}

/* How many characters fit in a line of the terminal behind `stream`. */
static int line_width(FILE *stream)
{
    struct winsize size = {0};
    bool known = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return (known ? size.ws_col : 80) - 1; /* one in the last column would wrap on some terminals */
}

/* As wide as `room` allows, up to a width at which a step of it can be seen; none in a narrow terminal. */
static void append_cells(struct cyx_buf *line, double part, int room)
{
    enum { LEAST = 4, MOST = 24 };
    int width = room > MOST ? MOST : room, full = (int)(part * width);
    for (int i = 0; width >= LEAST && i < width; i++)
        cyx_buf_puts(line, i < full ? "━" : "─");
}

enum { BAR_INTERVAL_MS = 100 };

static bool bar_is_due(struct cli_bar *bar, bool force)
{
    int64_t now_ms = cyx_clock_monotonic_ns() / 1000000;
    if (!bar->live || (!force && now_ms - bar->last_ms < BAR_INTERVAL_MS))
        return false;
    bar->last_ms = now_ms;
    return true;
}

/* Name or epoch, cells, the rest. */
static void draw_line(struct cli_bar *bar, const char *begin, double part, const char *rest)
{
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    int width = line_width(stderr);
    cyx_buf_puts(&line, begin);
    append_cells(&line, part, width - cli_characters(begin) - cli_characters(rest));
    cyx_buf_puts(&line, rest);
    if (line.failed)
        return;
    fprintf(stderr, "\r\033[K%.*s", bytes_of(line.data, width), line.data);
    fflush(stderr);
    bar->drawn = true;
}

void cli_bar_draw_bytes(struct cli_bar *bar, const char *name, int64_t done, int64_t total,
                        double rate)
{
    char begin[128], rest[160], left[16], amount[3][CLI_AMOUNT_BYTES];
    if (!bar_is_due(bar, done == total))
        return;
    cli_format_bytes(done, amount[0]);
    cli_format_bytes(total, amount[1]);
    cli_format_bytes((int64_t)rate, amount[2]);
    format_left(rate > 0 ? (double)(total - done) / rate : -1, left, sizeof(left));
    double part = total > 0 ? (double)done / (double)total : 0;
    snprintf(begin, sizeof(begin), "%.*s ", bytes_of(name, 24), name);
    snprintf(rest, sizeof(rest), " %3d %%  %s of %s  %s/s  %s left", (int)(part * 100), amount[0],
             amount[1], amount[2], left);
    draw_line(bar, begin, part, rest);
}

void cli_bar_draw(struct cli_bar *bar, const struct cli_bar_state *s, bool force)
{
    if (!bar_is_due(bar, force))
        return;
    char begin[64], left[16], rest[160], accuracy[CLI_PERCENT_BYTES];
    double part = s->total_steps > 0 ? (double)s->step / (double)s->total_steps : 0;
    format_left(s->seconds_left, left, sizeof(left));
    snprintf(rest, sizeof(rest), " %3d %%  loss %.4f  acc %s  %.0f img/s  %s left",
             (int)(part * 100), s->loss, cli_percent(s->accuracy, accuracy), s->images_per_second,
             left);
    snprintf(begin, sizeof(begin), "epoch %" PRId64 "/%" PRId64 " ", s->epoch, s->epochs);
    draw_line(bar, begin, part, rest);
}

void cli_bar_clear(struct cli_bar *bar)
{
    if (bar->drawn)
        fprintf(stderr, "\r\033[K");
    bar->drawn = false;
}
