"""Trains the first stage: text and a voice → two codebooks, interleaved."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .codec import CODES
from .language_models import COARSE, END_OF_AUDIO, FirstStage, Sizes
from .muon import Muon
from .sentences import PHONES, TEXT_OFFSET, Passes, Sentences
from .tokenizer import END_OF_TEXT
from .training import Never, Run, adamw, linear_rate, mixed_precision, put, set_rate

SIZES = Sizes(
    layers=6, heads=4, width=256, inner=768, positions=896, vocabularies=[TEXT_OFFSET + END_OF_TEXT + 1], speaker=128
)
BUDGET = 5000  # tokens of a batch
DROPPED = 0.1  # voices left out, so that guidance has something to compare with
BLANKED = 0.15  # texts left out, for the guidance towards the text; the voice stays
SPREAD = 2.5  # tokens of text, of what a watched head may look at beside its place
CORRUPTED = 0.15  # of the codes it looks back at are wrong, as its own will be: the text is what can be trusted
OWN = 0.2  # so many more are what it said itself when it last saw the sentence
NOWHERE = -100


@dataclass
class Batch:
    ids: torch.Tensor  # [batch, length]
    wanted: torch.Tensor  # the next ones, NOWHERE where nothing is
    where: torch.Tensor  # [batch, length + 1]: which of all codes stands at each place, and behind the last
    places: torch.Tensor  # in the text, of the next ones
    phones: torch.Tensor  # [batch, length, 2]
    texts: torch.Tensor  # [batch]: their tokens
    voices: torch.Tensor  # [batch, 128]


def collate(sentences, chosen, random, dropped=DROPPED):
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
    return Batch(
        ids=whole[:, :-1],
        wanted=wanted,
        where=which * sentences.codes.shape[1] + frame,
        places=sentences.places[next_frame].float().masked_fill(untold, NOWHERE),
        phones=sentences.phones[next_frame].long().masked_fill(untold[..., None], NOWHERE),
        texts=texts[:, 0],
        voices=sentences.voices(rows, dropped),
    )


def spoken_places(sentences, chosen, length):
    """Where something is wanted, in all positions of a batch [batch · length]. Told from here, as a GPU that is asked makes one wait."""
    counts = COARSE * sentences.frames[chosen] + 1
    firsts = np.arange(len(counts)) * length + sentences.lengths[chosen] - 1
    return put(np.repeat(firsts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum()), sentences.device)


class Remembered(nn.Module):
    """What the model itself would have said at each place when it last saw the sentence (Mihaylova and Martins, 2019)."""

    def __init__(self, sentences):
        super().__init__()
        self.register_buffer("codes", torch.full((sentences.codes[:COARSE].numel(),), NOWHERE, dtype=torch.int16))

    def recall(self, batch):
        """Ids for each place of the batch, NOWHERE where none is known."""
        return self.codes[batch.where[:, :-1]].long()

    def note(self, batch, spoken, likeliest):
        """`likeliest`: ids at the places `spoken` of the flattened batch. Those of no codebook, or of the end, replace nothing later."""
        told = batch.where[:, 1:].flatten().index_select(0, spoken)
        code = batch.wanted.flatten().index_select(0, spoken) < END_OF_AUDIO
        self.codes[told[code]] = likeliest[code].to(torch.int16)


def corrupted(ids, own):
    """Some codes replaced by any of their codebook, or by what the model itself would have said."""
    audio, second = ids < END_OF_AUDIO, ids >= CODES
    chance = torch.rand(ids.shape, device=ids.device)
    wrong = torch.randint_like(ids, CODES) + CODES * second
    ids = torch.where(audio & (chance < CORRUPTED), wrong, ids)
    fitting = audio & (own // CODES == second)
    return torch.where(fitting & (chance > 1 - OWN), own, ids)


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


def train(data, folder, hop, length, seed, device, larger=1, later=(), rate=1.0):
    """`larger`: batches of so many times the usual size; `rate`: of learning, in parts of the usual. `later`: folders with more and more speech, each taken up once it is there."""
    torch.manual_seed(seed)
    sentences, net = Sentences(data, folder, "train", hop, device), FirstStage(SIZES).to(device)
    held_out = Sentences(data, folder, "held-out", hop, device)
    muon, adam = optimizers_of(net, device)
    questions = Questions().to(device)
    aside = adamw(questions.parameters(), device, lr=4e-3, betas=(0.9, 0.98))
    optimizers = {"muon": muon, "adam": adam, "aside": aside}
    remembered = Remembered(sentences).to(device)
    run = Run(folder, "first-stage", length, seed, {"net": net, "questions": questions, "remembered": remembered, **optimizers})
    passes = Passes(sentences, seed, BUDGET * larger, length_of, SIZES.positions)
    for step in run:
        if step % 20 == 0 and (more := newest(later)):
            sentences, later = Sentences(more, folder, "train", hop, device), later[later.index(more) + 1 :]
            remembered = run.parts["remembered"] = Remembered(sentences).to(device)
            passes = Passes(sentences, seed, BUDGET * larger, length_of, SIZES.positions)
            print(f"first-stage: {len(sentences)} sentences from step {step} on", flush=True)
        for optimizer in optimizers.values():
            set_rate(optimizer, rate * linear_rate(run.part_done(), step))
            optimizer.zero_grad()
        chosen = passes.batch(step)
        batch = collate(sentences, chosen, run.random())
        spoken = spoken_places(sentences, chosen, batch.ids.shape[1])
        wanted = batch.wanted.flatten().index_select(0, spoken)
        with mixed_precision(device):
            hidden, watched, asked = net(corrupted(batch.ids, remembered.recall(batch)), batch.voices)
            logits = net.logits(hidden.flatten(0, 1).index_select(0, spoken))
            loss = functional.cross_entropy(logits, wanted)
            strays = straying(watched, batch.places, batch.texts)
            puzzled, knows_phone = questions(asked, batch.phones)
        help = max(0.1, 1 - 1.5 * run.part_done())
        (loss + 0.3 * help * strays + 0.5 * help * puzzled).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        likeliest = logits.argmax(1)
        remembered.note(batch, spoken, likeliest)
        right, first = likeliest == wanted, wanted < CODES
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
    batch = collate(sentences, np.arange(len(sentences))[::4], Never(), dropped=0.0)
    with mixed_precision(device):
        logits = net.logits(net(batch.ids, batch.voices)[0])
        return functional.cross_entropy(logits.flatten(0, 1), batch.wanted.flatten(), ignore_index=NOWHERE)
