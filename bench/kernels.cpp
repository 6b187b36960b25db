// Kernels, and beside each what libtorch offers for the same, or a copy of the bytes it must move.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/zeros.h>

#include "kernels/adamw.h"
#include "kernels/gemm.h"
#include "kernels/peak.h"
#include "kernels/rows.h"
#include "nn/linear_cross_entropy.h"
#include "work.h"

namespace chorus::bench {

namespace {

struct Rows {
  explicit Rows(const Json& options)
      : tokens(options["tokens"]),
        k(options["k"]),
        experts(options["experts"]),
        kept(at::randint(0, experts, {tokens, k}, at::kLong)),
        order(sort_by_expert(kept, experts, kept.numel())),
        x(at::randn({tokens, kWidth}).to(type_of(options))),
        grad(at::randn_like(x)),
        rows(gather_rows(x, order.token)),
        weight(at::rand({tokens, k})) {}
  static constexpr int64_t kWidth = 512;
  int64_t tokens, k, experts;
  at::Tensor kept;
  ExpertOrder order;
  at::Tensor x, grad, rows, weight;
};

}  // namespace

/// tokens, k, experts, dtype: the order of the experts, the rows to them, and their results back.
Work dispatch_combine(const Json& options) {
  auto rows = std::make_shared<Rows>(options);
  return {.run = [rows] {
    const ExpertOrder order = sort_by_expert(rows->kept, rows->experts, rows->kept.numel());
    gather_rows(rows->x, order.token);
    combine_rows(rows->rows, order.slot, rows->weight);
  }};
}

/// The backward of both.
Work dispatch_combine_backward(const Json& options) {
  auto rows = std::make_shared<Rows>(options);
  return {.run = [rows] {
    gather_rows(rows->grad, rows->order.token);
    sum_rows(rows->rows, rows->order.slot);
  }};
}

/// bytes: read and written together.
Work copy(const Json& options) {
  const int64_t bytes = options["bytes"];
  const at::Tensor from = at::full({bytes / 8}, 1.0), to = at::zeros({bytes / 8});
  return {.run = [from, to] { at::Tensor(to).copy_(from); }};
}

namespace {

struct Output {
  explicit Output(const Json& options)
      : hidden(at::randn({options["tokens"], 512}).to(type_of(options))),
        weight(at::randn({options["vocabulary"], 512}).mul_(0.05).to(type_of(options))),
        labels(at::randint(2, options["vocabulary"], {options["tokens"]}, at::kLong)) {}
  at::Tensor hidden, weight, labels;
  [[nodiscard]] int64_t state_bytes() const {
    return static_cast<int64_t>(2 * hidden.nbytes() + weight.nbytes()) + 4 * weight.numel();
  }
};

}  // namespace

/// tokens, vocabulary, dtype: the output layer, its label-smoothed loss, and the gradients of both.
Work output_loss(const Json& options) {
  const Output data(options);
  auto weight = std::make_shared<Parameter>(Parameter{data.weight, at::zeros_like(data.weight, at::kFloat)});
  const auto run = [data, weight] {
    weight->has_gradient = false;
    return linear_cross_entropy(data.hidden, *weight, data.labels,
                                {.label_smoothing = 0.1, .gradient = true});
  };
  Work work = {.run = [run] { run(); }};
  work.facts["state_bytes"] = data.state_bytes();
  const LinearCrossEntropy result = run();
  work.facts["checks"] = {{"gradient", norm_of(result.grad_hidden)},
                          {"weight gradient", norm_of(weight->gradient)}};
  return work;
}

/// The same by libtorch; for bf16 as autocast has it: the product in bf16, the loss in fp32.
Work torch_output_loss(const Json& options) {
  const Output data(options);
  const at::Tensor hidden = data.hidden.requires_grad_(), weight = data.weight.requires_grad_();
  const auto run = [data, hidden, weight] {
    hidden.mutable_grad().reset();
    weight.mutable_grad().reset();
    at::cross_entropy_loss(at::linear(hidden, weight).to(at::kFloat), data.labels, {}, at::Reduction::Sum,
                           -100, 0.1)
        .backward();
  };
  Work work = {.run = run};
  work.facts["state_bytes"] = data.state_bytes();
  run();
  work.facts["checks"] = {{"gradient", norm_of(hidden.grad())}, {"weight gradient", norm_of(weight.grad())}};
  return work;
}

/// parameters, dtype: one AdamW step; bf16 has fp32 masters and fp32 gradients. with_norm: the squared norm
/// of the gradient before it, as clipping needs it.
Work adamw(const Json& options) {
  const int64_t size = options["parameters"];
  const bool bf16 = type_of(options) == at::kBFloat16, with_norm = options["with_norm"];
  const at::Tensor value = at::randn({size});
  auto tensor = std::make_shared<AdamWTensor>(AdamWTensor{bf16 ? value.to(at::kBFloat16) : value,
                                                          bf16 ? value : at::Tensor(), at::randn({size}),
                                                          at::zeros({size}), at::zeros({size})});
  return {.run = [tensor, with_norm] {
    const double norm = with_norm ? std::sqrt(squared_norm(tensor->gradient)) : 1;
    adamw_step(*tensor, {.learning_rate = 1e-3, .weight_decay = 0.01, .gradient_scale = 1 / norm});
  }};
}

namespace {

/// The operands of a product of a linear layer. As many weights (or their gradients) as do not fit caches: each
/// is read from memory, as in a model.
struct LinearOperands {
  explicit LinearOperands(const Json& options)
      : form(options["product"]),
        n(options["n"]),
        rows(options["rows"]),
        columns(options["columns"]),
        x(at::randn({n, columns}).to(type_of(options))),
        grad(at::randn({n, rows}).to(type_of(options))),
        out(at::empty({n, form == "forward" ? rows : columns}, x.options())) {
    constexpr int64_t kCaches = int64_t{96} << 20;
    const bool gradient = form == "by_weight";
    const auto dtype = options["dtype"].get<std::string>();
    const auto make = [&]() -> Matrix {
      if (gradient) return at::zeros({rows, columns});
      const at::Tensor random = at::randn({rows, columns});
      if (dtype != "int8" && dtype != "int4") return random.to(type_of(options));
      const auto type = dtype == "int8" ? Quantization::int8 : Quantization::int4;
      return {quantize(random, type), type, rows, columns};
    };
    weights.push_back(make());
    const auto bytes = static_cast<int64_t>(weights[0].values.nbytes());
    while (std::ssize(weights) < std::clamp<int64_t>(kCaches / bytes, 1, 256)) weights.push_back(make());
  }
  const Matrix& next() {
    turn = (turn + 1) % weights.size();
    return weights[turn];
  }
  [[nodiscard]] Json facts() const {
    return {{"flops", 2 * n * rows * columns},
            {"weight_bytes", static_cast<int64_t>(weights[0].values.nbytes())}};
  }
  std::string form;
  int64_t n, rows, columns;
  at::Tensor x, grad, out;
  std::vector<Matrix> weights;
  size_t turn = 0;
};

}  // namespace

/// dtype: also "int8" and "int4" of the weight, forward. product: "forward" (x W^T, x [n, columns], W [rows, columns]),
/// "by_input" (g W, g [n, rows]) or "by_weight" (g^T x, added in place).
Work product(const Json& options) {
  auto layer = std::make_shared<LinearOperands>(options);
  Work work;
  if (layer->form == "forward") {
    work.run = [layer] { linear_product(layer->out, layer->x, layer->next()); };
  } else if (layer->form == "by_input") {
    work.run = [layer] { plain_product(layer->out, layer->grad, layer->next().values); };
  } else {
    work.run = [layer] { add_product(layer->next().values, layer->grad, layer->x, false); };
  }
  const int threads = at::get_num_threads();
  work.facts = layer->facts();
  work.facts["peak_flops"] = peak_flops(type_of(options));
  work.facts["read_rate"] = measure_memory(int64_t{1} << 28, threads).read;
  return work;
}

/// The weights of the same case, without a product: all threads read them.
Work read_weights(const Json& options) {
  auto layer = std::make_shared<LinearOperands>(options);
  const auto run = [layer] {
    const at::Tensor& values = layer->next().values;
    const auto* const words = static_cast<const uint64_t*>(values.const_data_ptr());
    constexpr int64_t kGrain = 1 << 13;
    at::parallel_for(0, static_cast<int64_t>(values.nbytes() / sizeof *words), kGrain,
                     [&](int64_t begin, int64_t end) {
                       uint64_t seen = 0;  // in vectors, once compiled
                       for (int64_t i = begin; i < end; ++i) seen |= words[i];
                       asm volatile("" : : "r"(seen));
                     });
  };
  return {.run = run, .facts = layer->facts()};
}

/// The same by libtorch's products; what is bf16 is converted and added afterwards.
Work torch_product(const Json& options) {
  auto layer = std::make_shared<LinearOperands>(options);
  Work work = {.run = {}, .facts = layer->facts()};
  if (layer->form == "forward") {
    work.run = [layer] { at::mm_out(layer->out, layer->x, layer->next().values.t()); };
  } else if (layer->form == "by_input") {
    work.run = [layer] { at::mm_out(layer->out, layer->grad, layer->next().values); };
  } else if (layer->x.scalar_type() == at::kFloat) {
    work.run = [layer] { layer->next().values.addmm_(layer->grad.t(), layer->x); };
  } else {
    work.run = [layer] { layer->next().values.add_(at::mm(layer->grad.t(), layer->x)); };
  }
  return work;
}

}  // namespace chorus::bench
