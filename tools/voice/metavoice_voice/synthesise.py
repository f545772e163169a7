"""Sentences → speech, by flite: one file of 16-bit samples at 16 kHz, and where each sentence lies in it.

flite (Black and Lenzo, "Flite: a small fast run-time synthesis engine", 2001) is deterministic: the same text and voice
give the same samples.
"""

import json
import multiprocessing
import re
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

RATE = 16_000
FLITE_VOICES = {"slt": "slt", "rms": "rms", "awb": "awb", "kal": "kal16"}
LONGEST = 20.0  # seconds


def speak(item):
    """{speaker, text} → (int16 samples, phones as [name, end in seconds])."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        command = ["flite", "-voice", FLITE_VOICES[item["speaker"]], "-psdur", "-t", item["text"], "-o", str(file)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        with wave.open(str(file)) as sound:
            assert sound.getframerate() == RATE and sound.getnchannels() == 1, "flite speaks 16 kHz mono"
            samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    phones = [(name, float(end)) for name, end in re.findall(r"(\S+):([\d.]+)", said)]
    return samples, phones


def write(items, folder, name, progress):
    """Writes NAME.pcm and NAME.index.json (items with `start` and `samples`). Nothing is done where both are there."""
    audio, index = folder / f"{name}.pcm", folder / f"{name}.index.json"
    if index.exists():
        return
    entries, start = [], 0
    with multiprocessing.get_context("fork").Pool() as pool, open(audio, "wb") as file:
        for item, (samples, phones) in zip(items, pool.imap(speak, items, chunksize=32)):
            progress(len(entries), len(items))
            if not 0.3 <= len(samples) / RATE <= LONGEST:
                continue
            file.write(samples.tobytes())
            entries.append({**item, "start": start, "samples": len(samples), "phones": phones})
            start += len(samples)
    index.write_text(json.dumps(entries))


@dataclass
class Speech:
    """Spoken sentences, mapped from their file."""

    entries: list
    pcm: np.ndarray

    @staticmethod
    def open(folder, name):
        index = folder / f"{name}.index.json"
        if not index.exists():
            raise SystemExit(f"{index} is not there: run the step that makes it first (data)")
        entries = json.loads(index.read_text())
        return Speech(entries, np.memmap(folder / f"{name}.pcm", dtype="<i2", mode="r"))

    def samples(self, entry):
        """float32 in [-1, 1)."""
        return self.pcm[entry["start"] : entry["start"] + entry["samples"]].astype(np.float32) / 32768

    def on(self, device):
        """All samples as int16 of a device: 32 KB a second."""
        whole = torch.from_numpy(np.memmap(self.pcm.filename, dtype="<i2", mode="c"))
        return whole.to(device)
