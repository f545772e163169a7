"""Long runs: seeded by step, so that a run that was cut off goes on as if it had not been; curves as pictures."""

import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

SAVE_SECONDS = 60


@dataclass
class Clock:
    """As many steps as fit in so many seconds, or until a moment (of `time.time()`); the weights then depend on the machine, too."""

    seconds: float = 0.0
    until: float | None = None

    def start(self, spent):
        """`spent`: the seconds that were trained before."""
        if self.until is not None:
            self.seconds = spent + max(0.0, self.until - time.time())

    def part_done(self, spent):
        return spent / self.seconds if spent < self.seconds else 1.0

    def __str__(self):
        return f"those of {self.seconds:.0f} s"


class Run:
    """`for step in run:` trains; `run.record(...)` keeps a figure of each step.

    `parts` (name → anything with `state_dict`) is saved with the step every minute, at the end, and when the
    process is told to stop. Each step starts from a random state of its own. `length` is a number of steps, or a `Clock`.
    """

    def __init__(self, folder, name, length, seed, parts):
        folder.mkdir(parents=True, exist_ok=True)
        self.state, self.curve, self.log = folder / f"{name}.pt", folder / f"{name}.png", folder / f"{name}.jsonl"
        self.name, self.length, self.seed, self.parts = name, length, seed, parts
        self.step, self.figures, self.seconds = 0, {}, 0.0
        self.stopped = False
        if self.state.exists():
            self.resume()
        elif self.log.exists():
            self.log.unlink()
        if isinstance(length, Clock):
            length.start(self.seconds)

    def resume(self):
        saved = torch.load(self.state, weights_only=True, map_location="cpu")
        for name, state in saved["parts"].items():
            self.parts[name].load_state_dict(state)
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.flush()
        print(f"{self.name}: goes on at step {self.step} of {self.length}", flush=True)

    def save(self):
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        if not all(tensor.isfinite().all() for part in parts.values() for tensor in part.values() if torch.is_tensor(tensor)):
            raise FloatingPointError(f"{self.name}: weights are no longer finite at step {self.step}; the state before is kept")
        temporary = self.state.with_suffix(".tmp")
        torch.save({"step": self.step, "seconds": self.seconds, "parts": parts}, temporary)
        os.replace(temporary, self.state)
        points = self.flush()
        # A picture takes a second, which a run against the clock has not.
        if points and (self.part_done() >= 1 or not isinstance(self.length, Clock)):
            draw(points, self.curve, self.name)

    def __iter__(self):
        def stop(*_):
            self.stopped = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        started, saved, before = time.monotonic(), time.monotonic(), self.seconds
        if isinstance(self.length, Clock):
            self.length.start(before)
        while self.part_done() < 1:
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            yield self.step
            self.step += 1
            self.seconds = before + time.monotonic() - started
            if self.stopped or time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
            if self.stopped:
                print(f"{self.name}: stopped and saved at step {self.step}", flush=True)
                sys.exit(0)
        self.save()

    def random(self):
        """Random numbers of this step, for data."""
        return np.random.default_rng((self.seed, self.step))

    def part_done(self):
        return self.length.part_done(self.seconds) if isinstance(self.length, Clock) else self.step / self.length

    def record(self, **figures):
        # Tensors stay where they are until the report: asking a GPU for a number makes it wait.
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(torch.as_tensor(value).detach())

    def report(self, every=50):
        """A line with means since the last one; they are also the points of the curves."""
        if (self.step + 1) % every:
            return
        means = {name: float(torch.stack(values).float().mean()) for name, values in self.figures.items() if values}
        self.figures = {}
        line = {"step": self.step + 1, "seconds": round(self.seconds), **{k: round(v, 4) for k, v in means.items()}}
        with open(self.log, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{self.name} {json.dumps(line)}", flush=True)

    def flush(self):
        """The points so far; those of steps that were never saved are dropped."""
        if not self.log.exists():
            return []
        points = [json.loads(line) for line in self.log.read_text().splitlines()]
        points = [point for point in points if point["step"] <= self.step]
        self.log.write_text("".join(json.dumps(point) + "\n" for point in points))
        return points


def draw(points, file, title):
    """Each figure over the steps, in a panel of its own. Nothing without matplotlib: the points are kept beside the state."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({name for point in points for name in point} - {"step", "seconds"})
    if not names:
        return
    figure, panels = pyplot.subplots(1, len(names), figsize=(3.4 * len(names), 2.6), squeeze=False)
    for panel, name in zip(panels[0], names):
        known = [(point["step"], point[name]) for point in points if name in point]
        panel.plot(*zip(*known), linewidth=1.2)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


class Never:
    """A source of chance by which nothing happens: no text is left out, no sentence breaks off."""

    def random(self, shape):
        return np.ones(shape)

    def integers(self, low, high):
        return low


def keep_memory():
    """Large blocks stay with the process. glibc would give each one back and take it anew: a quarter of a step's time on a CPU."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # another C library
    mmap_max, trim_threshold = -4, -1  # of malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


def put(array, device):
    """What a step begins with, on the device, without waiting for what the device is still at."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def adamw(parameters, device, **options):
    return torch.optim.AdamW(parameters, fused=device.type == "cuda", **options)


def mixed_precision(device):
    """What matrix products are computed in: bfloat16 on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def linear_rate(part_done, step, warm=100, last=0.03):
    """Warms up, then falls linearly to a small part."""
    return min(1.0, (step + 1) / warm) * max(last, 1 - part_done)


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("base_lr", group["lr"]) * rate
