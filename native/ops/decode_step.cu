// A whole decode step, kernel by kernel.
#include "ops/decode_step.h"

#include <cuda_runtime.h>

namespace {

bool serves(const MetavoiceDecode& step) {
  if (step.rows < 1 || step.rows > 64 || step.width < 1 || step.heads < 1 || step.hidden < 1 || step.most_positions < 1) return false;
  if (step.width % step.heads != 0 || step.width > 2048 || step.dtype < METAVOICE_FLOAT32 || step.dtype > METAVOICE_BFLOAT16) return false;
  if (step.weights != METAVOICE_WHOLE && step.dtype == METAVOICE_FLOAT32) return false;
  if (step.page_kind != METAVOICE_PAGES_WHOLE && step.page_kind != METAVOICE_PAGES_INT8) return false;
  const int head_width = step.width / step.heads;
  const int multiple = step.weights == METAVOICE_INT4 ? 128 : step.weights == METAVOICE_INT8 ? 64 : 32;
  return (head_width == 32 || head_width == 64 || head_width == 128) && step.width % multiple == 0 && step.hidden % multiple == 0;
}

}  // namespace

extern "C" int metavoice_decode_version(void) { return METAVOICE_DECODE_VERSION; }

extern "C" const char* metavoice_decode_explain(int failure) { return cudaGetErrorString(static_cast<cudaError_t>(failure)); }

#ifndef METAVOICE_EMULATED

namespace {

// 75, 90 …; 0 where the device does not say.
int capability_of(int32_t device) {
  int major = 0, minor = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) return 0;
  return 10 * major + minor;
}

}  // namespace

extern "C" int metavoice_decode_supports(int32_t device, const MetavoiceDecode* step) {
  return serves(*step) && capability_of(device) >= (step->dtype == METAVOICE_BFLOAT16 ? 80 : 75) ? 1 : 0;
}

extern "C" int metavoice_decode_capture(int32_t device, const MetavoiceDecode* step, const MetavoiceDecodeLayer* layers, int32_t layer_count,
                                        const MetavoiceDecodeEnds* ends, const MetavoiceDraw* draw, void** graph) {
  int failure = cudaSetDevice(device);
  if (failure != cudaSuccess) return failure;
  cudaStream_t stream = nullptr;
  failure = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (failure != cudaSuccess) return failure;
  MetavoiceDecode captured = *step;
  captured.stream = stream;
  if (capability_of(device) < 90) captured.flags &= ~METAVOICE_EARLY_LAUNCH;
  cudaGraph_t recorded = nullptr;
  failure = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  if (failure == cudaSuccess) {
    failure = metavoice_decode_step(&captured, layers, layer_count, ends, draw);
    const int ended = cudaStreamEndCapture(stream, &recorded);
    if (failure == cudaSuccess) failure = ended;
  }
  cudaGraphExec_t run = nullptr;
  if (failure == cudaSuccess) failure = cudaGraphInstantiate(&run, recorded, 0);
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  cudaStreamDestroy(stream);
  *graph = run;
  return failure;
}

extern "C" int metavoice_decode_launch(int32_t device, void* graph, void* stream, int32_t times) {
  int failure = cudaSetDevice(device);
  for (int32_t i = 0; i < times && failure == cudaSuccess; ++i)
    failure = cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream));
  return failure;
}

extern "C" void metavoice_decode_release(void* graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

#else

extern "C" int metavoice_decode_supports(int32_t, const MetavoiceDecode* step) { return serves(*step) ? 1 : 0; }

#endif

extern "C" int metavoice_decode_step(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layers, int32_t layer_count,
                                     const MetavoiceDecodeEnds* ends, const MetavoiceDraw* draw) {
  int failure = metavoice_decode_embed(step, ends);
  for (const MetavoiceDecodeLayer* layer = layers; layer != layers + layer_count && failure == cudaSuccess; ++layer) {
    failure = metavoice_decode_qkv(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_attend(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_project(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_gate_up(step, layer);
    if (failure == cudaSuccess) failure = metavoice_decode_down(step, layer);
  }
  if (failure == cudaSuccess) failure = metavoice_decode_head(step, ends);
  return failure == cudaSuccess && draw != nullptr ? metavoice_decode_draw(step, ends, draw) : failure;
}
