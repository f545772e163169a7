// The arithmetic of a draw (ops/sampling.h) by the threads of one block. Masses are sums in fixed point, so that no order of
// adding matters, and the rest is made of operations that round as IEEE 754 says: every GPU, and the emulation on a host,
// gives the same token.
#pragma once

#include "ops/decode_launch.cuh"

namespace metavoice::decode {

constexpr int kDrawThreads = 128;
constexpr int kDrawWarps = kDrawThreads / 32;
// Entries of a thread, neighbours; odd, so that the threads of a warp read shared memory side by side.
constexpr int kDrawHeld = 21;
static_assert(kDrawThreads * kDrawHeld == METAVOICE_MOST_DRAWN, "all entries are held by somebody");

using Mass = unsigned long long;

// Bits behind the point: of what is at most 1 for each entry, and of what is about 1 for all of them.
constexpr int kOfEach = 51, kOfAll = 62;

// `value` of 0 to 1 with so many bits behind the point; what lies below is cut off.
__device__ __forceinline__ Mass fixed(float value, int bits) {
  const uint32_t word = bits_of(value);
  const int exponent = static_cast<int>(word >> 23);
  const Mass mantissa = exponent > 0 ? (word & 0x7fffffu) | 0x800000u : word;
  const int shift = max(exponent, 1) - 150 + bits;
  if (shift >= 0) return mantissa << shift;
  return shift > -24 ? mantissa >> -shift : 0;
}

// Larger numbers have larger keys, both zeros the same one.
__device__ __forceinline__ uint32_t key_of(float value) {
  const uint32_t word = value == 0 ? 0 : bits_of(value);
  return (word >> 31) != 0 ? ~word : word | 0x80000000u;
}

__device__ __forceinline__ bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

__device__ __forceinline__ double power_of_two(int exponent) {
  const unsigned long long bits = static_cast<unsigned long long>(exponent + 1023) << 52;
#ifdef __CUDA_ARCH__
  return __longlong_as_double(static_cast<long long>(bits));
#else
  double result;
  memcpy(&result, &bits, sizeof(result));
  return result;
#endif
}

// e^x for x up to 0: rounded to float32 from a double that is right within 2^-51.
__device__ __forceinline__ float exponential(float x) {
  if (!(x > -104.0F)) return 0;
  constexpr double kToWhole = 6755399441055744.0;  // 1.5 · 2^52: what is added to it is rounded to whole numbers
  const double wide = static_cast<double>(x);
  const double twos = __dadd_rn(__fma_rn(wide, 1.4426950408889634, kToWhole), -kToWhole);
  // ln 2 in two parts, of which the first times `twos` is exact.
  double rest = __fma_rn(twos, -6.93147180369123816490e-01, wide);
  rest = __fma_rn(twos, -1.90821492927058770002e-10, rest);
  // 1 / 12!, …, 1 / 1!, 1
  double sum = 2.08767569878680989792e-09;
  sum = __fma_rn(sum, rest, 2.50521083854417187751e-08);
  sum = __fma_rn(sum, rest, 2.75573192239858906526e-07);
  sum = __fma_rn(sum, rest, 2.75573192239858906526e-06);
  sum = __fma_rn(sum, rest, 2.48015873015873015873e-05);
  sum = __fma_rn(sum, rest, 1.98412698412698412698e-04);
  sum = __fma_rn(sum, rest, 1.38888888888888888889e-03);
  sum = __fma_rn(sum, rest, 8.33333333333333333333e-03);
  sum = __fma_rn(sum, rest, 4.16666666666666666667e-02);
  sum = __fma_rn(sum, rest, 1.66666666666666666667e-01);
  sum = __fma_rn(sum, rest, 0.5);
  sum = __fma_rn(sum, rest, 1);
  sum = __fma_rn(sum, rest, 1);
  return static_cast<float>(__dmul_rn(sum, power_of_two(static_cast<int>(twos))));
}

// Uniform in [0, 1): core::uniform of the first stage (core/random.h).
__device__ __forceinline__ double uniform(const MetavoiceUtterance& utterance) {
  constexpr unsigned long long kFirst = 0xD2511F53u, kSecond = 0xCD9E8D57u;
  constexpr uint32_t kFirstStage = 1u << 24;
  uint32_t counter[4] = {static_cast<uint32_t>(utterance.step), kFirstStage, utterance.segment, utterance.attempt};
  uint32_t key[2] = {utterance.seed[0], utterance.seed[1]};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned long long a = kFirst * counter[0], b = kSecond * counter[2];
    counter[0] = static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0];
    counter[1] = static_cast<uint32_t>(b);
    counter[2] = static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1];
    counter[3] = static_cast<uint32_t>(a);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  const unsigned long long bits = (static_cast<unsigned long long>(counter[0]) << 32 | counter[1]) >> 11;
  return __dmul_rn(static_cast<double>(bits), power_of_two(-53));
}

// What all threads of the block know together. Each call must be made by all of them.
class Together {
 public:
  // Room that alternates: one barrier for each call.
  struct Shared {
    Mass masses[2][kDrawWarps];
  };

  __device__ __forceinline__ explicit Together(Shared& shared) : shared_(shared) {}

  __device__ __forceinline__ Mass sum(Mass own) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) own += __shfl_xor_sync(kAll, own, distance);
    const Mass(&all)[kDrawWarps] = gather(own);
    Mass result = 0;
#pragma unroll
    for (int i = 0; i < kDrawWarps; ++i) result += all[i];
    return result;
  }

  __device__ __forceinline__ uint32_t largest(uint32_t own) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      const auto other = static_cast<uint32_t>(__shfl_xor_sync(kAll, Mass{own}, distance));
      own = other > own ? other : own;
    }
    const Mass(&all)[kDrawWarps] = gather(own);
    Mass result = 0;
#pragma unroll
    for (int i = 0; i < kDrawWarps; ++i) result = all[i] > result ? all[i] : result;
    return static_cast<uint32_t>(result);
  }

  // What the threads before this one have; `total`: what all have.
  __device__ __forceinline__ Mass before(Mass own, Mass& total) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    Mass up_to = own;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const Mass other = __shfl_up_sync(kAll, up_to, static_cast<unsigned>(distance));
      if (lane >= distance) up_to += other;
    }
    Mass(&room)[kDrawWarps] = next();
    if (lane == 31) room[warp] = up_to;
    __syncthreads();
    Mass result = up_to - own;
    total = 0;
#pragma unroll
    for (int i = 0; i < kDrawWarps; ++i) {
      if (i < warp) result += room[i];
      total += room[i];
    }
    return result;
  }

 private:
  static constexpr unsigned kAll = 0xffffffffu;

  __device__ __forceinline__ Mass (&next())[kDrawWarps] {
    turn_ ^= 1;
    return shared_.masses[turn_];
  }
  __device__ __forceinline__ const Mass (&gather(Mass of_warp))[kDrawWarps] {
    Mass(&room)[kDrawWarps] = next();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = of_warp;
    __syncthreads();
    return room;
  }

  Shared& shared_;
  int turn_ = 0;
};

// The smallest key above which there is less than `bound`; weigh(i) is what entry i of this thread counts for.
template <class Weigh>
__device__ __forceinline__ uint32_t last_key(const uint32_t (&keys)[kDrawHeld], const Weigh& weigh, Mass bound, Together& together) {
  uint32_t result = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t below = result | ((1u << bit) - 1);
    Mass above = 0;
#pragma unroll
    for (int i = 0; i < kDrawHeld; ++i) above += keys[i] > below ? weigh(i) : 0;
    if (together.sum(above) >= bound) result |= 1u << bit;
  }
  return result;
}

// What makes probabilities of the weights of all entries.
__device__ __forceinline__ float scale_of(const float (&weights)[kDrawHeld], Together& together) {
  Mass own = 0;
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) own += fixed(weights[i], kOfEach);
  return static_cast<float>(1.0 / __dmul_rn(static_cast<double>(together.sum(own)), power_of_two(-kOfEach)));
}

// Of equal entries the later one ranks higher: those that come too late in that order weigh nothing afterwards.
__device__ __forceinline__ void keep_top_p(float (&weights)[kDrawHeld], const uint32_t (&keys)[kDrawHeld], float top_p, Together& together) {
  const float scale = scale_of(weights, together);
  // The largest stays in any case.
  const Mass wanted = top_p > 0 ? fixed(top_p, kOfAll) : 0, bound = wanted > 0 ? wanted : 1;
  Mass masses[kDrawHeld];
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) masses[i] = fixed(__fmul_rn(weights[i], scale), kOfAll);
  const uint32_t last = last_key(keys, [&](int i) { return masses[i]; }, bound, together);
  Mass above = 0, equal = 0, own_ties = 0;
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) {
    above += keys[i] > last ? masses[i] : 0;
    equal += keys[i] == last ? masses[i] : 0;
    own_ties += keys[i] == last ? 1 : 0;
    if (keys[i] < last) weights[i] = 0;
  }
  above = together.sum(above);
  equal = together.sum(equal);
  Mass ties = 0;
  const Mass earlier = together.before(own_ties, ties);
  if (equal == 0) return;
  const Mass each = equal / ties, stay = (bound - above + each - 1) / each;
  Mass rank = ties - earlier;  // among equals, of the first that this thread has; the last of all has 1
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) {
    if (keys[i] != last) continue;
    if (rank > stay) weights[i] = 0;
    --rank;
  }
}

}  // namespace metavoice::decode
