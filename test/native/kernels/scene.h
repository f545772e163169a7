// A small first stage with random weights, and rows whose pages lie in disorder; what nobody wrote is NaN.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>

#include "matrix.h"

namespace metavoice::testing {

constexpr int kPage = 32;

struct Sizes {
  int dtype, weights, width, heads, hidden, entries, head_dtype, layers;
  std::vector<int32_t> positions;  // one a row
  int pages = METAVOICE_PAGES_WHOLE;

  int rows() const { return static_cast<int>(positions.size()); }
  int head_width() const { return width / heads; }
  // Of a head's keys, or values, in one page.
  int head_numbers() const { return head_width() * kPage + (pages == METAVOICE_PAGES_INT8 ? 4 * kPage : 0); }
  int page_dtype() const { return pages == METAVOICE_PAGES_INT8 ? kBytes : dtype; }
  std::string name() const {
    static const char* const names[] = {"float32", "float16", "bfloat16"};
    static const char* const forms[] = {"", " int8", " int4"};
    return std::string(names[dtype]) + forms[weights] + (pages == METAVOICE_PAGES_INT8 ? " pages int8" : "") + " rows " + std::to_string(rows()) + " width " + std::to_string(width) + " heads " + std::to_string(heads) +
           " hidden " + std::to_string(hidden) + " position " + std::to_string(positions[0]) + "…";
  }
};

struct Layer {
  Array attention_norm, feed_forward_norm;
  Matrix qkv, out, gate, up, down;

  Layer(const Sizes& s, Random& random)
      : attention_norm(METAVOICE_FLOAT32, s.width),
        feed_forward_norm(METAVOICE_FLOAT32, s.width),
        qkv(s.dtype, s.weights, int64_t{3} * s.width, s.width, random, 1.5F / root(s.width)),
        out(s.dtype, s.weights, s.width, s.width, random, 1 / root(s.width)),
        gate(s.dtype, s.weights, s.hidden, s.width, random, 1 / root(s.width)),
        up(s.dtype, s.weights, s.hidden, s.width, random, 1 / root(s.width)),
        down(s.dtype, s.weights, s.width, s.hidden, random, 1 / root(s.hidden)) {
    attention_norm.fill(random, 0.2F, 1);
    feed_forward_norm.fill(random, 0.2F, 1);
  }

  static float root(int value) { return std::sqrt(static_cast<float>(value)); }
};

// The weights, which many scenes may share.
struct Model {
  Sizes sizes;
  std::vector<std::unique_ptr<Layer>> layers;
  Array tokens, places, norm, head, past;

  Model(const Sizes& s, int window, Random& random)
      : sizes(s),
        tokens(s.dtype, int64_t{s.entries} * s.width),
        places(s.dtype, int64_t{window} * s.width),
        norm(METAVOICE_FLOAT32, s.width),
        head(s.head_dtype, int64_t{s.entries} * s.width),
        past(s.page_dtype(), int64_t{4} * s.heads * s.head_numbers() + 100000) {
    for (int i = 0; i < s.layers; ++i) layers.push_back(std::make_unique<Layer>(s, random));
    if (s.pages == METAVOICE_PAGES_INT8) past.fill_bytes(random);
    else past.fill(random, 1);
    tokens.fill(random, 1);
    places.fill(random, 0.3F);
    norm.fill(random, 0.2F, 1);
    head.fill(random, 1.0F / std::sqrt(static_cast<float>(s.width)));
  }
};

// A row's own numbers depend on its `key` alone, wherever it stands.
struct Scene {
  Model& model;
  Sizes sizes;
  std::vector<int32_t> keys;
  int page_stride = 0, page_count = 0;
  int64_t page_numbers;
  std::vector<int32_t> table;
  Array residual, queries, fresh, attended, activated, conditioning, logits;
  std::unique_ptr<Array> partial;
  std::vector<std::unique_ptr<Array>> memory;  // per layer
  Ints positions, ids, tickets;
  std::unique_ptr<Ints> pages;
  MetavoiceDecode step{};
  std::vector<MetavoiceDecodeLayer> layers;
  MetavoiceDecodeEnds ends{};

  Scene(Model& m, const std::vector<int32_t>& at, const std::vector<int32_t>& row_keys, int most_positions, uint32_t order)
      : model(m),
        sizes(m.sizes),
        keys(row_keys),
        page_numbers(int64_t{2} * m.sizes.heads * m.sizes.head_numbers()),
        residual(METAVOICE_FLOAT32, rows(at) * m.sizes.width),
        queries(m.sizes.dtype, rows(at) * m.sizes.width),
        fresh(m.sizes.dtype, m.sizes.pages == METAVOICE_PAGES_INT8 ? rows(at) * 2 * m.sizes.width : 0),
        attended(m.sizes.dtype, rows(at) * m.sizes.width),
        activated(m.sizes.dtype, rows(at) * m.sizes.hidden),
        conditioning(METAVOICE_FLOAT32, rows(at) * m.sizes.width),
        logits(METAVOICE_FLOAT32, rows(at) * m.sizes.entries),
        positions(at),
        ids(std::vector<int32_t>(at.size())),
        tickets(std::vector<int32_t>(at.size() * static_cast<size_t>(m.sizes.heads), 0)) {
    sizes.positions = at;
    place_pages(order);
    for (size_t row = 0; row < at.size(); ++row) ids.values()[row] = row_keys[row] * 7 % sizes.entries;
    ids.upload();
    fill_rows();

    step.dtype = sizes.dtype;
    step.weights = sizes.weights;
    step.page_kind = sizes.pages;
    step.rows = sizes.rows();
    step.width = sizes.width;
    step.heads = sizes.heads;
    step.hidden = sizes.hidden;
    step.epsilon = 1e-5F;
    step.most_positions = most_positions;
    step.positions = positions.device();
    step.pages = pages->device();
    step.page_stride = page_stride;
    step.page_numbers = page_numbers;
    step.residual = residual.floats();
    step.queries = queries.device();
    step.fresh = fresh.device();
    step.attended = attended.device();
    step.activated = activated.device();
    partial = std::make_unique<Array>(METAVOICE_FLOAT32, metavoice_decode_partial_bytes(&step) / 4);
    step.partial = partial->floats();
    step.tickets = tickets.device();
    for (size_t i = 0; i < model.layers.size(); ++i) {
      const Layer& l = *model.layers[i];
      layers.push_back({l.attention_norm.floats(), l.qkv.device(), l.out.device(), l.feed_forward_norm.floats(), l.gate.device(), l.up.device(),
                        l.down.device(), memory[i]->device()});
    }
    ends = {model.tokens.device(), model.places.device(), conditioning.floats(), ids.device(), model.norm.floats(),
            model.head.device(), sizes.head_dtype, sizes.entries, logits.floats()};
  }

  // Where number `at` of the width of a row's keys or values at a position lies in its layer's pages.
  int64_t place(int row, int position, bool value, int at) const {
    const int number = at % sizes.head_width();
    return side(row, position, value, at / sizes.head_width()) + (value ? int64_t{position % kPage} * sizes.head_width() + number : int64_t{number} * kPage + position % kPage);
  }

  // Where the scale of a head's key or value lies, in bytes.
  int64_t scale_place(int row, int position, bool value, int head) const {
    return side(row, position, value, head) + sizes.head_width() * kPage + 4 * (position % kPage);
  }

  // Number `at` of the width of a row's keys or values at a position.
  double said(int layer, int row, int position, bool value, int at) const {
    const Array& array = *memory[static_cast<size_t>(layer)];
    const double number = array.get(place(row, position, value, at));
    return sizes.pages == METAVOICE_PAGES_INT8 ? number * static_cast<double>(array.float_at(scale_place(row, position, value, at / sizes.head_width()))) : number;
  }

 private:
  int64_t side(int row, int position, bool value, int head) const {
    const int64_t page = table[static_cast<size_t>(row * page_stride + position / kPage)];
    return page * page_numbers + (int64_t{value ? sizes.heads : 0} + head) * sizes.head_numbers();
  }

  static int64_t rows(const std::vector<int32_t>& at) { return static_cast<int64_t>(at.size()); }

  void place_pages(uint32_t order) {
    for (const int32_t position : sizes.positions) {
      page_stride = std::max(page_stride, position / kPage + 1);
      if (position >= 0) page_count += position / kPage + 1;
    }
    page_count += 3;  // of nobody
    std::vector<int32_t> free(static_cast<size_t>(page_count));
    std::iota(free.begin(), free.end(), 0);
    Random random(order);
    for (int i = page_count - 1; i > 0; --i) std::swap(free[static_cast<size_t>(i)], free[static_cast<size_t>(random.below(i + 1))]);
    table.assign(static_cast<size_t>(sizes.rows() * page_stride), -1000000);  // whoever reads this far is found out
    for (int row = 0; row < sizes.rows(); ++row)
      for (int page = 0; sizes.positions[static_cast<size_t>(row)] >= page * kPage; ++page) {
        table[static_cast<size_t>(row * page_stride + page)] = free.back();
        free.pop_back();
      }
    pages = std::make_unique<Ints>(table);
  }

  void fill_rows() {
    for (int layer = 0; layer < sizes.layers; ++layer) memory.push_back(std::make_unique<Array>(sizes.page_dtype(), page_count * page_numbers));
    for (int row = 0; row < sizes.rows(); ++row) {
      Random random(static_cast<uint64_t>(1000 + keys[static_cast<size_t>(row)]));
      for (int i = 0; i < sizes.width; ++i) conditioning.set(int64_t{row} * sizes.width + i, random.normal());
      const int length = sizes.positions[static_cast<size_t>(row)];
      for (auto& array : memory) {
        for (int page = 0; page * kPage <= length; ++page) {
          const int64_t at = table[static_cast<size_t>(row * page_stride + page)] * page_numbers;
          array->take(at, model.past, random.below(static_cast<int>(model.past.count() - page_numbers)), page_numbers);
        }
        // What the row has not said is nobody's.
        const int room = length < 0 ? 0 : (length / kPage + 1) * kPage;
        if (sizes.pages == METAVOICE_PAGES_INT8) {
          for (int position = 0; position < room; ++position)
            for (int head = 0; head < 2 * sizes.heads; ++head) {
              const float scale = (2 + random.normal() / 2) / 128;
              array->set_float_at(scale_place(row, position, head >= sizes.heads, head % sizes.heads), position < length ? scale : NAN);
            }
          continue;
        }
        for (int position = std::max(length, 0); position < room; ++position)
          for (int i = 0; i < 2 * sizes.width; ++i) array->set(place(row, position, i >= sizes.width, i % sizes.width), NAN);
      }
    }
    conditioning.upload();
    for (auto& array : memory) array->upload();
  }
};

}  // namespace metavoice::testing
