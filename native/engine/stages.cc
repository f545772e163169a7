#include "engine/stages.h"

#include <numeric>

#include "core/error.h"
#include "engine/batch_step.h"
#include "engine/enhancer.h"
#include "engine/health.h"
#include "engine/windowed_diffusion.h"
#include "ops/mel.h"
#include "ops/resample.h"
#include "ops/sampling.h"

namespace metavoice::engine {

namespace {

constexpr int64_t kGuidanceRows = 2;

at::Tensor on_host(const at::Tensor& tensor) { return tensor.to(at::kCPU).contiguous(); }

// One sequence that steps over pages of its own, as speech does over those of all.
class PagedSequence {
 public:
  PagedSequence(const models::FirstStage& stage, const at::Tensor& speaker, int64_t capacity)
      : stage_(stage),
        pool_(stage.make_pool(kGuidanceRows * layers::KvPool::pages_for(capacity))),
        counts_(RowCounts::of(stage, kGuidanceRows, /*deterministic=*/false)),
        run_(stage, speaker, kGuidanceRows, capacity) {}

  // Finite logits of the last position [rows, vocabulary] on the host.
  at::Tensor prompt(const at::Tensor& ids) { return on_host(run_.prompt(ids, &pool_)); }
  at::Tensor step(int64_t id) {
    if (!run_.paged()) return on_host(run_.step(id));  // its numbers need float32
    run_.extend();
    const at::Tensor logits = step_rows(stage_, pool_, {{&run_, id}}, counts_.next(kGuidanceRows).padded);
    if (!logits.isfinite().all().item<bool>()) return on_host(run_.step(id));
    run_.advance(id);
    return logits;
  }

 private:
  const models::FirstStage& stage_;
  layers::KvPool pool_;
  RowCounts counts_;
  FirstStageRun run_;
};

at::Tensor prompt_logits(const models::FirstStage& stage, const at::Tensor& ids, const at::Tensor& speaker) {
  const at::Tensor rows = stage.branches(ids, kGuidanceRows), conditioning = stage.conditioning(speaker, kGuidanceRows);
  layers::KvCache cache = stage.make_cache(kGuidanceRows, ids.size(0));
  int64_t redone = 0;
  return on_host(evaluate_finite(stage.dtype(), redone, "first stage", [&](models::Precision precision) {
    cache.rewind(cache.length());
    return stage.forward_all(rows, conditioning, cache, precision);
  }));
}

}  // namespace

at::Tensor first_stage_logits(const SpeechModel& model, const at::Tensor& ids, const at::Tensor& speaker, int64_t prompt) {
  const models::FirstStage& stage = model.first_stage();
  const int64_t count = ids.size(0);
  core::require(prompt > 0 && prompt <= count, "a prompt of the ids");
  const at::Tensor first = ids.narrow(0, 0, prompt);
  const at::Tensor begun = prompt_logits(stage, first, speaker);
  if (prompt == count) return begun;
  at::Tensor result = at::empty({kGuidanceRows, count, begun.size(2)});
  result.narrow(1, 0, prompt).copy_(begun);
  PagedSequence sequence(stage, speaker, count);
  sequence.prompt(first);
  for (int64_t i = prompt; i < count; ++i) result.select(1, i).copy_(sequence.step(ids[i].item<int64_t>()));
  return result;
}

std::vector<int32_t> first_stage_greedy(const SpeechModel& model, const at::Tensor& ids, const at::Tensor& speaker,
                                        float guidance, int64_t steps) {
  const models::FirstStage& stage = model.first_stage();
  const ops::Guidance settings{guidance, 1.0F};
  steps = std::min(steps, stage.window() - ids.size(0));
  PagedSequence sequence(stage, speaker, ids.size(0) + steps);
  std::vector<int32_t> result;
  while (static_cast<int64_t>(result.size()) < steps) {
    const at::Tensor logits = result.empty() ? sequence.prompt(ids) : sequence.step(result.back());
    const std::vector<float> guided = ops::guide(logits.data_ptr<float>(), logits.size(1), settings);
    const int64_t id = ops::arg_max(guided.data(), logits.size(1));
    result.push_back(static_cast<int32_t>(id));
    if (id == stage.config().end_of_audio) break;
  }
  return result;
}

at::Tensor second_stage_logits(const SpeechModel& model, const at::Tensor& text, const at::Tensor& codes,
                               const at::Tensor& speaker) {
  const models::SecondStage& stage = model.second_stage();
  const int64_t frames = codes.size(1);
  core::require(text.size(0) + frames <= stage.window(), "text and codes inside the window of the second stage");
  const at::Tensor rows = stage.input(text, codes);
  int64_t redone = 0;
  return on_host(evaluate_finite(stage.dtype(), redone, "second stage", [&](models::Precision precision) {
    return stage.logits(stage.forward(rows, speaker, precision), text.size(0), frames);
  }));
}

EmbeddedSpeaker embed_speaker(const SpeechModel& model, const at::Tensor& samples, int64_t sample_rate) {
  const at::Tensor narrow = ops::resample(samples, sample_rate, models::SpeakerEncoder::sample_rate);
  const auto [start, end] = ops::trim_silence(narrow, models::SpeakerEncoder::trim_decibels);
  if (start >= end)
    throw core::Error("ERR_REFERENCE_AUDIO", "expected speech in the reference recording but found silence: 0 s of " +
                                                 std::to_string(static_cast<double>(samples.size(0)) / static_cast<double>(sample_rate)) + " s");
  const at::Tensor speech = narrow.narrow(0, start, end - start).contiguous();
  return {on_host(require_finite(model.speaker_encoder().embed(speech), "speaker encoder")), start, end, narrow.size(0)};
}

at::Tensor encode(const SpeechModel& model, const at::Tensor& samples, int64_t sample_rate) {
  core::require(samples.size(0) > 0, "samples to encode");
  const models::encodec::Encodec& codec = model.codec();
  return on_host(codec.encode(require_finite(ops::resample(samples, sample_rate, codec.sample_rate()), "recording")));
}

at::Tensor decode(const SpeechModel& model, const at::Tensor& codes, const std::vector<int64_t>& pieces) {
  models::encodec::DecoderState state;
  const models::encodec::Encodec& codec = model.codec();
  if (pieces.empty()) return on_host(codec.decode(codes, state));
  const int64_t sum = std::accumulate(pieces.begin(), pieces.end(), int64_t{0});
  core::require(sum == codes.size(1), "pieces that add up to the frames");
  core::require(pieces[0] >= codec.first_frames() || pieces[0] == sum, "a first piece as long as the codec's first kernel");
  std::vector<at::Tensor> result;
  int64_t first = 0;
  for (const int64_t frames : pieces) {
    result.push_back(codec.decode(codes.narrow(1, first, frames), state));
    first += frames;
  }
  return on_host(at::cat(result));
}

at::Tensor diffuse(const SpeechModel& model, const at::Tensor& codes, uint64_t seed, const at::Tensor& noise, int64_t steps,
                   const std::vector<int64_t>& chunk_ends, const core::Stopped& stopped) {
  core::require_wanted(stopped);  // before the weights are loaded
  DiffusionRequest request{{seed, 0, 0}, steps, chunk_ends, stopped};
  int64_t redone = 0;
  if (chunk_ends.empty()) return diffuse_whole(model, codes, request, noise, redone);
  WindowedDiffusion windows(model, std::move(request));
  windows.add(codes, /*ended=*/true);
  return windows.speak(codes.size(1));
}

EnhancedSignal enhance(const SpeechModel& model, const at::Tensor& samples, int64_t sample_rate, const core::Stopped& stopped) {
  core::require(samples.size(0) > 0, "samples to enhance");
  Enhancer enhancer(model.enhancer(), sample_rate, stopped);
  const at::Tensor first = enhancer.push(require_finite(samples, "recording"));
  return {require_finite(at::cat({first, enhancer.finish()}), "enhancer"), enhancer.sample_rate()};
}

models::deep_filter::DeepFilter::Enhanced enhance_spectrum(const SpeechModel& model, const at::Tensor& spectrum,
                                                           const at::Tensor& levels, const at::Tensor& bins,
                                                           const core::Stopped& stopped) {
  const models::deep_filter::DeepFilter& enhancer = model.enhancer();
  const int64_t frames = spectrum.numel() / (2 * enhancer.bins());
  return enhancer.enhance_spectrum(spectrum.view({frames, -1, 2}), levels.view({frames, -1}), bins.view({frames, -1, 2}), stopped);
}

}  // namespace metavoice::engine
