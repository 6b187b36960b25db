#include "chorus/moe/layer.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include "chorus/kernels/dropout.h"
#include "chorus/kernels/rows.h"

namespace chorus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// Everything forward leaves for backward. M: kept choices.
struct Saved : torch::CustomClassHolder {
  MoeWeights weights;
  MoeConfig config;
  MoeCall call;
  at::Tensor hidden;         // [N, d]
  at::Tensor probabilities;  // [N, E]
  at::Tensor log_partition;  // [N] logsumexp of the logits; undefined without z-loss
  Routing routing;
  ExpertOrder order;
  at::Tensor output_scale;   // [N, 1] expert output dropout; undefined without
  at::Tensor weight;         // [N, k] fp32: gates times output_scale
  at::Tensor expert_input;   // [M, d]
  at::Tensor kept;           // [M, f or f'] what the activation keeps
  at::Tensor expert_output;  // [M, d]
};

at::ScalarType router_type(const at::Tensor& hidden) {
  return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor router_input(const Saved& s) {
  const at::Tensor x = s.hidden.to(router_type(s.hidden));
  return s.call.training && s.config.jitter > 0
             ? jitter_by_key(x, s.config.jitter, s.call.key.derive("jitter"))
             : x;
}

/// Rows of expert e in a tensor sorted by expert.
at::Tensor rows_of(const at::Tensor& sorted, const ExpertOrder& order, int64_t e) {
  return sorted.narrow(0, order.offsets[e], order.counts[e]);
}

bool drops_activations(const Saved& s) {
  return s.call.training && s.call.activation_dropout > 0;
}

/// Activation dropout on the rows of one expert. Keyed by expert, so that it does not matter who computes
/// which.
at::Tensor drop_activations(const Saved& s, const at::Tensor& rows, int64_t e) {
  const RandomKey key = s.call.key.derive("activation").derive(static_cast<uint64_t>(e));
  return dropout_by_key(rows, s.call.activation_dropout, key);
}

/// What fc2 of expert e reads: the activation's output, after dropout.
at::Tensor activated(const Saved& s, const at::Tensor& output, int64_t e) {
  const at::Tensor rows = rows_of(output, s.order, e);
  return drops_activations(s) ? drop_activations(s, rows, e) : rows;
}

/// The linear layer of expert e.
void linear_out(at::Tensor& out, const at::Tensor& input, const Parameter& weight, const Parameter* bias,
                int64_t e) {
  const at::Tensor matrix = weight.value[e].t();
  bias ? at::addmm_out(out, bias->value[e], input, matrix) : at::mm_out(out, input, matrix);
}

void run_experts(Saved& s) {
  const MoeWeights& w = s.weights;
  const int64_t rows = s.expert_input.size(0);
  const auto experts = static_cast<int64_t>(s.order.counts.size());
  at::Tensor inner = at::empty({rows, w.fc1_weight->value.size(1)}, s.hidden.options());
  s.expert_output = at::empty({rows, s.hidden.size(1)}, s.hidden.options());
  for (int64_t e = 0; e < experts; ++e) {
    if (s.order.counts[e] > 0) {
      at::Tensor out = rows_of(inner, s.order, e);
      linear_out(out, rows_of(s.expert_input, s.order, e), *w.fc1_weight, w.fc1_bias, e);
    }
  }
  const at::Tensor output = activate(s.call.activation, inner);
  for (int64_t e = 0; e < experts; ++e) {
    if (s.order.counts[e] > 0) {
      at::Tensor out = rows_of(s.expert_output, s.order, e);
      linear_out(out, activated(s, output, e), *w.fc2_weight, w.fc2_bias, e);
    }
  }
  s.kept = activation_to_keep(s.call.activation, inner, output);
}

/// The activation's output again, from what was kept of it.
at::Tensor activation_output(const Saved& s) {
  return s.call.activation == Activation::relu ? s.kept : activate(s.call.activation, s.kept);
}

/// The gradient of one expert's linear layer by its weights; an expert without rows gets zeros where nothing
/// was yet.
void accumulate_expert(Parameter& weight, Parameter* bias, int64_t e, const at::Tensor& grad,
                       const at::Tensor& input, bool overwrite) {
  if (grad.size(0) > 0) {
    weight.accumulate_product_slice(e, grad, input, overwrite);
  } else if (overwrite) {
    weight.gradient[e].zero_();
  }
  if (bias) {
    at::Tensor gradient = bias->gradient[e];
    const at::Tensor sum = grad.sum(0, false, gradient.scalar_type());
    overwrite ? gradient.copy_(sum) : gradient.add_(sum);
  }
}

bool begin_slices(Parameter* weight, Parameter* bias) {
  if (bias) bias->begin_slices();
  return weight->begin_slices();
}

/// From the gradient by the experts' outputs to the gradient by their inputs, both [M, d]; weights' gradients
/// on the way.
at::Tensor run_experts_backward(const Saved& s, const at::Tensor& grad_output) {
  const MoeWeights& w = s.weights;
  const auto experts = static_cast<int64_t>(s.order.counts.size());
  const at::Tensor output = activation_output(s);
  at::Tensor grad_inner = at::empty({output.size(0), output.size(1)}, output.options());
  const bool overwrite2 = begin_slices(w.fc2_weight, w.fc2_bias);
  for (int64_t e = 0; e < experts; ++e) {
    const at::Tensor grad = rows_of(grad_output, s.order, e);
    if (s.order.counts[e] > 0) {
      at::Tensor out = rows_of(grad_inner, s.order, e);
      at::mm_out(out, grad, w.fc2_weight->value[e]);
      if (drops_activations(s)) {
        out.copy_(drop_activations(s, out, e));
      }
    }
    accumulate_expert(*w.fc2_weight, w.fc2_bias, e, grad, activated(s, output, e), overwrite2);
  }
  const at::Tensor grad_preactivation = activate_backward(s.call.activation, grad_inner, s.kept);
  at::Tensor grad_input = at::empty_like(s.expert_input);
  const bool overwrite1 = begin_slices(w.fc1_weight, w.fc1_bias);
  for (int64_t e = 0; e < experts; ++e) {
    const at::Tensor grad = rows_of(grad_preactivation, s.order, e);
    if (s.order.counts[e] > 0) {
      at::Tensor out = rows_of(grad_input, s.order, e);
      at::mm_out(out, grad, w.fc1_weight->value[e]);
    }
    accumulate_expert(*w.fc1_weight, w.fc1_bias, e, grad, rows_of(s.expert_input, s.order, e), overwrite1);
  }
  return grad_input;
}

/// 1 for tokens, 0 for padding: [N, 1] like the probabilities; undefined when all are tokens.
at::Tensor active_column(const Saved& s) {
  return s.call.active.defined() ? s.call.active.to(s.probabilities.options()).unsqueeze(1) : at::Tensor();
}

/// Gradient by the probabilities and the logits of the auxiliary losses and the gates -> gradient by the
/// router's input.
at::Tensor router_backward(const Saved& s, const at::Tensor& grad_gates) {
  at::Tensor grad = gates_backward(s.probabilities, s.routing, s.config.gate_normalization, grad_gates);
  const at::Tensor active = active_column(s);
  if (s.config.balance_loss > 0) {
    const at::Tensor row = at::tensor(balance_loss_gradient(s.routing), at::kDouble)
                               .to(grad.options())
                               .mul_(s.config.balance_loss * s.call.auxiliary_scale);
    active.defined() ? grad.addcmul_(active, row.unsqueeze(0)) : grad.add_(row);
  }
  at::Tensor grad_logits = s.probabilities * (grad - (grad * s.probabilities).sum(1, true));
  if (s.log_partition.defined() && s.routing.tokens > 0) {
    const double scale = 2 * s.config.z_loss * s.call.auxiliary_scale / static_cast<double>(s.routing.tokens);
    at::Tensor z = s.log_partition.unsqueeze(1) * scale;
    grad_logits.addcmul_(active.defined() ? z * active : z, s.probabilities);
  }
  s.weights.router->accumulate_product(grad_logits, router_input(s));
  at::Tensor grad_input = at::mm(grad_logits, s.weights.router->value);
  return s.config.jitter > 0 ? jitter_by_key(grad_input, s.config.jitter, s.call.key.derive("jitter"))
                             : grad_input;
}

void count(const Saved& s, const at::Tensor& log_partition) {
  MoeStatistics& statistics = *s.call.statistics;
  const int64_t rows = s.routing.experts.size(0), k = s.routing.experts.size(1);
  const auto experts = static_cast<int64_t>(s.routing.assigned.size());
  statistics.assigned.resize(experts, 0);
  statistics.by_group.resize(s.call.group_count * experts, 0);
  statistics.tokens += s.routing.tokens;
  statistics.choices += s.routing.tokens * k;
  statistics.dropped += s.routing.dropped;
  ++statistics.micro_batches;
  for (int64_t e = 0; e < experts; ++e) {
    statistics.assigned[e] += s.routing.assigned[e];
  }
  const at::Tensor active = active_column(s);
  const at::Tensor p = active.defined() ? s.probabilities * active : s.probabilities;
  statistics.entropy -= p.xlogy(s.probabilities).sum().item<double>();
  const at::Tensor mass = p.sum(0, false, at::kDouble).cpu();
  const std::vector<double> gradient = balance_loss_gradient(s.routing);
  for (int64_t e = 0; e < experts; ++e) {
    statistics.balance_loss += gradient[e] * mass[e].item<double>();
  }
  if (log_partition.defined() && s.routing.tokens > 0) {
    const at::Tensor squares = log_partition.square();
    const at::Tensor sum = active.defined() ? (squares * active.squeeze(1)).sum() : squares.sum();
    statistics.z_loss += sum.item<double>() / static_cast<double>(s.routing.tokens);
  }
  if (s.call.groups.defined()) {
    const auto* group = s.call.groups.const_data_ptr<int32_t>();
    const auto* chosen = s.routing.experts.const_data_ptr<int64_t>();
    for (int64_t slot = 0; slot < rows * k; ++slot) {
      if (chosen[slot] >= 0) {
        ++statistics.by_group[group[slot / k] * experts + chosen[slot]];
      }
    }
  }
}

/// [N, 1] in training: 1 or 0 a token, not rescaled; when evaluating the expectation, a number.
void apply_output_dropout(Saved& s) {
  const double p = s.config.expert_output_dropout;
  if (p == 0) {
    return;
  }
  if (!s.call.training) {
    s.weight.mul_(1 - p);
    return;
  }
  const int64_t rows = s.hidden.size(0);
  const RandomKey key = s.call.key.derive("expert output");
  at::Tensor scale = at::empty({rows, 1}, at::kFloat);
  for (int64_t row = 0; row < rows; ++row) {
    scale.mutable_data_ptr<float>()[row] = key.uniform(static_cast<uint64_t>(row)) < p ? 0.0F : 1.0F;
  }
  s.output_scale = scale.to(s.weight.options());
  s.weight.mul_(s.output_scale);
}

struct MoeFunction : Function<MoeFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const at::Tensor& /*router value*/, const MoeWeights& weights,
                            const MoeConfig& config, const MoeCall& call) {
    auto saved = c10::make_intrusive<Saved>();
    Saved& s = *saved;
    s.weights = weights;
    s.config = config;
    s.call = call;
    s.hidden = hidden;
    const at::Tensor logits = at::mm(router_input(s), weights.router->value.t());
    s.probabilities = at::softmax(logits, -1);
    if (config.z_loss > 0) {
      s.log_partition = at::logsumexp(logits, {1});
    }
    const RoutingOptions options = {
        .top_k = config.top_k,
        .capacity_factor = call.dropless   ? 0
                           : call.training ? config.capacity_factor
                                           : config.evaluation_capacity_factor,
        .selection = call.training ? config.selection : TokenSelection::position,
        .sentence_capacity = config.sentence_capacity,
        .sentence_length = call.sentence_length,
    };
    s.routing = route(s.probabilities.to(at::kCPU, at::kFloat).contiguous(), call.active, options,
                      call.key.derive("selection"));
    if (call.statistics) {
      count(s, s.log_partition);
    }
    if (call.record) {
      *call.record = {s.probabilities, s.routing};
    }
    s.weight = gates(s.probabilities, s.routing, config.gate_normalization);
    apply_output_dropout(s);
    s.order = sort_by_expert(s.routing.kept, config.experts, hidden.device());
    s.expert_input = gather_rows(hidden, s.order.token);
    run_experts(s);
    at::Tensor output = combine_rows(s.expert_output, s.order.slot, s.weight);
    if (call.training) {
      ctx->saved_data["saved"] = c10::IValue::make_capsule(saved);
    }
    return output;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder = ctx->saved_data["saved"].toCapsule();
    const Saved& s = *static_cast<const Saved*>(holder.get());
    auto [grad_rows, grad_gates] =
        combine_rows_backward(grads[0].contiguous(), s.expert_output, s.order.slot, s.weight);
    if (s.output_scale.defined()) {
      grad_gates = grad_gates * s.output_scale;
    }
    at::Tensor grad_hidden = sum_rows(run_experts_backward(s, grad_rows), s.order.slot);
    grad_hidden.add_(router_backward(s, grad_gates.to(s.probabilities.scalar_type())));
    ctx->saved_data.erase("saved");
    return {grad_hidden, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor moe_layer(const at::Tensor& hidden, const MoeWeights& weights, const MoeConfig& config,
                     const MoeCall& call) {
  return MoeFunction::apply(hidden, weights.router->value, weights, config, call);
}

}  // namespace chorus
