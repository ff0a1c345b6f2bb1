/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs ONNX's own test cases and holds every outcome against a manifest: `test_conformance [--write] DATA MANIFEST [CASE]`.
 * A case passes, or is unsupported for a stated reason. A wrong result fails in any event; so does a case whose outcome is not the manifest's.
 * --write makes the manifest anew; CASE runs one alone and prints what it has to say.
 */
#define FA_REAL float
#define FA_REAL_SUFFIX f32
#include "base/file.h"
#include "graph/plan.h"
#include "onnx/onnx.h"
#include "ops/ops.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RTOL 1e-3
#define RTOL_BFLOAT16 0x1p-7 /* its last bit: the data were cut off, not rounded */
#define ATOL 1e-7
#define TENSORS_MAX 32
#define SKIPPED 77

enum side { PASS, UNSUPPORTED, FAIL };
static const char *const side_names[] = {"pass", "unsupported", "fail"};

typedef struct outcome {
    enum side side;
    char reason[200];
} outcome;

typedef struct entry {
    char name[160];
    outcome expected;
    bool seen;
} entry;

typedef struct manifest {
    entry *entry;
    size_t count, room;
} manifest;

static outcome failed(fa_status status)
{
    outcome o = {status == FA_ERR_UNSUPPORTED || status == FA_ERR_DTYPE ? UNSUPPORTED : FAIL, ""};
    const char *text = fa_error_message(), *file = strstr(text, "model.onnx': "); /* where the data lies is nobody's business */
    snprintf(o.reason, sizeof o.reason, "%s: %.160s", fa_status_name(status), file ? file + strlen("model.onnx': ") : text);
    return o;
}

static double real_at(const fa_view *v, int64_t i, bool may_be_double)
{
    return may_be_double && v->dtype == FA_FLOAT64 ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

/* Plans compute in float: a float64 result is held against the nearest float, which may be infinite. */
static bool close_to(double have, double want, int32_t dtype)
{
    want = (double)(float)want;
    if (isnan(want)) return isnan(have);
    if (isinf(want) || isinf(have)) return have == want;
    return fabs(have - want) <= ATOL + (dtype == FA_BFLOAT16 ? RTOL_BFLOAT16 : RTOL) * fabs(want);
}

static outcome compare(int32_t k, const fa_view *have, const fa_view *want)
{
    outcome o = {FAIL, ""};
    char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
    bool same = have->ndim == want->ndim;
    for (int32_t i = 0; same && i < want->ndim; i++) same = have->dim[i] == want->dim[i];
    if (!same || have->dtype != want->dtype) {
        snprintf(o.reason, sizeof o.reason, "output %d is %s %.60s, should be %s %.60s", k, fa_dtype_name(have->dtype),
                 fa_shape_text(have->ndim, have->dim, a, sizeof a), fa_dtype_name(want->dtype), fa_shape_text(want->ndim, want->dim, b, sizeof b));
        return o;
    }
    for (int64_t i = 0; i < want->count; i++) {
        bool real = fa_dtype_is_real(want->dtype);
        double x = real ? real_at(have, i, false) : (double)((const int64_t *)have->data)[i];
        double y = real ? real_at(want, i, true) : (double)((const int64_t *)want->data)[i];
        if (real ? close_to(x, y, want->dtype) : ((const int64_t *)have->data)[i] == ((const int64_t *)want->data)[i]) continue;
        snprintf(o.reason, sizeof o.reason, "output %d element %lld is %.9g, should be %.9g", k, (long long)i, x, y);
        return o;
    }
    o.side = PASS;
    return o;
}

/* Tensors `what`_0.pb, `what`_1.pb, ... of a case. */
static fa_status read_tensors(fa_context *c, const char *folder, const char *what, fa_arena *arena, fa_view *view, int32_t *count)
{
    for (*count = 0; *count < TENSORS_MAX; ++*count) {
        char path[4096];
        void *data;
        size_t size;
        const char *name;
        snprintf(path, sizeof path, "%s/test_data_set_0/%s_%d.pb", folder, what, *count);
        FILE *there = fopen(path, "rb");
        if (!there) return FA_OK;
        fclose(there);
        fa_status status = fa_file_read(c, path, &data, &size);
        if (status != FA_OK) return status;
        status = fa_onnx_read_tensor(c, data, size, arena, &view[*count], &name);
        fa_delete(c, data);
        if (status != FA_OK) return status;
    }
    return FA_OK;
}

/* The data files hold bfloat16 as bare bits in uint16, and have inputs that are not of the declared shape (CastLike, `like`). */
static bool mend(const fa_value *declared, fa_view *v, fa_arena *arena, outcome *o)
{
    bool fits = !declared->has_shape || declared->declared_ndim == v->ndim;
    for (int32_t d = 0; fits && declared->has_shape && d < v->ndim; d++) fits = declared->declared[d] < 0 || declared->declared[d] == v->dim[d];
    if (!fits) {
        o->side = UNSUPPORTED;
        snprintf(o->reason, sizeof o->reason, "the data for '%.60s' does not have the shape that the model declares", declared->name);
        return false;
    }
    if (declared->dtype != FA_BFLOAT16 || v->dtype != FA_UINT16) return true;
    float *real = fa_arena_array(arena, (size_t)v->count, sizeof *real);
    if (!real) exit(99);
    for (int64_t i = 0; i < v->count; i++) {
        uint32_t bits = (uint32_t)((const int64_t *)v->data)[i] << 16;
        memcpy(&real[i], &bits, sizeof bits);
    }
    v->data = real;
    v->dtype = FA_BFLOAT16;
    return true;
}

static void write_input(fa_run *run, int32_t i, const fa_view *v)
{
    float *to = fa_run_input(run, i);
    for (int64_t j = 0; to && j < v->count; j++) to[j] = (float)real_at(v, j, true);
}

/* Plans compute in float. */
static void to_float(fa_view *v, fa_arena *arena)
{
    float *real = fa_arena_array(arena, (size_t)v->count + 1, sizeof *real);
    if (!real) exit(99);
    for (int64_t i = 0; i < v->count; i++) real[i] = (float)((const double *)v->data)[i];
    v->data = real;
}

static outcome run_graph(fa_context *c, const char *folder, const fa_graph *g, fa_arena *arena)
{
    fa_view input[TENSORS_MAX], bound[TENSORS_MAX], output[TENSORS_MAX];
    int32_t n_input, n_output;
    fa_plan *plan;
    fa_run *run;
    fa_status status = read_tensors(c, folder, "input", arena, input, &n_input);
    if (status == FA_OK) status = read_tensors(c, folder, "output", arena, output, &n_output);
    if (status != FA_OK) return failed(status);
    outcome o = {FAIL, ""};
    if (n_input != g->n_input || n_output != g->n_output) {
        snprintf(o.reason, sizeof o.reason, "the data has %d inputs and %d outputs, the graph %d and %d", n_input, n_output, g->n_input, g->n_output);
        return o;
    }
    for (int32_t i = 0; i < n_output; i++)
        if (!mend(&g->value[g->output[i]], &output[i], arena, &o)) return o;
    for (int32_t i = 0; i < n_input; i++) {
        if (!mend(&g->value[g->input[i]], &input[i], arena, &o)) return o;
        bound[i] = input[i];
        if (fa_dtype_is_real(input[i].dtype)) bound[i].data = NULL; /* integers may decide shapes */
    }
    fa_plan_request request = {.graph = g, .ops = &fa_op_table_f32, .inputs = bound, .wanted = g->output, .n_wanted = g->n_output, .loss = -1};
    status = fa_plan_create(&request, &plan);
    if (status == FA_ERR_UNSUPPORTED && strstr(fa_error_message(), "must be known beforehand")) { /* so may reals: scales, a range's ends */
        for (int32_t i = 0; i < n_input; i++) {
            bound[i] = input[i];
            if (input[i].dtype == FA_FLOAT64) to_float(&bound[i], arena);
        }
        status = fa_plan_create(&request, &plan);
    }
    if (status != FA_OK) return failed(status);
    status = fa_run_create(plan, c, &run);
    if (status != FA_OK) {
        fa_plan_destroy(plan);
        return failed(status);
    }
    for (int32_t i = 0; i < n_input; i++)
        if (!bound[i].data) write_input(run, i, &input[i]);
    fa_run_forward(run);
    o.side = PASS;
    for (int32_t k = 0; k < n_output && o.side == PASS; k++) o = compare(k, fa_run_value(run, g->output[k]), &output[k]);
    fa_run_destroy(run);
    fa_plan_destroy(plan);
    return o;
}

static outcome run_model(fa_context *c, const char *folder)
{
    char path[4096];
    fa_graph *g;
    fa_arena arena = {.context = c};
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    fa_status status = fa_onnx_read_file(c, path, &g);
    if (status != FA_OK) return failed(status);
    outcome o = run_graph(c, folder, g, &arena);
    fa_arena_clear(&arena);
    fa_graph_destroy(g);
    return o;
}

static outcome run_case(fa_context *c, const char *folder)
{
    uint64_t before = fa_context_memory_used(c);
    outcome o = run_model(c, folder);
    if (fa_context_memory_used(c) == before) return o;
    o.side = FAIL;
    snprintf(o.reason, sizeof o.reason, "%llu bytes are held at the end", (unsigned long long)(fa_context_memory_used(c) - before));
    return o;
}

static entry *add_entry(manifest *m, const char *name)
{
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 256;
        m->entry = realloc(m->entry, m->room * sizeof *m->entry);
        if (!m->entry) exit(99);
    }
    entry *e = &m->entry[m->count++];
    memset(e, 0, sizeof *e);
    snprintf(e->name, sizeof e->name, "%s", name);
    return e;
}

static entry *find_entry(manifest *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->entry[i].name, name) == 0) return &m->entry[i];
    return NULL;
}

/* Lines `name pass` and `name unsupported reason`; # begins a comment. */
static bool read_manifest(manifest *m, const char *path)
{
    char line[512], name[160], side[16];
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool good = true;
    while (good && fgets(line, sizeof line, f)) {
        if (line[0] == '#' || line[0] == '\n') continue;
        good = sscanf(line, "%159s %15s", name, side) == 2 && (!strcmp(side, "pass") || !strcmp(side, "unsupported"));
        if (good) add_entry(m, name)->expected.side = strcmp(side, "pass") ? UNSUPPORTED : PASS;
        else fprintf(stderr, "%s: cannot read the line: %s", path, line);
    }
    fclose(f);
    return good;
}

static bool write_manifest(const manifest *m, const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f) return false;
    fprintf(f, "# Outcome of each of ONNX's test cases; made by test_conformance --write. A case that changes side fails the suite.\n");
    for (size_t i = 0; i < m->count; i++) {
        const entry *e = &m->entry[i];
        if (e->expected.side == FAIL) continue;
        fprintf(f, "%s %s%s%s\n", e->name, side_names[e->expected.side], e->expected.reason[0] ? " " : "", e->expected.reason);
    }
    return fclose(f) == 0;
}

static int no_dots(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

typedef struct job {
    const char *data, *only;
    bool writing;
    manifest known;
    int count[3], wrong;
} job;

static void judge(job *j, const char *name, const outcome *o)
{
    entry *e = find_entry(&j->known, name);
    j->count[o->side]++;
    if (e) e->seen = true;
    if (j->writing) {
        if (!e) e = add_entry(&j->known, name);
        e->expected = *o;
        e->seen = true;
    }
    bool right = e && o->side != FAIL && e->expected.side == o->side;
    if (right && !j->only) return;
    printf("%s: %s%s%s", name, side_names[o->side], o->reason[0] ? ", " : "", o->reason);
    if (e && e->expected.side != o->side) printf(" (the manifest says %s)", side_names[e->expected.side]);
    printf("%s\n", e ? "" : " (not in the manifest)");
    j->wrong += !right;
}

/* Returns the number of cases, -1 when the folder is not there. */
static int run_folder(job *j, fa_context *c, const char *group)
{
    char folder[2048], path[3072], name[160];
    struct dirent **list;
    snprintf(folder, sizeof folder, "%s/%s", j->data, group);
    int n = scandir(folder, &list, no_dots, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
        snprintf(name, sizeof name, "%.30s/%.120s", group, list[i]->d_name);
        free(list[i]);
        if (j->only && strcmp(j->only, name) != 0) continue;
        outcome o = run_case(c, path);
        judge(j, name, &o);
    }
    if (n >= 0) free(list);
    return n;
}

int main(int argc, char **argv)
{
    static const char *const groups[] = {"node", "pytorch-converted", "pytorch-operator", "simple"};
    job j = {.writing = argc > 1 && strcmp(argv[1], "--write") == 0};
    argc -= j.writing;
    argv += j.writing;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: test_conformance [--write] DATA MANIFEST [CASE]\n");
        return 2;
    }
    j.data = argv[1];
    j.only = argc > 3 ? argv[3] : NULL;
    if (!j.writing && !read_manifest(&j.known, argv[2])) return 2;
    fa_context *c;
    if (fa_context_create(NULL, &c) != FA_OK) return 2;
    int cases = 0;
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++) {
        int n = run_folder(&j, c, groups[k]);
        if (n > 0) cases += n;
    }
    fa_context_release(c);
    for (size_t i = 0; cases && !j.only && i < j.known.count; i++)
        if (!j.known.entry[i].seen) {
            printf("%s: in the manifest, not in %s\n", j.known.entry[i].name, j.data);
            j.wrong++;
        }
    if (j.writing && !write_manifest(&j.known, argv[2])) j.wrong++;
    free(j.known.entry);
    if (j.only && !j.count[PASS] && !j.count[UNSUPPORTED] && !j.count[FAIL]) {
        fprintf(stderr, "no case '%s'\n", j.only);
        return 2;
    }
    if (!cases) {
        printf("no test data in %s\n", j.data);
        return SKIPPED;
    }
    printf("%d pass, %d unsupported, %d fail; %d not as the manifest says\n", j.count[PASS], j.count[UNSUPPORTED], j.count[FAIL], j.wrong);
    return j.wrong != 0;
}
