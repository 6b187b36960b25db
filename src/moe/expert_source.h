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
  /// Returns the experts that have rows, in the order in which their weights will be there.
  [[nodiscard]] virtual const std::vector<int64_t>& order() const = 0;
  /// Waits until the expert's weights are in memory (Parameter::matrix(i) of the layer's stacks). UserError or Error
  /// when they cannot be read, or are damaged.
  virtual void wait(int64_t expert) = 0;
  /// Says that the expert's weights are not needed any more.
  virtual void give_back(int64_t expert) = 0;
};

/// Lends experts. Any thread may call it.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;
  /// Lends the experts of a block (ParameterSpec::block) that get rows; rows[e]: how many expert e gets. What is not
  /// in memory begins to be read.
  [[nodiscard]] virtual std::unique_ptr<BorrowedExperts> borrow(size_t block,
                                                                const std::vector<int64_t>& rows) = 0;
  /// Says which experts will probably be borrowed next, and with how many rows each. Replaces what was expected
  /// before.
  virtual void expect(size_t block, const std::vector<int64_t>& rows) = 0;
};

}  // namespace chorus::inline moe
