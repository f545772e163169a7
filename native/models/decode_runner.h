// Decode steps of a first stage by our own kernels (ops/decode_step.h): one graph for each number of rows, which reads ids,
// positions and pages from memory of its own.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "models/transformer.h"
#include "ops/decode_kernels.h"
#include "ops/paged_attention.h"

namespace metavoice::models {

class DecodeRunner {
 public:
  static constexpr int64_t kMostRows = 64;

  // Null where the kernels are not there, or do not serve this network on its device.
  static std::unique_ptr<DecodeRunner> of(const Transformer& network, const ops::DecodeKernels* kernels);
  ~DecodeRunner();
  DecodeRunner(const DecodeRunner&) = delete;
  DecodeRunner& operator=(const DecodeRunner&) = delete;

  // Whether it serves so many rows over these pages: those of the network's dtype.
  bool serves(int64_t rows, const ops::PagedMemory& memory) const;

  // As FirstStage::step: ids and positions [rows or more] int64, conditioning [rows or more, width] -> logits, which must
  // be read before the next step: that overwrites them, and what it was given. One thread at a time.
  at::Tensor step(const Transformer& network, const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& conditioning,
                  const ops::PagedMemory& memory, const std::vector<const ops::PagedRow*>& rows);

 private:
  // What one number of rows needs: where the graph reads and writes.
  struct Batch {
    at::Tensor host;          // [rows * (2 + pages)] int32: ids, positions, pages
    at::Tensor inputs;        // the same on the device
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
  Batch& batch(const Transformer& network, int64_t rows, const ops::PagedMemory& memory);
  void capture(const Transformer& network, Batch& batch, int64_t rows, const ops::PagedMemory& memory) const;

  const ops::DecodeKernels& kernels_;
  MetavoiceDecode shape_;           // what all numbers of rows have in common
  std::vector<Matrices> matrices_;
  std::vector<ops::DecodeMatrix> kept_;  // what quantised ones point to
  std::vector<const void*> pages_;  // of each layer: the graphs were made for these
  std::map<int64_t, std::unique_ptr<Batch>> batches_;
};

}  // namespace metavoice::models
