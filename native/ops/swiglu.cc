#include "ops/swiglu.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "core/team.h"
#include "ops/libtorch_only.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

constexpr int64_t kWidth = 8;

METAVOICE_INLINE Floats8 gated(const Floats8& gate, const Floats8& up) {
  const Floats8 small = exponential((Floats8)((Words8)gate | 0x80000000U));  // e^-|gate|
  const Ints8 negative = gate < 0.0F;
  Floats8 one = {};
  one += 1.0F;
  const Floats8 part = (Floats8)((negative & (Ints8)small) | (~negative & (Ints8)one));
  return gate * (part / (small + 1.0F)) * up;
}

template <class T>
METAVOICE_INLINE void gate_all(const T* gate, const T* up, T* out, int64_t count) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) put(gated(floats8(gate + i), floats8(up + i)), out + i);
  if (i == count) return;
  // The last few in a vector, too, so that their bits are the same as elsewhere.
  std::array<T, kWidth> gates{}, ups{}, results{};
  std::copy(gate + i, gate + count, gates.begin());
  std::copy(up + i, up + count, ups.begin());
  put(gated(floats8(gates.data()), floats8(ups.data())), results.data());
  std::copy(results.begin(), results.begin() + (count - i), out + i);
}

template <class T>
void gate_baseline(const T* gate, const T* up, T* out, int64_t count) { gate_all(gate, up, out, count); }

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("avx2,fma"))) void gate_avx2(const T* gate, const T* up, T* out, int64_t count) { gate_all(gate, up, out, count); }
#endif

template <class T>
using Gate = void (*)(const T*, const T*, T*, int64_t);

template <class T>
Gate<T> best() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return gate_avx2<T>;
#endif
  return gate_baseline<T>;
}

template <class T>
void run(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& out) {
  static const Gate<T> gate_some = best<T>();
  constexpr int64_t kPiece = 2048;
  const T *gates = gate.data_ptr<T>(), *ups = up.data_ptr<T>();
  T* results = out.data_ptr<T>();
  core::share_work(gate.numel(), kPiece, [&](int64_t begin, int64_t end) { gate_some(gates + begin, ups + begin, results + begin, end - begin); });
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  core::require(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(), "a gate as large as what it lets through");
  if (LibtorchOnly::current() != nullptr || !gate.is_cpu() || !gate.is_contiguous() || !up.is_contiguous()) return at::silu(gate).mul_(up);
  const at::Tensor out = at::empty_like(gate);
  switch (gate.scalar_type()) {
    case at::kFloat: run<float>(gate, up, out); return out;
    case at::kHalf: run<c10::Half>(gate, up, out); return out;
    case at::kBFloat16: run<c10::BFloat16>(gate, up, out); return out;
    default: return at::silu(gate).mul_(up);
  }
}

}  // namespace metavoice::ops
