"""What the codec's encoder hears: log spectra at 100 frames/s."""

import math

import torch

RATE = 16_000
HOP = 160
WINDOW = 1024
MELS = 80
LOW_BINS = 64  # below 1 kHz, 15.6 Hz apart: where the harmonics of a voice can be told apart
CHANNELS = MELS + LOW_BINS
FLOOR = 1e-2  # of a magnitude; a full-scale sine has 256. Below it is what nobody hears beside speech


def mel_filters(bands, bins, rate, lowest=40.0, highest=7900.0):
    """Triangles on the HTK mel scale with unit peaks: [bands, bins]."""
    to_mel = lambda hertz: 2595 * math.log10(1 + hertz / 700)
    marks = torch.linspace(to_mel(lowest), to_mel(highest), bands + 2)
    hertz = 700 * (10 ** (marks / 2595) - 1)
    grid = torch.linspace(0, rate / 2, bins)
    rising = (grid - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
    falling = (hertz[2:, None] - grid) / (hertz[2:] - hertz[1:-1])[:, None]
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters / filters.sum(1, keepdim=True).clamp(min=1e-3)


def magnitudes(samples, window, hop):
    """samples [batch, n] → [batch, window / 2 + 1, 1 + n / hop]."""
    hann = torch.hann_window(window, device=samples.device)
    return torch.stft(samples, window, hop, window=hann, pad_mode="constant", return_complex=True).abs()


class Features(torch.nn.Module):
    """samples [batch, n] → [batch, 144, n / 160]: log-mel of 32 ms windows, then low bins of 64 ms windows."""

    def __init__(self):
        super().__init__()
        self.register_buffer("filters", mel_filters(MELS, 257, RATE), persistent=False)

    def forward(self, samples):
        mel = self.filters @ magnitudes(samples, 512, HOP)
        low = magnitudes(samples, WINDOW, HOP)[:, 1 : LOW_BINS + 1] / 2
        logs = torch.cat([mel, low], 1).clamp(min=FLOOR).log()
        return (logs[..., :-1] + 2.0) / 2.5  # about zero mean and unit spread on speech
