/* What the user sees: tables, JSON, the progress bar. */
#include <math.h>
#include <string.h>
#include <unistd.h>

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

void cli_bar_draw(struct cli_bar *bar, const struct cli_bar_state *s, bool force)
{
    enum { WIDTH = 24, INTERVAL_MS = 100 };
    int64_t now_ms = cyx_clock_monotonic_ns() / 1000000;
    if (!bar->live || (!force && now_ms - bar->last_ms < INTERVAL_MS))
        return;
    bar->last_ms = now_ms;
    char left[16], cells[3 * WIDTH + 1] = "", accuracy[CLI_PERCENT_BYTES];
    double part = s->total_steps > 0 ? (double)s->step / (double)s->total_steps : 0;
    int full = (int)(part * WIDTH);
    size_t at = 0;
    for (int i = 0; i < WIDTH; i++, at += 3)
        memcpy(cells + at, i < full ? "━" : "─", 3);
    cells[at] = '\0';
    format_left(s->seconds_left, left, sizeof(left));
    fprintf(stderr, "\r\033[Kepoch %lld/%lld %s %3d %%  loss %.4f  acc %s  %.0f img/s  %s left",
            (long long)s->epoch, (long long)s->epochs, cells, (int)(part * 100), s->loss,
            cli_percent(s->accuracy, accuracy), s->images_per_second, left);
    fflush(stderr);
    bar->drawn = true;
}

void cli_bar_clear(struct cli_bar *bar)
{
    if (bar->drawn)
        fprintf(stderr, "\r\033[K");
    bar->drawn = false;
}
