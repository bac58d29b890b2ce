/* Names and values as they stand in sentences: quoting, describing, and the nearest known name. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "contract/spec_reader.h"

#include "base/banned.h"

/* Bytes of the UTF-8 sequence that starts with `lead`. */
static size_t sequence_bytes(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

const char *spec_quote(const char *text, char ret_text[SPEC_QUOTE_BYTES])
{
    enum { ROOM = SPEC_QUOTE_BYTES - 8 };
    size_t out = 0;
    ret_text[out++] = '"';
    while (*text) {
        size_t bytes = sequence_bytes((unsigned char)*text);
        if (out + bytes > ROOM) {
            memcpy(ret_text + out, "…", strlen("…"));
            out += strlen("…");
            break;
        }
        if ((unsigned char)*text < ' ' || *text == 0x7F)
            ret_text[out++] = '?';
        else
            for (size_t i = 0; i < bytes; i++)
                ret_text[out++] = text[i];
        text += bytes;
    }
    ret_text[out++] = '"';
    ret_text[out] = '\0';
    return ret_text;
}

const char *spec_describe(const json_t *value, char ret_text[SPEC_QUOTE_BYTES])
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        snprintf(ret_text, SPEC_QUOTE_BYTES, "a list of %zu", json_array_size(value));
        return ret_text;
    case JSON_STRING:
        return spec_quote(json_string_value(value), ret_text);
    case JSON_INTEGER:
        snprintf(ret_text, SPEC_QUOTE_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return ret_text;
    case JSON_REAL:
        snprintf(ret_text, SPEC_QUOTE_BYTES, "%.10g", json_real_value(value));
        return ret_text;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }
    return "null";
}

enum { NAME_LIMIT = 32 };

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == '-' ? '_' : c;
}

static int min3(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance, letter case and "-" for "_" free of charge. Both at most NAME_LIMIT long.
 */
static int distance(const char *a, const char *b)
{
    int row[NAME_LIMIT + 1];
    int n = (int)strlen(b);
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 1; j <= n; j++) {
            int substituted = diagonal + (lower(a[i]) != lower(b[j - 1]));
            diagonal = row[j];
            row[j] = min3(row[j] + 1, row[j - 1] + 1, substituted);
        }
    }
    return row[n];
}

/* What people from other frameworks write. */
static const char *meant(const char *text)
{
    static const char *const aliases[][2] = {
        {"learning_rate", "lr"},
        {"Dense", "Linear"},
        {"Conv2D", "Conv2d"},
        {"MaxPooling2D", "MaxPool2d"},
        {"filters", "out_channels"},
        {"units", "out_features"},
        {"rate", "p"},
        {"Adam", "AdamW"},
        {"batch", "batch_size"},
    };
    for (size_t i = 0; i < SPEC_COUNT(aliases); i++)
        if (strcasecmp(aliases[i][0], text) == 0)
            return aliases[i][1];
    return NULL;
}

const char *spec_nearest(const char *text, const char *const *names, size_t n_names)
{
    if (strlen(text) > NAME_LIMIT)
        return NULL;
    const char *alias = meant(text);
    for (size_t i = 0; alias && i < n_names; i++)
        if (strcmp(names[i], alias) == 0)
            return names[i];
    const char *best = NULL;
    int best_distance = (int)strlen(text) / 3 + 1;
    for (size_t i = 0; i < n_names; i++) {
        int d = strlen(names[i]) > NAME_LIMIT ? NAME_LIMIT : distance(text, names[i]);
        /* As far as the whole name is long, nothing of it was written. */
        if (d < best_distance && d < (int)strlen(names[i])) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}
