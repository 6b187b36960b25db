#include "chorus/model/transformer.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include "chorus/base/error.h"
#include "chorus/nn/attention.h"
#include "chorus/nn/functions.h"
#include "chorus/nn/linear_cross_entropy.h"

namespace chorus {

namespace {

at::Tensor to_int64(const std::vector<int32_t>& ids, at::IntArrayRef shape, at::Device device) {
  at::Tensor tensor = at::empty(shape, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor.to(device);
}

Place place_of(const Transformer::Options& options) {
  return options.parallel ? options.parallel->place() : Place();
}

/// One value a row, repeated over the row's `length` tokens.
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
      if (options_.empty && options_.device.is_cpu()) {
        release(bucket.values);
        release(bucket.gradients);
      }
    }
  } else {
    const bool empty = options_.empty && options_.device.is_cpu();
    for (size_t p = 0; p < parameters_.size(); ++p) {
      const ParameterSpec& spec = catalogue_.parameters[p];
      parameters_[p].value = at::empty(empty ? std::vector<int64_t>{0} : local_part(spec, place).shape,
                                       on_device.dtype(value_type(spec, options_.compute)));
    }
  }
  if (config_.positions == Positions::sinusoidal)
    positions_ =
        sinusoidal_positions(config_.max_positions, config_.d_model).to(options_.device, options_.compute);
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
    side.active = at::empty({rows * length}, at::kBool);
    std::transform(ids.begin(), ids.end(), side.active.mutable_data_ptr<bool>(),
                   [](int32_t id) { return id != kPad; });
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
    throw UserError("a sentence of {} tokens is longer than model.max_positions = {}; lower data.max_length",
                    std::max(m.source_length, m.target_length), config_.max_positions);
  }
  Batch batch;
  batch.source = make_side(m.source, m.rows, m.source_length);
  batch.target = make_side(m.target_input, m.rows, m.target_length);
  batch.target.ids.narrow(1, 0, std::min<int64_t>(1, m.target_length)).fill_(config_.decoder_start);
  batch.labels = to_int64(m.target_labels, {m.rows * m.target_length}, options_.device);
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
    side->active = at::zeros({1}, at::kBool);
  }
  batch.labels = to_int64({kPad}, {1}, options_.device);
  return batch;
}

Pass Transformer::over_ranks(Pass pass) const {
  pass.parallel = options_.parallel;
  pass.watcher = watcher_;
  return pass;
}

// Blocks are numbered through the whole model: that number keys their random draws.
LayerPlace Transformer::encoder_place(size_t layer) const {
  int64_t sparse = 0;
  for (size_t i = 0; i < layer; ++i) {
    sparse += catalogue_.encoder[i].ffn.sparse;
  }
  return {catalogue_.encoder[layer], 1 + layer, sparse};
}

LayerPlace Transformer::decoder_place(size_t layer) const {
  int64_t sparse = 0;
  for (const LayerIndex& encoder_layer : catalogue_.encoder) {
    sparse += encoder_layer.ffn.sparse;
  }
  for (size_t i = 0; i < layer; ++i) {
    sparse += catalogue_.decoder[i].ffn.sparse;
  }
  return {catalogue_.decoder[layer], 1 + catalogue_.encoder.size() + layer, sparse};
}

namespace {

at::Tensor optional_input(std::span<const at::Tensor> inputs, size_t i) {
  return i < inputs.size() ? inputs[i] : at::Tensor();
}

/// Of what the output layer reads.
double output_scale(const ModelConfig& config) {
  return config.scale_output ? 1 / std::sqrt(static_cast<double>(config.d_model)) : 1;
}

LossSums sums_of(const LinearCrossEntropy& head, const Batch& batch) {
  LossSums sums = {
      .loss = head.loss, .nll = head.nll, .tokens = head.tokens, .correct = head.correct, .token_nll = {}};
  if (head.token_nll.defined()) sums.token_nll = head.token_nll.view(batch.target.ids.sizes());
  return sums;
}

/// The pass as a block sees it: statistics are not counted twice.
Pass once(Pass pass, bool again) {
  if (again) pass.statistics = nullptr;
  return pass;
}

}  // namespace

std::vector<Value> Transformer::run_position_bias(Executor& executor, size_t table, int64_t length,
                                                  bool causal, const at::Tensor& mask) {
  if (table == kNoParameter) return {};
  const Weights w = weights();
  return {executor.run(0, [=](auto, bool) { return position_bias(w, table, 0, length, causal, mask); }, {})};
}

Value Transformer::run_encoder(Executor& executor, const Side& source, const Pass& pass) {
  const Weights w = weights();
  Pass embedding_pass = pass;
  embedding_pass.key = pass.key.derive("encoder");
  Value x = executor.run(0,
                         [=, this](auto, bool) {
                           return embed(w, catalogue_.embedding, source.ids, positions_, 0, embedding_pass);
                         },
                         {});
  const std::vector<Value> bias = run_position_bias(executor, catalogue_.encoder_positions,
                                                    source.ids.size(1), false, source.attention_mask);
  for (size_t i = 0; i < catalogue_.encoder.size(); ++i) {
    std::vector<Value> inputs = {x};
    inputs.insert(inputs.end(), bias.begin(), bias.end());
    x = executor.run(
        encoder_place(i).key,
        [=, this](auto in, bool again) {
          return chorus::encoder_layer(w, encoder_place(i), in[0], optional_input(in, 1), source,
                                       once(pass, again));
        },
        std::move(inputs));
  }
  return executor.run(0, [=, this](auto in, bool) { return final_norm(w, catalogue_.encoder_norm, in[0]); },
                      {x});
}

Value Transformer::run_decoder(Executor& executor, const Value& memory, const Batch& batch,
                               const Pass& pass) {
  const Weights w = weights();
  const Side source = batch.source, target = batch.target;
  Pass embedding_pass = pass;
  embedding_pass.key = pass.key.derive("decoder");
  Value x = executor.run(0,
                         [=, this](auto, bool) {
                           return embed(w, catalogue_.embedding, target.ids, positions_, 0, embedding_pass);
                         },
                         {});
  const std::vector<Value> bias =
      run_position_bias(executor, catalogue_.decoder_positions, target.ids.size(1), true, {});
  for (size_t i = 0; i < catalogue_.decoder.size(); ++i) {
    std::vector<Value> inputs = {x, memory};
    inputs.insert(inputs.end(), bias.begin(), bias.end());
    x = executor.run(
        decoder_place(i).key,
        [=, this](auto in, bool again) {
          return chorus::decoder_layer(w, decoder_place(i), in[0], in[1], optional_input(in, 2), target,
                                       source, once(pass, again));
        },
        std::move(inputs));
  }
  return executor.run(0,
                      [=, this](auto in, bool) {
                        return final_norm(w, catalogue_.decoder_norm, in[0], output_scale(config_));
                      },
                      {x});
}

LossSums Transformer::train(const Batch& batch, const Pass& plan, const TrainOptions& options) {
  const Pass pass = over_ranks(plan);
  Executor executor(options.recompute ? Executor::Mode::recompute : Executor::Mode::train, watcher_,
                    options.stash);
  const Value memory = run_encoder(executor, batch.source, pass);
  const Value hidden = run_decoder(executor, memory, batch, pass);
  const at::Tensor rows = hidden.data.reshape({-1, config_.d_model});
  const at::NoGradGuard plain;
  LinearCrossEntropy head = linear_cross_entropy(rows, parameters_[catalogue_.output], batch.labels,
                                                 {.ignore = kPad,
                                                  .label_smoothing = options.label_smoothing,
                                                  .gradient_scale = options.gradient_scale,
                                                  .gradient = true,
                                                  .per_token = options.per_token,
                                                  .cut = vocabulary_cut(weights(), pass)});
  executor.backward(hidden, head.grad_hidden.view(hidden.data.sizes()));
  executor.finish();
  return sums_of(head, batch);
}

LossSums Transformer::evaluate(const Batch& batch, const EvaluateOptions& options) {
  Executor executor(Executor::Mode::evaluate, watcher_);
  const at::NoGradGuard plain;
  const Pass pass = over_ranks({.dropless = options.dropless,
                                .group_count = options.group_count,
                                .statistics = options.statistics,
                                .routings = options.routings});
  const Value hidden = run_decoder(executor, run_encoder(executor, batch.source, pass), batch, pass);
  const LinearCrossEntropy head = linear_cross_entropy(
      hidden.data.reshape({-1, config_.d_model}), parameters_[catalogue_.output], batch.labels,
      {.ignore = kPad, .per_token = options.per_token, .cut = vocabulary_cut(weights(), pass)});
  executor.finish();
  return sums_of(head, batch);
}

at::Tensor Transformer::encode(const Side& source) {
  const at::NoGradGuard plain;
  if (infers_by_rows()) return encode_by_rows(weights(), catalogue_, source, positions_);
  Executor executor(Executor::Mode::evaluate);
  return run_encoder(executor, source, {.dropless = true}).data;
}

DecoderState Transformer::start_decoding(const at::Tensor& memory, const at::Tensor& memory_mask,
                                         int64_t max_tokens, int64_t hypotheses) {
  const at::NoGradGuard plain;
  const int64_t rows = memory.size(0), heads = config_.attention_heads;
  DecoderState state;
  if (infers_by_rows()) {
    state.rows = make_step_cache(weights(), catalogue_, memory, memory_mask, rows * hypotheses * max_tokens);
    return state;
  }
  state.memory_mask = memory_mask;
  for (const LayerIndex& layer : catalogue_.decoder) {
    const auto kv = split_heads(
        linear(memory, parameters_[layer.cross_kv.weight], weights().find(layer.cross_kv.bias)), 2, heads);
    const at::Tensor room = at::empty({2, rows, heads, max_tokens, config_.head_width()}, memory.options());
    state.layers.push_back({.self_key = room[0],
                            .self_value = room[1],
                            .cross_key = kv[0].contiguous(),
                            .cross_value = kv[1].contiguous()});
  }
  return state;
}

at::Tensor Transformer::decode_step(DecoderState& state, const at::Tensor& ids) {
  const at::NoGradGuard plain;
  const Weights w = weights();
  const int64_t room = state.rows ? config_.max_positions : state.layers[0].self_key.size(2);
  if (state.position >= std::min(config_.max_positions, room))
    throw Error("decoding went past the {} tokens there is room for", room);
  if (state.rows)
    return step_by_rows(w, catalogue_, ids, positions_.narrow(0, state.position++, 1), *state.rows);
  at::Tensor x = embed(w, catalogue_.embedding, ids.unsqueeze(1), positions_, state.position, {});
  at::Tensor bias;
  if (catalogue_.decoder_positions != kNoParameter)
    bias = position_bias(w, catalogue_.decoder_positions, state.position, 1, true, {});
  for (size_t i = 0; i < catalogue_.decoder.size(); ++i) {
    x = decoder_layer_step(w, decoder_place(i), x, bias, state.layers[i], state.position, state.memory_mask,
                           {.dropless = true});
  }
  ++state.position;
  x = final_norm(w, catalogue_.decoder_norm, x, output_scale(config_));
  return at::linear(x.squeeze(1), parameters_[catalogue_.output].value).to(at::kFloat);
}

void Transformer::reorder(DecoderState& state, const at::Tensor& rows, const at::Tensor& sentences) {
  const at::NoGradGuard plain;
  if (state.rows) {
    chorus::reorder(*state.rows, rows, sentences);
    return;
  }
  // Only the tokens so far are copied, into memory that was written before.
  const auto pick_rows = [&](at::Tensor& cache) {
    std::vector<int64_t> sizes = cache.sizes().vec();
    sizes[0] = rows.size(0);
    if (!state.spare.defined() || state.spare.size(0) < sizes[0])
      state.spare = at::empty(sizes, cache.options());
    const at::Tensor old = std::exchange(cache, state.spare.narrow(0, 0, sizes[0]));
    state.spare = old;
    at::Tensor kept = cache.narrow(2, 0, state.position);
    at::index_select_out(kept, old.narrow(2, 0, state.position), 0, rows);
  };
  const auto pick_sentences = [&](at::Tensor& tensor) {
    if (sentences.defined() && tensor.defined()) tensor = tensor.index_select(0, sentences);
  };
  for (LayerCache& cache : state.layers) {
    pick_rows(cache.self_key);
    pick_rows(cache.self_value);
    pick_sentences(cache.cross_key);
    pick_sentences(cache.cross_value);
  }
  pick_sentences(state.memory_mask);
}

}  // namespace chorus
