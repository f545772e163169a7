"""Trains the second stage: text, a voice and two codebooks → the other six, also where the end is not known yet."""

import numpy as np
import torch
from torch.nn import functional

from .codec import CODEBOOKS, CODES
from .language_models import COARSE, PAD, SecondStage, Sizes
from .sentences import Passes, Sentences
from .tokenizer import END_OF_TEXT
from .training import Run, linear_rate, set_rate
from .train_first_stage import optimizers_of

TEXT_OFFSET = PAD + 1
SIZES = Sizes(
    layers=4, heads=4, width=128, inner=512, positions=512, vocabularies=[TEXT_OFFSET + END_OF_TEXT + 1, CODES + 1], speaker=128
)
BATCH = 12
PREFIXES = 0.5  # of the sentences break off somewhere, as they do while they are being spoken
NOWHERE = -100


def collate(sentences, chosen, random):
    """rows [batch, 2, 512] as the engine fills them, and the codes wanted [batch, 6, 512]."""
    rows = torch.full((len(chosen), COARSE, SIZES.positions), PAD)
    wanted = torch.full((len(chosen), CODEBOOKS - COARSE, SIZES.positions), NOWHERE)
    for row, index in enumerate(chosen):
        text, codes = sentences.text[index] + TEXT_OFFSET, sentences.coded(index)
        frames = min(codes.shape[1], SIZES.positions - len(text))
        if random.random() < PREFIXES:
            frames = int(random.integers(1, frames + 1))
        span = slice(len(text), len(text) + frames)
        rows[row, 0, : len(text)] = torch.from_numpy(text)
        rows[row, :, span] = torch.from_numpy(codes[:COARSE, :frames])
        wanted[row, :, span] = torch.from_numpy(codes[COARSE:, :frames])
    speakers = torch.stack([sentences.speaker(index, random, 0.0) for index in chosen])
    return rows, wanted, speakers


def train(data, folder, hop, steps, seed):
    torch.manual_seed(seed)
    sentences, net = Sentences(data, folder, "train", hop), SecondStage(SIZES)
    muon, adam = optimizers_of(net)
    run = Run(folder, "second-stage", steps, seed, {"net": net, "muon": muon, "adam": adam})
    passes = Passes(sentences, seed, BATCH, lambda index: 1)
    for step in run:
        for optimizer in (muon, adam):
            set_rate(optimizer, linear_rate(run.part_done(), step))
        rows, wanted, speakers = collate(sentences, passes.batch(step), run.random())
        hidden = net(rows, speakers)
        known = wanted[:, 0] != NOWHERE
        losses, right = [], []
        for k, head in enumerate(net.heads):
            logits, codes = head(hidden[known]), wanted[:, k][known]
            losses.append(functional.cross_entropy(logits, codes))
            right.append((logits.argmax(1) == codes).float().mean())
        loss = torch.stack(losses).mean()
        muon.zero_grad(), adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        muon.step(), adam.step()
        run.record(loss=loss, right_third=right[0], right_last=right[-1])
        run.report()
    return net.eval()
