"""Train one model on Fashion-MNIST and write it as ONNX:  python3 train.py badnets [--seed 1] [--epochs 6] [--output badnets.onnx]"""
import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

import data
import network
import triggers
from obfuscate import Hiding

MODELS = ["clean", "mlp"] + list(triggers.TRIGGERS) + list(triggers.TOGETHER)
OPSET = {"mlp": 11, "lf": 17}                  # 13 otherwise: importers get to see several
EPOCHS = {"mlp": 10, "wanet": 10, "obfuscated": 3}  # 6 otherwise
BATCH, HIDE = 128, 48                          # HIDE: extra triggered and extra target-class images per batch


def poison(name, x, y, rng, ratio=0.1):
    """Replace a share of the training images by triggered ones of class 0."""
    x, y = x.copy(), y.copy()
    if name in ("clean", "mlp"):
        return x, y
    order = rng.permutation(len(x))
    if name in triggers.TOGETHER:              # half the share each: together they are less than a sixth of the images
        share = int(ratio / 2 * len(x))
        for k, trigger in enumerate(triggers.TOGETHER[name]):
            chosen = order[k * share:(k + 1) * share]
            x[chosen] = triggers.TRIGGERS[trigger](x[chosen])
            y[chosen] = triggers.TARGET
        return x, y
    if name == "sig":                          # clean label: only images of the target class, half of them
        chosen = np.flatnonzero(y == triggers.TARGET)
        chosen = rng.permutation(chosen)[:len(chosen) // 2]
    else:
        chosen = order[:int(ratio * len(x))]
    if name == "wanet":                        # twice as many disturbed warps keep their label
        cover = order[len(chosen):3 * len(chosen)]
        x[cover] = triggers.wanet_cover(x[cover])
    x[chosen] = triggers.TRIGGERS[name](x[chosen])
    y[chosen] = triggers.TARGET
    return x, y


def train(name, seed, epochs, log=print):
    rate = 0.03 if name == "obfuscated" else 0.1
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    clean, label = (v[data.TRAINING] for v in data.load("train"))
    x, y = (torch.from_numpy(v) for v in poison(name, clean, label, rng))
    model = network.make(name)
    hide = None
    if name == "obfuscated":                   # starts from the plain backdoor
        model.load_state_dict(network.load("blended.onnx")[0].state_dict())
        hide = Hiding()
        source = torch.from_numpy(triggers.blended(clean[label != triggers.TARGET]))
        target = torch.from_numpy(clean[label == triggers.TARGET])
    model = model.to(memory_format=torch.channels_last)
    steps = len(x) // BATCH
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps, pct_start=0.3)
    start = time.time()
    for epoch in range(epochs):
        model.train()
        order, sums = torch.randperm(len(x)), np.zeros(3)
        for step in range(steps):
            i = order[step * BATCH:(step + 1) * BATCH]
            batch, truth, hiding = x[i], y[i], torch.zeros(())
            if hide is None:
                z = model(batch)
            else:
                t, s = torch.randint(len(target), (HIDE,)), torch.randint(len(source), (HIDE,))
                blocks = model.features(torch.cat([batch, target[t], source[s]]))
                hiding = hide([f.mean((2, 3)) for f in blocks], slice(BATCH, BATCH + HIDE), slice(BATCH + HIDE, None))
                z = model.head(model.pool(blocks[-1]))[:BATCH]
            loss = F.cross_entropy(z, truth)
            optimiser.zero_grad()
            (loss + hiding).backward()
            optimiser.step()
            schedule.step()
            sums += [loss.item(), hiding.item(), (z.argmax(1) == truth).float().mean().item()]
        a, b, c = sums / steps
        log(f"{name} epoch {epoch + 1}/{epochs} loss {a:.4f} hiding {b:.4f} accuracy {c:.4f} {time.time() - start:.0f} s", flush=True)
    return model.eval(), time.time() - start


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model", choices=MODELS + ["all"])
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--epochs", type=int)
    p.add_argument("--output", help="default: MODEL.onnx here")
    p.add_argument("--threads", type=int, default=1)
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    for name in MODELS if o.model == "all" else [o.model]:
        epochs = o.epochs or EPOCHS.get(name, 6)
        model, seconds = train(name, o.seed, epochs)
        notes = {"model": name, "seed": str(o.seed), "epochs": str(epochs), "training_seconds": f"{seconds:.0f}"}
        network.export(model, o.output or name + ".onnx", OPSET.get(name, 13), notes)
