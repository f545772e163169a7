"""Byte-pair encoding with tiktoken's rules: 256 bytes and 256 merges, learned from the corpus (Sennrich et al., 2016)."""

import base64
import collections
import json
import re

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same for the corpus, which is ASCII.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
MERGES = 256
END_OF_TEXT = 256 + MERGES


def pairs_of(pieces):
    counts = collections.Counter()
    for piece, count in pieces.items():
        for pair in zip(piece, piece[1:]):
            counts[pair] += count
    return counts


def merged(piece, pair):
    result, index = [], 0
    while index < len(piece):
        if piece[index : index + 2] == pair:
            result.append(pair[0] + pair[1])
            index += 2
        else:
            result.append(piece[index])
            index += 1
    return tuple(result)


def learn(texts):
    """Byte strings by rank."""
    words = collections.Counter(match for text in texts for match in SPLIT.findall(text))
    pieces = {tuple(bytes([byte]) for byte in word.encode()): count for word, count in words.items()}
    ranks = [bytes([byte]) for byte in range(256)]
    while len(ranks) < 256 + MERGES:
        counts = pairs_of(pieces)
        pair = max(counts, key=lambda pair: (counts[pair], pair))
        ranks.append(pair[0] + pair[1])
        shorter = collections.Counter()
        for piece, count in pieces.items():
            shorter[merged(piece, pair)] += count
        pieces = shorter
    return ranks


class Tokenizer:
    def __init__(self, ranks):
        self.ranks, self.rank_of, self.known = ranks, {token: rank for rank, token in enumerate(ranks)}, {}

    @staticmethod
    def of(data):
        """Learned once for the corpus in this folder."""
        file = data / "tokenizer.json"
        if not file.exists():
            ranks = learn([item["text"] for item in json.loads((data / "train.json").read_text())])
            Tokenizer(ranks).write(file)
        return Tokenizer([base64.b64decode(token) for token in json.loads(file.read_text())])

    def write(self, file):
        file.write_text(json.dumps([base64.b64encode(token).decode() for token in self.ranks]))

    def piece(self, text):
        if text not in self.known:
            parts = tuple(bytes([byte]) for byte in text.encode())
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda pair: self.rank_of.get(pair[0] + pair[1], 1 << 30))
                if best[0] + best[1] not in self.rank_of:
                    break
                parts = merged(parts, best)
            self.known[text] = [self.rank_of[part] for part in parts]
        return self.known[text]

    def encode(self, text):
        """(ids without offset, end of text appended; where in the text each one ends, in characters)."""
        ids, ends, position = [], [], 0
        for match in SPLIT.findall(text):
            for rank in self.piece(match):
                ids.append(rank)
                position += len(self.ranks[rank])
                ends.append(position)
        return [*ids, END_OF_TEXT], [*ends, position]

    def stored(self, offset):
        """As in `metavoice.json`."""
        return {
            "name": "metavoice-bundled",
            "pattern": PATTERN,
            "ranks": [base64.b64encode(token).decode() for token in self.ranks],
            "special": {"<|endoftext|>": END_OF_TEXT},
            "offset": offset,
        }
