"""Writes what was trained as a model folder, as docs/checkpoints.md describes it."""

import base64
import hashlib
import json
import struct

import numpy as np
import torch

from .codec import CODEBOOKS, CODES, LATENT
from .corpus import SPEAKERS
from .language_models import EPSILON
from .sentences import TEXT_OFFSET
from .synthesise import RATE
from .tokenizer import Tokenizer
from .train_second_stage import TEXT_OFFSET as SECOND_OFFSET

ALIGNMENT = 64
DTYPES = {torch.float32: "F32", torch.float16: "F16"}
LARGEST_FLOAT16 = 65_504
# What the voice is spoken with unless a request asks otherwise: chosen on sentences of neither the training nor the
# held-out text (`tried.json`).
SAMPLING = {"temperature": 0.1, "topP": 0.9, "guidance": {"speaker": 1.3, "prompt": 2}}


def save(file, tensors):
    """A safetensors file without gaps, its tensors at multiples of 64 bytes where they have such a multiple."""
    size = lambda tensor: tensor.numel() * tensor.element_size()
    ordered = sorted(tensors.items(), key=lambda item: (size(item[1]) % ALIGNMENT != 0, item[0]))
    header, offset = {"__metadata__": {"format": "metavoice"}}, 0
    for name, tensor in ordered:
        end = offset + size(tensor)
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in ordered:
            out.write(tensor.numpy().tobytes())
    return {"file": file.name, "bytes": file.stat().st_size}


def read(file):
    """What `save` wrote: name → float32 tensor."""
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


def numbers(named, dtype):
    converted = {}
    for name, tensor in named.items():
        tensor = tensor.detach().contiguous()
        assert tensor.isfinite().all() and tensor.abs().max() <= LARGEST_FLOAT16, f"{name} does not fit float16"
        converted[name] = tensor.to(dtype)
    return converted


def transformer(folder, name, net, tokenizer, offset, causal):
    """Parameters are named as in the folder."""
    sizes, named = net.sizes, dict(net.named_parameters())
    stored = save(folder / f"{name}.safetensors", numbers(named, torch.float16))
    return {
        **stored,
        "dtype": "float16",
        "layers": sizes.layers,
        "heads": sizes.heads,
        "width": sizes.width,
        "feedForward": sizes.inner,
        "positions": sizes.positions,
        "vocabularies": sizes.vocabularies,
        "outputs": sizes.vocabularies if causal else [head.weight.shape[0] for head in net.heads],
        "tied": causal,
        "speakerEmbedding": sizes.speaker,
        "norm": "rmsnorm" if causal else "layernorm",
        "normEpsilon": EPSILON,
        "activation": "swiglu" if causal else "gelu",
        "tokenizer": tokenizer.stored(offset),
    }


def speaker_encoder(folder, net):
    stored = save(folder / "speaker_encoder.safetensors", numbers(dict(net.named_parameters()), torch.float32))
    lstm = net.lstm
    return {
        **stored,
        "layers": lstm.num_layers,
        "hidden": lstm.hidden_size,
        "mels": lstm.input_size,
        "embedding": net.linear.out_features,
    }


def codec_part(folder, codec):
    stored = save(folder / "codec.safetensors", numbers(codec.tensors(), torch.float32))
    return {
        **stored,
        "sampleRate": RATE,
        "ratios": list(codec.decoder.ratios),
        "dimension": LATENT,
        "codebookSize": CODES,
        "storedCodebooks": CODEBOOKS,
        "codebooks": CODEBOOKS,
        "encoder": False,
    }


def write(folder, data, first, second, encoder, codec, means):
    """`means`: the unit vector of each speaker."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.of(data)
    parts = {
        "firstStage": transformer(folder, "first_stage", first, tokenizer, TEXT_OFFSET, causal=True),
        "secondStage": transformer(folder, "second_stage", second, tokenizer, SECOND_OFFSET, causal=False),
        "speakerEncoder": speaker_encoder(folder, encoder),
        "codec": codec_part(folder, codec),
    }
    digest = hashlib.sha256()
    for part in parts.values():
        digest.update((folder / part["file"]).read_bytes())
    manifest = {
        "format": "metavoice-model",
        "version": 1,
        **parts,
        "speakers": [
            {"name": name, "embedding": base64.b64encode(means[name].float().numpy().astype("<f4").tobytes()).decode()}
            for name in SPEAKERS
        ],
        "sampling": SAMPLING,
        "provenance": {"sources": [], "digest": digest.hexdigest(), "converter": "tools/voice"},
    }
    (folder / "metavoice.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest
