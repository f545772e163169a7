// DeepFilterNet3 in the plainest words, in float64 and on whole signals, beside support/plain.h; and random ones.
// Frames are [channels, time, bins] here.
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "models/deep_filter/deep_filter.h"
#include "ops/erb.h"
#include "support/networks.h"
#include "support/plain.h"

namespace metavoice::testing {

struct EnhancerSizes {
  models::deep_filter::DeepFilterConfig config;
  int64_t channels = 8;
  int64_t hidden = 16;
  int64_t groups = 4;      // of the grouped linear layers
  int64_t deep_groups = 2;  // of the one before the filters' GRU
  int64_t gains_layers = 2;
  int64_t filters_layers = 2;
  int64_t path_times = 5;  // frames that df_convp sees
};

// 8 kHz, windows of 32 ms: small, and of other proportions than the published one.
inline EnhancerSizes small_enhancer_sizes() {
  EnhancerSizes sizes;
  sizes.config.sample_rate = 8000;
  sizes.config.window = 120;
  sizes.config.sizes = {8, 20, 4};
  sizes.config.look_ahead = 1;
  return sizes;
}

inline Tensors random_enhancer(const EnhancerSizes& sizes, uint64_t seed) {
  Numbers numbers(seed);
  Tensors tensors;
  const auto& [bands, deep_bins, order] = sizes.config.sizes;
  const int64_t channels = sizes.channels, hidden = sizes.hidden, embedding = bands / 4 * channels;
  const auto conv = [&](const std::string& name, int64_t out, int64_t share, int64_t times, int64_t width) {
    tensors[name + ".weight"] = numbers.normal({out, share, times, width}, 1.2 / std::sqrt(static_cast<double>(share * times * width)));
  };
  const auto norm = [&](const std::string& name, int64_t width) {
    tensors[name + ".weight"] = 1 + numbers.normal({width}, 0.2);
    tensors[name + ".bias"] = numbers.normal({width}, 0.2);
    tensors[name + ".running_mean"] = numbers.normal({width}, 0.2);
    tensors[name + ".running_var"] = 0.5 + numbers.normal({width}, 0.3).abs();
  };
  const auto separable = [&](const std::string& name) {
    conv(name + ".0", channels, 1, 1, 3);
    conv(name + ".1", channels, channels, 1, 1);
    norm(name + ".2", channels);
  };
  const auto linear = [&](const std::string& name, int64_t groups, int64_t in, int64_t out) {
    tensors[name + ".weight"] = numbers.normal({groups, in / groups, out / groups}, 1.5 / std::sqrt(static_cast<double>(in / groups)));
  };
  const auto gru = [&](const std::string& name, int64_t layers) {
    for (int64_t i = 0; i < layers; ++i) {
      const std::string suffix = "_l" + std::to_string(i);
      for (const char* part : {"weight_ih", "weight_hh"})
        tensors[name + "." + part + suffix] = numbers.normal({3 * hidden, hidden}, 1.0 / std::sqrt(static_cast<double>(hidden)));
      for (const char* part : {"bias_ih", "bias_hh"}) tensors[name + "." + part + suffix] = numbers.normal({3 * hidden}, 0.2);
    }
  };
  const auto squeezed = [&](const std::string& name, int64_t groups, int64_t layers, bool out) {
    linear(name + ".linear_in.0", groups, embedding, hidden);
    gru(name + ".gru", layers);
    if (out) linear(name + ".linear_out.0", groups, hidden, embedding);
  };
  conv("enc.erb_conv0.1", channels, 1, 3, 3);
  norm("enc.erb_conv0.2", channels);
  for (const char* name : {"enc.erb_conv1", "enc.erb_conv2", "enc.erb_conv3", "enc.df_conv1", "erb_dec.convt3", "erb_dec.convt2", "erb_dec.convt1"})
    separable(name);
  conv("enc.df_conv0.1", channels, 1, 3, 3);
  conv("enc.df_conv0.2", channels, channels, 1, 1);
  norm("enc.df_conv0.3", channels);
  linear("enc.df_fc_emb.0", 2 * sizes.groups, deep_bins / 2 * channels, embedding);
  squeezed("enc.emb_gru", sizes.groups, 1, true);
  squeezed("erb_dec.emb_gru", sizes.groups, sizes.gains_layers, true);
  for (const char* name : {"erb_dec.conv3p", "erb_dec.conv2p", "erb_dec.conv1p", "erb_dec.conv0p"}) {
    conv(std::string(name) + ".0", channels, 1, 1, 1);
    norm(std::string(name) + ".1", channels);
  }
  conv("erb_dec.conv0_out.0", 1, channels, 1, 3);
  norm("erb_dec.conv0_out.1", 1);
  conv("df_dec.df_convp.1", 2 * order, channels / 2, sizes.path_times, 1);
  conv("df_dec.df_convp.2", 2 * order, 2 * order, 1, 1);
  norm("df_dec.df_convp.3", 2 * order);
  squeezed("df_dec.df_gru", sizes.deep_groups, sizes.filters_layers, false);
  linear("df_dec.df_skip", sizes.groups, embedding, hidden);
  linear("df_dec.df_out.0", sizes.groups, hidden, deep_bins * 2 * order);
  const auto widths = ops::erb_widths(sizes.config.sample_rate, sizes.config.window, bands, sizes.config.least_bins);
  at::Tensor bins = at::zeros({bands, sizes.config.window / 2 + 1});
  for (int64_t band = 0, first = 0; band < bands; first += widths[band++]) bins[band].narrow(0, first, widths[band]).fill_(1);
  tensors["mask.erb_inv_fb"] = bins;
  return tensors;
}

namespace plain {

// x [in, time, bins]: zeros before the first frame and around the bins.
inline at::Tensor frame_conv(const Tensors& tensors, const std::string& name, const at::Tensor& x, int64_t stride = 1) {
  const at::Tensor weight = get(tensors, name + ".weight");
  const int64_t margin = weight.size(3) / 2, groups = x.size(0) / weight.size(1);
  const at::Tensor padded = at::constant_pad_nd(x, {margin, margin, weight.size(2) - 1, 0});
  return at::conv2d(padded.unsqueeze(0), weight, {}, {1, stride}, at::IntArrayRef({0, 0}), {1, 1}, groups)[0];
}

// Puts zeros between the bins, then is an ordinary one with its kernel turned round.
inline at::Tensor transposed_frame_conv(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  const at::Tensor spread = at::stack({x, at::zeros_like(x)}, -1).flatten(-2);
  Tensors turned;
  turned["turned.weight"] = get(tensors, name + ".weight").flip({3});
  return frame_conv(turned, "turned", spread);
}

inline at::Tensor batch_norm(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  const auto each = [&](const char* what) { return get(tensors, name + "." + what).view({-1, 1, 1}); };
  return (x - each("running_mean")) / at::sqrt(each("running_var") + 1e-5) * each("weight") + each("bias");
}

inline at::Tensor separable(const Tensors& tensors, const std::string& name, const at::Tensor& x, int64_t stride = 1, bool transposed = false) {
  const at::Tensor depthwise = transposed ? transposed_frame_conv(tensors, name + ".0", x) : frame_conv(tensors, name + ".0", x, stride);
  return at::relu(batch_norm(tensors, name + ".2", frame_conv(tensors, name + ".1", depthwise)));
}

// x [time, in] -> [time, out]
inline at::Tensor grouped(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  const at::Tensor weight = get(tensors, name + ".weight");
  return at::einsum("tgi,gio->tgo", {x.reshape({x.size(0), weight.size(0), weight.size(1)}), weight}).reshape({x.size(0), -1});
}

inline at::Tensor gru(const Tensors& tensors, const std::string& name, at::Tensor x) {
  for (int64_t layer = 0; tensors.contains(name + ".weight_ih_l" + std::to_string(layer)); ++layer) {
    const auto each = [&](const char* part) { return get(tensors, name + "." + part + "_l" + std::to_string(layer)); };
    at::Tensor hidden = at::zeros({each("weight_hh").size(1)}, at::kDouble);
    std::vector<at::Tensor> states;
    for (int64_t time = 0; time < x.size(0); ++time) {
      const auto input = (at::mv(each("weight_ih"), x[time]) + each("bias_ih")).chunk(3);
      const auto before = (at::mv(each("weight_hh"), hidden) + each("bias_hh")).chunk(3);
      const at::Tensor reset = at::sigmoid(input[0] + before[0]), update = at::sigmoid(input[1] + before[1]);
      hidden = (1 - update) * at::tanh(input[2] + reset * before[2]) + update * hidden;
      states.push_back(hidden);
    }
    x = at::stack(states);
  }
  return x;
}

inline at::Tensor squeezed(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  const at::Tensor y = gru(tensors, name + ".gru", at::relu(grouped(tensors, name + ".linear_in.0", x)));
  return tensors.contains(name + ".linear_out.0.weight") ? at::relu(grouped(tensors, name + ".linear_out.0", y)) : y;
}

// [channels, time, bins] -> [time, bins * channels]
inline at::Tensor flattened(const at::Tensor& x) { return x.permute({1, 2, 0}).reshape({x.size(1), -1}); }

struct EnhancerOutput {
  at::Tensor gains;    // [time, bands]
  at::Tensor filters;  // [time, deep bins, 2 * order]
};

// Features as the network reads them: [time, bands], [time, deep bins, 2].
inline EnhancerOutput enhancer_network(const Tensors& tensors, const at::Tensor& levels, const at::Tensor& bins) {
  const at::Tensor x = wide(levels).unsqueeze(0), y = wide(bins).permute({2, 0, 1});
  const at::Tensor e0 = at::relu(batch_norm(tensors, "enc.erb_conv0.2", frame_conv(tensors, "enc.erb_conv0.1", x)));
  const at::Tensor e1 = separable(tensors, "enc.erb_conv1", e0, 2), e2 = separable(tensors, "enc.erb_conv2", e1, 2);
  const at::Tensor e3 = separable(tensors, "enc.erb_conv3", e2);
  const at::Tensor c0 = at::relu(batch_norm(tensors, "enc.df_conv0.3", frame_conv(tensors, "enc.df_conv0.2", frame_conv(tensors, "enc.df_conv0.1", y))));
  const at::Tensor c1 = separable(tensors, "enc.df_conv1", c0, 2);
  const at::Tensor embedding =
      squeezed(tensors, "enc.emb_gru", flattened(e3) + at::relu(grouped(tensors, "enc.df_fc_emb.0", flattened(c1))));

  const auto path = [&](const std::string& name, const at::Tensor& e) {
    return at::relu(batch_norm(tensors, name + ".1", e * get(tensors, name + ".0.weight").view({-1, 1, 1})));
  };
  const int64_t time = e3.size(1), quarter = e3.size(2), channels = e3.size(0);
  const at::Tensor q = squeezed(tensors, "erb_dec.emb_gru", embedding).view({time, quarter, channels}).permute({2, 0, 1});
  const at::Tensor d3 = separable(tensors, "erb_dec.convt3", path("erb_dec.conv3p", e3) + q);
  const at::Tensor d2 = separable(tensors, "erb_dec.convt2", path("erb_dec.conv2p", e2) + d3, 2, true);
  const at::Tensor d1 = separable(tensors, "erb_dec.convt1", path("erb_dec.conv1p", e1) + d2, 2, true);
  const at::Tensor m = batch_norm(tensors, "erb_dec.conv0_out.1", frame_conv(tensors, "erb_dec.conv0_out.0", path("erb_dec.conv0p", e0) + d1));

  const at::Tensor c = squeezed(tensors, "df_dec.df_gru", embedding) + grouped(tensors, "df_dec.df_skip", embedding);
  const at::Tensor p = at::relu(batch_norm(tensors, "df_dec.df_convp.3", frame_conv(tensors, "df_dec.df_convp.2", frame_conv(tensors, "df_dec.df_convp.1", c0))));
  const at::Tensor taps = p.permute({1, 2, 0});  // [time, deep bins, 2 order]
  return {at::sigmoid(m[0]), at::tanh(grouped(tensors, "df_dec.df_out.0", c)).view(taps.sizes()) + taps};
}

// x [time, …] `frames` earlier, zeros behind the end.
inline at::Tensor earlier(const at::Tensor& x, int64_t frames) {
  return at::cat({x, at::zeros_like(x.narrow(0, 0, 1)).expand({frames, -1, -1})}).narrow(0, frames, x.size(0));
}

// spectrum [time, bins, 2] and features, not shifted -> enhanced spectrum [time, bins, 2]
inline at::Tensor enhanced_spectrum(const Tensors& tensors, const EnhancerSizes& sizes, const at::Tensor& spectrum, const at::Tensor& levels, const at::Tensor& bins) {
  const int64_t ahead = sizes.config.look_ahead, frames = spectrum.size(0);
  const auto& [bands, deep_bins, order] = sizes.config.sizes;
  const auto [gains, filters] = enhancer_network(tensors, earlier(wide(levels).unsqueeze(2), ahead).squeeze(2), earlier(wide(bins), ahead));
  const at::Tensor x = at::view_as_complex(wide(spectrum));
  at::Tensor y = x * at::matmul(gains, get(tensors, "mask.erb_inv_fb"));
  const at::Tensor padded = at::constant_pad_nd(x.narrow(1, 0, deep_bins), {0, 0, order - 1 - ahead, ahead});
  const at::Tensor weights = at::view_as_complex(filters.reshape({frames, deep_bins, order, 2}).contiguous());
  at::Tensor sum = at::zeros_like(x.narrow(1, 0, deep_bins));
  for (int64_t o = 0; o < order; ++o) sum = sum + padded.narrow(0, o, frames) * weights.select(2, o);
  y.narrow(1, 0, deep_bins).copy_(sum);
  return at::view_as_real(y).contiguous();
}

}  // namespace plain

}  // namespace metavoice::testing
