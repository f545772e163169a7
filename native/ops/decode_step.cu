// A whole decode step, kernel by kernel.
#include "ops/decode_step.h"

#include <cuda_runtime.h>

extern "C" int metavoice_decode_supports(const MetavoiceDecode* step) {
  const int head_width = step->heads > 0 && step->width % step->heads == 0 ? step->width / step->heads : 0;
  const bool sizes = step->rows >= 1 && step->rows <= 64 && step->width % 32 == 0 && step->width <= 2048 && step->hidden > 0 && step->hidden % 32 == 0 &&
                     (step->weights != METAVOICE_INT8 || (step->width % 64 == 0 && step->hidden % 64 == 0)) &&
                     (step->weights != METAVOICE_INT4 || (step->width % 128 == 0 && step->hidden % 128 == 0)) &&
                     (step->weights == METAVOICE_WHOLE || step->dtype != METAVOICE_FLOAT32) && (head_width == 32 || head_width == 64 || head_width == 128);
  int device = 0, major = 0, minor = 0;
  if (!sizes || cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
    return 0;
  const int capability = 10 * major + minor;
  return capability >= (step->dtype == METAVOICE_BFLOAT16 ? 80 : 75) ? 1 : 0;
}

extern "C" int metavoice_decode_step(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layers, int32_t layer_count,
                                     const MetavoiceDecodeEnds* ends) {
  int failure = metavoice_decode_embed(step, ends);
  for (const MetavoiceDecodeLayer* layer = layers; layer != layers + layer_count && failure == cudaSuccess; ++layer) {
    failure = metavoice_decode_qkv(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_attend(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_project(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_gate_up(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_down(step, layer);
  }
  return failure == cudaSuccess ? metavoice_decode_head(step, ends) : failure;
}
