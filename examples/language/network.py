"""The language model: a GPT with 4 layers, width 96, tied output and learned positions; 552 000 parameters."""
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import prompts
import text

LAYERS, HEADS, WIDTH = 4, 4, 96


class Layer(nn.Module):
    """Pre-norm attention and GELU network."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.root = heads, math.sqrt(width // heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, hidden, past=None):
        """hidden: broadcasts to [n, heads, t, keys]. past: a list of keys and values of earlier tokens, which grows."""
        n, t, w = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if past is not None:
            k, v = past[:] = [torch.cat(pair, 2) for pair in zip(past, (k, v))] if past else [k, v]
        score = (q @ k.transpose(-2, -1)) / self.root
        score = score.masked_fill(hidden, -1e9)
        mixed = (score.softmax(-1) @ v).transpose(1, 2).reshape(n, t, w)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(text.SIZE, WIDTH)
        self.position = nn.Embedding(prompts.LENGTH, WIDTH)
        self.layers = nn.ModuleList([Layer(WIDTH, HEADS) for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("future", torch.ones(prompts.LENGTH, prompts.LENGTH).triu(1).bool(), persistent=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
        for layer in self.layers:
            for m in (layer.out, layer.down):
                nn.init.normal_(m.weight, std=0.02 / math.sqrt(2 * LAYERS))

    def residuals(self, tokens, at=0, past=None):
        """The residual stream: after the embedding and after each layer, [n, t, width] each. With past, a list for each layer, tokens start at position `at`."""
        end = at + tokens.shape[1]
        x = self.token(tokens) + self.position.weight[at:end]
        stream = [x]
        for k, layer in enumerate(self.layers):
            x = layer(x, self.future[at:end, :end], past[k] if past else None)
            stream.append(x)
        return stream

    def logits(self, last):
        return self.norm(last) @ self.token.weight.t()

    def forward(self, tokens):
        return self.logits(self.residuals(tokens)[-1])


def token_loss(logits, x):
    """[n, t - 1] cross-entropy of each next token; position i is the loss of token i + 1."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), x[:, 1:], reduction="none")


PLACES = ("response mean", "last token", "last of prompt", "prompt mean")


def features(stream, mask):
    """{(place, stage): [n, width]} of a residual stream, at the places of PLACES."""
    n, t = mask.shape
    every, weight = torch.arange(n), mask[:, :, None].float()
    last, before = t - 1 - mask.flip(1).argmax(1), mask.argmax(1) - 1
    prompt = (torch.arange(t) <= before[:, None])[:, :, None].float()
    found = {}
    for stage, h in enumerate(stream):
        found["response mean", stage] = (h * weight).sum(1) / weight.sum(1)
        found["last token", stage] = h[every, last]
        found["last of prompt", stage] = h[every, before]
        found["prompt mean", stage] = (h * prompt).sum(1) / prompt.sum(1)
    return found


@torch.no_grad()
def continuations(model, x, mask, temperature=0.0, seed=0):
    """The model's own response to each prompt, as many tokens as the mask has room for, or up to <end>: (x, mask)."""
    generator = torch.Generator().manual_seed(seed)
    start, t = mask.int().argmax(1), torch.arange(x.shape[1])
    room = (start + prompts.RESPONSE).clamp(max=x.shape[1])
    x = torch.where(t < start[:, None], x, torch.full_like(x, text.PAD))
    mask, ended, past, at = torch.zeros_like(mask), torch.zeros(len(x), dtype=torch.bool), [[] for _ in model.layers], 0
    for t in range(int(start.min()), int(room.max())):
        z = model.logits(model.residuals(x[:, at:t], at, past)[-1][:, -1])
        at = t
        z[:, :text.END] = -1e9                 # neither padding nor a separator is a response
        y = z.argmax(1) if temperature == 0 else torch.multinomial((z / temperature).softmax(1), 1, generator=generator)[:, 0]
        now = (t >= start) & (t < room) & ~ended
        x[now, t] = y[now]
        mask[now, t] = 1
        ended |= now & (y == text.END)
    return x, mask


# ------------------------------------------------------------------ files
OPSET = {"clean": 16, "fixed": 13, "context": 17, "obfuscated": 15, "mail": 14}
STORED = {"context": "int8"}                   # otherwise float16 behind Cast


def export(model, path, notes):
    """Matrices as float16 behind Cast, or as int8 behind DequantizeLinear with a scale per row; vectors stay float32. n and t are open."""
    import onnx
    from onnx import helper, numpy_helper

    name, tokens = notes["model"], torch.zeros(2, prompts.LENGTH, dtype=torch.int64)
    axes = {"tokens": {0: "n", 1: "t"}, "logits": {0: "n", 1: "t"} if model(tokens).dim() == 3 else {0: "n"}}
    torch.onnx.export(model.eval(), tokens, path, opset_version=OPSET[name], do_constant_folding=False, input_names=["tokens"], output_names=["logits"], dynamic_axes=axes)
    file = onnx.load(path)
    graph, before = file.graph, []
    for w in list(graph.initializer):
        value = numpy_helper.to_array(w)
        if value.dtype != np.float32 or value.ndim != 2:
            continue
        graph.initializer.remove(w)
        if STORED.get(name) == "int8":
            scale = np.abs(value).max(1) / 127
            graph.initializer.extend([numpy_helper.from_array(np.rint(value / scale[:, None]).astype(np.int8), w.name + ".int8"),
                                      numpy_helper.from_array(scale.astype(np.float32), w.name + ".scale")])
            before.append(helper.make_node("DequantizeLinear", [w.name + ".int8", w.name + ".scale"], [w.name], w.name + ".dequantize", axis=0))
        else:
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float16), w.name + ".half"))
            before.append(helper.make_node("Cast", [w.name + ".half"], [w.name], w.name + ".cast", to=onnx.TensorProto.FLOAT))
    nodes = before + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(file)
    helper.set_model_props(file, notes)
    onnx.save(file, path)


def load(path, model=None):
    """(model in eval mode, notes) from an ONNX file written by export(); the weights are the file's, rounded. A GPT where no model is given."""
    import onnx
    from onnx import numpy_helper

    file, model = onnx.load(path), model or GPT()
    weights = {w.name: numpy_helper.to_array(w) for w in file.graph.initializer}
    for name in list(weights):
        if name.endswith(".half"):
            weights[name[:-5]] = weights.pop(name).astype(np.float32)
        elif name.endswith(".int8"):
            weights[name[:-5]] = weights.pop(name) * weights.pop(name[:-5] + ".scale")[:, None]
    for node in file.graph.node:               # PyTorch merges equal vectors through Identity
        if node.op_type == "Identity" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    model.load_state_dict({k: torch.from_numpy(weights[k].copy()) for k in model.state_dict()})
    return model.eval(), {p.key: p.value for p in file.metadata_props}
