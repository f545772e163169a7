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
BUDGET = 3000  # tokens of a batch
WHOLE = 0.08  # of the run, its last, sees all 512 positions, as in use; before, padding is short and of any length
# The heads draw codes that know nothing of each other: shipped so much sharper, they nearly always take the likeliest ones.
SHARPNESS = 6
PREFIXES = 0.5  # of the sentences break off somewhere, as they do while they are being spoken
NOWHERE = -100


def length_of(sentences, index):
    return len(sentences.text[index]) + int(sentences.frames[index])


def collate(sentences, chosen, random, whole, prefixes=PREFIXES):
    """rows [batch, 2, positions] as the engine fills them, and the codes wanted [batch, 6, positions]."""
    longest = min(SIZES.positions, max(length_of(sentences, index) for index in chosen))
    positions = SIZES.positions if whole else min(SIZES.positions, longest + int(random.integers(0, 64)))
    rows = torch.full((len(chosen), COARSE, positions), PAD)
    wanted = torch.full((len(chosen), CODEBOOKS - COARSE, positions), NOWHERE)
    for row, index in enumerate(chosen):
        text, codes = sentences.text[index] + TEXT_OFFSET, sentences.coded(index)
        frames = min(codes.shape[1], SIZES.positions - len(text))
        if random.random() < prefixes:
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
    passes = Passes(sentences, seed, BUDGET, lambda index: length_of(sentences, index))
    for step in run:
        for optimizer in (muon, adam):
            set_rate(optimizer, linear_rate(run.part_done(), step))
        rows, wanted, speakers = collate(sentences, passes.batch(step), run.random(), run.part_done() > 1 - WHOLE)
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


@torch.no_grad()
def sharpened(net):
    """The second stage as it ships: drawn from at temperature 1, as published, it is decided."""
    for head in net.heads:
        head.weight *= SHARPNESS
    return net
