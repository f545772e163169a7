"""How fast the reference's own fast path takes its steps, in the same conditions as `npm run bench -- --steps-only`.

    node bench/full-size-checkpoint.mjs CHECKPOINT                 # random weights of the published size
    python3 tools/reference_speed.py REFERENCE CHECKPOINT [--quantization none|int8|int4] [--repeats 5] [--text TEXT]

REFERENCE is a checkout of github.com/metavoiceio/metavoice-src whose requirements this Python has (torch with CUDA among them);
CHECKPOINT is the folder with first_stage.pt and speaker_encoder.pt. One JSON object goes to standard output, everything that the
reference prints to standard error.

The reference builds, compiles and warms up its first stage as its server does. Then it speaks as often as asked, each time until
its window is full: an end of audio that no id equals forces the count. A step's time is that from one id to the next one, which
its own loop waits for. Reported are, as in bench/steps.mjs, steps per second at positions (the median of the nine steps around
each) and the mean over positions 0 to 1500, each as { median, low, high } over the repeats, and what the device's memory was
read at in the same run, by torch's sums over 512 MB. Shares of it are left to the reader: the reference reads all 2048 positions
of its cache at every step.

It was written against commit de3fa211 of the reference. Nothing but its refusals has run so far: there was no machine with an
installation of the reference.
"""

import argparse
import contextlib
import importlib.metadata
import json
import statistics
import sys
import time
from pathlib import Path

POSITIONS = (256, 800, 1000, 2000)
MEAN_UP_TO = 1500
AROUND = 4
NO_ID = 1 << 20  # no end of audio that an id could equal
DEFAULT_TEXT = "This is a demo of text to speech by MetaVoice-1B, an open-source foundational audio model."


def refuse(message: str) -> None:
    sys.exit(f"reference_speed: {message}")


def read_arguments(arguments: list) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path, help="checkout of the reference")
    parser.add_argument("checkpoint", type=Path, help="folder with first_stage.pt and speaker_encoder.pt")
    parser.add_argument("--quantization", choices=["none", "int8", "int4"], default="none")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--text", default=DEFAULT_TEXT)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        refuse(f"expected at least 1 for --repeats but received {options.repeats}")
    entry = options.reference / "fam" / "llm" / "fast_inference_utils.py"
    if not entry.is_file():
        refuse(f"expected a checkout of metavoice-src at {options.reference} but {entry} is not there")
    for name in ("first_stage.pt", "speaker_encoder.pt"):
        if not (options.checkpoint / name).is_file():
            refuse(f"expected {name} in {options.checkpoint}; `node bench/full-size-checkpoint.mjs {options.checkpoint}` makes it")
    return options


def import_reference(reference: Path):
    """torch and the reference's module, or a refusal that says what is missing."""
    sys.path.insert(0, str(reference.resolve()))
    try:
        import torch

        from fam.llm import fast_inference_utils
        from fam.llm.utils import get_default_dtype
    except ImportError as error:
        refuse(f"expected torch and the requirements of the reference in this Python, but {error}; `pip install -r requirements.txt` there")
    if not torch.cuda.is_available():
        refuse("expected a GPU: the reference's fast path runs on CUDA alone")
    return torch, fast_inference_utils, getattr(torch, get_default_dtype())


def read_bandwidth(torch, size: int = 1 << 29, rounds: int = 5, sums: int = 8) -> float:
    """Bytes per second, the best of the rounds; as native/ops/read_bandwidth.cc measures it."""
    numbers = torch.ones(size // 4, device="cuda")
    best = 0.0
    for _ in range(rounds):
        numbers.sum().item()
        start = time.perf_counter()
        for _ in range(sums):
            total = numbers.sum()
        total.item()
        best = max(best, size * sums / (time.perf_counter() - start))
    return best


def seconds_of_steps(stamps: list, prompt: int) -> dict:
    """Seconds of the step at each position. A stamp is made when a step was given to the device, and the one before it had ended."""
    return {prompt + index: later - earlier for index, (earlier, later) in enumerate(zip(stamps, stamps[1:]))}


def figures_of(steps: dict) -> dict:
    """Steps per second at the positions that were reached, and of the mean over those up to MEAN_UP_TO."""
    found = {}
    for position in POSITIONS:
        near = [steps[place] for place in range(position - AROUND, position + AROUND + 1) if place in steps]
        if near:
            found[position] = 1 / statistics.median(near)
    early = [seconds for position, seconds in steps.items() if position < MEAN_UP_TO]
    found["mean"] = len(early) / sum(early)
    return found


def spread(values: list) -> dict:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def measure(options: argparse.Namespace) -> dict:
    torch, reference, precision = import_reference(options.reference)
    began = time.perf_counter()
    model, tokenizer, _, _ = reference.build_model(
        precision=precision,
        checkpoint_path=options.checkpoint / "first_stage.pt",
        spk_emb_ckpt_path=options.checkpoint / "speaker_encoder.pt",
        compile_prefill=True,
        compile=True,
        device="cuda",
        quantisation_mode=None if options.quantization == "none" else options.quantization,
    )
    ready = time.perf_counter() - began
    prompt = reference.encode_tokens(tokenizer, options.text, device="cuda")
    number = lambda value: torch.tensor(value, device="cuda", dtype=precision)  # noqa: E731
    speaker = torch.nn.functional.normalize(torch.randn((1, 256), device="cuda"), dim=-1).to(precision)
    runs, bandwidths = [], []
    for _ in range(options.repeats):
        bandwidths.append(read_bandwidth(torch))
        stamps = []
        reference.generate(
            model,
            prompt,
            speaker,
            callback=lambda _: stamps.append(time.perf_counter()),
            end_of_audio_token=NO_ID,
            temperature=number(1.0),
            top_k=None,
            top_p=number(0.95),
            guidance_scale=number(3.0),
        )
        torch.cuda.synchronize()
        runs.append(figures_of(seconds_of_steps(stamps, prompt.size(0))))
    positions = [
        {"position": position, "stepsPerSecond": spread([run[position] for run in runs])}
        for position in POSITIONS
        if all(position in run for run in runs)
    ]
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(["python3", "tools/reference_speed.py", *sys.argv[1:]]),
        "device": torch.cuda.get_device_name(0),
        "torch": importlib.metadata.version("torch"),
        "dtype": str(precision).removeprefix("torch."),
        "quantization": options.quantization,
        "repeats": options.repeats,
        "promptTokens": prompt.size(0),
        "readySeconds": ready,
        "readBandwidth": spread(bandwidths),
        "positions": positions,
        "mean": {"from": 0, "to": MEAN_UP_TO, "stepsPerSecond": spread([run["mean"] for run in runs])},
        "peakDeviceBytes": torch.cuda.max_memory_allocated(),
    }


def main() -> None:
    options = read_arguments(sys.argv[1:])
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(options)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
