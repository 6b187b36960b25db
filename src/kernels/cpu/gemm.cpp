#include "kernels/gemm.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/product_kernel.h"
#include "kernels/internal/quantized_product.h"

namespace chorus::inline kernels {

namespace {

/// Returns x with unit stride along the columns.
at::Tensor row_major(const at::Tensor& x) {
  return x.stride(1) == 1 ? x : x.contiguous();
}

template <class T>
Strided<T> rows_of(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), 1};
}
template <class T>
Strided<T> columns_of(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), 1, x.stride(0)};
}

template <class Left, class Right, class Out>
void by_right(const at::Tensor& out, const Strided<Left>& left, const at::Tensor& right,
              const Epilogue& epilogue) {
  product_by_right<Left, Right>({.m = out.size(1),
                                 .n = out.size(0),
                                 .depth = right.size(1),
                                 .left = left,
                                 .right = rows_of<Right>(right)},
                                out.mutable_data_ptr<Out>(), out.stride(0), epilogue);
}

void by_quantized(const at::Tensor& out, const at::Tensor& x, const Matrix& weight,
                  const Epilogue& epilogue) {
  const auto run = [&]<class In, class Out>() {
    quantized_product(x.const_data_ptr<In>(), x.stride(0), x.size(0), weight, out.mutable_data_ptr<Out>(),
                      out.stride(0), epilogue);
  };
  if (x.scalar_type() == at::kFloat) {
    run.operator()<float, float>();
  } else if (out.scalar_type() == at::kFloat) {
    run.operator()<c10::BFloat16, float>();
  } else {
    run.operator()<c10::BFloat16, c10::BFloat16>();
  }
}

}  // namespace

void HostBackend::linear_product(const at::Tensor& out, const at::Tensor& input, const Matrix& weight,
                                 const LinearOptions& o) const {
  using c10::BFloat16;
  if (input.scalar_type() == at::kDouble) {
    Backend::linear_product(out, input, weight, o);
    return;
  }
  const at::Tensor x = row_major(input), w = row_major(weight.values);
  const at::Tensor bias = o.bias.defined() ? o.bias.to(at::kFloat).view(-1) : at::Tensor();
  const at::Tensor residual = o.residual.defined() ? row_major(o.residual) : at::Tensor();
  const Epilogue epilogue = {.bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                             .relu = o.relu,
                             .residual = residual.defined() ? residual.const_data_ptr<float>() : nullptr,
                             .residual_stride = residual.defined() ? residual.stride(0) : 0};
  if (weight.quantization != Quantization::none) {
    by_quantized(out, x, weight, epilogue);
  } else if (w.scalar_type() == at::kFloat) {
    by_right<float, float, float>(out, rows_of<float>(w), x, epilogue);
  } else if (x.scalar_type() == at::kFloat) {
    by_right<BFloat16, float, float>(out, rows_of<BFloat16>(w), x, epilogue);
  } else if (out.scalar_type() == at::kFloat) {
    by_right<BFloat16, BFloat16, float>(out, rows_of<BFloat16>(w), x, epilogue);
  } else {
    by_right<BFloat16, BFloat16, BFloat16>(out, rows_of<BFloat16>(w), x, epilogue);
  }
}

void HostBackend::plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const {
  if (a.scalar_type() == at::kDouble) {
    Backend::plain_product(out, a, b);
    return;
  }
  const at::Tensor left = row_major(b), right = row_major(a);
  if (a.scalar_type() == at::kFloat) {
    by_right<float, float, float>(out, columns_of<float>(left), right, {});
  } else {
    by_right<c10::BFloat16, c10::BFloat16, c10::BFloat16>(out, columns_of<c10::BFloat16>(left), right, {});
  }
}

void HostBackend::add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b,
                              bool overwrite) const {
  if (a.scalar_type() == at::kDouble) {
    Backend::add_product(target, a, b, overwrite);
    return;
  }
  const at::Tensor left = row_major(a), right = row_major(b);
  const auto add = [&]<class T>() {
    product_by_left<T>({.m = a.size(1),
                        .n = b.size(1),
                        .depth = a.size(0),
                        .left = columns_of<T>(left),
                        .right = columns_of<T>(right)},
                       target.mutable_data_ptr<float>(), b.size(1), overwrite ? Store::stream : Store::add);
  };
  a.scalar_type() == at::kFloat ? add.operator()<float>() : add.operator()<c10::BFloat16>();
}

}  // namespace chorus::inline kernels
