#include "kernels/experts.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/threshold_backward.h>

#include "kernels/cpu.h"
#include "kernels/dropout.h"
#include "kernels/gemm.h"

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kParts = 4;  // of one expert's weight gradient

/// Runs task(0) .. task(count - 1), which do not depend on each other, begun in this order, each on the thread that
/// is free.
void run_tasks(int64_t count, const std::function<void(int64_t)>& task) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    const at::NoGradGuard plain;  // a thread's own setting
    for (int64_t i = next++; i < count; i = next++) task(i);
  });
}

/// Rows first .. first + count of the sorted rows, all of one expert.
struct Block {
  int64_t expert, first, count;
};

/// Returns the rows of each expert in blocks of nearly one size.
std::vector<Block> blocks_of(const ExpertRows& sorted) {
  std::vector<Block> blocks;
  for (int64_t e = 0; std::cmp_less(e, sorted.counts.size()); ++e) {
    const int64_t rows = sorted.counts[e];
    const int64_t parts = (rows + kExpertTaskRows - 1) / kExpertTaskRows;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = rows * part / parts, end = rows * (part + 1) / parts;
      blocks.push_back({.expert = e, .first = sorted.offsets[e] + first, .count = end - first});
    }
  }
  return blocks;
}

at::Tensor rows_of(const at::Tensor& sorted, const Block& block) {
  return sorted.narrow(0, block.first, block.count);
}

at::Tensor bias_of(const Parameter* bias, int64_t e) {
  return bias ? bias->value[e] : at::Tensor();
}

/// Applies dropout to the activation's output or, in backward, to the gradient w.r.t. what dropout made of it.
at::Tensor dropped(const Experts& x, const at::Tensor& rows, const Block& block) {
  if (x.dropout == 0) return rows;
  const at::Tensor keys = at::empty({block.count}, at::kLong);
  const auto* const own = x.row_keys.const_data_ptr<int64_t>();
  const auto* const token = x.order.token.const_data_ptr<int64_t>() + block.first;
  for (int64_t i = 0; i < block.count; ++i) {
    const RandomKey key = RandomKey(static_cast<uint64_t>(own[token[i]]))
                              .derive(static_cast<uint64_t>(x.first_expert + block.expert));
    keys.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(key.value());
  }
  return dropout_rows_by_key(rows, x.dropout, keys, x.first_inner);
}

constexpr int64_t kDotLanes = 32;  // partial sums of a dot product

/// x *= weight; returns the inner product of what x was and `with`, which may be null: 0.
template <class T, class Acc = Accumulator<T>>
CHORUS_INLINE inline Acc dot_and_scale(T* x, const T* with, Acc weight, int64_t width) {
  Acc sum[kDotLanes] = {};
  int64_t column = 0;
  for (; with && column + kDotLanes <= width; column += kDotLanes) {
#pragma GCC ivdep  // they do not overlap
    for (int64_t lane = 0; lane < kDotLanes; ++lane) {
      const Acc value = widen(x[column + lane]);
      sum[lane] += value * widen(with[column + lane]);
      x[column + lane] = narrow<T>(weight * value);
    }
  }
  for (; column < width; ++column) {
    const Acc value = widen(x[column]);
    if (with) sum[column % kDotLanes] += value * widen(with[column]);
    x[column] = narrow<T>(weight * value);
  }
  return std::accumulate(sum, sum + kDotLanes, Acc(0));
}

/// Writes, for each row of a block, the gradient w.r.t. its weight in its sum, and multiplies the gradients w.r.t.
/// its hidden values and its output by that weight. bias: of the second product; undefined without.
void weigh_rows(const at::Tensor& by_hidden, const at::Tensor& hidden, const at::Tensor& by_output,
                const at::Tensor& bias, const at::Tensor& weight, const at::Tensor& by_weight) {
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, hidden.scalar_type(), "weigh_rows", [&] {
    const int64_t rows = hidden.size(0), inner = hidden.size(1), width = by_output.size(1);
    auto* const h = by_hidden.mutable_data_ptr<scalar_t>();
    auto* const g = by_output.mutable_data_ptr<scalar_t>();
    const auto* const with = hidden.const_data_ptr<scalar_t>();
    const auto* const b = bias.defined() ? bias.const_data_ptr<scalar_t>() : nullptr;
    const auto* const w = weight.const_data_ptr<Accumulator<scalar_t>>();
    auto* const out = by_weight.mutable_data_ptr<Accumulator<scalar_t>>();
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t row = 0; row < rows; ++row) {
        out[row] = dot_and_scale(h + row * inner, with + row * inner, w[row], inner) +
                   dot_and_scale(g + row * width, b, w[row], width);
      }
    });
  });
}

/// How a gradient is written.
struct Writing {
  bool overwrite = false;
  bool by_use = false;  // the weight's not at all without rows
};

/// Rows `part` of kParts of the gradient of one expert's linear layer.
void accumulate_part(Parameter& weight, Parameter* bias, int64_t e, int64_t part, const at::Tensor& grad,
                     const at::Tensor& input, const Writing& writing) {
  const int64_t outputs = weight.gradient.size(1), first = outputs * part / kParts;
  const int64_t count = outputs * (part + 1) / kParts - first;
  const at::Tensor target = weight.gradient[e].narrow(0, first, count);
  const at::Tensor by_output = grad.narrow(1, first, count);
  if (grad.size(0) > 0) {
    add_product(target, by_output, input, writing.overwrite);
  } else if (writing.overwrite && !writing.by_use) {
    target.zero_();
  }
  if (bias) {
    at::Tensor sums = bias->gradient[e].narrow(0, first, count);
    const at::Tensor sum = by_output.sum(0, false, sums.scalar_type());
    writing.overwrite ? sums.copy_(sum) : sums.add_(sum);
  }
}

}  // namespace

ExpertRun HostBackend::run_experts(const Experts& x, const at::Tensor& input) const {
  const MoeWeights& w = x.weights;
  ExpertRun run = {.kept = at::empty({input.size(0), w.fc1_weight->slice_rows()}, input.options()),
                   .output = at::empty_like(input)};
  const bool relu = x.activation == Activation::relu;
  const std::vector<Block> blocks = blocks_of(rows_of_experts(x.order));
  run_tasks(std::ssize(blocks), [&](int64_t i) {
    const Block& block = blocks[i];
    const int64_t e = block.expert;
    const at::Tensor inner = rows_of(run.kept, block);
    linear_product(inner, rows_of(input, block), w.fc1_weight->matrix(e),
                   {.bias = bias_of(w.fc1_bias, e), .relu = relu});
    const at::Tensor hidden = dropped(x, relu ? inner : activate(x.activation, inner), block);
    linear_product(rows_of(run.output, block), hidden, w.fc2_weight->matrix(e),
                   {.bias = bias_of(x.adds_bias ? w.fc2_bias : nullptr, e)});
  });
  for (const Block& block : blocks) {
    if (!w.fc1_weight->input_squares.defined()) break;
    w.fc1_weight->observe(rows_of(input, block), block.expert);
    const at::Tensor kept = rows_of(run.kept, block);
    w.fc2_weight->observe(relu ? kept : activate(x.activation, kept), block.expert);
  }
  return run;
}

ExpertGradients HostBackend::run_experts_backward(const Experts& x, const at::Tensor& input,
                                                  const at::Tensor& kept, const at::Tensor& grad,
                                                  const at::Tensor& weight) const {
  const MoeWeights& w = x.weights;
  const bool relu = x.activation == Activation::relu;
  ExpertGradients by = {.input = at::empty_like(input), .weight = at::empty_like(weight)};
  const at::Tensor grad_inner = at::empty_like(kept);
  const at::Tensor hidden =  // what fc2 read
      relu && x.dropout == 0 ? kept : at::empty({kept.size(0), w.fc2_weight->value.size(2)}, kept.options());
  const ExpertRows sorted = rows_of_experts(x.order);
  const std::vector<Block> blocks = blocks_of(sorted);
  run_tasks(std::ssize(blocks), [&](int64_t i) {
    const Block& block = blocks[i];
    const int64_t e = block.expert;
    const at::Tensor inner = rows_of(kept, block);
    if (!hidden.is_same(kept)) {
      rows_of(hidden, block).copy_(dropped(x, relu ? inner : activate(x.activation, inner), block));
    }
    at::Tensor by_inner = rows_of(grad_inner, block);
    at::Tensor by_hidden = relu ? by_inner : at::empty_like(rows_of(hidden, block));
    plain_product(by_hidden, rows_of(grad, block), w.fc2_weight->value[e]);
    weigh_rows(by_hidden, rows_of(hidden, block), rows_of(grad, block),
               bias_of(x.adds_bias ? w.fc2_bias : nullptr, e), rows_of(weight, block),
               rows_of(by.weight, block));
    by_hidden = dropped(x, by_hidden, block);
    if (relu) {
      at::threshold_backward_out(by_inner, by_hidden, inner, 0);
    } else {
      by_inner.copy_(activate_backward(x.activation, by_hidden, inner));
    }
    plain_product(rows_of(by.input, block), by_inner, w.fc1_weight->value[e]);
  });
  const Writing writing1 = {.overwrite = w.begin_fc1(), .by_use = x.by_use};
  const Writing writing2 = {.overwrite = w.begin_fc2(), .by_use = x.by_use};
  const int64_t experts = std::ssize(sorted.counts);
  run_tasks(experts * 2 * kParts, [&](int64_t i) {
    const int64_t e = i / (2 * kParts), part = i % kParts;
    const Block all = {.expert = e, .first = sorted.offsets[e], .count = sorted.counts[e]};
    if (i / kParts % 2 == 0) {
      accumulate_part(*w.fc2_weight, w.fc2_bias, e, part, rows_of(grad, all), rows_of(hidden, all), writing2);
    } else {
      accumulate_part(*w.fc1_weight, w.fc1_bias, e, part, rows_of(grad_inner, all), rows_of(input, all),
                      writing1);
    }
  });
  return by;
}

}  // namespace chorus::inline kernels
