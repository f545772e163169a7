#include "cases.h"

#include "expected.h"

namespace metavoice::testing {

namespace {

int passed = 0, failed = 0;

void report(const std::string& name, const char* what, bool holds, double worst = -1) {
  (holds ? passed : failed)++;
  if (worst >= 0) std::printf("%s  %s: %s (%.3f of the bound)\n", holds ? "pass" : "FAIL", name.c_str(), what, worst);
  else std::printf("%s  %s: %s\n", holds ? "pass" : "FAIL", name.c_str(), what);
}

// ------------------------------------------------------------------------------------------ each kernel by itself

void expect_embedding(Scene& s) {
  check(metavoice_decode_embed(&s.step, &s.ends), "embed");
  finish("embed");
  s.residual.download();
  Comparison comparison(METAVOICE_FLOAT32, 1e-6);
  const int width = s.sizes.width;
  for (int row = 0; row < s.sizes.rows(); ++row)
    for (int i = 0; i < width; ++i) {
      const int position = s.sizes.positions[static_cast<size_t>(row)];
      const double wanted = position < 0 ? 0
                                         : s.model.tokens.get(int64_t{s.ids.values()[static_cast<size_t>(row)]} * width + i) +
                                               s.model.places.get(int64_t{position} * width + i) + s.conditioning.get(int64_t{row} * width + i);
      comparison.add(s.residual.get(int64_t{row} * width + i), wanted, 1);
    }
  report(s.sizes.name(), "embed", comparison.holds(), comparison.worst());
}

void expect_qkv(Scene& s, int layer) {
  const std::vector<uint8_t> before = s.memory[static_cast<size_t>(layer)]->bytes();
  check(metavoice_decode_qkv(&s.step, &s.layers[static_cast<size_t>(layer)]), "qkv");
  finish("qkv");
  Array& memory = *s.memory[static_cast<size_t>(layer)];
  Layer& weights = *s.model.layers[static_cast<size_t>(layer)];
  s.queries.download();
  memory.download();
  Comparison comparison(s.sizes.dtype, share_of(s.sizes.dtype, true));
  const int width = s.sizes.width;
  for (int row = 0; row < s.sizes.rows(); ++row) {
    const int position = s.sizes.positions[static_cast<size_t>(row)];
    const std::vector<double> x = normed(s.residual, weights.attention_norm, row, width, s.sizes.dtype);
    each_column(3 * width, width, s.sizes.rows(), row, [&](int column) {
      double scale = 0;
      const double wanted = product(x, weights.qkv, column, &scale);
      if (column < width) comparison.add(s.queries.get(int64_t{row} * width + column), wanted, scale);
      else if (position >= 0) comparison.add(memory.get(s.place(row, position, column >= 2 * width, column % width)), wanted, scale);
    });
  }
  report(s.sizes.name(), "norm and qkv", comparison.holds(), comparison.worst());
  // Nothing else of the pages has changed, and all of the new position has.
  std::vector<uint8_t> after = memory.bytes();
  const size_t size = size_of(s.sizes.dtype);
  bool written = true;
  for (int row = 0; row < s.sizes.rows(); ++row)
    for (int i = 0; i < 2 * width && s.sizes.positions[static_cast<size_t>(row)] >= 0; ++i) {
      const int64_t at = s.place(row, s.sizes.positions[static_cast<size_t>(row)], i >= width, i % width);
      written = written && std::isfinite(memory.get(at));
      std::memcpy(after.data() + static_cast<size_t>(at) * size, before.data() + static_cast<size_t>(at) * size, size);
    }
  report(s.sizes.name(), "what is written to the pages", written && after == before);
}

void expect_attention(Scene& s, int layer) {
  s.attended.poison();
  s.partial->poison();
  check(metavoice_decode_attend(&s.step, &s.layers[static_cast<size_t>(layer)]), "attend");
  finish("attend");
  s.attended.download();
  s.tickets.download();
  const Array& memory = *s.memory[static_cast<size_t>(layer)];
  Comparison comparison(s.sizes.dtype, 1e-5);
  const int width = s.sizes.width, head_width = s.sizes.head_width();
  const int stride = static_cast<int>(std::max<int64_t>(1, int64_t{s.sizes.rows()} * s.sizes.positions[0] * width / 8000000)) | 1;
  bool padding = true;
  for (int row = 0; row < s.sizes.rows(); ++row) {
    const int position = s.sizes.positions[static_cast<size_t>(row)];
    for (int i = 0; i < width && position < 0; ++i) padding = padding && s.attended.get(int64_t{row} * width + i) == 0;
    for (int head = row % stride; head < s.sizes.heads && position >= 0; head += stride) {
      std::vector<double> weights(static_cast<size_t>(position) + 1);
      double largest = -INFINITY, total = 0;
      for (int at = 0; at <= position; ++at) {
        double score = 0;
        for (int i = 0; i < head_width; ++i)
          score += s.queries.get(int64_t{row} * width + head * head_width + i) * memory.get(s.place(row, at, false, head * head_width + i));
        weights[static_cast<size_t>(at)] = score / std::sqrt(head_width);
        largest = std::max(largest, weights[static_cast<size_t>(at)]);
      }
      for (double& weight : weights) total += weight = std::exp(weight - largest);
      for (int i = 0; i < head_width; ++i) {
        double wanted = 0;
        for (int at = 0; at <= position; ++at)
          wanted += weights[static_cast<size_t>(at)] / total * memory.get(s.place(row, at, true, head * head_width + i));
        comparison.add(s.attended.get(int64_t{row} * width + head * head_width + i), wanted, 1);
      }
    }
  }
  bool tickets = true;
  for (const int32_t ticket : s.tickets.values()) tickets = tickets && ticket == 0;
  report(s.sizes.name(), "attention", comparison.holds() && padding && tickets, comparison.worst());
}

void expect_sum(Scene& s, const char* what, const Array& x, const Matrix& weight, int in, int (*kernel)(const MetavoiceDecode*, const MetavoiceDecodeLayer*), int layer) {
  s.residual.download();
  std::vector<double> before(static_cast<size_t>(s.residual.count()));
  for (size_t i = 0; i < before.size(); ++i) before[i] = s.residual.get(static_cast<int64_t>(i));
  check(kernel(&s.step, &s.layers[static_cast<size_t>(layer)]), what);
  finish(what);
  s.residual.download();
  Comparison comparison(METAVOICE_FLOAT32, 2e-5);
  const int width = s.sizes.width;
  bool all = true;
  for (int row = 0; row < s.sizes.rows(); ++row) {
    const std::vector<double> values = row_of(x, row, in);
    each_column(width, in, s.sizes.rows(), row, [&](int column) {
      double scale = 0;
      const double sum = product(values, weight, column, &scale);
      comparison.add(s.residual.get(int64_t{row} * width + column), before[static_cast<size_t>(row * width + column)] + sum, scale + 0.1);
    });
    for (int i = 0; i < width && s.sizes.positions[static_cast<size_t>(row)] >= 0; ++i)
      all = all && s.residual.get(int64_t{row} * width + i) != before[static_cast<size_t>(row * width + i)];
  }
  // A sum that changes nothing at all is rare: where there are many, columns were left out.
  report(s.sizes.name(), what, comparison.holds() && (all || width > 256), comparison.worst());
}

void expect_activation(Scene& s, int layer) {
  s.activated.poison();
  check(metavoice_decode_gate_up(&s.step, &s.layers[static_cast<size_t>(layer)]), "gate and up");
  finish("gate and up");
  s.activated.download();
  Layer& weights = *s.model.layers[static_cast<size_t>(layer)];
  Comparison comparison(s.sizes.dtype, 3 * share_of(s.sizes.dtype, true));
  bool finite = true;
  for (int row = 0; row < s.sizes.rows(); ++row) {
    const std::vector<double> x = normed(s.residual, weights.feed_forward_norm, row, s.sizes.width, s.sizes.dtype);
    each_column(s.sizes.hidden, 2 * s.sizes.width, s.sizes.rows(), row, [&](int column) {
      double scales[2];
      const double gate = product(x, weights.gate, column, &scales[0]), up = product(x, weights.up, column, &scales[1]);
      comparison.add(s.activated.get(int64_t{row} * s.sizes.hidden + column), gate / (1 + std::exp(-gate)) * up,
                     scales[0] * std::abs(up) + scales[1] * std::abs(gate) + 1e-3);
    });
    for (int i = 0; i < s.sizes.hidden; ++i) finite = finite && std::isfinite(s.activated.get(int64_t{row} * s.sizes.hidden + i));
  }
  report(s.sizes.name(), "norm, gate and up", comparison.holds() && finite, comparison.worst());
}

void expect_logits(Scene& s) {
  s.logits.poison();
  check(metavoice_decode_head(&s.step, &s.ends), "head");
  finish("head");
  s.logits.download();
  Comparison comparison(METAVOICE_FLOAT32, share_of(s.sizes.head_dtype, true));
  bool finite = true;
  for (int row = 0; row < s.sizes.rows(); ++row) {
    const std::vector<double> x = normed(s.residual, s.model.norm, row, s.sizes.width, s.sizes.head_dtype);
    each_column(s.sizes.entries, s.sizes.width, s.sizes.rows(), row, [&](int column) {
      double scale = 0;
      const double wanted = product(x, s.model.head, column, &scale);
      comparison.add(s.logits.get(int64_t{row} * s.sizes.entries + column), wanted, scale);
    });
    for (int i = 0; i < s.sizes.entries; ++i) finite = finite && std::isfinite(s.logits.get(int64_t{row} * s.sizes.entries + i));
  }
  report(s.sizes.name(), "norm and head", comparison.holds() && finite, comparison.worst());
}

void expect_kernels(Scene& s) {
  s.residual.poison();
  expect_embedding(s);
  for (int layer = 0; layer < s.sizes.layers; ++layer) {
    const Layer& weights = *s.model.layers[static_cast<size_t>(layer)];
    expect_qkv(s, layer);
    expect_attention(s, layer);
    expect_sum(s, "projection", s.attended, weights.out, s.sizes.width, metavoice_decode_project, layer);
    expect_activation(s, layer);
    expect_sum(s, "way down", s.activated, weights.down, s.sizes.hidden, metavoice_decode_down, layer);
  }
  expect_logits(s);
}

// ------------------------------------------------------------------------------------------ bits

std::vector<uint8_t> logits_of(Scene& s) {
  s.logits.poison();
  s.partial->poison();
  check(metavoice_decode_step(&s.step, s.layers.data(), static_cast<int32_t>(s.layers.size()), &s.ends), "step");
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
      check(metavoice_decode_step(&step, together.layers.data(), static_cast<int32_t>(together.layers.size()), &together.ends), "step");
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

void run_shape(Random& random, const Sizes& sizes, const std::vector<int>& row_counts, int most, bool bits) {
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
    run_shape(random, {dtype, whole, 128, 2, 192, 37, f32, 1, {}}, {2, 9}, 300, dtype == f16);
    run_shape(random, {dtype, whole, 128, 1, 160, 33, dtype, 1, {}}, {3}, 200, false);
  }
  for (const int weights : {static_cast<int>(METAVOICE_INT8), static_cast<int>(METAVOICE_INT4)})
    for (const int dtype : {f16, b16}) run_shape(random, {dtype, weights, 256, 4, 384, 24, f32, 1, {}}, {2, 9}, 40, dtype == b16);
  run_shape(random, {b16, whole, 128, 4, 96, 50, b16, 2, {}}, {2, 41}, 40, true);
  run_shape(random, {f16, whole, 544, 17, 64, 20, f16, 1, {}}, {2}, 40, false);
#else
  for (const int dtype : {f32, f16, b16}) {
#if defined(METAVOICE_TURING)
    if (dtype == b16) continue;
#endif
    if (small) {
      run_shape(random, {dtype, whole, 128, 2, 192, 37, f32, 1, {}}, {2, 9}, 300, true);
      continue;
    }
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
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
