"""Trains the first stage: text and a voice → two codebooks, interleaved."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .codec import CODES
from .language_models import COARSE, END_OF_AUDIO, FirstStage, Sizes
from .muon import Muon
from .sentences import PHONES, TEXT_OFFSET, Passes, Sentences
from .tokenizer import END_OF_TEXT
from .training import Run, adamw, linear_rate, mixed_precision, put, set_rate

SIZES = Sizes(
    layers=6, heads=4, width=256, inner=768, positions=1024, vocabularies=[TEXT_OFFSET + END_OF_TEXT + 1], speaker=128
)
BUDGET = 5000  # tokens of a batch
DROPPED = 0.1  # voices left out, so that guidance has something to compare with
BLANKED = 0.15  # texts left out, for the guidance towards the text; the voice stays
SPREAD = 2.5  # tokens of text, of what a watched head may look at beside its place
CORRUPTED = 0.15  # of the codes it looks back at are wrong, as its own will be: the text is what can be trusted
OWN, OWN_FROM = 0.2, 0.2  # so many more are its own, from this part of the run on
NOWHERE = -100


def collate(sentences, chosen, random, dropped=DROPPED):
    """(ids [batch, length], the next ones wanted, places in the text, phones [batch, length, 2], tokens of the texts, voices)."""
    rows, begins, frames, text_begins, texts = sentences.chosen(chosen)
    length = int((sentences.lengths[chosen] + 2 * sentences.frames[chosen]).max())
    column = torch.arange(length + 1, device=sentences.device)[None]
    said = column - texts  # how many codes came before
    blank = put(random.random((len(rows), 1)) < BLANKED, sentences.device)
    text = sentences.text[text_begins + torch.minimum(column, texts - 1)].masked_fill(blank, END_OF_TEXT) + TEXT_OFFSET
    which, frame = said % COARSE, begins + torch.minimum((said // COARSE).clamp(min=0), frames - 1)
    audio = torch.where(said < COARSE * frames, sentences.codes[which, frame] + CODES * which, END_OF_AUDIO)
    whole = torch.where(said < 0, text, audio).long()
    # End of text foretells the first code, and the last code the end.
    coming, next_frame = said[:, 1:], frame[:, 1:]
    wanted = whole[:, 1:].masked_fill((coming < 0) | (coming > COARSE * frames), NOWHERE)
    untold = (coming < 0) | (coming >= COARSE * frames) | blank
    places = sentences.places[next_frame].float().masked_fill(untold, NOWHERE)
    phones = sentences.phones[next_frame].long().masked_fill(untold[..., None], NOWHERE)
    return whole[:, :-1], wanted, places, phones, texts[:, 0], sentences.voices(rows, dropped)


def spoken_places(sentences, chosen, length):
    """Where something is wanted, in all positions of a batch [batch · length]. Told from here, as a GPU that is asked makes one wait."""
    counts = COARSE * sentences.frames[chosen] + 1
    firsts = np.arange(len(counts)) * length + sentences.lengths[chosen] - 1
    return put(np.repeat(firsts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum()), sentences.device)


def corrupted(ids, foreseen=None):
    """Some codes replaced by any of their codebook, or by what the model itself would have said."""
    audio, second = ids < END_OF_AUDIO, ids >= CODES
    chance = torch.rand(ids.shape, device=ids.device)
    wrong = torch.randint_like(ids, CODES) + CODES * second
    ids = torch.where(audio & (chance < CORRUPTED), wrong, ids)
    if foreseen is None:
        return ids
    fitting = audio & (foreseen // CODES == second)
    return torch.where(fitting & (chance > 1 - OWN), foreseen, ids)


@torch.no_grad()
def foresee(net, ids, speakers):
    """What the model would say at each place, told truly what came before (Mihaylova and Martins, 2019): [batch, length]."""
    likeliest = net.logits(net(ids, speakers)[0])[..., :END_OF_AUDIO].argmax(-1)
    return torch.cat([ids[:, :1], likeliest[:, :-1]], 1)


def straying(watched, places, texts):
    """How little the watched heads look at the place in the text that is being spoken (Tachibana et al., 2018)."""
    length = places.shape[1]
    columns = torch.arange(length, device=places.device)
    heard = columns[None, None] < texts[:, None, None]
    near = torch.exp(-((columns[None, None] - places[:, :, None]) ** 2) / (2 * SPREAD**2)) * heard
    future = torch.ones(length, length, dtype=torch.bool, device=places.device).triu(1)
    told, total = places >= 0, 0.0
    for query, key in watched:
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        looks = scores.masked_fill(future, -1e9).softmax(-1)
        total = total - (((looks * near).sum(-1) + 1e-3).log() * told).sum() / told.sum().clamp(min=1)
    return total / len(watched)


class Questions(nn.Module):
    """Which phone is being said, and which comes next? Only asked in training: letters to sounds are learned sooner."""

    def __init__(self):
        super().__init__()
        self.norm, self.answer = nn.LayerNorm(SIZES.width), nn.Linear(SIZES.width, 2 * PHONES)

    def forward(self, x, phones):
        """(loss, share of right answers)."""
        answers, known = self.answer(self.norm(x)).unflatten(2, (2, PHONES)), phones[..., 0] != NOWHERE
        count = known.sum().clamp(min=1)
        right = ((answers[:, :, 0].argmax(2) == phones[..., 0]) & known).sum() / count
        loss = functional.cross_entropy(answers.flatten(0, 2), phones.flatten(), ignore_index=NOWHERE, reduction="sum")
        return loss / (2 * count), right


def optimizers_of(net, device):
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [p for name, p in net.named_parameters() if p.dim() == 2 and name.startswith("layers.")]
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    return (
        Muon(matrices, lr=4e-3, weight_decay=0.05),
        adamw(rest, device, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )


def length_of(sentences):
    return sentences.lengths + COARSE * sentences.frames


def train(data, folder, hop, length, seed, device, larger=1, later=()):
    """`larger`: batches of so many times the usual size. `later`: folders with more and more speech, each taken up once it is there."""
    torch.manual_seed(seed)
    sentences, net = Sentences(data, folder, "train", hop, device), FirstStage(SIZES).to(device)
    held_out = Sentences(data, folder, "held-out", hop, device)
    muon, adam = optimizers_of(net, device)
    questions = Questions().to(device)
    aside = adamw(questions.parameters(), device, lr=4e-3, betas=(0.9, 0.98))
    optimizers = {"muon": muon, "adam": adam, "aside": aside}
    run = Run(folder, "first-stage", length, seed, {"net": net, "questions": questions, **optimizers})
    passes = Passes(sentences, seed, BUDGET * larger, length_of, SIZES.positions)
    for step in run:
        if step % 20 == 0 and (more := newest(later)):
            sentences, later = Sentences(more, folder, "train", hop, device), later[later.index(more) + 1 :]
            passes = Passes(sentences, seed, BUDGET * larger, length_of, SIZES.positions)
            print(f"first-stage: {len(sentences)} sentences from step {step} on", flush=True)
        for optimizer in optimizers.values():
            set_rate(optimizer, linear_rate(run.part_done(), step))
            optimizer.zero_grad()
        chosen = passes.batch(step)
        ids, wanted, places, phones, texts, speakers = collate(sentences, chosen, run.random())
        spoken = spoken_places(sentences, chosen, ids.shape[1])
        wanted = wanted.flatten().index_select(0, spoken)
        # In a context of its own: in one, older PyTorch keeps weights that were narrowed without gradients (pytorch#158232).
        with mixed_precision(device):
            foreseen = foresee(net, ids, speakers) if run.part_done() > OWN_FROM else None
        with mixed_precision(device):
            hidden, watched, asked = net(corrupted(ids, foreseen), speakers)
            logits = net.logits(hidden.flatten(0, 1).index_select(0, spoken))
            loss = functional.cross_entropy(logits, wanted)
            strays = straying(watched, places, texts)
            puzzled, knows_phone = questions(asked, phones)
        help = max(0.1, 1 - 1.5 * run.part_done())
        (loss + 0.3 * help * strays + 0.5 * help * puzzled).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        right, first = logits.argmax(1) == wanted, wanted < CODES
        run.record(
            loss=loss,
            strays=strays,
            knows_phone=knows_phone,
            right_first=(right & first).sum() / first.sum(),
            right_second=(right & ~first).sum() / (~first).sum(),
        )
        if (step + 1) % 50 == 0:
            run.record(held_out=held_out_loss(net, held_out, device))
        run.report()
    return net.eval()


def newest(folders):
    """The last of them whose speech is there, read and all (`parts.join`)."""
    there = [folder for folder in folders if (folder / "train.sentences.npz").exists()]
    return there[-1] if there else None


@torch.no_grad()
def held_out_loss(net, sentences, device):
    """Of some sentences that are not trained on, their codes as they are."""
    ids, wanted, *_, speakers = collate(sentences, np.arange(len(sentences))[::4], np.random.default_rng(0), dropped=0.0)
    with mixed_precision(device):
        logits = net.logits(net(ids, speakers)[0])
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=NOWHERE)
