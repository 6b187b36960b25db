// Every differentiable function of nn against finite differences in double, at odd sizes.
#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "gradient_check.h"
#include "nn/attention.h"
#include "nn/functions.h"
#include "nn/linear_cross_entropy.h"
#include "suite_device.h"

namespace chorus {
namespace {

Parameter parameter(at::IntArrayRef shape) {
  return {.value = at::randn(shape, there(at::kDouble)).requires_grad_(true),
          .gradient =
              at::full(shape, 1e9, there(at::kDouble))};  // stale: the first contribution must overwrite it
}

at::Tensor leaf(at::IntArrayRef shape) {
  return at::randn(shape, there(at::kDouble)).requires_grad_(true);
}

/// The loss is the sum of the output's elements, each times a random number.
void expect_gradients(const std::function<at::Tensor()>& function, const std::vector<at::Tensor>& inputs,
                      const std::vector<Parameter*>& parameters) {
  const at::Tensor output = function();
  const at::Tensor weight = at::randn_like(output);
  torch::autograd::backward({(output * weight).sum()}, {});
  std::vector<Slope> slopes;
  for (size_t i = 0; i < inputs.size(); ++i)
    slopes.push_back({"input " + std::to_string(i), inputs[i], inputs[i].grad()});
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(parameters[i]->has_gradient);
    slopes.push_back({"parameter " + std::to_string(i), parameters[i]->value, parameters[i]->gradient});
  }
  expect_slopes([&] { return (function() * weight).sum().item<double>(); }, slopes);
}

const std::vector<std::vector<int64_t>> kLeading = {{0}, {1}, {1, 1}, {3, 5}, {37}};

std::vector<int64_t> shape(std::vector<int64_t> leading, int64_t width) {
  leading.push_back(width);
  return leading;
}

TEST(Gradient, Linear) {
  for (const auto& leading : kLeading) {
    for (const auto& [in, out] : {std::pair{1, 1}, {7, 5}, {16, 33}}) {
      Parameter weight = parameter({out, in}), bias = parameter({out}), lone = parameter({out, in});
      const at::Tensor x = leaf(shape(leading, in)), y = leaf(shape(leading, in));
      expect_gradients([&] { return linear(x, weight, &bias); }, {x}, {&weight, &bias});
      expect_gradients([&] { return linear(y, lone, nullptr); }, {y}, {&lone});
    }
    Parameter weight = parameter({3, 4, 6}), bias = parameter({3, 4});
    const at::Tensor x = leaf(shape(leading, 6));
    expect_gradients([&] { return linear(x, weight, &bias); }, {x}, {&weight, &bias});
  }
}

TEST(Gradient, LinearUsedTwiceAddsBoth) {
  Parameter weight = parameter({5, 5}), bias = parameter({5});
  const at::Tensor x = leaf({3, 5});
  expect_gradients([&] { return linear(linear(x, weight, &bias), weight, &bias); }, {x}, {&weight, &bias});
}

TEST(Gradient, LayerNorm) {
  for (const auto& leading : kLeading) {
    for (const int64_t width : {1, 2, 7, 33}) {
      Parameter weight = parameter({width}), bias = parameter({width});
      const at::Tensor x = leaf(shape(leading, width));
      expect_gradients([&] { return norm(x, {&weight, &bias, 1e-5}); }, {x}, {&weight, &bias});
    }
  }
}

TEST(Gradient, RmsNorm) {
  for (const auto& leading : kLeading) {
    for (const int64_t width : {1, 2, 7, 33}) {
      Parameter weight = parameter({width});
      const at::Tensor x = leaf(shape(leading, width));
      expect_gradients([&] { return norm(x, {.weight = &weight, .epsilon = 0.1}); }, {x}, {&weight});
    }
  }
}

TEST(Gradient, NormLinear) {
  for (const auto& leading : kLeading) {
    for (const int64_t width : {2, 7, 33}) {
      Parameter scale = parameter({width}), shift = parameter({width}), weight = parameter({5, width}),
                bias = parameter({5});
      const at::Tensor x = leaf(shape(leading, width));
      expect_gradients(
          [&] {
            return norm_linear(x, {&scale, &shift, 1e-5}, weight, &bias);
          },
          {x}, {&scale, &shift, &weight, &bias});
      Parameter lone = parameter({width}), lone_weight = parameter({3, width});
      const at::Tensor y = leaf(shape(leading, width));
      expect_gradients(
          [&] { return norm_linear(y, {.weight = &lone, .epsilon = 0.1}, lone_weight, nullptr); }, {y},
          {&lone, &lone_weight});
    }
  }
}

TEST(Gradient, Embedding) {
  constexpr int64_t kPadding = 1;
  for (const std::vector<int64_t>& ids :
       {std::vector<int64_t>{}, {3}, {kPadding}, {3, kPadding, 3, 8, kPadding, 0, 3}}) {
    Parameter weight = parameter({9, 5});
    const at::Tensor index = there(at::tensor(ids, at::kLong));
    // What padding reads gets no gradient by definition: the loss does not look at it.
    const at::Tensor seen = index.ne(kPadding).to(at::kDouble).unsqueeze(1);
    expect_gradients([&] { return embedding(index, weight, 2.5, kPadding) * seen; }, {}, {&weight});
    EXPECT_EQ(weight.gradient[kPadding].abs().sum().item<double>(), 0);
  }
}

TEST(Gradient, ActivationAndDropout) {
  for (const auto& leading : kLeading) {
    for (const Activation kind :
         {Activation::relu, Activation::gelu, Activation::silu, Activation::swiglu, Activation::geglu}) {
      const at::Tensor x = leaf(shape(leading, 6));
      expect_gradients([&] { return activation(kind, x * 1); }, {x}, {});
    }
    for (const double p : {0.0, 0.3, 0.95}) {
      const at::Tensor x = leaf(shape(leading, 7));
      expect_gradients([&] { return dropout(x, p, RandomKey(5)) * 1; }, {x}, {});
    }
  }
}

TEST(Gradient, Attention) {
  struct Sizes {
    int64_t rows, heads, targets, sources, width;
  };
  for (const Sizes s :
       {Sizes{1, 1, 1, 1, 1}, {2, 3, 1, 5, 4}, {2, 1, 5, 1, 3}, {3, 2, 4, 7, 5}, {2, 2, 6, 6, 8}}) {
    for (const double p : {0.0, 0.4}) {
      for (const bool causal : {false, true}) {
        if (causal && s.targets != s.sources) continue;
        at::Tensor mask;
        if (!causal && s.sources > 1) {  // row r has r positions of padding
          mask = at::zeros({s.rows, 1, 1, s.sources}, there(at::kDouble));
          for (int64_t row = 0; row < s.rows; ++row)
            mask[row].narrow(2, s.sources - row, row).fill_(-std::numeric_limits<double>::infinity());
        }
        const at::Tensor q = leaf({s.rows, s.heads, s.targets, s.width}),
                         k = leaf({s.rows, s.heads, s.sources, s.width}),
                         v = leaf({s.rows, s.heads, s.sources, s.width});
        expect_gradients(
            [&] {
              return attention(q, k, v, {.mask = mask, .causal = causal, .dropout = p, .key = RandomKey(9)});
            },
            {q, k, v}, {});
      }
    }
  }
}

TEST(Gradient, AttentionWithABiasByDistance) {
  for (const auto& [queries, first] : {std::pair<int64_t, int64_t>{1, 0}, {5, 0}, {1, 4}, {9, 0}}) {
    for (const bool bidirectional : {false, true}) {
      for (const double p : {0.0, 0.4}) {
        const at::Tensor buckets = there(relative_buckets(first, queries, {8, 6, bidirectional}));
        Parameter table = parameter({8, 3});
        const at::Tensor q = leaf({2, 3, queries, 4}), k = leaf({2, 3, first + queries, 4}),
                         v = leaf({2, 3, first + queries, 4});
        expect_gradients(
            [&] {
              const at::Tensor bias = embedding(buckets, table, 1, -1).permute({2, 0, 1}).unsqueeze(0);
              return attention(q, k, v, {.mask = bias, .scale = 1.0, .dropout = p, .key = RandomKey(9)});
            },
            {q, k, v}, {&table});
      }
    }
  }
}

TEST(Gradient, SplitHeads) {
  for (const int64_t n : {1, 2, 3}) {
    const at::Tensor x = leaf({2, 5, n * 6});
    expect_gradients([&] { return at::stack(split_heads(x, n, 3)); }, {x}, {});
  }
}

TEST(Gradient, LinearCrossEntropy) {
  constexpr int64_t kIgnore = 1;
  for (const auto& [rows, vocabulary, width] :
       {std::tuple{0, 5, 3}, {1, 2, 1}, {1, 7, 5}, {37, 65, 9}, {5, 130, 4}}) {
    for (const double smoothing : {0.0, 0.1, 0.9}) {
      for (const double ignored : {0.0, 0.4, 1.0}) {
        Parameter weight = parameter({vocabulary, width}), bias = parameter({1, vocabulary});
        const LinearCrossEntropyOptions options = {.ignore = kIgnore,
                                                   .label_smoothing = smoothing,
                                                   .gradient_scale = 0.25,
                                                   .gradient = true,
                                                   .bias = rows % 2 == 0 ? nullptr : &bias};
        const at::Tensor hidden = at::randn({rows, width}, there(at::kDouble));
        at::Tensor labels = at::randint(vocabulary, {rows}, at::kLong);
        labels.masked_fill_(labels.eq(kIgnore), 0).masked_fill_(at::rand({rows}) < ignored, kIgnore);
        const LinearCrossEntropy head = linear_cross_entropy(hidden, weight, labels, options);
        std::vector<Slope> slopes = {{"hidden", hidden, head.grad_hidden}};
        if (head.tokens > 0) slopes.push_back({"weight", weight.value, weight.gradient.clone()});
        if (head.tokens > 0 && options.bias) slopes.push_back({"bias", bias.value, bias.gradient.clone()});
        expect_slopes(
            [&] { return 0.25 * linear_cross_entropy(hidden, weight, labels, options).sums().loss; }, slopes);
      }
    }
  }
}

}  // namespace
}  // namespace chorus
