"""The two language models of MetaVoice at small sizes, in the published form.

First stage: causal, over text and then two codebooks, interleaved. Second stage: sees all columns, and predicts the
other six codebooks.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from .codec import CODEBOOKS, CODES

EPSILON = 1e-5
COARSE = 2  # codebooks of the first stage
END_OF_AUDIO = COARSE * CODES  # 2048; text begins after it
PAD = CODES  # 1024 in the second stage


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return functional.rms_norm(x, (x.shape[-1],), self.weight, EPSILON)


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x, watched=None):
        """`watched`, a list, gets the query and key of the first head."""
        batch, length, width = x.shape
        split = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        if watched is not None:
            watched.append((q[:, 0], k[:, 0]))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class SwiGlu(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Gelu(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.up, self.down = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down(functional.gelu(self.up(x)))


class Layer(nn.Module):
    def __init__(self, sizes, causal):
        super().__init__()
        norm, feed_forward = (RmsNorm, SwiGlu) if causal else (bare_layer_norm, Gelu)
        self.attention_norm, self.feed_forward_norm = norm(sizes.width), norm(sizes.width)
        self.attention = Attention(sizes.width, sizes.heads, causal)
        self.feed_forward = feed_forward(sizes.width, sizes.inner)

    def forward(self, x, watched=None):
        x = x + self.attention(self.attention_norm(x), watched)
        return x + self.feed_forward(self.feed_forward_norm(x))


def bare_layer_norm(width):
    return nn.LayerNorm(width, EPSILON, bias=False)


class Sizes:
    def __init__(self, layers, heads, width, inner, positions, vocabularies, speaker):
        self.layers, self.heads, self.width, self.inner = layers, heads, width, inner
        self.positions, self.vocabularies, self.speaker = positions, vocabularies, speaker


class Transformer(nn.Module):
    def __init__(self, sizes, causal):
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.ModuleList(nn.Embedding(rows, sizes.width) for rows in sizes.vocabularies)
        self.positions = nn.Embedding(sizes.positions, sizes.width)
        self.speaker = nn.Linear(sizes.speaker, sizes.width, bias=False)
        self.layers = nn.ModuleList(Layer(sizes, causal) for _ in range(sizes.layers))
        self.norm = RmsNorm(sizes.width) if causal else bare_layer_norm(sizes.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deep = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * sizes.layers) if deep else 1.0))

    def embed(self, rows, speaker):
        """rows [batch, tables, length], speaker [batch, 128] → [batch, length, width]."""
        x = self.positions.weight[: rows.shape[2]] + self.speaker(speaker)[:, None]
        return x + sum(table(rows[:, k]) for k, table in enumerate(self.tokens))


class FirstStage(Transformer):
    """Its output layer is the token table."""

    WATCHED = (1, 2)  # layers whose first head is taught to follow the text
    ASKED = 3  # the layer after which it is asked what phone is being said

    def __init__(self, sizes):
        super().__init__(sizes, causal=True)

    def forward(self, ids, speaker):
        """ids [batch, length] → (hidden [batch, length, width], queries and keys of the watched heads, x at ASKED)."""
        x, watched, asked = self.embed(ids[:, None], speaker), [], None
        for index, layer in enumerate(self.layers):
            x = layer(x, watched if index in self.WATCHED else None)
            asked = x if index == self.ASKED else asked
        return self.norm(x), watched, asked

    def logits(self, hidden):
        return hidden @ self.tokens[0].weight.T


class SecondStage(Transformer):
    def __init__(self, sizes):
        super().__init__(sizes, causal=False)
        self.heads = nn.ModuleList(
            nn.Linear(sizes.width, CODES + 1, bias=False) for _ in range(CODEBOOKS - COARSE)
        )

    def forward(self, rows, speaker):
        """rows [batch, 2, positions] → hidden [batch, positions, width]."""
        x = self.embed(rows, speaker)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)
