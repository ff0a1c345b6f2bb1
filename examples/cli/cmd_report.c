/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "report_manifest.h"
#include "report_mechanisms.h"

#include <fcntl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_JSON = 256, KEY_MANIFEST, KEY_CLEAN, KEY_ANOMALOUS, KEY_ALPHA, KEY_SCALE, KEY_TITLE, KEY_PENULTIMATE, KEY_OUTPUT };

typedef struct command {
    operands operands;
    const char *manifest, *to, *title;
    report_spec spec; /* what the cases of the command line share */
    char **anomalous; /* [count] NAME=FILE */
    int32_t count;
    bool json;
    report page;
} command;

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Cases:", 1},
    {"manifest", KEY_MANIFEST, "CASES.json", 0, "Cases of several networks; see below", 1},
    {"model", 'm', "MODEL.onnx", 0, "The network that the sketch was made of", 1},
    {"references", 'r', "R.npz", 0, "The sketch's references, for pictures and the Mahalanobis baseline", 1},
    {"calibration", 'c', "C.npz", 0, "The sketch's calibration inputs, for the thresholds of the baselines", 1},
    {"clean", KEY_CLEAN, "A.npz", 0, "Inputs that should pass", 1},
    {"anomalous", KEY_ANOMALOUS, "NAME=B.npz", 0, "Inputs that should be flagged; may be given several times, a case each", 1},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1)", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value that holds the class logits (default: the first output)", 1},
    {"penultimate", KEY_PENULTIMATE, "NODE", 0, "Features of the Mahalanobis baseline (default: what the last fully connected layer takes)", 1},
    {NULL, 0, NULL, 0, "Page:", 2},
    {NULL, 'o', "OUT.html", 0, "Write the page here (needed)", 2},
    {"title", KEY_TITLE, "TEXT", 0, "Title of the page", 2},
    {"alpha", KEY_ALPHA, "A", 0, "False positive rate that the thresholds hold (default 0.05)", 2},
    {"batch", 'b', "N", 0, "Inputs per pass (default 32)", 2},
    {"threads", 't', "N", 0, "Threads (default 1)", 2},
    {"json", KEY_JSON, NULL, 0, "Print the figures as one JSON object and no progress", 2},
    {NULL},
};

static const char doc[] =
    "Write one HTML page with pictures: how well anomalous inputs are told from clean ones, and which references explain them.\v"
    "Examples:\n"
    "  fattr report model.fattr --model model.onnx --references trusted.npz \\\n"
    "      --clean test.npz --anomalous patch=triggered.npz -o report.html\n"
    "  fattr report --manifest cases.json -o report.html\n"
    "\n"
    "A manifest holds several networks; its files are looked for beside it:\n"
    "  {\"title\": \"...\", \"classes\": [\"cat\", \"dog\"], \"cases\": [{\"name\": \"patch\",\n"
    "   \"about\": \"...\", \"model\": \"a.onnx\", \"sketch\": \"a.fattr\",\n"
    "   \"references\": \"r.npz\", \"calibration\": \"c.npz\", \"clean\": \"x.npz\",\n"
    "   \"anomalous\": \"t.npz\"}],\n"
    "   \"mechanisms\": {\"name\": \"...\", \"model\": \"b.onnx\", \"sketch\": \"b.fattr\",\n"
    "    \"inputs\": [{\"name\": \"patch\", \"file\": \"t.npz\"}, ...]}}\n"
    "`mechanisms`, which may be left out, adds a map of flagged inputs, grouped.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    command *c = state->input;
    switch (key) {
    case KEY_MANIFEST: c->manifest = arg; return 0;
    case 'm': c->spec.model = arg; return 0;
    case 'r': c->spec.references = arg; return 0;
    case 'c': c->spec.calibration = arg; return 0;
    case KEY_CLEAN: c->spec.clean = arg; return 0;
    case KEY_OUTPUT: c->spec.output = arg; return 0;
    case KEY_PENULTIMATE: c->spec.penultimate = arg; return 0;
    case KEY_ANOMALOUS:
        if (!strchr(arg, '=') || *arg == '=') usage_error(state, "--anomalous takes NAME=FILE.npz, not '%s'", arg);
        c->anomalous[c->count++] = arg;
        return 0;
    case KEY_SCALE: c->page.scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case KEY_ALPHA: c->page.alpha = real_argument(state, "--alpha", arg, 1e-9, 1 - 1e-9); return 0;
    case 'b': c->page.batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case 't': c->page.threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case 'o': c->to = arg; return 0;
    case KEY_TITLE: c->title = arg; return 0;
    case KEY_JSON: c->json = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 1, arg); return 0;
    case ARGP_KEY_END:
        if (!c->to) usage_error(state, "report needs -o OUT.html");
        if (c->manifest && (c->operands.count || c->count || c->spec.model || c->spec.clean))
            usage_error(state, "a manifest names all files: give nothing beside it");
        if (!c->manifest && (!c->operands.count || !c->spec.model || !c->spec.clean || !c->count)) {
            usage_error(state, "report needs a sketch, --model, --clean and --anomalous, or --manifest");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* A case for each NAME=FILE: the text is cut in two. */
static int cases_of_arguments(command *c)
{
    report *r = &c->page;
    r->spec = calloc((size_t)c->count, sizeof *r->spec);
    if (!r->spec) return say_error("out of memory");
    r->count = c->count;
    for (int32_t i = 0; i < c->count; i++) {
        char *equals = strchr(c->anomalous[i], '=');
        *equals = '\0';
        r->spec[i] = c->spec;
        r->spec[i].sketch = c->operands.value[0];
        r->spec[i].name = c->anomalous[i];
        r->spec[i].anomalous = equals + 1;
    }
    return EXIT_DONE;
}

/* All or nothing: written beside the place it goes to, then renamed. */
static int save(const report *r, const char *path)
{
    size_t room = strlen(path) + 32;
    char *temporary = malloc(room);
    if (!temporary) return say_error("out of memory");
    snprintf(temporary, room, "%s.%ld.tmp", path, (long)getpid());
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        free(temporary);
        return say_error("cannot write '%s': it is %s", path, S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (f) {
        write_page(f, r);
        bool failed = ferror(f) != 0;
        failed = fclose(f) != 0 || failed;
        if (!failed && rename(temporary, path) == 0) {
            free(temporary);
            return EXIT_DONE;
        }
    }
    int code = say_error("cannot write '%s': %s", path, strerror(errno));
    if (fd >= 0) unlink(temporary);
    free(temporary);
    return code;
}

static int print_json(const report *r)
{
    json_t *cases = json_array();
    for (int32_t i = 0; i < r->count; i++) {
        const report_case *c = &r->result[i];
        json_t *detectors = json_object();
        for (int k = 0; k < DETECTORS; k++) {
            const detector *d = &c->detector[k];
            if (!d->clean) continue;
            json_object_set_new(detectors, detector_name[k],
                                json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
                                          "auroc", json_number(d->metrics.auroc), "aupr", json_number(d->metrics.aupr),
                                          "fpr95", json_number(d->metrics.fpr95), "der_best", json_number(d->metrics.der_best),
                                          "der", json_number(d->der), "tpr", json_number(d->tpr), "fpr", json_number(d->fpr)));
        }
        json_array_append_new(cases, json_pack("{s:s,s:I,s:I,s:o,s:o,s:o,s:o}",
                                               "name", c->spec->name, "n_clean", (json_int_t)c->of_clean.n,
                                               "n_anomalous", (json_int_t)c->of_anomalous.n, "acc", json_number(c->acc),
                                               "forward_ms", json_number(c->forward_ms), "score_ms", json_number(c->score_ms),
                                               "detectors", detectors));
    }
    json_t *page = json_pack("{s:s,s:f,s:o}", "title", r->title, "alpha", r->alpha, "cases", cases);
    const report_mechanisms *m = r->mechanisms;
    if (page && m) {
        json_object_set_new(page, "mechanisms", json_pack("{s:s,s:I,s:I,s:I,s:o}", "name", m->name, "flagged", (json_int_t)m->flagged, "groups", (json_int_t)m->groups,
                                                          "large_groups", (json_int_t)m->shown, "adjusted_rand_index", json_number(m->agreement)));
    }
    return json_print(page);
}

static void print_text(const report *r, const char *path)
{
    printf("%-24s", "AUROC");
    for (int k = 0; k < DETECTORS; k++) printf("  %19s", detector_name[k]);
    printf("  %7s  %12s\n", "caught", "false alarms");
    for (int32_t i = 0; i < r->count; i++) {
        const report_case *c = &r->result[i];
        printf("%-24.24s", c->spec->name);
        for (int k = 0; k < DETECTORS; k++) {
            if (c->detector[k].clean) printf("  %19.4f", c->detector[k].metrics.auroc);
            else printf("  %19s", "-");
        }
        const detector *d = &c->detector[DETECTOR_CONE];
        if (c->sketch.calibration_count) printf("  %5.1f %%  %10.1f %%\n", 100 * d->tpr, 100 * d->fpr);
        else printf("  %7s  %12s\n", "-", "-");
    }
    const report_mechanisms *m = r->mechanisms;
    if (m) {
        printf("%s: %lld flagged inputs of %d kinds in %lld groups, %lld of them large; adjusted Rand index %.3f\n", m->name, (long long)m->flagged, (int)m->kinds, (long long)m->groups,
               (long long)m->shown, m->agreement);
    }
    printf("page written to %s\n", path);
}

int cmd_report(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "[SKETCH.fattr]", doc, NULL, NULL, NULL};
    command c = {.page = {.title = "Which outputs are not like the trusted ones?", .alpha = 0.05, .scale = 1, .batch = 32, .threads = 1}};
    manifest m = {NULL};
    report *r = &c.page;
    c.anomalous = calloc((size_t)argc + 1, sizeof *c.anomalous);
    if (!c.anomalous) return say_error("out of memory");
    parse_command(&argp, "report", argc, argv, &c);
    r->show_progress = !c.json;

    int code = c.manifest ? manifest_read(c.manifest, r, &m) : cases_of_arguments(&c);
    if (c.title) r->title = c.title;
    if (code == EXIT_DONE && !(r->result = calloc((size_t)r->count, sizeof *r->result))) code = say_error("out of memory");
    for (int32_t i = 0; i < r->count && code == EXIT_DONE; i++) code = report_case_run(r, &r->spec[i], &r->result[i]);
    if (code == EXIT_DONE && r->mechanisms) code = report_mechanisms_run(r, r->mechanisms);
    if (code == EXIT_DONE) code = save(r, c.to);
    if (code == EXIT_DONE && c.json) code = print_json(r);
    else if (code == EXIT_DONE) print_text(r, c.to);
    for (int32_t i = 0; r->result && i < r->count; i++) report_case_destroy(&r->result[i]);
    if (r->mechanisms) report_mechanisms_destroy(r->mechanisms);
    free(r->mechanisms);
    free(r->result);
    free(r->spec);
    free(r->classes);
    free(c.anomalous);
    manifest_close(&m);
    return code;
}
