// From logits to a token, in float32 on the host. Rows are short (2,562 and 1,025 entries), so plain loops beat tensor
// operations and give the same bits everywhere.
#pragma once

#include <cstdint>
#include <vector>

namespace metavoice::ops {

struct Guidance {
  float speaker = 3.0F;
  float prompt = 1.0F;
  // The third branch (speaker without text) exists only for a prompt guidance above 1.
  int rows() const { return prompt > 1.0F ? 3 : 2; }
};

struct SamplingSettings {
  float temperature = 1.0F;
  float top_p = 1.0F;  // 1 is off
  int64_t top_k = 0;   // 0 is off
};

// Classifier-free guidance over rows (text and speaker | text | speaker) [rows, entries] -> [entries]:
// (s + p - 1) c + (1 - s) u_speaker + (1 - p) u_prompt.
std::vector<float> guide(const float* logits, int64_t entries, const Guidance& guidance);

// Entries outside every [first, last) of `allowed` become -inf.
struct Range {
  int64_t first;
  int64_t last;
};
void mask_all_but(std::vector<float>& logits, const std::vector<Range>& allowed);

// Probabilities before the draw: temperature (at least 1e-5), then top-k (ties with the k-th value stay), then top-p
// (an entry stays if the mass ranked above it is below top-p; the largest always stays), then softmax.
std::vector<float> distribution(std::vector<float> logits, const SamplingSettings& settings);

// Inverse of the cumulative distribution at `uniform` in [0, 1), summed in double in the order of the entries.
int64_t draw(const std::vector<float>& probabilities, double uniform);

int64_t arg_max(const float* values, int64_t entries);

}  // namespace metavoice::ops
