"""What the trained networks compute here, for the engine to be held against: test/fixtures/bundled.safetensors.

All from the model folder, so from the numbers that ship.
"""

import torch

from .codec import CODES
from .export import save
from .shipped import Shipped
from .speaker_encoder import FRAMES, HOP

TEXT = "The old clock in the hall struck seven."
FRAMES_CODED = 24


def signal():
    """Two seconds with the spectrum of a voice, more or less: harmonics of a gliding tone."""
    time = torch.arange(2 * 16_000) / 16_000
    phase = 2 * torch.pi * (110 * time + 12 * time.square())
    return sum(torch.sin(k * phase) / k for k in range(1, 24)) * 0.12 * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * time))


@torch.no_grad()
def write(folder, file):
    model = Shipped(folder)
    first, second, codec = (model.manifest[name] for name in ("firstStage", "secondStage", "codec"))
    speaker = model.voices()[model.manifest["speakers"][0]["name"]][None]
    tokenizer = model.tokenizer()
    text = torch.tensor(tokenizer.encode(TEXT)[0])
    random = torch.Generator().manual_seed(7)
    codes = torch.randint(CODES, (codec["codebooks"], FRAMES_CODED), generator=random)

    ids = torch.cat([text + first["tokenizer"]["offset"], (codes[:2] + CODES * torch.arange(2)[:, None]).T.reshape(-1)])
    one = model.first_stage()
    hidden, *_ = one(ids[None], speaker)

    two = model.second_stage()
    rows = torch.full((1, 2, second["positions"]), CODES)
    rows[0, 0, : len(text)] = text + second["tokenizer"]["offset"]
    span = slice(len(text), len(text) + FRAMES_CODED)
    rows[0, :, span] = codes[:2]
    seen = two(rows, speaker)[0, span]

    encoder = model.speaker_encoder()
    recording = signal()
    mel = encoder.mel(recording[None])
    # One slice, of which nothing is cut off or added: what the engine does around it is tested elsewhere.
    assert mel.shape[1] > FRAMES
    part = recording[: FRAMES * HOP]

    tensors = {
        "ids": ids.float(),
        "text": text.float(),
        "speaker": speaker[0],
        "codes": codes.float(),
        "first.logits": one.logits(hidden[0, -3:]),
        "second.logits": torch.stack([head(seen[-2:]) for head in two.heads]),
        "decoded": model.codec()(codes[None])[0],
        "recording": part,
        "partial": encoder(encoder.mel(part[None])[:, :FRAMES])[0],
    }
    save(file, {name: tensor.detach().contiguous() for name, tensor in tensors.items()})
