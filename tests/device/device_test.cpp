// A device against the host: each operation on the same numbers, then whole models over updates and in search.
// CHORUS_TEST_DEVICE=cuda takes that device; without it the simulated one (device/simulated.h) is taken.
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "decode/beam.h"
#include "decode/fixtures.h"
#include "device/tested_device.h"
#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/decoding.h"
#include "kernels/dropout.h"
#include "kernels/experts.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/routing.h"
#include "kernels/rows.h"
#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "moe/layer.h"
#include "state/optimizer.h"

namespace chorus {
namespace {

using testing::device;

/// The largest difference over the largest number.
double distance(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  EXPECT_EQ(actual.scalar_type(), expected.scalar_type());
  if (expected.numel() == 0) return 0;
  const at::Tensor a = actual.cpu().to(at::kDouble), b = expected.to(at::kDouble);
  return ((a - b).abs().max() / (b.abs().max() + 1e-30)).item<double>();
}

double tolerance(at::ScalarType type) {
  return type == at::kBFloat16 ? 1e-2 : 1e-5;
}

/// By kernels of ours, or by libtorch's operators alone.
enum class By { kernels, operators };

void choose(By by) {
  if (by == By::operators && device() != testing::kSimulated) GTEST_SKIP() << "CUDA runs our kernels";
  testing::run_own_kernels(by == By::kernels);
}

class Operations : public ::testing::TestWithParam<std::pair<at::ScalarType, By>> {
 protected:
  void SetUp() override { choose(GetParam().second); }
  void TearDown() override { choose(By::kernels); }
  at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes).to(GetParam().first); }
  static void expect_same(const at::Tensor& actual, const at::Tensor& expected) {
    EXPECT_EQ(actual.device(), device());
    EXPECT_LE(distance(actual, expected), tolerance(GetParam().first));
  }
};

TEST_P(Operations, Products) {
  for (const int64_t n : {0, 1, 37}) {
    const at::Tensor x = random({n, 24}), w = random({40, 24}), g = random({n, 40}), bias = random({40});
    for (const bool relu : {false, true}) {
      expect_same(linear_product(there(x), there(w), {.bias = there(bias), .relu = relu}),
                  linear_product(x, w, {.bias = bias, .relu = relu}));
    }
    const at::Tensor by_input = at::empty({n, 24}, x.options()), by_input_there = there(by_input);
    plain_product(by_input, g, w);
    plain_product(by_input_there, there(g), there(w));
    expect_same(by_input_there, by_input);
    const at::Tensor by_weight = at::ones({40, 24}), by_weight_there = there(by_weight);
    for (const bool overwrite : {false, true}) {
      add_product(by_weight, g, x, overwrite);
      add_product(by_weight_there, there(g), there(x), overwrite);
      expect_same(by_weight_there, by_weight);
    }
  }
}

TEST_P(Operations, DropoutAndJitterDrawTheSameNumbers) {
  for (const at::Tensor& x :
       {random({0, 3}), random({1}), random({63}), random({5, 7, 19}), random({300, 64})}) {
    EXPECT_TRUE(
        at::equal(dropout_by_key(there(x), 0.3, RandomKey(5)).cpu(), dropout_by_key(x, 0.3, RandomKey(5))));
    EXPECT_TRUE(
        at::equal(jitter_by_key(there(x), 0.1, RandomKey(6)).cpu(), jitter_by_key(x, 0.1, RandomKey(6))));
  }
  const at::Tensor rows = random({3, 70});
  EXPECT_EQ(
      dropout_rows_by_key(there(rows.narrow(0, 0, 0)), 0.3, there(at::empty({0}, at::kLong)), 9).numel(), 0);
  const at::Tensor keys = at::tensor({int64_t{1}, int64_t{99}, int64_t{-1}});
  EXPECT_TRUE(at::equal(dropout_rows_by_key(there(rows), 0.3, there(keys), 9).cpu(),
                        dropout_rows_by_key(rows, 0.3, keys, 9)));
  const at::Tensor x = random({3, 4, 5, 6});
  const SliceOf slice = {.dimension = 1, .first = 4, .total = 12};
  EXPECT_TRUE(at::equal(dropout_by_key(there(x), 0.3, RandomKey(5), slice).cpu(),
                        dropout_by_key(x, 0.3, RandomKey(5), slice)));
}

TEST_P(Operations, Norms) {
  const at::Tensor x = random({37, 24}), g = random({37, 24});
  for (const at::Tensor& bias : {random({24}), at::Tensor()}) {
    const NormScaling here = {.weight = random({24}), .bias = bias, .epsilon = 1e-5};
    const NormScaling moved = {.weight = there(here.weight), .bias = there(bias), .epsilon = 1e-5};
    const NormedRows normed = norm_rows(x, here), normed_there = norm_rows(there(x), moved);
    expect_same(normed_there.output, normed.output);
    const NormGradients by = norm_rows_backward(g, x, normed, here);
    const NormGradients by_there = norm_rows_backward(there(g), there(x), normed_there, moved);
    expect_same(by_there.rows, by.rows);
    EXPECT_LE(distance(by_there.weight, by.weight), 1e-5);
    if (bias.defined()) {
      EXPECT_LE(distance(by_there.bias, by.bias), 1e-5);
    }
    EXPECT_LE(distance(normed_there.scale, normed.scale), 1e-5);
  }
}

TEST_P(Operations, RowsToExpertsAndBack) {
  const int64_t tokens = 50, k = 2, experts = 7;
  const at::Tensor kept = at::randint(-1, experts, {tokens, k}, at::kLong);
  const ExpertOrder here = sort_by_expert(kept, experts, 0),
                    moved = sort_by_expert(there(kept), experts, tokens * k);
  EXPECT_TRUE(at::equal(moved.ends.cpu(), here.ends));
  EXPECT_TRUE(at::equal(moved.slot.cpu(), here.slot));
  EXPECT_TRUE(at::equal(moved.token.cpu().narrow(0, 0, here.token.numel()), here.token));
  const at::Tensor x = random({tokens, 24}), weight = at::rand({tokens, k});
  const at::Tensor rows = gather_rows(x, here.token), rows_there = gather_rows(there(x), moved.token);
  const auto expect_same_kept = [&](const at::Tensor& padded, const at::Tensor& expected) {
    expect_same(padded.narrow(0, 0, expected.size(0)), expected);  // behind them are nobody's rows
  };
  expect_same_kept(rows_there, rows);
  expect_same(combine_rows(rows_there, moved.slot, there(weight)), combine_rows(rows, here.slot, weight));
  expect_same(sum_rows(rows_there, moved.slot), sum_rows(rows, here.slot));
}

/// Sizes that grouped products take, and some that they do not.
TEST_P(Operations, ExpertsBothWays) {
  const int64_t tokens = 50, k = 2, count = 7;
  const at::Tensor kept = at::randint(-1, count - 1, {tokens, k}, at::kLong);  // the last one gets nothing
  const ExpertOrder here = sort_by_expert(kept, count, 0),
                    moved = sort_by_expert(there(kept), count, tokens * k);
  const int64_t rows = here.token.numel();
  const at::Tensor keys = at::randint(1 << 30, {tokens}, at::kLong), weight = at::rand({tokens, k});
  for (const auto& [width, inner] : {std::pair<int64_t, int64_t>{24, 16}, {6, 5}}) {
    for (const Activation activation :
         {Activation::relu, Activation::gelu, Activation::silu, Activation::swiglu, Activation::geglu}) {
      for (const bool plain : {true, false}) {  // without biases and dropout
        const auto make = [&](at::IntArrayRef sizes) { return random(sizes) * 0.3; };
        const int64_t outer = activation_inputs(activation, inner);
        const std::vector<at::Tensor> values = {make({count, outer, width}), make({count, outer}),
                                                make({count, width, inner}), make({count, width})};
        const at::Tensor x = random({tokens, width}), grad = random({tokens, width});
        // Twice, so that gradients are overwritten and then added to: outputs, gradients w.r.t. inputs and weights, and
        // those of the four parameters.
        const auto both_ways = [&](const ExpertOrder& order, const auto& on) {
          std::vector<Parameter> p;
          for (const at::Tensor& value : values)
            p.push_back({on(value), on(at::full(value.sizes(), 1e9, at::kFloat))});
          const MoeWeights w = {nullptr, p.data(), plain ? nullptr : &p[1], &p[2], plain ? nullptr : &p[3]};
          const Experts experts = {.weights = w,
                                   .order = order,
                                   .activation = activation,
                                   .dropout = plain ? 0 : 0.3,
                                   .row_keys = on(keys),
                                   .first_expert = 3};
          std::vector<at::Tensor> results;
          for (int repeat = 0; repeat < 2; ++repeat) {
            const at::Tensor input = gather_rows(on(x), order.token);
            const ExpertRun run = run_experts(experts, input);
            const ExpertGradients by =
                run_experts_backward(experts, input, run.kept, gather_rows(on(grad), order.token),
                                     on(weight).view(-1).index_select(0, order.choice));
            results = {run.output.narrow(0, 0, rows), by.input.narrow(0, 0, rows),
                       by.weight.narrow(0, 0, rows)};
          }
          for (size_t i = 0; i < p.size(); ++i) {
            if (!plain || i % 2 == 0) results.push_back(p[i].gradient);
          }
          return results;
        };
        const auto expected = both_ways(here, [](const at::Tensor& t) { return t.clone(); });
        const auto actual = both_ways(moved, [](const at::Tensor& t) { return there(t); });
        for (size_t i = 0; i < expected.size(); ++i)
          EXPECT_LE(distance(actual[i], expected[i]), 3 * tolerance(GetParam().first))
              << i << " " << width << " " << int(activation) << plain;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Operations,
                         ::testing::Values(std::pair(at::kFloat, By::kernels),
                                           std::pair(at::kBFloat16, By::kernels),
                                           std::pair(at::kFloat, By::operators),
                                           std::pair(at::kBFloat16, By::operators)),
                         [](const auto& p) {
                           return std::string(at::toString(p.param.first)) +
                                  (p.param.second == By::kernels ? "Kernels" : "Operators");
                         });

/// Whole steps, and what has one type.
class Device : public ::testing::TestWithParam<By> {
 protected:
  void SetUp() override { choose(GetParam()); }
  void TearDown() override { choose(By::kernels); }
};

INSTANTIATE_TEST_SUITE_P(By, Device, ::testing::Values(By::kernels, By::operators),
                         [](const auto& p) { return p.param == By::kernels ? "Kernels" : "Operators"; });

TEST_P(Device, RoutesAsTheHost) {
  for (const int64_t rows : {0, 1, 60}) {
    const at::Tensor probabilities =
        at::softmax(at::randn({rows, 8}).mul_(2).round_(), -1);  // with equal ones
    for (const bool padded : {false, true}) {
      const at::Tensor flags = at::rand({rows}) > 0.1;
      for (const RoutingOptions& options :
           {RoutingOptions{.top_k = 2}, RoutingOptions{.top_k = 2, .capacity_factor = 0.5},
            RoutingOptions{.top_k = 3, .capacity_factor = 0.5, .selection = TokenSelection::probability},
            RoutingOptions{.top_k = 2, .capacity_factor = 0.5, .selection = TokenSelection::random},
            RoutingOptions{.top_k = 1, .capacity_factor = 0.5, .selection = TokenSelection::random},
            RoutingOptions{
                .top_k = 2, .sentence_capacity = 1, .sentence_length = std::max<int64_t>(1, rows / 4)}}) {
        const Routing here =
            route(probabilities, padded ? ActiveRows(flags) : ActiveRows(), options, RandomKey(3));
        const Routing moved = route(there(probabilities), padded ? ActiveRows(flags, device()) : ActiveRows(),
                                    options, RandomKey(3));
        EXPECT_TRUE(at::equal(moved.experts.cpu(), here.experts));
        EXPECT_TRUE(at::equal(moved.kept.cpu(), here.kept));
        EXPECT_TRUE(at::equal(moved.assigned.cpu(), here.assigned));
        EXPECT_EQ(moved.capacity, here.capacity);
        EXPECT_EQ(moved.tokens, here.tokens);
      }
    }
  }
}

TEST_P(Device, CrossEntropyAndItsGradient) {
  const at::Tensor logits = at::randn({40, 97}) * 3, labels = at::randint(0, 97, {40}, at::kLong);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor gradient = at::empty({40, 97}, type), gradient_there = there(gradient);
    const CrossEntropyOptions options = {.label_smoothing = 0.1, .gradient_scale = 0.5};
    const at::Tensor here = cross_entropy_rows(logits, labels, options, gradient);
    const at::Tensor moved = cross_entropy_rows(there(logits), there(labels), options, gradient_there);
    EXPECT_LE(distance(moved, here), 1e-5);
    EXPECT_TRUE(at::equal(moved.select(1, kCorrect).cpu(), here.select(1, kCorrect)));
    EXPECT_LE(distance(gradient_there, gradient), tolerance(type));
  }
}

TEST_P(Device, ChoosesTheSameTokens) {
  const at::Tensor logits = at::randn({6, 211}).mul_(4).round_();  // with many equal ones
  const auto here = best_tokens(logits.clone(), {0, 3}, {{1, 2}, {5, 9}}, 4, {});
  const auto moved = best_tokens(there(logits), {0, 3}, {{1, 2}, {5, 9}}, 4, {});
  EXPECT_TRUE(at::equal(moved.tokens, here.tokens));
  EXPECT_LE(distance(moved.log_probabilities, here.log_probabilities), 1e-5);
}

TEST_P(Device, AdamWAndTheNorm) {
  for (const bool bf16 : {false, true}) {
    const at::Tensor value = at::randn({1001});
    const auto make = [&](bool moved) {
      const auto own = [&](const at::Tensor& x) { return moved ? there(x) : x.clone(); };
      return AdamWTensor{own(bf16 ? value.to(at::kBFloat16) : value), bf16 ? own(value) : at::Tensor(),
                         own(value * 0.3), own(value * 0.1), own(value.square())};
    };
    AdamWTensor here = make(false), moved = make(true);
    EXPECT_NEAR(squared_norm(moved.gradient), squared_norm(here.gradient),
                1e-9 * squared_norm(here.gradient));
    for (int64_t step = 1; step < 5; ++step) {
      const AdamWStep options = {
          .learning_rate = 1e-2, .weight_decay = 0.1, .step = step, .gradient_scale = 0.7};
      adamw_step(here, options);
      adamw_step(moved, options);
    }
    EXPECT_LE(distance(moved.value, here.value), bf16 ? 1e-2 : 1e-6);
    EXPECT_LE(distance(moved.v, here.v), 1e-6);
  }
}

// ---- whole models ---------------------------------------------------------------------------------------------------

struct Learner {
  Learner(const ModelConfig& config, at::Device where)
      : model(config, {.device = where, .gradients = true, .parallel = &parallel}),
        optimizer(model, {.weight_decay = 0.01, .clip_norm = 1}, parallel) {
    optimizer.initialise(RandomKey(3));
  }
  /// The mean loss of an update's two micro-batches.
  double update(int64_t number, bool recompute) {
    optimizer.begin_update();
    const RandomKey key = RandomKey(7).derive(static_cast<uint64_t>(number));
    const bool pass_over = key.derive("gating dropout").uniform(0) < model.config().moe.gating_dropout;
    passed_over += pass_over;
    LossSums sums;
    for (const int64_t rows : {5, 3}) {
      std::vector<MoeStatistics> statistics(model.catalogue().sparse_layers());
      const Pass pass = {.training = true,
                         .key = key.derive(static_cast<uint64_t>(rows)),
                         .pass_over_experts = pass_over,
                         .auxiliary_scale = 0.5,
                         .statistics = &statistics};
      if (rows == 3) optimizer.last_micro_batch();
      const auto batch = model.to_batch(tiny_batch(rows, 9, 8, model.config().vocabulary));
      sums.add(
          model.train(batch, pass, {.label_smoothing = 0.1, .gradient_scale = 0.02, .recompute = recompute}));
    }
    optimizer.update(3e-3, optimizer.gradient_norm());
    return sums.loss / static_cast<double>(sums.tokens);
  }
  Parallel parallel;
  Transformer model;
  Optimizer optimizer;
  int64_t passed_over = 0;  // updates without experts
};

/// With everything that draws numbers, and capacities that bind.
std::vector<ModelConfig> models() {
  ModelConfig nllb = tiny_config(), switching = switch_config(), dense = tiny_config();
  nllb.moe.jitter = 0.1;
  nllb.moe.capacity_factor = 1;
  nllb.moe.selection = TokenSelection::random;
  nllb.moe.balance_loss = 0.1;
  nllb.moe.z_loss = 0.01;
  nllb.moe.gating_dropout = 0.3;
  nllb.layer_dropout = dense.layer_dropout = 0.2;
  nllb.activation = Activation::swiglu;
  dense.moe.experts = 0;
  dense.activation = Activation::gelu;
  return {nllb, switching, dense, marian_config()};
}

void expect_same_translations(Transformer& moved, Transformer& here) {
  const auto inputs = random_inputs(6, 7, here.config().vocabulary);
  for (const DecodeOptions& options :
       {DecodeOptions{.beam = 1, .repetition_penalty = 1.2},
        DecodeOptions{.beam = 4, .nbest = 2, .no_repeat_ngram = 2, .never = {kPad, 9}}}) {
    const auto expected = beam_search(*make_step_decoder(here), inputs, options);
    const auto actual = beam_search(*make_step_decoder(moved), inputs, options);
    for (size_t i = 0; i < inputs.size(); ++i) {
      ASSERT_EQ(actual[i].size(), expected[i].size());
      for (size_t n = 0; n < expected[i].size(); ++n) {
        EXPECT_EQ(actual[i][n].tokens, expected[i][n].tokens);
        EXPECT_NEAR(actual[i][n].score, expected[i][n].score, 1e-3);
      }
    }
  }
}

TEST_P(Device, LearnsWhatTheHostLearnsAndTranslatesAlike) {
  for (const ModelConfig& config : models()) {
    for (const bool recompute : {false, true}) {
      Learner here(config, at::kCPU), moved(config, device());
      const int64_t updates = recompute || GetParam() == By::operators ? 2 : 12;
      for (int64_t i = 1; i <= updates; ++i) {
        const double expected = here.update(i, recompute), actual = moved.update(i, recompute);
        ASSERT_NEAR(actual, expected, 1e-3 * expected) << "update " << i;
      }
      if (config.moe.gating_dropout > 0) {
        EXPECT_GT(moved.passed_over, 0);
        EXPECT_LT(moved.passed_over, updates);
      }
      const auto batch = tiny_batch(4, 7, 8, config.vocabulary);
      EXPECT_NEAR(moved.model.evaluate(moved.model.to_batch(batch), {}).loss,
                  here.model.evaluate(here.model.to_batch(batch), {}).loss, 1e-1);
      if (!recompute) expect_same_translations(moved.model, here.model);
    }
  }
}

}  // namespace
}  // namespace chorus
