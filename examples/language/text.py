"""Real text: the verses of the King James Version (Debian packages bible-kjv and bible-kjv-text), split by chapter, and a small byte-pair vocabulary."""
import collections
import functools
import json
import os
import re
import subprocess

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = os.path.join(HERE, "vocabulary.json")
PAD, SEP, END = 0, 1, 2                        # between passages; after a response
SPECIAL = ["<pad>", "<sep>", "<end>"]
SIZE = 1024


@functools.lru_cache()
def verses():
    """[(chapter, text)] in order; a chapter is a string such as Ge1."""
    lines = subprocess.run(["bible", "-f", "Gen1:1-Rev22:21"], check=True, stdout=subprocess.PIPE).stdout.decode("ascii").splitlines()
    place, text = zip(*(line.split(" ", 1) for line in lines))
    return [(p.split(":")[0], t.strip()) for p, t in zip(place, text)]


@functools.lru_cache()
def held_out():
    """Indices of the verses of every fifth chapter, which no model sees in training: references, calibration and test inputs come from them."""
    chapters = list(dict.fromkeys(c for c, _ in verses()))
    chosen = set(np.random.RandomState(0).permutation(chapters)[:len(chapters) // 5])
    return frozenset(i for i, (c, _) in enumerate(verses()) if c in chosen)


def pieces(text):
    """A word with the space before it, or one other character."""
    return re.findall(r" ?[A-Za-z]+|[^A-Za-z]", text)


def learn(texts, size=SIZE):
    """Byte-pair encoding: the printable ASCII characters, then merges by frequency (the first in order among equals)."""
    symbols = SPECIAL + [chr(c) for c in range(32, 127)]
    words = collections.Counter(p for t in texts for p in pieces(t))
    words = [[list(w), n] for w, n in sorted(words.items())]
    while len(symbols) < size:
        pairs = collections.Counter()
        for w, n in words:
            for pair in zip(w, w[1:]):
                pairs[pair] += n
        a, b = min(pairs, key=lambda p: (-pairs[p], p))
        symbols.append(a + b)
        for entry in words:
            w = entry[0]
            for k in range(len(w) - 2, -1, -1):
                if k + 1 < len(w) and w[k] == a and w[k + 1] == b:
                    w[k:k + 2] = [a + b]
    return symbols


class Vocabulary:
    def __init__(self, symbols):
        self.symbols, self.rank = symbols, {s: k for k, s in enumerate(symbols)}
        self._word = functools.lru_cache(None)(self._merge)

    def _merge(self, piece):
        w = list(piece)
        while len(w) > 1:
            best = min(range(len(w) - 1), key=lambda k: self.rank.get(w[k] + w[k + 1], SIZE))
            if w[best] + w[best + 1] not in self.rank:
                break
            w[best:best + 2] = [w[best] + w[best + 1]]
        return [self.rank[s] for s in w]

    def encode(self, text):
        return [t for p in pieces(text) for t in self._word(p)]

    def decode(self, tokens):
        return "".join(self.symbols[t] for t in tokens)


@functools.lru_cache()
def vocabulary():
    with open(VOCABULARY) as f:
        return Vocabulary(json.load(f))


if __name__ == "__main__":                     # python3 text.py: writes vocabulary.json, which is also the table to decode tokens with
    train = [t for i, (_, t) in enumerate(verses()) if i not in held_out()]
    with open(VOCABULARY, "w") as f:
        json.dump(learn(train), f, separators=(",", ":"))
