"""Speech → codes, once for all that trains on them."""

import json

import numpy as np
import torch

from .codec import CODEBOOKS
from .synthesise import RATE, Speech

SECONDS = {"cpu": 160, "cuda": 1600}  # of a batch, its padding included


@torch.no_grad()
def write(data, name, codec, device, progress):
    """NAME.codes.npy (uint16 [8, all frames]) and NAME.codes.json (where each sentence begins)."""
    if (data / f"{name}.codes.json").exists():
        return
    speech, codec = Speech.open(data, name), codec.to(device)
    pcm = speech.on(device)
    begins, samples = (np.array([entry[key] for entry in speech.entries]) for key in ("start", "samples"))
    lengths = -(-samples // codec.hop)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    codes = torch.empty(CODEBOOKS, int(starts[-1]), dtype=torch.int16, device=device)
    column = lambda array: torch.from_numpy(array).to(device)[:, None]
    # Of one length or nearly so; what is beyond the end is silence, as the encoder hears it there anyway.
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        progress(first, len(order))
        longest = int(lengths[order[first]])
        chosen = order[first : first + max(1, SECONDS[device.type] * RATE // (longest * codec.hop))]
        first += len(chosen)
        sample = torch.arange(longest * codec.hop, device=device)
        places = (column(begins[chosen]) + sample).clamp(max=len(pcm) - 1)
        sound = pcm[places] / 32768 * (sample < column(samples[chosen]))
        found = codec.quantizer(codec.encoder(codec.patches(sound)))[1].view(CODEBOOKS, len(chosen), longest)
        frame = torch.arange(longest, device=device)
        known = frame < column(lengths[chosen])
        codes[:, (column(starts[chosen]) + frame)[known]] = found[:, known].to(torch.int16)
    codes = codes.cpu().numpy().astype(np.uint16)
    (data / f"{name}.sentences.npz").unlink(missing_ok=True)  # of other codes
    np.save(data / f"{name}.codes.npy", codes)
    (data / f"{name}.codes.json").write_text(json.dumps([int(start) for start in starts[:-1]]))
