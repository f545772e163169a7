"""`python -m metavoice_voice COMMAND`: one command for each step, from nothing to voices/bundled. Each can be stopped and goes on."""

import argparse
import os
import shutil
import time
from pathlib import Path

import torch

from . import corpus, encode, export, foretell, golden, relearn, sentences, shipped, synthesise
from . import train_codec, train_decoder, train_first_stage, train_second_stage, train_speaker_encoder
from .codec import HOP, SpectralCodec
from .language_models import FirstStage, SecondStage
from .speaker_encoder import SpeakerEncoder
from .training import Clock, keep_memory

PROJECT = Path(__file__).resolve().parents[3]
BUNDLED = PROJECT / "voices" / "bundled"
RELEARNED = 4200  # seconds that the voice speaks for its own encoder
STEPS = {"codec": 3600, "relearn": 900, "speaker-encoder": 900, "decoder": 2700, "decoder-refined": 1500, "first-stage": 6500, "second-stage": 850}


class Place:
    def __init__(self, arguments):
        self.root = Path(arguments.work)
        self.data, self.state = Path(arguments.data or self.root / "data"), self.root / "state"
        self.curves, self.out, self.golden = Path(arguments.curves), Path(arguments.out), arguments.golden
        self.seed, self.count, self.readings = arguments.seed, arguments.sentences, arguments.readings
        self.device, self.larger, self.later = torch.device(arguments.device), arguments.larger, arguments.later
        self.rate, self.model = arguments.rate, Path(arguments.model)
        self.threads, self.until = arguments.threads, arguments.until
        clocked = arguments.seconds or self.until
        self.length = lambda name: Clock(arguments.seconds, self.until) if clocked else arguments.steps or STEPS[name]

    def saved(self, name, part, net):
        """The trained network, or what there is of it so far."""
        file = self.state / f"{name}.pt"
        if not file.exists():
            raise SystemExit(f"{file} is not there: run the step that makes it first ({name})")
        net.load_state_dict(torch.load(file, weights_only=True, map_location="cpu")["parts"][part])
        return net.eval()

    def codec(self):
        return self.saved("codec", "net", SpectralCodec(HOP))

    def first_stage(self):
        return self.saved("first-stage", "net", FirstStage(train_first_stage.SIZES))

    def second_stage(self):
        return train_second_stage.sharpened(self.saved("second-stage", "net", SecondStage(train_second_stage.SIZES)))

    def decoder(self):
        refined = (self.state / "decoder-refined.pt").exists()
        return self.saved("decoder-refined" if refined else "decoder", "codec", train_decoder.Codec())


def data(place):
    if not shutil.which("flite"):
        raise SystemExit("expected the Debian package flite: apt-get install it")
    for name, items in corpus.write(place.data, place.count, place.seed, place.readings).items():
        synthesise.write(items, place.data, name, progress(f"speaking {name}"), place.threads, place.until)


def codec(place):
    train_codec.train(place.data, place.state, HOP, place.length("codec"), place.seed, place.device, place.larger)
    code(place)


def code(place):
    for name in ("held-out", "train"):
        encode.write(place.data, name, place.codec(), place.device, progress(f"encoding {name}"))


def adopt(place):
    model = shipped.Shipped(place.model)
    place.state.mkdir(parents=True, exist_ok=True)
    if not (place.state / "first-stage.pt").exists():
        train_speaker_encoder.embed_all(place.data, place.state, model.speaker_encoder(), place.device)
        shipped.adopt(model, place.data, place.state)
    spoken = relearn.write(model, place.data, place.state, RELEARNED, place.seed, progress("speaking, seconds"))
    relearn.train(model, spoken, place.state, HOP, place.length("relearn"), place.seed)
    code(place)


def decoder(place):
    train_decoder.train(place.data, place.state, place.codec(), HOP, place.length("decoder"), place.seed, place.device, place.larger, place.rate)


def refine(place):
    # Of the second stage as it was the first time: remove the file where that has been trained since.
    if not (place.data / "train.foretold.npy").exists():
        foretell.write(place.data, place.state, HOP, place.second_stage(), place.seed, place.device, progress("foretelling codes"), place.larger)
    trained = place.saved("decoder", "codec", train_decoder.Codec())
    train_decoder.refine(place.data, place.state, trained, HOP, place.length("decoder-refined"), place.seed, place.device, place.larger, place.rate)


def speaker_encoder(place):
    net = train_speaker_encoder.train(place.data, place.state, place.length("speaker-encoder"), place.seed, place.device)
    train_speaker_encoder.embed_all(place.data, place.state, net, place.device)


def first_stage(place):
    train_first_stage.train(place.data, place.state, HOP, place.length("first-stage"), place.seed, place.device, place.larger, place.later, place.rate)


def second_stage(place):
    train_second_stage.train(place.data, place.state, HOP, place.length("second-stage"), place.seed, place.device, place.larger, place.rate)


def write(place):
    folder = place.out
    manifest = export.write(
        folder,
        place.data,
        place.first_stage(),
        place.second_stage(),
        place.saved("speaker-encoder", "net", SpeakerEncoder()),
        place.decoder(),
        dict(zip(corpus.SPEAKERS, sentences.means_of(sentences.embeddings(place.state)))),
    )
    total = sum(file.stat().st_size for file in folder.iterdir())
    print(f"wrote {folder}: {total / 1e6:.1f} MB, {len(manifest['speakers'])} speakers")
    if place.golden or folder.resolve() == BUNDLED:
        golden.write(folder, Path(place.golden or PROJECT / "test" / "fixtures" / "bundled.safetensors"))
    place.curves.mkdir(parents=True, exist_ok=True)
    for curve in place.state.glob("*.png"):
        shutil.copy(curve, place.curves / curve.name)


COMMANDS = {
    "data": (data, "sentences, and flite's reading of them"),
    "codec": (codec, "the codes, and all speech as codes"),
    "encode": (code, "all speech as codes of a codec that is trained"),
    "adopt": (adopt, "instead of all before: what ships, its encoder learned anew, and all speech as its codes, to go on training"),
    "speaker-encoder": (speaker_encoder, "the speaker encoder"),
    "decoder": (decoder, "EnCodec's decoder, on codes"),
    "first-stage": (first_stage, "text to two codebooks"),
    "second-stage": (second_stage, "two codebooks to eight"),
    "refine": (refine, "the decoder once more, on fine codes as the second stage foretells them"),
    "export": (write, "voices/bundled, and the curves for docs/voice"),
}


def progress(what):
    last = [0.0]

    def tell(done, total):
        if time.monotonic() - last[0] > 10:
            last[0] = time.monotonic()
            print(f"{what}: {done} of {total}", flush=True)

    return tell


def main():
    parser = argparse.ArgumentParser(prog="metavoice_voice", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "all"], help="; ".join(f"{name}: {what}" for name, (_, what) in COMMANDS.items()))
    parser.add_argument("--work", default="voice-work", help="folder of data and states (some 8 GB)")
    parser.add_argument("--data", help="another folder of data than WORK/data")
    parser.add_argument("--later", nargs="*", type=Path, default=[], help="folders whose speech the first stage takes up once it is there")
    parser.add_argument("--curves", default=PROJECT / "docs" / "voice", help="folder of the pictures")
    parser.add_argument("--out", default=BUNDLED, help="folder of the model that `export` writes")
    parser.add_argument("--golden", help="file of what its networks compute, for the tests; theirs where the model is voices/bundled")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=24_000)
    parser.add_argument("--readings", type=int, default=1, help="how many of the speakers read each sentence")
    parser.add_argument("--steps", type=int, help="instead of the step's own number")
    parser.add_argument("--seconds", type=float, default=0.0, help="as many steps as fit, instead")
    parser.add_argument("--until", type=float, help="as many steps, or sentences, as fit before this second since 1970, instead")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default=BUNDLED, help="the folder that `adopt` takes")
    parser.add_argument("--rate", type=float, default=1.0, help="of learning, in parts of the usual")
    parser.add_argument("--larger", type=int, default=1, help="batches of so many times the usual size: for a GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch, or processes of flite")
    arguments = parser.parse_args()
    keep_memory()
    torch.set_num_threads(arguments.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    # cuDNN's attention makes a plan for each new shape, and nearly every batch has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    place = Place(arguments)
    everything = [name for name in COMMANDS if name not in ("encode", "adopt")]
    for name in everything if arguments.command == "all" else [arguments.command]:
        COMMANDS[name][0](place)


main()
