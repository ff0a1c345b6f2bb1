/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over a folder of inputs, each as it is, cut short at 64 places and with 256 single bits flipped: no fuzzer needed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    uint8_t *p = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (p && fread(p, 1, (size_t)n, f) != (size_t)n) {
        free(p);
        p = NULL;
    }
    fclose(f);
    *size = (size_t)n;
    return p;
}

/* An exact-size copy, so that a sanitizer sees a read beyond the end. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) exit(2);
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char **argv)
{
    int files = 0;
    DIR *folder = argc > 1 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: corpus FOLDER\n");
        return 2;
    }
    for (struct dirent *e; (e = readdir(folder));) {
        char path[4096];
        size_t size;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        uint8_t *data = read_file(path, &size);
        if (!data) continue;
        run(data, size);
        for (size_t k = 0; k < 64 && size; k++) run(data, size * k / 64);
        uint64_t state = 88172645463325252u;
        for (int k = 0; k < 256 && size; k++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            size_t at = (size_t)(state >> 3) % (k % 2 && size > 512 ? 512 : size); /* every other one near the front, where the structure is */
            data[at] ^= (uint8_t)(1u << (state & 7));
            run(data, size);
            data[at] ^= (uint8_t)(1u << (state & 7));
        }
        free(data);
        files++;
    }
    closedir(folder);
    printf("%d files\n", files);
    return files ? 0 : 1;
}
