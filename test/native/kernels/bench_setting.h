// A first stage of the published size on the device, with random numbers, and graphs that are timed.
#pragma once

#include <algorithm>
#include <vector>

#include "memory.h"

namespace metavoice::testing {

constexpr int kLayers = 24, kWidth = 2048, kHeads = 16, kHidden = 5632, kEntries = 2562, kWindow = 2048, kPagePositions = 32;

static __global__ void fill(uint32_t* words, int64_t count, uint32_t seed, int dtype) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u ^ seed;
    x = (x ^ x >> 15) * 0x2c1b3c6du;
    x = (x ^ x >> 12) * 0x297a2d39u;
    x ^= x >> 15;
    const float first = (static_cast<float>(x & 0xffffu) / 32768.0F - 1) * 0.035F, second = (static_cast<float>(x >> 16) / 32768.0F - 1) * 0.035F;
    if (dtype == kBytes) words[i] = x;
    else if (dtype == METAVOICE_FLOAT32) reinterpret_cast<float*>(words)[i] = first;
    else if (dtype == METAVOICE_FLOAT16) reinterpret_cast<__half2*>(words)[i] = __floats2half2_rn(first, second);
    else reinterpret_cast<__nv_bfloat162*>(words)[i] = __floats2bfloat162_rn(first, second);
  }
}

static __global__ void fill_ones(float* to, int64_t count) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) to[i] = 1;
}

// Memory with random numbers of a dtype.
struct Numbers {
  void* device;
  int64_t bytes;

  Numbers(int dtype, int64_t count, uint32_t seed) : device(allocate(static_cast<size_t>(count) * size_of(dtype))), bytes(count * static_cast<int64_t>(size_of(dtype))) {
    fill<<<1024, 256>>>(static_cast<uint32_t*>(device), bytes / 4, seed, dtype);
  }
  ~Numbers() { release(device); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
};

class Graph {
 public:
  template <class Enqueue>
  Graph(cudaStream_t stream, const Enqueue& enqueue) : stream_(stream) {
    cudaGraph_t graph;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    enqueue();
    check(cudaStreamEndCapture(stream, &graph), "end of capture");
    check(cudaGraphInstantiate(&run_, graph, 0), "graph");
    cudaGraphDestroy(graph);
    check(cudaEventCreate(&begin_), "event");
    check(cudaEventCreate(&end_), "event");
  }
  ~Graph() {
    cudaGraphExecDestroy(run_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Median of `groups` groups of launches -> seconds of one.
  double seconds(int groups, int launches) {
    std::vector<double> found;
    for (int i = 0; i < launches / 2 + 1; ++i) check(cudaGraphLaunch(run_, stream_), "launch");
    for (int group = 0; group < groups; ++group) {
      check(cudaEventRecord(begin_, stream_), "event");
      for (int i = 0; i < launches; ++i) check(cudaGraphLaunch(run_, stream_), "launch");
      check(cudaEventRecord(end_, stream_), "event");
      check(cudaEventSynchronize(end_), "graph");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin_, end_), "time");
      found.push_back(milliseconds / 1000.0 / launches);
    }
    std::sort(found.begin(), found.end());
    return found[found.size() / 2];
  }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t run_;
  cudaEvent_t begin_, end_;
};

struct Setting {
  int dtype, form, page_kind;
  Numbers weights, scales, memory, tables, head;
  Array norm, conditioning, residual, queries, fresh, attended, activated, logits, partial;
  Ints positions, ids, tickets, pages;
  MetavoiceDecode step{};
  std::vector<MetavoiceDecodeLayer> layers;
  MetavoiceDecodeEnds ends{};

  static constexpr int64_t kLayerNumbers = int64_t{kWidth} * (4 * kWidth + 3 * kHidden);
  // Of a head's keys, or values, in one page, and of one position in all of them.
  static int64_t head_numbers(int page_kind) { return kWidth / kHeads * kPagePositions + (page_kind == METAVOICE_PAGES_INT8 ? 4 * kPagePositions : 0); }
  int64_t position_bytes() const {
    const auto number = static_cast<int64_t>(page_kind == METAVOICE_PAGES_INT8 ? 1 : size_of(dtype));
    return number * kLayers * 2 * kHeads * head_numbers(page_kind) / kPagePositions;
  }
  static constexpr int kMostRows = 64, kPagesPerRow = kWindow / kPagePositions;

  // Of `numbers` in rows of `in`.
  static int64_t bytes_of(int form, int64_t numbers) { return form == METAVOICE_WHOLE ? 2 * numbers : form == METAVOICE_INT8 ? numbers : numbers / 2; }
  static int64_t scale_bytes_of(int form, int64_t out, int64_t in) { return form == METAVOICE_WHOLE ? 0 : form == METAVOICE_INT8 ? 4 * out : out * (in / 128) * 4; }
  static int64_t scale_bytes_of(int form) {
    return scale_bytes_of(form, 4 * kWidth, kWidth) + scale_bytes_of(form, 2 * kHidden, kWidth) + scale_bytes_of(form, kWidth, kHidden);
  }

  Setting(int number_type, int weight_form, int pages_as, cudaStream_t stream)
      : dtype(number_type),
        form(weight_form),
        page_kind(pages_as),
        weights(kBytes, kLayers * bytes_of(form, kLayerNumbers), 1),
        scales(form == METAVOICE_INT8 ? METAVOICE_FLOAT32 : dtype, kLayers * scale_bytes_of(form) / (form == METAVOICE_INT8 ? 4 : 2) + 64, 9),
        memory(page_kind == METAVOICE_PAGES_INT8 ? kBytes : dtype, int64_t{kLayers} * 8 * kPagesPerRow * 2 * kHeads * head_numbers(page_kind), 2),
        tables(dtype, int64_t{kEntries + kWindow} * kWidth, 3),
        head(METAVOICE_FLOAT32, int64_t{kEntries} * kWidth, 4),
        norm(METAVOICE_FLOAT32, kWidth),
        conditioning(METAVOICE_FLOAT32, int64_t{kMostRows} * kWidth),
        residual(METAVOICE_FLOAT32, int64_t{kMostRows} * kWidth),
        queries(dtype, int64_t{kMostRows} * kWidth),
        fresh(dtype, int64_t{kMostRows} * 2 * kWidth),
        attended(dtype, int64_t{kMostRows} * kWidth),
        activated(dtype, int64_t{kMostRows} * kHidden),
        logits(METAVOICE_FLOAT32, int64_t{kMostRows} * kEntries),
        partial(METAVOICE_FLOAT32, int64_t{kMostRows} * kHeads * (kWindow / 128) * (kWidth / kHeads + 2)),
        positions(std::vector<int32_t>(kMostRows, 0)),
        ids(std::vector<int32_t>(kMostRows, 7)),
        tickets(std::vector<int32_t>(kMostRows * kHeads, 0)),
        pages(scattered()) {
    fill_ones<<<8, 256>>>(norm.floats(), kWidth);
    conditioning.zero();
    // Random bytes are no scales: these are steps of 1, and tiny ones.
    if (page_kind == METAVOICE_PAGES_INT8) check(cudaMemset(memory.device, 1, static_cast<size_t>(memory.bytes)), "cudaMemset");
    if (form == METAVOICE_WHOLE) fill<<<1024, 256>>>(static_cast<uint32_t*>(weights.device), weights.bytes / 4, 1, dtype);
    step.dtype = dtype;
    step.weights = form;
    step.page_kind = page_kind;
    step.width = kWidth;
    step.heads = kHeads;
    step.hidden = kHidden;
    step.epsilon = 1e-5F;
    step.most_positions = kWindow;
    step.positions = positions.device();
    step.pages = pages.device();
    step.page_stride = kPagesPerRow;
    step.page_numbers = 2 * kHeads * head_numbers(page_kind);
    step.residual = residual.floats();
    step.queries = queries.device();
    step.fresh = fresh.device();
    step.attended = attended.device();
    step.activated = activated.device();
    step.partial = partial.floats();
    step.tickets = tickets.device();
    step.stream = stream;
    const auto at = [&](const Numbers& numbers, int64_t offset) { return static_cast<char*>(numbers.device) + offset * static_cast<int64_t>(size_of(dtype)); };
    auto* next = static_cast<char*>(weights.device);
    auto* next_scale = static_cast<char*>(scales.device);
    const auto matrix = [&](int64_t out, int64_t in) {
      const MetavoiceMatrix result{next, next_scale};
      next += bytes_of(form, out * in);
      next_scale += scale_bytes_of(form, out, in);
      return result;
    };
    for (int64_t i = 0; i < kLayers; ++i) {
      const MetavoiceMatrix qkv = matrix(3 * kWidth, kWidth), out = matrix(kWidth, kWidth), gate = matrix(kHidden, kWidth), up = matrix(kHidden, kWidth),
                            down = matrix(kWidth, kHidden);
      layers.push_back({norm.floats(), qkv, out, norm.floats(), gate, up, down, static_cast<char*>(memory.device) + i * (memory.bytes / kLayers)});
    }
    ends = {tables.device, at(tables, int64_t{kEntries} * kWidth), conditioning.floats(), ids.device(), norm.floats(), head.device,
            METAVOICE_FLOAT32, kEntries, logits.floats()};
  }

  // Eight rows have pages of their own; more rows share them.
  static std::vector<int32_t> scattered() {
    std::vector<int32_t> result(static_cast<size_t>(kMostRows * kPagesPerRow));
    for (int row = 0; row < kMostRows; ++row)
      for (int page = 0; page < kPagesPerRow; ++page) result[static_cast<size_t>(row * kPagesPerRow + page)] = (page * 8 + row % 8) * 37 % (8 * kPagesPerRow);
    return result;
  }

  void place(int rows, int position, int flags) {
    step.rows = rows;
    step.flags = flags;
    std::fill(positions.values().begin(), positions.values().end(), position);
    positions.upload();
    finish("positions");
  }
  int64_t weight_bytes() const { return weights.bytes + kLayers * scale_bytes_of(form) + head.bytes; }
  int64_t bytes(int rows, int position) const { return weight_bytes() + int64_t{rows} * (position + 1) * position_bytes(); }
  void run() { check(metavoice_decode_step(&step, layers.data(), kLayers, &ends, nullptr), "step"); }
};

}  // namespace metavoice::testing
