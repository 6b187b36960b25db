#include "nn/functions.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "kernels/gemm.h"
#include "kernels/norm.h"

namespace chorus::inline nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

at::Tensor as_rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

template <class T = Parameter>
T* saved_pointer(AutogradContext* ctx, const char* name) {
  return reinterpret_cast<T*>(ctx->saved_data[name].toInt());
}

void save_pointer(AutogradContext* ctx, const char* name, const void* pointer) {
  ctx->saved_data[name] = reinterpret_cast<int64_t>(pointer);
}

// The weight's value is an argument of each apply() only so that autograd records the function even where the
// activation needs no gradient; its gradient is returned as undefined.

at::Tensor linear_forward(const at::Tensor& input, const Parameter& parameter, const Parameter* bias,
                          Group* sum_over) {
  const Matrix weight = parameter.matrix();
  parameter.observe(as_rows(input));
  auto sizes = input.sizes().vec();
  sizes.back() = weight.rows;
  at::Tensor output = at::empty(sizes, input.options());
  const at::Tensor added = bias ? bias->value.view(-1) : at::Tensor();
  linear_product(output.view({-1, weight.rows}), as_rows(input), weight,
                 {.bias = sum_over ? at::Tensor() : added});
  if (sum_over) {
    sum_over->all_reduce(output);
    if (bias) output.add_(added);
  }
  return output;
}

/// Adds the gradients of weight and bias.
void linear_backward_weights(const at::Tensor& grad, const at::Tensor& input, Parameter& weight,
                             Parameter* bias) {
  weight.accumulate_product(grad, as_rows(input));
  if (bias) bias->accumulate(grad.sum(0, false, bias->gradient.scalar_type()).view(bias->gradient.sizes()));
}

at::Tensor linear_backward_input(const at::Tensor& grad, const at::Tensor& input, const Parameter& weight,
                                 Group* sum_over) {
  at::Tensor grad_input = at::empty(input.sizes(), input.options());
  plain_product(as_rows(grad_input), grad, weight.value.view({-1, weight.value.size(-1)}));
  if (sum_over) sum_over->all_reduce(grad_input);
  return grad_input;
}

struct LinearFunction : Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& /*value*/,
                            Parameter* weight, Parameter* bias, const LinearCut& cut) {
    ctx->save_for_backward({input});
    save_pointer(ctx, "weight", weight);
    save_pointer(ctx, "bias", bias);
    save_pointer(ctx, "sum gradients over", cut.by_inputs ? nullptr : cut.over);
    return linear_forward(input, *weight, bias, cut.by_inputs ? cut.over : nullptr);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor input = ctx->get_saved_variables()[0];
    Parameter* weight = saved_pointer(ctx, "weight");
    const at::Tensor grad = as_rows(grads[0].contiguous());
    linear_backward_weights(grad, input, *weight, saved_pointer(ctx, "bias"));
    at::Tensor grad_input;
    if (ctx->needs_input_grad(0))
      grad_input =
          linear_backward_input(grad, input, *weight, saved_pointer<Group>(ctx, "sum gradients over"));
    return {grad_input, {}, {}, {}, {}};
  }
};

NormScaling scaling_of(const NormParameters& p) {
  return {.weight = p.weight->value, .bias = p.bias ? p.bias->value : at::Tensor(), .epsilon = p.epsilon};
}

/// Adds the gradients of weight and bias; returns that of the rows.
at::Tensor norm_backward(const at::Tensor& grad, const at::Tensor& rows, const NormedRows& normed,
                         const NormParameters& p) {
  const NormGradients by = norm_rows_backward(grad, rows, normed, scaling_of(p));
  p.weight->accumulate(by.weight);
  if (p.bias) p.bias->accumulate(by.bias);
  return by.rows;
}

void save_norm(AutogradContext* ctx, const NormParameters& p) {
  save_pointer(ctx, "norm weight", p.weight);
  save_pointer(ctx, "norm bias", p.bias);
  ctx->saved_data["epsilon"] = p.epsilon;
}

NormParameters saved_norm(AutogradContext* ctx) {
  return {.weight = saved_pointer(ctx, "norm weight"),
          .bias = saved_pointer(ctx, "norm bias"),
          .epsilon = ctx->saved_data["epsilon"].toDouble()};
}

struct NormFunction : Function<NormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& /*value*/,
                            const NormParameters& parameters) {
    const at::Tensor rows = as_rows(input).contiguous();
    const NormedRows normed = norm_rows(rows, scaling_of(parameters));
    ctx->save_for_backward({rows, normed.mean, normed.scale});
    save_norm(ctx, parameters);
    return normed.output.view(input.sizes());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor grad = as_rows(grads[0].contiguous());
    const at::Tensor by_rows = norm_backward(grad, saved[0], {{}, saved[1], saved[2]}, saved_norm(ctx));
    return {by_rows.view(grads[0].sizes()), {}, {}};
  }
};

struct NormLinearFunction : Function<NormLinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& /*value*/,
                            const NormParameters& parameters, Parameter* weight, Parameter* bias,
                            Group* over) {
    ctx->save_for_backward({input});
    save_norm(ctx, parameters);
    save_pointer(ctx, "weight", weight);
    save_pointer(ctx, "bias", bias);
    save_pointer(ctx, "sum gradients over", over);
    const NormedRows normed = norm_rows(as_rows(input).contiguous(), scaling_of(parameters));
    return linear_forward(normed.output.view(input.sizes()), *weight, bias, nullptr);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor input = ctx->get_saved_variables()[0];
    const NormParameters parameters = saved_norm(ctx);
    Parameter* weight = saved_pointer(ctx, "weight");
    const at::Tensor grad = as_rows(grads[0].contiguous());
    const at::Tensor rows = as_rows(input).contiguous();
    NormedRows normed = norm_rows(rows, scaling_of(parameters));
    linear_backward_weights(grad, normed.output, *weight, saved_pointer(ctx, "bias"));
    normed.output.reset();
    const at::Tensor grad_normed =
        linear_backward_input(grad, rows, *weight, saved_pointer<Group>(ctx, "sum gradients over"));
    return {norm_backward(grad_normed, rows, normed, parameters).view(input.sizes()), {}, {}, {}, {}, {}};
  }
};

struct EmbeddingFunction : Function<EmbeddingFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& ids, const at::Tensor& value,
                            Parameter* weight, double scale, int64_t padding, const VocabularyCut& cut) {
    ctx->save_for_backward({ids});
    save_pointer(ctx, "weight", weight);
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["first"] = cut.first;
    auto sizes = ids.sizes().vec();
    if (weight->quantization != Quantization::none) {
      sizes.push_back(weight->depth);
      return select_rows(weight->matrix(), ids.reshape(-1)).mul_(scale).view(sizes);
    }
    sizes.push_back(value.size(1));
    if (!cut.over) return value.index_select(0, ids.reshape(-1)).mul_(scale).view(sizes);
    const at::Tensor rows = ids.reshape(-1) - cut.first;
    const at::Tensor held = rows.ge(0).logical_and_(rows.lt(value.size(0))).nonzero().view(-1);
    at::Tensor output = at::zeros({rows.size(0), value.size(1)}, value.options());
    output.index_copy_(0, held, value.index_select(0, rows.index_select(0, held)).mul_(scale));
    cut.over->all_reduce(output);  // each row comes from one rank
    return output.view(sizes);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor ids = ctx->get_saved_variables()[0].reshape(-1);
    Parameter* weight = saved_pointer(ctx, "weight");
    const int64_t first = ctx->saved_data["first"].toInt(), end = first + weight->value.size(0);
    const at::Tensor kept = ids.ne(ctx->saved_data["padding"].toInt())
                                .logical_and_(ids.ge(first))
                                .logical_and_(ids.lt(end))
                                .nonzero()
                                .view(-1);
    const at::Tensor grad =
        as_rows(grads[0].contiguous()).index_select(0, kept).to(weight->gradient.scalar_type());
    if (!weight->has_gradient) {
      weight->gradient.zero_();
      weight->has_gradient = true;
    }
    weight->gradient.index_add_(0, ids.index_select(0, kept) - first, grad,
                                ctx->saved_data["scale"].toDouble());
    return {{}, {}, {}, {}, {}, {}};
  }
};

struct DropoutFunction : Function<DropoutFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, double p, RandomKey key,
                            const SliceOf& slice) {
    ctx->saved_data["p"] = p;
    ctx->saved_data["key"] = static_cast<int64_t>(key.value());
    ctx->saved_data["slice"] = std::vector<int64_t>{slice.dimension, slice.first, slice.total};
    return dropout_by_key(input, p, key, slice);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const RandomKey key(static_cast<uint64_t>(ctx->saved_data["key"].toInt()));
    const auto slice = ctx->saved_data["slice"].toIntVector();
    return {dropout_by_key(grads[0], ctx->saved_data["p"].toDouble(), key,
                           {.dimension = slice[0], .first = slice[1], .total = slice[2]}),
            {},
            {},
            {}};
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

at::Tensor linear(const at::Tensor& input, Parameter& weight, Parameter* bias, LinearCut cut) {
  return LinearFunction::apply(input, weight.value, &weight, bias, cut);
}

at::Tensor norm(const at::Tensor& input, const NormParameters& parameters) {
  return NormFunction::apply(input, parameters.weight->value, parameters);
}

at::Tensor norm_linear(const at::Tensor& input, const NormParameters& parameters, Parameter& weight,
                       Parameter* bias, Group* over) {
  return NormLinearFunction::apply(input, parameters.weight->value, parameters, &weight, bias, over);
}

at::Tensor embedding(const at::Tensor& ids, Parameter& weight, double scale, int64_t padding,
                     const VocabularyCut& cut) {
  return EmbeddingFunction::apply(ids, weight.value, &weight, scale, padding, cut);
}

at::Tensor dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) {
  return p > 0 ? DropoutFunction::apply(input, p, key, slice) : input;
}

at::Tensor activation(Activation kind, const at::Tensor& input) {
  return ActivationFunction::apply(input, kind);
}

}  // namespace chorus::inline nn
