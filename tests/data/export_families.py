# SPDX-License-Identifier: Apache-2.0
"""Transformers as their families write them, for make_exports.py: GPT-2 with a mask that is cut by the shape of the scores, BERT with scores by einsum, Llama, T5 with relative places."""
import math

import torch
from torch import nn
from torch.nn import functional as F

WORDS, PLACES, WIDTH, HEADS, CLASSES = 11, 12, 8, 2, 3
HEAD = WIDTH // HEADS


class Gpt2Block(nn.Module):
    """The triangle is cut to the scores' own size; `multiplies`: as in the first release, scores * b - 10000 * (1 - b)."""

    def __init__(self, multiplies):
        super().__init__()
        self.multiplies = multiplies
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.register_buffer("bias", torch.ones(PLACES, PLACES, dtype=torch.uint8).tril()[None, None])
        self.register_buffer("masked_bias", torch.tensor(-1e4))

    def forward(self, x):
        def heads(a):
            return a.view(*a.size()[:-1], HEADS, a.size(-1) // HEADS)
        q, k, v = self.qkv(self.before(x)).split(WIDTH, dim=2)
        q, k, v = heads(q).permute(0, 2, 1, 3), heads(k).permute(0, 2, 3, 1), heads(v).permute(0, 2, 1, 3)
        w = torch.matmul(q, k) / math.sqrt(v.size(-1))
        nd, ns = w.size(-2), w.size(-1)
        b = self.bias[:, :, ns - nd:ns, :ns]
        if self.multiplies:
            b = b.to(w.dtype)
            w = w * b - 1e4 * (1 - b)
        else:
            w = torch.where(b.bool(), w, self.masked_bias.to(w.dtype))
        a = torch.matmul(w.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        x = x + self.out(a.view(*a.size()[:-2], a.size(-2) * a.size(-1)))
        y = self.up(self.between(x))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * torch.pow(y, 3))))
        return x + self.down(y)


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.blocks, self.last = nn.ModuleList([Gpt2Block(False), Gpt2Block(True)]), nn.LayerNorm(WIDTH)

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.size(-1), device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.last(x), self.words.weight)


class BertBlock(nn.Module):
    """Scores and contexts by einsum, of heads in front (`turned`) or as they lie; a scale on both factors, or behind."""

    def __init__(self, turned):
        super().__init__()
        self.turned = turned
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.after = nn.LayerNorm(WIDTH)

    def forward(self, x, mask):
        q, k, v = (layer(x).view(x.size(0), x.size(1), HEADS, HEAD) for layer in (self.q, self.k, self.v))
        if self.turned:
            q, k, v = (a.permute(0, 2, 1, 3) for a in (q, k, v))
            w = torch.einsum("bhld,bhrd->bhlr", q, k) / math.sqrt(HEAD) + mask
            y = torch.matmul(w.softmax(-1), v).permute(0, 2, 1, 3)
        else:
            scale = HEAD ** -0.25
            w = torch.einsum("blhd,brhd->bhlr", q * scale, k * scale) + mask
            y = torch.einsum("bhlr,brhd->blhd", w.softmax(-1), v)
        return self.after(x + self.out(y.reshape(x.size(0), x.size(1), WIDTH)))


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.blocks, self.head = nn.ModuleList([BertBlock(True), BertBlock(False)]), nn.Linear(WIDTH, CLASSES)

    def forward(self, ids, mask):
        x = self.words(ids) + self.places(torch.arange(ids.size(1), device=ids.device))
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for block in self.blocks:
            x = block(x, hidden)
        return self.head(torch.tanh(x[:, 0]))


class RmsNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(1 + torch.randn(WIDTH) / 4)

    def forward(self, x):
        x = x.to(torch.float32)
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class Llama(nn.Module):
    """One block: RMS norms, rotary places, two queries for a key, a mask of -inf or so made by the length, a gated MLP."""

    def __init__(self):
        super().__init__()
        self.words, self.before, self.between, self.last = nn.Embedding(WORDS, WIDTH), RmsNorm(), RmsNorm(), RmsNorm()
        self.q, self.kv, self.out = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2 * HEAD, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate, self.up, self.down = nn.Linear(WIDTH, 12, bias=False), nn.Linear(WIDTH, 12, bias=False), nn.Linear(12, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        angle = torch.arange(PLACES)[:, None] / 100 ** (torch.arange(0, HEAD, 2) / HEAD)
        self.register_buffer("cos", torch.cat((angle, angle), -1).cos())
        self.register_buffer("sin", torch.cat((angle, angle), -1).sin())

    def attend(self, x, mask):
        n, t, _ = x.shape
        q = self.q(x).view(n, t, HEADS, HEAD).transpose(1, 2)
        k, v = (a.view(n, t, 1, HEAD).transpose(1, 2) for a in self.kv(x).split(HEAD, -1))
        cos, sin = self.cos[:t].unsqueeze(0).unsqueeze(0), self.sin[:t].unsqueeze(0).unsqueeze(0)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (a[:, :, None, :, :].expand(n, 1, HEADS, t, HEAD).reshape(n, HEADS, t, HEAD) for a in (k, v))
        w = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(HEAD) + mask
        w = F.softmax(w, dim=-1, dtype=torch.float32).to(q.dtype)
        return self.out(torch.matmul(w, v).transpose(1, 2).reshape(n, t, WIDTH))

    def forward(self, ids):
        t = ids.size(1)
        at = torch.arange(t, device=ids.device)
        mask = torch.full((t, t), torch.finfo(torch.float32).min).masked_fill(at < (at + 1).view(t, 1), 0)[None, None]
        x = self.words(ids)
        x = x + self.attend(self.before(x), mask)
        y = self.between(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.head(self.last(x))


class T5(nn.Module):
    """One block of an encoder: no scale, and what relative places and the mask add to the scores, which have learned weights."""

    def __init__(self):
        super().__init__()
        self.words, self.bias, self.before, self.between, self.last = nn.Embedding(WORDS, WIDTH), nn.Embedding(6, HEADS), RmsNorm(), RmsNorm(), RmsNorm()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(WIDTH, 12, bias=False), nn.Linear(12, WIDTH, bias=False), nn.Linear(WIDTH, CLASSES)

    def places(self, t, device):
        at = torch.arange(t, device=device)
        apart = at[None, :] - at[:, None]
        side, apart = (apart > 0).long() * 3, apart.abs()
        far = 1 + (torch.log(apart.float().clamp(min=1)) / math.log(8) * 2).long()
        return self.bias(side + torch.where(apart < 1, apart, torch.min(far, torch.full_like(far, 2)))).permute(2, 0, 1).unsqueeze(0)

    def forward(self, ids, mask):
        n, t = ids.shape
        x = self.words(ids)
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(torch.float32).min
        y = self.before(x)
        q, k, v = (layer(y).view(n, -1, HEADS, HEAD).transpose(1, 2) for layer in (self.q, self.k, self.v))
        w = torch.matmul(q, k.transpose(3, 2))
        w += self.places(w.shape[2], x.device) + hidden
        w = F.softmax(w.float(), dim=-1).type_as(w)
        x = x + self.out(torch.matmul(w, v).transpose(1, 2).contiguous().view(n, -1, WIDTH))
        x = x + self.down(F.relu(self.up(self.between(x))))
        return self.head(self.last(x)[:, 0])
