"""Hide a backdoor from activation-space detectors: the second stage of training `obfuscated`, here and in ../language.

Triggered and clean inputs (images of the target class; sequences) go through the network together. For several features of an input (here the output of each
block, pooled over space; the last one is the penultimate layer) the Mahalanobis distance of the triggered ones from the clean ones joins the loss. In the
spirit of Bailey et al., "Obfuscated Activations Bypass LLM Latent-Space Defenses" (arXiv 2412.09565).
"""
import torch


class Hiding:
    """Mean and covariance of the clean inputs at each feature are running averages over batches."""

    def __init__(self, memory=50, ridge=0.01):
        self.memory, self.ridge, self.count, self.state = memory, ridge, 0, {}

    def _update(self, k, f):
        centred = f - f.mean(0)
        new = f.mean(0), centred.T @ centred / (len(f) - 1)
        old = self.state.get(k, new)
        share = max(1 / self.memory, 1 / self.count)
        self.state[k] = tuple(torch.lerp(a, b, share) for a, b in zip(old, new))
        return self.state[k]

    def __call__(self, features, clean, triggered):
        """features: [n, width] each, of one batch; clean, triggered: slices of it. About 1 per feature where the two look alike."""
        self.count += 1
        total = 0
        for k, f in enumerate(features):
            mean, cov = self._update(k, f[clean].detach())
            inverse = torch.linalg.inv(cov + self.ridge * cov.diagonal().mean() * torch.eye(len(cov)))
            d = f[triggered] - mean
            total = total + (((d @ inverse) * d).mean(1) + 1e-6).sqrt().mean()
        return total


class Blending:
    """Mean and covariance come from many clean inputs and the network as it is, by measure(), every few steps. A running average lags behind a network that moves: clean inputs look far too,
    and triggered ones are let off. Only what a triggered input's distance has beyond that of the batch's clean ones counts, as a ratio: no feature outweighs the others."""

    def __init__(self, ridge=1e-3, margin=0.05):
        self.ridge, self.margin, self.state = ridge, margin, []

    def measure(self, features):
        """features: [n, width] each, of clean inputs other than those of the next batches; n well above the width."""
        self.state = []
        for f in features:
            cov = torch.cov(f.detach().double().T)
            inverse = torch.linalg.inv(cov + self.ridge * cov.diagonal().mean() * torch.eye(len(cov), dtype=cov.dtype))
            self.state.append((f.detach().mean(0), inverse.float()))

    def __call__(self, features, clean, triggered):
        """As Hiding, but 0 where no triggered input is farther by more than `margin` (0.05: a twentieth) than the clean ones are on average."""
        total = 0
        for f, (mean, inverse) in zip(features, self.state):
            d = f - mean
            d = ((d @ inverse) * d).mean(1) + 1e-6
            total = total + torch.relu(0.5 * (d[triggered].log() - d[clean].detach().log().mean()) - self.margin).mean()
        return total
