#include "moe/layer.h"

#include <numeric>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "gradient_check.h"
#include "kernels/dropout.h"
#include "kernels/rows.h"
#include "suite_device.h"

namespace chorus {
namespace {

struct MoeCase {
  int64_t rows, experts, top_k;
  double capacity_factor;
  TokenSelection selection;
  GateNormalization normalization;
  Activation activation;
  double output_dropout = 0, activation_dropout = 0;
  bool padding = false;
};

constexpr int64_t kWidth = 6, kInner = 5;

struct Moe {
  Parameter router, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
  std::vector<Parameter*> all = {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias};
  MoeConfig config;
  MoeCall call;
  at::Tensor hidden, weight_of_output;

  [[nodiscard]] MoeWeights weights() { return {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias}; }

  explicit Moe(const MoeCase& c) {
    at::manual_seed(7);
    const int64_t inputs = activation_inputs(c.activation, kInner);
    const at::TensorOptions options = there(at::kDouble);
    router.value = at::randn({c.experts, kWidth}, options);
    fc1_weight.value = at::randn({c.experts, inputs, kWidth}, options);
    fc1_bias.value = at::randn({c.experts, inputs}, options);
    fc2_weight.value = at::randn({c.experts, kWidth, kInner}, options);
    fc2_bias.value = at::randn({c.experts, kWidth}, options);
    for (Parameter* p : all) {
      p->gradient = at::full_like(p->value, 1e9);  // stale: the first contribution must overwrite it
      p->value.requires_grad_(true);
    }
    config = {.experts = c.experts,
              .top_k = c.top_k,
              .capacity_factor = c.capacity_factor,
              .selection = c.selection,
              .gate_normalization = c.normalization,
              .jitter = 0.1,
              .balance_loss = 0.3,
              .z_loss = 0.2,
              .expert_output_dropout = c.output_dropout};
    call = {.training = true,
            .key = RandomKey(11),
            .activation = c.activation,
            .activation_dropout = c.activation_dropout,
            .auxiliary_scale = 0.5};
    if (c.padding) {
      call.active = ActiveRows(at::arange(c.rows).remainder(3).ne(0), suite_device());
    }
    hidden = at::randn({c.rows, kWidth}, options).requires_grad_(true);
    weight_of_output = at::randn({c.rows, kWidth}, options);
  }
};

at::Tensor plain_activation(Activation kind, const at::Tensor& x) {
  if (kind == Activation::relu) return at::relu(x);
  if (kind == Activation::gelu) return at::gelu(x);
  const auto halves = x.chunk(2, -1);
  return at::silu(halves[0]) * halves[1];
}

/// The same layer out of plain differentiable operators, expert by expert over all rows, plus its auxiliary
/// losses.
std::pair<at::Tensor, at::Tensor> plain_layer(const Moe& f) {
  const int64_t rows = f.hidden.size(0), experts = f.config.experts, k = f.config.top_k;
  const at::Tensor jitter =
      jitter_by_key(at::ones_like(f.hidden), f.config.jitter, f.call.key.derive("jitter"));
  const at::Tensor logits = at::mm(f.hidden * jitter, f.router.value.t());
  const at::Tensor p = at::softmax(logits, -1);
  const RoutingOptions options = {k, f.config.capacity_factor, f.config.selection};
  const Routing r = route(p.detach().to(at::kFloat), f.call.active, options, f.call.key.derive("selection"));

  std::vector<at::Tensor> outputs;  // of each expert for every row
  for (int64_t e = 0; e < experts; ++e) {
    at::Tensor inner =
        plain_activation(f.call.activation, at::linear(f.hidden, f.fc1_weight.value[e], f.fc1_bias.value[e]));
    for (int64_t t = 0; t < rows && f.call.activation_dropout > 0; ++t) {
      const RandomKey key =
          f.call.key.derive("activation").derive(static_cast<uint64_t>(t)).derive(static_cast<uint64_t>(e));
      const at::Tensor mask = dropout_by_key(at::ones_like(inner[t]), f.call.activation_dropout, key);
      inner = inner * at::ones_like(inner).index_put({at::tensor(t)}, mask);
    }
    outputs.push_back(at::linear(inner, f.fc2_weight.value[e], f.fc2_bias.value[e]));
  }
  std::vector<at::Tensor> sums;
  for (int64_t t = 0; t < rows; ++t) {
    at::Tensor sum = at::zeros({kWidth}, there(at::kDouble)), total = at::zeros({}, there(at::kDouble));
    for (int64_t j = 0; j < k; ++j) {
      const auto chosen = r.experts[t][j].item<int64_t>(), kept = r.kept[t][j].item<int64_t>();
      if (chosen < 0) continue;
      const bool counts = f.config.gate_normalization == GateNormalization::before_drop || kept >= 0;
      if (counts) total = total + p[t][chosen];
      const bool masked = f.call.key.derive("expert output").uniform(static_cast<uint64_t>(t * k + j)) <
                          f.config.expert_output_dropout;
      if (kept >= 0 && !masked) sum = sum + p[t][chosen] * outputs[chosen][t];
    }
    if (f.config.gate_normalization != GateNormalization::none && total.item<double>() > 0) sum = sum / total;
    sums.push_back(sum);
  }
  const at::Tensor active = f.call.active.flags.defined() ? f.call.active.flags.to(at::kDouble)
                                                          : at::ones({rows}, there(at::kDouble));
  const at::Tensor share = r.assigned.to(at::kDouble) / (active.sum() * k);
  const at::Tensor balance = experts * (share * (p * active.unsqueeze(1)).sum(0) / active.sum()).sum();
  const at::Tensor z = (at::logsumexp(logits, {1}).square() * active).sum() / active.sum();
  return {at::stack(sums), f.call.auxiliary_scale * (f.config.balance_loss * balance + f.config.z_loss * z)};
}

class MoeLayer : public testing::TestWithParam<MoeCase> {};

TEST_P(MoeLayer, EqualsPlainCompositionForwardAndBackward) {
  Moe f(GetParam());
  const auto [expected, auxiliary] = plain_layer(f);
  torch::autograd::backward({(expected * f.weight_of_output).sum() + auxiliary}, {});
  std::vector<at::Tensor> expected_gradients = {f.hidden.grad().clone()};
  for (Parameter* p : f.all) {
    expected_gradients.push_back(p->value.grad().clone());
    p->value.mutable_grad().reset();
  }
  f.hidden.mutable_grad().reset();

  const at::Tensor output = moe_layer(f.hidden, f.weights(), f.config, f.call);
  EXPECT_TRUE(at::allclose(output, expected, 1e-10, 1e-12));
  torch::autograd::backward({(output * f.weight_of_output).sum()}, {});
  EXPECT_TRUE(at::allclose(f.hidden.grad(), expected_gradients[0], 1e-9, 1e-11));
  for (size_t i = 0; i < f.all.size(); ++i) {
    EXPECT_FALSE(f.all[i]->value.grad().defined()) << "gradients go to the kept buffers only";
    EXPECT_TRUE(at::allclose(f.all[i]->gradient, expected_gradients[i + 1], 1e-9, 1e-11))
        << "parameter " << i;
  }
}

TEST_P(MoeLayer, SecondMicroBatchAddsToTheGradients) {
  Moe f(GetParam());
  std::vector<at::Tensor> first;
  for (int repeat = 0; repeat < 2; ++repeat) {
    torch::autograd::backward(
        {(moe_layer(f.hidden, f.weights(), f.config, f.call) * f.weight_of_output).sum()}, {});
    for (size_t i = 0; i < f.all.size(); ++i) {
      if (repeat == 0)
        first.push_back(f.all[i]->gradient.clone());
      else
        EXPECT_TRUE(at::allclose(f.all[i]->gradient, 2 * first[i], 1e-12, 1e-12));
    }
  }
}

constexpr auto kRandom = TokenSelection::random;
constexpr auto kPosition = TokenSelection::position;
constexpr auto kProbability = TokenSelection::probability;
INSTANTIATE_TEST_SUITE_P(
    Cases, MoeLayer,
    testing::Values(
        MoeCase{13, 4, 1, 1.0, kRandom, GateNormalization::none, Activation::relu},
        MoeCase{13, 4, 2, 1.0, kRandom, GateNormalization::after_drop, Activation::gelu, 0, 0, true},
        MoeCase{13, 4, 2, 0.5, kProbability, GateNormalization::before_drop, Activation::swiglu},
        MoeCase{17, 5, 3, 0.7, kPosition, GateNormalization::after_drop, Activation::relu, 0.4, 0.3, true},
        MoeCase{1, 4, 1, 1.0, kRandom, GateNormalization::none,
                Activation::relu},                                                 // one token, empty experts
        MoeCase{3, 16, 2, 0, kRandom, GateNormalization::none, Activation::gelu},  // dropless, empty experts
        MoeCase{9, 1, 1, 1.0, kRandom, GateNormalization::after_drop, Activation::relu},
        MoeCase{600, 2, 1, 0, kRandom, GateNormalization::none,
                Activation::swiglu},  // experts of several tasks
        MoeCase{40, 3, 3, 0.1, kRandom, GateNormalization::none, Activation::relu, 0,
                0.2}));  // nearly all dropped

TEST(MoeLayer, WithoutBiasesIsAsWithBiasesOfZero) {
  Moe with({13, 4, 2, 1.0, kRandom, GateNormalization::after_drop, Activation::gelu}),
      without({13, 4, 2, 1.0, kRandom, GateNormalization::after_drop, Activation::gelu});
  for (Parameter* bias : {&with.fc1_bias, &with.fc2_bias}) bias->value.detach().zero_();
  const at::Tensor expected = moe_layer(
      with.hidden, {&with.router, &with.fc1_weight, &with.fc1_bias, &with.fc2_weight, &with.fc2_bias},
      with.config, with.call);
  const at::Tensor output = moe_layer(
      without.hidden,
      {.router = &without.router, .fc1_weight = &without.fc1_weight, .fc2_weight = &without.fc2_weight},
      without.config, without.call);
  EXPECT_TRUE(at::allclose(output, expected, 1e-12, 1e-14));
  for (const auto& [x, f] : {std::pair{expected, &with}, {output, &without}})
    torch::autograd::backward({(x * f->weight_of_output).sum()}, {});
  EXPECT_TRUE(at::allclose(without.hidden.grad(), with.hidden.grad(), 1e-10, 1e-12));
  for (const auto parameter : {&Moe::router, &Moe::fc1_weight, &Moe::fc2_weight})
    EXPECT_TRUE(at::allclose((without.*parameter).gradient, (with.*parameter).gradient, 1e-10, 1e-12));
}

TEST(MoeLayer, ACapacityOfSentencesLeavesEachSentenceToItself) {
  // 4 sentences of 7: what a sentence becomes depends on nothing else, and tokens are dropped.
  Moe f({28, 2, 1, 0.1, kRandom, GateNormalization::none, Activation::relu});
  f.config.sentence_capacity = 2;
  f.config.jitter = 0;
  f.call = {.dropless = true, .sentence_length = 7};
  const MoeWeights weights = {&f.router, &f.fc1_weight, &f.fc1_bias, &f.fc2_weight, &f.fc2_bias};
  const at::Tensor together = moe_layer(f.hidden, weights, f.config, f.call);
  int64_t zeros = 0;
  for (int64_t sentence = 0; sentence < 4; ++sentence) {
    const at::Tensor x = f.hidden.narrow(0, 7 * sentence, 7), out = together.narrow(0, 7 * sentence, 7);
    EXPECT_TRUE(at::allclose(out, moe_layer(x, weights, f.config, f.call), 1e-12, 1e-14));
    zeros += out.abs().sum(1).eq(0).sum().item<int64_t>();
  }
  EXPECT_GE(zeros, 4 * (7 - 4)) << "at most 2 tokens of a sentence an expert";
  f.call.sentence_length = 1;
  EXPECT_EQ(moe_layer(f.hidden, weights, f.config, f.call).abs().sum(1).eq(0).sum().item<int64_t>(), 0);
}

/// In the types that training uses: close to double, and the same bits whatever the threads.
class MoeLayerOf : public testing::TestWithParam<std::tuple<at::ScalarType, Activation>> {};

TEST_P(MoeLayerOf, IsCloseToDoubleAndDoesNotDependOnThreads) {
  const auto [type, activation] = GetParam();
  const MoeCase shape = {700, 5, 2, 0, kPosition, GateNormalization::none, activation};
  const auto run = [&](at::ScalarType compute) {
    Moe f(shape);
    for (Parameter* p : f.all) {
      // fp32 keeps what bf16 can hold: then every type starts from the same numbers.
      const at::Tensor value = p->value.detach().mul(0.5).to(at::kBFloat16);
      p->value = value.to(p == &f.router && compute == at::kBFloat16 ? at::kFloat : compute);
      p->value.requires_grad_(true);
      if (compute != at::kDouble) p->gradient = p->gradient.to(at::kFloat);
    }
    f.config.jitter = 0;
    const at::Tensor hidden = f.hidden.detach().to(at::kBFloat16).to(compute).requires_grad_(true);
    const at::Tensor output = moe_layer(
        hidden, {&f.router, &f.fc1_weight, &f.fc1_bias, &f.fc2_weight, &f.fc2_bias}, f.config, f.call);
    torch::autograd::backward({output}, {f.weight_of_output.to(compute)});
    std::vector<at::Tensor> results = {output.detach(), hidden.grad()};
    for (Parameter* p : f.all) results.push_back(p->gradient);
    return results;
  };
  const auto exact = run(at::kDouble), ours = run(type);
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 3 : 1);
  const auto others = run(type);
  at::set_num_threads(threads);
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = ((ours[i].to(at::kDouble) - exact[i]).norm() / exact[i].norm()).item<double>();
    EXPECT_LT(error, type == at::kBFloat16 ? 1e-2 : 1e-5) << i;
    if (repeats_bits()) {
      EXPECT_TRUE(at::equal(ours[i], others[i])) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, MoeLayerOf,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Values(Activation::relu, Activation::gelu,
                                                          Activation::swiglu)));

TEST(MoeLayer, CountsLoadByExpertAndLanguage) {
  Moe f({12, 4, 2, 1.0, kRandom, GateNormalization::none, Activation::relu, 0, 0, true});
  MoeStatistics s;
  f.call.observer.groups = at::tensor(std::vector<int>{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}).to(at::kInt);
  f.call.observer.group_count = 2;
  f.call.observer.statistics = &s;
  moe_layer(f.hidden, f.weights(), f.config, f.call);
  count_calls({&s, 1});
  EXPECT_EQ(s.tokens, 8);
  EXPECT_EQ(s.choices, 16);
  int64_t assigned = 0;
  for (size_t e = 0; e < 4; ++e) {
    assigned += s.assigned[e];
    EXPECT_EQ(s.by_group[e] + s.by_group[4 + e], s.assigned[e]);
  }
  EXPECT_EQ(assigned, 16);
  EXPECT_GE(s.balance_loss, 0.5);
  EXPECT_GT(s.entropy, 0);
}

/// Dropped shares by tenths over many micro-batches of 8 sentences, most of them padded.
MoeStatistics drops(TokenSelection selection, int64_t top_k) {
  constexpr int64_t kSentences = 8, kLength = 20;
  Moe f({kSentences * kLength, 4, top_k, 0.6, selection, GateNormalization::none, Activation::relu});
  MoeStatistics s;
  f.call.observer.statistics = &s;
  f.call.sentence_length = kLength;
  const at::Tensor active = at::ones({kSentences, kLength}, at::kBool);
  for (int64_t i = 0; i < kSentences; ++i) active[i].narrow(0, 10 + i, 10 - i).fill_(false);
  f.call.active = ActiveRows(active.view(-1), suite_device());
  const at::NoGradGuard plain;
  for (uint64_t i = 0; i < 40; ++i) {
    f.call.key = RandomKey(i);
    f.hidden = at::randn_like(f.hidden);
    moe_layer(f.hidden, f.weights(), f.config, f.call);
  }
  count_calls({&s, 1});
  return s;
}

TEST(MoeLayer, RandomSelectionTakesTheBiasAgainstLateTokensAway) {
  for (const int64_t k : {1, 2, 3}) {
    for (const TokenSelection selection :
         {TokenSelection::position, TokenSelection::probability, TokenSelection::random}) {
      const MoeStatistics s = drops(selection, k);
      const auto rate = [](const DropsByPlace& places, size_t tenth) {
        return static_cast<double>(places.dropped[tenth]) / static_cast<double>(places.choices[tenth]);
      };
      for (const DropsByPlace* places : {&s.in_batch, &s.in_sentence}) {
        EXPECT_EQ(std::accumulate(places->choices.begin(), places->choices.end(), int64_t{0}), s.choices);
        EXPECT_EQ(std::accumulate(places->dropped.begin(), places->dropped.end(), int64_t{0}), s.dropped);
      }
      const double mean = static_cast<double>(s.dropped) / static_cast<double>(s.choices);
      EXPECT_GT(mean, 0.3);
      if (selection == TokenSelection::position) {
        // Of first choices alone, the last tenth loses nearly all and the first nothing.
        EXPECT_GT(rate(s.in_batch, 9), (k == 1 ? 0.8 : 1.1 * mean)) << k;
        EXPECT_LT(rate(s.in_batch, 0), (k == 1 ? 0.01 : 0.9 * mean)) << k;
      } else {
        for (size_t tenth = 0; tenth < 10; ++tenth) {
          EXPECT_NEAR(rate(s.in_batch, tenth), mean, 0.09) << k << " " << tenth;
          EXPECT_NEAR(rate(s.in_sentence, tenth), mean, 0.09) << k << " " << tenth;
        }
      }
    }
  }
}

/// The layer's contribution to a loss, its auxiliary losses as the statistics report them.
double loss_of(Moe& f) {
  MoeStatistics statistics;
  f.call.observer.statistics = &statistics;
  const at::Tensor output = moe_layer(f.hidden, f.weights(), f.config, f.call);
  f.call.observer.statistics = nullptr;
  count_calls({&statistics, 1});
  return (output * f.weight_of_output).sum().item<double>() +
         f.call.auxiliary_scale *
             (f.config.balance_loss * statistics.balance_loss + f.config.z_loss * statistics.z_loss);
}

void expect_finite_differences(const MoeCase& c) {
  Moe f(c);
  const at::Tensor output = moe_layer(f.hidden, f.weights(), f.config, f.call);
  torch::autograd::backward({(output * f.weight_of_output).sum()}, {});
  std::vector<Slope> slopes = {{"hidden", f.hidden, f.hidden.grad()}};
  for (const char* const name : {"router", "fc1 weight", "fc1 bias", "fc2 weight", "fc2 bias"}) {
    const Parameter& p = *f.all[slopes.size() - 1];
    slopes.push_back({name, p.value, p.gradient});
  }
  expect_slopes([&] { return loss_of(f); }, slopes, 1);
}

TEST(MoeLayer, GradientsEqualFiniteDifferencesInEveryCombination) {
  at::set_num_threads(1);  // tiny operators: threads would only wait for each other
  int combination = 0, every = suite_device().is_cpu() ? 1 : 17;  // on a device some of them
  for (const int64_t top_k : {1, 2, 3})
    for (const double capacity : {0.0, 0.4, 1.0})
      for (const auto selection : {kPosition, kProbability, kRandom})
        for (const auto gates :
             {GateNormalization::none, GateNormalization::before_drop, GateNormalization::after_drop})
          for (const auto kind : {Activation::relu, Activation::gelu, Activation::swiglu, Activation::geglu})
            for (const bool padding : {false, true}) {
              if (combination++ % every != 0) continue;
              SCOPED_TRACE(testing::Message() << "top " << top_k << " capacity " << capacity << " selection "
                                              << int(selection) << " gates " << int(gates) << " activation "
                                              << int(kind) << " padding " << padding);
              const double dropout = padding ? 0.3 : 0;
              expect_finite_differences(
                  {13, 5, top_k, capacity, selection, gates, kind, dropout, dropout, padding});
            }
}

TEST(MoeLayer, GradientsEqualFiniteDifferencesAtOddSizes) {
  at::set_num_threads(1);
  const auto after = GateNormalization::after_drop;
  for (const auto kind : {Activation::relu, Activation::gelu, Activation::swiglu, Activation::geglu})
    for (const auto& [rows, experts, top_k, padding] : {std::tuple{0, 4, 2, false},
                                                        {1, 1, 1, false},
                                                        {1, 7, 1, false},
                                                        {1, 7, 3, false},
                                                        {1, 3, 1, true},
                                                        {2, 16, 2, true},
                                                        {40, 1, 1, true},
                                                        {65, 3, 3, true}}) {
      SCOPED_TRACE(testing::Message() << rows << " rows, " << experts << " experts, top " << top_k);
      expect_finite_differences({rows, experts, top_k, 0.5, kRandom, after, kind, 0, 0, padding});
    }
}

}  // namespace
}  // namespace chorus
