// How the matrices of the first stage are held: whole, or as integers with scales (ops/quantization.h).
#pragma once

namespace metavoice::core {

enum class Quantization { none, int8, int4 };

}  // namespace metavoice::core
