"""Trains EnCodec's decoder, and the rows that it decodes, on fixed codes.

First on the codes of the speech, then mostly with fine codes as the second stage foretells them, which it will hear in use.
"""

import json

import numpy as np
import torch
from torch import nn

from .codec import CODEBOOKS, CODES, LATENT
from .losses import SpectralLoss
from .seanet import Decoder
from .synthesise import Speech
from .training import Run, adamw, linear_rate, put, set_rate

FILTERS, RATIOS, LSTM_LAYERS = 16, (8, 5, 4, 4), 1
BATCH, FRAMES, PAST = 16, 26, 14  # of which the last 26 frames (1 s) are compared
DEPTHS = {2: 0.5, 8: 0.5}  # how many codebooks count → its share
FORETOLD = 0.8  # of the pieces in the end: with fine codes of the second stage
OPENINGS = 0.15  # of the steps begin where a sentence begins
WEIGHTS = {"slt": 1.6, "rms": 0.8}  # how often a voice is heard, of 1: the highest is the hardest to understand


class Codec(nn.Module):
    """What ships: rows of the codebooks, and the decoder. codes [batch, 8, frames] → samples [batch, frames · hop]."""

    def __init__(self, filters=FILTERS, ratios=RATIOS, lstm_layers=LSTM_LAYERS):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(CODEBOOKS, CODES, LATENT))
        self.decoder = Decoder(LATENT, filters, ratios, lstm_layers)

    def forward(self, codes, depths=None, skip=0):
        latent = 0.0
        for k, rows in enumerate(self.rows):
            row = nn.functional.embedding(codes[:, k], rows)
            latent = latent + (row if depths is None else row * (depths > k)[:, None, None])
        return self.decoder(latent.transpose(1, 2), skip)

    def tensors(self):
        return self.decoder.tensors() | {f"quantizer.{k}.embed": rows for k, rows in enumerate(self.rows)}


class Pieces:
    """Stretches of coded speech, as (codes [batch, 8, frames], samples of the last part)."""

    def __init__(self, data, hop, depths, device, batch, foretold=0.0):
        """`depths`, a codebook count → its share, counts for the codes of the speech; `foretold` is the share of the others."""
        speech = Speech.open(data, "train")
        self.hop, self.depths, self.batch, self.foretold, self.device = hop, depths, batch, foretold, device
        read = lambda name: torch.from_numpy(np.load(data / name).astype(np.int16)).to(device)
        self.codes = read("train.codes.npy")
        self.foretold_codes = read("train.foretold.npy") if foretold else self.codes
        self.pcm = speech.on(device)
        self.starts = np.array(json.loads((data / "train.codes.json").read_text()))
        self.frames = np.diff([*self.starts, self.codes.shape[1]])
        self.usable = np.flatnonzero(self.frames > PAST + FRAMES)
        weights = np.array([WEIGHTS.get(speech.entries[index]["speaker"], 1.0) for index in self.usable])
        self.chances = weights / weights.sum()
        self.begins = np.array([entry["start"] for entry in speech.entries])
        self.ends = self.begins + np.array([entry["samples"] for entry in speech.entries])

    def draw(self, random):
        """(codes [batch, 8, past + frames], depths [batch], samples [batch, frames · hop], past). Openings have no past."""
        past = 0 if random.random() < OPENINGS else PAST
        depths = random.choice(list(self.depths), self.batch, p=list(self.depths.values()))
        chosen = random.choice(self.usable, self.batch, p=self.chances)
        foretold = random.random(self.batch) < self.foretold
        depths[foretold] = CODEBOOKS
        first = random.integers(0, self.frames[chosen] - PAST - FRAMES) if past else np.zeros(self.batch, np.int64)
        column = lambda array: put(array, self.device)[:, None]
        run = lambda count: torch.arange(count, device=self.device)
        places = column(self.starts[chosen] + first) + run(past + FRAMES)
        codes = torch.where(column(foretold), self.foretold_codes[:, places], self.codes[:, places]).transpose(0, 1).long()
        begin = column(self.begins[chosen] + (first + past) * self.hop) + run(FRAMES * self.hop)
        # Silence follows a sentence.
        samples = self.pcm[begin.clamp(max=len(self.pcm) - 1)] / 32768 * (begin < column(self.ends[chosen]))
        return codes, put(depths, self.device), samples, past


def train(data, folder, spectral, hop, length, seed, device, larger=1, rate=1.0):
    """`spectral`, the trained codec, gives the first rows. `larger`: batches of so many times the usual size; `rate`: of learning, so."""
    torch.manual_seed(seed)
    codec = Codec().to(device)
    with torch.no_grad():
        codec.rows.copy_(spectral.quantizer.tables())
    optimizer = adamw(codec.parameters(), device, lr=1.5e-3, betas=(0.8, 0.98), weight_decay=1e-4)
    run = Run(folder, "decoder", length, seed, {"codec": codec, "optimizer": optimizer})
    return work(run, codec, optimizer, Pieces(data, hop, DEPTHS, device, BATCH * larger), rate)


def refine(data, folder, codec, hop, length, seed, device, larger=1, rate=1.0):
    """Goes on with a trained decoder, on fine codes as the second stage foretells them."""
    torch.manual_seed(seed)
    codec = codec.to(device).train()
    optimizer = adamw(codec.parameters(), device, lr=7e-4, betas=(0.8, 0.98), weight_decay=1e-4)
    run = Run(folder, "decoder-refined", length, seed, {"codec": codec, "optimizer": optimizer})
    return work(run, codec, optimizer, Pieces(data, hop, {CODEBOOKS: 1.0}, device, BATCH * larger, FORETOLD), rate)


def work(run, codec, optimizer, pieces, rate):
    spectral_loss = SpectralLoss().to(pieces.device)
    for step in run:
        random = run.random()
        set_rate(optimizer, rate * linear_rate(run.part_done(), step))
        codes, depths, wanted, past = pieces.draw(random)
        made = codec(codes, depths, skip=past)
        loss, log_mel = spectral_loss(made, wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 2.0)
        optimizer.step()
        run.record(loss=loss, log_mel=log_mel)
        run.report()
    return codec.eval()
