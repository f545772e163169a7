// The loops of linear_cpu.cc for one set of instructions. Included once for each, for what uses the intrinsics of a set must be
// compiled for it: METAVOICE_SET names it, METAVOICE_LEVEL orders it, METAVOICE_TARGET tells the compiler.
//
// Each number of a product is a sum over the lanes of a vector, a lane at a time along the row, then over the lanes in a fixed
// tree: so its bits depend on its row and its column alone. A block of rows by columns is summed at once, as many as there are
// registers for.

namespace metavoice::ops::METAVOICE_SET {

#define METAVOICE_LOOP METAVOICE_TARGET METAVOICE_INLINE

#if METAVOICE_LEVEL >= 2
using Vector = Floats;
using Bits = Words;
constexpr int kMostRows = 6;  // of a block
constexpr int kMostRowsOfMany = 6;
constexpr int kMostRowsEvenOdd = 4;
#else
using Vector = Floats8;
using Bits = Words8;
constexpr int kMostRows = 2;
constexpr int kMostRowsOfMany = 3;
constexpr int kMostRowsEvenOdd = 2;
#endif
constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);

METAVOICE_LOOP Vector widen(const float* from) { return load<Vector>(from); }

METAVOICE_LOOP Vector widen(const c10::Half* from) {
#if METAVOICE_LEVEL >= 2
  // By the masked form: of the other one's undefined lanes, of which there are none, gcc 12 warns.
  return (Vector)_mm512_maskz_cvtph_ps(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif METAVOICE_LEVEL == 1
  return (Vector)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  return floats8(from);
#endif
}

// How the numbers of a few columns meet those of a few rows, kStep at a time. -- Each as it lies, as a vector of floats.
template <class T>
struct Straight {
  using Weight = T;
  using X = float;
  static constexpr int64_t kStep = kWidth;

  template <int kRows>
  METAVOICE_LOOP static void add(Vector (&sums)[kRows][kColumns], const X* x, const Weight* weight, int64_t in) {
    Vector values[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) values[r] = load<Vector>(x + r * in);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Vector column = widen(weight + c * in);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[r][c] += values[r] * column;
    }
  }
};

// bfloat16 is the upper half of a float: a word holds two of them, of which a shift gives the one and a mask the other. So that
// nothing has to be put in order here, the even numbers of each step of x come before the odd ones.
struct EvenOdd {
  using Weight = c10::BFloat16;
  using X = float;
  static constexpr int64_t kStep = 2 * kWidth;

  template <int kRows>
  METAVOICE_LOOP static void add(Vector (&sums)[kRows][kColumns], const X* x, const Weight* weight, int64_t in) {
    Vector even[kRows], odd[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      even[r] = load<Vector>(x + r * in);
      odd[r] = load<Vector>(x + r * in + kWidth);
    }
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Bits words = load<Bits>(weight + c * in);
      const Vector first = (Vector)(words << 16), second = (Vector)(words & 0xFFFF0000U);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sums[r][c] += even[r] * first;
        sums[r][c] += odd[r] * second;
      }
    }
  }
};

#if METAVOICE_LEVEL >= 3
// Two products at a time by an instruction of its own, which takes what is smaller than 2^-126 for zero.
struct Pairs {
  using Weight = c10::BFloat16;
  using X = c10::BFloat16;
  static constexpr int64_t kStep = 2 * kWidth;

  template <int kRows>
  METAVOICE_LOOP static void add(Vector (&sums)[kRows][kColumns], const X* x, const Weight* weight, int64_t in) {
    __m512bh columns[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) columns[c] = (__m512bh)_mm512_loadu_si512(weight + c * in);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512bh values = (__m512bh)_mm512_loadu_si512(x + r * in);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sums[r][c] = (Vector)_mm512_dpbf16_ps((__m512)sums[r][c], values, columns[c]);
    }
  }
};
#endif

// The sums of the lanes, and what is left of the row behind the last whole step.
template <class Step>
METAVOICE_LOOP void end_of(const Product& product, int64_t row, int64_t column, const Vector (&sums)[kColumns]) {
  const int64_t in = product.in, whole = in - in % Step::kStep;
  const auto* x = static_cast<const typename Step::X*>(product.x) + row * in;
  const auto* weight = static_cast<const typename Step::Weight*>(product.weight) + column * in;
  float out[kColumns];
  sum_lanes(sums[0], sums[1], sums[2], sums[3], out);
  for (int c = 0; c < kColumns && whole < in; ++c)
    for (int64_t i = whole; i < in; ++i) out[c] += static_cast<float>(x[i]) * static_cast<float>(weight[c * in + i]);
  store(product, row, column, out);
}

// Rows [row, row + kRows) of columns [column, column + kColumns). Who reads the weights first asks for them ahead.
template <class Step, int kRows, bool kFirst>
METAVOICE_LOOP void block(const Product& product, int64_t row, int64_t column) {
  constexpr int64_t kAhead = kBytesAhead / static_cast<int64_t>(sizeof(typename Step::Weight));
  const int64_t in = product.in, whole = in - in % Step::kStep;
  const auto* x = static_cast<const typename Step::X*>(product.x) + row * in;
  const auto* weight = static_cast<const typename Step::Weight*>(product.weight) + column * in;
  Vector sums[kRows][kColumns] = {};
  for (int64_t i = 0; i < whole; i += Step::kStep) {
    if constexpr (kFirst) {
      // Behind the end of a column comes the next one, which is being read, too: what is wanted then lies behind all of them.
      const int64_t ahead = i + kAhead < in ? i + kAhead : i + kAhead + (kColumns - 1) * in;
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) __builtin_prefetch(weight + c * in + ahead);
    }
    Step::template add<kRows>(sums, x + i, weight + i, in);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) end_of<Step>(product, row + r, column, sums[r]);
}

// Four columns for all rows, of which kMost at a time.
template <class Step, int kMost>
METAVOICE_TARGET void columns_of(const Product& product, int64_t column) {
  const int64_t rows = product.rows;
  int64_t row = 0;
  if (rows >= kMost) {
    block<Step, kMost, true>(product, 0, column);
    for (row = kMost; row + kMost <= rows; row += kMost) block<Step, kMost, false>(product, row, column);
  } else if (rows >= 2) {
    block<Step, 2, true>(product, 0, column);
    row = 2;
  }
  for (; row + 2 <= rows; row += 2) block<Step, 2, false>(product, row, column);
  if (row < rows) block<Step, 1, false>(product, row, column);
}

// Sums of a block over the numbers [begin, end) of the rows. Before and behind them they lie in `kept`.
template <class Step, int kRows>
METAVOICE_LOOP void piece(const Product& product, int64_t row, int64_t column, int64_t begin, int64_t end, Vector (*kept)[kColumns], const typename Step::Weight* ahead) {
  const int64_t in = product.in;
  const auto* x = static_cast<const typename Step::X*>(product.x) + row * in;
  const auto* weight = static_cast<const typename Step::Weight*>(product.weight) + column * in;
  Vector sums[kRows][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) sums[r][c] = begin == 0 ? Vector{} : kept[r][c];
  for (int64_t i = begin; i < end; i += Step::kStep) {
    __builtin_prefetch(ahead + i - begin);
    Step::template add<kRows>(sums, x + i, weight + i, in);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) kept[r][c] = sums[r][c];
}

// Eight columns for many rows. Every few rows read the columns again, and every four columns the rows: so that both come from
// the nearest cache, they are taken in pieces along the row. Meanwhile the next piece is asked for, a column at a time.
template <class Step, int kMost>
METAVOICE_TARGET void columns_of_many(const Product& product, int64_t column) {
  constexpr int kSides = kManyColumns / kColumns;
  static_assert(kPiece % Step::kStep == 0);
  alignas(64) Vector kept[kSides][kManyRows][kColumns];
  const int64_t in = product.in, whole = in - in % Step::kStep;
  const auto* weight = static_cast<const typename Step::Weight*>(product.weight);
  for (int64_t first = 0; first < product.rows; first += kManyRows) {
    const int64_t rows = std::min<int64_t>(kManyRows, product.rows - first);
    // A row shorter than a step has no piece, and sums of nothing.
    if (whole == 0) std::memset(static_cast<void*>(kept), 0, sizeof(kept));
    for (int64_t begin = 0; begin < whole; begin += kPiece) {
      const int64_t end = std::min(whole, begin + kPiece);
      const auto* next = end < whole ? weight + column * in + end : weight + (first + rows < product.rows ? column : column + kManyColumns) * in;
      int64_t asked = 0;
      for (int64_t row = 0; row < rows;) {
        const int64_t left = rows - row, taken = left >= kMost ? kMost : left >= 2 ? 2 : 1;
        for (int side = 0; side < kSides; ++side, asked = (asked + 1) % kManyColumns) {
          const int64_t at = column + side * kColumns;
          const auto* ahead = next + asked * in;
          if (taken == kMost) piece<Step, kMost>(product, first + row, at, begin, end, kept[side] + row, ahead);
          else if (taken == 2) piece<Step, 2>(product, first + row, at, begin, end, kept[side] + row, ahead);
          else piece<Step, 1>(product, first + row, at, begin, end, kept[side] + row, ahead);
        }
        row += taken;
      }
    }
    for (int64_t row = 0; row < rows; ++row)
      for (int side = 0; side < kSides; ++side) end_of<Step>(product, first + row, column + side * kColumns, kept[side][row]);
  }
}

// A row of x as the loops read it: floats, in order,
template <class T>
METAVOICE_TARGET void arrange_straight(const void* row, float* to, int64_t in) {
  const auto* x = static_cast<const T*>(row);
  int64_t i = 0;
  for (; i + kWidth <= in; i += kWidth) {
    const Vector values = widen(x + i);
    std::memcpy(to + i, &values, sizeof(values));
  }
  for (; i < in; ++i) to[i] = static_cast<float>(x[i]);
}

// or the even ones of each step before the odd ones.
template <class T>
METAVOICE_TARGET void arrange_even_odd(const void* row, float* to, int64_t in) {
  const auto* x = static_cast<const T*>(row);
  int64_t i = 0;
  for (; i + EvenOdd::kStep <= in; i += EvenOdd::kStep) {
    if constexpr (std::is_same_v<T, c10::BFloat16>) {
      const Bits words = load<Bits>(x + i), even = words << 16, odd = words & 0xFFFF0000U;
      std::memcpy(to + i, &even, sizeof(even));
      std::memcpy(to + i + kWidth, &odd, sizeof(odd));
    } else {
      for (int64_t k = 0; k < kWidth; ++k) {
        to[i + k] = x[i + 2 * k];
        to[i + kWidth + k] = x[i + 2 * k + 1];
      }
    }
  }
  for (; i < in; ++i) to[i] = static_cast<float>(x[i]);
}

template <class Step>
Kernel straight(void (*arrange)(const void*, float*, int64_t)) {
  return {arrange, columns_of<Step, kMostRows>, columns_of_many<Step, kMostRowsOfMany>};
}

inline Kernel kernel(at::ScalarType x, at::ScalarType weight) {
  const bool floats = x == at::kFloat;
  if (weight == at::kFloat) return straight<Straight<float>>(nullptr);
  if (weight == at::kHalf) return straight<Straight<c10::Half>>(floats ? nullptr : arrange_straight<c10::Half>);
#if METAVOICE_LEVEL >= 3
  if (!floats) return straight<Pairs>(nullptr);
#endif
  // Columns half as long lie near enough as it is.
  return {floats ? arrange_even_odd<float> : arrange_even_odd<c10::BFloat16>, columns_of<EvenOdd, kMostRowsEvenOdd>, nullptr};
}

#undef METAVOICE_LOOP

}  // namespace metavoice::ops::METAVOICE_SET

#undef METAVOICE_SET
#undef METAVOICE_LEVEL
#undef METAVOICE_TARGET
