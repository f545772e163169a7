#include "models/deep_filter/network.h"

#include "ops/sigmoid.h"

namespace metavoice::models::deep_filter {

namespace {

constexpr auto any = core::Weights::any;

layers::FrameConv load_normed(const core::Weights& weights, int conv, int norm, int64_t in, int64_t out) {
  const auto normed = layers::BatchNorm::load(weights.scope(std::to_string(norm)), out);
  return layers::FrameConv::load(weights, std::to_string(conv) + ".weight", in, &normed);
}

int64_t channels_of(const core::Weights& weights) {
  return weights.tensor("1.weight", {any, 1, any, any}, at::kFloat).size(0);
}

}  // namespace

Encoder::Encoder(const core::Weights& weights, const NetworkSizes& sizes)
    : sizes_(sizes),
      erb_conv0_(load_normed(weights.scope("erb_conv0"), 1, 2, 1, channels_of(weights.scope("erb_conv0")))),
      channels_(erb_conv0_.out()),
      erb_conv1_(Separable::load(weights.scope("erb_conv1"), channels_, 2)),
      erb_conv2_(Separable::load(weights.scope("erb_conv2"), channels_, 2)),
      erb_conv3_(Separable::load(weights.scope("erb_conv3"), channels_, 1)),
      df_conv0_(layers::FrameConv::load(weights.scope("df_conv0"), "1.weight", 2)),
      df_conv0_pointwise_(load_pointwise(weights.scope("df_conv0"), 2, 3, channels_, df_conv0_.out())),
      df_conv1_(Separable::load(weights.scope("df_conv1"), channels_, 2)),
      df_fc_emb_(layers::GroupedLinear::load(weights, "df_fc_emb.0.weight", sizes.deep_bins / 2 * channels_, sizes.bands / 4 * channels_)),
      emb_gru_(SqueezedGru::load(weights.scope("emb_gru"), sizes.bands / 4 * channels_)) {}

Encoder::State Encoder::begin() const { return {erb_conv0_.begin(sizes_.bands), df_conv0_.begin(sizes_.deep_bins), emb_gru_.gru.begin(), {}, {}, {}}; }

void Encoder::step(const float* levels, const float* bins, State& state, Encoded& to) const {
  to.e0.resize(static_cast<size_t>(sizes_.bands * channels_));
  erb_conv0_.step(levels, state.bands, to.e0.data());
  relu(to.e0);
  erb_conv1_.forward(to.e0, state.work, to.e1);
  erb_conv2_.forward(to.e1, state.work, to.e2);
  erb_conv3_.forward(to.e2, state.work, to.e3);

  state.work.resize(static_cast<size_t>(sizes_.deep_bins * df_conv0_.out()));
  to.c0.resize(static_cast<size_t>(sizes_.deep_bins * channels_));
  df_conv0_.step(bins, state.bins, state.work.data());
  df_conv0_pointwise_.forward(state.work.data(), sizes_.deep_bins, to.c0.data());
  relu(to.c0);
  df_conv1_.forward(to.c0, state.work, state.c1);

  state.sum.resize(to.e3.size());
  df_fc_emb_.forward(state.c1.data(), 1, state.sum.data());
  relu(state.sum);
  for (size_t i = 0; i < state.sum.size(); ++i) state.sum[i] += to.e3[i];
  emb_gru_.step(state.sum, state.gru, state.work, to.embedding);
}

ErbDecoder::ErbDecoder(const core::Weights& weights, const NetworkSizes& sizes, int64_t channels)
    : sizes_(sizes),
      emb_gru_(SqueezedGru::load(weights.scope("emb_gru"), sizes.bands / 4 * channels)),
      conv3p_(Pathway::load(weights.scope("conv3p"), channels)),
      conv2p_(Pathway::load(weights.scope("conv2p"), channels)),
      conv1p_(Pathway::load(weights.scope("conv1p"), channels)),
      conv0p_(Pathway::load(weights.scope("conv0p"), channels)),
      convt3_(Separable::load(weights.scope("convt3"), channels, 1)),
      convt2_(Separable::load(weights.scope("convt2"), channels, 2, /*transposed=*/true)),
      convt1_(Separable::load(weights.scope("convt1"), channels, 2, /*transposed=*/true)),
      conv0_out_(load_normed(weights.scope("conv0_out"), 0, 1, channels, 1)) {}

ErbDecoder::State ErbDecoder::begin() const { return {emb_gru_.gru.begin(), conv0_out_.begin(sizes_.bands), {}, {}, {}}; }

void ErbDecoder::step(const Encoded& encoded, State& state, float* gains) const {
  emb_gru_.step(encoded.embedding, state.gru, state.work, state.sum);
  conv3p_.add(encoded.e3, state.sum);
  convt3_.forward(state.sum, state.work, state.up);
  conv2p_.add(encoded.e2, state.up);
  convt2_.forward(state.up, state.work, state.sum);
  conv1p_.add(encoded.e1, state.sum);
  convt1_.forward(state.sum, state.work, state.up);
  conv0p_.add(encoded.e0, state.up);
  conv0_out_.step(state.up.data(), state.last, gains);
  for (int64_t band = 0; band < sizes_.bands; ++band) gains[band] = ops::sigmoid(gains[band]);
}

DfDecoder::DfDecoder(const core::Weights& weights, const NetworkSizes& sizes, int64_t channels)
    : sizes_(sizes),
      df_convp_(layers::FrameConv::load(weights.scope("df_convp"), "1.weight", channels)),
      df_convp_pointwise_(load_pointwise(weights.scope("df_convp"), 2, 3, 2 * sizes.order, df_convp_.out())),
      df_gru_(SqueezedGru::load(weights.scope("df_gru"), sizes.bands / 4 * channels)),
      df_skip_(layers::GroupedLinear::load(weights, "df_skip.weight", sizes.bands / 4 * channels, df_gru_.gru.hidden())),
      df_out_(layers::GroupedLinear::load(weights, "df_out.0.weight", df_gru_.gru.hidden(), sizes.deep_bins * 2 * sizes.order)) {}

DfDecoder::State DfDecoder::begin() const { return {df_gru_.gru.begin(), df_convp_.begin(sizes_.deep_bins), {}, {}, {}, {}}; }

void DfDecoder::step(const Encoded& encoded, State& state, float* filters) const {
  df_gru_.step(encoded.embedding, state.gru, state.work, state.sum);
  state.skip.resize(state.sum.size());
  df_skip_.forward(encoded.embedding.data(), 1, state.skip.data());
  for (size_t i = 0; i < state.sum.size(); ++i) state.sum[i] += state.skip[i];
  df_out_.forward(state.sum.data(), 1, filters);

  state.work.resize(static_cast<size_t>(sizes_.deep_bins * df_convp_.out()));
  state.taps.resize(static_cast<size_t>(sizes_.deep_bins * 2 * sizes_.order));
  df_convp_.step(encoded.c0.data(), state.path, state.work.data());
  df_convp_pointwise_.forward(state.work.data(), sizes_.deep_bins, state.taps.data());
  relu(state.taps);
  for (size_t i = 0; i < state.taps.size(); ++i) filters[i] = ops::hyperbolic_tangent(filters[i]) + state.taps[i];
}

Network::Network(const core::Weights& weights, const NetworkSizes& sizes)
    : encoder_(weights.scope("enc"), sizes),
      erb_decoder_(weights.scope("erb_dec"), sizes, encoder_.channels()),
      df_decoder_(weights.scope("df_dec"), sizes, encoder_.channels()) {}

void Network::step(const float* levels, const float* bins, State& state, float* gains, float* filters) const {
  encoder_.step(levels, bins, state.encoder, state.encoded);
  erb_decoder_.step(state.encoded, state.gains, gains);
  df_decoder_.step(state.encoded, state.filters, filters);
}

}  // namespace metavoice::models::deep_filter
