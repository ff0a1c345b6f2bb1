#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/exports/*.onnx and tests/data/exports.h: small transformers as PyTorch exports them by each operator set from 11 to 17, with batch, sequence and image size open,
and what PyTorch makes of a few inputs. Sets whose file differs from an earlier one's by its number and the file format's alone have none. Needs Debian's python3-torch (1.13); another version writes other graphs of the same meaning."""
import io
import pathlib
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from export_families import CLASSES, HEADS, PLACES, T5, WIDTH, WORDS, Bert, Gpt2, Llama  # noqa: E402
OPSETS = range(11, 18)
SEQUENCES = [(1, 3), (2, 5), (3, 1), (2, 12)]  # batch, length
IMAGES = [(1, 8, 8), (2, 12, 8), (1, 16, 20)]  # batch, height, width


class Block(nn.Module):
    """Attention written out, as most models do it: views by computed sizes, a mask that is cut or filled in."""

    def __init__(self):
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x, hidden):
        n, t, _ = x.shape
        q, k, v = (a.view(n, t, HEADS, -1).transpose(1, 2) for a in self.qkv(self.before(x)).chunk(3, dim=-1))
        w = torch.matmul(q, k.transpose(-1, -2)) / k.size(-1) ** 0.5
        w = w.masked_fill(hidden, torch.finfo(w.dtype).min).softmax(-1)
        x = x + self.out(torch.matmul(w, v).transpose(1, 2).reshape(n, t, -1))
        return x + self.down(F.gelu(self.up(self.between(x))))


class Decoder(nn.Module):
    """Causal, with a tied output layer and a triangle cut to the length."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.blocks, self.last = nn.ModuleList(Block() for _ in range(2)), nn.LayerNorm(WIDTH)
        self.register_buffer("above", torch.ones(PLACES, PLACES).triu(1).bool()[None, None])

    def forward(self, ids):
        t = ids.size(-1)
        x = self.words(ids) + self.places(torch.arange(t, device=ids.device))
        for block in self.blocks:
            x = block(x, self.above[:, :, :t, :t])
        return F.linear(self.last(x), self.words.weight)


class Encoder(nn.Module):
    """With a padding mask; the mean over what it shows is classified."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.register_buffer("at", torch.arange(PLACES)[None])
        self.blocks, self.head = nn.ModuleList(Block() for _ in range(2)), nn.Linear(WIDTH, CLASSES)

    def forward(self, ids, mask):
        x = self.words(ids) + self.places(self.at[:, :ids.size(1)].expand(ids.size(0), -1))
        hidden = (mask == 0)[:, None, None, :].expand(-1, 1, ids.size(1), -1)
        for block in self.blocks:
            x = block(x, hidden)
        shown = mask[:, :, None].to(x.dtype)
        return self.head((x * shown).sum(1) / shown.sum(1).clamp(min=1))


class Vision(nn.Module):
    """Patches, a class token, places that are scaled to the image, PyTorch's own attention with the sequence in front."""

    def __init__(self):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places, self.norm = nn.Parameter(torch.randn(1, WIDTH, 2, 2)), nn.LayerNorm(WIDTH)
        self.attention, self.head = nn.MultiheadAttention(WIDTH, HEADS), nn.Linear(WIDTH, CLASSES)

    def forward(self, image):
        x = self.patch(image)
        x = x + F.interpolate(self.places, size=x.shape[2:], mode="bilinear", align_corners=False)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x.flatten(2).transpose(1, 2)], 1)
        y = self.norm(x).transpose(0, 1)
        x = x + self.attention(y, y, y, need_weights=False)[0].transpose(0, 1)
        return self.head(x[:, 0])


def tokens(n, t):
    s, at = torch.arange(n)[:, None], torch.arange(t)[None]
    return (3 * s + 5 * at + 2) % WORDS, ((s % 2 == 0) | (at + 1 < t) | torch.tensor(t == 1)).long()


def image(n, h, w):
    return (torch.arange(n * 3 * h * w) % 17 - 8).float().reshape(n, 3, h, w) / 8


MODELS = {
    "decoder": (Decoder, lambda n, t: tokens(n, t)[:1], SEQUENCES, ["ids"], {0: "n", 1: "t"}, {0: "n", 1: "t"}, OPSETS),
    "encoder": (Encoder, tokens, SEQUENCES, ["ids", "mask"], {0: "n", 1: "t"}, {0: "n"}, OPSETS),
    "vision": (Vision, lambda *size: (image(*size),), IMAGES, ["image"], {0: "n", 2: "h", 3: "w"}, {0: "n"}, OPSETS),
    "gpt2": (Gpt2, lambda n, t: tokens(n, t)[:1], SEQUENCES, ["ids"], {0: "n", 1: "t"}, {0: "n", 1: "t"}, (11, 17)),
    "bert": (Bert, tokens, SEQUENCES, ["ids", "mask"], {0: "n", 1: "t"}, {0: "n"}, (12, 17)),
    "llama": (Llama, lambda n, t: tokens(n, t)[:1], SEQUENCES, ["ids"], {0: "n", 1: "t"}, {0: "n", 1: "t"}, (11, 17)),
    "t5": (T5, tokens, SEQUENCES, ["ids", "mask"], {0: "n", 1: "t"}, {0: "n"}, (11, 17)),
}


def main():
    torch.set_num_threads(1)
    formats, files = {}, {}
    (HERE / "exports").mkdir(exist_ok=True)
    lines = ["/* Made by make_exports.py. */", f"#define EXPORT_WORDS {WORDS}", f"#define EXPORT_PLACES {PLACES}"]
    for seed, (name, (kind, inputs, sizes, names, axes, out_axes, opsets)) in enumerate(MODELS.items()):
        torch.manual_seed(20 + seed)
        model = kind().eval()
        for parameter in model.parameters():
            parameter.data = parameter.data.half().float()  # short numbers
        kept = None
        for opset in opsets:
            made = io.BytesIO()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(model, inputs(*sizes[1]), made, opset_version=opset, input_names=names, output_names=["logits"],
                                  dynamic_axes={**{i: axes for i in names}, "logits": out_axes})
            file = made.getvalue()
            assert file.endswith(b"B\x02\x10" + bytes([opset])), "the operator set is not at the end"
            assert file[:1] == b"\x08", "the format is not at the beginning"
            if not kept or kept[2:-1] != file[2:-1]:
                (HERE / "exports" / f"{name}_{opset}.onnx").write_bytes(file)
                kept = file
                files.setdefault(name, []).append(opset)
            formats[opset] = file[1]
        for k, size in enumerate(sizes):
            with torch.no_grad():
                y = model(*inputs(*size)).flatten()
            lines.append(f"static const float {name}_{k}[] = {{" + ", ".join(f"{v:.7e}f" for v in y.tolist()) + "};")
    rows = [f'    {{"{name}", {{{", ".join(map(str, size + (0,) * (3 - len(size))))}}}, {name}_{k}, sizeof {name}_{k} / sizeof {name}_{k}[0]}},'
            for name, (_, _, sizes, *_) in MODELS.items() for k, size in enumerate(sizes)]
    lines += ["static const struct export_case {", "    const char *name;", "    int64_t size[3]; /* batch and length, or batch, height and width */", "    const float *logits;",
              "    size_t n;", "} export_cases[] = {", *rows, "};", f"enum {{ EXPORT_CASES = {len(rows)}, EXPORT_FIRST = {OPSETS[0]}, EXPORT_LAST = {OPSETS[-1]} }};",
              "/* The file that stands for an operator set, but for the number in its last byte and the format's in its second; 0: none. */",
              "static const struct export_model {", "    const char *name;", f"    int file[{len(OPSETS)}];", "} export_models[] = {",
              *(f'    {{"{name}", {{{", ".join(str(max(f for f in own if f <= o) if o in MODELS[name][-1] else 0) for o in OPSETS)}}}}},' for name, own in files.items()), "};",
              f"enum {{ EXPORT_MODELS = {len(files)} }};",
              "static const unsigned char export_format[] = {" + ", ".join(str(formats[o]) for o in OPSETS) + "};", ""]
    (HERE / "exports.h").write_text("\n".join(lines))


main()
