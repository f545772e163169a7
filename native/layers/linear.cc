#include "layers/linear.h"

#include <string>

#include "core/error.h"
#include "ops/linear.h"

namespace metavoice::layers {

namespace {

// As the file has it.
ops::QuantizedMatrix stored_matrix(const core::Weights& weights, core::Quantization kind, int64_t out, int64_t in) {
  if (kind == core::Quantization::int8) {
    const at::Tensor numbers = weights.stored("weight", {out, in}, at::kChar);
    return {kind, numbers, weights.stored("scale", {numbers.size(0)}, at::kBFloat16)};
  }
  const at::Tensor numbers = weights.stored("weight", {out, in / 2}, at::kByte);
  return {kind, numbers, weights.stored("scale", {numbers.size(0), in / ops::kInt4Group, 2}, at::kBFloat16)};
}

// Of a whole matrix in the file.
ops::QuantizedMatrix quantized_matrix(const core::Weights& weights, core::Quantization kind, int64_t out, int64_t in) {
  const at::Tensor whole = weights.stored("weight", {out, in});
  try {
    return ops::quantize(whole, kind);
  } catch (const core::Error& error) {
    // The operation knows no names.
    if (error.code() != "ERR_CHECKPOINT") throw;
    weights.refuse("weight", std::string("can't be quantised: ") + error.what());
  }
}

bool is_quantizable(core::Quantization kind, int64_t in) {
  return kind == core::Quantization::int8 || (kind == core::Quantization::int4 && in % ops::kInt4Group == 0);
}

bool all_finite(const at::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); }

size_t bytes_of(const at::Tensor& numbers, const at::Tensor& scales) { return numbers.nbytes() + scales.nbytes(); }

}  // namespace

Linear Linear::load(const core::Weights& weights, int64_t out, int64_t in) {
  const auto& [device, dtype, kind] = weights.placement();
  if (!is_quantizable(kind, in)) return load(weights, out, in, dtype);
  const bool stored = weights.has("scale");
  const ops::QuantizedMatrix matrix = stored ? stored_matrix(weights, kind, out, in) : quantized_matrix(weights, kind, out, in);
  if (matrix.numbers.numel() == 0) weights.refuse("weight", "is empty");
  if (!all_finite(matrix.scales)) weights.refuse("scale", "holds numbers that are not finite; the file is damaged, convert the model again");
  Linear result;
  result.bias = weights.optional("bias", {matrix.out()}, dtype);
  if (device.is_cpu()) {
    result.packed = ops::pack(matrix);
    weights.add_bytes(bytes_of(result.packed->numbers, result.packed->scales));
  } else {
    result.reordered = ops::reorder_for_decode({kind, matrix.numbers.to(device), matrix.scales.to(device)}, dtype);
    if (!all_finite(result.reordered->scales))
      weights.refuse(stored ? "scale" : "weight", "holds numbers beyond float16 (|w| > 65504); use dtype bfloat16 or float32");
    weights.add_bytes(bytes_of(result.reordered->numbers, result.reordered->scales));
  }
  weights.release("weight");
  return result;
}

Linear Linear::load(const core::Weights& weights, int64_t out, int64_t in, at::ScalarType dtype) {
  Linear result;
  result.weight = weights.tensor("weight", {out, in}, dtype);
  result.bias = weights.optional("bias", {out}, dtype);
  return result;
}

int64_t Linear::out() const { return packed ? packed->out : reordered ? reordered->numbers.size(0) : weight.size(0); }

int64_t Linear::in() const { return packed ? packed->in : reordered ? reordered->in : weight.size(1); }

core::Quantization Linear::quantization() const {
  return packed ? packed->kind : reordered ? reordered->kind : core::Quantization::none;
}

int64_t Linear::bytes() const {
  size_t bytes = bias.defined() ? bias.nbytes() : 0;
  if (packed) bytes += bytes_of(packed->numbers, packed->scales);
  else if (reordered) bytes += bytes_of(reordered->numbers, reordered->scales);
  else if (weight.defined()) bytes += weight.nbytes();
  return static_cast<int64_t>(bytes);
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (weight.defined()) return ops::linear(x, weight, bias);
  const at::Tensor product = packed ? ops::quantized_linear(x, *packed) : ops::quantized_linear_plain(x, ops::in_stored_order(*reordered));
  return bias.defined() ? product + bias.to(x.scalar_type()) : product;
}

void Linear::add_to(const at::Tensor& sum, const at::Tensor& x) const {
  if (weight.defined()) ops::add_linear(sum, x, weight, bias);
  else sum.add_(forward(x));
}

}  // namespace metavoice::layers
