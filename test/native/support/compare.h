// Comparisons that say what is wrong: the worst element, where it is, and both values. Tolerances have one place.
#pragma once

#include <ATen/ATen.h>
#include <doctest.h>

#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>

#include "core/error.h"
#include "support/settings.h"

namespace metavoice::testing {

// Golden data was made in float32 on the CPU. CUDA sums in another order, so its float32 is a little further away.
inline double logit_tolerance(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf: return 0.02;
    case at::kBFloat16: return 0.15;
    default: return 2e-4;
  }
}
constexpr double kSpectrumTolerance = 2e-4;
constexpr double kWaveTolerance = 1e-3;  // of the signal's peak
constexpr double kEmbeddingTolerance = 1e-4;
constexpr double kProbabilityTolerance = 1e-5;
// The same mathematics in another order, float32, values around 1.
constexpr double kSameTolerance = 2e-5;

struct Difference {
  double worst = 0;  // absolute
  int64_t index = 0;
  double got = 0;
  double wanted = 0;
};

inline Difference difference(const at::Tensor& got, const at::Tensor& wanted) {
  const at::Tensor a = got.detach().to(at::kCPU, at::kDouble).contiguous().view({-1});
  const at::Tensor b = wanted.detach().to(at::kCPU, at::kDouble).contiguous().view({-1});
  const double* left = a.data_ptr<double>();
  const double* right = b.data_ptr<double>();
  Difference result;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double distance = left[i] == right[i] ? 0.0 : std::abs(left[i] - right[i]);
    // A NaN anywhere is the worst there is.
    if (!std::isnan(distance) && distance <= result.worst) continue;
    result = {distance, i, left[i], right[i]};
    if (std::isnan(distance)) break;
  }
  return result;
}

inline std::string position(int64_t index, at::IntArrayRef shape) {
  std::string text;
  if (c10::multiply_integers(shape) == 0) return "[]";
  for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
    text = std::to_string(index % *size) + (text.empty() ? "" : ", ") + text;
    index /= *size;
  }
  return '[' + text + ']';
}

// One assertion: same shape, and every element within `tolerance` of the wanted one.
inline void check_close(const at::Tensor& got, const at::Tensor& wanted, double tolerance, const std::string& what) {
  std::ostringstream text;
  if (got.sizes() != wanted.sizes()) {
    text << what << ": shape " << got.sizes() << " instead of " << wanted.sizes();
    FAIL_CHECK(text.str());
    return;
  }
  const Difference found = difference(got, wanted);
  text << what << ": worst at " << position(found.index, wanted.sizes()) << ": " << found.got << " instead of "
       << found.wanted << ", off by " << found.worst << " (allowed " << tolerance << ")";
  if (settings().report) std::cerr << "    " << text.str() << '\n';
  const std::string message = text.str();
  CHECK_MESSAGE(found.worst <= tolerance, message);
}

inline void check_equal(const at::Tensor& got, const at::Tensor& wanted, const std::string& what) {
  check_close(got, wanted, 0, what);
}

// Waveforms are judged by their own peak.
inline void check_wave(const at::Tensor& got, const at::Tensor& wanted, double tolerance, const std::string& what) {
  check_close(got, wanted, tolerance * wanted.abs().max().item<double>(), what);
}

// What an action is refused with; an action that goes through is a failure of the test.
inline core::Error refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    return error;
  } catch (const std::exception& error) {
    return core::Error("foreign exception", error.what());
  }
  return core::Error("no refusal", "");
}

inline void check_refused(const std::function<void()>& action, const std::string& code, const std::string& words) {
  const core::Error error = refusal(action);
  const std::string message = error.what(), found = "refused with " + error.code() + ": " + message;
  CHECK_MESSAGE(error.code() == code, found);
  CHECK_MESSAGE(message.find(words) != std::string::npos, found);
}

}  // namespace metavoice::testing
