/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_REPORT_MANIFEST_H
#define FATTR_CLI_REPORT_MANIFEST_H

#include "report.h"

#include <jansson.h>

/*
 * The cases of a page as a JSON file:
 *
 *     {"title": "...", "classes": ["T-shirt", ...], "alpha": 0.05, "scale": 1, "image": [28, 28],
 *      "cases": [{"name": "BadNets", "about": "...", "model": "a.onnx", "sketch": "a.fattr", "references": "r.npz", "calibration": "c.npz",
 *                 "clean": "x.npz", "anomalous": "t.npz", "penultimate": "node", "output": "logits"}, ...],
 *      "mechanisms": {"name": "...", "about": "...", "model": "b.onnx", "sketch": "b.fattr", "inputs": [{"name": "patch", "file": "t.npz"}, ...]}}
 *
 * Files are looked for beside the manifest. Of a case `name`, `model`, `sketch`, `clean` and `anomalous` are needed. `mechanisms` may be left out.
 */
typedef struct manifest {
    json_t *root;
    char **path; /* [path_count] made of folder and name */
    size_t path_count;
} manifest;

int manifest_read(const char *path, report *r, manifest *out);
void manifest_close(manifest *m);

#endif
