// One decode step of the first stage as a few CUDA kernels: many rows of any length at once, one position of each, over
// keys and values in pages (ops/paged_attention.h). Plain C, so that what holds the kernels needs no libtorch.
//
// The residual stream, norms, softmax and logits are float32. What goes into a product is rounded to the dtype of the
// matrices, as are queries, keys and values, which pages may keep in int8; sums are float32. The bits of a row depend on that
// row alone.
//
// Every call that begins a kernel enqueues it on `stream` and returns a cudaError_t (cudaErrorInvalidValue for what is not
// supported); nothing is allocated and nothing waits, so all of it can be captured in a graph. Positions, pages and ids
// are read when the kernels run. A step that ends with a draw leaves behind the ids and positions of the next one, so that steps
// follow each other without the host.
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

// What keys and values lie in their pages as.
enum MetavoicePages {
  METAVOICE_PAGES_WHOLE = 0,  // numbers of the dtype
  // Steps of the greatest number of a head's key or value at one position; 32 float32 scales of a page lie behind the steps of
  // each head's keys, and of its values.
  METAVOICE_PAGES_INT8 = 1,
};

// [out, in], contiguous, from a multiple of 16 bytes.
struct MetavoiceMatrix {
  const void* numbers;
  const void* scales;  // or null
};

// What the kernels of one step share.
struct MetavoiceDecode {
  int32_t dtype;   // of what goes into a product, of queries, attended and activated
  int32_t weights;    // MetavoiceWeights
  int32_t page_kind;  // MetavoicePages
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
  int64_t page_numbers;  // from one page of a layer to the next, in numbers; in bytes where they are int8

  float* residual;   // [rows, width]
  void* queries;     // [rows, width]
  void* fresh;       // [rows, 2, width]: keys and values of the new column on their way to pages of int8, else null
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
  void* pages;                      // [pages, 2, heads, head width * 32]; in int8 + 128 bytes
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

// Entries of a table that can be drawn from.
#define METAVOICE_MOST_DRAWN 2688

// What one utterance's ids are drawn by (ops/sampling.h), and how far it is. The host writes it, each draw moves it on.
struct MetavoiceUtterance {
  int32_t first_row;  // of its rows of guidance, which lie side by side
  int32_t rows;       // 1 (none), 2 (speaker) or 3 (speaker and prompt); 0: nobody
  int32_t step;       // ids that were drawn before: the address of the random number, and the turn of a codebook
  int32_t left;       // ids that may still be drawn, among them the end
  int32_t drawn;      // by this launch: 0 at its beginning
  int32_t constrain;  // 1: even steps draw of codebook 0 and the end, odd ones of codebook 1
  int32_t top_k;      // 0 is off
  uint32_t segment, attempt, seed[2];  // of core::RandomKey, the seed's lower half first
  float speaker, prompt;               // guidance
  float temperature, top_p;            // a top_p of 1 is off
};

enum MetavoiceDrawnFlags {
  METAVOICE_DRAWN = 1,
  METAVOICE_ENDED = 2,       // with METAVOICE_DRAWN: the id is the end
  METAVOICE_NOT_FINITE = 4,  // nothing was drawn: a logit, or what guidance and temperature made of one, is not finite
};

struct MetavoiceDrawn {
  int32_t id;
  int32_t flags;
};

struct MetavoiceDraw {
  struct MetavoiceUtterance* utterances;  // [utterance_count]
  int32_t utterance_count;
  int32_t codebook_size;  // ids of codebook 0, of codebook 1, then
  int32_t end_of_audio;
  int32_t slots;
  int32_t* ids;                 // those of the step: the next ones
  int32_t* positions;           // those of the step: the next ones, -1 once nothing more is drawn for the row
  struct MetavoiceDrawn* ring;  // [slots, utterance_count], memory that the device writes: of each draw of a launch. Others stay
};

// Changes with everything in this file: who opens the library asks for it first.
#define METAVOICE_DECODE_VERSION 3
METAVOICE_KERNEL_API int metavoice_decode_version(void);

// 1 where the kernels serve these sizes and this dtype on a device, else 0.
METAVOICE_KERNEL_API int metavoice_decode_supports(int32_t device, const struct MetavoiceDecode* step);
METAVOICE_KERNEL_API int64_t metavoice_decode_partial_bytes(const struct MetavoiceDecode* step);

// residual = token + place + conditioning
METAVOICE_KERNEL_API int metavoice_decode_embed(const struct MetavoiceDecode* step, const struct MetavoiceDecodeEnds* ends);
// Norm and projection to queries, keys and values; the latter two go to the pages, or to `fresh`.
METAVOICE_KERNEL_API int metavoice_decode_qkv(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// Attention to all positions up to the new one, in pieces of 128 that the last one to end puts together. What is fresh goes to the
// pages before.
METAVOICE_KERNEL_API int metavoice_decode_attend(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// residual += attended out^T
METAVOICE_KERNEL_API int metavoice_decode_project(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// activated = silu(gate) * up of the norm
METAVOICE_KERNEL_API int metavoice_decode_gate_up(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// residual += activated down^T
METAVOICE_KERNEL_API int metavoice_decode_down(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layer);
// Norm and output layer.
METAVOICE_KERNEL_API int metavoice_decode_head(const struct MetavoiceDecode* step, const struct MetavoiceDecodeEnds* ends);
// Guidance, finite check, mask, temperature, top-k, top-p and draw, for each utterance that has some left. One whose id is the
// end, whose logits are not finite or that has none left draws no more, and its rows become padding.
METAVOICE_KERNEL_API int metavoice_decode_draw(const struct MetavoiceDecode* step, const struct MetavoiceDecodeEnds* ends, const struct MetavoiceDraw* draw);
// All of these for all layers; without `draw`, which may be null, up to the logits.
METAVOICE_KERNEL_API int metavoice_decode_step(const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layers, int32_t layer_count,
                                               const struct MetavoiceDecodeEnds* ends, const struct MetavoiceDraw* draw);

// All of a step as one graph, to be launched on any stream of the device; what a flag asks for and the device has not is left
// out. `stream` of the step is not used. Returns a cudaError_t.
METAVOICE_KERNEL_API int metavoice_decode_capture(int32_t device, const struct MetavoiceDecode* step, const struct MetavoiceDecodeLayer* layers,
                                                  int32_t layer_count, const struct MetavoiceDecodeEnds* ends, const struct MetavoiceDraw* draw, void** graph);
// So many times, one after the other: with a draw, as many steps.
METAVOICE_KERNEL_API int metavoice_decode_launch(int32_t device, void* graph, void* stream, int32_t times);
METAVOICE_KERNEL_API void metavoice_decode_release(void* graph);

// A cudaError_t in words.
METAVOICE_KERNEL_API const char* metavoice_decode_explain(int failure);

#ifdef __cplusplus
}
#endif
