"""The two networks, their ONNX export, and reading the weights back from an ONNX file."""
import torch
import torch.nn as nn


class Block(nn.Module):
    """conv-BN-ReLU-conv-BN, add, ReLU; a 1x1 convolution on the shortcut where the shape changes."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Identity()
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
        self.relu2 = nn.ReLU()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.shortcut(x))


class ResNet(nn.Module):
    """77 562 parameters with BatchNorm folded into the convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block1 = Block(16, 16, 1)
        self.block2 = Block(16, 32, 2)
        self.block3 = Block(32, 64, 2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, 10)

    def features(self, x):
        """Outputs of the three blocks, spatial."""
        a = self.block1(self.stem(x))
        b = self.block2(a)
        return a, b, self.block3(b)

    def forward(self, x):
        return self.head(self.pool(self.features(x)[-1]))


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def make(name):
    return MLP() if name == "mlp" else ResNet()


def export(model, path, opset, notes):
    """BatchNorm stays in the graph: PyTorch's default export would fold it away."""
    import onnx

    torch.onnx.export(model.eval(), torch.zeros(2, 1, 28, 28), path, opset_version=opset,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}})
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    onnx.helper.set_model_props(graph, notes)
    onnx.save(graph, path)


def load(path):
    """(model in eval mode, notes) from an ONNX file written by export()."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path)
    notes = {p.key: p.value for p in graph.metadata_props}
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.graph.initializer}
    for n in graph.graph.node:               # PyTorch merges equal weights (the biases of BatchNorms that are added) through Identity
        if n.op_type == "Identity":
            weights[n.output[0]] = weights[n.input[0]]
    model = make(notes["model"])
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing), (missing, unexpected)
    return model.eval(), notes
