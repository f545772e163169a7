"""What the trained networks compute here, for the engine to be held against: test/fixtures/bundled.safetensors.

All from the model folder, so from the numbers that ship.
"""

import base64
import json

import numpy as np
import torch

from .codec import CODES
from .export import save
from .language_models import FirstStage, SecondStage, Sizes
from .speaker_encoder import FRAMES, HOP, SpeakerEncoder
from .tokenizer import Tokenizer
from .train_decoder import Codec

TEXT = "The old clock in the hall struck seven."
FRAMES_CODED = 24


def read(file):
    """name → float32 tensor."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    kinds = {"F32": np.float32, "F16": np.float16}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            numbers = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(numbers.astype(np.float32))
    return tensors


def transformer(folder, part, network):
    sizes = Sizes(
        part["layers"], part["heads"], part["width"], part["feedForward"], part["positions"], part["vocabularies"], part["speakerEmbedding"]
    )
    net = network(sizes)
    net.load_state_dict(read(folder / part["file"]))
    return net.eval()


def signal():
    """Two seconds with the spectrum of a voice, more or less: harmonics of a gliding tone."""
    time = torch.arange(2 * 16_000) / 16_000
    phase = 2 * torch.pi * (110 * time + 12 * time.square())
    return sum(torch.sin(k * phase) / k for k in range(1, 24)) * 0.12 * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * time))


@torch.no_grad()
def write(folder, file):
    manifest = json.loads((folder / "metavoice.json").read_text())
    first, second, codec = (manifest[name] for name in ("firstStage", "secondStage", "codec"))
    embedding = np.frombuffer(base64.b64decode(manifest["speakers"][0]["embedding"]), "<f4")
    speaker = torch.from_numpy(embedding.copy())[None]
    tokenizer = Tokenizer([base64.b64decode(token) for token in first["tokenizer"]["ranks"]])
    text = torch.tensor(tokenizer.encode(TEXT)[0])
    random = torch.Generator().manual_seed(7)
    codes = torch.randint(CODES, (codec["codebooks"], FRAMES_CODED), generator=random)

    ids = torch.cat([text + first["tokenizer"]["offset"], (codes[:2] + CODES * torch.arange(2)[:, None]).T.reshape(-1)])
    one = transformer(folder, first, FirstStage)
    hidden, *_ = one(ids[None], speaker)

    two = transformer(folder, second, SecondStage)
    rows = torch.full((1, 2, second["positions"]), CODES)
    rows[0, 0, : len(text)] = text + second["tokenizer"]["offset"]
    span = slice(len(text), len(text) + FRAMES_CODED)
    rows[0, :, span] = codes[:2]
    seen = two(rows, speaker)[0, span]

    sound = Codec(lstm_layers=1)
    stored = read(folder / codec["file"])
    for name, tensor in sound.tensors().items():
        tensor.copy_(stored[name])
    encoder = SpeakerEncoder().eval()
    encoder.load_state_dict(read(folder / manifest["speakerEncoder"]["file"]))
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
        "decoded": sound.eval()(codes[None])[0],
        "recording": part,
        "partial": encoder(encoder.mel(part[None])[:, :FRAMES])[0],
    }
    save(file, {name: tensor.detach().contiguous() for name, tensor in tensors.items()})
