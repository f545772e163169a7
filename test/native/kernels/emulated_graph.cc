// The graphs of the emulated kernels: a library of them, which takes memory of the host, serves the native tests where there
// is no GPU. scripts/emulated-kernels.mjs builds it, with CUDA's headers alone.
#include <cuda_runtime.h>

#include <optional>
#include <vector>

#include "ops/decode_step.h"

namespace {

struct Recorded {
  MetavoiceDecode step;
  std::vector<MetavoiceDecodeLayer> layers;
  MetavoiceDecodeEnds ends;
  std::optional<MetavoiceDraw> draw;
};

}  // namespace

extern "C" int metavoice_decode_capture(int32_t, const MetavoiceDecode* step, const MetavoiceDecodeLayer* layers, int32_t layer_count,
                                        const MetavoiceDecodeEnds* ends, const MetavoiceDraw* draw, void** graph) {
  *graph = new Recorded{*step, {layers, layers + layer_count}, *ends, draw != nullptr ? std::optional(*draw) : std::nullopt};
  return 0;
}

extern "C" int metavoice_decode_launch(int32_t, void* graph, void*, int32_t times) {
  const auto& recorded = *static_cast<Recorded*>(graph);
  int failure = 0;
  for (int32_t i = 0; i < times && failure == 0; ++i)
    failure = metavoice_decode_step(&recorded.step, recorded.layers.data(), static_cast<int32_t>(recorded.layers.size()), &recorded.ends,
                                    recorded.draw ? &*recorded.draw : nullptr);
  return failure;
}

extern "C" void metavoice_decode_release(void* graph) { delete static_cast<Recorded*>(graph); }

// In place of CUDA's runtime, of which nothing else is asked.
extern "C" const char* cudaGetErrorString(cudaError_t) { return "an error of an emulated kernel"; }
