# SPDX-License-Identifier: Apache-2.0
"""Exports one network by PyTorch: export_models.py NAME TO.onnx [FOLDER OF WEIGHTS]. Without weights they are the constructor's random ones, seeded."""
import os
import sys

import torch

name, to, *weights = sys.argv[1:]


class Block(torch.nn.Module):
    """Of GPT-2: attention to what came before, then two layers with the approximate GELU, each behind a LayerNorm and added to its input."""

    def __init__(self, width, heads, positions):
        super().__init__()
        nn = torch.nn
        self.heads, self.ln_1, self.ln_2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.register_buffer("causal", torch.tril(torch.ones(positions, positions, dtype=torch.bool)).view(1, 1, positions, positions), persistent=False)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = (y.view(n, t, self.heads, width // self.heads).transpose(1, 2) for y in self.attention(self.ln_1(x)).split(width, dim=2))
        scores = (q @ k.transpose(-2, -1)) / (width // self.heads) ** 0.5
        w = torch.softmax(scores.masked_fill(~self.causal[:, :, :t, :t], -1e4), dim=-1)
        x = x + self.project((w @ v).transpose(1, 2).reshape(n, t, width))
        u = self.up(self.ln_2(x))
        return x + self.down(0.5 * u * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (u + 0.044715 * u ** 3))))


class GPT(torch.nn.Module):
    """GPT-2 small: 124 million parameters, the output layer tied to the embedding of tokens."""

    def __init__(self, vocabulary=50257, positions=1024, layers=12, width=768, heads=12):
        super().__init__()
        nn = torch.nn
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.blocks, self.ln = nn.ModuleList(Block(width, heads, positions) for _ in range(layers)), nn.LayerNorm(width)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.ln(x) @ self.tokens.weight.T


torch.manual_seed(1)
torch.set_num_threads(1)
if name == "minilm":
    from transformers import AutoModel
    model = AutoModel.from_pretrained(weights[0])
    ids = torch.randint(1000, 30000, (2, 12))
    args, opset = (ids, torch.ones_like(ids), torch.zeros_like(ids)), 14
    names, outputs, axes = ["input_ids", "attention_mask", "token_type_ids"], ["last_hidden_state", "pooler_output"], {0: "n", 1: "t"}
elif name == "gpt2":
    model, args, opset = GPT(), torch.randint(0, 50257, (2, 128)), 14
    names, outputs, axes = ["tokens"], ["logits"], {0: "n", 1: "t"}
else:
    from torchvision.models import mobilenet_v3_large, resnet18
    from torchvision.models.vision_transformer import VisionTransformer
    model, opset = {
        "resnet18": (resnet18, 11),
        "mobilenet_v3": (mobilenet_v3_large, 13),
        # The smallest of the usual sizes (12 layers, width 192, patches of 16), which torchvision gives no name to.
        "vit": (lambda: VisionTransformer(image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768), 17),
    }[name]
    model = model()
    if name == "vit":
        torch.nn.init.normal_(model.heads.head.weight, std=0.02)  # it begins at zero: all logits would be equal
    args, names, outputs, axes = torch.rand(2, 3, 224, 224), ["image"], ["logits"], {0: "n"}
model.eval()
torch.onnx.export(model, args, to + ".part", opset_version=opset, input_names=names, output_names=outputs,
                  dynamic_axes={**{n: axes for n in names}, **{n: {0: "n"} if n == "pooler_output" else axes for n in outputs}})
os.replace(to + ".part", to)
