// FirstStage: a causal GPT over text and the first two EnCodec codebooks, flattened and interleaved (MetaVoice-1B).
//
// Token ids: codes of codebook 0, codes of codebook 1, end of audio, then text. The speaker's projection is added at
// every position of the rows that have a speaker.
#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "layers/kv_cache.h"
#include "layers/kv_pool.h"
#include "models/decode_runner.h"
#include "models/transformer.h"

namespace metavoice::models {

struct FirstStageConfig : TransformerConfig {
  int64_t codebook_size = 0;
  int64_t end_of_audio = 0;
  int64_t end_of_text = 0;
};

class FirstStage {
 public:
  // Steps of many keep keys and values in pages of this dtype; absent: of the model's own.
  FirstStage(const core::Weights& weights, const FirstStageConfig& config, std::optional<at::ScalarType> pages = {});

  const FirstStageConfig& config() const { return config_; }
  int64_t window() const { return network_.window(); }
  int64_t vocabulary() const { return network_.vocabulary(); }
  int64_t speaker_width() const { return network_.speaker_width(); }
  at::ScalarType dtype() const { return network_.dtype(); }
  at::ScalarType page_dtype() const { return page_dtype_; }

  at::Device device() const { return network_.device(); }

  layers::KvCache make_cache(int64_t rows, int64_t capacity) const;
  layers::KvCache make_cache(int64_t rows, int64_t capacity, const at::TensorOptions& options) const;
  layers::KvPool make_pool(int64_t pages) const;

  // Rows of guidance over one prompt [positions]: (0) text and speaker, (1) text, (2) speaker with the text replaced
  // by end of text. -> [rows, positions] int64 on the device.
  at::Tensor branches(const at::Tensor& prompt, int64_t rows) const;
  // The speaker's part of each row: [rows, 1, width] float32, zero in row 1.
  at::Tensor conditioning(const at::Tensor& speaker, int64_t rows) const;

  // ids [rows, positions] behind the cache -> logits of the last position [rows, vocabulary] float32.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& conditioning, layers::KvCache& cache,
                     Precision precision = Precision::own) const;
  // The same for every position: [rows, positions, vocabulary].
  at::Tensor forward_all(const at::Tensor& ids, const at::Tensor& conditioning, layers::KvCache& cache,
                         Precision precision = Precision::own) const;

  // Steps on a GPU go by our own kernels, where they are there and serve; null: by libtorch alone.
  void use_kernels(const ops::DecodeKernels* kernels) { runner_ = DecodeRunner::of(network_, kernels); }
  // Whether they do, so that the bits of a row of a step depend on that row alone.
  bool has_kernels() const { return runner_ != nullptr && (page_dtype_ == dtype() || page_dtype_ == at::kChar); }

  // One step of many rows of any length: ids and positions [rows or more] int64, conditioning [rows or more, width]. What
  // is more than the rows given is padding. -> logits [rows or more, vocabulary] float32
  at::Tensor step(const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& conditioning, const ops::PagedMemory& memory,
                  const std::vector<const ops::PagedRow*>& rows) const;
  // How many steps a launch may take with ids drawn where the logits are; 0: ids are drawn on the host, step by step.
  int64_t steps_per_launch(const ops::PagedMemory& memory) const {
    return runner_ != nullptr && runner_->draws(network_, memory) ? DecodeRunner::kMostSteps : 0;
  }
  // So many steps at most, in which each of these draws its next ids; their rows together are at most `padded`, which the
  // kernels serve.
  std::vector<Drawn> draw(const std::vector<Drawing>& drawings, int64_t padded, int64_t steps, const ops::PagedMemory& memory) const;
  // The sums of a step, for a look at their bits: one block without a past, and the output layer.
  // residual [rows, width] float32, memory of a page per row -> [rows, vocabulary]
  at::Tensor probe(const at::Tensor& residual, const ops::PagedMemory& memory, const std::vector<const ops::PagedRow*>& rows) const;
  int64_t width() const { return network_.width(); }
  // Of weights that a step reads, as they are held: the matrices of the layers and the output layer. Norms and the few rows of
  // the tables are not worth counting.
  int64_t step_bytes() const;
  layers::KvPool make_probe_pool(int64_t pages) const;

 private:
  layers::KvPool make_pool(int64_t layers, int64_t pages) const;
  at::Tensor hidden(const at::Tensor& ids, const at::Tensor& conditioning, layers::KvCache& cache, Precision precision) const;

  FirstStageConfig config_;
  Transformer network_;
  at::ScalarType page_dtype_;
  std::unique_ptr<DecodeRunner> runner_;
};

}  // namespace metavoice::models
