"""The fine codes of all coded sentences as the second stage foretells them from the coarse ones.

That is what the decoder will hear in use, beside what it should have heard.
"""

import numpy as np
import torch

from . import train_second_stage
from .codec import CODEBOOKS, CODES
from .language_models import COARSE
from .sentences import Passes, Sentences
from .training import Never, mixed_precision

BUDGET = 10_000  # tokens of a batch
NOWHERE = -100


@torch.no_grad()
def write(data, folder, hop, second, seed, device, progress, larger=1):
    """train.foretold.npy: as train.codes.npy, each fine code the likeliest one."""
    torch.manual_seed(seed)
    sentences, second = Sentences(data, folder, "train", hop, device), second.to(device)
    passes = Passes(sentences, seed, BUDGET * larger, train_second_stage.length_of)
    passes.batch(0)
    truth = sentences.codes.clone()
    for done, chosen in enumerate(passes.passes[0]):
        progress(done, len(passes.passes[0]))
        codes, places = fine(second, sentences, chosen)
        sentences.codes[COARSE:CODEBOOKS, places] = codes.int()
    unchanged = (sentences.codes == truth).float().mean(1)
    print("foretold rightly:", *(f"{share:.2f}" for share in unchanged.tolist()), flush=True)
    np.save(data / "train.foretold.npy", sentences.codes.cpu().numpy().astype(np.uint16))


def fine(net, sentences, chosen):
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
