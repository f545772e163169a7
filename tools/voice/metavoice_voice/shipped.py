"""A model folder as the networks of this workshop: to look at what ships, or to go on training it."""

import base64
import json

import numpy as np
import torch

from .export import read
from .language_models import FirstStage, SecondStage, Sizes
from .speaker_encoder import SpeakerEncoder
from .tokenizer import Tokenizer
from .train_decoder import Codec
from .train_second_stage import blunted


class Shipped:
    """What lies in a folder. Each part is read when it is asked for."""

    def __init__(self, folder):
        self.folder, self.manifest = folder, json.loads((folder / "metavoice.json").read_text())

    def tokenizer(self):
        return Tokenizer([base64.b64decode(token) for token in self.manifest["firstStage"]["tokenizer"]["ranks"]])

    def voices(self):
        """The unit vector of each speaker: {name: [128]}."""
        return {
            speaker["name"]: torch.from_numpy(np.frombuffer(base64.b64decode(speaker["embedding"]), "<f4").copy())
            for speaker in self.manifest["speakers"]
        }

    def first_stage(self):
        return self.transformer("firstStage", FirstStage)

    def second_stage(self):
        """Its heads are sharpened already (`train_second_stage.sharpened`)."""
        return self.transformer("secondStage", SecondStage)

    def transformer(self, part, network):
        part = self.manifest[part]
        sizes = Sizes(
            part["layers"], part["heads"], part["width"], part["feedForward"], part["positions"], part["vocabularies"], part["speakerEmbedding"]
        )
        net = network(sizes)
        net.load_state_dict(read(self.folder / part["file"]))
        return net.eval()

    @torch.no_grad()
    def codec(self):
        codec, stored = Codec(), read(self.folder / self.manifest["codec"]["file"])
        for name, tensor in codec.tensors().items():
            tensor.copy_(stored[name])
        return codec.eval()

    def speaker_encoder(self):
        encoder = SpeakerEncoder().eval()
        encoder.load_state_dict(read(self.folder / self.manifest["speakerEncoder"]["file"]))
        return encoder


def adopt(shipped, data, state):
    """What ships as the states of this workshop, for each command to go on from. Its codec's encoder did not ship (`relearn`)."""
    shipped.tokenizer().write(data / "tokenizer.json")
    for name, parts in {
        "first-stage": {"net": shipped.first_stage()},
        "second-stage": {"net": blunted(shipped.second_stage())},
        "decoder": {"codec": shipped.codec()},
        "speaker-encoder": {"net": shipped.speaker_encoder()},
    }.items():
        states = {part: net.state_dict() for part, net in parts.items()}
        torch.save({"step": 0, "seconds": 0.0, "parts": states}, state / f"{name}.pt")
