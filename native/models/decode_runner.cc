#include "models/decode_runner.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "core/error.h"

namespace metavoice::models {

namespace {

// 0 on the CPU, where there is but one.
int32_t index_of(const at::Device& device) { return device.has_index() ? device.index() : 0; }

// The stream that libtorch's work of this thread is in.
void* stream_of(const at::Device& device) {
  if (device.is_cpu()) return nullptr;
  const c10::impl::VirtualGuardImpl devices(device.type());
  return devices.getStreamNativeHandle(devices.getStream(device));
}

// Until the device has done all that this thread gave it.
void wait_for(const at::Device& device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl devices(device.type());
  devices.getStream(device).synchronize();
}

constexpr int64_t kUtteranceNumbers = sizeof(MetavoiceUtterance) / sizeof(int32_t);

MetavoiceUtterance utterance_of(const Drawing& drawing, int64_t first_row) {
  core::require(static_cast<int>(drawing.rows->size()) == drawing.guidance.rows() && drawing.left >= 1, "the rows of the guidance, and something to draw");
  MetavoiceUtterance result{};
  result.first_row = static_cast<int32_t>(first_row);
  result.rows = static_cast<int32_t>(drawing.rows->size());
  result.step = static_cast<int32_t>(drawing.step);
  result.left = static_cast<int32_t>(drawing.left);
  result.constrain = drawing.constrain ? 1 : 0;
  result.top_k = static_cast<int32_t>(std::clamp<int64_t>(drawing.sampling.top_k, 0, METAVOICE_MOST_DRAWN));
  result.segment = drawing.random.segment;
  result.attempt = drawing.random.attempt;
  result.seed[0] = static_cast<uint32_t>(drawing.random.seed);
  result.seed[1] = static_cast<uint32_t>(drawing.random.seed >> 32);
  result.speaker = drawing.guidance.speaker;
  result.prompt = drawing.guidance.prompt;
  result.temperature = drawing.sampling.temperature;
  result.top_p = drawing.sampling.top_p;
  return result;
}

bool is_plain(const at::Tensor& tensor) { return tensor.is_contiguous() && reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 16 == 0; }

bool is_plain(const layers::Linear& linear, at::ScalarType dtype) {
  if (linear.bias.defined()) return false;
  if (linear.quantization() == core::Quantization::int8) return linear.in() % ops::kInt8Group == 0;
  return linear.quantization() != core::Quantization::none || (linear.weight.scalar_type() == dtype && is_plain(linear.weight));
}

bool is_plain(const layers::Norm& norm) { return norm.kind == layers::NormKind::rms && is_plain(norm.weight); }

bool is_plain(const layers::TransformerBlock& block) {
  const layers::FeedForward& forward = block.feed_forward;
  return is_plain(block.attention_norm) && is_plain(block.feed_forward_norm) && is_plain(block.attention.qkv, block.dtype) &&
         is_plain(block.attention.out, block.dtype) && forward.activation == layers::Activation::swiglu &&
         is_plain(forward.gate, block.dtype) && is_plain(forward.up, block.dtype) && is_plain(forward.down, block.dtype);
}

std::array<const layers::Linear*, 5> linears_of(const layers::TransformerBlock& block) {
  return {&block.attention.qkv, &block.attention.out, &block.feed_forward.gate, &block.feed_forward.up, &block.feed_forward.down};
}

// What all matrices of the blocks are made of; -1 where they differ, as those of int4 do whose rows are no whole groups.
int32_t weights_of(const Transformer& network) {
  const core::Quantization kind = network.blocks[0].attention.qkv.quantization();
  for (const layers::TransformerBlock& block : network.blocks)
    for (const layers::Linear* linear : linears_of(block))
      if (linear->quantization() != kind) return -1;
  return kind == core::Quantization::int8 ? METAVOICE_INT8 : kind == core::Quantization::int4 ? METAVOICE_INT4 : METAVOICE_WHOLE;
}

}  // namespace

std::unique_ptr<DecodeRunner> DecodeRunner::of(const Transformer& network, const ops::DecodeKernels* kernels) {
  if (kernels == nullptr) return nullptr;
  const bool plain = std::all_of(network.blocks.begin(), network.blocks.end(), [](const layers::TransformerBlock& block) { return is_plain(block); }) &&
                     is_plain(network.norm) && is_plain(network.tokens[0]) && is_plain(network.positions) && is_plain(network.heads[0]);
  if (!plain || weights_of(network) < 0) return nullptr;
  MetavoiceDecode shape{};
  shape.dtype = ops::decode_dtype(network.dtype());
  shape.weights = weights_of(network);
  shape.rows = static_cast<int32_t>(kMostRows);
  shape.width = static_cast<int32_t>(network.width());
  shape.heads = static_cast<int32_t>(network.attention_heads);
  shape.hidden = static_cast<int32_t>(network.blocks[0].feed_forward.up.out());
  shape.epsilon = static_cast<float>(network.norm.epsilon);
  shape.flags = METAVOICE_EARLY_LAUNCH;
  shape.most_positions = static_cast<int32_t>(network.window());
  shape.page_stride = static_cast<int32_t>((network.window() + ops::kPagePositions - 1) / ops::kPagePositions);
  if (kernels->supports(index_of(network.device()), &shape) != 1) return nullptr;
  return std::unique_ptr<DecodeRunner>(new DecodeRunner(*kernels, shape, network));
}

DecodeRunner::DecodeRunner(const ops::DecodeKernels& kernels, MetavoiceDecode shape, const Transformer& network) : kernels_(kernels), shape_(shape) {
  for (const layers::TransformerBlock& block : network.blocks) {
    Matrices& matrices = matrices_.emplace_back();
    const auto linears = linears_of(block);
    for (size_t i = 0; i < linears.size(); ++i) {
      const layers::Linear& linear = *linears[i];
      if (shape.weights == METAVOICE_WHOLE) {
        matrices[i] = {linear.weight.data_ptr(), nullptr};
        continue;
      }
      // On a GPU it is held in this order; on the CPU, where only tests run these kernels, it is made.
      kept_.push_back(linear.reordered ? *linear.reordered : ops::reorder_for_decode(ops::unpack(*linear.packed), network.dtype()));
      matrices[i] = {kept_.back().numbers.data_ptr(), kept_.back().scales.data_ptr()};
    }
  }
}

DecodeRunner::~DecodeRunner() = default;

DecodeRunner::Batch::~Batch() {
  if (graph != nullptr) kernels->release(graph);
}

bool DecodeRunner::serves(int64_t rows, const ops::PagedMemory& memory) const {
  const auto fits = [&](const std::vector<at::Tensor>& slabs) {
    const at::ScalarType dtype = slabs[0].scalar_type();
    return slabs.size() == 1 && (dtype == at::kChar || ops::decode_dtype(dtype) == shape_.dtype) && is_plain(slabs[0]);
  };
  return rows >= 1 && rows <= kMostRows && memory.heads == shape_.heads && std::all_of(memory.layers.begin(), memory.layers.end(), fits);
}

at::Tensor DecodeRunner::step(const Transformer& network, const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& conditioning,
                              const ops::PagedMemory& memory, const std::vector<const ops::PagedRow*>& rows) {
  const c10::DeviceGuard here(network.device());
  const int64_t padded = ids.size(0), count = static_cast<int64_t>(rows.size()), stride = shape_.page_stride;
  Batch& work = batch(network, padded, memory, nullptr);
  auto* numbers = work.host.data_ptr<int32_t>();
  const at::Tensor host_ids = ids.cpu(), host_positions = positions.cpu();
  for (int64_t i = 0; i < padded; ++i) {
    numbers[i] = static_cast<int32_t>(host_ids.data_ptr<int64_t>()[i]);
    numbers[padded + i] = i < count ? static_cast<int32_t>(host_positions.data_ptr<int64_t>()[i]) : -1;
    if (i >= count) continue;
    const ops::PagedRow& row = *rows[static_cast<size_t>(i)];
    core::require(static_cast<int64_t>(row.pages.size()) * ops::kPagePositions > row.length, "a page with room for the next position");
    std::copy(row.pages.begin(), row.pages.end(), numbers + 2 * padded + i * stride);
  }
  work.inputs.copy_(work.host, /*non_blocking=*/true);
  work.conditioning.copy_(conditioning, /*non_blocking=*/true);
  kernels_.check(kernels_.launch(index_of(network.device()), work.graph, stream_of(network.device()), 1), "a decode step");
  return work.logits;
}

std::vector<Drawn> DecodeRunner::draw(const Transformer& network, const DrawnIds& known, const std::vector<Drawing>& drawings, int64_t padded,
                                      int64_t steps, const ops::PagedMemory& memory) {
  core::require(steps >= 1 && steps <= kMostSteps, "steps of one launch");
  const c10::DeviceGuard here(network.device());
  Batch& work = batch(network, padded, memory, &known);
  auto* numbers = work.host.data_ptr<int32_t>();
  std::fill_n(numbers, 2 * padded, -1);  // below 0 a position is padding
  std::fill_n(numbers, padded, 0);
  auto* utterances = reinterpret_cast<MetavoiceUtterance*>(numbers + padded * (2 + shape_.page_stride));
  std::fill_n(utterances, padded, MetavoiceUtterance{});
  std::vector<at::Tensor> conditioning;
  int64_t row = 0;
  for (size_t i = 0; i < drawings.size(); ++i) {
    const Drawing& drawing = drawings[i];
    utterances[i] = utterance_of(drawing, row);
    for (const ops::PagedRow& own : *drawing.rows) {
      core::require(row < padded, "rows that fit into the batch");
      const int64_t last = own.length + std::min(steps, drawing.left);
      core::require(static_cast<int64_t>(own.pages.size()) * ops::kPagePositions >= last && last <= network.window(), "pages for all positions of the steps");
      numbers[row] = static_cast<int32_t>(drawing.id);
      numbers[padded + row] = static_cast<int32_t>(own.length);
      std::copy(own.pages.begin(), own.pages.end(), numbers + 2 * padded + row * shape_.page_stride);
      ++row;
    }
    conditioning.push_back(drawing.conditioning.squeeze(1));
  }
  auto* ring = reinterpret_cast<MetavoiceDrawn*>(work.ring.data_ptr<int32_t>());
  std::fill_n(ring, kMostSteps * padded, MetavoiceDrawn{});
  work.inputs.copy_(work.host, /*non_blocking=*/true);
  work.conditioning.narrow(0, 0, row).copy_(at::cat(conditioning), /*non_blocking=*/true);
  kernels_.check(kernels_.launch(index_of(network.device()), work.graph, stream_of(network.device()), static_cast<int32_t>(steps)), "decode steps");
  wait_for(network.device());

  std::vector<Drawn> result(drawings.size());
  for (int64_t step = 0; step < steps; ++step)
    for (size_t i = 0; i < drawings.size(); ++i) {
      const MetavoiceDrawn& drawn = ring[step * padded + static_cast<int64_t>(i)];
      if ((drawn.flags & METAVOICE_DRAWN) != 0) result[i].ids.push_back(drawn.id);
      if ((drawn.flags & METAVOICE_NOT_FINITE) != 0) result[i].finite = false;
    }
  return result;
}

DecodeRunner::Batch& DecodeRunner::batch(const Transformer& network, int64_t rows, const ops::PagedMemory& memory, const DrawnIds* known) {
  std::vector<const void*> pages;
  for (const std::vector<at::Tensor>& slabs : memory.layers) pages.push_back(slabs[0].data_ptr());
  if (pages != pages_) batches_.clear();
  pages_ = std::move(pages);
  std::unique_ptr<Batch>& found = batches_[{rows, known != nullptr}];
  if (!found) {
    auto made = std::make_unique<Batch>();
    capture(network, *made, rows, memory, known);
    found = std::move(made);
  }
  return *found;
}

void DecodeRunner::capture(const Transformer& network, Batch& batch, int64_t rows, const ops::PagedMemory& memory, const DrawnIds* known) const {
  const at::TensorOptions options = at::TensorOptions().device(network.device());
  const at::TensorOptions floats = options.dtype(at::kFloat), own = options.dtype(network.dtype()), ints = options.dtype(at::kInt);
  const int64_t inputs = rows * (2 + shape_.page_stride + kUtteranceNumbers);
  batch.kernels = &kernels_;
  batch.host = at::zeros({inputs}, at::TensorOptions().dtype(at::kInt).pinned_memory(!network.device().is_cpu()));
  batch.inputs = at::zeros({inputs}, ints);
  batch.conditioning = at::zeros({rows, network.width()}, floats);
  batch.logits = at::empty({rows, network.heads[0].size(0)}, floats);
  MetavoiceDecode step = shape_;
  step.rows = static_cast<int32_t>(rows);
  const at::ScalarType pages = memory.layers[0][0].scalar_type();
  step.page_kind = pages == at::kChar ? METAVOICE_PAGES_INT8 : METAVOICE_PAGES_WHOLE;
  step.page_numbers = 2 * memory.heads * ops::PagedMemory::head_numbers(memory.head_width, pages);
  const at::Tensor residual = at::empty({rows, network.width()}, floats), queries = at::empty({rows, network.width()}, own),
                   fresh = at::empty({pages == at::kChar ? rows : 0, 2, network.width()}, own),
                   attended = at::empty({rows, network.width()}, own), activated = at::empty({rows, int64_t{shape_.hidden}}, own),
                   partial = at::empty({kernels_.partial_bytes(&step) / 4}, floats), tickets = at::zeros({rows, int64_t{shape_.heads}}, ints);
  batch.working = {residual, queries, fresh, attended, activated, partial, tickets};
  auto* numbers = batch.inputs.data_ptr<int32_t>();
  step.positions = numbers + rows;
  step.pages = numbers + 2 * rows;
  step.residual = residual.data_ptr<float>();
  step.queries = queries.data_ptr();
  step.fresh = fresh.data_ptr();
  step.attended = attended.data_ptr();
  step.activated = activated.data_ptr();
  step.partial = partial.data_ptr<float>();
  step.tickets = tickets.data_ptr<int32_t>();
  std::vector<MetavoiceDecodeLayer> layers;
  for (size_t i = 0; i < network.blocks.size(); ++i) {
    const layers::TransformerBlock& block = network.blocks[i];
    const auto& [qkv, out, gate, up, down] = matrices_[i];
    layers.push_back({block.attention_norm.weight.data_ptr<float>(), qkv, out, block.feed_forward_norm.weight.data_ptr<float>(), gate, up, down,
                      memory.layers[i][0].data_ptr()});
  }
  const MetavoiceDecodeEnds ends{network.tokens[0].data_ptr(), network.positions.data_ptr(), batch.conditioning.data_ptr<float>(), numbers,
                                 network.norm.weight.data_ptr<float>(), network.heads[0].data_ptr(), ops::decode_dtype(network.heads[0].scalar_type()),
                                 static_cast<int32_t>(network.heads[0].size(0)), batch.logits.data_ptr<float>()};
  MetavoiceDraw draw{};
  if (known != nullptr) {
    batch.ring = at::zeros({kMostSteps, rows, 2}, at::TensorOptions().dtype(at::kInt).pinned_memory(!network.device().is_cpu()));
    draw = {reinterpret_cast<MetavoiceUtterance*>(numbers + rows * (2 + shape_.page_stride)), static_cast<int32_t>(rows),
            static_cast<int32_t>(known->codebook_size), static_cast<int32_t>(known->end_of_audio), static_cast<int32_t>(kMostSteps), numbers, numbers + rows,
            reinterpret_cast<MetavoiceDrawn*>(batch.ring.data_ptr<int32_t>())};
  }
  kernels_.check(kernels_.capture(index_of(network.device()), &step, layers.data(), static_cast<int32_t>(layers.size()), &ends,
                                  known != nullptr ? &draw : nullptr, &batch.graph),
                 "the graph of a decode step");
}

}  // namespace metavoice::models
