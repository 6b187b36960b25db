#include "nn/functions.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/dropout.h"
#include "nn/attention.h"
#include "suite_device.h"

namespace chorus {
namespace {

at::TensorOptions fp64() {
  return there(at::kDouble);
}

Parameter make(at::IntArrayRef shape) {
  Parameter p;
  p.value = at::randn(shape, fp64()).requires_grad_(true);
  p.gradient = at::full(shape, 1e9, fp64());  // stale
  return p;
}

/// Compares output and gradients of `ours` (through kept buffers) with those of `plain` (through autograd).
void expect_equal(const std::function<at::Tensor()>& ours, const std::function<at::Tensor()>& plain,
                  const std::vector<at::Tensor>& inputs, const std::vector<Parameter*>& parameters) {
  for (const at::Tensor& input : inputs) input.mutable_grad().reset();
  const at::Tensor expected = plain();
  const at::Tensor weight = at::randn(expected.sizes(), fp64());
  torch::autograd::backward({(expected * weight).sum()}, {});
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& input : inputs) {
    gradients.push_back(input.grad().clone());
    input.mutable_grad().reset();
  }
  for (Parameter* p : parameters) {
    gradients.push_back(p->value.grad().clone());
    p->value.mutable_grad().reset();
  }
  const at::Tensor output = ours();
  ASSERT_EQ(output.sizes(), expected.sizes());
  EXPECT_TRUE(at::allclose(output, expected, 1e-10, 1e-12));
  torch::autograd::backward({(output * weight).sum()}, {});
  size_t i = 0;
  for (const at::Tensor& input : inputs) EXPECT_TRUE(at::allclose(input.grad(), gradients[i++], 1e-9, 1e-11));
  for (Parameter* p : parameters) EXPECT_TRUE(at::allclose(p->gradient, gradients[i++], 1e-9, 1e-11));
}

class Functions : public testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

TEST_F(Functions, LinearWithAndWithoutBias) {
  Parameter weight = make({5, 7}), bias = make({5});
  const at::Tensor x = at::randn({3, 1, 7}, fp64()).requires_grad_(true);
  expect_equal([&] { return linear(x, weight, &bias); },
               [&] { return at::linear(x, weight.value, bias.value); }, {x}, {&weight, &bias});
  Parameter other = make({5, 7});
  expect_equal([&] { return linear(x, other, nullptr); }, [&] { return at::linear(x, other.value); }, {x},
               {&other});
}

TEST_F(Functions, LinearWithFusedSlices) {
  Parameter weight = make({3, 4, 4}), bias = make({3, 4});
  const at::Tensor x = at::randn({2, 5, 4}, fp64()).requires_grad_(true);
  expect_equal([&] { return linear(x, weight, &bias); },
               [&] {
                 return at::linear(x, weight.value.view({12, 4}), bias.value.view(-1));
               },
               {x}, {&weight, &bias});
}

TEST_F(Functions, LayerNorm) {
  Parameter weight = make({6}), bias = make({6});
  const at::Tensor x = at::randn({4, 3, 6}, fp64()).requires_grad_(true);
  expect_equal(
      [&] {
        return norm(x, {&weight, &bias, 1e-5});
      },
      [&] { return at::layer_norm(x, {6}, weight.value, bias.value, 1e-5); }, {x}, {&weight, &bias});
}

TEST_F(Functions, RmsNorm) {
  for (const int64_t width : {1, 6, 37}) {
    Parameter weight = make({width});
    const at::Tensor x = at::randn({4, 3, width}, fp64()).requires_grad_(true);
    expect_equal([&] { return norm(x, {.weight = &weight, .epsilon = 1e-3}); },
                 [&] { return x / (x.square().mean(-1, true) + 1e-3).sqrt() * weight.value; }, {x},
                 {&weight});
  }
}

TEST_F(Functions, RmsNormOfBf16SumsInFp32) {
  Parameter weight = {.value = at::randn({5}, there(at::kFloat)).to(at::kBFloat16), .gradient = {}};
  const at::Tensor x = (at::randn({7, 5}, there(at::kFloat)) * 100).to(at::kBFloat16),
                   wide = x.to(at::kFloat);
  const at::Tensor normal = wide * (wide.square().mean(-1, true) + 1e-6).rsqrt();
  EXPECT_TRUE(
      at::equal(norm(x, {.weight = &weight, .epsilon = 1e-6}), normal.to(at::kBFloat16) * weight.value));
}

TEST_F(Functions, NormLinearEqualsItsParts) {
  const at::Tensor x = at::randn({4, 3, 6}, fp64()).requires_grad_(true);
  Parameter scale = make({6}), shift = make({6}), weight = make({2, 5, 6}), bias = make({2, 5});
  const auto joined = [&](const at::Tensor& normed) {
    return at::linear(normed, weight.value.view({10, 6}), bias.value.view(-1));
  };
  expect_equal(
      [&] {
        return norm_linear(x, {&scale, &shift, 1e-5}, weight, &bias);
      },
      [&] { return joined(at::layer_norm(x, {6}, scale.value, shift.value, 1e-5)); }, {x},
      {&scale, &shift, &weight, &bias});
  Parameter lone_scale = make({6}), lone_weight = make({7, 6});
  expect_equal([&] { return norm_linear(x, {.weight = &lone_scale, .epsilon = 1e-3}, lone_weight, nullptr); },
               [&] {
                 return at::linear(x / (x.square().mean(-1, true) + 1e-3).sqrt() * lone_scale.value,
                                   lone_weight.value);
               },
               {x}, {&lone_scale, &lone_weight});
}

TEST_F(Functions, EmbeddingLeavesPaddingOutOfTheGradient) {
  Parameter weight = make({9, 4});
  const at::Tensor ids = there(at::tensor(std::vector<int64_t>{3, 1, 3, 8, 1, 0}).view({2, 3}));
  expect_equal([&] { return embedding(ids, weight, 2.5, 1); },
               [&] { return at::embedding(weight.value, ids, 1) * 2.5; }, {}, {&weight});
  Parameter all = make({9, 4});
  expect_equal([&] { return embedding(ids, all, 1, -1); }, [&] { return at::embedding(all.value, ids); }, {},
               {&all});
}

TEST_F(Functions, ActivationsMatchTheirDefinitions) {
  for (const Activation kind :
       {Activation::relu, Activation::gelu, Activation::silu, Activation::swiglu, Activation::geglu}) {
    const at::Tensor x = at::randn({5, 6}, fp64()).requires_grad_(true);
    expect_equal([&] { return activation(kind, x * 1); },
                 [&] {
                   if (kind == Activation::relu) return at::relu(x);
                   if (kind == Activation::gelu) return at::gelu(x);
                   if (kind == Activation::silu) return x * at::sigmoid(x);
                   const at::Tensor gate = x.narrow(1, 0, 3), value = x.narrow(1, 3, 3);
                   if (kind == Activation::swiglu) return at::silu(gate) * value;
                   const at::Tensor inner = std::sqrt(2 / M_PI) * (gate + 0.044715 * gate.pow(3));
                   return 0.5 * gate * (1 + inner.tanh()) * value;
                 },
                 {x}, {});
  }
}

TEST_F(Functions, DropoutBackwardUsesTheSameMask) {
  const at::Tensor x = at::randn({37, 5}, fp64()).requires_grad_(true);
  const RandomKey key(5);
  const at::Tensor mask = dropout_by_key(at::ones({37, 5}, fp64()), 0.3, key);
  expect_equal([&] { return dropout(x, 0.3, key); }, [&] { return x * mask; }, {x}, {});
  EXPECT_TRUE(dropout(x, 0, key).is_same(x));
  // A slice has the mask that it has in the whole, along whatever dimension.
  const at::Tensor whole = at::randn({3, 70, 5}, fp64());
  for (int64_t d = 0; d < 3; ++d) {
    const int64_t first = d, count = whole.size(d) - 2;
    const SliceOf slice = {.dimension = d, .first = first, .total = whole.size(d)};
    EXPECT_TRUE(at::equal(dropout(whole.narrow(d, first, count), 0.3, key, slice),
                          dropout(whole, 0.3, key).narrow(d, first, count)));
  }
}

TEST_F(Functions, AttentionWithDropoutEqualsMaskedProbabilities) {
  const auto leaf = [](at::IntArrayRef shape) { return at::randn(shape, fp64()).requires_grad_(true); };
  const at::Tensor q = leaf({2, 3, 4, 5}), k = leaf({2, 3, 6, 5}), v = leaf({2, 3, 6, 5});
  at::Tensor mask = at::zeros({2, 1, 1, 6}, fp64());
  mask.select(3, 5).fill_(-std::numeric_limits<double>::infinity());
  for (const double p : {0.0, 0.4}) {
    const RandomKey key(9);
    const at::Tensor drop =
        p > 0 ? dropout_by_key(at::ones({2, 3, 4, 6}, fp64()), p, key) : at::ones({2, 3, 4, 6}, fp64());
    expect_equal([&] { return attention(q, k, v, {.mask = mask, .dropout = p, .key = key}); },
                 [&] {
                   const at::Tensor scores = at::matmul(q, k.transpose(-2, -1)) / std::sqrt(5.0) + mask;
                   return at::matmul(at::softmax(scores, -1) * drop, v).transpose(1, 2).flatten(2);
                 },
                 {q, k, v}, {});
  }
}

TEST_F(Functions, CausalAttentionIsTheSameFusedAndComposed) {
  const at::Tensor q = at::randn({2, 2, 7, 4}, fp64()), k = at::randn({2, 2, 7, 4}, fp64()),
                   v = at::randn({2, 2, 7, 4}, fp64());
  // A dropout of 2^-17 rounds to no dropped element but takes the composed path.
  const at::Tensor composed =
      attention(q, k, v, {.causal = true, .dropout = 1.0 / (1 << 18), .key = RandomKey(1)});
  EXPECT_TRUE(at::allclose(attention(q, k, v, {.causal = true}), composed, 1e-6, 1e-7));
}

TEST_F(Functions, AttentionWithABiasAndAScaleOfItsOwn) {
  const auto leaf = [](at::IntArrayRef shape) { return at::randn(shape, fp64()).requires_grad_(true); };
  const at::Tensor q = leaf({2, 3, 4, 5}), k = leaf({2, 3, 6, 5}), v = leaf({2, 3, 6, 5}),
                   bias = leaf({1, 3, 4, 6});
  for (const double p : {0.0, 0.4}) {
    const RandomKey key(9);
    const at::Tensor ones = at::ones({2, 3, 4, 6}, fp64()),
                     drop = p > 0 ? dropout_by_key(ones, p, key) : ones;
    expect_equal([&] { return attention(q, k, v, {.mask = bias, .scale = 0.7, .dropout = p, .key = key}); },
                 [&] {
                   const at::Tensor scores = at::matmul(q, k.transpose(-2, -1)) * 0.7 + bias;
                   return at::matmul(at::softmax(scores, -1) * drop, v).transpose(1, 2).flatten(2);
                 },
                 {q, k, v, bias}, {});
  }
}

/// T5's buckets, one distance at a time.
int64_t plain_bucket(int64_t relative, const RelativePositions& p) {
  const int64_t buckets = p.bidirectional ? p.buckets / 2 : p.buckets, exact = buckets / 2;
  const int64_t base = p.bidirectional && relative > 0 ? buckets : 0;
  const int64_t distance = p.bidirectional ? std::abs(relative) : std::max<int64_t>(-relative, 0);
  if (distance < exact) return base + distance;
  const float share =
      std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(p.max_distance) / static_cast<double>(exact)));
  return base +
         std::min(buckets - 1, exact + static_cast<int64_t>(share * static_cast<float>(buckets - exact)));
}

TEST_F(Functions, RelativeBucketsAreThoseOfT5) {
  for (const bool bidirectional : {false, true}) {
    for (const auto& [buckets, max_distance] :
         {std::pair<int64_t, int64_t>{32, 128}, {8, 20}, {7, 13}, {4, 3}}) {
      const RelativePositions p = {buckets, max_distance, bidirectional};
      for (const int64_t first : {0, 1, 5, 150}) {
        const at::Tensor ids = relative_buckets(first, 3, p);
        ASSERT_EQ(ids.sizes(), (at::IntArrayRef{3, first + 3}));
        for (int64_t query = 0; query < 3; ++query)
          for (int64_t key = 0; key < first + 3; ++key)
            EXPECT_EQ(ids[query][key].item<int64_t>(), plain_bucket(key - first - query, p))
                << key - first - query << " " << buckets << " " << bidirectional;
      }
    }
  }
}

}  // namespace
}  // namespace chorus
