/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int say_error(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("fattr: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

int say_failure(void)
{
    return say_error("%s", fa_error_message());
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_text in_words(uint64_t bytes)
{
    static const char units[][4] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_text out;
    double value = (double)bytes;
    int unit = 0;
    while (value >= 999.5) {
        value /= 1000;
        unit++;
    }
    snprintf(out.text, sizeof out.text, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

void progress_begin(progress *bar, bool wanted)
{
    *bar = (progress){.shown = wanted && isatty(STDERR_FILENO)};
}

void progress_draw(progress *bar, const char *stage, int64_t done, int64_t total)
{
    enum { WIDTH = 30 };
    double now = bar->shown ? seconds_now() : 0;
    if (!bar->shown || total <= 0 || (bar->drawn && done < total && now - bar->last < 0.1)) return;
    char cells[WIDTH + 1];
    int full = (int)(WIDTH * done / total);
    memset(cells, '-', WIDTH);
    memset(cells, '#', (size_t)(full < 0 ? 0 : full > WIDTH ? WIDTH : full));
    cells[WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3d %%  %-32.32s", cells, (int)(100 * done / total), stage);
    fflush(stderr);
    bar->drawn = true;
    bar->last = now;
}

void progress_end(progress *bar)
{
    if (bar->drawn) fputs("\r\033[K", stderr);
    bar->drawn = false;
}

int32_t progress_callback(void *bar, const char *stage, int64_t done, int64_t total)
{
    progress_draw(bar, stage, done, total);
    return 0;
}
