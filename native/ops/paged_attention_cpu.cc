#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/error.h"
#include "core/team.h"
#include "ops/paged_attention.h"
#include "ops/paged_attention_head.h"

namespace metavoice::ops {

namespace {

static_assert(kPagePositions == kBlock);

// The same numbers as quantize_vectors(), of one vector with zeros behind it up to a multiple of 8. -> its scale
float quantize(const std::vector<float>& vector, int8_t* numbers) {
  Floats8 greatest = {};
  Ints8 strange = {};
  for (size_t i = 0; i < vector.size(); i += 8) {
    const Floats8 values = load<Floats8>(vector.data() + i);
    strange |= values != values;
    greatest = larger(greatest, (Floats8)((Ints8)values & 0x7FFFFFFF));
  }
  float most = 0;
  bool all = true;  // of them are numbers
  for (int64_t lane = 0; lane < 8; ++lane) {
    most = std::max(most, greatest[lane]);
    all = all && strange[lane] == 0;
  }
  const float scale = all ? most / 127 : std::numeric_limits<float>::quiet_NaN();
  const Floats8 limit = Floats8{} + 127.0F;
  for (size_t i = 0; i < vector.size(); i += 8) {
    const Floats8 steps = load<Floats8>(vector.data() + i) / scale;
    const Ints8 sound = steps == steps;  // 0 / 0 and what is divided by infinity are 0
    const Floats8 held = larger(-larger(-(Floats8)(sound & (Ints8)steps), -limit), -limit);
    const Ints8 whole = (Ints8)(held + kRound) - kRoundBits;
    for (size_t lane = 0; lane < 8; ++lane) numbers[i + lane] = static_cast<int8_t>(whole[lane]);
  }
  return scale;
}

struct Scratch {
  std::vector<float> query, scores, result, fresh;
  std::vector<int8_t> numbers;
};

// One new key, a column of its page, or value, a row: [width] numbers, `stride` apart.
template <class T, class Input>
void put(const Input* from, int64_t width, T* to, int64_t stride) {
  for (int64_t i = 0; i < width; ++i) to[i * stride] = static_cast<T>(from[i]);
}

// The same in int8, with its scale.
template <class Input>
void put_quantized(const Input* from, int64_t width, int8_t* to, int64_t stride, int8_t* scale_to, Scratch& scratch) {
  const auto padded = static_cast<size_t>((width + 7) / 8 * 8);
  scratch.fresh.assign(padded, 0);
  scratch.numbers.resize(padded);
  std::copy(from, from + width, scratch.fresh.begin());
  const float scale = quantize(scratch.fresh, scratch.numbers.data());
  put(scratch.numbers.data(), width, to, stride);
  std::memcpy(scale_to, &scale, sizeof(scale));
}

template <class T, class Input>
void attend(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected,
            Attend<T> attend_one, at::Tensor& out) {
  constexpr at::ScalarType dtype = c10::CppTypeToScalarType<T>::value;
  const int64_t heads = memory.heads, width = memory.head_width, head_size = PagedMemory::head_numbers(width, dtype);
  std::vector<T*> slabs;
  for (const at::Tensor& slab : memory.layers[static_cast<size_t>(layer)]) slabs.push_back(slab.data_ptr<T>());
  const auto* input = projected.data_ptr<Input>();
  auto* output = out.data_ptr<Input>();
  int64_t positions = 0;
  for (const PagedRow* row : rows) positions += row->length + 1;
  // Pieces of a few microseconds, as in linear_cpu.cc.
  const int64_t per_head = std::max<int64_t>(1, positions / static_cast<int64_t>(rows.size()) * width);
  core::share_work(static_cast<int64_t>(rows.size()) * heads, (int64_t{1} << 15) / per_head, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    std::vector<const T*> pages;
    for (int64_t index = begin; index < end; ++index) {
      const PagedRow& row = *rows[static_cast<size_t>(index / heads)];
      const int64_t head = index % heads, place = row.length % kPagePositions;
      const Input* query = input + (index / heads * 3 * heads + head) * width;
      const Input *key = query + heads * width, *value = key + heads * width;
      pages.clear();
      for (int64_t page = 0; page <= row.length / kPagePositions; ++page) {
        const int64_t number = row.pages[static_cast<size_t>(page)];
        pages.push_back(slabs[static_cast<size_t>(number / memory.slab_pages)] + (number % memory.slab_pages * 2 * heads + head) * head_size);
      }
      T *last_keys = const_cast<T*>(pages.back()), *last_values = last_keys + heads * head_size;
      if constexpr (std::is_same_v<T, int8_t>) {
        const int64_t scale = width * kPagePositions + place * static_cast<int64_t>(sizeof(float));
        put_quantized(key, width, last_keys + place, kPagePositions, last_keys + scale, scratch);
        put_quantized(value, width, last_values + place * width, 1, last_values + scale, scratch);
      } else {
        put(key, width, last_keys + place, kPagePositions);
        put(value, width, last_values + place * width, 1);
      }

      const float scale = 1.0F / std::sqrt(static_cast<float>(width));
      scratch.query.resize(static_cast<size_t>(width));
      scratch.result.resize(static_cast<size_t>(width));
      scratch.scores.resize(pages.size() * kPagePositions);
      for (int64_t i = 0; i < width; ++i) scratch.query[static_cast<size_t>(i)] = static_cast<float>(query[i]) * scale;
      attend_one({scratch.query.data(), &pages, heads * head_size, row.length + 1, width, scratch.scores.data(), scratch.result.data()});
      std::copy(scratch.result.begin(), scratch.result.end(), output + (index / heads * heads + head) * width);
    }
  });
}

}  // namespace

at::Tensor attend_paged_cpu(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected,
                            InstructionSet instructions) {
  core::require(projected.is_contiguous(), "projections in order");
  at::Tensor out = at::zeros({projected.size(0), memory.heads, memory.head_width}, projected.options());
  if (rows.empty()) return out;
  const auto run = [&]<class T, class Input>(T, Input) { attend<T, Input>(memory, layer, rows, projected, attend_by<T>(instructions), out); };
  const at::ScalarType pages = memory.layers[static_cast<size_t>(layer)][0].scalar_type(), input = projected.scalar_type();
  const bool own = pages == input, quantized = pages == at::kChar;
  if (own && input == at::kFloat) run(float{}, float{});
  else if (own && input == at::kHalf) run(at::Half{}, at::Half{});
  else if (own && input == at::kBFloat16) run(at::BFloat16{}, at::BFloat16{});
  else if (pages == at::kHalf && input == at::kFloat) run(at::Half{}, float{});
  else if (quantized && input == at::kFloat) run(int8_t{}, float{});
  else if (quantized && input == at::kHalf) run(int8_t{}, at::Half{});
  else if (quantized && input == at::kBFloat16) run(int8_t{}, at::BFloat16{});
  else core::require(false, "pages of the numbers' own dtype, of int8, or of float16 for float32");
  return out;
}

}  // namespace metavoice::ops
