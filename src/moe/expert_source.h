// Experts whose weights are not all in memory: who runs an MoE layer borrows those that tokens chose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace chorus::inline moe {

/// Experts of one layer that stay in memory until they are given back, or this ends.
class BorrowedExperts {
 public:
  virtual ~BorrowedExperts() = default;
  /// Those with rows, in the order in which they will be there.
  [[nodiscard]] virtual const std::vector<int64_t>& order() const = 0;
  /// Until the expert's weights are there (Parameter::matrix(i) of the layer's stacks). UserError or Error where they cannot
  /// be read, or are damaged.
  virtual void wait(int64_t expert) = 0;
  virtual void give_back(int64_t expert) = 0;
};

/// Any thread may borrow.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;
  /// Those experts of a block (ParameterSpec::block) that get rows: what is not in memory begins to come.
  [[nodiscard]] virtual std::unique_ptr<BorrowedExperts> borrow(size_t block,
                                                                const std::vector<int64_t>& rows) = 0;
  /// Those that will probably be borrowed next, and with how many rows each: the place of what was expected before.
  virtual void expect(size_t block, const std::vector<int64_t>& rows) = 0;
};

}  // namespace chorus::inline moe
