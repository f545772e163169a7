// How fast a decode step runs at the published size, beside how fast the device reads memory in the same run.
#include <algorithm>
#include <memory>
#include <string>

#include "bench.h"
#include "memory.h"

namespace metavoice::testing {

namespace {

constexpr int kLayers = 24, kWidth = 2048, kHeads = 16, kHidden = 5632, kEntries = 2562, kWindow = 2048, kPagePositions = 32;

__global__ void fill(uint32_t* words, int64_t count, uint32_t seed, int dtype) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u ^ seed;
    x = (x ^ x >> 15) * 0x2c1b3c6du;
    x = (x ^ x >> 12) * 0x297a2d39u;
    x ^= x >> 15;
    const float first = (static_cast<float>(x & 0xffffu) / 32768.0F - 1) * 0.035F, second = (static_cast<float>(x >> 16) / 32768.0F - 1) * 0.035F;
    if (dtype == METAVOICE_FLOAT32) reinterpret_cast<float*>(words)[i] = first;
    else if (dtype == METAVOICE_FLOAT16) reinterpret_cast<__half2*>(words)[i] = __floats2half2_rn(first, second);
    else reinterpret_cast<__nv_bfloat162*>(words)[i] = __floats2bfloat162_rn(first, second);
  }
}

__global__ void fill_ones(float* to, int64_t count) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) to[i] = 1;
}

// Reads and does nothing else: the yardstick.
__global__ void __launch_bounds__(512) read_all(const uint4* words, int64_t count, uint32_t* seen) {
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 7 * stride < count; i += 8 * stride) {
    uint4 some[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) some[j] = __ldcs(words + i + j * stride);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum ^= some[j].x ^ some[j].y ^ some[j].z ^ some[j].w;
  }
  for (; i < count; i += stride) sum ^= words[i].x;
  if (sum == 0x12345678u) *seen = sum;
}

__global__ void nothing() {}

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
  int dtype;
  Numbers weights, memory, tables, head;
  Array norm, conditioning, residual, queries, attended, activated, logits, partial;
  Ints positions, ids, tickets, pages;
  MetavoiceDecode step{};
  std::vector<MetavoiceDecodeLayer> layers;
  MetavoiceDecodeEnds ends{};

  static constexpr int64_t kLayerNumbers = int64_t{kWidth} * (4 * kWidth + 3 * kHidden);
  static constexpr int kMostRows = 64, kPagesPerRow = kWindow / kPagePositions;

  Setting(int number_type, cudaStream_t stream)
      : dtype(number_type),
        weights(dtype, kLayers * kLayerNumbers, 1),
        memory(dtype, int64_t{kLayers} * 8 * kPagesPerRow * 2 * kWidth * kPagePositions, 2),
        tables(dtype, int64_t{kEntries + kWindow} * kWidth, 3),
        head(METAVOICE_FLOAT32, int64_t{kEntries} * kWidth, 4),
        norm(METAVOICE_FLOAT32, kWidth),
        conditioning(METAVOICE_FLOAT32, int64_t{kMostRows} * kWidth),
        residual(METAVOICE_FLOAT32, int64_t{kMostRows} * kWidth),
        queries(dtype, int64_t{kMostRows} * kWidth),
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
    step.dtype = dtype;
    step.width = kWidth;
    step.heads = kHeads;
    step.hidden = kHidden;
    step.epsilon = 1e-5F;
    step.most_positions = kWindow;
    step.positions = positions.device();
    step.pages = pages.device();
    step.page_stride = kPagesPerRow;
    step.page_numbers = int64_t{2} * kWidth * kPagePositions;
    step.residual = residual.floats();
    step.queries = queries.device();
    step.attended = attended.device();
    step.activated = activated.device();
    step.partial = partial.floats();
    step.tickets = tickets.device();
    step.stream = stream;
    const auto at = [&](const Numbers& numbers, int64_t offset) { return static_cast<char*>(numbers.device) + offset * static_cast<int64_t>(size_of(dtype)); };
    for (int64_t i = 0; i < kLayers; ++i) {
      const int64_t square = int64_t{kWidth} * kWidth, wide = int64_t{kWidth} * kHidden, from = i * kLayerNumbers;
      layers.push_back({norm.floats(), at(weights, from), at(weights, from + 3 * square), norm.floats(), at(weights, from + 4 * square),
                        at(weights, from + 4 * square + wide), at(weights, from + 4 * square + 2 * wide),
                        at(memory, i * (memory.bytes / static_cast<int64_t>(size_of(dtype)) / kLayers))});
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
  int64_t weight_bytes() const { return weights.bytes + head.bytes; }
  int64_t bytes(int rows, int position) const { return weight_bytes() + int64_t{rows} * (position + 1) * kLayers * 2 * kWidth * static_cast<int64_t>(size_of(dtype)); }
  void run() { check(metavoice_decode_step(&step, layers.data(), kLayers, &ends), "step"); }
};

double read_rate(const Numbers& numbers, cudaStream_t stream, int processors) {
  Array seen(METAVOICE_FLOAT32, 4);
  double best = 0;
  for (const int blocks : {2, 4}) {
    Graph graph(stream, [&] {
      read_all<<<static_cast<unsigned>(processors * blocks), 512, 0, stream>>>(static_cast<const uint4*>(numbers.device), numbers.bytes / 16, static_cast<uint32_t*>(seen.device()));
    });
    best = std::max(best, static_cast<double>(numbers.bytes) / graph.seconds(5, 4));
  }
  return best;
}

}  // namespace

}  // namespace metavoice::testing

int run_bench(const char* json, bool brief) {
  using namespace metavoice::testing;
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "device");
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  Setting setting(device.major >= 8 ? METAVOICE_BFLOAT16 : METAVOICE_FLOAT16, stream);
  finish("numbers");
  const double rate = read_rate(setting.weights, stream, device.multiProcessorCount);
  std::string lines = std::string("{\n  \"device\": \"") + device.name + "\",\n  \"readBytesPerSecond\": " + std::to_string(rate) + ",\n  \"steps\": [";
  std::printf("%s, %d multiprocessors, reads %.0f GB/s\n", device.name, device.multiProcessorCount, rate / 1e9);
  std::printf("%-6s %5s %9s %9s %9s %9s\n", "early", "rows", "position", "steps/s", "GB/s", "of read");
  const char* comma = "\n";
  const auto measure = [&](int rows, int position, int flags) {
    setting.place(rows, position, flags);
    Graph graph(stream, [&] { setting.run(); });
    const double seconds = graph.seconds(7, 20), bytes = static_cast<double>(setting.bytes(rows, position));
    std::printf("%-6s %5d %9d %9.1f %9.0f %8.1f%%\n", flags != 0 ? "yes" : "no", rows, position, 1 / seconds, bytes / seconds / 1e9, 100 * bytes / seconds / rate);
    char line[256];
    std::snprintf(line, sizeof(line), "%s    {\"early\": %s, \"rows\": %d, \"position\": %d, \"stepsPerSecond\": %.2f, \"bytes\": %.0f, \"shareOfRead\": %.4f}", comma,
                  flags != 0 ? "true" : "false", rows, position, 1 / seconds, bytes, bytes / seconds / rate);
    lines += line;
    comma = ",\n";
  };
  for (const int flags : {0, static_cast<int>(METAVOICE_EARLY_LAUNCH)}) {
    if (flags != 0 && device.major < 9) continue;
    for (const int position : {256, 1000, 2000})
      if (!brief || position == 1000) measure(2, position, flags);
    for (const int rows : {4, 8, 16, 64})
      if (!brief) measure(rows, 1000, flags);
  }
  lines += "\n  ],\n  \"kernels\": [";

  // Each kernel alone, on the numbers of all layers one after the other.
  comma = "\n";
  using Kernel = int (*)(const MetavoiceDecode*, const MetavoiceDecodeLayer*);
  const auto size = static_cast<double>(size_of(setting.dtype));
  const struct {
    const char* name;
    Kernel kernel;
    double numbers;
  } kernels[] = {{"qkv", metavoice_decode_qkv, 3.0 * kWidth * kWidth},
                 {"attend", metavoice_decode_attend, 2.0 * 2 * 1001 * kWidth},
                 {"project", metavoice_decode_project, 1.0 * kWidth * kWidth},
                 {"gate_up", metavoice_decode_gate_up, 2.0 * kWidth * kHidden},
                 {"down", metavoice_decode_down, 1.0 * kWidth * kHidden}};
  std::printf("%-8s %6s %9s %9s %9s   2 rows, position 1000\n", "kernel", "early", "us", "GB/s", "of read");
  const auto tell = [&](const char* name, int flags, double seconds, double bytes) {
    std::printf("%-8s %6s %9.2f %9.0f %8.1f%%\n", name, flags != 0 ? "yes" : "no", seconds * 1e6, bytes / seconds / 1e9, 100 * bytes / seconds / rate);
    char line[256];
    std::snprintf(line, sizeof(line), "%s    {\"kernel\": \"%s\", \"early\": %s, \"microseconds\": %.3f, \"shareOfRead\": %.4f}", comma, name,
                  flags != 0 ? "true" : "false", seconds * 1e6, bytes / seconds / rate);
    lines += line;
    comma = ",\n";
  };
  for (const int flags : {0, static_cast<int>(METAVOICE_EARLY_LAUNCH)}) {
    if (flags != 0 && device.major < 9) continue;
    setting.place(2, 1000, flags);
    for (const auto& each : kernels) {
      Graph graph(stream, [&] {
        for (const MetavoiceDecodeLayer& layer : setting.layers) check(each.kernel(&setting.step, &layer), each.name);
      });
      tell(each.name, flags, graph.seconds(7, 10) / kLayers, each.numbers * size);
    }
    Graph head(stream, [&] {
      for (int i = 0; i < 4; ++i) check(metavoice_decode_head(&setting.step, &setting.ends), "head");
    });
    tell("head", flags, head.seconds(7, 10) / 4, static_cast<double>(setting.head.bytes));
  }
  Graph empty(stream, [&] {
    for (int i = 0; i < 120; ++i) nothing<<<132, 128, 0, stream>>>();
  });
  tell("nothing", 0, empty.seconds(7, 10) / 120, 0);
  lines += "\n  ]\n}\n";
  if (json != nullptr) {
    std::FILE* file = std::fopen(json, "w");
    if (file == nullptr || std::fputs(lines.c_str(), file) < 0 || std::fclose(file) != 0) {
      std::fprintf(stderr, "cannot write %s\n", json);
      return 2;
    }
  }
  return 0;
}
