"""The codec's encoder, which does not ship, learned anew from the voice that ships, so that its training can go on.

The voice speaks sentences; of each there are the codes, and the sound that the decoder makes of them. A codec of the same
form learns the way back: from the sound to these codes, asked for one codebook after the other. It then codes flite's speech as
the lost one did, near enough for the language models to go on from where they are.
"""

import json

import numpy as np
import torch
from torch.nn import functional

from . import speak
from .codec import CODEBOOKS, HOP, LOOKUP, SpectralCodec
from .features import RATE
from .training import Run, adamw, linear_rate, set_rate

TOGETHER = 48  # sentences spoken at once
BATCH, FRAMES = 24, 64
SHARPNESS = 12.0  # of a cosine, as logits
BLUR = 0.15  # of the spectra, so that speech which the decoder has not made is read alike


def write(shipped, data, folder, seconds, seed, progress):
    """spoken.npz: so much speech as codes [8, frames] and samples, end to end."""
    file = folder / "spoken.npz"
    if file.exists():
        return file
    torch.manual_seed(seed)
    first, second, codec, tokenizer = shipped.first_stage(), shipped.second_stage(), shipped.codec(), shipped.tokenizer()
    voices, by_length = shipped.voices(), {}
    for item in json.loads((data / "train.json").read_text()):
        text = tokenizer.encode(item["text"])[0]
        if 8 <= len(text) <= 48:
            by_length.setdefault(len(text), []).append((text, voices[item["speaker"]]))
    groups = [rows[k : k + TOGETHER] for rows in by_length.values() for k in range(0, len(rows) - TOGETHER + 1, TOGETHER)]
    np.random.default_rng(seed).shuffle(groups)
    codes, samples, spoken = [], [], 0.0
    for group in groups:
        progress(int(spoken), int(seconds))
        text, voice = torch.tensor([text for text, _ in group]), torch.stack([voice for _, voice in group])
        for found in speak.fine(second, text, voice, speak.coarse(first, text, voice)):
            if found.shape[1] >= FRAMES // 2:
                codes.append(found.to(torch.int16))
                with torch.no_grad():
                    samples.append((codec(found[None])[0].clamp(-1, 1) * 32767).to(torch.int16))
                spoken += found.shape[1] * HOP / RATE
        if spoken > seconds:
            break
    np.savez(file, codes=torch.cat(codes, 1).numpy(), samples=torch.cat(samples).numpy())
    return file


class Spoken:
    """Stretches of what was spoken, at random: (samples [batch, frames · hop], codes [8, batch, frames])."""

    def __init__(self, file, hop):
        with np.load(file) as stored:
            self.codes = torch.from_numpy(stored["codes"].astype(np.int64))
            self.samples = torch.from_numpy(stored["samples"])
        self.hop = hop

    def draw(self, random):
        # A stretch may reach over the end of a sentence: what stands there was said by the same decoder.
        starts = torch.from_numpy(random.integers(0, self.codes.shape[1] - FRAMES, (BATCH, 1)))
        samples = self.samples[starts * self.hop + torch.arange(FRAMES * self.hop)] / 32768
        return samples, self.codes[:, starts + torch.arange(FRAMES)]


@torch.no_grad()
def start(codec, rows):
    """Lookups along the principal axes of the rows that ship: those began as projections of what is to be found."""
    quantizer = codec.quantizer
    for k in range(CODEBOOKS):
        mean = rows[k].mean(0)
        _, spread, axes = torch.linalg.svd(rows[k] - mean, full_matrices=False)
        scale = spread[:LOOKUP] / len(rows[k]) ** 0.5
        quantizer.inward[k].weight.copy_(axes[:LOOKUP] / scale[:, None])
        quantizer.inward[k].bias.copy_(-(axes[:LOOKUP] / scale[:, None]) @ mean)
        entries = functional.normalize(quantizer.inward[k](rows[k]), dim=1)
        quantizer.entries[k].copy_(entries)
        solution = torch.linalg.lstsq(functional.pad(entries, (0, 1), value=1.0), rows[k]).solution
        quantizer.outward[k].weight.copy_(solution[:LOOKUP].T)
        quantizer.outward[k].bias.copy_(solution[LOOKUP])


def asked(quantizer, latent, codes):
    """(loss, shares of right codes [8]): each codebook is asked about what the true codes before it leave of the latent."""
    residual, losses, right = latent.flatten(0, 1), [], []
    for k, wanted in enumerate(codes.flatten(1)):
        entries = functional.normalize(quantizer.entries[k], dim=1)
        logits = SHARPNESS * functional.normalize(quantizer.inward[k](residual), dim=1) @ entries.T
        losses.append(functional.cross_entropy(logits, wanted))
        right.append((logits.argmax(1) == wanted).float().mean())
        residual = residual - quantizer.outward[k](entries[wanted])
    return torch.stack(losses).mean() + residual.square().mean() / latent.var().detach(), torch.stack(right)


def train(shipped, file, folder, hop, length, seed):
    """The state of a codec that codes as the lost one did; its spectral decoder is left as it began."""
    torch.manual_seed(seed)
    codec, spoken = SpectralCodec(hop), Spoken(file, hop)
    start(codec, shipped.codec().rows.detach())
    parameters = [*codec.encoder.parameters(), *codec.quantizer.parameters()]
    optimizer = adamw(parameters, torch.device("cpu"), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    run = Run(folder, "codec", length, seed, {"net": codec, "optimizer": optimizer})
    for step in run:
        set_rate(optimizer, linear_rate(run.part_done(), step))
        samples, codes = spoken.draw(run.random())
        patches = codec.patches(samples)
        patches = patches + BLUR * torch.rand(len(patches), 1, 1) * torch.randn_like(patches)
        loss, right = asked(codec.quantizer, codec.encoder(patches), codes)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        run.record(loss=loss, right_first=right[0], right_second=right[1], right_last=right[-1])
        run.report()
    return codec.eval()
