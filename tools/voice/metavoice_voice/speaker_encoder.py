"""The speaker encoder of MetaVoice at a small size: 1.6 s of a voice → a unit vector of 128 numbers.

The network and what it hears are the published ones (Wan et al., "Generalized end-to-end loss for speaker
verification", 2018; power mel spectra without logarithm, three LSTM layers, ReLU, unit length). It learns to tell apart
the four voices, and each of them shifted in pitch and formants by resampling, so that voices it never heard have a place
between those it knows.
"""

import torch
from torch import nn
from torch.nn import functional

RATE, HOP, WINDOW, MELS, FRAMES = 16_000, 160, 400, 40, 160
HIDDEN, EMBEDDING, LAYERS = 128, 128, 3
SHIFTS = (0.80, 0.86, 0.93, 1.0, 1.08, 1.16, 1.25)


def slaney_filters():
    """[40, 201]: triangles of unit area on the Slaney scale, 0 to 8 kHz."""
    step, corner = 200 / 3, 15.0
    to_hertz = lambda mel: torch.where(mel < corner, mel * step, 1000 * torch.exp((mel - corner) * (torch.tensor(6.4).log() / 27)))
    highest = corner + 27 * float(torch.log(torch.tensor(8.0)) / torch.log(torch.tensor(6.4)))
    marks = to_hertz(torch.linspace(0, highest, MELS + 2, dtype=torch.float64))
    grid = torch.linspace(0, RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    rising = (grid - marks[:-2, None]) / (marks[1:-1] - marks[:-2])[:, None]
    falling = (marks[2:, None] - grid) / (marks[2:] - marks[1:-1])[:, None]
    return (torch.minimum(rising, falling).clamp(min=0) * 2 / (marks[2:] - marks[:-2])[:, None]).float()


class SpeakerEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("filters", slaney_filters(), persistent=False)
        self.lstm = nn.LSTM(MELS, HIDDEN, LAYERS, batch_first=True)
        self.linear = nn.Linear(HIDDEN, EMBEDDING)

    def mel(self, samples):
        """samples [batch, n] → power mel spectra [batch, 1 + n / 160, 40]."""
        hann = torch.hann_window(WINDOW, device=samples.device)
        spectrum = torch.stft(samples, WINDOW, HOP, window=hann, pad_mode="constant", return_complex=True)
        return (self.filters @ spectrum.abs().square()).transpose(1, 2)

    def forward(self, mel):
        """mel [batch, 160, 40] → unit vectors [batch, 128]."""
        hidden = self.lstm(mel)[1][0][-1]
        return functional.normalize(torch.relu(self.linear(hidden)), dim=1)

    @torch.no_grad()
    def embed(self, samples):
        """A recording [n] of at least 1.6 s → its unit vector: the mean over slices 0.77 s apart."""
        mel = self.mel(samples[None])[0]
        starts = range(0, max(1, len(mel) - FRAMES), 77)
        mean = self(torch.stack([mel[start : start + FRAMES] for start in starts])).mean(0)
        return functional.normalize(mean, dim=0)


class Classes(nn.Module):
    """Cosine to a centre of each class, as logits; only training needs it."""

    def __init__(self, count):
        super().__init__()
        self.centres = nn.Parameter(torch.rand(count, EMBEDDING))
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, embeddings):
        return self.scale.clamp(1, 30) * embeddings @ functional.normalize(self.centres.clamp(min=0), dim=1).T
