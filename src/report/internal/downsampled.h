// A history in bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace chorus::inline report {

/// Rows in their order, of which neighbours are merged, always equally many, so that there are never more than
/// `most` (an even number). Row has `void merge(const Row& next)`.
template <class Row>
class Downsampled {
 public:
  explicit Downsampled(size_t most) : most_(most) {}

  void add(Row row) {
    if (!rows_.empty() && in_last_ < in_each_) {
      rows_.back().merge(row);
      ++in_last_;
      return;
    }
    if (rows_.size() == most_) halve();
    rows_.push_back(std::move(row));
    in_last_ = 1;
  }
  [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }
  /// Rows given for each row that there is; the last may be of fewer.
  [[nodiscard]] int64_t in_each() const { return in_each_; }

 private:
  void halve() {
    for (size_t i = 0; i < most_ / 2; ++i) {
      if (i > 0) rows_[i] = std::move(rows_[2 * i]);
      rows_[i].merge(rows_[2 * i + 1]);
    }
    rows_.resize(most_ / 2);
    in_each_ *= 2;
  }

  size_t most_;
  std::vector<Row> rows_;
  int64_t in_each_ = 1, in_last_ = 0;
};

}  // namespace chorus::inline report
