"""Sentences → speech, by flite: one file of 16-bit samples at 16 kHz, and where each sentence lies in it.

flite (Black and Lenzo, "Flite: a small fast run-time synthesis engine", 2001) is deterministic: the same text and voice
give the same samples.
"""

import json
import multiprocessing
import os
import re
import subprocess
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

RATE = 16_000
FLITE_VOICES = {"slt": "slt", "rms": "rms", "awb": "awb", "kal": "kal16"}
LONGEST = 20.0  # seconds


def speak(item):
    """{speaker, text} → (int16 samples, phones as [name, end in seconds]). No samples where flite fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        command = ["flite", "-voice", FLITE_VOICES[item["speaker"]], "-psdur", "-t", item["text"], "-o", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"flite ended with {done.returncode} at {item['text']!r}: {done.stderr.strip()}", flush=True)
            return np.zeros(0, "<i2"), []
        with wave.open(str(file)) as sound:
            assert sound.getframerate() == RATE and sound.getnchannels() == 1, "flite speaks 16 kHz mono"
            samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    phones = [(name, float(end)) for name, end in re.findall(r"(\S+):([\d.]+)", done.stdout)]
    return samples, phones


def write(items, folder, name, progress, processes=None, until=None):
    """Writes NAME.pcm and NAME.index.json (items with `start` and `samples`). Nothing is done where both are there.

    `until`: a moment of `time.time()` after which no further sentence is taken.
    """
    audio, index = folder / f"{name}.pcm", folder / f"{name}.index.json"
    if index.exists():
        return
    entries, start, failed = [], 0, 0
    with multiprocessing.get_context("fork").Pool(processes) as pool, open(audio, "wb") as file:
        for item, (samples, phones) in zip(items, pool.imap(speak, items, chunksize=32)):
            progress(len(entries), len(items))
            failed += len(samples) == 0
            if 0.3 <= len(samples) / RATE <= LONGEST:
                file.write(samples.tobytes())
                entries.append({**item, "start": start, "samples": len(samples), "phones": phones})
                start += len(samples)
            if until is not None and time.time() > until:
                break
    if failed > len(items) // 100 or not entries:
        raise SystemExit(f"expected flite to speak {len(items)} sentences but it failed at {failed}")
    temporary = index.with_suffix(".tmp")
    temporary.write_text(json.dumps(entries))
    os.replace(temporary, index)


def entries_of(folder, name):
    """What was spoken, in order."""
    index = folder / f"{name}.index.json"
    if not index.exists():
        raise SystemExit(f"{index} is not there: run the step that makes it first (data)")
    return json.loads(index.read_text())


@dataclass
class Speech:
    """Spoken sentences, mapped from their file."""

    entries: list
    pcm: np.ndarray

    @staticmethod
    def open(folder, name):
        return Speech(entries_of(folder, name), np.memmap(folder / f"{name}.pcm", dtype="<i2", mode="r"))

    def samples(self, entry):
        """float32 in [-1, 1)."""
        return self.pcm[entry["start"] : entry["start"] + entry["samples"]].astype(np.float32) / 32768

    def on(self, device):
        """All samples as int16 of a device: 32 KB a second."""
        whole = torch.from_numpy(np.memmap(self.pcm.filename, dtype="<i2", mode="c"))
        return whole.to(device)
