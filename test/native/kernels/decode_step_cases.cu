#include "cases.h"

#include "kernel_checks.h"

namespace metavoice::testing {

namespace {

// ------------------------------------------------------------------------------------------ bits

std::vector<uint8_t> logits_of(Scene& s) {
  s.logits.poison();
  s.partial->poison();
  check(metavoice_decode_step(&s.step, s.layers.data(), static_cast<int32_t>(s.layers.size()), &s.ends, nullptr), "step");
  finish("step");
  s.logits.download();
  return s.logits.bytes();
}

std::vector<uint8_t> row_bits(const std::vector<uint8_t>& logits, int row, int entries) {
  const auto size = static_cast<std::ptrdiff_t>(entries) * 4;
  return {logits.begin() + row * size, logits.begin() + (row + 1) * size};
}

void expect_same_bits(Model& model, const std::vector<int32_t>& positions, int most_positions) {
  const int rows = static_cast<int>(positions.size()), entries = model.sizes.entries;
  std::vector<int32_t> keys(positions.size());
  std::iota(keys.begin(), keys.end(), 0);
  Scene together(model, positions, keys, most_positions, 3);
  const std::vector<uint8_t> wanted = logits_of(together);
  bool stable = true;
  for (int i = 0; i < 4; ++i) stable = stable && logits_of(together) == wanted;
  report(together.sizes.name(), "bits from run to run", stable);

  // Two at a time, the other way round, on other pages and with another bound.
  bool alone = true;
  for (int row = 0; row < rows; row += std::max(1, rows / 5)) {
    const auto other = static_cast<size_t>((row + rows / 2) % rows);
    Scene pair(model, {positions[other], positions[static_cast<size_t>(row)]}, {keys[other], keys[static_cast<size_t>(row)]}, most_positions + 300, 17);
    const std::vector<uint8_t> found = logits_of(pair);
    alone = alone && row_bits(found, 1, entries) == row_bits(wanted, row, entries) &&
            row_bits(found, 0, entries) == row_bits(wanted, static_cast<int>(other), entries);
  }
  report(together.sizes.name(), "bits in other company", alone);

  std::vector<int32_t> turned_positions(positions.rbegin(), positions.rend()), turned_keys(keys.rbegin(), keys.rend());
  turned_positions.insert(turned_positions.begin(), -1);
  turned_keys.insert(turned_keys.begin(), 99);
  Scene turned(model, turned_positions, turned_keys, most_positions, 5);
  const std::vector<uint8_t> found = logits_of(turned);
  bool same = true;
  for (int row = 0; row < rows; ++row) same = same && row_bits(found, rows - row, entries) == row_bits(wanted, row, entries);
  report(together.sizes.name(), "bits in other places, behind padding", same);

#ifndef METAVOICE_EMULATED
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  int capability = 0;
  check(cudaDeviceGetAttribute(&capability, cudaDevAttrComputeCapabilityMajor, 0), "capability");
  for (const int flags : {0, static_cast<int>(METAVOICE_EARLY_LAUNCH)}) {
    if (flags != 0 && capability < 9) continue;
    MetavoiceDecode step = together.step;
    step.stream = stream;
    step.flags = flags;
    cudaGraph_t graph;
    cudaGraphExec_t run;
    together.logits.poison();
    together.partial->poison();
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < 3; ++i)
      check(metavoice_decode_step(&step, together.layers.data(), static_cast<int32_t>(together.layers.size()), &together.ends, nullptr), "step");
    check(cudaStreamEndCapture(stream, &graph), "end of capture");
    check(cudaGraphInstantiate(&run, graph, 0), "graph");
    for (int i = 0; i < 5; ++i) check(cudaGraphLaunch(run, stream), "launch");
    finish("graph");
    together.logits.download();
    report(together.sizes.name(), flags == 0 ? "bits of a graph" : "bits of a graph with early launches", together.logits.bytes() == wanted);
    cudaGraphExecDestroy(run);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
#endif
}

// ------------------------------------------------------------------------------------------ shapes

std::vector<int32_t> some_positions(Random& random, int rows, int most) {
  std::vector<int32_t> result;
  const int edges[] = {0, 31, 32, 127, 128, 129, 255, 256};
  for (int row = 0; row < rows; ++row) {
    const int edge = edges[random.below(8)];
    result.push_back(row % 3 == 0 && edge < most ? edge : random.below(most));
  }
  return result;
}

#if defined(METAVOICE_TURING)
constexpr bool kBfloats = false;  // compute capability 7.5 has none
#else
constexpr bool kBfloats = true;
#endif

void run_shape(Random& random, const Sizes& sizes, const std::vector<int>& row_counts, int most, bool bits) {
  if (sizes.dtype == METAVOICE_BFLOAT16 && !kBfloats) return;
  Model model(sizes, most + 1, random);
  for (const int rows : row_counts) {
    std::vector<int32_t> positions = some_positions(random, rows, most), keys(static_cast<size_t>(rows));
    std::iota(keys.begin(), keys.end(), 5);
    if (rows > 3) positions[static_cast<size_t>(rows) - 2] = -1;
    Scene scene(model, positions, keys, most, random.bits());
#ifndef METAVOICE_EMULATED
    if (metavoice_decode_supports(0, &scene.step) != 1) {
      std::printf("skip  %s: not on this device\n", scene.sizes.name().c_str());
      continue;
    }
#endif
    expect_kernels(scene);
    if (bits) expect_same_bits(model, some_positions(random, rows, most), most);
  }
}

}  // namespace

}  // namespace metavoice::testing

int run_cases(bool small) {
  using namespace metavoice::testing;
  Random random(11);
  constexpr int f32 = METAVOICE_FLOAT32, f16 = METAVOICE_FLOAT16, b16 = METAVOICE_BFLOAT16;
  constexpr int whole = METAVOICE_WHOLE;
#if defined(METAVOICE_EMULATED)
  (void)small;
  for (const int dtype : {f32, f16, b16}) {
    run_shape(random, {dtype, whole, 128, 2, 192, 37, f32, 1, {}}, {2, 9}, 300, dtype != b16);
    run_shape(random, {dtype, whole, 128, 1, 160, 33, dtype, 1, {}}, {3}, 200, false);
  }
  for (const int weights : {static_cast<int>(METAVOICE_INT8), static_cast<int>(METAVOICE_INT4)})
    for (const int dtype : {f16, b16}) run_shape(random, {dtype, weights, 256, 4, 384, 24, f32, 1, {}}, {2, 9}, 40, dtype == b16);
  for (const int dtype : {f32, f16, b16}) run_shape(random, {dtype, whole, 128, 2, 192, 37, f32, 1, {}, METAVOICE_PAGES_INT8}, {2, 9}, 300, dtype != f16);
  for (const int heads : {1, 4}) run_shape(random, {b16, whole, 128, heads, 96, 33, b16, 2, {}, METAVOICE_PAGES_INT8}, {3}, 200, false);
  run_shape(random, {b16, whole, 128, 4, 96, 50, b16, 2, {}}, {2, 41}, 40, true);
  run_shape(random, {f16, whole, 544, 17, 64, 20, f16, 1, {}}, {2}, 40, false);
#else
  for (const int dtype : {f32, f16, b16}) {
    run_shape(random, {dtype, whole, 128, 2, 192, 37, f32, 1, {}, METAVOICE_PAGES_INT8}, {2, 9}, 300, true);
    if (small) {
      run_shape(random, {dtype, whole, 128, 2, 192, 37, f32, 1, {}}, {2, 9}, 300, true);
      continue;
    }
    run_shape(random, {dtype, whole, 2048, 16, 5632, 300, f32, 1, {}, METAVOICE_PAGES_INT8}, {2, 17}, 2000, true);
    run_shape(random, {dtype, whole, 128, 4, 192, 100, f32, 2, {}}, {2, 9, 64}, 700, true);
    run_shape(random, {dtype, whole, 256, 4, 768, 2562, f32, 2, {}}, {2, 8}, 900, true);
    for (const int weights : {static_cast<int>(METAVOICE_INT8), static_cast<int>(METAVOICE_INT4)}) {
      if (dtype == f32) continue;
      run_shape(random, {dtype, weights, 256, 4, 768, 300, f32, 2, {}}, {2, 9}, 300, true);
      run_shape(random, {dtype, weights, 2048, 16, 5632, 300, dtype, 1, {}}, {2, 17}, 300, false);
    }
    run_shape(random, {dtype, whole, 384, 3, 1056, 77, dtype, 1, {}}, {3, 17}, 1500, false);
    run_shape(random, {dtype, whole, 2048, 16, 5632, 2562, f32, 1, {}}, {2, 6}, 2000, true);
  }
  if (!small) {
    run_shape(random, {f16, whole, 1024, 8, 2816, 300, f16, 2, {}}, {4, 33}, 2047, true);
    run_shape(random, {f16, whole, 544, 17, 64, 20, f16, 1, {}}, {2}, 40, true);
  }
#endif
  std::printf("%d passed, %d failed\n", tally().passed, tally().failed);
  return tally().failed == 0 ? 0 : 1;
}
