#include "model/transformer.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/device.h"
#include "nn/linear_cross_entropy.h"

#include "model/internal/stacks.h"

namespace chorus::inline model {

namespace {

at::Tensor to_int64(const std::vector<int32_t>& ids, at::IntArrayRef shape, at::Device device) {
  at::Tensor tensor = at::empty(shape, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor.to(device);
}

Place place_of(const Transformer::Options& options) {
  return options.parallel ? options.parallel->place() : Place();
}

/// One value per row, repeated over the row's `length` tokens.
at::Tensor token_groups(const std::vector<int32_t>& of_row, int64_t length) {
  at::Tensor groups = at::empty({static_cast<int64_t>(of_row.size()) * length}, at::kInt);
  auto* out = groups.mutable_data_ptr<int32_t>();
  for (const int32_t group : of_row) {
    out = std::fill_n(out, length, group);
  }
  return groups;
}

}  // namespace

void LossSums::add(const LossSums& other) {
  loss += other.loss;
  nll += other.nll;
  tokens += other.tokens;
  correct += other.correct;
}

Transformer::Transformer(const ModelConfig& config, Options options)
    : config_(config), options_(options), catalogue_(make_catalogue(config_)) {
  parameters_.resize(catalogue_.parameters.size());
  const at::TensorOptions on_device = at::TensorOptions().device(options_.device);
  const Place place = place_of(options_);
  if (options_.gradients) {
    buckets_ = plan_buckets(catalogue_, place, options_.compute);
    for (Bucket& bucket : buckets_) {
      const at::ScalarType gradient_type = bucket.type == at::kDouble ? at::kDouble : at::kFloat;
      bucket.values = at::empty({bucket.elements}, on_device.dtype(bucket.type));
      bucket.gradients = at::empty({bucket.elements}, on_device.dtype(gradient_type));
      for (size_t i = 0; i < bucket.parameters.size(); ++i) {
        const std::vector<int64_t> shape =
            local_part(catalogue_.parameters[bucket.parameters[i]], place).shape;
        const auto view = [&](const at::Tensor& flat) {
          return flat.narrow(0, bucket.offsets[i], c10::multiply_integers(shape)).view(shape);
        };
        Parameter& parameter = parameters_[bucket.parameters[i]];
        parameter.value = view(bucket.values).detach().requires_grad_(true);
        parameter.gradient = view(bucket.gradients);
      }
      if (options_.empty) {
        release(bucket.values);
        release(bucket.gradients);
      }
    }
  } else {
    const bool empty = options_.empty && is_host(options_.device);
    for (size_t p = 0; p < parameters_.size(); ++p) {
      const ParameterSpec& spec = catalogue_.parameters[p];
      parameters_[p].value = at::empty(empty ? std::vector<int64_t>{0} : local_part(spec, place).shape,
                                       on_device.dtype(value_type(spec, options_.compute)));
    }
  }
  if (config_.positions != Positions::relative)
    positions_ = sinusoidal_positions(config_.max_positions, config_.d_model, config_.positions)
                     .to(options_.device, options_.compute);
}

void Transformer::set(size_t index, const at::Tensor& value) {
  const at::NoGradGuard plain;
  const LocalPart part = local_part(catalogue_.parameters[index], place_of(options_));
  const at::Tensor own = parameters_[index].value.detach().view(-1), whole = value.reshape(-1);
  part.for_runs(0, own.numel(), [&](int64_t from, int64_t to, int64_t count) {
    own.narrow(0, to, count).copy_(whole.narrow(0, from, count));
  });
}

Side Transformer::make_side(const std::vector<int32_t>& ids, int64_t rows, int64_t length) const {
  Side side;
  side.ids = to_int64(ids, {rows, length}, options_.device);
  if (std::find(ids.begin(), ids.end(), kPad) != ids.end()) {
    const at::Tensor active = at::empty({rows * length}, at::kBool);
    std::transform(ids.begin(), ids.end(), active.mutable_data_ptr<bool>(),
                   [](int32_t id) { return id != kPad; });
    side.active = ActiveRows(active, options_.device);
    const at::Tensor mask =
        at::zeros({rows, 1, 1, length}, at::TensorOptions(options_.compute).device(options_.device));
    side.attention_mask = mask.masked_fill_(side.ids.eq(kPad).view({rows, 1, 1, length}),
                                            -std::numeric_limits<double>::infinity());
  }
  return side;
}

Batch Transformer::to_batch(const MicroBatch& m,
                            std::span<const std::pair<int32_t, int32_t>> languages) const {
  if (std::max(m.source_length, m.target_length) > config_.max_positions) {
    throw UserError(
        "a sentence of {} tokens is longer than the {} positions of the model; in training, lower "
        "data.max_length",
        std::max(m.source_length, m.target_length), config_.max_positions);
  }
  Batch batch;
  batch.source = make_side(m.source, m.rows, m.source_length);
  batch.target = make_side(m.target_input, m.rows, m.target_length);
  batch.target.ids.narrow(1, 0, std::min<int64_t>(1, m.target_length)).fill_(config_.decoder_start);
  batch.labels = to_int64(m.target_labels, {m.rows * m.target_length}, at::kCPU);
  batch.target_tokens = m.target_tokens;
  if (!languages.empty()) {
    std::vector<int32_t> source, target;
    for (const int32_t direction : m.direction) {
      source.push_back(languages[direction].first);
      target.push_back(languages[direction].second);
    }
    batch.source.groups = token_groups(source, m.source_length);
    batch.target.groups = token_groups(target, m.target_length);
  }
  return batch;
}

Batch Transformer::idle_batch() const {
  Batch batch;
  for (Side* side : {&batch.source, &batch.target}) {
    side->ids = to_int64({kEos}, {1, 1}, options_.device);
    side->active = ActiveRows(at::zeros({1}, at::kBool), options_.device);
  }
  batch.labels = to_int64({kPad}, {1}, at::kCPU);
  return batch;
}

Stacks Transformer::stacks() {
  return {weights(), catalogue_, positions_};
}

Pass Transformer::over_ranks(Pass pass) const {
  pass.parallel = options_.parallel;
  pass.watcher = watcher_;
  return pass;
}

namespace {

/// What the pass has counted and summed up, for which the host waits now that the device has all its work.
LossSums sums_of(const LinearCrossEntropy& head, const Batch& batch, bool per_token,
                 std::vector<MoeStatistics>* statistics) {
  if (statistics) count_calls(*statistics);
  const at::Tensor& ids = batch.target.ids;
  const LinearCrossEntropy::Sums sums = head.sums(per_token ? std::optional(ids.numel()) : std::nullopt);
  return {.loss = sums.loss,
          .nll = sums.nll,
          .tokens = head.tokens,
          .correct = sums.correct,
          .token_nll = per_token ? sums.token_nll.view(ids.sizes()) : at::Tensor()};
}

}  // namespace

LossSums Transformer::train(const Batch& batch, const Pass& plan, const TrainOptions& options) {
  const Pass pass = over_ranks(plan);
  Executor executor(options.recompute ? Executor::Mode::recompute : Executor::Mode::train, watcher_,
                    options.stash);
  const Value memory = run_encoder(executor, stacks(), batch.source, pass);
  const Value hidden = run_decoder(executor, stacks(), memory, batch.source, batch.target, pass);
  const at::Tensor rows = hidden.data.reshape({-1, config_.d_model});
  const at::NoGradGuard plain;
  LinearCrossEntropy head = linear_cross_entropy(rows, parameters_[catalogue_.output], batch.labels,
                                                 {.ignore = kPad,
                                                  .label_smoothing = options.label_smoothing,
                                                  .gradient_scale = options.gradient_scale,
                                                  .gradient = true,
                                                  .bias = weights().find(catalogue_.output_bias),
                                                  .cut = vocabulary_cut(weights(), pass)});
  executor.backward(hidden, head.grad_hidden.view(hidden.data.sizes()));
  executor.finish();
  return sums_of(head, batch, options.per_token, pass.statistics);
}

at::Tensor Transformer::encode(const Side& source, std::vector<RoutingRecord>* routings) {
  Executor executor(Executor::Mode::evaluate, watcher_);
  const at::NoGradGuard plain;
  const Value memory =
      run_encoder(executor, stacks(), source, over_ranks({.dropless = true, .routings = routings}));
  executor.finish();
  return memory.data;
}

LossSums Transformer::evaluate(const Batch& batch, const EvaluateOptions& options) {
  Executor executor(Executor::Mode::evaluate, watcher_);
  const at::NoGradGuard plain;
  const Pass pass = over_ranks({.dropless = options.dropless,
                                .group_count = options.group_count,
                                .statistics = options.statistics,
                                .routings = options.routings,
                                .cross_attention = options.cross_attention});
  const Value memory = run_encoder(executor, stacks(), batch.source, pass);
  const Value hidden = run_decoder(executor, stacks(), memory, batch.source, batch.target, pass);
  const LinearCrossEntropy head = linear_cross_entropy(hidden.data.reshape({-1, config_.d_model}),
                                                       parameters_[catalogue_.output], batch.labels,
                                                       {.ignore = kPad,
                                                        .bias = weights().find(catalogue_.output_bias),
                                                        .cut = vocabulary_cut(weights(), pass)});
  executor.finish();
  return sums_of(head, batch, options.per_token, pass.statistics);
}

}  // namespace chorus::inline model
