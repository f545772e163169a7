"""Speech in parts, so that training can begin before all is spoken. Parts are coded by the same codec, and share what is held out.

python -m metavoice_voice.parts lists FOLDER COUNT READINGS     sentences and their tokenizer, for a machine without their sources
python -m metavoice_voice.parts slice LISTS OUT FIRST [COUNT]   a work folder's data: sentences of the list, from number FIRST on,
                                                                or from the one after the last that the folder FIRST has
python -m metavoice_voice.parts join OUT PART…                  the codes of several, without their sound, read and all
"""

import json
import shutil
import sys
from pathlib import Path

LISTS = ("train.json", "held-out.json", "tried.json", "tokenizer.json")


def lists(folder, count, readings):
    from . import corpus
    from .tokenizer import Tokenizer

    corpus.write(folder, int(count), 1, int(readings))
    Tokenizer.of(folder)


def slice_of(source, out, first, count=None):
    out.mkdir(parents=True, exist_ok=True)
    begin = int(first) if first.isdigit() else json.loads(Path(first, "train.index.json").read_text())[-1]["id"] + 1
    for name in LISTS[1:]:
        shutil.copy(source / name, out / name)
    items = json.loads((source / "train.json").read_text())[begin : begin + int(count) if count else None]
    if not items:
        raise SystemExit(f"no sentence is left from number {begin} on")
    (out / "train.json").write_text(json.dumps(items))


def join(out, *parts):
    import numpy as np

    from .codec import HOP
    from .sentences import prepared

    entries, starts, codes, samples, frames = [], [], [], 0, 0
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        found, coded = json.loads((part / "train.index.json").read_text()), np.load(part / "train.codes.npy")
        entries += [{**entry, "start": entry["start"] + samples} for entry in found]
        starts += [start + frames for start in json.loads((part / "train.codes.json").read_text())]
        codes.append(coded)
        samples += sum(entry["samples"] for entry in found)
        frames += coded.shape[1]
    (out / "train.index.json").write_text(json.dumps(entries))
    np.save(out / "train.codes.npy", np.concatenate(codes, 1))
    (out / "train.codes.json").write_text(json.dumps(starts))
    for file in [*parts[0].glob("held-out.*"), *parts[0].glob("tried*"), parts[0] / "tokenizer.json"]:
        shutil.copy(file, out / file.name)
    prepared(out, "train", HOP)
    print(f"{out.name}: {len(entries)} sentences, {samples / 16_000 / 3600:.1f} h", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["lists", folder, count, readings]:
            lists(Path(folder), count, readings)
        case ["slice", source, out, first, *count]:
            slice_of(Path(source), Path(out), first, *count)
        case ["join", out, *parts] if parts:
            join(Path(out), *map(Path, parts))
        case _:
            raise SystemExit(__doc__)
