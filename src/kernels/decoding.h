// What a decoding step does between its linear layers (kernels/gemm.h): fp32 activations, one row per
// hypothesis, on the host but for best_tokens(). A row's result does not depend on the other rows, nor on
// threads. Nothing is recorded for autograd.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/activation.h"
#include "kernels/quantized.h"

namespace chorus::inline kernels {

/// weight[id] * scale + position. ids: int64 [n], unchecked; weight: [V, d] of fp32 or bf16, or quantized; positions:
/// [L, d] of any floating type, the i-th id taking row i modulo L -> fp32 [n, d].
at::Tensor embed_rows(const at::Tensor& ids, const Matrix& weight, double scale, const at::Tensor& position);

/// Of attend_rows().
struct RowScores {
  std::optional<double> scale;  // of the scores; unset: 1 / sqrt(d_head)
  // fp32 [heads, G, L], contiguous: entry (h, g, j) is added to the score of a list's j-th slot for the g-th query of a
  // group, or for all where G is 1; lists of up to L slots. Undefined: none.
  at::Tensor bias;
};

/// softmax(scale q k^T + bias) v of single queries. query: fp32 [n, d]; keys, values: both fp32 or bf16, [slots, d];
/// all with unit stride along d; `seen` has one list of slots, none empty, for each group of n / seen.size()
/// neighbouring queries. Arithmetic is fp32.
/// -> fp32 [n, d].
at::Tensor attend_rows(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                       const std::vector<std::vector<int32_t>>& seen, int64_t heads,
                       const RowScores& options = {});

/// Does what activate() does, of fp32 rows.
at::Tensor activate_rows(Activation activation, const at::Tensor& input);

/// The best continuations of each row.
struct BestTokens {
  at::Tensor tokens;             // int64 [rows, k], best first; of equal ones the lowest token first
  at::Tensor log_probabilities;  // fp32 [rows, k], over all tokens, those not to be chosen included
};

/// Tokens of single rows, as pairs (row, token), each pair once.
struct RowTokens {
  std::vector<int64_t> rows, tokens;
};

/// What makes some tokens of single rows less likely (a factor above 1) or more (below): the log-probability
/// is multiplied by the factor; or the logit is, if it is negative, and divided by it if it is not.
struct Penalty {
  RowTokens on = {};
  double factor = 1;
  bool of_logits = false;
};

/// logits: fp32 [rows, V], contiguous; those of `never`, and those banned, become -inf, those penalised
/// become what the penalty makes of them. What it returns is on the host. k at most V. NaN in a row makes its
/// log-probabilities NaN.
BestTokens best_tokens(const at::Tensor& logits, const std::vector<int32_t>& never, const RowTokens& banned,
                       int64_t k, const Penalty& penalty = {});

}  // namespace chorus::inline kernels
