#include "nn/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/cross_entropy.h"
#include "kernels/device.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"

namespace chorus::inline nn {

namespace {

constexpr int64_t kChunkLogits = 16 << 20;  // held at once

struct Predicted {
  std::vector<int64_t> rows;    // where something is predicted
  std::vector<int64_t> labels;  // and what
};

Predicted predicted_rows(const at::Tensor& labels, int64_t ignore, int64_t vocabulary) {
  const at::Tensor flat = labels.contiguous();
  const auto* label = flat.const_data_ptr<int64_t>();
  Predicted predicted;
  for (int64_t row = 0; row < flat.numel(); ++row) {
    if (label[row] == ignore) {
      continue;
    }
    if (label[row] < 0 || label[row] >= vocabulary) {
      throw Error("label {} of row {} lies outside the vocabulary of {}", label[row], row, vocabulary);
    }
    predicted.rows.push_back(row);
    predicted.labels.push_back(label[row]);
  }
  return predicted;
}

/// Computes the rows of the loss, as cross_entropy_rows(), where each rank has some columns of the logits.
at::Tensor rows_over_ranks(const VocabularyCut& cut, const at::Tensor& logits, const at::Tensor& labels,
                           const CrossEntropyOptions& options, const at::Tensor& gradient) {
  const at::Tensor own_labels = labels - cut.first;
  const at::Tensor own = cross_entropy_parts(logits, own_labels);
  const at::Tensor all = at::empty({cut.over->size(), own.size(0), own.size(1)}, own.options());
  cut.over->all_gather(all, own);
  return cross_entropy_rows(logits, own_labels, join_cross_entropy_parts(all), cut.total, options, gradient);
}

}  // namespace

LinearCrossEntropy linear_cross_entropy(const at::Tensor& hidden, Parameter& weight, const at::Tensor& labels,
                                        const LinearCrossEntropyOptions& options) {
  const at::NoGradGuard no_grad;
  const Matrix matrix = weight.matrix();
  const int64_t width = matrix.rows, all = hidden.size(0);
  const int64_t vocabulary = options.cut.over ? options.cut.total : width;
  if (labels.numel() != all || hidden.size(1) != matrix.depth) {
    throw Error("linear_cross_entropy: {} labels for {} rows of {}, weight of {}", labels.numel(), all,
                hidden.size(1), matrix.depth);
  }
  Predicted predicted = predicted_rows(labels, options.ignore, vocabulary);
  const int64_t rows = std::ssize(predicted.rows);
  LinearCrossEntropy result = {
      .tokens = rows,
      .grad_hidden = {},
      .predicted = {},
      .rows = at::empty({rows, kCrossEntropyColumns}, hidden.options().dtype(at::kDouble))};
  if (options.gradient) {
    result.grad_hidden = rows == all ? at::empty(hidden.sizes(), hidden.options())
                                     : at::zeros(hidden.sizes(), hidden.options());
  }
  if (rows == 0) {
    return result;
  }
  const at::Tensor row_index = send_to(hidden.device(), at::tensor(predicted.rows));
  const at::Tensor row_label = send_to(hidden.device(), at::tensor(predicted.labels));
  const bool bf16 = hidden.scalar_type() == at::kBFloat16;
  const at::TensorOptions wide = hidden.options().dtype(bf16 ? at::kFloat : hidden.scalar_type());
  result.predicted = std::move(predicted.rows);
  // The ranks of a cut exchange each chunk, so all take what suits the one that holds most.
  const int64_t ranks = options.cut.over ? options.cut.over->size() : 1;
  const int64_t most = chunk_rows(rows, (vocabulary + ranks - 1) / ranks,
                                  is_host(hidden) ? kLeastLossRowsOnHost : kLeastLossRowsOnDevice);
  const at::Tensor logits_buffer = at::empty({most, width}, wide);
  const at::Tensor grad_buffer =
      bf16 && options.gradient ? at::empty({most, width}, hidden.options()) : logits_buffer;
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    const at::Tensor index = row_index.narrow(0, first, count);
    const at::Tensor input = rows == all ? hidden.narrow(0, first, count) : gather_rows(hidden, index);
    const at::Tensor logits = logits_buffer.narrow(0, 0, count);
    linear_product(logits, input, matrix,
                   {.bias = options.bias ? options.bias->value.view(-1) : at::Tensor()});
    weight.observe(input);
    const at::Tensor grad = options.gradient ? grad_buffer.narrow(0, 0, count) : at::Tensor();
    const CrossEntropyOptions of_rows = {.label_smoothing = options.label_smoothing,
                                         .gradient_scale = options.gradient_scale};
    const at::Tensor label = row_label.narrow(0, first, count);
    result.rows.narrow(0, first, count)
        .copy_(options.cut.over ? rows_over_ranks(options.cut, logits, label, of_rows, grad)
                                : cross_entropy_rows(logits, label, of_rows, grad));
    if (!options.gradient) {
      continue;
    }
    weight.accumulate_product(grad, input);
    if (options.bias) {
      const at::Tensor& by_bias = options.bias->gradient;
      options.bias->accumulate(grad.sum(0, false, by_bias.scalar_type()).view(by_bias.sizes()));
    }
    if (rows == all) {
      plain_product(result.grad_hidden.narrow(0, first, count), grad, weight.value);
    } else {
      const at::Tensor by_input = at::empty_like(input);
      plain_product(by_input, grad, weight.value);
      result.grad_hidden.index_copy_(0, index, by_input);
    }
  }
  if (options.gradient && options.cut.over) options.cut.over->all_reduce(result.grad_hidden);
  return result;
}

LinearCrossEntropy::Sums LinearCrossEntropy::sums(std::optional<int64_t> all_rows) const {
  Sums sums;
  if (all_rows) sums.token_nll = at::zeros({*all_rows}, at::kFloat);
  const at::Tensor on_host = rows.to(at::kCPU);
  for (int64_t i = 0; i < tokens; ++i) {
    const auto* const row = on_host.const_data_ptr<double>() + i * kCrossEntropyColumns;
    sums.loss += row[kLoss];
    sums.nll += row[kNll];
    sums.correct += row[kCorrect] > 0 ? 1 : 0;
    if (all_rows) sums.token_nll.mutable_data_ptr<float>()[predicted[i]] = static_cast<float>(row[kNll]);
  }
  return sums;
}

int64_t chunk_rows(int64_t rows, int64_t vocabulary, int64_t least) {
  const int64_t most = std::max(least, kChunkLogits / vocabulary);
  const int64_t chunks = std::clamp<int64_t>((rows + most - 1) / most, 1, std::max<int64_t>(1, rows / least));
  return (rows + chunks - 1) / chunks;
}

}  // namespace chorus::inline nn
