"""Coded sentences as the language models see them, in batches of like length."""

import json

import numpy as np
import torch

from .codec import CODES
from .corpus import SPEAKERS
from .language_models import COARSE, END_OF_AUDIO
from .synthesise import Speech
from .tokenizer import Tokenizer

TEXT_OFFSET = END_OF_AUDIO + 1
PHONES = 48  # room for flite's American English


class Sentences:
    def __init__(self, data, folder, name, hop, rate=16_000):
        self.entries = Speech.open(data, name).entries
        self.codes = np.load(data / f"{name}.codes.npy", mmap_mode="r")
        starts = json.loads((data / f"{name}.codes.json").read_text())
        self.bounds = np.array([*starts, self.codes.shape[1]])
        self.frames = np.diff(self.bounds)
        tokenizer = Tokenizer.of(data)
        encoded = [tokenizer.encode(entry["text"]) for entry in self.entries]
        self.text = [np.array(ids, np.int64) for ids, _ in encoded]
        self.ends = [np.array(ends) for _, ends in encoded]
        self.frame_seconds = hop / rate
        names = sorted({phone for entry in self.entries for phone, _ in entry["phones"]})
        self.phone_of = {phone: number for number, phone in enumerate(names)}
        assert len(names) <= PHONES
        with np.load(folder / "embeddings.npz") as stored:
            self.embeddings = {speaker: torch.from_numpy(stored[speaker]) for speaker in SPEAKERS}
        means = {speaker: rows.mean(0) for speaker, rows in self.embeddings.items()}
        self.means = {speaker: mean / mean.norm() for speaker, mean in means.items()}

    def coded(self, index):
        return self.codes[:, self.bounds[index] : self.bounds[index + 1]].astype(np.int64)

    def speaker(self, index, random, dropped):
        """The vector of the voice: its mean, or that of one recording; zeros where it is to be done without."""
        name = self.entries[index]["speaker"]
        if random.random() < dropped:
            return torch.zeros_like(self.means[name])
        if random.random() < 0.5:
            return self.means[name]
        return self.embeddings[name][int(random.integers(len(self.embeddings[name])))]

    def phones(self, index):
        """For each frame, which phone flite says, and which comes next: [frames, 2] of numbers below PHONES."""
        time = (np.arange(self.frames[index]) + 0.5) * self.frame_seconds
        said = self.entries[index]["phones"]
        numbers = np.array([self.phone_of[name] for name, _ in said])
        which = np.minimum(np.searchsorted([end for _, end in said], time), len(said) - 1)
        return np.stack([numbers[which], numbers[np.minimum(which + 1, len(said) - 1)]], 1)

    def place_in_text(self, index):
        """For each frame, the token that is being spoken, as told by flite's phones (pauses count for nothing)."""
        time = (np.arange(self.frames[index]) + 0.5) * self.frame_seconds
        phones = self.entries[index]["phones"]
        ends = np.array([end for _, end in phones])
        sounds = np.cumsum([name != "pau" for name, _ in phones])
        done = np.interp(time, [0.0, *ends], [0, *sounds]) / max(1, sounds[-1])
        letters = done * self.ends[index][-1]
        return np.searchsorted(self.ends[index], letters)

    def batches(self, random, budget, length_of):
        """Lists of indices for one pass over all, each of at most `budget` tokens with its padding."""
        lengths = np.array([length_of(index) for index in range(len(self.entries))])
        order = np.argsort(lengths * random.uniform(0.95, 1.05, len(lengths)))
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


class Passes:
    """Batches by step, pass after pass; which ones depends on the seed and the step alone."""

    def __init__(self, sentences, seed, budget, length_of):
        self.sentences, self.seed, self.budget, self.length_of = sentences, seed, budget, length_of
        self.passes, self.firsts = [], [0]

    def batch(self, step):
        while step >= self.firsts[-1]:
            random = np.random.default_rng((self.seed, len(self.passes)))
            self.passes.append(self.sentences.batches(random, self.budget, self.length_of))
            self.firsts.append(self.firsts[-1] + len(self.passes[-1]))
        which = int(np.searchsorted(self.firsts, step, side="right")) - 1
        return self.passes[which][step - self.firsts[which]]


def interleaved(codes):
    """codes [8, n] → ids [2n + 1] of the first stage, end of audio appended."""
    ids = codes[:COARSE] + CODES * np.arange(COARSE)[:, None]
    return np.append(ids.T.reshape(-1), END_OF_AUDIO)
