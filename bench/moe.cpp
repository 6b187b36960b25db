// One MoE layer, and what it is made of.
#include "moe.h"

#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include "data.h"
#include "graph.h"
#include "moe/layer.h"
#include "work.h"

namespace chorus::bench {

namespace {

struct Layer {
  Parameter router, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
  MoeConfig config;
  MoeCall call;
  MoeStatistics statistics;
  at::Tensor hidden, grad, by_hidden;

  std::vector<Parameter*> parameters() { return {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias}; }
  at::Tensor forward() {
    const MoeWeights weights = {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias};
    return moe_layer(hidden, weights, config, call);
  }
  at::Tensor forward_backward() {
    for (Parameter* parameter : parameters()) parameter->has_gradient = false;
    const at::Tensor output = forward();
    by_hidden = torch::autograd::grad({output}, {hidden}, {grad})[0];
    return output;
  }
};

Parameter parameter(const at::Tensor& value, at::Device device, bool training) {
  Parameter result = {.value = value.to(device, value.scalar_type(), false, true)};
  if (training) {
    result.value.requires_grad_();
    result.gradient = at::zeros_like(result.value, at::kFloat);
  }
  return result;
}

}  // namespace

MoeConfig moe_config(const Json& options, int64_t experts) {
  const double capacity = options["capacity"];
  return {
      .experts = experts,
      .top_k = options["k"],
      .capacity_factor = capacity,
      .evaluation_capacity_factor = capacity,
      .selection = options["rts"] ? TokenSelection::random : TokenSelection::position,
      .gate_normalization = options["normalize"] ? GateNormalization::after_drop : GateNormalization::none,
      .jitter = 0,
      .balance_loss = options["balance"]};
}

at::Tensor experts_like(const at::Tensor& expert, int64_t experts, at::ScalarType type) {
  std::vector<at::Tensor> slices;
  for (int64_t e = 0; e < experts; ++e)
    slices.push_back((expert * (1 + static_cast<double>(e) / static_cast<double>(experts))).to(type));
  return at::stack(slices);
}

double skew_of(const MoeStatistics& layer) {
  const int64_t most = *std::max_element(layer.assigned.begin(), layer.assigned.end());
  return static_cast<double>(most * static_cast<int64_t>(layer.assigned.size())) /
         static_cast<double>(layer.choices);
}

/// data: a file of hidden [N, d], grad [N, d], router [E, d], fc1 [f, d] ([2 f, d] with swiglu), fc2 [d, f]. k, dtype,
/// capacity (0: dropless), rts, normalize, balance, device; evaluate: forward only; swiglu: as activation; graph: what
/// runs is replayed.
Work moe_layer(const Json& options) {
  const Tensors data(options["data"].get<std::string>());
  const at::ScalarType type = type_of(options);
  const at::Device device = device_of(options);
  const bool training = !options.value("evaluate", false);
  auto layer = std::make_shared<Layer>();
  Layer& l = *layer;
  const at::Tensor router = data.get("router"), fc1 = data.get("fc1"), fc2 = data.get("fc2");
  const int64_t experts = router.size(0);
  l.router = parameter(router, device, training);
  l.fc1_weight = parameter(experts_like(fc1, experts, type), device, training);
  l.fc2_weight = parameter(experts_like(fc2, experts, type), device, training);
  l.fc1_bias = parameter(at::zeros({experts, fc1.size(0)}, type), device, training);
  l.fc2_bias = parameter(at::zeros({experts, fc2.size(0)}, type), device, training);
  l.config = moe_config(options, experts);
  l.call = {.training = training,
            .key = RandomKey(1),
            .activation = options.value("swiglu", false) ? Activation::swiglu : Activation::relu};
  l.hidden = data.get("hidden").to(device, type);
  l.grad = data.get("grad").to(device, type);
  if (training) l.hidden.requires_grad_();

  Work work;
  l.call.observer.statistics = &l.statistics;
  {  // a graph of autograd's that lives on would tie what is captured to this stream
    const at::Tensor output = training ? l.forward_backward() : l.forward();
    work.facts["checks"]["output"] = norm_of(output);
  }
  l.call.observer.statistics = nullptr;
  count_calls({&l.statistics, 1});
  work.facts["skew"] = skew_of(l.statistics);
  work.facts["kept"] = l.statistics.choices - l.statistics.dropped;
  work.facts["flops"] =
      (training ? 6 : 2) * (l.statistics.choices - l.statistics.dropped) * (fc1.numel() + fc2.numel());
  if (training) {
    work.facts["checks"]["hidden gradient"] = norm_of(l.by_hidden);
    work.facts["checks"]["fc1 gradient"] = norm_of(l.fc1_weight.gradient);
  }
  const std::function<void()> once = [layer, training] {
    training ? layer->forward_backward() : layer->forward();
  };
  work.run = [device, run = options.value("graph", false) ? captured(once) : once] {
    run();
    wait_for(device);
  };
  return work;
}

}  // namespace chorus::bench
