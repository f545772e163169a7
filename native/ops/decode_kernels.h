// The kernels of a decode step (ops/decode_step.h), where their library lies beside this one: libmetavoice_cuda, which is
// opened when it is first asked for.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "ops/decode_step.h"

namespace metavoice::ops {

struct DecodeKernels {
  decltype(&metavoice_decode_supports) supports;
  decltype(&metavoice_decode_partial_bytes) partial_bytes;
  decltype(&metavoice_decode_capture) capture;
  decltype(&metavoice_decode_launch) launch;
  decltype(&metavoice_decode_release) release;
  decltype(&metavoice_decode_explain) explain;

  // Throws where a call has failed.
  void check(int failure, const char* what) const;
};

// Null where there is no such library, or one of another version. Never closed.
const DecodeKernels* decode_kernels();
// The library at a path.
const DecodeKernels* open_decode_kernels(const std::string& path);

// As the kernels name it; -1 for others.
int decode_dtype(at::ScalarType dtype);

}  // namespace metavoice::ops
