// Linear layers side by side, each on its own part of the input; one group is the ordinary layer. On the CPU, one row or
// a few at a time.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "core/error.h"
#include "core/weights.h"
#include "ops/grouped_linear.h"

namespace metavoice::layers {

struct GroupedLinear {
  at::Tensor weight;  // panels (ops/grouped_linear.h)
  at::Tensor bias;
  int64_t groups, in, out;  // in and out of one group

  // weight [groups, in, out], bias [groups * out] or undefined
  static GroupedLinear of(const at::Tensor& weight, const at::Tensor& bias = {}) {
    const int64_t groups = weight.size(0), out = weight.size(2);
    const at::Tensor offset = bias.defined() ? bias.view({groups, 1, out}) : at::zeros({groups, 1, out}, weight.options());
    return {ops::panels_of(weight), ops::panels_of(offset), groups, weight.size(1), out};
  }

  // As DeepFilterNet stores it: [groups, in, out], without a bias; `in` and `out` are those of all groups.
  static GroupedLinear load(const core::Weights& weights, const std::string& name, int64_t in, int64_t out) {
    constexpr auto any = core::Weights::any;
    const int64_t groups = weights.tensor(name, {any, any, any}, at::kFloat).size(0);
    require_groups(name, groups, in);
    require_groups(name, groups, out);
    return of(weights.tensor(name, {groups, in / groups, out / groups}, at::kFloat));
  }

  static void require_groups(const std::string& name, int64_t groups, int64_t width) {
    if (groups >= 1 && width % groups == 0) return;
    throw core::Error("ERR_CHECKPOINT", "expected the groups of " + name + " to divide " + std::to_string(width) + " but found " + std::to_string(groups),
                      {{"tensor", name}});
  }

  // x [rows, groups * in] -> to [rows, groups * out]
  void forward(const float* x, int64_t rows, float* to) const { ops::grouped_linear(x, rows, weight, bias, out, to); }
};

}  // namespace metavoice::layers
