// The networks once more, in float64 and in the plainest words: no fused kernels, no caches, no pieces. What the engine
// says of networks of any size is compared with this.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "support/files.h"

namespace metavoice::testing::plain {

struct Shape {
  int64_t heads = 2;
  bool rms = true;
  bool swiglu = true;
  bool causal = true;
  double epsilon = 1e-5;
};

inline at::Tensor wide(const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble).contiguous(); }

inline at::Tensor get(const Tensors& tensors, const std::string& name) { return wide(tensors.at(name)); }

// x [rows, in] -> [rows, out], by the definition.
inline at::Tensor linear(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  const at::Tensor y = at::matmul(x, get(tensors, name + ".weight").t());
  return tensors.contains(name + ".bias") ? y + get(tensors, name + ".bias") : y;
}

inline at::Tensor norm(const Tensors& tensors, const std::string& name, const at::Tensor& x, const Shape& shape) {
  const at::Tensor centred = shape.rms ? x : x - x.mean(1, true);
  const at::Tensor y = centred / at::sqrt(centred.square().mean(1, true) + shape.epsilon) * get(tensors, name + ".weight");
  // The engine's RMSNorm has no bias, as in the paper.
  return !shape.rms && tensors.contains(name + ".bias") ? y + get(tensors, name + ".bias") : y;
}

// x [positions, width]: one query and one head at a time.
inline at::Tensor attention(const Tensors& tensors, const std::string& name, const at::Tensor& x, const Shape& shape) {
  const int64_t positions = x.size(0), width = x.size(1), size = width / shape.heads;
  const at::Tensor all = linear(tensors, name + ".qkv", x).contiguous();
  const double* rows = all.data_ptr<double>();
  at::Tensor mixed = at::zeros({positions, width}, at::kDouble);
  double* out = mixed.data_ptr<double>();
  for (int64_t head = 0; head < shape.heads; ++head) {
    for (int64_t q = 0; q < positions; ++q) {
      const int64_t seen = shape.causal ? q + 1 : positions;
      std::vector<double> weights(static_cast<size_t>(seen));
      double sum = 0;
      for (int64_t k = 0; k < seen; ++k) {
        double score = 0;
        for (int64_t i = 0; i < size; ++i) score += rows[q * 3 * width + head * size + i] * rows[k * 3 * width + width + head * size + i];
        sum += weights[k] = std::exp(score / std::sqrt(static_cast<double>(size)));
      }
      for (int64_t k = 0; k < seen; ++k)
        for (int64_t i = 0; i < size; ++i) out[q * width + head * size + i] += weights[k] / sum * rows[k * 3 * width + 2 * width + head * size + i];
    }
  }
  return linear(tensors, name + ".out", mixed);
}

inline at::Tensor feed_forward(const Tensors& tensors, const std::string& name, const at::Tensor& x, const Shape& shape) {
  at::Tensor inner = linear(tensors, name + ".up", x);
  if (shape.swiglu) {
    const at::Tensor gate = linear(tensors, name + ".gate", x);
    inner = gate / (1 + at::exp(-gate)) * inner;
  } else {
    inner = inner * 0.5 * (1 + at::erf(inner / std::numbers::sqrt2));
  }
  return linear(tensors, name + ".down", inner);
}

// ids, one row per table [positions] -> hidden states [positions, width], final norm included. The speaker may be undefined.
inline at::Tensor transformer(const Tensors& tensors, const std::vector<std::vector<int64_t>>& ids, const at::Tensor& speaker,
                              const Shape& shape) {
  const auto positions = static_cast<int64_t>(ids[0].size());
  at::Tensor x = get(tensors, "positions.weight").narrow(0, 0, positions).clone();
  for (size_t table = 0; table < ids.size(); ++table)
    x = x + get(tensors, "tokens." + std::to_string(table) + ".weight").index_select(0, at::tensor(ids[table]));
  if (speaker.defined()) x = x + at::matmul(get(tensors, "speaker.weight"), wide(speaker).view({-1, 1})).t();
  for (int64_t layer = 0; tensors.contains("layers." + std::to_string(layer) + ".attention_norm.weight"); ++layer) {
    const std::string name = "layers." + std::to_string(layer);
    x = x + attention(tensors, name + ".attention", norm(tensors, name + ".attention_norm", x, shape), shape);
    x = x + feed_forward(tensors, name + ".feed_forward", norm(tensors, name + ".feed_forward_norm", x, shape), shape);
  }
  return norm(tensors, "norm", x, shape);
}

// The output layer: its own, or the first token table.
inline at::Tensor output(const Tensors& tensors, int64_t head, const at::Tensor& hidden) {
  const std::string name = "heads." + std::to_string(head) + ".weight";
  return at::matmul(hidden, get(tensors, tensors.contains(name) ? name : "tokens.0.weight").t());
}

// -------------------------------------------------------------------------------------------- the codec

inline at::Tensor weight_normed(const at::Tensor& gain, const at::Tensor& direction) {
  const at::Tensor v = wide(direction);
  return v * wide(gain) / at::sqrt(v.square().sum(at::IntArrayRef{1, 2}, true));
}

// x [in, length]; sample by sample. A signal too short to be mirrored is lengthened with zeros for the mirror.
inline at::Tensor causal_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride) {
  const at::Tensor input = wide(x), w = wide(weight), b = wide(bias);
  const int64_t in = w.size(1), out = w.size(0), kernel = w.size(2), length = input.size(1);
  const int64_t outputs = (length + stride - 1) / stride, left = kernel - stride;
  const int64_t right = (outputs - 1) * stride + kernel - left - length;
  const int64_t mirrored = std::max(length, std::max(left, right) + 1);  // with the zeros
  const auto sample = [&](int64_t channel, int64_t at) {
    if (at < 0) at = -at;
    if (at >= mirrored) at = 2 * (mirrored - 1) - at;
    // The zeros are cut again, so what lies right of the signal is theirs, and then its mirror.
    return at < length ? input[channel][at].item<double>() : 0.0;
  };
  at::Tensor y = at::zeros({out, outputs}, at::kDouble);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t t = 0; t < outputs; ++t) {
      double sum = b[o].item<double>();
      for (int64_t c = 0; c < in; ++c)
        for (int64_t k = 0; k < kernel; ++k) sum += w[o][c][k].item<double>() * sample(c, t * stride + k - left);
      y[o][t] = sum;
    }
  }
  return y;
}

// x [in, length] -> [out, length * stride]: the full transposed convolution, cut at the right.
inline at::Tensor causal_transposed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride) {
  const at::Tensor input = wide(x), w = wide(weight), b = wide(bias);
  const int64_t in = w.size(0), out = w.size(1), kernel = w.size(2), length = input.size(1) * stride;
  at::Tensor y = b.view({-1, 1}).expand({out, length}).contiguous();
  for (int64_t c = 0; c < in; ++c)
    for (int64_t t = 0; t < input.size(1); ++t)
      for (int64_t k = 0; k < kernel && t * stride + k < length; ++k)
        y.select(1, t * stride + k).add_(w.select(0, c).select(1, k) * input[c][t]);
  return y;
}

// x [time, input] -> [time, hidden]: the gates by their formulas.
inline at::Tensor lstm(const Tensors& tensors, const std::string& name, at::Tensor x) {
  x = wide(x);
  for (int64_t layer = 0; tensors.contains(name + ".weight_ih_l" + std::to_string(layer)); ++layer) {
    const std::string suffix = "_l" + std::to_string(layer);
    const at::Tensor in = get(tensors, name + ".weight_ih" + suffix), recurrent = get(tensors, name + ".weight_hh" + suffix);
    const at::Tensor bias = get(tensors, name + ".bias_ih" + suffix) + get(tensors, name + ".bias_hh" + suffix);
    const int64_t size = recurrent.size(1);
    at::Tensor hidden = at::zeros({size}, at::kDouble), cell = at::zeros({size}, at::kDouble);
    std::vector<at::Tensor> outputs;
    for (int64_t t = 0; t < x.size(0); ++t) {
      const at::Tensor gates = at::matmul(in, x[t]) + at::matmul(recurrent, hidden) + bias;
      const auto gate = [&](int64_t index) { return gates.narrow(0, index * size, size); };
      const auto sigmoid = [](const at::Tensor& value) { return 1 / (1 + at::exp(-value)); };
      cell = sigmoid(gate(1)) * cell + sigmoid(gate(0)) * at::tanh(gate(2));
      hidden = sigmoid(gate(3)) * at::tanh(cell);
      outputs.push_back(hidden);
    }
    x = at::stack(outputs);
  }
  return x;
}

}  // namespace metavoice::testing::plain
