// The loops of quantised products, for one set of instructions: quantized_linear_cpu.cc includes this once for each of them, into
// a namespace that has METAVOICE_TARGET, registers (Ints, Words, Halves, Floats of kLanes columns) and what is done with them
// (pairs_of, both, add_products). Templates can't do it: a function that is always inlined must have the instructions of those it calls.

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

// Four pairs lie in the same register, one above the other.
template <int kRows, int kCount>
METAVOICE_TARGET METAVOICE_INLINE void add_int4(const Group& group, const int16_t* x, int64_t stride, int first, Ints (&sums)[kRows][kCount]) {
  const uint8_t* numbers = group.numbers;
  for (int64_t eight = 0; eight < kGroup / 8; ++eight, numbers += 4 * kPackedColumns, x += 8) {
    __builtin_prefetch(numbers + group.ahead);
    __builtin_prefetch(numbers + group.ahead + 2 * kPackedColumns);
    Halves fields[kCount];
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) fields[v] = load<Halves>(numbers + 4 * kLanes * (first + v));
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      Ints values[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) values[r] = both(x + r * stride + 2 * pair);
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) {
        const Ints weights = (Ints)(pair < 3 ? fields[v] & 15 : fields[v]);
        fields[v] >>= 4;
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sums[r][v] = add_products(sums[r][v], weights, values[r]);
      }
    }
  }
}

// Rows [row, row + kRows) by kCount registers of columns. `out` [kRows, 32]
template <bool kInt4, int kRows, int kCount>
METAVOICE_TARGET METAVOICE_INLINE void add_group(const Product& product, const Group& group, int64_t row, int first, float* out) {
  const int64_t stride = product.groups * kGroup, place = row * product.groups + group.index;
  const int16_t* x = product.x + place * kGroup;
  Ints sums[kRows][kCount];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) sums[r][v] = Ints{} - (kInt4 ? 8 * product.totals[place + r * product.groups] : 0);
  if constexpr (kInt4)
    add_int4<kRows, kCount>(group, x, stride, first, sums);
  else
    add_int8<kRows, kCount>(group, x, stride, first, sums);
#pragma GCC unroll 8
  for (int v = 0; v < kCount; ++v)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      Floats part = __builtin_convertvector(sums[r][v], Floats);
      if constexpr (kInt4) {
        const Words both_scales = load<Words>(group.scales + 2 * kLanes * (first + v));
        const auto total = static_cast<float>(product.totals[place + r * product.groups]);
        part = part * (Floats)(both_scales << 16) + (Floats)(both_scales & 0xFFFF0000U) * total;
      }
      float* sum = out + r * kPackedColumns + kLanes * (first + v);
      const Floats next = load<Floats>(sum) + part * product.steps[place + r * product.groups];
      std::memcpy(sum, &next, sizeof(next));
    }
}

// All rows, as many at a time as there are registers for. The first that come ask for the numbers of later groups.
template <bool kInt4, int kRows>
METAVOICE_TARGET METAVOICE_INLINE void add_rows(const Product& product, Group group, int64_t row, int64_t rows, float* out) {
  constexpr int kCount = kVectors < kSums / kRows ? kVectors : kSums / kRows;
  for (; rows >= kRows; row += kRows, rows -= kRows, out += kRows * kPackedColumns)
    for (int first = 0; first < kVectors; first += kCount, group.ahead = 0) add_group<kInt4, kRows, kCount>(product, group, row, first, out);
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

// One row of `in` numbers -> int16, a step for each group of them, and the groups' sums.
METAVOICE_TARGET void round_row(const float* x, int64_t in, int16_t* numbers, float* steps, int32_t* totals) {
  for (int64_t begin = 0; begin < in; begin += kGroup, x += kGroup, numbers += kGroup, ++steps, ++totals) {
    float last[kGroup] = {};
    const float* from = x;
    if (in - begin < kGroup) {
      std::copy(x, x + (in - begin), last);
      from = last;
    }
    // As integers, magnitudes are in the same order, and what is not finite is above.
    Ints largest = {};
    for (int64_t i = 0; i < kGroup; i += kLanes) {
      const Ints bits = load<Ints>(from + i) & 0x7FFFFFFF, more = bits > largest;
      largest = (more & bits) | (~more & largest);
    }
    int32_t bits = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) bits = std::max<int32_t>(bits, largest[lane]);
    const Step step = step_of(bits);
    *steps = step.step;
    Ints total = {};
    for (int64_t i = 0; i < kGroup; i += kLanes) {
      Ints rounded = {};
      if (step.inverse != 0.0F) rounded = (Ints)(load<Floats>(from + i) * step.inverse + kRound) - 0x4B400000;
      const auto narrow = __builtin_convertvector(rounded, Narrow);
      std::memcpy(numbers + i, &narrow, sizeof(narrow));
      total += rounded;
    }
    *totals = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) *totals += total[lane];
  }
}

constexpr Loops loops() { return {block<false>, block<true>, round_row}; }
