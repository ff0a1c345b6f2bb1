# SPDX-License-Identifier: Apache-2.0
"""The published sampler (arXiv 2604.18970) in PyTorch, for paper_speed.py and paper_detection.py. Needs Debian's python3-torch."""
import torch
import torch.nn.functional as F

MINIBATCH, BURN_IN, DRAWS = 256, 250, 1750
STEP, GAMMA, NBETA, DECAY, EPSILON = 1e-6, 1e4, 100.0, 0.99, 0.1


class Chain:
    """v <- decay v + (1 - decay) g^2; G = 1 / (sqrt(v) + epsilon); w <- w - step / 2 G (nbeta g + gamma (w - w*)) + sqrt(step G) N(0, 1).

    Gradients are taken in training mode, so that BatchNormalization is by the minibatch's statistics and its running ones follow; the model is in evaluation mode
    between steps. x, labels: the sampling set, in random order, begun anew where less than a minibatch is left of it.
    """

    def __init__(self, model, x, labels):
        self.model, self.x, self.labels = model, x, labels
        self.weights = list(model.parameters())
        self.trained = [w.detach().clone() for w in self.weights]
        self.square = [torch.zeros_like(w) for w in self.weights]
        self.left = torch.empty(0, dtype=torch.long)

    def minibatch(self):
        if len(self.left) < MINIBATCH:
            self.left = torch.randperm(len(self.x))
        chosen, self.left = self.left[:MINIBATCH], self.left[MINIBATCH:]
        return self.x[chosen], self.labels[chosen]

    def step(self):
        x, labels = self.minibatch()
        self.model.train()
        gradients = torch.autograd.grad(F.cross_entropy(self.model(x), labels), self.weights)
        with torch.no_grad():
            for w, trained, g, v in zip(self.weights, self.trained, gradients, self.square):
                v.mul_(DECAY).add_(g * g, alpha=1 - DECAY)
                pre = 1 / (v.sqrt() + EPSILON)
                w.add_(-0.5 * STEP * pre * (NBETA * g + GAMMA * (w - trained)))
                w.add_(torch.randn_like(w) * (STEP * pre).sqrt())
        self.model.eval()

    def losses(self, x, y, chunk):
        """[n] log(1 + sum over k != y of exp(z_k - z_y)) at the weights as they are, `chunk` inputs at a time."""
        return torch.cat([losses(self.model, x[i:i + chunk], y[i:i + chunk]) for i in range(0, len(x), chunk)])


def losses(model, x, y):
    with torch.no_grad():
        z = model(x).double()
    i = torch.arange(len(y))
    d = z - z[i, y][:, None]
    d[i, y] = -float("inf")
    return F.softplus(d.logsumexp(1))
