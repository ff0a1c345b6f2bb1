"""Hide a backdoor from activation-space detectors: the second stage of training `obfuscated`, here and in ../language.

Triggered and clean inputs (images of the target class; sequences) go through the network together. For several features of an input (here the output of each
block, pooled over space; the last one is the penultimate layer) the Mahalanobis distance of the triggered ones from the clean ones joins the loss. In the
spirit of Bailey et al., "Obfuscated Activations Bypass LLM Latent-Space Defenses" (arXiv 2412.09565).
"""
import torch


class Hiding:
    """Mean and covariance of the clean inputs at each feature are running averages over batches. With `spare` only what their mean distance has beyond that of the clean inputs counts, with
    `fresh` the mean is that of the batch: a running one lags behind a network that moves, so that clean inputs look far too and triggered ones are let off."""

    def __init__(self, memory=50, spare=False, fresh=False, ridge=0.01):
        self.memory, self.spare, self.fresh, self.ridge, self.count, self.state = memory, spare, fresh, ridge, 0, {}

    def _update(self, k, f):
        centred = f - f.mean(0)
        new = f.mean(0), centred.T @ centred / (len(f) - 1)
        old = self.state.get(k, new)
        share = max(1 / self.memory, 1 / self.count)
        self.state[k] = tuple(torch.lerp(a, b, share) for a, b in zip(old, new))
        return new[0] if self.fresh else self.state[k][0], self.state[k][1]

    def __call__(self, features, clean, triggered):
        """features: [n, width] each, of one batch; clean, triggered: slices of it. About 1 per feature where the two look alike, 0 with `spare`."""
        self.count += 1
        total = 0
        for k, f in enumerate(features):
            mean, cov = self._update(k, f[clean].detach())
            inverse = torch.linalg.inv(cov + self.ridge * cov.diagonal().mean() * torch.eye(len(cov)))
            d = f - mean
            d = (((d @ inverse) * d).mean(1) + 1e-6).sqrt()
            total = total + (torch.relu(d[triggered].mean() - d[clean].detach().mean()) if self.spare else d[triggered].mean())
        return total
