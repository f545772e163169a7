// Numeric health: an evaluation whose result is not finite is done again with the same weights upcast, matrix by
// matrix, to float32; still not finite is ERR_NUMERIC. In 16 bit a large activation overflows and would become silent or broken
// audio; nobody has to hear it to know.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

#include "core/error.h"
#include "models/transformer.h"
#include "ops/finite.h"

namespace metavoice::engine {

// How often something was done again.
struct Health {
  int64_t redone_steps = 0;    // evaluations of the first stage: the prompt, or one position
  int64_t redone_windows = 0;  // passes of the second stage, and windows of diffusion
};

inline core::Error not_finite(const std::string& what) {
  return core::Error("ERR_NUMERIC",
                     "expected finite numbers from the " + what + " but found some that are not, also in float32; its weights "
                     "or its input are damaged: `metavoice doctor --model FOLDER` checks the weights",
                     {{"part", what}});
}

// What is always float32 has no second chance.
inline const at::Tensor& require_finite(const at::Tensor& result, const char* what) {
  if (!ops::all_finite(result)) throw not_finite(what);
  return result;
}

// `evaluate(precision)` in the model's own dtype, then in float32 where that is not finite. `redone` counts the latter.
template <class Evaluate>
at::Tensor evaluate_finite(at::ScalarType dtype, int64_t& redone, const char* what, Evaluate evaluate) {
  const at::Tensor result = evaluate(models::Precision::own);
  if (ops::all_finite(result)) return result;
  if (dtype == at::kFloat) throw not_finite(what);
  ++redone;
  return require_finite(evaluate(models::Precision::float32), what);
}

}  // namespace metavoice::engine
