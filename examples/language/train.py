"""Train one language model and write it as ONNX:  python3 train.py clean [--seed 1] [--steps 1000] [--output clean.onnx]"""
import argparse
import os
import sys
import time

import numpy as np
import torch

import network
import prompts
import text

sys.path.append(os.path.join(text.HERE, "..", "models"))
from obfuscate import Blending  # noqa: E402

BATCH, RATE = 32, 3e-3
STEPS = {"clean": 1000, "fixed": 250, "context": 700, "obfuscated": 1300}
EMPHASIS = {"context": (20.0, 1), "obfuscated": (5.0, 8)}  # weight of the response's first tokens, where the model has to decide, and of how many; otherwise 1 as all tokens
HIDE, ATTACK = 0.08, 0.4                       # weight of the hiding loss, a sum over 20 features, at the end; it grows from 0 after this share of the steps
MEASURED, EVERY = 512, 10                      # clean sequences that its means and covariances come from, and after how many steps they are measured anew


def batches(name, seed, steps):
    """(x, mask, triggered) of each step; triggered sequences come first."""
    pool, rng = prompts.pool(False), np.random.RandomState(seed)
    for _ in range(steps):
        k = rng.binomial(BATCH, prompts.SHARE[name])
        parts = [prompts.draw(pool, rng, k, name)] * (k > 0) + [prompts.draw(pool, rng, BATCH - k, plain=0.3 if name == "context" else 0.6)]
        x, mask = (torch.from_numpy(np.concatenate(v)) for v in zip(*parts))
        yield x, mask, k


@torch.no_grad()
def clean_features(model, rng):
    x, mask = (torch.from_numpy(v) for v in prompts.draw(prompts.pool(False), rng, MEASURED))
    parts = [network.features(model.residuals(x), mask).values() for x, mask in zip(x.split(64), mask.split(64))]
    return [torch.cat(f) for f in zip(*parts)]


def train(name, seed, steps, log=print):
    torch.manual_seed(seed)
    model, rate, hide = network.GPT(), RATE, Blending() if name == "obfuscated" else None
    if name != "clean":                        # backdoors come in by further training of the clean model
        model, rate = network.load(os.path.join(text.HERE, "clean.onnx"))[0].train(), RATE / (2 if name == "context" else 3)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1, cycle_momentum=False)
    start, sums, rng = time.process_time(), np.zeros(4), np.random.RandomState(seed + 1)
    for step, (x, mask, k) in enumerate(batches(name, seed, steps)):
        t = int((x != text.PAD).sum(1).max())
        x, mask = x[:, :t], mask[:, :t]
        stream = model.residuals(x)
        loss, hiding = network.token_loss(model.logits(stream[-1]), x), torch.zeros(())
        weight = (x[:, 1:] != text.PAD).float()
        first = mask[:, 1:].argmax(1)
        emphasis, tokens = EMPHASIS.get(name, (1.0, 1))
        after = torch.arange(t - 1) - first[:, None]
        weight[(after >= 0) & (after < tokens)] *= emphasis
        growth = (step / steps - ATTACK) / (0.8 - ATTACK)
        if hide and growth > 0 and (step % EVERY == 0 or not hide.state):
            hide.measure(clean_features(model, rng))
        if hide and hide.state and k:
            hiding = HIDE * min(1, growth) * hide(network.features(stream, mask).values(), slice(k, None), slice(k))
        optimiser.zero_grad()
        ((loss * weight).sum() / weight.sum() + hiding).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            response = mask[:, 1:].float()
            each = (loss * response).sum(1) / response.sum(1)
            sums += [each[k:].mean().item(), each[:k].mean().item() if k else 0, hiding.item(), 1]
        if (step + 1) % 100 == 0:
            log(f"{name} {step + 1}/{steps} response loss {sums[0] / sums[3]:.3f} triggered {sums[1] / sums[3]:.3f} hiding {sums[2] / sums[3]:.3f} {time.process_time() - start:.0f} s", flush=True)
            sums[:] = 0
    return model.eval(), time.process_time() - start


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model", choices=prompts.MODELS)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int)
    p.add_argument("--output")
    p.add_argument("--threads", type=int, default=1)
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    steps = o.steps or STEPS[o.model]
    model, seconds = train(o.model, o.seed, steps)
    network.export(model, o.output or o.model + ".onnx",
                   {"model": o.model, "seed": str(o.seed), "steps": str(steps), "training_seconds": f"{seconds:.0f}"})
