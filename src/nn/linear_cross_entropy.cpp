#include "nn/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"

namespace chorus::inline nn {

namespace {

constexpr int64_t kChunkLogits = 16 << 20;  // held at once
// With fewer rows, the passes over the weight's gradient would cost more than the products.
constexpr int64_t kLeastRows = 256;

struct Predicted {
  std::vector<int64_t> rows;    // where something is predicted
  std::vector<int64_t> labels;  // and what
};

Predicted predicted_rows(const at::Tensor& labels, int64_t ignore, int64_t vocabulary) {
  const at::Tensor flat = labels.to(at::kCPU).contiguous();
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

/// For rows of which each rank has some columns.
CrossEntropyRows rows_over_ranks(const VocabularyCut& cut, const at::Tensor& logits, const at::Tensor& labels,
                                 const CrossEntropyOptions& options, const at::Tensor& gradient) {
  const at::Tensor own_labels = labels - cut.first;
  std::vector<CrossEntropyPart> own = cross_entropy_parts(logits, own_labels);
  static_assert(sizeof(CrossEntropyPart) == 4 * sizeof(double));
  const auto count = static_cast<int64_t>(own.size());
  std::vector<CrossEntropyPart> all(own.size() * cut.over->size());
  cut.over->all_gather(at::from_blob(all.data(), {cut.over->size(), count, 4}, at::kDouble),
                       at::from_blob(own.data(), {count, 4}, at::kDouble));
  for (int64_t row = 0; row < count; ++row) {
    own[row] = all[row];
    for (int64_t rank = 1; rank < cut.over->size(); ++rank) own[row].add(all[rank * count + row]);
  }
  return cross_entropy_rows(logits, own_labels, own, cut.total, options, gradient);
}

}  // namespace

LinearCrossEntropy linear_cross_entropy(const at::Tensor& hidden, Parameter& weight, const at::Tensor& labels,
                                        const LinearCrossEntropyOptions& options) {
  const at::NoGradGuard no_grad;
  const int64_t width = weight.value.size(0), all = hidden.size(0);
  const int64_t vocabulary = options.cut.over ? options.cut.total : width;
  if (labels.numel() != all || hidden.size(1) != weight.value.size(1)) {
    throw Error("linear_cross_entropy: {} labels for {} rows of {}, weight of {}", labels.numel(), all,
                hidden.size(1), weight.value.size(1));
  }
  const Predicted predicted = predicted_rows(labels, options.ignore, vocabulary);
  const auto rows = static_cast<int64_t>(predicted.rows.size());
  LinearCrossEntropy result;
  result.tokens = rows;
  if (options.gradient) {
    result.grad_hidden = rows == all ? at::empty(hidden.sizes(), hidden.options())
                                     : at::zeros(hidden.sizes(), hidden.options());
  }
  if (options.per_token) {
    result.token_nll = at::zeros({all}, at::kFloat);
  }
  if (rows == 0) {
    return result;
  }
  const at::Tensor row_index = at::tensor(predicted.rows).to(hidden.device());
  const at::Tensor row_label = at::tensor(predicted.labels).to(hidden.device());
  const bool bf16 = hidden.scalar_type() == at::kBFloat16;
  const at::TensorOptions wide = hidden.options().dtype(bf16 ? at::kFloat : hidden.scalar_type());
  const int64_t most = chunk_rows(rows, width);
  const at::Tensor logits_buffer = at::empty({most, width}, wide);
  const at::Tensor grad_buffer =
      bf16 && options.gradient ? at::empty({most, width}, hidden.options()) : logits_buffer;
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    const at::Tensor index = row_index.narrow(0, first, count);
    const at::Tensor input = rows == all ? hidden.narrow(0, first, count) : gather_rows(hidden, index);
    const at::Tensor logits = logits_buffer.narrow(0, 0, count);
    linear_product(logits, input, weight.value);
    const at::Tensor grad = options.gradient ? grad_buffer.narrow(0, 0, count) : at::Tensor();
    const CrossEntropyOptions of_rows = {.label_smoothing = options.label_smoothing,
                                         .gradient_scale = options.gradient_scale};
    const at::Tensor label = row_label.narrow(0, first, count);
    const CrossEntropyRows losses = options.cut.over
                                        ? rows_over_ranks(options.cut, logits, label, of_rows, grad)
                                        : cross_entropy_rows(logits, label, of_rows, grad);
    for (int64_t i = 0; i < count; ++i) {
      result.loss += losses.loss[i];
      result.nll += losses.nll[i];
      result.correct += losses.correct[i] ? 1 : 0;
      if (options.per_token) {
        result.token_nll.mutable_data_ptr<float>()[predicted.rows[first + i]] =
            static_cast<float>(losses.nll[i]);
      }
    }
    if (!options.gradient) {
      continue;
    }
    weight.accumulate_product(grad, input);
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

int64_t chunk_rows(int64_t rows, int64_t vocabulary) {
  const int64_t most = std::max(kLeastRows, kChunkLogits / vocabulary);
  const int64_t chunks = (rows + most - 1) / most;
  return (rows + chunks - 1) / chunks;
}

}  // namespace chorus::inline nn
