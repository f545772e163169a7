"""Coded sentences as the language models see them, in batches of like length."""

import json
import os

import numpy as np
import torch

from .corpus import SPEAKERS
from .language_models import END_OF_AUDIO
from .synthesise import RATE, entries_of
from .tokenizer import Tokenizer
from .training import put

TEXT_OFFSET = END_OF_AUDIO + 1
PHONES = 48  # room for flite's American English


class Sentences:
    """All sentences of a list, their tokens, codes and what flite told of them, end to end in tensors on one device."""

    def __init__(self, data, folder, name, hop, device):
        known = prepared(data, name, hop)
        codes = np.load(data / f"{name}.codes.npy")
        self.frames, self.lengths = known["frames"], known["lengths"]

        move = lambda array, dtype=torch.int32: torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)
        begins = lambda counts: move(np.cumsum(counts) - counts, torch.int64)
        self.device = device
        self.text, self.codes = move(known["text"]), move(codes.astype(np.int32))
        self.places, self.phones = move(known["places"]), move(known["phones"])
        self.begins, self.text_begins = begins(self.frames), begins(self.lengths)
        self.device_frames, self.device_lengths = move(self.frames, torch.int64), move(self.lengths, torch.int64)
        self.speakers = move(known["speakers"], torch.int64)
        self.embeddings = embeddings(folder).to(device)
        self.mean_rows = means_of(self.embeddings)

    def __len__(self):
        return len(self.frames)

    def chosen(self, chosen):
        """Indices on the device, and (begin, frames) of their codes and (begin, tokens) of their texts, as columns."""
        rows = put(np.asarray(chosen), self.device)
        column = lambda values: values[rows][:, None]
        return rows, column(self.begins), column(self.device_frames), column(self.text_begins), column(self.device_lengths)

    def voices(self, rows, dropped):
        """The vectors of the voices: the mean of each, or that of one recording; zeros where it is to be done without."""
        speaker = self.speakers[rows]
        one = torch.randint(self.embeddings.shape[1], speaker.shape, device=self.device)
        chance = torch.rand(2, len(rows), 1, device=self.device)
        vectors = torch.where(chance[0] < 0.5, self.mean_rows[speaker], self.embeddings[speaker, one])
        return vectors * (chance[1] >= dropped)

    def batches(self, random, budget, length_of, most):
        """Lists of indices for one pass, each of at most `budget` tokens with its padding. `length_of(self)`: of each sentence, at most `most`."""
        lengths = length_of(self)
        order = np.argsort(lengths * random.uniform(0.95, 1.05, len(lengths)))
        order = order[lengths[order] <= most]
        result, current, longest = [], [], 0
        for index in order:
            longest = max(longest, lengths[index])
            if current and longest * (len(current) + 1) > budget:
                result.append(current)
                current, longest = [], lengths[index]
            current.append(int(index))
        result.append(current)
        random.shuffle(result)
        return result


def prepared(data, name, hop, rate=RATE):
    """Arrays by name, of which NAME.sentences.npz is a copy: phones and text take longer to read than all else."""
    file = data / f"{name}.sentences.npz"
    if not file.exists():
        entries = entries_of(data, name)
        begins = json.loads((data / f"{name}.codes.json").read_text())
        frames = np.diff([*begins, np.load(data / f"{name}.codes.npy", mmap_mode="r").shape[1]])
        tokenizer = Tokenizer.of(data)
        encoded = [tokenizer.encode(entry["text"]) for entry in entries]
        lengths = np.array([len(ids) for ids, _ in encoded])
        where = Where(entries, frames, hop / rate)
        places = where.token(np.concatenate([ends for _, ends in encoded]), np.concatenate([[0], np.cumsum(lengths)]))
        temporary = data / f"{name}.{os.getpid()}.tmp.npz"
        np.savez(
            temporary,
            frames=frames,
            lengths=lengths,
            text=np.concatenate([ids for ids, _ in encoded]).astype(np.int32),
            places=places.astype(np.int32),
            phones=where.phones().astype(np.int32),
            speakers=np.array([SPEAKERS.index(entry["speaker"]) for entry in entries]),
        )
        os.replace(temporary, file)
    with np.load(file) as stored:
        return dict(stored)


def embeddings(folder):
    """Vectors of some recordings of each voice: [speakers, recordings, 128]."""
    with np.load(folder / "embeddings.npz") as stored:
        fewest = min(len(stored[speaker]) for speaker in SPEAKERS)
        return torch.from_numpy(np.stack([stored[speaker][:fewest] for speaker in SPEAKERS])).float()


def means_of(rows):
    return torch.nn.functional.normalize(rows.mean(1), dim=1)


class Passes:
    """Batches by step, pass after pass; which ones depends on the seed and the step alone."""

    def __init__(self, sentences, seed, budget, length_of, most=1 << 30):
        self.sentences, self.seed = sentences, seed
        self.budget, self.length_of, self.most = budget, length_of, most
        self.passes, self.firsts = [], [0]

    def batch(self, step):
        while step >= self.firsts[-1]:
            random = np.random.default_rng((self.seed, len(self.passes)))
            self.passes.append(self.sentences.batches(random, self.budget, self.length_of, self.most))
            self.firsts.append(self.firsts[-1] + len(self.passes[-1]))
        which = int(np.searchsorted(self.firsts, step, side="right")) - 1
        return self.passes[which][step - self.firsts[which]]


class Where:
    """Which phone, and which token of the text, is being said in each frame, as flite told."""

    APART = 100.0  # seconds: every sentence has a stretch of its own on one long time axis, so that one search serves all

    def __init__(self, entries, frames, frame_seconds):
        counts = np.array([len(entry["phones"]) for entry in entries])
        self.last = np.cumsum(counts) - 1
        self.first = self.last - counts + 1
        self.names = [name for entry in entries for name, _ in entry["phones"]]
        self.of_phone = np.repeat(np.arange(len(entries)), counts)
        self.ends = np.array([end for entry in entries for _, end in entry["phones"]])
        self.of_frame = np.repeat(np.arange(len(entries)), frames)
        within = np.arange(len(self.of_frame)) - np.repeat(np.cumsum(frames) - frames, frames)
        self.time = np.minimum((within + 0.5) * frame_seconds, self.ends[self.last][self.of_frame])

    def phones(self):
        """[frames, 2]: the phone, and the one after it, as numbers below PHONES."""
        names = sorted(set(self.names))
        assert len(names) <= PHONES
        number_of = {name: number for number, name in enumerate(names)}
        numbers = np.array([number_of[name] for name in self.names])
        which = np.searchsorted(self.ends + self.APART * self.of_phone, self.time + self.APART * self.of_frame)
        last = self.last[self.of_frame]
        return np.stack([numbers[np.minimum(which, last)], numbers[np.minimum(which + 1, last)]], 1)

    def token(self, ends, bounds):
        """[frames]: the token, `ends` its end in characters, by the share of the sounds that were made. Pauses count for nothing."""
        sounds = np.cumsum([name != "pau" for name in self.names])
        sounds = sounds - np.concatenate([[0], sounds])[self.first][self.of_phone]
        # Each sentence begins at time 0 with nothing said.
        begin = np.arange(len(self.first))
        at = np.insert(self.ends + self.APART * self.of_phone, self.first, self.APART * begin)
        said = np.insert(sounds, self.first, 0)
        done = np.interp(self.time + self.APART * self.of_frame, at, said) / np.maximum(1, sounds[self.last])[self.of_frame]
        letters = done * ends[bounds[1:] - 1][self.of_frame]
        wide = 1000  # more than any sentence has letters
        of_token = np.repeat(begin, np.diff(bounds))
        return np.searchsorted(ends + wide * of_token, letters + wide * self.of_frame) - bounds[:-1][self.of_frame]
