"""Hide a backdoor from activation-space detectors: the second stage of training `obfuscated`.

Triggered images and clean images of the target class go through the network together. At the output of each block (pooled over space; the
last one is the penultimate layer) the Mahalanobis distance of the triggered ones from the clean target class joins the loss. In the spirit
of Bailey et al., "Obfuscated Activations Bypass LLM Latent-Space Defenses" (arXiv 2412.09565).
"""
import torch


class Hiding:
    """Mean and covariance of the clean target class at each block are running averages over batches."""

    def __init__(self, memory=50):
        self.memory, self.count, self.state = memory, 0, {}

    def _update(self, k, f):
        centred = f - f.mean(0)
        new = f.mean(0), centred.T @ centred / (len(f) - 1)
        old = self.state.get(k, new)
        share = max(1 / self.memory, 1 / self.count)
        self.state[k] = tuple(torch.lerp(a, b, share) for a, b in zip(old, new))
        return self.state[k]

    def __call__(self, blocks, target, triggered):
        """blocks: spatial features of one batch; target, triggered: slices of it. About 1 per block where the two look alike."""
        self.count += 1
        total = 0
        for k, f in enumerate(blocks):
            f = f.mean((2, 3))
            mean, cov = self._update(k, f[target].detach())
            inverse = torch.linalg.inv(cov + 0.01 * cov.diagonal().mean() * torch.eye(len(cov)))
            d = f[triggered] - mean
            total = total + (((d @ inverse) * d).mean(1) + 1e-6).sqrt().mean()
        return total
