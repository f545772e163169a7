"""Draws spectrograms side by side: `python spectrograms.py job.json`, a list of {text, output, panels}.

A panel is {title, file, sampleRate}; its file holds float32 samples. Pictures have few colours, which keeps them small.
"""

import io
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

WINDOW, HOP, FLOOR_DECIBELS, HIGHEST_HERTZ = 400, 160, -70, 8000


def spectrum(samples: np.ndarray) -> np.ndarray:
    """Decibels below the loudest, [frequencies, frames]."""
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), 512)).T ** 2
    return np.maximum(10 * np.log10(power / max(power.max(), 1e-12) + 1e-12), FLOOR_DECIBELS)


def draw(text: str, output: str, panels: list[dict]) -> None:
    sounds = [np.fromfile(panel["file"], "<f4") for panel in panels]
    longest = max(len(sound) / panel["sampleRate"] for sound, panel in zip(sounds, panels))
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 2.6), sharey=True, layout="constrained")
    for axis, panel, sound in zip(axes, panels, sounds):
        rate = panel["sampleRate"]
        extent = (0, len(sound) / rate, 0, rate / 2)
        axis.imshow(spectrum(sound), origin="lower", aspect="auto", extent=extent, cmap="magma")
        axis.set_facecolor("black")  # where one of them has ended
        axis.set(title=panel["title"], xlabel="seconds", xlim=(0, longest), ylim=(0, min(rate / 2, HIGHEST_HERTZ)))
    axes[0].set_ylabel("hertz")
    figure.suptitle(text, fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=80)
    plt.close(figure)
    Image.open(picture).convert("RGB").quantize(24, dither=Image.Dither.NONE).save(output, optimize=True)


with open(sys.argv[1], encoding="utf-8") as job:
    for picture in json.load(job):
        draw(**picture)
