"""All coded sentences as the language models foretell them, frame by frame, told truly what came before.

That is what the decoder will hear in use, beside what it should have heard: these codes keep time with the speech, which a
sentence spoken freely would not.
"""

import numpy as np
import torch

from . import train_first_stage, train_second_stage
from .codec import CODEBOOKS, CODES
from .export import SAMPLING
from .language_models import COARSE, END_OF_AUDIO
from .sentences import TEXT_OFFSET, Passes, Sentences
from .tokenizer import END_OF_TEXT
from .training import mixed_precision

BUDGET = 10_000  # tokens of a batch
NOWHERE = -100


@torch.no_grad()
def write(data, folder, hop, first, second, seed, device, progress, larger=1):
    """train.foretold.npy: as train.codes.npy, each code the likeliest one."""
    torch.manual_seed(seed)
    sentences, first, second = Sentences(data, folder, "train", hop, device), first.to(device), second.to(device)
    passes = Passes(sentences, seed, BUDGET * larger, train_first_stage.length_of, train_first_stage.SIZES.positions)
    passes.batch(0)
    truth, begins = sentences.codes.clone(), sentences.begins
    for done, chosen in enumerate(passes.passes[0]):
        progress(done, len(passes.passes[0]))
        rows = torch.as_tensor(chosen, device=device)
        coarse = foretell_coarse(first, sentences, chosen)  # [batch, 2, frames]
        frame = torch.arange(coarse.shape[2], device=device)[None]
        known = frame < sentences.device_frames[rows][:, None]
        places = (begins[rows][:, None] + frame)[known]
        sentences.codes[:COARSE, places] = coarse.transpose(0, 1)[:, known].int()
        fine, places = foretell_fine(second, sentences, chosen)
        sentences.codes[COARSE:CODEBOOKS, places] = fine.int()
    unchanged = (sentences.codes == truth).float().mean(1)
    print("foretold rightly:", *(f"{share:.2f}" for share in unchanged.tolist()), flush=True)
    np.save(data / "train.foretold.npy", sentences.codes.cpu().numpy().astype(np.uint16))


def foretell_coarse(net, sentences, chosen):
    """The likeliest codes under the guidance that the voice is spoken with: [batch, 2, frames], garbage beyond the end."""
    ids, _, _, _, texts, voices = train_first_stage.collate(sentences, chosen, Never(), dropped=0.0)
    guidance = SAMPLING["guidance"]
    column = torch.arange(ids.shape[1], device=ids.device)[None]
    # One row as asked, one without the voice, one without the text.
    voiceless, textless = torch.zeros_like(voices), torch.where(column < texts[:, None], TEXT_OFFSET + END_OF_TEXT, ids)
    with mixed_precision(ids.device):
        asked, unvoiced, untold = (
            net.logits(net(rows, vectors)[0])[..., :END_OF_AUDIO].float()
            for rows, vectors in ((ids, voices), (ids, voiceless), (textless, voices))
        )
    mixed = guided(asked, unvoiced, untold, guidance["speaker"], guidance["prompt"])
    split = mixed.unflatten(2, (COARSE, CODES)).argmax(-1)  # [batch, length, 2]
    frames = int(sentences.frames[chosen].max())
    begin = (texts - 1)[:, None] + COARSE * torch.arange(frames, device=ids.device)
    begin = begin.clamp(max=ids.shape[1] - COARSE)
    row = torch.arange(len(ids), device=ids.device)[:, None]
    return torch.stack([split[row, begin + k, k] for k in range(COARSE)], 1)


def guided(asked, unvoiced, untold, speaker, prompt):
    """The logits as asked, pushed away from those without the voice and without the text."""
    return asked + (speaker - 1) * (asked - unvoiced) + (prompt - 1) * (asked - untold)


def foretell_fine(net, sentences, chosen):
    """(the likeliest codes [6, n], their places in all frames [n])."""
    rows, wanted, voices = train_second_stage.collate(sentences, chosen, Never(), whole=False, prefixes=0.0)
    known = wanted[:, 0] != NOWHERE
    with mixed_precision(rows.device):
        hidden = net(rows, voices)[known]
        codes = torch.stack([head(hidden)[:, :CODES].argmax(1) for head in net.heads])
    texts = sentences.device_lengths[torch.as_tensor(chosen, device=rows.device)][:, None]
    column = torch.arange(rows.shape[2], device=rows.device)[None]
    begins = sentences.begins[torch.as_tensor(chosen, device=rows.device)][:, None]
    return codes, (begins + column - texts)[known]


class Never:
    """A source of chance by which nothing happens: no text is left out, no sentence breaks off."""

    def random(self, shape):
        return np.ones(shape)

    def integers(self, low, high):
        return low
