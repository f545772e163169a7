#include "ops/swiglu.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "core/team.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

constexpr int64_t kWidth = 8;
using Ints8 = int32_t __attribute__((vector_size(kWidth * sizeof(int32_t))));

// e^x for x <= 0, within 2 units in the last place (the polynomial of Cephes' expf); below -87 it is 0.
METAVOICE_INLINE Floats8 exponential(const Floats8& x) {
  constexpr float kRound = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer, which its lowest bits then hold
  const Ints8 vanishes = x < -87.0F;
  const Floats8 shifted = x * 1.44269504088896341F + kRound;
  const Floats8 whole = shifted - kRound;
  const Floats8 r = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;
  Floats8 p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Floats8 value = p * r * r + r + 1.0F;
  const Ints8 scale = ((Ints8)shifted - 0x4B400000) << 23;
  return (Floats8)(((Ints8)value + scale) & ~vanishes);
}

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
  if (!gate.is_cpu() || !gate.is_contiguous() || !up.is_contiguous()) return at::silu(gate).mul_(up);
  const at::Tensor out = at::empty_like(gate);
  switch (gate.scalar_type()) {
    case at::kFloat: run<float>(gate, up, out); return out;
    case at::kHalf: run<c10::Half>(gate, up, out); return out;
    case at::kBFloat16: run<c10::BFloat16>(gate, up, out); return out;
    default: return at::silu(gate).mul_(up);
  }
}

}  // namespace metavoice::ops
