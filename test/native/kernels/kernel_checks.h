// Each kernel of a decode step against its formula.
#pragma once

#include "expected.h"

namespace metavoice::testing {

// How many there were.
struct Tally {
  int passed = 0, failed = 0;

  void report(const std::string& name, const char* what, bool holds, double worst = -1) {
    (holds ? passed : failed)++;
    if (worst >= 0) std::printf("%s  %s: %s (%.3f of the bound)\n", holds ? "pass" : "FAIL", name.c_str(), what, worst);
    else std::printf("%s  %s: %s\n", holds ? "pass" : "FAIL", name.c_str(), what);
  }
};

inline Tally& tally() {
  static Tally all;
  return all;
}
inline void report(const std::string& name, const char* what, bool holds, double worst = -1) { tally().report(name, what, holds, worst); }

inline void expect_embedding(Scene& s) {
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

inline void expect_qkv(Scene& s, int layer) {
  const std::vector<uint8_t> before = s.memory[static_cast<size_t>(layer)]->bytes();
  check(metavoice_decode_qkv(&s.step, &s.layers[static_cast<size_t>(layer)]), "qkv");
  finish("qkv");
  Array& memory = *s.memory[static_cast<size_t>(layer)];
  Layer& weights = *s.model.layers[static_cast<size_t>(layer)];
  s.queries.download();
  s.fresh.download();
  memory.download();
  Comparison comparison(s.sizes.dtype, share_of(s.sizes.dtype, true));
  const int width = s.sizes.width;
  const bool steps = s.sizes.pages == METAVOICE_PAGES_INT8;
  for (int row = 0; row < s.sizes.rows(); ++row) {
    const int position = s.sizes.positions[static_cast<size_t>(row)];
    const std::vector<double> x = normed(s.residual, weights.attention_norm, row, width, s.sizes.dtype);
    each_column(3 * width, width, s.sizes.rows(), row, [&](int column) {
      double scale = 0;
      const double wanted = product(x, weights.qkv, column, &scale);
      if (column < width) comparison.add(s.queries.get(int64_t{row} * width + column), wanted, scale);
      else if (steps) comparison.add(s.fresh.get(int64_t{row} * 2 * width + column - width), wanted, scale);
      else if (position >= 0) comparison.add(memory.get(s.place(row, position, column >= 2 * width, column % width)), wanted, scale);
    });
  }
  report(s.sizes.name(), "norm and qkv", comparison.holds(), comparison.worst());
  // Nothing else of the pages has changed, and all of the new position has.
  if (steps) {
    report(s.sizes.name(), "what is fresh stays out of the pages", memory.bytes() == before);
    return;
  }
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

// That the new position lies in pages of int8 as what was fresh, and nothing else of them has changed.
inline void expect_steps(Scene& s, int layer, const std::vector<uint8_t>& before) {
  Array& memory = *s.memory[static_cast<size_t>(layer)];
  memory.download();
  std::vector<uint8_t> after = memory.bytes();
  const int width = s.sizes.width, head_width = s.sizes.head_width();
  bool right = true;
  for (int row = 0; row < s.sizes.rows(); ++row)
    for (int head = 0; head < 2 * s.sizes.heads && s.sizes.positions[static_cast<size_t>(row)] >= 0; ++head) {
      const bool value = head >= s.sizes.heads;
      const int position = s.sizes.positions[static_cast<size_t>(row)], first = head % s.sizes.heads * head_width;
      const auto fresh = [&](int i) { return static_cast<float>(s.fresh.get((int64_t{2} * row + (value ? 1 : 0)) * width + first + i)); };
      float greatest = 0;
      for (int i = 0; i < head_width; ++i) greatest = std::max(greatest, std::abs(fresh(i)));
      const float scale = greatest / 127.0F;
      const int64_t scale_at = s.scale_place(row, position, value, head % s.sizes.heads);
      right = right && memory.float_at(scale_at) == scale;
      std::memcpy(after.data() + scale_at, before.data() + scale_at, 4);
      for (int i = 0; i < head_width; ++i) {
        const int64_t at = s.place(row, position, value, first + i);
        right = right && memory.get(at) == (scale == 0 ? 0 : static_cast<double>(std::nearbyint(fresh(i) / scale)));
        after[static_cast<size_t>(at)] = before[static_cast<size_t>(at)];
      }
    }
  report(s.sizes.name(), "steps in the pages", right && after == before);
}

inline void expect_attention(Scene& s, int layer) {
  const std::vector<uint8_t> before = s.memory[static_cast<size_t>(layer)]->bytes();
  s.attended.poison();
  s.partial->poison();
  check(metavoice_decode_attend(&s.step, &s.layers[static_cast<size_t>(layer)]), "attend");
  finish("attend");
  s.attended.download();
  s.tickets.download();
  if (s.sizes.pages == METAVOICE_PAGES_INT8) expect_steps(s, layer, before);
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
          score += s.queries.get(int64_t{row} * width + head * head_width + i) * s.said(layer, row, at, false, head * head_width + i);
        weights[static_cast<size_t>(at)] = score / std::sqrt(head_width);
        largest = std::max(largest, weights[static_cast<size_t>(at)]);
      }
      for (double& weight : weights) total += weight = std::exp(weight - largest);
      for (int i = 0; i < head_width; ++i) {
        double wanted = 0;
        for (int at = 0; at <= position; ++at)
          wanted += weights[static_cast<size_t>(at)] / total * s.said(layer, row, at, true, head * head_width + i);
        comparison.add(s.attended.get(int64_t{row} * width + head * head_width + i), wanted, 1);
      }
    }
  }
  bool tickets = true;
  for (const int32_t ticket : s.tickets.values()) tickets = tickets && ticket == 0;
  report(s.sizes.name(), "attention", comparison.holds() && padding && tickets, comparison.worst());
}

inline void expect_sum(Scene& s, const char* what, const Array& x, const Matrix& weight, int in, int (*kernel)(const MetavoiceDecode*, const MetavoiceDecodeLayer*), int layer) {
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

inline void expect_activation(Scene& s, int layer) {
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

inline void expect_logits(Scene& s) {
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

inline void expect_kernels(Scene& s) {
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

}  // namespace metavoice::testing
