// Attention of one head of one row over its pages, by our own loops, for every set of instructions. Each score is a sum along the
// head, and each number of the result one along the positions, both in order: their bits depend on nothing else.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "ops/blocks.h"
#include "ops/instruction_set.h"

namespace metavoice::ops {

// Pages of T, which is a float of any width or int8, of 32 positions each.
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

METAVOICE_INLINE Floats8 larger(const Floats8& a, const Floats8& b) {
  const Ints8 first = a > b;
  return (Floats8)((first & (Ints8)a) | (~first & (Ints8)b));
}

// 1.5 · 2^23: adding it rounds a float to an integer, which its lowest bits then hold.
constexpr float kRound = 12582912.0F;
constexpr int32_t kRoundBits = 0x4B400000;

// Asks for the numbers of a block ahead: pages lie anywhere, so that the processor can't guess where to go on.
template <class T>
METAVOICE_INLINE void ask_for(const T* numbers) {
  for (size_t byte = 0; byte < kBlock * sizeof(T); byte += 64) __builtin_prefetch(reinterpret_cast<const char*>(numbers) + byte);
}

// 32 numbers times as many scales, which lie anywhere.
METAVOICE_INLINE void scale_by(float* numbers, const int8_t* scales, float factor) {
  for (int64_t i = 0; i < kBlock; i += 8) {
    const Floats8 scaled = load<Floats8>(numbers + i) * factor * load<Floats8>(scales + i * static_cast<int64_t>(sizeof(float)));
    std::memcpy(numbers + i, &scaled, sizeof(scaled));
  }
}

// Fills `scores`; what lies behind the last position becomes -inf. -> the largest one
template <class T>
METAVOICE_INLINE float score(const Head<T>& head) {
  Floats8 largest = {};
  largest -= std::numeric_limits<float>::infinity();
  const auto pages = static_cast<int64_t>(head.pages->size());
  for (int64_t page = 0; page < pages; ++page) {
    const T* keys = (*head.pages)[static_cast<size_t>(page)];
    const T* next = page + 1 < pages ? (*head.pages)[static_cast<size_t>(page + 1)] : head.pages->front() + head.values;
    Block sums = {};
    for (int64_t i = 0; i < head.width; ++i, keys += kBlock, next += kBlock) {
      ask_for(next);
      const Block column = spread(keys);
#pragma GCC unroll 4
      for (int part = 0; part < 4; ++part) sums.parts[part] += head.query[i] * column.parts[part];
    }
    float* scores = head.scores + page * kBlock;
    put_in_order<T>(sums, scores);
    // The scales follow the keys.
    if constexpr (std::is_same_v<T, int8_t>) scale_by(scores, keys, 1 / kSpreadBy<T>);
    for (int64_t i = head.length - page * kBlock; i < kBlock; ++i) scores[i] = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < kBlock; i += 8) largest = larger(largest, load<Floats8>(scores + i));
  }
  float result = largest[0];
  for (int64_t lane = 1; lane < 8; ++lane) result = std::max(result, largest[lane]);
  return result;
}

// scores -> their exponentials; -> the sum of them, of each sixteenth first
METAVOICE_INLINE float exponentials(float* scores, int64_t count, float largest) {
  Floats8 sums[2] = {};
  for (int64_t i = 0; i < count; i += 16) {
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      const Floats8 value = exponential(load<Floats8>(scores + i + 8 * half) - largest);
      std::memcpy(scores + i + 8 * half, &value, sizeof(value));
      sums[half] += value;
    }
  }
  float result = 0;
  for (const Floats8& half : sums)
    for (int64_t lane = 0; lane < 8; ++lane) result += half[lane];
  return result;
}

// The weighted sum of the values, in 32 · Blocks columns.
template <int kBlocks, class T>
METAVOICE_INLINE void weigh_columns(const Head<T>& head, int64_t column, float scale) {
  Block sums[kBlocks] = {};
  const float* weight = head.scores;
  int64_t left = head.length;
  for (auto page = head.pages->begin(); page != head.pages->end(); ++page) {
    const T *values = *page + head.values + column, *next = (page + 1 == head.pages->end() ? *page : page[1]) + head.values + column;
    for (int64_t i = std::min(left, kBlock); i > 0; --i, values += head.width, next += head.width, ++weight) {
      for (int block = 0; block < kBlocks; ++block) ask_for(next + block * kBlock);
#pragma GCC unroll 2
      for (int block = 0; block < kBlocks; ++block) {
        const Block row = spread(values + block * kBlock);
#pragma GCC unroll 4
        for (int part = 0; part < 4; ++part) sums[block].parts[part] += *weight * row.parts[part];
      }
    }
    left -= kBlock;
  }
  for (int block = 0; block < kBlocks; ++block) {
    for (Floats8& part : sums[block].parts) part *= scale / kSpreadBy<T>;
    put_in_order<T>(sums[block], head.result + column + block * kBlock);
  }
}

template <class T>
METAVOICE_INLINE void weigh(const Head<T>& head, float scale) {
  int64_t column = 0;
  for (; column + 2 * kBlock <= head.width; column += 2 * kBlock) weigh_columns<2>(head, column, scale);
  for (; column + kBlock <= head.width; column += kBlock) weigh_columns<1>(head, column, scale);
  for (; column < head.width; ++column) {
    float sum = 0;
    for (int64_t position = 0; position < head.length; ++position) {
      const T* values = (*head.pages)[static_cast<size_t>(position / kBlock)] + head.values;
      sum += head.scores[position] * static_cast<float>(values[position % kBlock * head.width + column]);
    }
    head.result[column] = sum * scale;
  }
}

template <class T>
METAVOICE_INLINE void attend_head(const Head<T>& head) {
  const float largest = score(head);
  const float sum = exponentials(head.scores, static_cast<int64_t>(head.pages->size()) * kBlock, largest);
  // The scales of values become part of their weights. Those of positions that nobody wrote may be anything: such weights are
  // not read.
  if constexpr (std::is_same_v<T, int8_t>)
    for (size_t page = 0; page < head.pages->size(); ++page)
      scale_by(head.scores + page * kBlock, (*head.pages)[page] + head.values + head.width * kBlock, 1);
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
Attend<T> attend_by(InstructionSet instructions) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (instructions >= InstructionSet::avx512) return attend_avx512<T>;
  if (instructions >= InstructionSet::avx2) return attend_avx2<T>;
#endif
  return attend_baseline<T>;
}

}  // namespace metavoice::ops
