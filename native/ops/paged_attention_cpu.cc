#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/team.h"
#include "ops/paged_attention.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

METAVOICE_INLINE Floats larger(const Floats& a, const Floats& b) {
  const Ints first = a > b;
  return (Floats)((first & (Ints)a) | (~first & (Ints)b));
}

// e^x for x <= 0, within 2 units in the last place (the polynomial of Cephes' expf); below -87 it is 0.
METAVOICE_INLINE Floats exponential(const Floats& x) {
  constexpr float kRound = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer, which its lowest bits then hold
  const Ints vanishes = x < -87.0F;
  const Floats shifted = x * 1.44269504088896341F + kRound;
  const Floats whole = shifted - kRound;
  const Floats r = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;
  Floats p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Floats value = p * r * r + r + 1.0F;
  const Ints scale = ((Ints)shifted - 0x4B400000) << 23;
  return (Floats)(((Ints)value + scale) & ~vanishes);
}

template <class T>
struct Head {
  const float* query;  // [width], scaled
  const std::vector<const T*>* pages;  // of keys [width, 32]; the values of the same head lie `values` behind
  int64_t values;
  int64_t length;
  int64_t width;
  float* scores;  // room for all pages
  float* result;  // [width]
};

// Fills `scores`; what lies behind the last position becomes -inf. -> the largest one
template <class T>
METAVOICE_INLINE float score(const Head<T>& head) {
  static_assert(kPagePositions == 2 * kLanes);
  Floats largest = {};
  largest -= std::numeric_limits<float>::infinity();
  const auto pages = static_cast<int64_t>(head.pages->size());
  for (int64_t page = 0; page < pages; ++page) {
    const T* keys = (*head.pages)[static_cast<size_t>(page)];
    Floats first = {}, second = {};
    for (int64_t i = 0; i < head.width; ++i, keys += kPagePositions) {
      first += head.query[i] * floats(keys);
      second += head.query[i] * floats(keys + kLanes);
    }
    float* scores = head.scores + page * kPagePositions;
    std::memcpy(scores, &first, sizeof(first));
    std::memcpy(scores + kLanes, &second, sizeof(second));
    for (int64_t i = head.length - page * kPagePositions; i < kPagePositions; ++i) scores[i] = -std::numeric_limits<float>::infinity();
    largest = larger(larger(largest, floats(scores)), floats(scores + kLanes));
  }
  float result = largest[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) result = std::max(result, largest[lane]);
  return result;
}

// scores -> their exponentials; -> the sum of them
METAVOICE_INLINE float exponentials(float* scores, int64_t count, float largest) {
  Floats sums = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats value = exponential(floats(scores + i) - largest);
    std::memcpy(scores + i, &value, sizeof(value));
    sums += value;
  }
  float result = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) result += sums[lane];
  return result;
}

// The weighted sum of the values, in 16 · Blocks columns.
template <int Blocks, class T>
METAVOICE_INLINE void weigh_columns(const Head<T>& head, int64_t column, float scale) {
  Floats sums[Blocks] = {};
  const float* weight = head.scores;
  int64_t left = head.length;
  for (const T* keys : *head.pages) {
    const T* values = keys + head.values + column;
    for (int64_t i = std::min(left, kPagePositions); i > 0; --i, values += head.width, ++weight) {
#pragma GCC unroll 8
      for (int block = 0; block < Blocks; ++block) sums[block] += *weight * floats(values + block * kLanes);
    }
    left -= kPagePositions;
  }
  for (int block = 0; block < Blocks; ++block) {
    const Floats scaled = sums[block] * scale;
    std::memcpy(head.result + column + block * kLanes, &scaled, sizeof(scaled));
  }
}

template <class T>
METAVOICE_INLINE void weigh(const Head<T>& head, float scale) {
  int64_t column = 0;
  for (; column + 8 * kLanes <= head.width; column += 8 * kLanes) weigh_columns<8>(head, column, scale);
  for (; column + 4 * kLanes <= head.width; column += 4 * kLanes) weigh_columns<4>(head, column, scale);
  for (; column + kLanes <= head.width; column += kLanes) weigh_columns<1>(head, column, scale);
  for (; column < head.width; ++column) {
    float sum = 0;
    for (int64_t position = 0; position < head.length; ++position) {
      const T* values = (*head.pages)[static_cast<size_t>(position / kPagePositions)] + head.values;
      sum += head.scores[position] * static_cast<float>(values[position % kPagePositions * head.width + column]);
    }
    head.result[column] = sum * scale;
  }
}

template <class T>
METAVOICE_INLINE void attend_head(const Head<T>& head) {
  const float largest = score(head);
  const float sum = exponentials(head.scores, static_cast<int64_t>(head.pages->size()) * kPagePositions, largest);
  weigh(head, 1.0F / sum);
}

template <class T>
void attend_baseline(const Head<T>& head) { attend_head(head); }

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("avx2,fma"))) void attend_avx2(const Head<T>& head) { attend_head(head); }
template <class T>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))) void attend_avx512(const Head<T>& head) { attend_head(head); }
#endif

template <class T>
using Attend = void (*)(const Head<T>&);

template <class T>
Attend<T> best() {
#if defined(__x86_64__) && defined(__GNUC__)
  const auto has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (has_avx512 && __builtin_cpu_supports("fma")) return attend_avx512<T>;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return attend_avx2<T>;
#endif
  return attend_baseline<T>;
}

struct Scratch {
  std::vector<float> query, scores, result;
};

template <class T>
void attend(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected, at::Tensor& out) {
  static const Attend<T> attend_one = best<T>();
  const int64_t heads = memory.heads, width = memory.head_width, head_size = width * kPagePositions;
  std::vector<T*> slabs;
  for (const at::Tensor& slab : memory.layers[static_cast<size_t>(layer)]) slabs.push_back(slab.data_ptr<T>());
  const T* input = projected.data_ptr<T>();
  T* output = out.data_ptr<T>();
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
      const T* query = input + (index / heads * 3 * heads + head) * width;
      const T *key = query + heads * width, *value = key + heads * width;
      pages.clear();
      for (int64_t page = 0; page <= row.length / kPagePositions; ++page) {
        const int64_t number = row.pages[static_cast<size_t>(page)];
        pages.push_back(slabs[static_cast<size_t>(number / memory.slab_pages)] + (number % memory.slab_pages * 2 * heads + head) * head_size);
      }
      T* last = const_cast<T*>(pages.back());
      for (int64_t i = 0; i < width; ++i) last[i * kPagePositions + place] = key[i];
      std::copy(value, value + width, last + heads * head_size + place * width);

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

at::Tensor attend_paged_cpu(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected) {
  core::require(projected.is_contiguous(), "projections in order");
  at::Tensor out = at::zeros({projected.size(0), memory.heads, memory.head_width}, projected.options());
  if (rows.empty()) return out;
  switch (projected.scalar_type()) {
    case at::kFloat: attend<float>(memory, layer, rows, projected, out); break;
    case at::kHalf: attend<at::Half>(memory, layer, rows, projected, out); break;
    case at::kBFloat16: attend<at::BFloat16>(memory, layer, rows, projected, out); break;
    default: core::require(false, "numbers of float32, float16 or bfloat16");
  }
  return out;
}

}  // namespace metavoice::ops
