// How fast a decode step runs at the published size, beside how fast the device reads memory in the same run.
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "bench.h"
#include "bench_setting.h"

namespace {

using namespace metavoice::testing;

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

// A table on standard output and the same as JSON.
class Table {
 public:
  explicit Table(const std::string& device, double rate) : rate_(rate) {
    json_ = "{\n  \"device\": \"" + device + "\",\n  \"readBytesPerSecond\": " + std::to_string(rate) + ",\n  \"figures\": [";
    std::printf("%-8s %-10s %-6s %5s %9s %11s %9s %9s\n", "form", "what", "early", "rows", "position", "per second", "us", "of read");
  }

  void add(const char* form, const char* what, int flags, int rows, int position, double seconds, double bytes) {
    const char* early = flags != 0 ? "yes" : "no";
    std::printf("%-8s %-10s %-6s %5d %9d %11.1f %9.2f %8.1f%%\n", form, what, early, rows, position, 1 / seconds, seconds * 1e6, 100 * bytes / seconds / rate_);
    char line[320];
    std::snprintf(line, sizeof(line),
                  "%s\n    {\"form\": \"%s\", \"what\": \"%s\", \"early\": %s, \"rows\": %d, \"position\": %d, \"seconds\": %.9f, \"bytes\": %.0f, \"shareOfRead\": %.4f}",
                  first_ ? "" : ",", form, what, flags != 0 ? "true" : "false", rows, position, seconds, bytes, bytes / seconds / rate_);
    json_ += line;
    first_ = false;
  }

  bool write(const char* path) {
    json_ += "\n  ]\n}\n";
    std::FILE* file = std::fopen(path, "w");
    return file != nullptr && std::fputs(json_.c_str(), file) >= 0 && std::fclose(file) == 0;
  }

 private:
  double rate_;
  std::string json_;
  bool first_ = true;
};

const char* form_of(const Setting& setting) {
  if (setting.page_kind == METAVOICE_PAGES_INT8) return "int4+kv8";
  return setting.form == METAVOICE_WHOLE ? "whole" : setting.form == METAVOICE_INT8 ? "int8" : "int4";
}

void measure_steps(Table& table, Setting& setting, int flags, bool brief) {
  const auto measure = [&](int rows, int position) {
    setting.place(rows, position, flags);
    Graph graph(static_cast<cudaStream_t>(setting.step.stream), [&] { setting.run(); });
    table.add(form_of(setting), "step", flags, rows, position, graph.seconds(5, 20), static_cast<double>(setting.bytes(rows, position)));
  };
  for (const int position : {256, 1000, 2000})
    if (!brief || position == 1000) measure(2, position);
  for (const int rows : {4, 8, 16, 64})
    if (!brief) measure(rows, 1000);
}

// Each kernel alone, on the numbers of all layers one after the other.
void measure_kernels(Table& table, Setting& setting, int flags) {
  using Kernel = int (*)(const MetavoiceDecode*, const MetavoiceDecodeLayer*);
  const auto stream = static_cast<cudaStream_t>(setting.step.stream);
  const auto bytes = [&](int64_t out, int64_t in) { return static_cast<double>(Setting::bytes_of(setting.form, out * in) + Setting::scale_bytes_of(setting.form, out, in)); };
  const struct {
    const char* name;
    Kernel kernel;
    double bytes;
  } kernels[] = {{"qkv", metavoice_decode_qkv, bytes(3 * kWidth, kWidth)},
                 {"attend", metavoice_decode_attend, 2.0 * 1001 * static_cast<double>(setting.position_bytes()) / kLayers},
                 {"project", metavoice_decode_project, bytes(kWidth, kWidth)},
                 {"gate_up", metavoice_decode_gate_up, bytes(2 * kHidden, kWidth)},
                 {"down", metavoice_decode_down, bytes(kWidth, kHidden)}};
  setting.place(2, 1000, flags);
  for (const auto& each : kernels) {
    Graph graph(stream, [&] {
      for (const MetavoiceDecodeLayer& layer : setting.layers) check(each.kernel(&setting.step, &layer), each.name);
    });
    table.add(form_of(setting), each.name, flags, 2, 1000, graph.seconds(5, 10) / kLayers, each.bytes);
  }
  Graph head(stream, [&] {
    for (int i = 0; i < 4; ++i) check(metavoice_decode_head(&setting.step, &setting.ends), "head");
  });
  table.add(form_of(setting), "head", flags, 2, 1000, head.seconds(5, 10) / 4, static_cast<double>(setting.head.bytes));
}

// Two rows each, of which one step draws an id, never the end; what a launch begins with is put back before the next one.
struct Draws {
  static constexpr int kSlots = 8;
  Ints utterances, first_utterances, first_positions, ids;
  MetavoiceDrawn* ring = nullptr;
  MetavoiceDraw draw{};

  Draws(Setting& setting, int rows, int position)
      : utterances(begin(rows)), first_utterances(begin(rows)), first_positions(std::vector<int32_t>(static_cast<size_t>(rows), position)), ids(std::vector<int32_t>(static_cast<size_t>(rows), 7)) {
    check(cudaHostAlloc(reinterpret_cast<void**>(&ring), sizeof(MetavoiceDrawn) * static_cast<size_t>(kSlots * rows / 2), cudaHostAllocDefault), "pinned memory");
    draw = {reinterpret_cast<MetavoiceUtterance*>(utterances.device()), rows / 2, 1024, kEntries, kSlots, setting.ids.device(), setting.positions.device(), ring};
  }
  ~Draws() { cudaFreeHost(ring); }
  Draws(const Draws&) = delete;
  Draws& operator=(const Draws&) = delete;

  static std::vector<int32_t> begin(int rows) {
    std::vector<MetavoiceUtterance> all(static_cast<size_t>(rows / 2));
    for (int i = 0; i < rows / 2; ++i) {
      MetavoiceUtterance& u = all[static_cast<size_t>(i)];
      u.first_row = 2 * i;
      u.rows = 2;
      u.left = 1000;
      u.seed[0] = static_cast<uint32_t>(i);
      u.speaker = 3;
      u.prompt = u.temperature = 1;
      u.top_p = 0.95F;
    }
    std::vector<int32_t> words(all.size() * sizeof(MetavoiceUtterance) / 4);
    std::memcpy(words.data(), all.data(), words.size() * 4);
    return words;
  }
  void put_back(cudaStream_t stream) {
    const auto copy_all = [&](int32_t* to, Ints& from) { check(cudaMemcpyAsync(to, from.device(), from.values().size() * 4, cudaMemcpyDeviceToDevice, stream), "copy"); };
    copy_all(utterances.device(), first_utterances);
    copy_all(draw.positions, first_positions);
    copy_all(draw.ids, ids);
  }
};

// Eight steps in a launch as the engine takes them, on the host's clock: put in, launched, waited for.
void measure_launches(Table& table, Setting& setting, int flags, bool brief) {
  using Clock = std::chrono::steady_clock;
  const auto stream = static_cast<cudaStream_t>(setting.step.stream);
  for (const int rows : {2, 16, 64}) {
    if (brief && rows > 2) continue;
    setting.place(rows, 1000, flags);
    Draws draws(setting, rows, 1000);
    void* graph = nullptr;
    check(metavoice_decode_capture(0, &setting.step, setting.layers.data(), kLayers, &setting.ends, &draws.draw, &graph), "capture");
    std::vector<double> found;
    for (int i = 0; i < 25; ++i) {
      const Clock::time_point start = Clock::now();
      draws.put_back(stream);
      check(metavoice_decode_launch(0, graph, stream, Draws::kSlots), "launch");
      check(cudaStreamSynchronize(stream), "launch");
      if (i >= 5) found.push_back(std::chrono::duration<double>(Clock::now() - start).count() / Draws::kSlots);
    }
    std::sort(found.begin(), found.end());
    table.add(form_of(setting), "drawn step", flags, rows, 1000, found[found.size() / 2], static_cast<double>(setting.bytes(rows, 1004)));
    metavoice_decode_release(graph);
    // The draw by itself, over the logits that are left.
    Graph alone(stream, [&] {
      draws.put_back(stream);
      for (int i = 0; i < Draws::kSlots; ++i) check(metavoice_decode_draw(&setting.step, &setting.ends, &draws.draw), "draw");
    });
    table.add(form_of(setting), "draw", flags, rows, 1000, alone.seconds(5, 10) / Draws::kSlots, 4.0 * rows * kEntries);
  }
}

}  // namespace

int run_bench(const char* json, bool brief) {
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "device");
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  const int dtype = device.major >= 8 ? METAVOICE_BFLOAT16 : METAVOICE_FLOAT16;
  std::unique_ptr<Table> table;
  const std::pair<int, int> settings[] = {{METAVOICE_WHOLE, METAVOICE_PAGES_WHOLE},
                                          {METAVOICE_INT8, METAVOICE_PAGES_WHOLE},
                                          {METAVOICE_INT4, METAVOICE_PAGES_WHOLE},
                                          {METAVOICE_INT4, METAVOICE_PAGES_INT8}};
  for (const auto& [form, page_kind] : settings) {
    Setting setting(dtype, form, page_kind, stream);
    finish("numbers");
    if (!table) {
      const double rate = read_rate(setting.weights, stream, device.multiProcessorCount);
      std::printf("%s, %d multiprocessors, reads %.0f GB/s\n", device.name, device.multiProcessorCount, rate / 1e9);
      table = std::make_unique<Table>(device.name, rate);
    }
    for (const int flags : {0, static_cast<int>(METAVOICE_EARLY_LAUNCH)}) {
      if (flags != 0 && device.major < 9) continue;
      measure_steps(*table, setting, flags, brief || (form != METAVOICE_WHOLE && flags == 0));
      measure_kernels(*table, setting, flags);
      measure_launches(*table, setting, flags, brief || form != METAVOICE_WHOLE);
    }
  }
  Graph empty(stream, [&] {
    for (int i = 0; i < 120; ++i) nothing<<<132, 128, 0, stream>>>();
  });
  table->add("-", "nothing", 0, 0, 0, empty.seconds(5, 10) / 120, 0);
  if (json != nullptr && !table->write(json)) {
    std::fprintf(stderr, "cannot write %s\n", json);
    return 2;
  }
  return 0;
}
