"""How far a waveform is from another to the ear: spectra at many window lengths."""

import torch
from torch import nn

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
