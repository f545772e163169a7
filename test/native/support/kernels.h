// The kernels of decode steps in tests: those of a GPU, or a library that takes memory of the host
// (kernels/emulated_graph.cc), and a model that they serve.
#pragma once

#include <cstdlib>
#include <memory>

#include "engine/speech_model.h"
#include "ops/decode_kernels.h"
#include "support/networks.h"

namespace metavoice::testing {

// Null where there are none for a device.
inline const ops::DecodeKernels* kernels_for(const at::Device& device) {
  const char* emulated = std::getenv("METAVOICE_EMULATED_KERNELS");
  if (device.is_cpu()) return emulated != nullptr ? ops::open_decode_kernels(emulated) : nullptr;
  return ops::decode_kernels();
}

// As small_first_stage(), in sizes that the kernels serve: an axis that every token has says that the end is out of the question.
inline Tensors served_first_stage(int64_t window, uint64_t seed = 1) {
  Tensors tensors = random_transformer({.layers = 1, .heads = 2, .width = 64, .hidden = 64, .window = window, .vocabularies = {kSmallVocabulary}, .outputs = {kSmallVocabulary}}, seed);
  tensors["tokens.0.weight"].select(1, 0).fill_(10);
  tensors["norm.weight"].fill_(1);
  at::Tensor heads = tensors["heads.0.weight"];
  heads.select(1, 0).zero_();
  heads[32].zero_();
  heads[32][0] = -10;
  return tensors;
}

}  // namespace metavoice::testing
