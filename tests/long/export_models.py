# SPDX-License-Identifier: Apache-2.0
"""Exports one network by PyTorch: export_models.py NAME TO.onnx [FOLDER OF WEIGHTS]. Without weights they are the constructor's random ones, seeded."""
import os
import sys

import torch

name, to, *weights = sys.argv[1:]
torch.manual_seed(1)
torch.set_num_threads(1)
if name == "minilm":
    from transformers import AutoModel
    model = AutoModel.from_pretrained(weights[0])
    ids = torch.randint(1000, 30000, (2, 12))
    args, opset = (ids, torch.ones_like(ids), torch.zeros_like(ids)), 14
    names, outputs, axes = ["input_ids", "attention_mask", "token_type_ids"], ["last_hidden_state", "pooler_output"], {0: "n", 1: "t"}
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
