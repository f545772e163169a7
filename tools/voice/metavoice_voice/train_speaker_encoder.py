"""Trains the speaker encoder to tell voices apart, and embeds every sentence of the data."""

import numpy as np
import torch
from torch.nn import functional

from .speaker_encoder import FRAMES, HOP, SHIFTS, Classes, SpeakerEncoder
from .corpus import SPEAKERS
from .synthesise import Speech
from .training import Run, linear_rate, set_rate

BATCH = 56
SAMPLES = FRAMES * HOP


def draw(speech, long_enough, random):
    """(samples [batch, n], class [batch]): stretches of the four voices, some shifted by resampling."""
    sounds, classes = [], []
    for index in random.choice(long_enough, BATCH):
        entry = speech.entries[index]
        shift = int(random.integers(len(SHIFTS))) if random.random() < 0.6 else SHIFTS.index(1.0)
        samples = speech.samples(entry)
        wanted = int(np.ceil(SAMPLES * SHIFTS[shift]))
        first = int(random.integers(0, len(samples) - wanted))
        part = torch.from_numpy(samples[first : first + wanted])[None, None]
        sound = functional.interpolate(part, size=SAMPLES, mode="linear", align_corners=True)[0, 0]
        sounds.append(sound * float(10 ** random.uniform(-0.4, 0.3)) + 1e-4 * torch.randn(SAMPLES))
        classes.append(SPEAKERS.index(entry["speaker"]) * len(SHIFTS) + shift)
    return torch.stack(sounds), torch.tensor(classes)


def train(data, folder, length, seed, device):
    speech = Speech.open(data, "train")
    longest = SAMPLES * max(SHIFTS) + 1
    long_enough = [index for index, entry in enumerate(speech.entries) if entry["samples"] > longest]
    torch.manual_seed(seed)
    net, classes = SpeakerEncoder().to(device), Classes(len(SPEAKERS) * len(SHIFTS)).to(device)
    parameters = [*net.parameters(), *classes.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    run = Run(folder, "speaker-encoder", length, seed, {"net": net, "classes": classes, "optimizer": optimizer})
    for step in run:
        set_rate(optimizer, linear_rate(run.part_done(), step))
        sounds, wanted = (drawn.to(device) for drawn in draw(speech, long_enough, run.random()))
        logits = classes(net(net.mel(sounds)[:, :FRAMES]))
        loss = functional.cross_entropy(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        guess = logits.argmax(1)
        voices = (guess // len(SHIFTS) == wanted // len(SHIFTS)).float().mean()
        run.record(loss=loss, right_voice=voices, right_class=(guess == wanted).float().mean())
        run.report()
    return net.eval()


@torch.no_grad()
def embed_all(data, folder, net, device, per_speaker=400):
    """Unit vectors of some sentences of each voice, {speaker: [n, 128]}, into embeddings.npz."""
    speech, found = Speech.open(data, "train"), {speaker: [] for speaker in SPEAKERS}
    for entry in speech.entries:
        if entry["samples"] > SAMPLES and len(found[entry["speaker"]]) < per_speaker:
            found[entry["speaker"]].append(net.embed(torch.from_numpy(speech.samples(entry)).to(device)).cpu().numpy())
    np.savez(folder / "embeddings.npz", **{speaker: np.stack(rows) for speaker, rows in found.items()})
