// Decode steps of a first stage by our own kernels (ops/decode_step.h): one graph for each number of rows, which reads ids,
// positions and pages from memory of its own. Up to the logits, or with the draw of the next ids, which is the input of a
// further step that then needs no host.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/random.h"
#include "models/transformer.h"
#include "ops/decode_kernels.h"
#include "ops/paged_attention.h"
#include "ops/sampling.h"

namespace metavoice::models {

// What is to be drawn for one utterance.
struct Drawing {
  const std::vector<ops::PagedRow>* rows = nullptr;  // of its guidance, as `guidance` has them, with pages for all positions
  int64_t id = 0;                                    // the last one, which is fed first
  at::Tensor conditioning;                           // [rows, 1, width]
  ops::Guidance guidance;
  ops::SamplingSettings sampling;
  bool constrain = true;  // even steps draw of codebook 0 and the end, odd ones of codebook 1
  core::RandomKey random;
  int64_t step = 0;  // ids that were drawn before
  int64_t left = 0;  // ids that may still be drawn
};

// What was drawn: as many ids as were asked for, or fewer, up to the end or the last one that was left.
struct Drawn {
  std::vector<int64_t> ids;
  bool finite = true;  // else the step behind these has no finite logits
};

// The first stage's ids: two codebooks of this size, then the end.
struct DrawnIds {
  int64_t codebook_size;
  int64_t end_of_audio;
};

class DecodeRunner {
 public:
  static constexpr int64_t kMostRows = 64;
  static constexpr int64_t kMostSteps = 8;

  // Null where the kernels are not there, or do not serve this network on its device.
  static std::unique_ptr<DecodeRunner> of(const Transformer& network, const ops::DecodeKernels* kernels);
  ~DecodeRunner();
  DecodeRunner(const DecodeRunner&) = delete;
  DecodeRunner& operator=(const DecodeRunner&) = delete;

  // Whether it serves so many rows over these pages: those of the network's dtype, or of int8.
  bool serves(int64_t rows, const ops::PagedMemory& memory) const;

  // As FirstStage::step: ids and positions [rows or more] int64, conditioning [rows or more, width] -> logits, which must
  // be read before the next step: that overwrites them, and what it was given. One thread at a time.
  at::Tensor step(const Transformer& network, const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& conditioning,
                  const ops::PagedMemory& memory, const std::vector<const ops::PagedRow*>& rows);

  // Whether it draws of this network's ids over these pages, too.
  bool draws(const Transformer& network, const ops::PagedMemory& memory) const {
    return network.heads[0].size(0) <= METAVOICE_MOST_DRAWN && serves(1, memory);
  }
  // Up to `steps` ids, at most kMostSteps, for each of these, of which the rows together are at most `padded`; the host waits for
  // all of them once. What an utterance has less stays undrawn. One thread at a time.
  std::vector<Drawn> draw(const Transformer& network, const DrawnIds& known, const std::vector<Drawing>& drawings, int64_t padded, int64_t steps,
                          const ops::PagedMemory& memory);

 private:
  // What one number of rows needs: where the graph reads and writes.
  struct Batch {
    at::Tensor host;          // int32: ids [rows], positions [rows], pages [rows, stride], MetavoiceUtterance [rows]
    at::Tensor inputs;        // the same on the device
    at::Tensor ring;          // [steps, rows, 2] int32 on the host, written by the device: MetavoiceDrawn
    at::Tensor conditioning;  // [rows, width]
    at::Tensor logits;        // [rows, entries]
    std::vector<at::Tensor> working;
    const ops::DecodeKernels* kernels = nullptr;
    void* graph = nullptr;

    ~Batch();
  };

  // The matrices of a block as the kernels are told: qkv, out, gate, up, down.
  using Matrices = std::array<MetavoiceMatrix, 5>;

  DecodeRunner(const ops::DecodeKernels& kernels, MetavoiceDecode shape, const Transformer& network);
  // Without `known` up to the logits.
  Batch& batch(const Transformer& network, int64_t rows, const ops::PagedMemory& memory, const DrawnIds* known);
  void capture(const Transformer& network, Batch& batch, int64_t rows, const ops::PagedMemory& memory, const DrawnIds* known) const;

  const ops::DecodeKernels& kernels_;
  MetavoiceDecode shape_;           // what all numbers of rows have in common
  std::vector<Matrices> matrices_;
  std::vector<ops::DecodeMatrix> kept_;  // what quantised ones point to
  std::vector<const void*> pages_;  // of each layer: the graphs were made for these
  std::map<std::pair<int64_t, bool>, std::unique_ptr<Batch>> batches_;  // by rows, and whether it draws
};

}  // namespace metavoice::models
