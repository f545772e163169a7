"""PocketSphinx as a process: one JSON line and its sound in, one JSON line out.

stdin:  {"samples": N, "sampleRate": R}\n and N samples of 16-bit little-endian mono, again and again
stdout: {"ready": true}\n once the models are loaded, then {"text": "what was heard"}\n for each

The English models come with the package. What was heard depends on the sound alone. A decoder keeps more than its cepstral
mean from one utterance to the next (the best Gaussians of the last frame, for one) and nothing sets that back, so each
utterance gets a decoder that has heard nothing: a fork of the loaded one, or where there is no fork one that is loaded anew.
"""

import json
import os
import sys

from pocketsphinx import Decoder


def load(sample_rate: int) -> Decoder:
    # The cepstral mean is the utterance's own, not a running one.
    return Decoder(samprate=float(sample_rate), cmn="batch", loglevel="FATAL")


def answer(decoder: Decoder, pcm: bytes) -> None:
    hypothesis = None
    if pcm:
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
    print(json.dumps({"text": hypothesis.hypstr if hypothesis else ""}), flush=True)


def main() -> None:
    loaded = {16000: load(16000)}
    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.buffer.readline():
        header = json.loads(line)
        rate = header["sampleRate"]
        pcm = sys.stdin.buffer.read(2 * header["samples"])
        if not hasattr(os, "fork"):
            answer(load(rate), pcm)
            continue
        if rate not in loaded:
            loaded[rate] = load(rate)
        child = os.fork()
        if child == 0:
            answer(loaded[rate], pcm)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:  # or whoever asked would wait for ever
            sys.exit(f"expected what was heard, but the decoder's process ended with wait status {status}")


main()
