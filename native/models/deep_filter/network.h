// The network of DeepFilterNet3 (Schröter et al. 2023), one frame at a time: an encoder of both kinds of features, a
// decoder for the gains of the bands, and one for the filters of the lower bins. It is causal; looking ahead is the
// caller's, who gives the features of a later frame.
#pragma once

#include "core/weights.h"
#include "models/deep_filter/blocks.h"

namespace metavoice::models::deep_filter {

// What the shapes of the weights don't tell.
struct NetworkSizes {
  int64_t bands = 32;      // on the ERB scale; a multiple of 4
  int64_t deep_bins = 96;  // that are filtered; an even number
  int64_t order = 5;       // taps of a filter
};

// What the decoders read of a frame.
struct Encoded {
  Frame e0, e1, e2, e3;  // of the bands: [bands, channels], then a half, a quarter and a quarter of them
  Frame c0;              // of the bins: [deep bins, channels]
  Frame embedding;       // [bands / 4 * channels]
};

class Encoder {
 public:
  struct State {
    layers::FrameMemory bands, bins;
    layers::GruState gru;
    Frame work, c1, sum;
  };

  Encoder(const core::Weights& weights, const NetworkSizes& sizes);

  int64_t channels() const { return channels_; }
  State begin() const;
  // levels [bands], bins [deep bins, 2]
  void step(const float* levels, const float* bins, State& state, Encoded& to) const;

 private:
  NetworkSizes sizes_;
  layers::FrameConv erb_conv0_;
  int64_t channels_;
  Separable erb_conv1_, erb_conv2_, erb_conv3_;
  layers::FrameConv df_conv0_;
  layers::GroupedLinear df_conv0_pointwise_;
  Separable df_conv1_;
  layers::GroupedLinear df_fc_emb_;
  SqueezedGru emb_gru_;
};

// Gains of the bands.
class ErbDecoder {
 public:
  struct State {
    layers::GruState gru;
    layers::FrameMemory last;
    Frame work, sum, up;
  };

  ErbDecoder(const core::Weights& weights, const NetworkSizes& sizes, int64_t channels);

  State begin() const;
  // -> gains [bands], between 0 and 1
  void step(const Encoded& encoded, State& state, float* gains) const;

 private:
  NetworkSizes sizes_;
  SqueezedGru emb_gru_;
  Pathway conv3p_, conv2p_, conv1p_, conv0p_;
  Separable convt3_, convt2_, convt1_;
  layers::FrameConv conv0_out_;
};

// Filters of the lower bins.
class DfDecoder {
 public:
  struct State {
    layers::GruState gru;
    layers::FrameMemory path;
    Frame work, sum, skip, taps;
  };

  DfDecoder(const core::Weights& weights, const NetworkSizes& sizes, int64_t channels);

  State begin() const;
  // -> filters [deep bins, order, 2], complex
  void step(const Encoded& encoded, State& state, float* filters) const;

 private:
  NetworkSizes sizes_;
  layers::FrameConv df_convp_;
  layers::GroupedLinear df_convp_pointwise_;
  SqueezedGru df_gru_;
  layers::GroupedLinear df_skip_, df_out_;
};

class Network {
 public:
  struct State {
    Encoder::State encoder;
    ErbDecoder::State gains;
    DfDecoder::State filters;
    Encoded encoded;
  };

  Network(const core::Weights& weights, const NetworkSizes& sizes);

  State begin() const { return {encoder_.begin(), erb_decoder_.begin(), df_decoder_.begin(), {}}; }
  // levels [bands], bins [deep bins, 2] -> gains [bands], filters [deep bins, order, 2]
  void step(const float* levels, const float* bins, State& state, float* gains, float* filters) const;

 private:
  Encoder encoder_;
  ErbDecoder erb_decoder_;
  DfDecoder df_decoder_;
};

}  // namespace metavoice::models::deep_filter
