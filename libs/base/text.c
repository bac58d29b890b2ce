#include "base/text.h"

#include <string.h>

#include "base/banned.h"

size_t cyx_text_utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : s[0] >= 0xC2 ? 2 : 0;
    if (n == 0 || s[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

/* As cyx_text_utf8_length(), 0 for control characters too: C0, DEL and C1, which begins with C2. */
static size_t plain_length(const unsigned char *s)
{
    size_t n = cyx_text_utf8_length(s);
    bool control = s[0] < 0x20 || s[0] == 0x7F || (s[0] == 0xC2 && s[1] < 0xA0);
    return control ? 0 : n;
}

bool cyx_text_is_plain(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s && plain_length(s) > 0)
        s += plain_length(s);
    return *s == '\0';
}

void cyx_text_clean(char *text)
{
    unsigned char *s = (unsigned char *)text;
    while (*s) {
        size_t n = plain_length(s);
        if (n == 0)
            *s = *s == '\n' || *s == '\r' || *s == '\t' ? ' ' : '?';
        s += n ? n : 1;
    }
}

void cyx_text_copy(char *target, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    memcpy(target, text, length);
    target[length] = '\0';
}
