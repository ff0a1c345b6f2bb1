# SPDX-License-Identifier: Apache-2.0
"""Cases of operator set 18 and later, which Debian's ONNX is too old for: test_onnx_newer.py TEST_CONFORMANCE MANIFEST FOLDER [--write]

The node cases that PyPI's onnx ships are copied to FOLDER with what its reference evaluator makes of their inputs as the outputs to reach, and test_conformance holds
them against the manifest. Where the evaluator fails or leaves its own package's data by more than 1e-3, the data stand."""
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

FIRST = 18
WRONG = {  # what the evaluator gives, and why it is no measure
    "test_attention_4d_gqa_with_past_and_present_fp16_expanded": "worked out in half precision",
    "test_dft_inverse": "noise of single precision where the result is 0",
    "test_dft_inverse_opset19": "the same",
    "test_l2normalization_axis_0": "NaN for a row of zeros, which later versions of onnx make 0",
}


def opset(model):
    return max([o.version for o in model.opset_import if o.domain in ("", "ai.onnx")], default=0)


def tensors(folder, what):
    paths = sorted(folder.glob(what + "_*.pb"), key=lambda p: int(p.stem.rpartition("_")[2]))
    return paths, [onnx.load_tensor(str(p)) for p in paths]


def evaluated(model, folder):
    """Outputs of the reference evaluator as tensors of the data's types, or None."""
    _, inputs = tensors(folder, "input")
    _, outputs = tensors(folder, "output")
    try:
        feed = dict(zip((i.name for i in model.graph.input), map(numpy_helper.to_array, inputs)))
        made = ReferenceEvaluator(model).run(None, feed)
        for have, want in zip(made, map(numpy_helper.to_array, outputs)):
            if have.dtype != want.dtype or have.shape != want.shape or not np.allclose(have, want, rtol=1e-3, atol=1e-7, equal_nan=True):
                return None
        return [numpy_helper.from_array(np.asarray(a), t.name) for a, t in zip(made, outputs)] if len(made) == len(outputs) else None
    except Exception:  # whatever an evaluator of any quality raises
        return None


def copy_cases(to):
    """How many there are, and how many of them the evaluator decides."""
    count = decided = 0
    shutil.rmtree(to, ignore_errors=True)
    for case in sorted((pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "node").iterdir()):
        model = onnx.load(case / "model.onnx")
        if opset(model) < FIRST or case.name in WRONG:
            continue
        shutil.copytree(case, to / "node" / case.name)
        count += 1
        data = to / "node" / case.name / "test_data_set_0"
        try:
            made = evaluated(model, data)
        except Exception:  # sequences and optionals are not tensors
            made = None
        decided += made is not None
        for i, tensor in enumerate(made or []):
            (data / f"output_{i}.pb").write_bytes(tensor.SerializeToString())
    return count, decided


def main():
    runner, manifest, folder = sys.argv[1:4]
    count, decided = copy_cases(pathlib.Path(folder))
    print(f"onnx {onnx.__version__}: {count} cases of operator sets {FIRST} to {onnx.defs.onnx_opset_version()}, {decided} against the reference evaluator, the others against the package's data; left out: "
          f"{', '.join(WRONG)}")
    if count < 1000 or decided < 900:
        sys.exit("these are too few: the package has changed")
    sys.exit(subprocess.run([runner, *sys.argv[4:], folder, manifest], check=False).returncode)


main()
