# SPDX-License-Identifier: Apache-2.0
"""fattr report: the page's figures against an independent computation, its pictures, its markup."""
import base64
import html.parser
import json
import os
import re
import struct
import unittest
import zlib

import numpy as np

from case import CLEAN, MLP, Case, images, run, run_json, run_lines


class Markup(html.parser.HTMLParser):
    """Every element that is opened is closed, in order; nothing is loaded from elsewhere."""

    VOID = {"meta", "img", "br", "path", "line", "circle"}

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.ids, self.links, self.text = [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            assert attrs["alt"]
            self.images.append(attrs["src"])
        assert tag not in ("script", "link", "iframe")
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []

    def handle_startendtag(self, tag, attrs):
        assert tag in self.VOID, tag

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.text.append(data)


def read_png(uri):
    """Height, width and pixels of an 8-bit grey PNG in a data: URI."""
    data = base64.b64decode(uri.split("base64,")[1], validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(data):
        size, = struct.unpack(">I", data[at:at + 4])
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
        parts[kind] = body
        at += size + 12
    width, height, depth, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    assert (depth, colour) == (8, 0)
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


class Report(Case):
    def arguments(self, *more):
        return ["report", self.sketch, "--model", MLP, "--references", self.at("references.npz"), "--calibration", self.at("calibration.npz"),
                "--clean", self.at("clean.npz"), "--anomalous", f"Noise <&>={self.at('odd.npz')}", "-o", self.at("page.html"), *more]

    def page(self):
        with open(self.at("page.html"), encoding="utf-8") as f:
            return f.read()

    def test_page(self):
        run(*self.arguments("--title", "A \"title\""))
        text = self.page()
        markup = Markup(text)
        self.assertIn("A &quot;title&quot;", text)
        self.assertIn("Noise &lt;&amp;&gt;", text)
        self.assertNotIn("Noise <&>", text)
        self.assertEqual(text.count("<svg"), 2 + 4)
        self.assertNotRegex(text, r"\b(nan|inf)\b")
        self.assertIn("#case1", markup.links)
        self.assertIn("case1", markup.ids)
        for link in re.findall(r"(?:src|href)=\"([^\"]*)", text):
            self.assertTrue(link.startswith(("data:image/png", "#")), link[:40])
        for name in ("cone", "class", "softmax confidence", "feature Mahalanobis"):
            self.assertIn(name, text)

        known = {np.rint(255 * np.load(self.at(n + ".npz"))["x"][:, 0].astype(float)).astype(np.uint8)[i].tobytes()
                 for n in ("references", "clean", "odd") for i in range(30)}
        known |= {np.rint(255 * image).astype(np.uint8).tobytes() for n in ("references", "clean") for image in np.load(self.at(n + ".npz"))["x"][:, 0].astype(float)}
        self.assertGreater(len(markup.images), 12)
        for image in map(read_png, markup.images):
            self.assertEqual(image.shape, (28, 28))
            self.assertIn(image.tobytes(), known)

    def test_figures(self):
        """`cone` as `fattr evaluate` has it, the baselines computed again from features and logits."""
        report = run_json(*self.arguments())
        case = report["cases"][0]
        e = run_json("evaluate", self.sketch, "--model", MLP, "--clean", self.at("clean.npz"), "--anomalous", self.at("odd.npz"))
        for key in ("auroc", "aupr", "fpr95", "der_best", "tpr", "fpr", "der"):
            self.assertAlmostEqual(case["detectors"]["cone"][key], e[key], places=6, msg=key)
        e = run_json("evaluate", self.sketch, "--model", MLP, "--clean", self.at("clean.npz"), "--anomalous", self.at("odd.npz"), "--score", "class")
        for key in ("auroc", "tpr", "fpr", "der"):
            self.assertAlmostEqual(case["detectors"]["class"][key], e[key], places=6, msg=key)

        features, logits = {}, {}
        for name in ("references", "calibration", "clean", "odd"):
            for values, node in ((features, "/4/Relu"), (logits, "logits")):
                run("features", MLP, self.at(name + ".npz"), "--node", node, "-o", self.at("f.npz"))
                with np.load(self.at("f.npz")) as f:
                    values[name] = f["x"].astype(float)
        r, y = features["references"], np.load(self.at("references.npz"))["y"]
        means = np.stack([r[y == k].mean(0) for k in np.unique(y)])
        centred = r - means[np.searchsorted(np.unique(y), y)]
        covariance = centred.T @ centred / len(r)
        covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        precision = np.linalg.inv(covariance)

        def mahalanobis(x):
            d = x[:, None] - means
            return np.einsum("nkd,de,nke->nk", d, precision, d).min(1)

        def confidence(z):
            z = np.exp(z - z.max(1, keepdims=True))
            return 1 - z.max(1) / z.sum(1)

        for name, score, values in (("feature Mahalanobis", mahalanobis, features), ("softmax confidence", confidence, logits)):
            clean, odd, held_out = (score(values[n]) for n in ("clean", "odd", "calibration"))
            difference = np.subtract.outer(odd, clean)
            found = case["detectors"][name]
            self.assertAlmostEqual(found["auroc"], ((difference > 0) + 0.5 * (difference == 0)).mean(), delta=2e-3)
            p = (1 + (held_out >= odd[:, None]).sum(1)) / (1 + len(held_out))
            self.assertAlmostEqual(found["tpr"], (p <= 0.05).mean(), delta=0.04)

    def test_without_references_and_calibration(self):
        run("build", MLP, "-r", self.at("references.npz"), "-o", self.at("bare.fattr"))
        report = run_json("report", self.at("bare.fattr"), "--model", MLP, "--clean", self.at("clean.npz"), "--anomalous", f"a={self.at('odd.npz')}",
                          "--anomalous", f"b={self.at('odd.npz')}", "-o", self.at("bare.html"))
        self.assertEqual([c["name"] for c in report["cases"]], ["a", "b"])
        for case in report["cases"]:
            self.assertNotIn("feature Mahalanobis", case["detectors"])
            self.assertIsNone(case["detectors"]["cone"]["tpr"])
        with open(self.at("bare.html"), encoding="utf-8") as f:
            text = f.read()
        Markup(text)
        self.assertNotRegex(text, r"\b(nan|inf)\b")

    def test_manifest(self):
        np.savez(self.at("few.npz"), x=images(12, 9)[0])
        run("build", CLEAN, "-r", self.at("few.npz"), "-o", self.at("clean.fattr"))
        manifest = {"title": "Two networks", "classes": ["Zeroth", "First"], "cases": [
            {"name": "layers", "about": "Noise.", "model": MLP, "sketch": "model.fattr", "references": "references.npz",
             "calibration": "calibration.npz", "clean": "clean.npz", "anomalous": "odd.npz"},
            {"name": "convolutions", "model": CLEAN, "sketch": "clean.fattr", "references": "few.npz", "clean": "few.npz", "anomalous": "few.npz"}]}
        with open(self.at("cases.json"), "w") as f:
            json.dump(manifest, f)
        done = run("report", "--manifest", self.at("cases.json"), "-o", self.at("page.html"))
        self.assertIn("convolutions", done.stdout)
        markup = Markup(self.page())
        self.assertEqual(markup.ids, ["case1", "case2"])
        self.assertIn("Two networks", markup.text)

        for change, says in [({"cases": []}, "cases"), ({"tilte": "x"}, "'tilte'"), ({"cases": [{"name": "x"}]}, "'model'"),
                             ({"cases": [dict(manifest["cases"][0], modle="x")]}, "'modle'"), ({"image": [28]}, "'image'"), ({"alpha": 2}, "'alpha'"),
                             ({"cases": [dict(manifest["cases"][0], clean="nothing.npz")]}, "nothing.npz")]:
            with open(self.at("bad.json"), "w") as f:
                json.dump(manifest | change, f)
            with self.subTest(says=says):
                self.fails("report", "--manifest", self.at("bad.json"), "-o", self.at("never.html"), says=says)
        with open(self.at("bad.json"), "w") as f:
            f.write('{"title": ')
        self.fails("report", "--manifest", self.at("bad.json"), "-o", self.at("never.html"), says="line 1")
        self.fails("report", "--manifest", "/nowhere.json", "-o", self.at("never.html"), says="/nowhere.json")
        self.assertFalse(os.path.exists(self.at("never.html")))

    def test_map_of_mechanisms(self):
        """Groups as `fattr mechanisms` finds them, their agreement with the truth from all pairs, and a dot for each flagged input."""
        x, _ = images(45, 11)
        kinds = {"stripes <&>": (0.02 * x + 0.98 * (np.arange(28) % 14 < 7)).astype(np.float32), "checks": np.abs(x - np.indices((28, 28)).sum(0) // 7 % 2).astype(np.float32), "clean": self.x}
        for k, part in enumerate(kinds.values()):
            np.savez(self.at(f"kind{k}.npz"), x=part)
        np.savez(self.at("kinds.npz"), x=np.concatenate(list(kinds.values())))
        truth = np.repeat(np.arange(3), [len(part) for part in kinds.values()])
        group = np.array([line["group"] for line in run_lines("mechanisms", self.sketch, "--model", MLP, self.at("kinds.npz"))])
        manifest = {"cases": [{"name": "c", "model": MLP, "sketch": "model.fattr", "clean": "clean.npz", "anomalous": "odd.npz"}],
                    "mechanisms": {"name": "The map", "about": "About <it>.", "model": MLP, "sketch": "model.fattr",
                                   "inputs": [{"name": name, "file": f"kind{k}.npz"} for k, name in enumerate(kinds)]}}
        with open(self.at("map.json"), "w") as f:
            json.dump(manifest, f)
        found = run_json("report", "--manifest", self.at("map.json"), "-o", self.at("page.html"))["mechanisms"]
        flagged = group >= 0
        self.assertEqual((found["flagged"], found["groups"]), (flagged.sum(), group.max() + 1))
        a, b = (np.triu(np.equal.outer(v[flagged], v[flagged]), 1) for v in (group, truth))
        total = flagged.sum() * (flagged.sum() - 1) / 2
        expected = a.sum() * b.sum() / total
        self.assertAlmostEqual(found["adjusted_rand_index"], ((a & b).sum() - expected) / ((a.sum() + b.sum()) / 2 - expected), places=9)
        self.assertEqual(found["large_groups"], (np.bincount(group[flagged]) >= 20).sum())
        self.assertGreaterEqual(found["large_groups"], 1)
        text = self.page()
        markup = Markup(text)
        self.assertEqual(markup.ids, ["mechanisms", "case1"])
        self.assertEqual(text.count("<circle"), flagged.sum())
        self.assertIn("stripes &lt;&amp;&gt;", text)
        self.assertNotRegex(text, r"\b(nan|inf)\b")
        for change, says in [({"mechanisms": []}, "'mechanisms'"), ({"mechanisms": dict(manifest["mechanisms"], modle="x")}, "'modle'"),
                             ({"mechanisms": dict(manifest["mechanisms"], inputs=[])}, "'inputs'"), ({"mechanisms": {"inputs": [{}]}}, "'name'"),
                             ({"mechanisms": dict(manifest["mechanisms"], inputs=[{"name": "x"}])}, "kind 1"),
                             ({"mechanisms": dict(manifest["mechanisms"], inputs=[{"name": "x", "file": "nothing.npz"}])}, "nothing.npz")]:
            with open(self.at("bad.json"), "w") as f:
                json.dump(manifest | change, f)
            with self.subTest(says=says):
                self.fails("report", "--manifest", self.at("bad.json"), "-o", self.at("never.html"), says=says)

    def test_refuses(self):
        self.fails(*self.arguments("-o", "/nowhere/x.html"), says="/nowhere/x.html")
        self.fails(*self.arguments("-o", self.folder), says=self.folder)
        self.fails(*self.arguments("--penultimate", "/nothing"), says="/nothing")


if __name__ == "__main__":
    unittest.main()
