/* SPDX-License-Identifier: Apache-2.0 */
#include "report_manifest.h"

#include "report_mechanisms.h"

#include <stdlib.h>
#include <string.h>

static const struct key {
    const char *name;
    size_t offset; /* of the text in report_spec */
    bool needed, is_file;
} keys[] = {
    {"name", offsetof(report_spec, name), true, false},
    {"about", offsetof(report_spec, about), false, false},
    {"model", offsetof(report_spec, model), true, true},
    {"sketch", offsetof(report_spec, sketch), true, true},
    {"references", offsetof(report_spec, references), false, true},
    {"calibration", offsetof(report_spec, calibration), false, true},
    {"clean", offsetof(report_spec, clean), true, true},
    {"anomalous", offsetof(report_spec, anomalous), true, true},
    {"penultimate", offsetof(report_spec, penultimate), false, false},
    {"output", offsetof(report_spec, output), false, false},
};
#define KEYS (sizeof keys / sizeof *keys)
#define MOST_KINDS 64

static const char *beside(manifest *m, const char *manifest_path, const char *name)
{
    const char *slash = strrchr(manifest_path, '/');
    int folder = *name == '/' || !slash ? 0 : (int)(slash - manifest_path) + 1;
    size_t room = (size_t)folder + strlen(name) + 1;
    char *text = malloc(room);
    if (!text) return NULL;
    snprintf(text, room, "%.*s%s", folder, manifest_path, name);
    return m->path[m->path_count++] = text;
}

static int read_case(const char *path, int32_t index, json_t *object, manifest *m, report_spec *out)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return say_error("%s: case %d is no object", path, (int)index + 1);
    json_object_foreach(object, key, value) {
        size_t k = 0;
        while (k < KEYS && strcmp(key, keys[k].name) != 0) k++;
        if (k == KEYS) return say_error("%s: case %d: unknown key '%s'", path, (int)index + 1, key);
        if (!json_is_string(value)) return say_error("%s: case %d: '%s' is no text", path, (int)index + 1, key);
        const char *text = keys[k].is_file ? beside(m, path, json_string_value(value)) : json_string_value(value);
        if (!text) return say_error("out of memory");
        memcpy((char *)out + keys[k].offset, &text, sizeof text);
    }
    for (size_t k = 0; k < KEYS; k++) {
        if (keys[k].needed && !json_object_get(object, keys[k].name)) return say_error("%s: case %d has no '%s'", path, (int)index + 1, keys[k].name);
    }
    return EXIT_DONE;
}

static int read_classes(const char *path, json_t *list, report *r)
{
    if (!list) return EXIT_DONE;
    r->classes = calloc(json_array_size(list) + 1, sizeof *r->classes);
    if (!r->classes) return say_error("out of memory");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!(r->classes[i] = json_string_value(json_array_get(list, i)))) return say_error("%s: 'classes' holds something that is no text", path);
        r->class_count = (int32_t)i + 1;
    }
    return EXIT_DONE;
}

static int read_image(const char *path, json_t *list, report *r)
{
    if (!list) return EXIT_DONE;
    r->image_ndim = (int32_t)json_array_size(list);
    bool good = r->image_ndim == 2 || r->image_ndim == 3;
    for (int32_t d = 0; good && d < r->image_ndim; d++) {
        json_int_t size = json_integer_value(json_array_get(list, (size_t)d));
        good = size >= 1 && size <= 1024;
        r->image[d] = (int32_t)size;
    }
    return good ? EXIT_DONE : say_error("%s: 'image' is neither [height, width] nor [channels, height, width], up to 1024", path);
}

/* The map of mechanisms: a network, its sketch, and inputs of several kinds. */
static int read_mechanisms(const char *path, json_t *object, report *r, manifest *m)
{
    static const char *const texts[] = {"name", "about", "model", "sketch", "output", "inputs"};
    const char *key;
    json_t *value, *inputs = json_object_get(object, "inputs");
    if (!object) return EXIT_DONE;
    if (!json_is_object(object)) return say_error("%s: 'mechanisms' is no object", path);
    json_object_foreach(object, key, value) {
        size_t k = 0;
        while (k < sizeof texts / sizeof *texts && strcmp(key, texts[k]) != 0) k++;
        if (k == sizeof texts / sizeof *texts) return say_error("%s: mechanisms: unknown key '%s'", path, key);
        if (value != inputs && !json_is_string(value)) return say_error("%s: mechanisms: '%s' is no text", path, key);
    }
    size_t kinds = json_array_size(inputs);
    if (!kinds || kinds > MOST_KINDS) return say_error("%s: mechanisms: 'inputs' is no list of up to %d kinds", path, MOST_KINDS);
    report_mechanisms *o = r->mechanisms = calloc(1, sizeof *o);
    if (!o || !(o->kind = calloc(kinds, sizeof *o->kind))) return say_error("out of memory");
    o->kinds = (int32_t)kinds;
    o->name = json_string_value(json_object_get(object, "name"));
    o->about = json_string_value(json_object_get(object, "about"));
    o->output = json_string_value(json_object_get(object, "output"));
    const char *model = json_string_value(json_object_get(object, "model")), *sketch = json_string_value(json_object_get(object, "sketch"));
    if (!o->name || !model || !sketch) return say_error("%s: mechanisms has no 'name', 'model' or 'sketch'", path);
    o->model = beside(m, path, model);
    o->sketch = beside(m, path, sketch);
    for (size_t k = 0; k < kinds; k++) {
        json_t *kind = json_array_get(inputs, k);
        const char *file = json_string_value(json_object_get(kind, "file"));
        o->kind[k].name = json_string_value(json_object_get(kind, "name"));
        if (!o->kind[k].name || !file) return say_error("%s: mechanisms: kind %d has no 'name' or 'file'", path, (int)k + 1);
        if (!(o->kind[k].file = beside(m, path, file))) return say_error("out of memory");
    }
    return o->model && o->sketch ? EXIT_DONE : say_error("out of memory");
}

static int read_root(const char *path, report *r, manifest *m)
{
    static const char *const known[] = {"title", "classes", "alpha", "scale", "image", "cases", "mechanisms"};
    const char *key;
    json_t *value, *cases = json_object_get(m->root, "cases");
    json_object_foreach(m->root, key, value) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(key, known[k]) != 0) k++;
        if (k == sizeof known / sizeof *known) return say_error("%s: unknown key '%s'", path, key);
    }
    size_t count = json_array_size(cases);
    if (!count || count > 1000) return say_error("%s: 'cases' is no list of up to 1000 cases", path);
    if ((value = json_object_get(m->root, "title")) && json_is_string(value)) r->title = json_string_value(value);
    if ((value = json_object_get(m->root, "scale"))) r->scale = json_number_value(value);
    if ((value = json_object_get(m->root, "alpha"))) r->alpha = json_number_value(value);
    if (!(r->alpha > 0 && r->alpha < 1)) return say_error("%s: 'alpha' is no number between 0 and 1", path);
    if (r->scale == 0) return say_error("%s: 'scale' is no number other than 0", path);
    r->spec = calloc(count, sizeof *r->spec);
    m->path = calloc(count * KEYS + MOST_KINDS + 2, sizeof *m->path);
    if (!r->spec || !m->path) return say_error("out of memory");
    r->count = (int32_t)count;
    for (int32_t i = 0; i < r->count; i++) {
        if (read_case(path, i, json_array_get(cases, (size_t)i), m, &r->spec[i]) != EXIT_DONE) return EXIT_FAILED;
    }
    if (read_mechanisms(path, json_object_get(m->root, "mechanisms"), r, m) != EXIT_DONE) return EXIT_FAILED;
    if (read_image(path, json_object_get(m->root, "image"), r) != EXIT_DONE) return EXIT_FAILED;
    return read_classes(path, json_object_get(m->root, "classes"), r);
}

int manifest_read(const char *path, report *r, manifest *out)
{
    json_error_t error;
    out->root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!out->root) return say_error("%s, line %d: %s", path, error.line, error.text);
    if (!json_is_object(out->root)) return say_error("%s: it is no JSON object", path);
    return read_root(path, r, out);
}

void manifest_close(manifest *m)
{
    json_decref(m->root);
    for (size_t i = 0; i < m->path_count; i++) free(m->path[i]);
    free(m->path);
}
