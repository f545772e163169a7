// What each kernel of a decode step should give, in double on the host, from the numbers that it was given.
#pragma once

#include <functional>

#include "scene.h"

namespace metavoice::testing {

// Compares a kernel's numbers with the wanted ones; remembers the worst. An error may be a rounding to the dtype, and a
// share of how large such sums are.
class Comparison {
 public:
  Comparison(int dtype, double share) : unit_(dtype == METAVOICE_FLOAT32 ? 1e-6 : dtype == METAVOICE_FLOAT16 ? 0x1p-11 : 0x1p-8), share_(share) {}

  void add(double found, double wanted, double scale) {
    const double bound = 1.01 * unit_ * std::abs(wanted) + share_ * scale;
    const double excess = std::isfinite(found) ? std::abs(found - wanted) / bound : INFINITY;
    ++count_;
    worst_ = std::max(worst_, excess);
  }
  bool holds() const { return count_ > 0 && worst_ <= 1; }
  double worst() const { return worst_; }

 private:
  double unit_, share_, worst_ = 0;
  int64_t count_ = 0;
};

// To the dtype and back, as a kernel rounds what goes into a product.
inline double rounded(int dtype, double value) {
  const auto single = static_cast<float>(value);
  if (dtype == METAVOICE_FLOAT16) return static_cast<double>(__half2float(__float2half_rn(single)));
  if (dtype == METAVOICE_BFLOAT16) return static_cast<double>(__bfloat162float(__float2bfloat16_rn(single)));
  return single;
}

// What a rounding of the other factor that falls the other way may change, as a share of the sum's size.
inline double share_of(int dtype, bool normed) {
  if (dtype == METAVOICE_FLOAT32 || !normed) return 2e-5;
  return dtype == METAVOICE_FLOAT16 ? 2e-4 : 1.5e-3;
}

inline std::vector<double> normed(const Array& residual, const Array& weight, int row, int width, int dtype) {
  std::vector<double> result(static_cast<size_t>(width));
  double squares = 0;
  for (int i = 0; i < width; ++i) squares += residual.get(int64_t{row} * width + i) * residual.get(int64_t{row} * width + i);
  const double scale = 1 / std::sqrt(squares / width + 1e-5);
  for (int i = 0; i < width; ++i) result[static_cast<size_t>(i)] = rounded(dtype, residual.get(int64_t{row} * width + i) * scale * weight.get(i));
  return result;
}

inline std::vector<double> row_of(const Array& values, int row, int width) {
  std::vector<double> result(static_cast<size_t>(width));
  for (int i = 0; i < width; ++i) result[static_cast<size_t>(i)] = values.get(int64_t{row} * width + i);
  return result;
}

template <class Numbers>
double product(const std::vector<double>& x, const Numbers& weight, int64_t column, double* scale) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double term = x[i] * weight.get(column * static_cast<int64_t>(x.size()) + static_cast<int64_t>(i));
    sum += term;
    squares += term * term;
  }
  *scale = std::sqrt(squares);
  return sum;
}

// Some columns: all of few, else every so many with another start in each row.
inline void each_column(int columns, int length, int rows, int row, const std::function<void(int)>& visit) {
  const int64_t work = int64_t{columns} * length * rows;
  const int stride = static_cast<int>(std::max<int64_t>(1, work / 3000000)) | 1;
  for (int column = row % stride; column < columns; column += stride) visit(column);
  for (int column = std::max(0, columns - 3); column < columns; ++column) visit(column);
}

}  // namespace metavoice::testing
