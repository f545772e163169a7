// From logits to the next step's input: one block draws for one utterance, as ops/sampling.cc does on the host.
#include "ops/decode_sampling.cuh"

namespace metavoice::decode {

namespace {

struct DrawParameters {
  const float* logits;  // [rows, entries]
  int entries;
  MetavoiceDraw draw;
};

// (s + p - 1) c + (1 - s) u_speaker + (1 - p) u_prompt, added in the host's order.
__device__ __forceinline__ float guided(const float* logits, int entries, int at, const MetavoiceUtterance& u, bool& finite) {
  const float conditional = logits[at];
  finite = is_finite(conditional);
  if (u.rows < 2) return conditional;
  const float no_speaker = logits[entries + at], of_no_speaker = __fmul_rn(__fadd_rn(1, -u.speaker), no_speaker);
  finite = finite && is_finite(no_speaker);
  if (u.rows == 2) return __fadd_rn(__fmul_rn(u.speaker, conditional), of_no_speaker);
  const float no_prompt = logits[2 * entries + at];
  finite = finite && is_finite(no_prompt);
  const float both = __fmul_rn(__fadd_rn(__fadd_rn(u.speaker, u.prompt), -1), conditional);
  return __fadd_rn(__fadd_rn(both, of_no_speaker), __fmul_rn(__fadd_rn(1, -u.prompt), no_prompt));
}

// Codebook 0 or the end, then codebook 1.
__device__ __forceinline__ bool may_follow(int at, const MetavoiceUtterance& u, const MetavoiceDraw& draw) {
  if (u.constrain == 0) return true;
  if (u.step % 2 == 0) return at < draw.codebook_size || at == draw.end_of_audio;
  return at >= draw.codebook_size && at < 2 * draw.codebook_size;
}

// What the host reads, and what the next step of these rows is made of.
__device__ void finish(const DrawParameters& p, MetavoiceUtterance* kept, const MetavoiceUtterance& u, int id, int flags) {
  const MetavoiceDraw& draw = p.draw;
  const bool over = flags != METAVOICE_DRAWN || u.left == 1;
  draw.ring[static_cast<int64_t>(u.drawn) * draw.utterance_count + blockIdx.x] = {id, flags};
  kept->step = u.step + 1;
  kept->left = over ? 0 : u.left - 1;
  kept->drawn = u.drawn + 1;
  for (int row = u.first_row; row < u.first_row + u.rows; ++row) {
    if (!over) draw.ids[row] = id;
    draw.positions[row] = over ? -1 : draw.positions[row] + 1;
  }
}

__global__ void __launch_bounds__(kDrawThreads) draw(const DrawParameters p) {
  __shared__ float near[kDrawThreads * kDrawHeld];
  __shared__ Together::Shared shared;
  Together together(shared);
  wait_for_others();
  MetavoiceUtterance* const kept = p.draw.utterances + blockIdx.x;
  const MetavoiceUtterance u = *kept;
  if (u.rows < 1 || u.left < 1 || u.drawn >= p.draw.slots) return;
  const int thread = static_cast<int>(threadIdx.x), first = thread * kDrawHeld;

  const float* logits = p.logits + static_cast<int64_t>(u.first_row) * p.entries;
  const float temperature = fmaxf(u.temperature, 1e-5F), minus_infinity = float_of(0xff800000u);
  Mass wrong = 0;
  for (int at = thread; at < p.entries; at += kDrawThreads) {
    bool finite;
    float value = __fdiv_rn(guided(logits, p.entries, at, u, finite), temperature);
    if (!may_follow(at, u, p.draw)) value = minus_infinity;
    else finite = finite && is_finite(value);
    wrong += finite ? 0 : 1;
    near[at] = value;
  }
  if (together.sum(wrong) > 0) {
    if (thread == 0) finish(p, kept, u, -1, METAVOICE_NOT_FINITE);
    return;
  }

  // Entries that are not there have the smallest key of all, and no weight.
  uint32_t keys[kDrawHeld], own_largest = 0;
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) {
    keys[i] = first + i < p.entries ? key_of(near[first + i]) : 0;
    own_largest = keys[i] > own_largest ? keys[i] : own_largest;
  }
  const uint32_t largest_key = together.largest(own_largest);
  uint32_t smallest = 1;
  if (u.top_k > 0 && u.top_k < p.entries)
    smallest = last_key(keys, [](int) { return Mass{1}; }, static_cast<Mass>(u.top_k), together);
  // A key is a number again.
  const float largest = float_of((largest_key >> 31) != 0 ? largest_key & 0x7fffffffu : ~largest_key);
  float weights[kDrawHeld];
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i)
    weights[i] = keys[i] >= smallest && keys[i] > 0 ? exponential(__fadd_rn(near[first + i], -largest)) : 0;
  if (u.top_p < 1) keep_top_p(weights, keys, u.top_p, together);

  // The inverse of the cumulative distribution.
  const float scale = scale_of(weights, together);
  Mass own = 0, total = 0;
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) own += fixed(__fmul_rn(weights[i], scale), kOfAll);
  Mass up_to = together.before(own, total);
  const auto product = static_cast<Mass>(__dmul_rn(uniform(u), static_cast<double>(total)));
  const Mass target = product < total ? product : total - 1;
  if (target < up_to || target >= up_to + own) return;
  int id = -1;
#pragma unroll
  for (int i = 0; i < kDrawHeld; ++i) {
    up_to += fixed(__fmul_rn(weights[i], scale), kOfAll);
    if (id < 0 && up_to > target) id = first + i;
  }
  finish(p, kept, u, id, id == p.draw.end_of_audio ? METAVOICE_DRAWN | METAVOICE_ENDED : METAVOICE_DRAWN);
}

}  // namespace

}  // namespace metavoice::decode

extern "C" int metavoice_decode_draw(const MetavoiceDecode* step, const MetavoiceDecodeEnds* ends, const MetavoiceDraw* draw) {
  using namespace metavoice::decode;
  if (ends->entries < 1 || ends->entries > METAVOICE_MOST_DRAWN || draw->utterance_count < 1) return cudaErrorInvalidValue;
  const DrawParameters parameters{ends->logits, ends->entries, *draw};
  return launch<metavoice::decode::draw>(dim3(static_cast<unsigned>(draw->utterance_count)), kDrawThreads, 0, *step, parameters);
}
