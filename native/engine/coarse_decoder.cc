#include "engine/coarse_decoder.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::engine {

namespace {

// Every id of an utterance is drawn by then: two a frame, and the end. The last one is never fed.
int64_t drawable(const models::FirstStage& model, const CoarseRequest& request) {
  const auto letters = static_cast<int64_t>(request.text.size());
  if (letters < 1 || letters >= model.window())
    throw core::Error("ERR_TEXT_TOO_LONG", "expected between 1 and " + std::to_string(model.window() - 1) +
                                               " text tokens in one segment but found " + std::to_string(letters));
  const int64_t room = model.window() - request.prompt_length();
  core::require(room > 0, "room in the window behind the text and what was spoken before");
  return std::min(room, 2 * request.maximum_frames + 1);
}

}  // namespace

CoarseDecoder::CoarseDecoder(const models::FirstStage& model, const CoarseRequest& request)
    : config_(model.config()),
      request_(request),
      budget_(drawable(model, request)),
      run_(model, request.speaker, request.guidance.rows(), request.prompt_length() + budget_ - 1) {}

void CoarseDecoder::prefill(layers::KvPool* pool) {
  at::Tensor ids = at::tensor(request_.text, at::kLong);
  if (request_.context_frames() > 0) {
    const int64_t size = config_.codebook_size;
    core::require(request_.context.ge(0).logical_and(request_.context.lt(size)).all().item<bool>(), "codes of a codebook");
    const at::Tensor offsets = at::tensor({int64_t{0}, size}, at::kLong);
    ids = at::cat({ids, (request_.context.t() + offsets).reshape(-1)});
  }
  take(run_.prompt(ids, pool));
}

void CoarseDecoder::step() {
  core::require(started() && !ended(), "an utterance that goes on");
  take(run_.step(last_id_));
}

void CoarseDecoder::take_step(const float* logits, int64_t vocabulary) {
  run_.advance(last_id_);
  take(logits, vocabulary);
}

models::Drawing CoarseDecoder::drawing() const {
  return {&run_.paged_rows(), last_id_, run_.conditioning(), request_.guidance, request_.sampling, request_.constrain, request_.random, steps_, left()};
}

void CoarseDecoder::take_step(int64_t id) {
  run_.advance(last_id_);
  take(id);
}

void CoarseDecoder::take(const at::Tensor& logits) {
  const at::Tensor host = logits.to(at::kCPU).contiguous();
  take(host.data_ptr<float>(), host.size(1));
}

void CoarseDecoder::take(const float* logits, int64_t vocabulary) {
  const int64_t size = config_.codebook_size, turn = steps_ % 2;
  std::vector<float> guided = ops::guide(logits, vocabulary, request_.guidance);
  if (request_.constrain) {
    if (turn == 0) ops::mask_all_but(guided, {{0, size}, {config_.end_of_audio, config_.end_of_audio + 1}});
    else ops::mask_all_but(guided, {{size, 2 * size}});
  }
  const double number = core::uniform(request_.random, core::Stream::first_stage, 0, static_cast<uint32_t>(steps_));
  take(ops::draw(ops::distribution(std::move(guided), request_.sampling), number));
}

void CoarseDecoder::take(int64_t id) {
  const int64_t size = config_.codebook_size;
  last_id_ = id;
  ++steps_;
  // Freely drawn ids may come out of turn or be text: each code goes to its own codebook, text is dropped.
  if (last_id_ == config_.end_of_audio) stopped_ = true;
  else if (last_id_ < size) codebooks_[0].push_back(last_id_);
  else if (last_id_ < 2 * size) codebooks_[1].push_back(last_id_ - size);
}

int64_t CoarseDecoder::steps_to(int64_t frames) const {
  int64_t missing = 0;
  for (const std::vector<int64_t>& codes : codebooks_) missing += std::max<int64_t>(0, frames - static_cast<int64_t>(codes.size()));
  return missing;
}

int64_t CoarseDecoder::frames() const {
  const auto both = static_cast<int64_t>(std::min(codebooks_[0].size(), codebooks_[1].size()));
  return std::min(both, request_.maximum_frames);
}

at::Tensor CoarseDecoder::codes(int64_t first, int64_t last) const {
  at::Tensor result = at::empty({2, last - first}, at::kLong);
  for (int64_t book = 0; book < 2; ++book)
    std::copy(codebooks_[book].begin() + first, codebooks_[book].begin() + last, result.data_ptr<int64_t>() + book * (last - first));
  return result;
}

}  // namespace metavoice::engine
