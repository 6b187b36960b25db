#include "chorus/nn/functions.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "chorus/kernels/dropout.h"
#include "chorus/kernels/gemm.h"

namespace chorus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

at::Tensor as_rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

at::ScalarType sum_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

Parameter* saved_parameter(AutogradContext* ctx, const char* name) {
  return reinterpret_cast<Parameter*>(ctx->saved_data[name].toInt());
}

void save_parameter(AutogradContext* ctx, const char* name, Parameter* parameter) {
  ctx->saved_data[name] = reinterpret_cast<int64_t>(parameter);
}

// The weight's value is an argument of each apply() only so that autograd records the function even where the
// activation needs no gradient; its gradient is returned as undefined.

struct LinearFunction : Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& value,
                            Parameter* weight, Parameter* bias) {
    ctx->save_for_backward({input});
    save_parameter(ctx, "weight", weight);
    save_parameter(ctx, "bias", bias);
    const at::Tensor rows = value.view({-1, value.size(-1)});
    auto sizes = input.sizes().vec();
    sizes.back() = rows.size(0);
    at::Tensor output = at::empty(sizes, input.options());
    linear_product(output.view({-1, rows.size(0)}), as_rows(input), rows,
                   bias ? bias->value.view(-1) : at::Tensor());
    return output;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor input = ctx->get_saved_variables()[0];
    Parameter* weight = saved_parameter(ctx, "weight");
    Parameter* bias = saved_parameter(ctx, "bias");
    const at::Tensor grad = as_rows(grads[0].contiguous());
    weight->accumulate_product(grad, as_rows(input));
    if (bias) {
      bias->accumulate(grad.sum(0, false, bias->gradient.scalar_type()).view(bias->gradient.sizes()));
    }
    at::Tensor grad_input;
    if (ctx->needs_input_grad(0)) {
      grad_input = at::empty(input.sizes(), input.options());
      plain_product(as_rows(grad_input), grad, weight->value.view({-1, weight->value.size(-1)}));
    }
    return {grad_input, {}, {}, {}};
  }
};

struct LayerNormFunction : Function<LayerNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& value,
                            Parameter* weight, Parameter* bias, double epsilon) {
    const int64_t width = input.size(-1);
    auto [output, mean, rstd] = at::native_layer_norm(input, {width}, value, bias->value, epsilon);
    ctx->save_for_backward({input, mean, rstd});
    save_parameter(ctx, "weight", weight);
    save_parameter(ctx, "bias", bias);
    return output;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    Parameter* weight = saved_parameter(ctx, "weight");
    Parameter* bias = saved_parameter(ctx, "bias");
    auto [grad_input, grad_weight, grad_bias] =
        at::native_layer_norm_backward(grads[0].contiguous(), saved[0], {saved[0].size(-1)}, saved[1],
                                       saved[2], weight->value, bias->value, {true, true, true});
    weight->accumulate(grad_weight);
    bias->accumulate(grad_bias);
    return {grad_input, {}, {}, {}, {}};
  }
};

struct RmsNormFunction : Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& value,
                            Parameter* weight, double epsilon) {
    const at::Tensor wide = input.to(sum_type(input));
    const at::Tensor scale = wide.square().mean(-1, true).add_(epsilon).rsqrt_();
    ctx->save_for_backward({input, scale});
    save_parameter(ctx, "weight", weight);
    return (wide * scale).to(input.scalar_type()) * value;
  }

  // With n = x s, s = (mean(x^2) + epsilon)^-1/2 and g the gradient by n: g_x = s (g - n mean(g n)).
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &input = saved[0], &scale = saved[1];
    Parameter* weight = saved_parameter(ctx, "weight");
    const at::Tensor grad = grads[0].to(scale.scalar_type()), normal = input * scale;
    weight->accumulate(as_rows(grad * normal).sum(0));
    const at::Tensor by_normal = grad * weight->value;
    const at::Tensor grad_input = (by_normal - normal * (by_normal * normal).mean(-1, true)) * scale;
    return {grad_input.to(input.scalar_type()), {}, {}, {}};
  }
};

struct EmbeddingFunction : Function<EmbeddingFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& ids, const at::Tensor& value,
                            Parameter* weight, double scale, int64_t padding) {
    ctx->save_for_backward({ids});
    save_parameter(ctx, "weight", weight);
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["padding"] = padding;
    auto sizes = ids.sizes().vec();
    sizes.push_back(value.size(1));
    return value.index_select(0, ids.reshape(-1)).mul_(scale).view(sizes);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor ids = ctx->get_saved_variables()[0].reshape(-1);
    Parameter* weight = saved_parameter(ctx, "weight");
    const at::Tensor kept = ids.ne(ctx->saved_data["padding"].toInt()).nonzero().view(-1);
    const at::Tensor grad =
        as_rows(grads[0].contiguous()).index_select(0, kept).to(weight->gradient.scalar_type());
    if (!weight->has_gradient) {
      weight->gradient.zero_();
      weight->has_gradient = true;
    }
    weight->gradient.index_add_(0, ids.index_select(0, kept), grad, ctx->saved_data["scale"].toDouble());
    return {{}, {}, {}, {}, {}};
  }
};

struct DropoutFunction : Function<DropoutFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, double p, RandomKey key) {
    ctx->saved_data["p"] = p;
    ctx->saved_data["key"] = static_cast<int64_t>(key.value());
    return dropout_by_key(input, p, key);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const RandomKey key(static_cast<uint64_t>(ctx->saved_data["key"].toInt()));
    return {dropout_by_key(grads[0], ctx->saved_data["p"].toDouble(), key), {}, {}};
  }
};

struct ActivationFunction : Function<ActivationFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, Activation kind) {
    // relu keeps and overwrites its input in place: the linear layer that made it does not need it again.
    const at::Tensor output = activate(kind, input);
    ctx->saved_data["kind"] = static_cast<int64_t>(kind);
    ctx->saved_data["kept"] = activation_to_keep(kind, input, output);
    return output.is_same(input) ? output.detach() : output;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto kind = static_cast<Activation>(ctx->saved_data["kind"].toInt());
    return {activate_backward(kind, grads[0].contiguous(), ctx->saved_data["kept"].toTensor()), {}};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& input, Parameter& weight, Parameter* bias) {
  return LinearFunction::apply(input, weight.value, &weight, bias);
}

at::Tensor layer_norm(const at::Tensor& input, Parameter& weight, Parameter& bias, double epsilon) {
  return LayerNormFunction::apply(input, weight.value, &weight, &bias, epsilon);
}

at::Tensor rms_norm(const at::Tensor& input, Parameter& weight, double epsilon) {
  return RmsNormFunction::apply(input, weight.value, &weight, epsilon);
}

at::Tensor embedding(const at::Tensor& ids, Parameter& weight, double scale, int64_t padding) {
  return EmbeddingFunction::apply(ids, weight.value, &weight, scale, padding);
}

at::Tensor dropout(const at::Tensor& input, double p, RandomKey key) {
  return p > 0 ? DropoutFunction::apply(input, p, key) : input;
}

at::Tensor activation(Activation kind, const at::Tensor& input) {
  return ActivationFunction::apply(input, kind);
}

}  // namespace chorus
