"""Many sentences spoken by the language models at once, as the package speaks them one by one: text → eight codebooks."""

import torch
from torch.nn import functional

from .codec import CODES
from .language_models import COARSE, END_OF_AUDIO, PAD
from .sentences import TEXT_OFFSET
from .tokenizer import END_OF_TEXT
from .train_second_stage import TEXT_OFFSET as SECOND_OFFSET

FRAMES_PER_TOKEN = 12  # more frames than that have no sentence
TEMPERATURE, TOP_P, TOWARDS_TEXT = 0.3, 0.9, 2.0


class Steps:
    """The first stage one position at a time, keys and values kept: rows of one length of text."""

    def __init__(self, net, rows, positions):
        sizes = net.sizes
        self.net, self.at = net, 0
        shape = (sizes.layers, rows, sizes.heads, positions, sizes.width // sizes.heads)
        self.keys, self.values = torch.empty(shape), torch.empty(shape)

    def __call__(self, ids, voices):
        """ids [rows, n] → logits of what follows the last one [rows, vocabulary]."""
        net, n = self.net, ids.shape[1]
        x = net.tokens[0](ids) + net.positions.weight[self.at : self.at + n] + net.speaker(voices)[:, None]
        for index, layer in enumerate(net.layers):
            x = x + self.attend(index, layer.attention, layer.attention_norm(x))
            x = x + layer.feed_forward(layer.feed_forward_norm(x))
        self.at += n
        return net.logits(net.norm(x[:, -1]))

    def attend(self, index, attention, x):
        rows, n, width = x.shape
        q, k, v = attention.qkv(x).view(rows, n, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
        keys, values = self.keys[index], self.values[index]
        keys[:, :, self.at : self.at + n], values[:, :, self.at : self.at + n] = k, v
        known = self.at + n
        mixed = functional.scaled_dot_product_attention(q, keys[:, :, :known], values[:, :, :known], is_causal=n > 1)
        return attention.out(mixed.transpose(1, 2).reshape(rows, n, width))


@torch.no_grad()
def coarse(net, text, voices, temperature=TEMPERATURE, top_p=TOP_P, towards_text=TOWARDS_TEXT):
    """text [sentences, tokens] of one length, voices [sentences, 128] → a list of codes [2, frames]."""
    count, length = text.shape
    most = min(net.sizes.positions - length, COARSE * FRAMES_PER_TOKEN * length)
    # A row as asked and one without the text.
    steps, voices = Steps(net, 2 * count, length + most), torch.cat([voices, voices])
    ids = torch.cat([text + TEXT_OFFSET, torch.full_like(text, END_OF_TEXT + TEXT_OFFSET)])
    said, ends = [], torch.full((count,), most // COARSE)
    for position in range(most // COARSE * COARSE):
        asked, untold = steps(ids, voices).split(count)
        logits, which = asked + (towards_text - 1) * (asked - untold), position % COARSE
        allowed = logits[:, CODES * which : CODES * (which + 1)]
        if which == 0:
            allowed = torch.cat([allowed, logits[:, END_OF_AUDIO : END_OF_AUDIO + 1]], 1)
        drawn = draw(allowed, temperature, top_p)
        if which == 0:
            ends = torch.where((drawn == CODES) & (ends > position // COARSE), position // COARSE, ends)
            if (ends <= position // COARSE).float().mean() >= 0.95:
                break
        said.append(drawn.clamp(max=CODES - 1))
        ids = (said[-1] + CODES * which)[:, None].repeat(2, 1)
    codes = torch.stack(said, 1).unflatten(1, (-1, COARSE)).transpose(1, 2)
    return [row[:, :end] for row, end in zip(codes, ends.clamp(max=codes.shape[2]).tolist())]


def draw(logits, temperature, top_p):
    ordered, order = (logits / temperature).softmax(-1).sort(descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered > top_p, 0.0)
    return order.gather(1, ordered.multinomial(1))[:, 0]


@torch.no_grad()
def fine(net, text, voices, told):
    """What `coarse` took and gave → a list of codes [8, frames], each the likeliest."""
    count, length = text.shape
    positions = net.sizes.positions
    rows = torch.full((count, 2, positions), PAD)
    rows[:, 0, :length] = text + SECOND_OFFSET
    for row, codes in zip(rows, told):
        frames = min(codes.shape[1], positions - length)
        row[:, length : length + frames] = codes[:, :frames]
    hidden = net(rows, voices)
    found = []
    for x, codes in zip(hidden, told):
        frames = min(codes.shape[1], positions - length)
        heard = x[length : length + frames]
        rest = torch.stack([head(heard)[:, :CODES].argmax(1) for head in net.heads])
        found.append(torch.cat([codes[:, :frames], rest]))
    return found
