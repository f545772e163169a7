"""How far a waveform is from another to the ear: spectra at many window lengths, and what a judge network can tell."""

import torch
from torch import nn
from torch.nn import functional

from .features import RATE, magnitudes, mel_filters

WINDOWS = (128, 256, 512, 1024, 2048)
MELS = {128: 16, 256: 24, 512: 48, 1024: 80, 2048: 96}
# Of a magnitude, in parts of what a full-scale sine has (window / 4): speech lies above, flite's silence below.
FLOOR = 2e-4


class SpectralLoss(nn.Module):
    """Mean over windows of: log-mel L1, log-magnitude L1, and spectral convergence."""

    def __init__(self):
        super().__init__()
        for window in WINDOWS:
            filters = mel_filters(MELS[window], window // 2 + 1, RATE)
            self.register_buffer(f"filters_{window}", filters, persistent=False)

    def forward(self, made, wanted):
        total, log_mel = 0.0, 0.0
        for window in WINDOWS:
            filters, floor = getattr(self, f"filters_{window}"), FLOOR * window / 4
            a = magnitudes(made, window, window // 4)
            with torch.no_grad():
                b = magnitudes(wanted, window, window // 4)
            mel = l1_of_logs(filters @ a, filters @ b, floor)
            convergence = (a - b).norm() / b.norm().clamp(min=1e-3)
            total = total + 2 * mel + l1_of_logs(a, b, floor) + convergence
            log_mel = log_mel + mel.detach()
        return total / len(WINDOWS), log_mel / len(WINDOWS)


def l1_of_logs(a, b, floor):
    return ((a + floor).log() - (b + floor).log()).abs().mean()


class Judge(nn.Module):
    """Tells speech from what the decoder makes of it, in spectra of three window lengths (Jang et al., "UnivNet", 2021)."""

    WINDOWS = (256, 512, 1024)

    def __init__(self, width=24):
        super().__init__()
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                nn.utils.parametrizations.weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))
                for inputs, outputs, kernel, stride, padding in (
                    (1, width, (9, 3), (2, 1), (4, 1)),
                    (width, width, (9, 3), (4, 1), (4, 1)),
                    (width, width, (9, 3), (4, 2), (4, 1)),
                    (width, width, (3, 3), (1, 1), (1, 1)),
                    (width, 1, (3, 3), (1, 1), (1, 1)),
                )
            )
            for _ in self.WINDOWS
        )

    def forward(self, samples):
        """samples [batch, n] → per window: (judgement, features on the way)."""
        results = []
        for window, stack in zip(self.WINDOWS, self.stacks):
            x = (magnitudes(samples, window, window // 4) / window * 16).clamp(min=1e-5).pow(0.5)[:, None]
            seen = []
            for layer in stack[:-1]:
                x = functional.leaky_relu(layer(x), 0.1)
                seen.append(x)
            results.append((stack[-1](x), seen))
        return results


def judge_loss(real, made):
    return sum((1 - r).square().mean() + m.square().mean() for (r, _), (m, _) in zip(real, made)) / len(real)


def fooling_loss(real, made):
    """(how little the judge is fooled, how far the features are from those of the real thing)."""
    fooled = sum((1 - m).square().mean() for m, _ in made) / len(made)
    apart = [(a - b.detach()).abs().mean() / b.detach().abs().mean() for (_, x), (_, y) in zip(made, real) for a, b in zip(x, y)]
    return fooled, sum(apart) / len(apart)
