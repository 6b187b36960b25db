#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/device_sums.h"
#include "kernels/internal/launch.h"

namespace chorus::inline kernels {

namespace {

/// Returns the losses of rows of fp32; undefined for other types. parts: undefined where rows are whole.
template <class G>
at::Tensor losses(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& parts, int64_t width,
                  const CrossEntropyOptions& options, const at::Tensor& gradient) {
  at::Tensor rows = at::empty({logits.size(0), kCrossEntropyColumns}, logits.options().dtype(at::kDouble));
  const Launch on("loss", logits.device());
  on.teams(logits.size(0), LossOfRow<G>{.logits = on.reads<float>(logits),
                                        .labels = on.reads<int64_t>(labels),
                                        .parts = on.reads<CrossEntropyPart>(parts),
                                        .own_parts = nullptr,
                                        .width = logits.size(1),
                                        .weights = LossWeights(options, width),
                                        .rows = on.writes<double>(rows),
                                        .gradient = on.writes<G>(gradient)});
  return rows;
}

}  // namespace

at::Tensor DeviceBackend::cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                             const CrossEntropyOptions& options,
                                             const at::Tensor& gradient) const {
  if (logits.scalar_type() != at::kFloat)
    return Backend::cross_entropy_rows(logits, labels, options, gradient);
  return cross_entropy_rows_of(logits, labels, {}, logits.size(1), options, gradient);
}

at::Tensor DeviceBackend::cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) const {
  if (logits.scalar_type() != at::kFloat) return Backend::cross_entropy_parts(logits, labels);
  at::Tensor parts = at::empty({logits.size(0), 4}, logits.options().dtype(at::kDouble));
  const at::Tensor label = labels.contiguous();
  const Launch on("parts of a loss", logits.device());
  on.teams(logits.size(0), LossOfRow<float>{.logits = on.reads<float>(logits),
                                            .labels = on.reads<int64_t>(label),
                                            .parts = nullptr,
                                            .own_parts = on.writes<CrossEntropyPart>(parts),
                                            .width = logits.size(1),
                                            .weights = LossWeights({}, logits.size(1)),
                                            .rows = nullptr,
                                            .gradient = nullptr});
  return parts;
}

at::Tensor DeviceBackend::cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                                const at::Tensor& parts, int64_t width,
                                                const CrossEntropyOptions& options,
                                                const at::Tensor& gradient) const {
  if (logits.scalar_type() != at::kFloat)
    return Backend::cross_entropy_rows_of(logits, labels, parts, width, options, gradient);
  const at::Tensor label = labels.contiguous();
  return gradient.defined() && gradient.scalar_type() == at::kBFloat16
             ? losses<c10::BFloat16>(logits, label, parts, width, options, gradient)
             : losses<float>(logits, label, parts, width, options, gradient);
}

void DeviceBackend::adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) const {
  for (; !tensors.empty(); tensors = tensors.subspan(std::min<size_t>(kManyWeights, tensors.size()))) {
    const Launch on("AdamW", tensors.front().value.device());
    AdamWOfWeights body = {.many = {}, .factors = factors_of(step, false)};
    for (const AdamWTensor& t : tensors.first(std::min<size_t>(kManyWeights, tensors.size()))) {
      const bool copies = t.master.defined();
      body.many.add({.p = on.writes<float>(copies ? t.master : t.value),
                     .m = on.writes<float>(t.m),
                     .v = on.writes<float>(t.v),
                     .gradient = on.reads<float>(t.gradient),
                     .copy = copies ? on.writes<c10::BFloat16>(t.value) : nullptr,
                     .shrink = factors_of(step, t.decay).shrink},
                    t.value.numel());
    }
    on.teams(body.many.pieces(), body);
  }
}

void DeviceBackend::adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const {
  AdamWTensor idle = tensor;
  idle.gradient = at::Tensor();
  for (const AdamWStep& step : missed) adamw_step({&idle, 1}, step);
}

at::Tensor DeviceBackend::sums_of_squares(std::span<const at::Tensor> tensors) const {
  const auto has_kernel = [](const at::Tensor& x) {
    return x.scalar_type() == at::kFloat && x.is_contiguous();
  };
  if (!std::ranges::all_of(tensors, has_kernel)) return Backend::sums_of_squares(tensors);
  std::vector<at::Tensor> parts;
  for (; !tensors.empty(); tensors = tensors.subspan(std::min<size_t>(kManyWeights, tensors.size()))) {
    const Launch on("squares", tensors.front().device());
    SquaresOfStretches body = {};
    for (const at::Tensor& x : tensors.first(std::min<size_t>(kManyWeights, tensors.size())))
      body.many.add(on.reads<float>(x), x.numel());
    const at::Tensor sums = at::empty({body.many.pieces()}, tensors.front().options().dtype(at::kDouble));
    body.sums = on.writes<double>(sums);
    on.teams(body.many.pieces(), body);
    parts.push_back(sums);
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace chorus::inline kernels
