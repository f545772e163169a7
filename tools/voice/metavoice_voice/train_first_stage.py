"""Trains the first stage: text and a voice → two codebooks, interleaved."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .codec import CODES
from .language_models import END_OF_AUDIO, FirstStage, Sizes
from .muon import Muon
from .sentences import PHONES, TEXT_OFFSET, Passes, Sentences, interleaved
from .tokenizer import END_OF_TEXT
from .training import Run, linear_rate, set_rate

SIZES = Sizes(
    layers=6, heads=4, width=256, inner=768, positions=1024, vocabularies=[TEXT_OFFSET + END_OF_TEXT + 1], speaker=128
)
BUDGET = 5000  # tokens of a batch
DROPPED = 0.1  # voices left out, so that guidance has something to compare with
SPREAD = 2.5  # tokens of text, of what a watched head may look at beside its place
CORRUPTED = 0.15  # of the codes it looks back at are wrong, as its own will be: the text is what can be trusted
NOWHERE = -100


def collate(sentences, chosen, random):
    rows = [(sentences.text[index] + TEXT_OFFSET, interleaved(sentences.coded(index))) for index in chosen]
    length = max(len(text) + len(audio) for text, audio in rows) - 1
    ids = torch.full((len(rows), length), END_OF_AUDIO)
    wanted, places = torch.full_like(ids, NOWHERE), torch.full((len(rows), length), float(NOWHERE))
    phones = torch.full((len(rows), length, 2), NOWHERE)
    for row, (index, (text, audio)) in enumerate(zip(chosen, rows)):
        whole = torch.from_numpy(np.concatenate([text, audio]))
        ids[row, : len(whole) - 1] = whole[:-1]
        begin = len(text) - 1  # end of text foretells the first code
        wanted[row, begin : begin + len(audio)] = whole[len(text) :]
        place = np.repeat(sentences.place_in_text(index), 2)
        places[row, begin : begin + len(place)] = torch.from_numpy(place)
        phones[row, begin : begin + len(place)] = torch.from_numpy(np.repeat(sentences.phones(index), 2, 0))
    speakers = torch.stack([sentences.speaker(index, random, DROPPED) for index in chosen])
    texts = torch.tensor([len(text) for text, _ in rows])
    return ids, wanted, places, phones, texts, speakers


def corrupted(ids):
    """Some codes replaced by any of their codebook."""
    audio, second = ids < END_OF_AUDIO, ids >= CODES
    wrong = torch.randint_like(ids, CODES) + CODES * second
    return torch.where(audio & (torch.rand(ids.shape) < CORRUPTED), wrong, ids)


def straying(watched, places, texts):
    """How little the watched heads look at the place in the text that is being spoken (Tachibana et al., 2018)."""
    length = places.shape[1]
    columns = torch.arange(length)
    heard = columns[None, None] < texts[:, None, None]
    near = torch.exp(-((columns[None, None] - places[:, :, None]) ** 2) / (2 * SPREAD**2)) * heard
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    total = 0.0
    for query, key in watched:
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        looks = scores.masked_fill(future, -1e9).softmax(-1)
        total = total - ((looks * near).sum(-1) + 1e-3).log()[places >= 0].mean()
    return total / len(watched)


class Questions(nn.Module):
    """Which phone is being said, and which comes next? Only asked in training: letters to sounds are learned sooner."""

    def __init__(self):
        super().__init__()
        self.norm, self.answer = nn.LayerNorm(SIZES.width), nn.Linear(SIZES.width, 2 * PHONES)

    def forward(self, x, phones):
        """(loss, share of right answers)."""
        known = phones[:, :, 0] != NOWHERE
        answers, wanted = self.answer(self.norm(x[known])).view(-1, 2, PHONES), phones[known]
        right = (answers[:, 0].argmax(1) == wanted[:, 0]).float().mean()
        return functional.cross_entropy(answers.flatten(0, 1), wanted.flatten()), right


def optimizers_of(net):
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [p for name, p in net.named_parameters() if p.dim() == 2 and name.startswith("layers.")]
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    return (
        Muon(matrices, lr=4e-3, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )


def train(data, folder, hop, steps, seed):
    torch.manual_seed(seed)
    sentences, net = Sentences(data, folder, "train", hop), FirstStage(SIZES)
    muon, adam = optimizers_of(net)
    questions = Questions()
    aside = torch.optim.AdamW(questions.parameters(), lr=4e-3, betas=(0.9, 0.98))
    optimizers = {"muon": muon, "adam": adam, "aside": aside}
    run = Run(folder, "first-stage", steps, seed, {"net": net, "questions": questions, **optimizers})
    length_of = lambda index: len(sentences.text[index]) + 2 * int(sentences.frames[index])
    passes = Passes(sentences, seed, BUDGET, length_of)
    for step in run:
        for optimizer in optimizers.values():
            set_rate(optimizer, linear_rate(run.part_done(), step))
            optimizer.zero_grad()
        ids, wanted, places, phones, texts, speakers = collate(sentences, passes.batch(step), run.random())
        hidden, watched, asked = net(corrupted(ids), speakers)
        spoken = wanted != NOWHERE
        logits = net.logits(hidden[spoken])
        loss = functional.cross_entropy(logits, wanted[spoken])
        strays = straying(watched, places, texts)
        puzzled, knows_phone = questions(asked, phones)
        help = max(0.1, 1 - 1.5 * run.part_done())
        (loss + 0.3 * help * strays + 0.5 * help * puzzled).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        right, coarse = logits.argmax(1) == wanted[spoken], wanted[spoken] < CODES
        run.record(
            loss=loss,
            strays=strays,
            knows_phone=knows_phone,
            right_first=right[coarse].float().mean(),
            right_second=right[~coarse].float().mean(),
        )
        run.report()
    return net.eval()
