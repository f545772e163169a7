"""Sentences to speak, from texts that may be redistributed: WordNet's examples, fortunes, and a small grammar.

Sources and licences: voices/README.md. Everything is drawn from a seed, so that the same packages give the same corpus.
"""

import itertools
import json
import os
import random
import re
from pathlib import Path

from . import grammar

SPEAKERS = ("slt", "rms", "awb", "kal")
HELD_OUT = 200  # for judging
TRIED = 240  # for choosing: of neither the training nor the held-out text

SHARE = Path(os.environ.get("VOICE_SHARE", "/usr/share"))  # another one where the packages are only unpacked
WORDNET, FORTUNES, DICTIONARY = SHARE / "wordnet", SHARE / "games/fortunes", SHARE / "dict/american-english"
NEEDED = {WORDNET: "wordnet-base", FORTUNES: "fortunes", DICTIONARY: "wamerican"}

# The sentences that the voice is judged by. Another release of the packages would hold out others, and train on some of these.
JUDGED = Path(__file__).resolve().parents[1] / "held-out.json"

SPEAKABLE = re.compile(r"[A-Za-z0-9 ,.;:!?'\"-]+")
QUOTED = re.compile(r'"([^"]+)"')


def wordnet_examples():
    """Phrases that show a word in use: some 48,000, of three to twelve words for the most part."""
    for file in sorted(WORDNET.glob("data.*")):
        for line in file.read_text("latin-1").splitlines():
            if not line.startswith("  ") and "|" in line:
                yield from (tidy(phrase) for phrase in QUOTED.findall(line.split("|", 1)[1]))


def fortune_sentences():
    files = [file for file in sorted(FORTUNES.iterdir()) if file.is_file() and "." not in file.name and "art" not in file.name]
    for file in files:
        for fortune in file.read_text("utf-8", errors="replace").split("\n%\n"):
            said = re.split(r"\n\s*--", fortune)[0]
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(said.split())):
                yield tidy(sentence)


def tidy(text):
    return re.sub(r"\s+", " ", text.replace("`", "'").replace("--", ", ").replace("...", ", ")).strip(" ,;-")


def is_sound(text, least=2, most=200):
    """What a voice can be asked to read without guessing: letters, figures, ordinary marks."""
    return (
        len(text) >= 6
        and len(text) <= most
        and len(text.split()) >= least
        and SPEAKABLE.fullmatch(text) is not None
        and max(len(word) for word in text.split()) <= 18
        and sum(letter.isupper() for letter in text) <= max(3, len(text) // 8)
    )


def as_sentence(text, chance):
    """Most people write a capital and a full stop; some do not, and are read, too."""
    if chance.random() < 0.85:
        text = text[0].upper() + text[1:]
        if text[-1].isalnum():
            text += "." if chance.random() < 0.95 else "!"
    elif chance.random() < 0.5:
        text = text.lower()
    return text


def key_of(text):
    return re.sub(r"[^a-z0-9 ]", "", text.lower())


def judged_keys():
    return {key_of(item["text"]) for item in json.loads(JUDGED.read_text())["sentences"]} if JUDGED.exists() else set()


def can_be_held_out(text, words):
    said = key_of(text).split()
    return 5 <= len(said) <= 12 and re.fullmatch(r"[A-Za-z ,.']+", text) and all(word in words for word in said)


def make(count, seed, readings=1):
    """`count` sentences to train on, 200 that are held out, and 60 to choose by: lists of {id, speaker, text}.

    Each sentence to train on is read by so many of the speakers.
    """
    chance = random.Random(seed)
    words = {word for word in DICTIONARY.read_text().split() if word.isascii() and word.islower()}
    examples = sorted({text for text in wordnet_examples() if is_sound(text)})
    quotes = sorted({text for text in fortune_sentences() if is_sound(text, least=3)})
    chance.shuffle(examples)
    chance.shuffle(quotes)

    held_out, keys = [], set()
    sources = [iter(examples), (grammar.sentence(chance) for _ in range(100_000))]
    for source, wanted in zip(sources, (HELD_OUT * 3 // 4, HELD_OUT)):
        for text in source:
            if len(held_out) == wanted:
                break
            if key_of(text) not in keys and can_be_held_out(text, words):
                keys.add(key_of(text))
                held_out.append(text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else "."))
    chance.shuffle(held_out)

    keys |= judged_keys()
    pools = [(0.62, examples), (0.2, quotes), (0.18, None)]
    texts = []
    for share, pool in pools:
        wanted = int(count * share)
        texts += [grammar.sentence(chance) for _ in range(wanted)] if pool is None else grouped(pool, wanted, chance)
    chance.shuffle(texts)
    kept = [text for text in texts if not any(key_of(part) in keys for part in re.split(r"(?<=[.!?]) ", text))]
    number = lambda items, shift=0: [
        {"id": index, "speaker": SPEAKERS[(index + shift) % len(SPEAKERS)], "text": text} for index, text in enumerate(items)
    ]
    known = keys | {key_of(part) for text in kept for part in re.split(r"(?<=[.!?]) ", text)}
    unread = (as_sentence(text, chance) for text in reversed(examples) if can_be_held_out(text, words))
    tried = itertools.islice((text for text in unread if key_of(text) not in known), TRIED)
    # Its second reader is the next speaker, and so on.
    train = [item for shift in range(readings) for item in number(kept, shift)]
    return [{**item, "id": index} for index, item in enumerate(train)], number(held_out), number(tried)


def grouped(pool, wanted, chance):
    """Sentences one at a time, and some two or three together, so that longer breaths are learned, too."""
    result, position = [], 0
    while len(result) < wanted and position < len(pool):
        together = chance.choices((1, 2, 3, 4), (0.66, 0.22, 0.08, 0.04))[0]
        parts = [as_sentence(text, chance) for text in pool[position : position + together]]
        position += together
        if together > 1:
            parts = [part if part[-1] in ".!?" else part + "." for part in parts]
        text = " ".join(parts)
        if len(text) <= 240:
            result.append(text)
    return result


def write(folder, count, seed, readings=1):
    """The three lists by name. Those that are there are taken as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.json" for name in ("train", "held-out", "tried")}
    if not all(file.exists() for file in files.values()):
        missing = [package for thing, package in NEEDED.items() if not thing.exists()]
        if missing:
            raise SystemExit(f"expected the Debian packages {' '.join(NEEDED.values())} but miss {' '.join(missing)}: apt-get install them")
        for file, items in zip(files.values(), make(count, seed, readings)):
            file.write_text(json.dumps(items, indent=0))
    return {name: json.loads(file.read_text()) for name, file in files.items()}
