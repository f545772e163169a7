"""The codes: an encoder and a residual quantiser, trained to carry log spectra at the frame rate of the codec.

Codes are learned on spectra alone. Phase, which no text can foretell, then never enters them, and a frame of speech is
the same code wherever it falls: the language models have less to guess. The encoder is only used to make training data;
what ships is the codebooks and the SEANet decoder (`decoder.py`), in EnCodec's form.

Quantiser: factorised and L2-normalised lookups of 8 dimensions (Kumar et al., "High-fidelity audio compression with
improved RVQGAN", 2023). Their output projections fold into the codebooks (`tables`), so that decoding is EnCodec's sum
of rows (Défossez et al., "High fidelity neural audio compression", 2022).
"""

import torch
from torch import nn
from torch.nn import functional

from .features import CHANNELS, Features

CODEBOOKS, CODES, LOOKUP, LATENT = 8, 1024, 8, 64
HOP = 640  # samples of a frame: 25 frames/s


class Block(nn.Module):
    """x + MLP(norm(depthwise convolution(x))), over [batch, frames, width]; causal where it decodes."""

    def __init__(self, width, kernel, causal):
        super().__init__()
        self.pad = (kernel - 1, 0) if causal else (kernel // 2, kernel // 2)
        self.taps = nn.Parameter(torch.randn(kernel, width) / kernel)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x):
        frames, padded = x.shape[1], functional.pad(x, (0, 0, *self.pad))
        mixed = sum(tap * padded[:, shift : shift + frames] for shift, tap in enumerate(self.taps))
        return x + self.down(functional.gelu(self.up(self.norm(mixed))))


class Quantizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inward = nn.ModuleList(nn.Linear(LATENT, LOOKUP) for _ in range(CODEBOOKS))
        self.outward = nn.ModuleList(nn.Linear(LOOKUP, LATENT) for _ in range(CODEBOOKS))
        self.entries = nn.ParameterList(nn.Parameter(torch.randn(CODES, LOOKUP)) for _ in range(CODEBOOKS))
        self.register_buffer("uses", torch.ones(CODEBOOKS, CODES))

    def lookup(self, k, residual):
        """residual [n, 64] → (code [n], its row [n, 64], what training adds to the loss)."""
        projected = self.inward[k](residual)
        entries = functional.normalize(self.entries[k], dim=1)
        unit = functional.normalize(projected, dim=1)
        codes = (unit @ entries.T).argmax(1)
        chosen = entries[codes]
        loss = (chosen - unit.detach()).square().sum(1).mean() + 0.25 * (unit - chosen.detach()).square().sum(1).mean()
        return codes, self.outward[k](unit + (chosen - unit).detach()), loss, unit

    def forward(self, latent, depths=None):
        """latent [batch, frames, 64] → (quantised, codes [8, batch · frames], loss). `depths`: codebooks per item."""
        batch, frames, _ = latent.shape
        residual = latent.reshape(-1, LATENT)
        depths = torch.full((batch,), CODEBOOKS, device=latent.device) if depths is None else depths
        deep = depths.repeat_interleave(frames)[:, None]
        total, codes, loss = torch.zeros_like(residual), [], 0.0
        for k in range(CODEBOOKS):
            found, row, extra, unit = self.lookup(k, residual)
            if self.training:
                self.count(k, found, unit)
            total = total + row * (deep > k)
            residual = residual - row.detach()
            codes.append(found)
            loss = loss + extra / CODEBOOKS
        return total.reshape(latent.shape), torch.stack(codes), loss

    @torch.no_grad()
    def count(self, k, codes, unit):
        """Entries that nothing chose for a while are put where something is."""
        self.uses[k].mul_(0.97).add_(torch.bincount(codes, minlength=CODES), alpha=0.03 * CODES / len(codes))
        dead = (self.uses[k] < 0.03).nonzero()[:, 0]
        dead = dead[: len(codes) // 8]
        if len(dead):
            self.entries[k].data[dead] = unit[torch.randint(len(codes), (len(dead),), device=codes.device)]
            self.uses[k][dead] = 0.3

    @torch.no_grad()
    def start(self, latent):
        """Lookups look along the principal axes of what each codebook is left with."""
        residual = latent.reshape(-1, LATENT)
        for k in range(CODEBOOKS):
            mean = residual.mean(0)
            _, spread, axes = torch.linalg.svd(residual - mean, full_matrices=False)
            # Scaled alike: the length of a lookup is lost, and all eight axes are to be told apart.
            scale = spread[:LOOKUP] / len(residual) ** 0.5
            self.inward[k].weight.copy_(axes[:LOOKUP] / scale[:, None])
            self.inward[k].bias.copy_(-(axes[:LOOKUP] / scale[:, None]) @ mean)
            unit = functional.normalize(self.inward[k](residual), dim=1)
            self.entries[k].copy_(unit[torch.randperm(len(unit), device=unit.device)[:CODES]])
            entries = unit.clone()
            for _ in range(8):  # a few rounds of spherical k-means
                found = (unit @ functional.normalize(self.entries[k], dim=1).T).argmax(1)
                sums = torch.zeros_like(self.entries[k]).index_add_(0, found, unit)
                seen = torch.bincount(found, minlength=CODES) > 0
                self.entries[k][seen] = functional.normalize(sums[seen], dim=1)
            chosen = functional.normalize(self.entries[k], dim=1)[found]
            # The projection back that loses least.
            known = functional.pad(chosen, (0, 1), value=1.0)
            solution = torch.linalg.lstsq(known, residual).solution
            self.outward[k].weight.copy_(solution[:LOOKUP].T)
            self.outward[k].bias.copy_(solution[LOOKUP])
            residual = residual - self.outward[k](chosen)

    @torch.no_grad()
    def tables(self):
        """[8, 1024, 64]: rows whose sum is the latent."""
        return torch.stack(
            [outward(functional.normalize(entries, dim=1)) for outward, entries in zip(self.outward, self.entries)]
        )


class SpectralCodec(nn.Module):
    def __init__(self, hop, width=192, blocks=4):
        super().__init__()
        self.hop, self.patch = hop, hop // 160
        self.features = Features()
        inputs = CHANNELS * self.patch
        self.encoder = nn.Sequential(
            nn.Linear(inputs, width), *[Block(width, 7, causal=False) for _ in range(blocks)], nn.Linear(width, LATENT)
        )
        self.quantizer = Quantizer()
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, width), *[Block(width, 7, causal=True) for _ in range(blocks)], nn.Linear(width, inputs)
        )

    def patches(self, samples):
        """samples [batch, n], n a multiple of the hop → [batch, n / hop, channels · patch]."""
        return self.features(samples).transpose(1, 2).reshape(len(samples), samples.shape[1] // self.hop, -1)
