"""Records test/fixtures/enhancer_whole.safetensors: a signal through the whole of DeepFilterNet3, with the weights of
test/fixtures/model/DeepFilterNet3.

    python3 -m venv venv && venv/bin/pip install deepfilterlib==0.5.6 numpy
    venv/bin/python tools/enhancer/record.py

Spectrum, features and synthesis are libDF's own (the package `deepfilterlib`); the network between them is written here
once more in numpy, in float64, and first held against test/fixtures/enhancer.safetensors, which the original made.
"""

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import libdf
import numpy as np

FIXTURES = Path(__file__).parents[2] / "test" / "fixtures"
RATE, WINDOW, HOP, BANDS, DEEP_BINS, ORDER, LOOK_AHEAD = 48000, 960, 480, 32, 96, 5, 2
DECAY = 0.99
FIRST, LENGTH = 30_000, 17_003  # of the recording at 48 kHz; no whole number of hops
SPECTRA = 12  # frames of spectrum and features that are kept


# ------------------------------------------------------------------------------------------ files


def load_checkpoint(path):
    """The float tensors of a zip of torch.save, without torch."""
    archive = zipfile.ZipFile(path)
    root = archive.namelist()[0].split("/")[0]

    def rebuild(storage, offset, shape, stride, *_):
        kind, key = storage
        values = np.frombuffer(archive.read(f"{root}/data/{key}"), kind)[offset:]
        return np.lib.stride_tricks.as_strided(values, shape, [step * values.itemsize for step in stride])

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            known = {"_rebuild_tensor_v2": rebuild, "OrderedDict": OrderedDict, "FloatStorage": "<f4", "LongStorage": "<i8"}
            return known[name]

        def persistent_load(self, saved):
            return saved[1], saved[2]

    state = Unpickler(archive.open(f"{root}/data.pkl")).load()
    return {name: tensor.astype(np.float64) for name, tensor in state.items() if tensor.dtype == np.float32}


def load_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + size + begin : 8 + size + end], "<f4").reshape(entry["shape"])
    return tensors


def save_safetensors(path, tensors):
    header, body = {}, b""
    for name, tensor in tensors.items():
        stored = np.ascontiguousarray(tensor, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(stored)]}
        body += stored
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def load_recording(path):
    """Samples of a mono float32 WAV file."""
    data = path.read_bytes()
    at = 12
    while data[at : at + 4] != b"data":
        at += 8 + struct.unpack("<I", data[at + 4 : at + 8])[0]
    return np.frombuffer(data[at + 8 : at + 8 + struct.unpack("<I", data[at + 4 : at + 8])[0]], "<f4")


def upsample(samples, times):
    """A windowed sinc, for a signal to work on; nothing is compared with it."""
    reach = 16
    padded = np.concatenate([np.zeros(reach), samples, np.zeros(reach)])
    taps = np.arange(-reach, reach + 1)
    phases = []
    for phase in range(times):
        t = taps - phase / times
        kernel = np.sinc(t) * np.where(abs(t) < reach, np.cos(np.pi * t / reach / 2) ** 2, 0)
        phases.append(np.convolve(padded, kernel[::-1], "valid"))
    return np.stack(phases, 1).reshape(-1)


# ------------------------------------------------------------------------------------------ the network, [channel, time, bin]


class Network:
    def __init__(self, weights):
        self.weights = weights

    def conv(self, name, x, stride=1):
        weight = self.weights[f"{name}.weight"]
        out, share, times, width = weight.shape
        groups, margin = x.shape[0] // share, width // 2
        x = np.pad(x, ((0, 0), (times - 1, 0), (margin, margin)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (times, width), (1, 2))[:, :, ::stride]
        windows = windows.reshape(groups, share, *windows.shape[1:])
        kernels = weight.reshape(groups, out // groups, share, times, width)
        return np.einsum("gitfab,goiab->gotf", windows, kernels).reshape(out, *windows.shape[2:4])

    def spread(self, name, x):
        """A transposed convolution along the bins, of stride 2."""
        weight = self.weights[f"{name}.weight"][:, 0, 0]  # [channel, 3]
        bins = x.shape[2]
        out = np.zeros((*x.shape[:2], 2 * bins + 2))
        for tap in range(3):
            out[:, :, tap : tap + 2 * bins : 2] += x * weight[:, None, None, tap]
        return out[:, :, 1 : 2 * bins + 1]

    def norm(self, name, x):
        scale, offset, mean, variance = (
            self.weights[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + offset

    def separable(self, name, x, stride=1, up=False):
        x = self.spread(f"{name}.0", x) if up else self.conv(f"{name}.0", x, stride)
        return relu(self.norm(f"{name}.2", self.conv(f"{name}.1", x)))

    def linear(self, name, x):
        weight = self.weights[f"{name}.weight"]
        return np.einsum("tgi,gio->tgo", x.reshape(len(x), *weight.shape[:2]), weight).reshape(len(x), -1)

    def gru(self, name, x):
        layer = 0
        while f"{name}.weight_ih_l{layer}" in self.weights:
            wi, wh, bi, bh = (
                self.weights[f"{name}.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            hidden, states = np.zeros(wh.shape[1]), []
            for row in x:
                (ri, zi, ni), (rh, zh, nh) = np.split(wi @ row + bi, 3), np.split(wh @ hidden + bh, 3)
                update = sigmoid(zi + zh)
                hidden = (1 - update) * np.tanh(ni + sigmoid(ri + rh) * nh) + update * hidden
                states.append(hidden)
            x, layer = np.stack(states), layer + 1
        return x

    def squeezed(self, name, x):
        x = self.gru(f"{name}.gru", relu(self.linear(f"{name}.linear_in.0", x)))
        return relu(self.linear(f"{name}.linear_out.0", x)) if f"{name}.linear_out.0.weight" in self.weights else x

    def path(self, name, x):
        return relu(self.norm(f"{name}.1", self.conv(f"{name}.0", x)))

    def __call__(self, levels, bins):
        """levels [time, band], bins [time, bin, 2] -> gains [time, band], filters [time, bin, tap] (complex)."""
        e0 = relu(self.norm("enc.erb_conv0.2", self.conv("enc.erb_conv0.1", levels[None])))
        e1 = self.separable("enc.erb_conv1", e0, 2)
        e2 = self.separable("enc.erb_conv2", e1, 2)
        e3 = self.separable("enc.erb_conv3", e2)
        c0 = relu(self.norm("enc.df_conv0.3", self.conv("enc.df_conv0.2", self.conv("enc.df_conv0.1", bins.transpose(2, 0, 1)))))
        c1 = self.separable("enc.df_conv1", c0, 2)
        flat = lambda x: x.transpose(1, 2, 0).reshape(x.shape[1], -1)
        emb = self.squeezed("enc.emb_gru", flat(e3) + relu(self.linear("enc.df_fc_emb.0", flat(c1))))

        d = self.squeezed("erb_dec.emb_gru", emb).reshape(len(emb), e3.shape[2], e3.shape[0]).transpose(2, 0, 1)
        d = self.separable("erb_dec.convt3", self.path("erb_dec.conv3p", e3) + d)
        d = self.separable("erb_dec.convt2", self.path("erb_dec.conv2p", e2) + d, up=True)
        d = self.separable("erb_dec.convt1", self.path("erb_dec.conv1p", e1) + d, up=True)
        d = self.norm("erb_dec.conv0_out.1", self.conv("erb_dec.conv0_out.0", self.path("erb_dec.conv0p", e0) + d))

        c = self.squeezed("df_dec.df_gru", emb) + self.linear("df_dec.df_skip", emb)
        p = relu(self.norm("df_dec.df_convp.3", self.conv("df_dec.df_convp.2", self.conv("df_dec.df_convp.1", c0))))
        taps = np.tanh(self.linear("df_dec.df_out.0", c)).reshape(len(emb), DEEP_BINS, 2 * ORDER) + p.transpose(1, 2, 0)
        return sigmoid(d[0]), taps[:, :, 0::2] + 1j * taps[:, :, 1::2]


relu = lambda x: np.maximum(x, 0)
sigmoid = lambda x: 1 / (1 + np.exp(-x))
ahead = lambda x: np.concatenate([x[LOOK_AHEAD:], np.zeros_like(x[:LOOK_AHEAD])])


def enhance_spectrum(weights, spectrum, levels, bins):
    """spectrum [time, bin] complex, features as libDF gives them -> enhanced spectrum, gains."""
    gains, filters = Network(weights)(ahead(levels.astype(np.float64)), ahead(bins.astype(np.float64)))
    enhanced = spectrum * (gains @ weights["mask.erb_inv_fb"])
    before = ORDER - 1 - LOOK_AHEAD
    padded = np.pad(spectrum[:, :DEEP_BINS], ((before, LOOK_AHEAD), (0, 0)))
    enhanced[:, :DEEP_BINS] = sum(padded[o : o + len(spectrum)] * filters[:, :, o] for o in range(ORDER))
    return enhanced, gains


pairs = lambda x: np.stack([x.real, x.imag], -1)


def check_network(weights):
    golden = load_safetensors(FIXTURES / "enhancer.safetensors")
    spectrum = golden["spec"][..., 0] + 1j * golden["spec"][..., 1]
    enhanced, gains = enhance_spectrum(weights, spectrum, golden["feat_erb"], golden["feat_spec"])
    for found, wanted in ((pairs(enhanced), golden["enhanced"]), (gains, golden["mask"])):
        error = abs(found - wanted).max()
        print(f"the network is off by {error:.1e} of the golden one")
        assert error < 1e-5


def main():
    weights = load_checkpoint(FIXTURES / "model" / "DeepFilterNet3" / "checkpoints" / "model_120.ckpt.best")
    check_network(weights)
    samples = upsample(load_recording(FIXTURES / "speaker_16k.wav"), 3)[FIRST : FIRST + LENGTH].astype(np.float32)
    noise = np.random.default_rng(1).standard_normal(LENGTH) * 0.01
    samples += noise.astype(np.float32)

    state = libdf.DF(RATE, WINDOW, HOP, BANDS, 2)
    padded = np.pad(samples, (0, WINDOW))
    spectrum = state.analysis(padded[None])[0]
    levels = libdf.erb_norm(libdf.erb(spectrum[None], state.erb_widths(), True), DECAY)[0]
    bins = pairs(libdf.unit_norm(spectrum[None, :, :DEEP_BINS].copy(), DECAY)[0])
    enhanced, _ = enhance_spectrum(weights, spectrum.astype(np.complex128), levels, bins)
    state.reset()
    out = state.synthesis(enhanced.astype(np.complex64)[None])[0][HOP : HOP + LENGTH]
    assert abs(out).max() < 1

    save_safetensors(
        FIXTURES / "enhancer_whole.safetensors",
        {"samples": samples, "spectrum": pairs(spectrum)[:SPECTRA], "levels": levels[:SPECTRA], "bins": bins[:SPECTRA], "enhanced": out},
    )
    print(f"{len(spectrum)} frames, peak {abs(samples).max():.3f} in, {abs(out).max():.3f} out")


if __name__ == "__main__":
    main()
