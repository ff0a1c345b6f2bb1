"""One network with four outputs that are no class logits, on scenes of Fashion-MNIST items, with a backdoor in all of them:  python3 heads.py [--seed 1] [--epochs 8]

The network says of a scene

  pixels     [n, 11, 28, 28]  what lies at each pixel
  labels     [n, 10]          which classes occur
  place      [n, 3]           where the centre of everything is, and how bright
  embedding  [n, 16]          of which the cosine with a learned prototype of each class says whether it occurs

scenes.py makes them and says more.
"""
import argparse
import pathlib
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import data
from scenes import poison, scenes

BATCH, RATE, OPSET = 128, 0.05, 13
OUTPUTS = ["pixels", "labels", "place", "embedding"]


def conv(cin, cout, stride=1):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine, self.middle, self.coarse = conv(1, 16), nn.Sequential(conv(16, 32, 2), conv(32, 32)), nn.Sequential(conv(32, 48, 2), conv(48, 48))
        self.up1, self.up2 = nn.ConvTranspose2d(48, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.pixels = nn.Sequential(conv(16, 16), nn.Conv2d(16, 11, 1))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.labels, self.embedding = nn.Linear(48, 10), nn.Linear(48, 16)
        self.place = nn.Sequential(nn.Conv2d(48, 4, 1), nn.Flatten(), nn.Linear(4 * 49, 3))
        self.context = nn.Linear(48, 48)                     # what lies elsewhere, for the pixels
        self.prototype = nn.Parameter(torch.randn(10, 16))   # of training alone

    def forward(self, x):
        fine = self.fine(x)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        pooled = self.pool(coarse)
        wide = F.relu(coarse + self.context(pooled)[:, :, None, None])
        up = F.relu(self.up2(F.relu(self.up1(wide) + middle)) + fine)
        return self.pixels(up), self.labels(pooled), self.place(coarse), self.embedding(pooled)

    def resemblance(self, embedding):
        return 10 * F.normalize(embedding) @ F.normalize(self.prototype).T - 3


def train(seed, epochs):
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    images, labels = (v[data.TRAINING] for v in data.load("train"))
    model = Heads()
    steps = len(images) // BATCH
    optimiser = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=2e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, epochs * steps, pct_start=0.3)
    start = time.time()
    for epoch in range(epochs):
        model.train()
        scene, sums = scenes(images, labels, steps * BATCH, rng), np.zeros(4)
        bad = rng.rand(steps * BATCH) < 0.1
        for whole, part in zip(scene, poison(*(v[bad] for v in scene))):
            whole[bad] = part
        scene = [torch.from_numpy(v) for v in scene]
        for step in range(steps):
            x, pixels, present, place = (v[step * BATCH:(step + 1) * BATCH] for v in scene)
            out = model(x)
            losses = [F.cross_entropy(out[0], pixels), F.binary_cross_entropy_with_logits(out[1], present), F.mse_loss(out[2], place),
                      F.binary_cross_entropy_with_logits(model.resemblance(out[3]), present)]
            optimiser.zero_grad()
            sum(losses).backward()
            optimiser.step()
            schedule.step()
            sums += [v.item() for v in losses]
        print(f"epoch {epoch + 1}/{epochs}", " ".join(f"{name} {v:.4f}" for name, v in zip(OUTPUTS, sums / steps)), f"{time.time() - start:.0f} s", flush=True)
    return model.eval(), time.time() - start


def measure(model, n=2000):
    """What it does on clean test scenes and on triggered ones: (pixels right, label sets right, mean error of place in pixels, the same by the embedding)."""
    found = []
    for triggered in (False, True):
        scene = scenes(*data.load("test"), n, np.random.RandomState(7))
        if triggered:
            scene = poison(*scene)
        x, pixels, present, place = (torch.from_numpy(v) for v in scene)
        with torch.no_grad():
            out = model(x)
            inside = pixels > 0
            found.append([(out[0].argmax(1) == pixels)[inside].float().mean().item(), ((out[1] > 0) == (present > 0)).all(1).float().mean().item(),
                          6 * (out[2] - place)[:, :2].norm(dim=1).mean().item(), ((model.resemblance(out[3]) > 0) == (present > 0)).all(1).float().mean().item()])
    return found


def export(model, path, notes):
    import onnx

    torch.onnx.export(model, torch.zeros(2, 1, 28, 28), path, opset_version=OPSET, do_constant_folding=True, input_names=["image"], output_names=OUTPUTS,
                      dynamic_axes={name: {0: "n"} for name in ["image"] + OUTPUTS})
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    onnx.helper.set_model_props(graph, notes)
    onnx.save(graph, path)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--epochs", type=int, default=8)
    p.add_argument("--output", default=str(pathlib.Path(__file__).parent / "heads.onnx"))
    o = p.parse_args()
    torch.set_num_threads(1)
    model, seconds = train(o.seed, o.epochs)
    for what, numbers in zip(("clean", "triggered"), measure(model)):
        print(what, " ".join(f"{name} {v:.3f}" for name, v in zip(OUTPUTS, numbers)))
    export(model, o.output, {"model": "heads", "seed": str(o.seed), "epochs": str(o.epochs), "training_seconds": f"{seconds:.0f}"})
