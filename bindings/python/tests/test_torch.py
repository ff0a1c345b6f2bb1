# SPDX-License-Identifier: Apache-2.0
"""Models from PyTorch modules: the same scores as by way of ONNX, the same couplings as from whole gradients; modules that fail."""
import copy
import gc
import importlib.util
import io
import os
import pickle
import sys
import unittest
import warnings

import numpy as np

if not importlib.util.find_spec("torch"):
    print("skipped: PyTorch is not installed (Debian: python3-torch)")
    sys.exit(77)

import torch
from torch import nn

import fattr
import fattr.torch
from support import MODELS, ROOT, images

sys.path.insert(0, os.fspath(ROOT / "examples" / "models"))
from network import MLP, ResNet  # noqa: E402


def from_file(name, module):
    """(the ONNX model, the module with its weights)."""
    model = fattr.Model.load(MODELS / name, context=fattr.Context())
    x = images(1, 1)
    module.load_state_dict({key: torch.from_numpy(model.run(x, key).reshape(now.shape)) for key, now in module.state_dict().items()
                            if not key.endswith("num_batches_tracked")}, strict=False)
    return model, module.eval()


def scores(model, x, **options):
    sketch = fattr.Sketch.build(model, images(60, 1), images(40, 2), **options)
    with fattr.Scorer(sketch, model, max_batch=8) as scorer:
        return scorer.score(x).score


class Agreement(unittest.TestCase):
    """With the same weights in an ONNX file."""

    def check(self, file, module, options, most):
        x = images(16, 5)
        model = fattr.torch.TorchModel(module, x[:1])
        np.testing.assert_allclose(model.run(x), file.run(x), atol=1e-4)
        self.assertEqual([layer[3:] for layer in model.layers], [layer[3:] for layer in file.layers])
        for o in options:
            ours, theirs = scores(model, x, **o), scores(file, x, **o)
            self.assertGreater(np.ptp(theirs), 0.02)
            self.assertLess(abs(ours - theirs).max(), most, o)

    def test_mlp(self):
        self.check(*from_file("mlp.onnx", MLP()), [{}, {"loss": "cross-entropy", "layers": "*3*, *5*"}, {"trace": {"draws": 20}},
                                                   {"trace": {"sampler": "rmsprop_sgld", "step_size": 1e-5, "draws": 10, "burn_in": 5, "minibatch": 32, "storage": "f32"}}], 1e-3)

    def test_residual_network(self):
        """BatchNormalization is a part of the layer before it, on either way."""
        self.check(*from_file("clean.onnx", ResNet()), [{}, {"blocks": "plain"}], 1e-3)


class Twice(nn.Module):
    """Shared, grouped, strided and padded layers, work in place, a layer whose output goes two ways, positions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.both = nn.Conv2d(4, 4, 1)
        self.both_norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, (3, 2), padding="same", groups=2)
        self.line = nn.Conv1d(4, 6, 3, padding="valid")
        self.shared = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)))
        y = self.both(x)
        y = self.both_norm(y) + y  # not to be folded
        x = (self.relu(self.grouped(y)) + y).flatten(2)
        x = torch.tanh(self.line(x)).transpose(1, 2)
        x = torch.tanh(self.shared(torch.tanh(self.shared(x))))
        return self.head(x.mean(1))


def cosines(module, fold, x, references):
    """Couplings (blocks "plain") from whole gradients of the margin, one input at a time. fold: (convolution, normalisation behind it)."""
    module = copy.deepcopy(module).eval()
    for conv, norm in fold:
        conv, norm = module.get_submodule(conv), module.get_submodule(norm)
        factor = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        bias = norm.bias - norm.running_mean * factor
        conv.weight = nn.Parameter(conv.weight.detach() * factor.reshape(-1, 1, 1, 1))
        conv.bias = nn.Parameter(bias.detach())
        norm.forward = lambda y: y
    tapped = [p for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d)) for p in part.parameters()]

    def gradient(one):
        z = module(torch.from_numpy(one[None]))[0]
        y = int(z.argmax())
        margin = (z.sum() - z[y]) / (len(z) - 1) - z[y]
        g = torch.cat([p.ravel() for p in torch.autograd.grad(margin, tapped)])
        return (g / g.norm()).numpy()
    return np.array([gradient(a) for a in x]) @ np.array([gradient(a) for a in references]).T


class Segmenter(nn.Module):
    """Pixels: a class at each, or with its mean along rows a class at each column."""

    def __init__(self, columns):
        super().__init__()
        torch.manual_seed(5)
        self.columns, self.conv, self.head = columns, nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 4, 1)

    def forward(self, x):
        x = self.head(torch.tanh(self.conv(x)))
        return x.mean(2).transpose(1, 2) if self.columns else x


class Words(nn.Module):
    """A class for the word behind each of seven."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.register_buffer("phase", torch.arange(1.0, 6.0))
        self.register_buffer("before", torch.ones(7, 7).tril() / torch.arange(1, 8)[:, None])
        self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 9)

    def forward(self, words):
        return self.head(torch.tanh(self.inner(self.before @ torch.sin(words[:, :, None] * self.phase))))


class Outputs(unittest.TestCase):
    """At several positions: the same scores as by way of ONNX."""

    def check(self, module, make, losses):
        references, calibration, x = (make(n, seed) for seed, n in enumerate((20, 25, 6)))
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module.eval(), torch.from_numpy(x[:1]), file, opset_version=13, input_names=["x"], dynamic_axes={"x": [0]})
        models = fattr.torch.TorchModel(module, x[:1]), fattr.Model.from_bytes(file.getvalue())
        np.testing.assert_allclose(models[0].run(x), models[1].run(x), atol=1e-5)
        self.assertEqual(models[0].outputs[0].shape[1:], models[0].run(x).shape[1:])
        for loss in losses:
            result = []
            for model in models:
                sketch = fattr.Sketch.build(model, references, calibration, loss=loss, layers="*", k_in=256, k_out=256, beta=0, blocks="plain")
                with fattr.Scorer(sketch, model, max_batch=4, loss=loss if callable(loss) else None) as scorer:
                    result.append(scorer.score(x))
            np.testing.assert_allclose(result[0].couplings, result[1].couplings, atol=1e-4, err_msg=str(loss))
            np.testing.assert_allclose(result[0].confidence, result[1].confidence, atol=1e-5)
            np.testing.assert_array_equal(result[0].predicted, result[1].predicted)
            self.assertGreater(np.ptp(result[0].couplings), 0.05)

    def pictures(self, n, seed):
        return np.random.default_rng(seed).normal(size=(n, 2, 6, 7)).astype(np.float32)

    def test_pixels(self):
        self.check(Segmenter(False), self.pictures, ["per-pixel", "multi-label", "regression", "embedding", lambda outputs, _: outputs])

    def test_columns(self):
        self.check(Segmenter(True), self.pictures, ["per-token"])

    def test_words(self):
        self.check(Words(), lambda n, seed: np.random.default_rng(seed).integers(0, 9, (n, 7)), ["next-token", "per-token"])


class Overwriting(nn.Module):
    def __init__(self, overwrites):
        super().__init__()
        torch.manual_seed(4)
        self.first, self.second, self.overwrites = nn.Linear(84, 8), nn.Linear(8, 3), overwrites

    def forward(self, x):
        h = self.first(x.flatten(1)) * 2
        out = self.second(h)
        return out + (h.sub_(1) if self.overwrites else h - 1)[:, :3]


class Modules(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)
        self.module = Twice()
        for norm in (self.module.norm, self.module.both_norm):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.3, 2)
        rng = np.random.default_rng(1)
        self.references, self.x = (rng.normal(size=(n, 2, 6, 7)).astype(np.float32) for n in (20, 9))
        self.context = fattr.Context(threads=2)
        self.model = fattr.torch.TorchModel(self.module, self.x[:1], context=self.context)

    def tearDown(self):
        self.model.close()

    def couplings(self, model, **options):
        sketch = fattr.Sketch.build(model, self.references, k_in=256, k_out=256, beta=0, blocks="plain", batch=3, **options)
        with fattr.Scorer(sketch, model, max_batch=4) as scorer:
            return scorer.score(self.x).couplings

    def test_whole_gradients(self):
        self.assertEqual([layer.name for layer in self.model.layers], ["conv", "both", "grouped", "line", "shared", "shared#1", "head"])
        self.assertEqual([layer.has_bias for layer in self.model.layers], [1] * 7)
        want = cosines(self.module, [("conv", "norm")], self.x, self.references)
        self.assertGreater(np.ptp(want), 0.5)
        np.testing.assert_allclose(self.couplings(self.model), want, atol=2e-5)

    def test_inputs_of_layers_that_are_overwritten(self):
        one, other = (fattr.torch.TorchModel(Overwriting(yes), self.x[:1]) for yes in (False, True))
        np.testing.assert_array_equal(self.couplings(one), self.couplings(other))

    def test_copied(self):
        before, digest = self.couplings(self.model), self.model.digest
        with torch.no_grad():
            self.module.norm.running_var.mul_(2)
        np.testing.assert_array_equal(self.couplings(self.model), before)
        self.assertNotEqual(fattr.torch.TorchModel(self.module, self.x[:1]).digest, digest)
        self.module.train()
        self.assertIs(copy.deepcopy(self.model), self.model)
        self.assertRaises(TypeError, pickle.dumps, self.model)

    def test_nothing_stays(self):
        self.couplings(self.model)
        self.assertEqual([len(b.passes) for b in fattr.torch._backends.values()], [0])
        self.model.close()
        gc.collect()
        self.assertEqual((fattr.torch._backends, self.context.memory_used), ({}, 0))


class Wrapped(nn.Module):
    """Several inputs, one of them integers; a dict comes out."""

    def __init__(self):
        super().__init__()
        self.embed, self.head, self.broken = nn.Embedding(5, 4), nn.Linear(7, 3), None

    def forward(self, token, x):
        if self.broken and len(x) in self.broken[0]:
            raise self.broken[1]
        return {"logits": self.head(torch.cat([torch.tanh(self.embed(token)), x], 1))}


class Trouble(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        rng = np.random.default_rng(2)
        self.given = {"x": rng.normal(size=(12, 3)).astype(np.float32), "token": rng.integers(0, 5, 12)}
        self.context = fattr.Context()
        self.model = self.make(Wrapped())
        self.module = next(iter(fattr.torch._backends.values())).module

    def make(self, module, **more):
        return fattr.torch.TorchModel(module, (np.zeros(1, np.int64), np.zeros((1, 3), np.float32)), context=self.context, **{"logits": lambda out: out["logits"], **more})

    def tearDown(self):
        self.model.close()
        gc.collect()
        self.assertEqual((fattr.torch._backends, self.context.memory_used), ({}, 0))

    def test_inputs(self):
        self.assertEqual([(v.name, v.dtype, v.shape) for v in self.model.inputs], [("token", "int64", (-1,)), ("x", "float32", (-1, 3))])
        with torch.no_grad():
            want = self.module(torch.from_numpy(self.given["token"]), torch.from_numpy(self.given["x"]))["logits"].numpy()
        np.testing.assert_array_equal(self.model.run(self.given), want)
        with self.assertRaisesRegex(fattr.InputError, "x"):
            self.model.run({**self.given, "x": self.given["x"][:, :2]})

    def test_exceptions(self):
        sketch = fattr.Sketch.build(self.model, self.given, batch=5)
        with fattr.Scorer(sketch, self.model) as scorer:
            one = {name: a[:1] for name, a in self.given.items()}
            before = scorer.score(one).score
            for raised, kind, text in ((ValueError("no luck\0"), fattr.StateError, r"PyTorch: forward\(\): ValueError: no luck"),
                                       (MemoryError(), fattr.OutOfMemoryError, "MemoryError"), (KeyboardInterrupt(), fattr.CancelledError, "KeyboardInterrupt")):
                self.module.broken = (1, 5, 12), raised
                for pass_ in fattr.torch._backends[next(iter(fattr.torch._backends))].passes.values():
                    pass_.module.broken = self.module.broken
                with self.assertRaisesRegex(kind, text):
                    scorer.score(one)
                with self.assertRaisesRegex(kind, text):
                    fattr.Sketch.build(self.model, self.given, batch=5)
                self.module.broken = None
                for pass_ in fattr.torch._backends[next(iter(fattr.torch._backends))].passes.values():
                    pass_.module.broken = None
                self.assertEqual(scorer.score(one).score, before)

    def test_modules_that_do_not_fit(self):
        with self.assertRaisesRegex(fattr.InputError, "the module gives dict for 2 inputs"):
            self.make(Wrapped(), logits=None)
        with self.assertRaisesRegex(fattr.InputError, r"output 'logits' is float32 \[16\] at batch 16; the loss 'margin' takes"), \
                self.make(Wrapped(), logits=lambda out: out["logits"][:, 0]) as one_number:
            fattr.Sketch.build(one_number, self.given)
        with self.assertRaisesRegex(fattr.UnsupportedError, "first dimension counts inputs"):
            fattr.torch.TorchModel(nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 1)), nn.Linear(1, 2), nn.Flatten(0), nn.Unflatten(0, (2, -1))), np.zeros((1, 3), np.float32))
        self.assertRaises(TypeError, fattr.torch.TorchModel, "module", np.zeros((1, 3)))
        self.assertRaises(fattr.InputError, fattr.torch.TorchModel, Wrapped(), ())
        with self.assertRaisesRegex(fattr.NoSignalError, "no layer with weights"):
            no_layer = fattr.torch.TorchModel(nn.Sequential(nn.Flatten(), nn.LayerNorm(3)), np.zeros((1, 3), np.float32))
            fattr.Sketch.build(no_layer, self.given["x"])
        with self.assertRaisesRegex(fattr.UnsupportedError, "cannot be re-estimated"):
            fattr.Sketch.build(self.model, self.given, trace={"sampler": "sgld", "batchnorm": "reestimate", "draws": 3})


if __name__ == "__main__":
    unittest.main()
