#include "model/internal/output.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "kernels/device.h"
#include "kernels/gemm.h"

namespace chorus::inline model {

namespace {

at::Tensor index_of(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor index = at::empty({std::ssize(values)}, at::kLong);
  std::ranges::copy(values, index.mutable_data_ptr<int64_t>());
  return index.to(device);
}

Matrix rows_of(const Matrix& output, const std::vector<int32_t>& tokens) {
  return take_rows(output, index_of({tokens.begin(), tokens.end()}, at::kCPU));
}

}  // namespace

std::shared_ptr<const SharedTokens> take_rows_of(const Matrix& output, std::vector<int32_t> tokens) {
  Matrix rows = rows_of(output, tokens);
  return std::make_shared<const SharedTokens>(SharedTokens{std::move(tokens), std::move(rows), {}});
}

OutputLayer::OutputLayer(Matrix output, at::Tensor bias, std::vector<Candidates> candidates)
    : output_(std::move(output)), candidates_(std::move(candidates)), bias_(std::move(bias)) {
  if (candidates_.empty()) columns_ = output_.rows;
  own_.reserve(candidates_.size());
  for (const Candidates& one : candidates_) {
    columns_ = std::max(columns_, one.size());
    own_.push_back({rows_of(output_, one.own), bias_of(one)});
  }
  // best_tokens() adds up a row's last columns apart: which these are must not depend on the other sentences.
  constexpr int64_t kAtOnce = 64;
  if (!candidates_.empty()) columns_ = (columns_ + kAtOnce - 1) / kAtOnce * kAtOnce;
}

at::Tensor OutputLayer::bias_of(const Candidates& candidates) const {
  if (!bias_.defined()) return {};
  std::vector<int64_t> tokens;
  tokens.reserve(candidates.size());
  for (int64_t column = 0; column < candidates.size(); ++column) tokens.push_back(candidates.token(column));
  return bias_.view(-1).index_select(0, index_of(tokens, bias_.device())).to(at::kFloat);
}

at::Tensor OutputLayer::operator()(const at::Tensor& rows) {
  const int64_t count = rows.size(0);
  if (!logits_.defined() || logits_.size(0) < count)
    logits_ = at::empty({count, columns_}, rows.options().dtype(at::kFloat));
  at::Tensor logits = logits_.narrow(0, 0, count);
  if (candidates_.empty()) {
    linear_product(logits, rows, output_, {.bias = bias_});
  } else {
    of_shared(rows, logits);
    of_own(rows, logits);
  }
  return logits;
}

/// One product per list: all sentences of a list go through it together.
void OutputLayer::of_shared(const at::Tensor& rows, const at::Tensor& logits) const {
  const int64_t width = rows.size(0) / std::ssize(candidates_);
  std::vector<bool> done(candidates_.size());
  for (size_t first = 0; first < candidates_.size(); ++first) {
    if (done[first]) continue;
    const SharedTokens& shared = *candidates_[first].shared;
    std::vector<int64_t> index;
    for (size_t b = first; b < candidates_.size(); ++b) {
      if (candidates_[b].shared.get() != &shared) continue;
      done[b] = true;
      for (int64_t i = 0; i < width; ++i) index.push_back(static_cast<int64_t>(b) * width + i);
    }
    const at::Tensor columns = logits.narrow(1, 0, std::ssize(shared.tokens));
    if (std::ssize(index) == rows.size(0)) {
      linear_product(columns, rows, *shared.rows);
      return;
    }
    const at::Tensor where = index_of(index, rows.device()), some = rows.index_select(0, where);
    const at::Tensor made = at::empty({some.size(0), columns.size(1)}, columns.options());
    linear_product(made, some, *shared.rows);
    at::Tensor(columns).index_copy_(0, where, made);
  }
}

/// Products of a few rows each; behind them there is nothing to choose.
void OutputLayer::of_own(const at::Tensor& rows, const at::Tensor& logits) const {
  const int64_t sentences = std::ssize(candidates_), width = rows.size(0) / sentences;
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t size = candidates_[b].size(), count = own_[b].rows.rows;
      const at::Tensor of_sentence = logits.narrow(0, b * width, width);
      if (count > 0)
        linear_product(of_sentence.narrow(1, size - count, count), rows.narrow(0, b * width, width),
                       own_[b].rows);
      if (own_[b].bias.defined()) of_sentence.narrow(1, 0, size).add_(own_[b].bias);
      if (size < columns_)
        of_sentence.narrow(1, size, columns_ - size).fill_(-std::numeric_limits<float>::infinity());
    }
  };
  is_host(rows.device()) ? at::parallel_for(0, sentences, 1, some) : some(0, sentences);
}

void OutputLayer::pick(const at::Tensor& sentences) {
  if (candidates_.empty()) return;
  const at::Tensor index = sentences.cpu();
  std::vector<Candidates> candidates;
  std::vector<Own> own;
  candidates.reserve(index.numel());
  own.reserve(index.numel());
  for (int64_t i = 0; i < index.numel(); ++i) {
    const int64_t from = index.const_data_ptr<int64_t>()[i];
    candidates.push_back(candidates_[from]);
    own.push_back(own_[from]);
  }
  candidates_ = std::move(candidates);
  own_ = std::move(own);
}

}  // namespace chorus::inline model
