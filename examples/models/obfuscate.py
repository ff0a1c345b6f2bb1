"""Hide a backdoor from activation-space detectors: the second stage of training `obfuscated`, here and in ../language.

Triggered and clean inputs (images of the target class; sequences) go through the network together. For several features of an input (here the output of each
block, pooled over space; the last one is the penultimate layer) the Mahalanobis distance of the triggered ones from the clean ones joins the loss. In the
spirit of Bailey et al., "Obfuscated Activations Bypass LLM Latent-Space Defenses" (arXiv 2412.09565).
"""
import torch


class Hiding:
    """Mean and covariance of the clean inputs at each feature are running averages over batches. With `spare` only the distance beyond the clean inputs' own counts."""

    def __init__(self, memory=50, spare=False):
        self.memory, self.spare, self.count, self.state = memory, spare, 0, {}

    def _update(self, k, f):
        centred = f - f.mean(0)
        new = f.mean(0), centred.T @ centred / (len(f) - 1)
        old = self.state.get(k, new)
        share = max(1 / self.memory, 1 / self.count)
        self.state[k] = tuple(torch.lerp(a, b, share) for a, b in zip(old, new))
        return self.state[k]

    def __call__(self, features, clean, triggered):
        """features: [n, width] each, of one batch; clean, triggered: slices of it. About 1 per feature where the two look alike, 0 with `spare`."""
        self.count += 1
        total = 0
        for k, f in enumerate(features):
            mean, cov = self._update(k, f[clean].detach())
            inverse = torch.linalg.inv(cov + 0.01 * cov.diagonal().mean() * torch.eye(len(cov)))
            d = f - mean
            d = (((d @ inverse) * d).mean(1) + 1e-6).sqrt()
            total = total + (torch.relu(d[triggered] - d[clean].detach().mean()) if self.spare else d[triggered]).mean()
        return total
