// One decode step of the first stage as a few CUDA kernels: many rows of any length at once, one position of each, over
// keys and values in pages (ops/paged_attention.h). Plain C, so that what holds the kernels needs no libtorch.
//
// The residual stream, norms, softmax and logits are float32. What goes into a product is rounded to the dtype of the
// matrices, as are queries, keys and values; sums are float32. The bits of a row depend on that row alone.
//
// Every call that begins a kernel enqueues it on `stream` and returns a cudaError_t (cudaErrorInvalidValue for what is not
// supported); nothing is allocated and nothing waits, so all of it can be captured in a graph. Positions, pages and ids
// are read when the kernels run.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define METAVOICE_KERNEL_API __declspec(dllexport)
#else
#define METAVOICE_KERNEL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum MetavoiceDtype { METAVOICE_FLOAT32 = 0, METAVOICE_FLOAT16 = 1, METAVOICE_BFLOAT16 = 2 };

enum MetavoiceDecodeFlags {
  // A kernel may begin while the one before it ends (programmatic dependent launch, compute capability 9.0).
  METAVOICE_EARLY_LAUNCH = 1,
};

// What the matrices of the layers are made of.
enum MetavoiceWeights {
  METAVOICE_WHOLE = 0,  // numbers of the dtype, [out, in]
  // In 16 bit only. int8 with a scale for each row: q * scale. Of each 64 numbers of a row, 16 bytes for each t of 0 to 3: of
  // numbers 8t …, then of 32 + 8t …. Scales float32 [out]; `in` is a multiple of 64.
  METAVOICE_INT8 = 1,
  // int4 in groups of 128 numbers of a row: (q - 8) * scale + zero, q of 0 to 15. Of each group, 16 bytes for each t of 0 to
  // 3: four words, of numbers 8t …, 32 + 8t …, 64 + 8t … and 96 + 8t …; in a word, number 2i has bits 4i … and number 2i + 1
  // has bits 16 + 4i …. Scales are pairs (scale, zero) of the dtype [out, in / 128]; `in` is a multiple of 128.
  METAVOICE_INT4 = 2,
};

// [out, in], contiguous, from a multiple of 16 bytes.
struct MetavoiceMatrix {
  const void* numbers;
  const void* scales;  // or null
};

// What the kernels of one step share.
struct MetavoiceDecode {
  int32_t dtype;   // of what goes into a product, of the pages, queries, attended and activated
  int32_t weights;
  int32_t rows;    // 1 to 64
  int32_t width;   // a multiple of 32, up to 2048
  int32_t heads;   // of 32, 64 or 128 numbers
  int32_t hidden;  // of the feed forward; a multiple of 32
  float epsilon;   // of the norms
  int32_t flags;
  // Every position must be below this; it bounds the grids and the room in `partial`.
  int32_t most_positions;
  const int32_t* positions;  // [rows]: of the new column; below 0 the row is padding, whose numbers mean nothing
  const int32_t* pages;      // [rows, page_stride]: of the row's positions, 32 a page
  int32_t page_stride;
  int64_t page_numbers;  // from one page of a layer to the next, in numbers

  float* residual;   // [rows, width]
  void* queries;     // [rows, width]
  void* attended;    // [rows, width]
  void* activated;   // [rows, hidden]
  float* partial;    // metavoice_decode_partial_bytes
  int32_t* tickets;  // [rows, heads]: 0 before the first step; every step leaves them 0
  void* stream;      // cudaStream_t
};

struct MetavoiceDecodeLayer {
  const float* attention_norm;      // [width]
  struct MetavoiceMatrix qkv;      // [3 * width, width]
  struct MetavoiceMatrix out;      // [width, width]
  const float* feed_forward_norm;   // [width]
  struct MetavoiceMatrix gate;     // [hidden, width]
  struct MetavoiceMatrix up;       // [hidden, width]
  struct MetavoiceMatrix down;     // [width, hidden]
  void* pages;                      // [pages, 2, heads, head width * 32]
};

struct MetavoiceDecodeEnds {
  const void* tokens;         // [vocabulary, width]
  const void* places;         // [window, width]
  const float* conditioning;  // [rows, width]
  const int32_t* ids;         // [rows]
  const float* norm;          // [width]
  const void* head;           // [entries, width], whole numbers of head_dtype
  int32_t head_dtype;         // the norm's output is rounded to it
  int32_t entries;
  float* logits;  // [rows, entries]
};

// Changes with everything in this file: who opens the library asks for it first.
#define METAVOICE_DECODE_VERSION 1
METAVOICE_KERNEL_API int metavoice_decode_version(void);

// 1 where the kernels serve these sizes and this dtype on a device, else 0.
METAVOICE_KERNEL_API int metavoice_decode_supports(int32_t device, const struct MetavoiceDecode* step);
METAVOICE_KERNEL_API int64_t metavoice_decode_partial_bytes(const struct MetavoiceDecode* step);

// residual = token + place + conditioning
METAVOICE_KERNEL_API int metavoice_decode_embed(const struct MetavoiceDecode* step, const struct MetavoiceDecodeEnds* ends);
// Norm and projection to queries, keys and values; the latter two go to the pages.
METAVOICE_KERNEL_API int metavoice_decode_qkv(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// Attention to all positions up to the new one, in pieces of 128 that the last one to end puts together.
METAVOICE_KERNEL_API int metavoice_decode_attend(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// residual += attended out^T
METAVOICE_KERNEL_API int metavoice_decode_project(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// activated = silu(gate) * up of the norm
METAVOICE_KERNEL_API int metavoice_decode_gate_up(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// residual += activated down^T
METAVOICE_KERNEL_API int metavoice_decode_down(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// Norm and output layer.
METAVOICE_KERNEL_API int metavoice_decode_head(const struct MetavoiceDecode* step, const struct MetavoiceDecodeEnds* ends);
// All of these for all layers.
METAVOICE_KERNEL_API int metavoice_decode_step(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layers, int32_t layer_count, const struct MetavoiceDecodeEnds* ends);


// All of a step as one graph, to be launched on any stream of the device; what a flag asks for and the device has not is left
// out. `stream` of the step is not used. Returns a cudaError_t.
METAVOICE_KERNEL_API int metavoice_decode_capture(int32_t device, const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layers,
                                                  int32_t layer_count, const struct MetavoiceDecodeEnds* ends, void** graph);
METAVOICE_KERNEL_API int metavoice_decode_launch(int32_t device, void* graph, void* stream);
METAVOICE_KERNEL_API void metavoice_decode_release(void* graph);

// A cudaError_t in words.
METAVOICE_KERNEL_API const char* metavoice_decode_explain(int failure);

#ifdef __cplusplus
}
#endif
