# SPDX-License-Identifier: Apache-2.0
"""fattr build and fattr inspect."""
import json
import os
import resource
import shutil
import signal
import struct
import unittest

import numpy as np

from case import CLEAN, MLP, Case, run, run_json


def read_sketch(path):
    """Header and tensors of a safetensors file."""
    with open(path, "rb") as f:
        data = f.read()
    size, = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + size]), data[8 + size:]


class Build(Case):
    def build(self, *arguments, name="other.fattr", model=MLP):
        return run_json("build", model, "--references", self.at("references.npz"), "-o", self.at(name), *arguments)

    def test_figures(self):
        b = self.built
        self.assertEqual(b["sketch"], self.sketch)
        self.assertEqual(b["references"], 60)
        self.assertEqual(b["calibration"], 39)
        self.assertEqual(b["bytes"], os.path.getsize(self.sketch))
        self.assertEqual(b["dropped_layers"], [])
        self.assertEqual(b["layers"], 3)
        self.assertGreaterEqual(b["signature_length"], 16 * 16 * 2 + 16 * 10)
        self.assertGreater(b["seconds"], 0)
        self.assertAlmostEqual(b["references_per_second"] * b["seconds"], 60, places=3)

    def test_cheaper_scores(self):
        last = self.build("--preset", "last-layers")
        self.assertEqual(last["layers"], 2)
        header, _ = read_sketch(self.at("other.fattr"))
        self.assertEqual(json.loads(header["__metadata__"]["options"])["max_forwards"], 1.1)
        self.assertEqual(self.build("--preset", "last-layers", "--max-forwards", 3)["layers"], 3)
        self.build("--subset", "class", "--calibration", self.at("calibration.npz"))
        header, _ = read_sketch(self.at("other.fattr"))
        self.assertEqual(json.loads(header["__metadata__"]["options"])["subset"], "class")
        self.assertNotIn("calibration.span", header)
        for wrong in (["--subset", "some"], ["--max-forwards", 1], ["--preset", "last-layers", "--kind", "trace"]):
            run("build", MLP, "-r", self.at("references.npz"), "-o", self.at("x.fattr"), *wrong, code=2)

    def test_precision(self):
        self.build("--precision", "bf16", "--calibration", self.at("calibration.npz"))
        header, _ = read_sketch(self.at("other.fattr"))
        self.assertEqual(header["__metadata__"]["precision"], "bf16")
        self.assertEqual(run_json("inspect", self.at("other.fattr"))["options"]["precision"], "bf16")
        self.assertNotIn("precision", read_sketch(self.sketch)[0]["__metadata__"])
        for sketch in self.sketch, self.at("other.fattr"):
            one, other = ([json.loads(line)["score"] for line in run("score", sketch, "--model", MLP, self.at("calibration.npz"), "--json", "--precision", p).stdout.splitlines()]
                          for p in ("f32", "bf16"))
            self.assertNotEqual(one, other)
            np.testing.assert_allclose(one, other, atol=0.05)
        self.assertGreater(run_json("bench", MLP, "--precision", "bf16")["forward_ms"], 0)
        run("build", MLP, "-r", self.at("references.npz"), "-o", self.at("x.fattr"), "--precision", "f16", code=2)

    def test_packing(self):
        one, other = ([json.loads(line)["score"] for line in run("score", self.sketch, "--model", MLP, self.at("calibration.npz"), "--json", "--packing", p).stdout.splitlines()]
                      for p in ("fast", "once"))
        self.assertLess(max(abs(a - b) for a, b in zip(one, other)), 1e-4)
        self.build("--packing", "once")
        self.assertGreater(run_json("bench", MLP, "--packing", "once")["forward_ms"], 0)
        run("score", self.sketch, "--model", MLP, self.at("calibration.npz"), "--packing", "twice", code=2)

    def test_the_file_is_readable(self):
        header, data = read_sketch(self.sketch)
        self.assertIn("__metadata__", header)
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        self.assertEqual(max(ends), len(data))

    def test_text(self):
        done = run("build", MLP, "--references", self.at("references.npz"), "-o", self.at("text.fattr"))
        self.assertIn("references   60", done.stdout)
        self.assertIn("calibration  none", done.stdout)
        self.assertEqual(done.stderr, "")

    def test_same_bytes_for_any_number_of_threads(self):
        self.build("--threads", 1, name="one.fattr")
        self.build("--threads", 3, name="three.fattr")
        with open(self.at("one.fattr"), "rb") as one, open(self.at("three.fattr"), "rb") as three:
            self.assertEqual(one.read(), three.read())

    def test_options_reach_the_sketch(self):
        self.build("--k-in", 4, "--k-out", 6, "--beta", 0.5, "--damping", 0.2, "--ridge", 0.3, "--blocks", "plain", "--loss", "cross-entropy", "--topk", 7, "--seed", 9,
                   "--layers", "/?/Gemm,!/1/*", "--batch", 8, "--output", "logits")
        i = run_json("inspect", self.at("other.fattr"))
        self.assertEqual(i["options"], {"k_in": 4, "k_out": 6, "beta": 0.5, "damping": 0.2, "ridge": 0.3, "blocks": "plain", "loss": "cross-entropy", "topk": 7,
                                        "seed": 9, "keep_moments": False, "precision": "f32"})
        self.assertTrue(i["layers"])
        for layer in i["layers"]:
            self.assertIn(layer["name"], ("/3/Gemm", "/5/Gemm"))
            self.assertLessEqual(layer["k_in"], 4)
            self.assertLessEqual(layer["k_out"], 6)

    def test_scale(self):
        """uint8 times 1/255 is the same set as float32 in [0, 1]."""
        raw = np.random.RandomState(0).randint(0, 256, (20, 1, 28, 28)).astype(np.uint8)
        run("build", MLP, "-r", self.save("u8.npz", x=raw), "--scale", 1 / 255, "-o", self.at("u8.fattr"))
        run("build", MLP, "-r", self.save("f4.npz", x=(raw * (1 / 255)).astype(np.float32)), "-o", self.at("f4.fattr"))
        digests = [run_json("inspect", self.at(n))["references_digest"] for n in ("u8.fattr", "f4.fattr")]
        self.assertEqual(digests[0], digests[1])

    def test_drop_misclassified(self):
        b = self.build("--drop-misclassified")
        self.assertEqual(b["misclassified"], 0)
        kept = self.build()
        self.assertEqual(b["references"], kept["references"] - kept["misclassified"])

    def test_memory(self):
        m = run_json("build", MLP, "--references", self.at("references.npz"), "--memory")
        self.assertEqual(set(m), {"build_bytes", "sketch_bytes", "scorer_bytes", "file_bytes", "draw_bytes"})
        b = self.build()
        self.assertLess(abs(m["file_bytes"] - b["bytes"]), 0.1 * b["bytes"])
        self.assertIn("MB", run("build", MLP, "--references", self.at("references.npz"), "--memory").stdout)

    def test_refuses(self):
        r = self.at("references.npz")
        for arguments, says in [
            (["/nowhere.onnx", "-r", r, "-o", self.at("x.fattr")], "/nowhere.onnx"),
            ([self.folder, "-r", r, "-o", self.at("x.fattr")], "folder"),
            ([r, "-r", r, "-o", self.at("x.fattr")], "references.npz"),
            ([MLP, "-r", "/nowhere.npz", "-o", self.at("x.fattr")], "/nowhere.npz"),
            ([MLP, "-r", self.folder, "-o", self.at("x.fattr")], "folder"),
            ([MLP, "-r", MLP, "-o", self.at("x.fattr")], "mlp.onnx"),
            ([MLP, "-r", self.save("z.npz", z=self.x), "-o", self.at("x.fattr")], "'x'"),
            ([MLP, "-r", self.save("one.npz", x=self.x[:1]), "-o", self.at("x.fattr")], "two"),
            ([MLP, "-r", self.save("none.npz", x=self.x[:0]), "-o", self.at("x.fattr")], "none.npz"),
            ([MLP, "-r", self.save("shape.npz", x=self.x[:, :, :20]), "-o", self.at("x.fattr")], "image"),
            ([MLP, "-r", self.save("nan.npz", x=np.full_like(self.x, np.nan)), "-o", self.at("x.fattr")], "nan.npz"),
            ([MLP, "-r", self.save("text.npz", x=np.array(["a", "b"])), "-o", self.at("x.fattr")], "<U1"),
            ([MLP, "-r", self.save("y.npz", x=self.x, y=self.y[:3]), "-o", self.at("x.fattr")], "'y'"),
            ([MLP, "-r", r, "--output", "nothing", "-o", self.at("x.fattr")], "nothing"),
            ([MLP, "-r", r, "--layers", "nothing*", "-o", self.at("x.fattr")], "nothing*"),
            ([MLP, "-r", r, "-o", self.folder], "folder"),
            ([MLP, "-r", r, "-o", "/nowhere/x.fattr"], "/nowhere/x.fattr"),
        ]:
            with self.subTest(says=says):
                self.fails("build", *arguments, says=says)
                self.fails("build", *arguments, "--json", says=says)
        self.assertFalse(os.path.exists(self.at("x.fattr")))

    def test_a_full_disk_leaves_the_old_file(self):
        self.build("--k-in", 2, name="old.fattr")
        with open(self.at("old.fattr"), "rb") as f:
            before = f.read()
        before_names = sorted(os.listdir(self.folder))

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        done = run("build", MLP, "-r", self.at("references.npz"), "-o", self.at("old.fattr"), code=3, preexec_fn=small_files)
        self.assertIn("old.fattr", done.stderr)
        with open(self.at("old.fattr"), "rb") as f:
            self.assertEqual(f.read(), before)
        self.assertEqual(sorted(os.listdir(self.folder)), before_names)


class Inspect(Case):
    def test_model(self):
        i = run_json("inspect", CLEAN, "--nodes")
        self.assertEqual(i["kind"], "model")
        self.assertEqual(i["inputs"], [{"name": "image", "dtype": "float32", "shape": [None, 1, 28, 28]}])
        self.assertEqual(i["logits"], "logits")
        self.assertEqual(i["classes"], 10)
        self.assertEqual(i["nodes"], len(i["node_list"]))
        self.assertIn("/head/Gemm", [n["name"] for n in i["node_list"]])
        head = [layer for layer in i["layers"] if layer["name"] == "/head/Gemm"][0]
        self.assertEqual((head["in"], head["out"], head["bias"]), (65, 10, True))
        text = run("inspect", CLEAN).stdout
        self.assertIn("image  float32 [n, 1, 28, 28]", text)
        self.assertIn("/head/Gemm", text)

    def test_sketch(self):
        i = run_json("inspect", self.sketch)
        self.assertEqual(i["kind"], "sketch")
        self.assertEqual(i["references"], 60)
        self.assertEqual(i["calibration"], 39)
        self.assertEqual(i["options"]["k_in"], 16)
        self.assertEqual(i["model_digest"], run_json("inspect", MLP)["digest"])
        self.assertEqual(len(i["layers"]), self.built["layers"])
        worst = i["audit"]["least_explained"]
        self.assertEqual(len(worst), 5)
        self.assertEqual([w["score"] for w in worst], sorted((w["score"] for w in worst), reverse=True))
        self.assertTrue(all(1000 <= w["id"] < 1060 for w in worst))
        self.assertLessEqual(i["audit"]["median"], i["audit"]["largest"])
        text = run("inspect", self.sketch).stdout
        self.assertIn("39 inputs; cone flags above", text)
        self.assertIn("least explained", text)

    def test_told_apart_by_content(self):
        shutil.copy(MLP, self.at("a.fattr"))
        shutil.copy(self.sketch, self.at("b.onnx"))
        self.assertEqual(run_json("inspect", self.at("a.fattr"))["kind"], "model")
        self.assertEqual(run_json("inspect", self.at("b.onnx"))["kind"], "sketch")

    def test_refuses(self):
        with open(self.sketch, "rb") as f:
            data = f.read()
        for name, content in {"cut": data[:-100], "header": data[:200], "changed": data[:-10] + bytes([data[-10] ^ 1]) + data[-9:],
                              "random": np.random.RandomState(0).bytes(5000), "empty": b""}.items():
            with open(self.at(name), "wb") as f:
                f.write(content)
            with self.subTest(name=name):
                self.fails("inspect", self.at(name), says=name)
        self.fails("inspect", self.at("nothing"), says="nothing")
        self.fails("inspect", self.folder, says="folder")


if __name__ == "__main__":
    unittest.main()
