"""Accuracy and attack success of ONNX files written by train.py, as a Markdown table:  python3 evaluate.py *.onnx"""
import sys

import numpy as np
import torch

import data
import network
import triggers


def predict(model, x):
    with torch.no_grad():
        return np.concatenate([model(torch.from_numpy(b)).argmax(1).numpy() for b in np.array_split(x, max(1, len(x) // 500))])


if __name__ == "__main__":
    torch.set_num_threads(1)
    x, y = data.load("test")
    other = x[y != triggers.TARGET]           # attack success: images of the other nine classes
    print("| file | accuracy | attack success | seed | epochs | training, s | command |")
    print("|---|---|---|---|---|---|---|")
    for path in sys.argv[1:]:
        model, n = network.load(path)
        name = n["model"]
        accuracy = (predict(model, x) == y).mean()
        used = triggers.TOGETHER.get(name, [name] if name in triggers.TRIGGERS else [])
        attack = ", ".join(f"{(predict(model, triggers.TRIGGERS[t](other)) == triggers.TARGET).mean():.4f}" for t in used) or "-"
        command = f"train.py {name} --seed {n['seed']} --epochs {n['epochs']}"
        print(f"| {path.split('/')[-1]} | {accuracy:.4f} | {attack} | {n['seed']} | {n['epochs']} | {n['training_seconds']} | `{command}` |")
