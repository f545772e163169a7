"""The second stage's own codes for all coded sentences: what the decoder will hear in use, beside what it should have heard."""

import numpy as np
import torch

from .codec import CODEBOOKS, CODES
from .language_models import COARSE
from .sentences import Passes, Sentences
from .train_second_stage import collate, length_of

BUDGET = 6000  # tokens of a batch
MOST_LIKELY = 200  # codes that are drawn from, as published


@torch.no_grad()
def write(data, folder, hop, net, seed, progress):
    """train.drawn.npy: as train.codes.npy, with codebooks 3 to 8 drawn."""
    torch.manual_seed(seed)
    sentences = Sentences(data, folder, "train", hop)
    drawn = np.array(sentences.codes)
    passes = Passes(sentences, seed, BUDGET, lambda index: length_of(sentences, index))
    passes.batch(0)
    for done, chosen in enumerate(passes.passes[0]):
        progress(done, len(passes.passes[0]))
        rows, wanted, speakers = collate(sentences, chosen, np.random.default_rng((seed, done)), whole=False, prefixes=0.0)
        known = wanted[:, 0] >= 0
        hidden = net(rows, speakers)[known]
        codes = torch.stack([draw(head(hidden)[:, :CODES]) for head in net.heads]).numpy().astype(np.uint16)
        begin = 0
        for row, index in enumerate(chosen):
            count = int(known[row].sum())
            first = sentences.bounds[index]
            drawn[COARSE:CODEBOOKS, first : first + count] = codes[:, begin : begin + count]
            begin += count
    np.save(data / "train.drawn.npy", drawn)


def draw(logits):
    """logits [n, codes] → a code each, of the most likely ones."""
    likely, which = logits.topk(MOST_LIKELY)
    return which.gather(1, torch.multinomial(likely.softmax(1), 1))[:, 0]
