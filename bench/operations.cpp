// What a layer does besides its products, forward and backward, and the same by libtorch: each against its limit,
// which is a copy of the bytes that must move, or the cores' arithmetic.
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <ATen/Parallel.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/cross_entropy.h"
#include "kernels/peak.h"
#include "nn/attention.h"
#include "nn/functions.h"
#include "work.h"

namespace chorus::bench {

namespace {

constexpr int64_t kRowWidth = 512, kEntries = 32000, kHeadsOfRow = 8;

at::Tensor leaf(at::IntArrayRef sizes, const Json& options) {
  return at::randn(sizes).to(type_of(options)).requires_grad_();
}

Parameter parameter_of(const at::Tensor& value) {
  return {value.requires_grad_(), at::zeros_like(value, at::kFloat)};
}

/// Runs `f`, which makes an output of `input`, and its backward.
std::function<void()> both_ways(const at::Tensor& input, const std::function<at::Tensor()>& f) {
  const at::Tensor grad = at::ones_like(f()).div_(2);
  return [=] {
    input.mutable_grad().reset();
    f().backward(grad);
  };
}

std::function<void()> norm_of_rows(const Json& options, bool ours, bool centred) {
  const at::Tensor x = leaf({options["rows"], kRowWidth}, options);
  const auto weight = std::make_shared<Parameter>(parameter_of(at::ones({kRowWidth}, x.options())));
  const auto bias = std::make_shared<Parameter>(parameter_of(at::zeros({kRowWidth}, x.options())));
  return both_ways(x, [=] {
    if (ours) {
      weight->has_gradient = bias->has_gradient = false;
      return norm(x, {.weight = weight.get(), .bias = centred ? bias.get() : nullptr, .epsilon = 1e-5});
    }
    return centred ? at::layer_norm(x, {kRowWidth}, weight->value, bias->value)
                   : at::rms_norm(x, {kRowWidth}, weight->value, 1e-5);
  });
}

std::function<void()> dropout_of_rows(const Json& options, bool ours) {
  const at::Tensor x = leaf({options["rows"], kRowWidth}, options);
  return both_ways(x, [=] { return ours ? dropout(x, 0.1, RandomKey(7)) : at::dropout(x, 0.1, true); });
}

std::function<void()> relu_of_rows(const Json& options, bool ours) {
  const at::Tensor x = leaf({options["rows"], kRowWidth}, options);
  return both_ways(x, [=] { return ours ? activation(Activation::relu, x * 1) : at::relu(x * 1); });
}

std::function<void()> embedding_of_rows(const Json& options, bool ours) {
  const at::Tensor ids = at::randint(2, kEntries, {options["rows"].get<int64_t>()}, at::kLong);
  const auto weight =
      std::make_shared<Parameter>(parameter_of(leaf({kEntries, kRowWidth}, options).detach()));
  return both_ways(weight->value, [=] {
    return ours ? embedding(ids, *weight, 1, 1) : at::embedding(weight->value, ids, 1);
  });
}

std::function<void()> loss_of_rows(const Json& options, bool ours) {
  const at::Tensor logits = leaf({options["rows"].get<int64_t>() / 16, kEntries}, options);
  const at::Tensor labels = at::randint(2, kEntries, {logits.size(0)}, at::kLong);
  if (ours) {
    const at::Tensor x = logits.detach(), gradient = at::empty_like(x);
    return [=] { cross_entropy_rows(x, labels, {.label_smoothing = 0.1}, gradient); };
  }
  return both_ways(logits,
                   [=] { return at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum, -100, 0.1); });
}

std::function<void()> attention_of_rows(const Json& options, bool ours) {
  const int64_t length = options["length"], sentences = options["rows"].get<int64_t>() / length;
  const double p = options["dropout"];
  const bool causal = options["causal"];
  const at::Tensor projected = leaf({sentences, length, 3 * kRowWidth}, options);
  return both_ways(projected, [=] {
    const auto x = split_heads(projected, 3, kHeadsOfRow);
    if (ours) return attention(x[0], x[1], x[2], {.causal = causal, .dropout = p, .key = RandomKey(7)});
    return at::scaled_dot_product_attention(x[0], x[1], x[2], {}, p, causal).transpose(1, 2).flatten(2);
  });
}

}  // namespace

/// operation: "layer norm", "RMS norm", "dropout", "relu", "embedding", "loss" (rows / 16 of them) or "attention"
/// (length, causal, dropout), of `rows` rows; by: "chorus" or "libtorch".
Work operation(const Json& options) {
  using Make = std::function<void()>(const Json&, bool);
  static const std::map<std::string, std::function<Make>> kMakers = {
      {"layer norm", [](const Json& o, bool ours) { return norm_of_rows(o, ours, true); }},
      {"RMS norm", [](const Json& o, bool ours) { return norm_of_rows(o, ours, false); }},
      {"dropout", dropout_of_rows},
      {"relu", relu_of_rows},
      {"embedding", embedding_of_rows},
      {"loss", loss_of_rows},
      {"attention", attention_of_rows},
  };
  Work work = {.run = kMakers.at(options["operation"])(options, options["by"] == "chorus")};
  if (options["operation"] == "attention") {
    // Two products of each head forward, five backward: the first is not kept.
    work.facts["flops"] =
        7 * 2 * options["rows"].get<int64_t>() * options["length"].get<int64_t>() * kRowWidth;
    work.facts["peak_flops"] = peak_flops(type_of(options));
  }
  return work;
}

}  // namespace chorus::bench
