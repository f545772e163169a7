"""Speech → codes, once for all that trains on them."""

import json

import numpy as np
import torch

from .codec import CODEBOOKS
from .synthesise import Speech

BATCH = 32


@torch.no_grad()
def write(data, name, codec, progress):
    """NAME.codes.npy (uint16 [8, all frames]) and NAME.codes.json (where each sentence begins)."""
    if (data / f"{name}.codes.json").exists():
        return
    speech = Speech.open(data, name)
    lengths = [-(-entry["samples"] // codec.hop) for entry in speech.entries]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.empty((CODEBOOKS, starts[-1]), np.uint16)
    order = np.argsort(lengths)
    for first in range(0, len(order), BATCH):
        progress(first, len(order))
        chosen = order[first : first + BATCH]
        # Of one length or nearly so; what is beyond the end is silence, as the encoder hears it there anyway.
        longest = max(lengths[index] for index in chosen)
        sound = torch.zeros(len(chosen), longest * codec.hop)
        for row, index in enumerate(chosen):
            samples = speech.samples(speech.entries[index])
            sound[row, : len(samples)] = torch.from_numpy(samples)
        found = codec.quantizer(codec.encoder(codec.patches(sound)))[1].view(CODEBOOKS, len(chosen), longest)
        for row, index in enumerate(chosen):
            codes[:, starts[index] : starts[index + 1]] = found[:, row, : lengths[index]].numpy()
    np.save(data / f"{name}.codes.npy", codes)
    (data / f"{name}.codes.json").write_text(json.dumps([int(start) for start in starts[:-1]]))
