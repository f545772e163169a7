"""python -m metavoice_voice.join OUT PART…: one work folder of several, their speech and codes one after another.

So that training can begin before all is spoken. The parts are coded by the same codec; what is held out is that of the first.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np


def join(out, parts):
    data, entries, starts, codes, samples, frames = out / "data", [], [], [], 0, 0
    data.mkdir(parents=True, exist_ok=True)
    with open(data / "train.pcm", "wb") as file:
        for part in parts:
            found = json.loads((part / "data" / "train.index.json").read_text())
            coded = np.load(part / "data" / "train.codes.npy")
            with open(part / "data" / "train.pcm", "rb") as source:
                shutil.copyfileobj(source, file, 1 << 24)
            entries += [{**entry, "start": entry["start"] + samples} for entry in found]
            starts += [start + frames for start in json.loads((part / "data" / "train.codes.json").read_text())]
            codes.append(coded)
            samples += sum(entry["samples"] for entry in found)
            frames += coded.shape[1]
    (data / "train.index.json").write_text(json.dumps(entries))
    (data / "train.codes.json").write_text(json.dumps(starts))
    np.save(data / "train.codes.npy", np.concatenate(codes, 1))
    for file in [*(parts[0] / "data").glob("held-out.*"), *(parts[0] / "data").glob("tried*"), parts[0] / "data" / "tokenizer.json"]:
        shutil.copy(file, data / file.name)
    print(f"{len(entries)} sentences, {samples / 16_000 / 3600:.1f} h", flush=True)


join(Path(sys.argv[1]), [Path(part) for part in sys.argv[2:]])
