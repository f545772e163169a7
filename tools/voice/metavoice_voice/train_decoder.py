"""Trains EnCodec's decoder, and the rows that it decodes, on fixed codes.

First by spectra alone, on the codes of the speech; then against a judge, too, mostly on codes as the second stage draws them.
"""

import json

import numpy as np
import torch
from torch import nn

from .codec import CODEBOOKS, CODES, LATENT
from .losses import Judge, SpectralLoss, fooling_loss, judge_loss
from .seanet import Decoder
from .synthesise import Speech
from .training import Run, linear_rate, set_rate

FILTERS, RATIOS, LSTM_LAYERS = 16, (8, 5, 4, 4), 1
BATCH, FRAMES, PAST = 16, 26, 14  # of which the last 26 frames (1 s) are compared
DEPTHS = {2: 0.5, 8: 0.5}  # how many codebooks count → its share
DRAWN = 0.7  # of the pieces in the end: with codes of the second stage
OPENINGS = 0.15  # of the steps begin where a sentence begins


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

    def __init__(self, data, hop, depths, drawn=0.0):
        """`depths`, a codebook count → its share, counts for the codes of the speech; `drawn` is the share of the others."""
        self.speech, self.hop, self.depths, self.drawn = Speech.open(data, "train"), hop, depths, drawn
        self.codes = np.load(data / "train.codes.npy", mmap_mode="r")
        self.drawn_codes = np.load(data / "train.drawn.npy", mmap_mode="r") if drawn else None
        self.starts = json.loads((data / "train.codes.json").read_text())
        frames = np.diff([*self.starts, self.codes.shape[1]])
        self.usable = np.flatnonzero(frames > PAST + FRAMES)
        self.frames = frames

    def draw(self, random):
        """(codes [batch, 8, past + frames], depths [batch], samples [batch, frames · hop], past). Openings have no past."""
        past = 0 if random.random() < OPENINGS else PAST
        depths = random.choice(list(self.depths), BATCH, p=list(self.depths.values()))
        codes, samples = [], []
        for row, index in enumerate(random.choice(self.usable, BATCH)):
            source = self.codes
            if random.random() < self.drawn:
                source, depths[row] = self.drawn_codes, CODEBOOKS
            entry = self.speech.entries[index]
            first = int(random.integers(0, self.frames[index] - PAST - FRAMES)) if past else 0
            codes.append(source[:, self.starts[index] + first :][:, : past + FRAMES])
            begin = (first + past) * self.hop
            part = self.speech.samples(entry)[begin : begin + FRAMES * self.hop]
            samples.append(np.pad(part, (0, FRAMES * self.hop - len(part))))
        stacked = torch.from_numpy(np.stack(codes).astype(np.int64))
        return stacked, torch.from_numpy(depths), torch.from_numpy(np.stack(samples)), past


def train(data, folder, spectral, hop, steps, seed):
    """By spectra alone; `spectral`, the trained codec, gives the first rows."""
    torch.manual_seed(seed)
    codec = Codec()
    with torch.no_grad():
        codec.rows.copy_(spectral.quantizer.tables())
    optimizer = torch.optim.AdamW(codec.parameters(), lr=1.5e-3, betas=(0.8, 0.98), weight_decay=1e-4)
    run = Run(folder, "decoder", steps, seed, {"codec": codec, "optimizer": optimizer})
    work(run, codec, optimizer, Pieces(data, hop, DEPTHS), lambda made, wanted: 0.0)
    return codec.eval()


def refine(data, folder, codec, hop, steps, seed):
    """Goes on with a trained decoder, on codes as it will get them, heard by a judge, too."""
    torch.manual_seed(seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=5e-4, betas=(0.8, 0.98), weight_decay=1e-4)
    judges = torch.optim.AdamW(judge.parameters(), lr=5e-4, betas=(0.8, 0.98))
    parts = {"codec": codec, "optimizer": optimizer, "judge": judge, "judges": judges}
    run = Run(folder, "decoder-refined", steps, seed, parts)
    pieces = Pieces(data, hop, {CODEBOOKS: 1.0}, DRAWN)
    work(run, codec, optimizer, pieces, lambda made, wanted: hear_judge(run, judge, judges, made, wanted))
    return codec.eval()


def work(run, codec, optimizer, pieces, further):
    spectral_loss = SpectralLoss()
    for step in run:
        random = run.random()
        set_rate(optimizer, linear_rate(run.part_done(), step))
        codes, depths, wanted, past = pieces.draw(random)
        made = codec(codes, depths, skip=past)
        loss, log_mel = spectral_loss(made, wanted)
        loss = loss + further(made, wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 2.0)
        optimizer.step()
        run.record(loss=loss, log_mel=log_mel)
        run.report()


def hear_judge(run, judge, judges, made, wanted):
    told = judge_loss(judge(wanted), judge(made.detach()))
    judges.zero_grad()
    told.backward()
    judges.step()
    judge.requires_grad_(False)
    with torch.no_grad():
        real = judge(wanted)
    fooled, apart = fooling_loss(real, judge(made))
    judge.requires_grad_(True)
    run.record(judge=told, fooled=fooled, features=apart)
    return 0.3 * fooled + 1.5 * apart
