#include "core/precision.h"

#include <ATen/Context.h>

namespace metavoice::core {

void settle_precision() {
  at::Context& context = at::globalContext();
  // libtorch lets cuDNN round convolutions and LSTMs to TF32 unless told not to.
  for (const auto backend : {at::Float32Backend::CUDA, at::Float32Backend::MKLDNN})
    for (const auto op : {at::Float32Op::CONV, at::Float32Op::RNN, at::Float32Op::MATMUL})
      context.setFloat32Precision(backend, op, at::Float32Precision::IEEE);
  // Parts of a long sum that were rounded to float16 may overflow before they are added.
  context.setAllowFP16ReductionCuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
  // cuDNN compiles its attention for every shape anew, and each text and each 32 positions are one; the others don't.
  context.setSDPUseCuDNN(false);
}

}  // namespace metavoice::core
