// The loops of quantised products, for one set of instructions: quantized_linear_cpu.cc includes this once for each of them, into
// a namespace that has METAVOICE_TARGET, registers (Ints, Words, Halves, Floats of kLanes columns) and what is done with them
// (pairs_of, both, add_products; Bytes, add_bytes, words_of). Templates can't do it: a function that is always inlined must have the instructions of those it calls.

// One group of 128 along the rows, of one block of columns.
struct Group {
  const uint8_t* numbers;
  const uint16_t* scales;
  int64_t index;
  int64_t pairs;
  int64_t ahead;  // bytes; 0 where the numbers were asked for already
};

constexpr int kVectors = kPackedColumns / kLanes;

// The register holds 2 · kLanes numbers of int16, one pair for each column.
template <int kRows, int kCount>
METAVOICE_TARGET METAVOICE_INLINE void add_int8(const Group& group, const int16_t* x, int64_t stride, int first, Ints (&sums)[kRows][kCount]) {
  const uint8_t* numbers = group.numbers;
  for (int64_t pair = 0; pair < group.pairs; ++pair, numbers += 2 * kPackedColumns, x += 2) {
    __builtin_prefetch(numbers + group.ahead);
    Ints values[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) values[r] = both(x + r * stride);
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) {
      const Ints weights = pairs_of(numbers + 2 * kLanes * (first + v));
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[r][v] = add_products(sums[r][v], weights, values[r]);
    }
  }
}

// Rows [row, row + kRows) by kCount registers of columns. `out` [kRows, 32]
template <int kRows, int kCount>
METAVOICE_TARGET METAVOICE_INLINE void add_group_int8(const Product& product, const Group& group, int64_t row, int first, float* out) {
  const int64_t stride = product.groups * kGroup, place = row * product.groups + group.index;
  Ints sums[kRows][kCount] = {};
  add_int8<kRows, kCount>(group, static_cast<const int16_t*>(product.x) + place * kGroup, stride, first, sums);
#pragma GCC unroll 8
  for (int v = 0; v < kCount; ++v)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats part = __builtin_convertvector(sums[r][v], Floats);
      float* sum = out + r * kPackedColumns + kLanes * (first + v);
      const Floats next = load<Floats>(sum) + part * product.steps[place + r * product.groups];
      std::memcpy(sum, &next, sizeof(next));
    }
}

// A word holds eight numbers of a column: 0, 4, 1 and 5 in the lower halves of its bytes, 2, 6, 3 and 7 in the upper ones. That is the order
// of x, too.
template <int kRows, int kCount>
METAVOICE_TARGET METAVOICE_INLINE void add_group_int4(const Product& product, const Group& group, int64_t row, int first, float* out) {
  constexpr int64_t kBlocks = kGroup / kBlock;
  const int64_t stride = product.groups * kGroup, place = row * product.groups + group.index;
  const int8_t* x = static_cast<const int8_t*>(product.x) + place * kGroup;
  const uint8_t* numbers = group.numbers;
  Floats parts[kRows][kCount] = {};
  for (int64_t block = 0; block < kBlocks; ++block, x += kBlock) {
    Bytes sums[kRows][kCount] = {};
#pragma GCC unroll 4
    for (int64_t i = 0; i < kBlock; i += 8, numbers += 4 * kPackedColumns) {
      __builtin_prefetch(numbers + group.ahead);
      __builtin_prefetch(numbers + group.ahead + 2 * kPackedColumns);
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) {
        const Words eight = load<Words>(numbers + 4 * kLanes * (first + v));
        const Ints lower = (Ints)(eight & 0x0F0F0F0FU), upper = (Ints)(eight >> 4 & 0x0F0F0F0FU);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          sums[r][v] = add_bytes(sums[r][v], lower, both(x + r * stride + i));
          sums[r][v] = add_bytes(sums[r][v], upper, both(x + r * stride + i + 4));
        }
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v)
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        parts[r][v] += __builtin_convertvector(words_of(sums[r][v]), Floats) * product.steps[(place + r * product.groups) * kBlocks + block];
  }
#pragma GCC unroll 8
  for (int v = 0; v < kCount; ++v)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float total = product.totals[place + r * product.groups];
      const Words both_scales = load<Words>(group.scales + 2 * kLanes * (first + v));
      const Floats part = (parts[r][v] - 8 * total) * (Floats)(both_scales << 16) + (Floats)(both_scales & 0xFFFF0000U) * total;
      float* sum = out + r * kPackedColumns + kLanes * (first + v);
      const Floats next = load<Floats>(sum) + part;
      std::memcpy(sum, &next, sizeof(next));
    }
}

// All rows, as many at a time as there are registers for. The first that come ask for the numbers of later groups.
template <bool kInt4, int kRows>
METAVOICE_TARGET METAVOICE_INLINE void add_rows(const Product& product, Group group, int64_t row, int64_t rows, float* out) {
  constexpr int kMost = kInt4 ? kSumsInt4 : kSums, kCount = kVectors < kMost / kRows ? kVectors : kMost / kRows;
  for (; rows >= kRows; row += kRows, rows -= kRows, out += kRows * kPackedColumns)
    for (int first = 0; first < kVectors; first += kCount, group.ahead = 0) {
      if constexpr (kInt4) add_group_int4<kRows, kCount>(product, group, row, first, out);
      else add_group_int8<kRows, kCount>(product, group, row, first, out);
    }
  if constexpr (kRows > 1)
    if (rows > 0) add_rows<kInt4, kRows / 2>(product, group, row, rows, out);
}

template <bool kInt4>
METAVOICE_TARGET void block(const Product& product, int64_t index) {
  constexpr int64_t kRowsAtOnce = 16;
  const int64_t size = product.pairs * kPackedColumns * (kInt4 ? 1 : 2), group_size = kGroup * kPackedColumns / (kInt4 ? 2 : 1);
  const int64_t columns = std::min(kPackedColumns, product.outs - index * kPackedColumns);
  for (int64_t row = 0; row < product.rows; row += kRowsAtOnce) {
    const int64_t rows = std::min(kRowsAtOnce, product.rows - row);
    float sums[kRowsAtOnce * kPackedColumns] = {};
    for (int64_t i = 0; i < product.groups; ++i) {
      const uint16_t* scales = product.scales + (kInt4 ? (index * product.groups + i) * 2 : index) * kPackedColumns;
      if (kInt4 && row == 0) {
        __builtin_prefetch(scales + 16 * kPackedColumns);
        __builtin_prefetch(scales + 17 * kPackedColumns);
      }
      const Group group{product.numbers + index * size + i * group_size, scales, i, std::min(kGroup / 2, product.pairs - i * kGroup / 2), row == 0 ? kAhead : 0};
      add_rows<kInt4, kMostRows>(product, group, row, rows, sums);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* sum = sums + r * kPackedColumns;
      for (int64_t c = 0; c < kPackedColumns && !kInt4; ++c) sum[c] *= widened(product.scales[index * kPackedColumns + c]);
      std::memcpy(product.out + (row + r) * product.outs + index * kPackedColumns, sum, static_cast<size_t>(columns) * sizeof(float));
    }
  }
}

// The largest magnitude of some numbers, as a step of so many. As integers, magnitudes are in the same order, and what is not
// finite is above.
template <int64_t kCount>
METAVOICE_TARGET METAVOICE_INLINE Step step_of(const float* x, float most) {
  Ints largest = {};
  for (int64_t i = 0; i < kCount; i += kLanes) {
    const Ints bits = load<Ints>(x + i) & 0x7FFFFFFF, more = bits > largest;
    largest = (more & bits) | (~more & largest);
  }
  int32_t bits = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) bits = std::max<int32_t>(bits, largest[lane]);
  return step_of_bits(bits, most);
}

METAVOICE_TARGET METAVOICE_INLINE Ints rounded(const float* x, const Step& step) {
  return step.inverse == 0.0F ? Ints{} : (Ints)(load<Floats>(x) * step.inverse + kRound) - 0x4B400000;
}

// One row of `in` numbers -> int16, a step for each group of them.
METAVOICE_TARGET void round_int16(const float* x, int64_t in, void* to, float* steps, float*) {
  auto* numbers = static_cast<int16_t*>(to);
  for (int64_t begin = 0; begin < in; begin += kGroup, x += kGroup, numbers += kGroup, ++steps) {
    float last[kGroup] = {};
    const float* from = x;
    if (in - begin < kGroup) {
      std::copy(x, x + (in - begin), last);
      from = last;
    }
    const Step step = step_of<kGroup>(from, 32767.0F);
    *steps = step.step;
    for (int64_t i = 0; i < kGroup; i += kLanes) {
      const auto narrow = __builtin_convertvector(rounded(from + i, step), Narrow);
      std::memcpy(numbers + i, &narrow, sizeof(narrow));
    }
  }
}

// One row of whole groups -> int8, eight at a time in the order of add_group_int4, a step for each block of them, and the groups' sums.
METAVOICE_TARGET void round_int8(const float* x, int64_t in, void* to, float* steps, float* totals) {
  auto* numbers = static_cast<int8_t*>(to);
  for (int64_t begin = 0; begin < in; begin += kGroup, ++totals) {
    *totals = 0;
    for (int64_t block = 0; block < kGroup; block += kBlock, x += kBlock, numbers += kBlock, ++steps) {
      const Step step = step_of<kBlock>(x, 127.0F);
      *steps = step.step;
      Ints sums = {};
      int8_t in_order[kBlock];
      for (int64_t i = 0; i < kBlock; i += kLanes) {
        const Ints whole = rounded(x + i, step);
        const auto narrow = __builtin_convertvector(whole, NarrowBytes);
        std::memcpy(in_order + i, &narrow, sizeof(narrow));
        sums += whole;
      }
      const BlockBytes bytes = load<BlockBytes>(in_order);
      const BlockBytes turned = __builtin_shufflevector(bytes, bytes, 0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15, 16, 20, 17, 21, 18, 22, 19, 23, 24, 28, 25, 29, 26, 30, 27, 31);
      std::memcpy(numbers, &turned, sizeof(turned));
      int32_t total = 0;
      for (int64_t lane = 0; lane < kLanes; ++lane) total += sums[lane];
      *totals += static_cast<float>(total) * step.step;
    }
  }
}

constexpr Loops loops() { return {block<false>, block<true>, round_int16, round_int8}; }
