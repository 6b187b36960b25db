#include "surgery/calibration.h"

#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/device.h"

namespace chorus::inline surgery {

ColumnImportance Calibration::importance() const {
  return [this](size_t parameter, size_t slice) -> at::Tensor {
    const at::Tensor& squares = input_squares[parameter];
    if (!squares.defined()) return {};
    const at::Tensor all = squares.sum(0);
    at::Tensor own = squares.size(0) > 1 ? squares[static_cast<int64_t>(slice)] : all;
    if (own.sum().item<double>() == 0) own = all;
    const double mean = own.mean().item<double>();
    if (!(mean > 0)) return {};
    return (own / mean)
        .add_(1e-3)
        .to(at::kFloat)
        .contiguous();  // no column counts for nothing: other text may use it
  };
}

std::vector<double> losses_of(Transformer& model, const Vocabulary& vocabulary,
                              std::span<const DirectionText> texts,
                              const std::function<void(int64_t pairs)>& progress) {
  std::vector<double> losses;
  int64_t done = 0;
  for (const DirectionText& text : texts) {
    LossSums sums;
    for (const MicroBatch& batch : batches_of(text, vocabulary, model.config().max_positions)) {
      sums.add(model.evaluate(model.to_batch(batch), {.dropless = true}));
      done += batch.rows;
      if (progress) progress(done);
    }
    losses.push_back(sums.tokens > 0 ? sums.nll / static_cast<double>(sums.tokens) : 0);
  }
  return losses;
}

Calibration calibrate(Transformer& model, const Vocabulary& vocabulary, std::span<const DirectionText> texts,
                      const std::function<void(int64_t pairs)>& progress) {
  if (!is_host(model.options().device)) throw Error("weights are observed on the host alone");
  check_lengths(texts, vocabulary, model.config().max_positions);
  const std::vector<ParameterSpec>& specs = model.catalogue().parameters;
  for (size_t p = 0; p < specs.size(); ++p) {
    if (!specs[p].decay || specs[p].fp32) continue;  // no matrix that quantize() would be given
    const int64_t slices = specs[p].role == Role::expert ? std::ssize(specs[p].stored) : 1;
    model.parameters()[p].input_squares = at::zeros({slices, specs[p].shape.back()}, at::kDouble);
  }
  Calibration calibration = {.losses = losses_of(model, vocabulary, texts, progress), .input_squares = {}};
  for (Parameter& parameter : model.parameters()) {
    calibration.input_squares.push_back(parameter.input_squares);
    parameter.input_squares.reset();
  }
  return calibration;
}

}  // namespace chorus::inline surgery
