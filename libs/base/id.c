#include "base/id.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#include "base/banned.h"

void cyx_random_bytes(void *ret_bytes, size_t length)
{
    unsigned char *at = ret_bytes;
    while (length) {
        ssize_t n = getrandom(at, length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            abort(); /* going on with a predictable key would be worse */
        at += n;
        length -= (size_t)n;
    }
}

void cyx_hex_encode(const void *bytes, size_t length, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    for (size_t i = 0; i < length; i++) {
        ret_text[2 * i] = digits[from[i] >> 4];
        ret_text[2 * i + 1] = digits[from[i] & 15];
    }
    ret_text[2 * length] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool cyx_hex_decode(const char *text, void *ret_bytes, size_t length)
{
    if (strlen(text) != 2 * length)
        return false;
    unsigned char *to = ret_bytes;
    for (size_t i = 0; i < length; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

/* Milliseconds and 12 bits below them, above all that were given: a counter within a millisecond (RFC 9562, 6.2). */
static uint64_t next_tick(unsigned random)
{
    static _Atomic uint64_t last;
    uint64_t before = atomic_load(&last), next;
    do {
        next = (uint64_t)cyx_clock_unix_ms() << 12 | (random & 0x7FF);
        next = next > before ? next : before + 1;
    } while (!atomic_compare_exchange_weak(&last, &before, next));
    return next;
}

void cyx_id_new(char ret_id[CYX_ID_BYTES])
{
    unsigned char raw[16];
    cyx_random_bytes(raw, sizeof(raw));
    uint64_t tick = next_tick((unsigned)raw[6] << 8 | raw[7]);
    for (int i = 0; i < 6; i++)
        raw[i] = (unsigned char)(tick >> (52 - 8 * i));
    raw[6] = (unsigned char)(0x70 | (tick >> 8 & 0x0F));
    raw[7] = (unsigned char)tick;
    raw[8] = (unsigned char)(0x80 | (raw[8] & 0x3F));
    char hex[33];
    cyx_hex_encode(raw, sizeof(raw), hex);
    char *to = ret_id;
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *to++ = '-';
        *to++ = hex[i];
    }
    *to = '\0';
}

bool cyx_id_valid(const char *text)
{
    if (!text || strlen(text) != 36)
        return false;
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : hex_value(text[i]) < 0)
            return false;
    }
    return true;
}
