/* SPDX-License-Identifier: Apache-2.0 */
#include "png.h"
#include "report.h"

#include <stdlib.h>

static double value_at(const fa_array *a, int64_t i)
{
    return a->dtype == FA_UINT8 ? ((const uint8_t *)a->data)[i] : (double)((const float *)a->data)[i];
}

static void set_chw(picture_layout *p, int64_t channels, int64_t height, int64_t width)
{
    p->channels = (int32_t)channels;
    p->height = (int32_t)height;
    p->width = (int32_t)width;
    p->step_c = height * width;
    p->step_y = width;
    p->step_x = 1;
}

static bool set_shape(picture_layout *p, const fa_array *a, const int32_t *image, int32_t image_ndim)
{
    enum { LARGEST = 1024 };
    const int64_t *s = a->shape;
    int64_t row = 1;
    for (int32_t d = 1; d < a->ndim; d++) row *= s[d];
    p->step_n = row;
    if (image_ndim == 2 && (int64_t)image[0] * image[1] == row) set_chw(p, 1, image[0], image[1]);
    else if (image_ndim == 3 && (int64_t)image[0] * image[1] * image[2] == row) set_chw(p, image[0], image[1], image[2]);
    else if (a->ndim == 3 && s[1] > 1 && s[2] > 1) set_chw(p, 1, s[1], s[2]);
    else if (a->ndim == 4 && (s[1] == 1 || s[1] == 3) && s[2] > 1 && s[3] > 1) set_chw(p, s[1], s[2], s[3]);
    else if (a->ndim == 4 && (s[3] == 1 || s[3] == 3) && s[1] > 1 && s[2] > 1) {
        set_chw(p, s[3], s[1], s[2]);
        p->step_c = 1;
        p->step_x = s[3];
        p->step_y = s[2] * s[3];
    } else return false;
    return (p->channels == 1 || p->channels == 3) && p->height <= LARGEST && p->width <= LARGEST;
}

picture_layout picture_layout_of(const fa_refset *set, const int32_t *image, int32_t image_ndim)
{
    picture_layout p = {0};
    fa_array a;
    if (fa_refset_get_input(set, 0, &a) != FA_OK || (a.dtype != FA_FLOAT32 && a.dtype != FA_UINT8) || !set_shape(&p, &a, image, image_ndim))
        return (picture_layout){0};
    double low = value_at(&a, 0), high = low;
    for (int64_t i = 0; i < a.shape[0] * p.step_n; i++) {
        double v = value_at(&a, i);
        if (v < low) low = v;
        if (v > high) high = v;
    }
    /* [0, 1] and [0, 255] are what images come in; anything else (normalised inputs) is stretched to what is there. */
    p.black = low >= 0 ? 0 : low;
    p.white = low >= 0 && high <= 1 ? 1 : low >= 0 && high <= 255 && high > 32 ? 255 : high > p.black ? high : p.black + 1;
    return p;
}

void write_picture(FILE *to, const picture_layout *p, const fa_refset *set, int64_t index, const char *description)
{
    fa_array a;
    if (!p->channels || index < 0 || fa_refset_get_input(set, 0, &a) != FA_OK || a.ndim < 1 || index >= a.shape[0]) return;
    int64_t row = 1;
    for (int32_t d = 1; d < a.ndim; d++) row *= a.shape[d];
    if (row != p->step_n || (a.dtype != FA_FLOAT32 && a.dtype != FA_UINT8)) return; /* references of another shape than the clean inputs */
    uint8_t *pixels = malloc((size_t)p->channels * (size_t)p->height * (size_t)p->width), *at = pixels;
    if (!pixels) return;
    for (int32_t y = 0; y < p->height; y++) {
        for (int32_t x = 0; x < p->width; x++) {
            for (int32_t c = 0; c < p->channels; c++) {
                double v = 255 * (value_at(&a, index * p->step_n + c * p->step_c + y * p->step_y + x * p->step_x) - p->black) / (p->white - p->black);
                *at++ = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5);
            }
        }
    }
    fputs("<img src=\"", to);
    png_write_uri(to, pixels, p->width, p->height, p->channels);
    fputs("\" alt=\"", to);
    write_text(to, description);
    fputs("\">", to);
    free(pixels);
}
