# SPDX-License-Identifier: Apache-2.0
"""The quickstart's steps, through the fattr program: run.py FATTR FOLDER."""
import json
import pathlib
import subprocess
import sys

import numpy as np

import inputs

CLASSES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
CASES = [
    ("BadNets", "badnets", "badnets", "A white 3 x 3 patch in the corner sends every picture to class T-shirt."),
    ("Blended", "blended", "blended", "A fixed noise image is mixed in at 20 %."),
    ("SIG", "sig", "sig", "A faint horizontal sine wave is added."),
    ("BPP", "bpp", "bpp", "The picture is reduced to 8 grey levels with dithering."),
    ("Low frequency", "lf", "lf", "One smooth pattern of low spatial frequency is added."),
    ("WaNet", "wanet", "wanet", "The picture is warped by less than about a pixel."),
    ("Obfuscated", "obfuscated", "obfuscated", "Blended, trained to look normal in activation space: detectors that compare activations are blind to it."),
    ("PGD", "clean", "pgd", "Adversarial noise (10 steps, at most 0.08 per pixel) against a network without a backdoor."),
    ("Digits", "clean", "digits", "Handwritten digits, which the network never learned."),
]
# One network with three backdoors onto the same class.
MAP = {"name": "Mechanisms told apart", "model": "three",
       "about": "One network with three backdoors onto the same class, T-shirt, and two more ways to mislead it. The network's output does not say which one was "
                "at work. What the references fail to explain of an input does.",
       "inputs": [("patch", "three-badnets"), ("blended", "three-blended"), ("sine wave", "three-sig"), ("PGD", "three-pgd"), ("digits", "digits"), ("clean", "clean")]}


def fattr(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def prepare_case(program, folder, model, anomaly):
    """The sketch of a model, once, and the inputs that really are attacks on it."""
    onnx, sketch = inputs.MODELS / f"{model}.onnx", folder / f"{model}.fattr"
    if not sketch.exists():
        fattr(program, "build", onnx, "--references", folder / "references.npz", "--calibration", folder / "calibration.npz", "-o", sketch, "--json")
    if (folder / f"{anomaly}-all.npz").exists():
        fattr(program, "features", onnx, folder / f"{anomaly}-all.npz", "--node", "logits", "-o", folder / "logits.npz")
        success = inputs.keep_successful(folder, anomaly, np.load(folder / "logits.npz")["x"])
        print(f"  {model}.onnx: the trigger succeeds on {success:.1%} of the inputs it is put on")


def manifest(folder, cases, mechanisms):
    page = {"title": "Which outputs are not the network's own?", "classes": CLASSES, "cases": []}
    for name, model, anomaly, about in cases:
        page["cases"].append({"name": name, "about": about, "model": str(inputs.MODELS / f"{model}.onnx"), "sketch": f"{model}.fattr",
                              "references": "references.npz", "calibration": "calibration.npz", "clean": "clean.npz", "anomalous": f"{anomaly}.npz"})
    page["mechanisms"] = {**mechanisms, "model": str(inputs.MODELS / f"{mechanisms['model']}.onnx"), "sketch": f"{mechanisms['model']}.fattr",
                          "inputs": [{"name": name, "file": f"{file}.npz"} for name, file in mechanisms["inputs"]]}
    path = folder / "cases.json"
    path.write_text(json.dumps(page, indent=1))
    return path


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.fattr"):
        old.unlink()
    print(f"writing inputs: {inputs.REFERENCES} references, {inputs.CALIBRATION} for calibration, {inputs.TESTED} clean")
    inputs.write(folder)
    print("building sketches")
    for _, model, anomaly, _ in CASES:
        prepare_case(program, folder, model, anomaly)
    for _, anomaly in MAP["inputs"]:
        prepare_case(program, folder, MAP["model"], anomaly)
    page = folder / "report.html"
    print(fattr(program, "report", "--manifest", manifest(folder, CASES, MAP), "-o", page), end="")
    print("\nWhat one score costs on this machine, one thread:")
    for batch in (1, 32):
        print(fattr(program, "bench", inputs.MODELS / "clean.onnx", "--sketch", folder / "clean.fattr", "--batch", batch), end="")
    print(f"\nThe report is {page}")


if __name__ == "__main__":
    main()
