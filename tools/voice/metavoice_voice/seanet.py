"""EnCodec's decoder (Défossez et al., "High fidelity neural audio compression", 2022) in the published form."""

import math

from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

KERNEL = 7


class CausalConv(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(inputs, outputs, kernel))
        self.past = kernel - 1

    def forward(self, x):
        return self.conv(functional.pad(x, (self.past, 0), mode="reflect") if self.past else x)


class CausalUp(nn.Module):
    """Transposed convolution of kernel 2r and stride r; the last r samples, which wait for the future, are cut off."""

    def __init__(self, inputs, outputs, ratio):
        super().__init__()
        self.conv = weight_norm(nn.ConvTranspose1d(inputs, outputs, 2 * ratio, ratio))
        self.ratio = ratio

    def forward(self, x):
        return self.conv(x)[..., : -self.ratio]


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = CausalConv(width, width // 2, 3), CausalConv(width // 2, width, 1)
        self.shortcut = CausalConv(width, width, 1)

    def forward(self, x):
        return self.shortcut(x) + self.second(functional.elu(self.first(functional.elu(x))))


class Decoder(nn.Module):
    """latent [batch, dimension, frames] → samples [batch, frames · hop]."""

    def __init__(self, dimension, filters, ratios, lstm_layers):
        super().__init__()
        self.ratios = tuple(ratios)
        width = filters * 2 ** len(ratios)
        self.first = CausalConv(dimension, width, KERNEL)
        self.lstm = nn.LSTM(width, width, lstm_layers, batch_first=True) if lstm_layers else None
        self.ups, self.residuals = nn.ModuleList(), nn.ModuleList()
        for ratio in ratios:
            self.ups.append(CausalUp(width, width // 2, ratio))
            width //= 2
            self.residuals.append(Residual(width))
        self.last = CausalConv(width, 1, KERNEL)

    def forward(self, latent, skip=0):
        """`skip`: so many frames are heard but not spoken."""
        x = self.first(latent)
        if self.lstm is not None:
            x = x + self.lstm(x.transpose(1, 2))[0].transpose(1, 2)
        # What follows looks back less than a frame, so all but one of those skipped need no samples.
        lead = min(skip, 1)
        x = x[..., skip - lead :]
        hop = math.prod(self.ratios)
        for up, residual in zip(self.ups, self.residuals):
            x = residual(up(functional.elu(x)))
        return self.last(functional.elu(x))[:, 0, lead * hop :]

    def tensors(self):
        """Names and numbers of a model folder (docs/checkpoints.md)."""
        named = {}

        def convolution(path, module):
            parameters = module.conv.parametrizations.weight
            named[f"{path}.weight_g"], named[f"{path}.weight_v"] = parameters.original0, parameters.original1
            named[f"{path}.bias"] = module.conv.bias

        convolution("decoder.0", self.first)
        if self.lstm is not None:
            named |= {f"decoder.1.lstm.{name}": tensor for name, tensor in self.lstm.named_parameters()}
        for level, (up, residual) in enumerate(zip(self.ups, self.residuals)):
            convolution(f"decoder.{3 * level + 3}", up)
            path = f"decoder.{3 * level + 4}"
            convolution(f"{path}.block.1", residual.first)
            convolution(f"{path}.block.3", residual.second)
            convolution(f"{path}.shortcut", residual.shortcut)
        convolution(f"decoder.{3 * len(self.ratios) + 3}", self.last)
        return named
