// What quantised products of the published size reach of the memory's rate: 24 layers of the first stage, random numbers.
//
//   build-cmake/metavoice_quantized_bench [int8|int4 …] [ROWS …]        (cmake --build build-cmake --target metavoice_quantized_bench)
//
// Prints, for each kind and number of rows, the best and the median pass over all layers, in ms and as GB/s of numbers and scales, beside
// the best rate of ops/read_bandwidth, measured before and after. Threads are libtorch's (OMP_NUM_THREADS).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "ops/quantized_linear.h"
#include "ops/read_bandwidth.h"

namespace {

using namespace metavoice;
using core::Quantization;

constexpr int kLayers = 24;
constexpr int64_t kWidth = 2048, kHidden = 5632;

ops::PackedMatrix random_matrix(int64_t out, int64_t in, Quantization kind) {
  const at::Tensor bytes = at::randint(0, 256, {out, kind == Quantization::int8 ? in : in / 2}, at::kByte);
  if (kind == Quantization::int8) return ops::pack({kind, bytes.view(at::kChar), at::full({out}, 1e-4, at::kBFloat16)});
  return ops::pack({kind, bytes, at::full({out, in / ops::kInt4Group, 2}, 1e-3, at::kBFloat16)});
}

std::vector<ops::PackedMatrix> random_layers(Quantization kind) {
  std::vector<ops::PackedMatrix> matrices;
  for (int layer = 0; layer < kLayers; ++layer)
    for (const auto& [out, in] : {std::pair{3 * kWidth, kWidth}, {kWidth, kWidth}, {kHidden, kWidth}, {kHidden, kWidth}, {kWidth, kHidden}})
      matrices.push_back(random_matrix(out, in, kind));
  return matrices;
}

double bandwidth() { return ops::read_bandwidth(int64_t{1} << 30, 5); }

void measure(const char* name, Quantization kind, const std::vector<int64_t>& counts) {
  const std::vector<ops::PackedMatrix> matrices = random_layers(kind);
  double bytes = 0;
  for (const ops::PackedMatrix& matrix : matrices) bytes += static_cast<double>(matrix.numbers.nbytes() + matrix.scales.nbytes());
  for (const int64_t rows : counts) {
    const at::Tensor narrow = at::randn({rows, kWidth}), wide = at::randn({rows, kHidden});
    const double before = bandwidth();
    std::vector<double> passes;
    const auto begin = std::chrono::steady_clock::now();
    while (passes.size() < 5 || (passes.size() < 100 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(4))) {
      const auto start = std::chrono::steady_clock::now();
      for (const ops::PackedMatrix& matrix : matrices) ops::quantized_linear(matrix.in == kWidth ? narrow : wide, matrix);
      passes.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::sort(passes.begin(), passes.end());
    const double best = passes.front(), median = passes[passes.size() / 2], memory = std::max(before, bandwidth());
    std::printf("%s, %3lld rows, %d threads: best %7.2f ms, median %7.2f ms; %5.1f of %5.1f GB/s, %3.0f %% (median %3.0f %%)\n", name,
                static_cast<long long>(rows), at::get_num_threads(), best * 1e3, median * 1e3, bytes / best / 1e9, memory / 1e9, bytes / best / memory * 100,
                bytes / median / memory * 100);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int count, char** values) {
  const c10::InferenceMode inference;
  std::vector<std::string> kinds;
  std::vector<int64_t> counts;
  for (int i = 1; i < count; ++i) {
    const std::string value = values[i];
    if (value.starts_with("int"))
      kinds.push_back(value);
    else
      counts.push_back(std::stoll(value));
  }
  if (kinds.empty()) kinds = {"int8", "int4"};
  if (counts.empty()) counts = {2, 4, 8, 16};
  for (const std::string& kind : kinds) measure(kind.c_str(), kind == "int8" ? Quantization::int8 : Quantization::int4, counts);
}
