"""Trains the second stage: text, a voice and two codebooks → the other six, also where the end is not known yet."""

import torch
from torch.nn import functional

from .codec import CODES
from .language_models import COARSE, PAD, SecondStage, Sizes
from .sentences import Passes, Sentences
from .tokenizer import END_OF_TEXT
from .training import Run, linear_rate, mixed_precision, put, set_rate
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


def length_of(sentences):
    return sentences.lengths + sentences.frames


def collate(sentences, chosen, random, whole, prefixes=PREFIXES, dropped=0.0):
    """rows [batch, 2, positions] as the engine fills them, the codes wanted [batch, 6, positions], and voices."""
    rows, begins, frames, text_begins, texts = sentences.chosen(chosen)
    longest = min(SIZES.positions, int(length_of(sentences)[chosen].max()))
    positions = SIZES.positions if whole else min(SIZES.positions, longest + int(random.integers(0, 64)))
    frames = torch.minimum(frames, SIZES.positions - texts)
    broken, parts = (put(random.random((len(rows), 1)), sentences.device) for _ in range(2))
    frames = torch.where(broken < prefixes, 1 + (parts * frames).long(), frames)
    column = torch.arange(positions, device=sentences.device)[None]
    said = column - texts
    heard = (said >= 0) & (said < frames)
    text = sentences.text[text_begins + torch.minimum(column, texts - 1)] + TEXT_OFFSET
    codes = sentences.codes[:, begins + said.clamp(min=0).minimum(frames - 1)].transpose(0, 1).long()
    coarse = codes[:, :COARSE].masked_fill(~heard[:, None], PAD)
    coarse[:, 0] = torch.where(said < 0, text, coarse[:, 0])
    return coarse, codes[:, COARSE:].masked_fill(~heard[:, None], NOWHERE), sentences.voices(rows, dropped)


def train(data, folder, hop, length, seed, device, larger=1, rate=1.0):
    """`larger`: batches of so many times the usual size; `rate`: of learning, in parts of the usual."""
    torch.manual_seed(seed)
    sentences, net = Sentences(data, folder, "train", hop, device), SecondStage(SIZES).to(device)
    muon, adam = optimizers_of(net, device)
    run = Run(folder, "second-stage", length, seed, {"net": net, "muon": muon, "adam": adam})
    passes = Passes(sentences, seed, BUDGET * larger, length_of)
    for step in run:
        for optimizer in (muon, adam):
            set_rate(optimizer, rate * linear_rate(run.part_done(), step))
        rows, wanted, speakers = collate(sentences, passes.batch(step), run.random(), run.part_done() > 1 - WHOLE)
        known = wanted[:, 0] != NOWHERE
        wanted = wanted.transpose(1, 2)[known]
        losses, right = [], []
        with mixed_precision(device):
            hidden = net(rows, speakers)[known]
            for k, head in enumerate(net.heads):
                logits = head(hidden)
                losses.append(functional.cross_entropy(logits, wanted[:, k]))
                right.append((logits.argmax(1) == wanted[:, k]).float().mean())
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


@torch.no_grad()
def blunted(net):
    """The second stage as it trains, of one that ships."""
    for head in net.heads:
        head.weight /= SHARPNESS
    return net
