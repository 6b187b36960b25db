// Memory that only has a size: how much a room would hold, without allocating it. Next to code that allocates
// stands its footprint, which takes the same steps on a Ledger.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace chorus::inline layout {

/// What memory is held for.
enum class Purpose {
  parameters,   // the weights that the model computes with, and parts of them
  gradients,    // of weights
  optimizer,    // moments and masters
  activations,  // what forward leaves for backward
  buffers,      // what an operation needs while it runs: logits, gradients w.r.t. activations, moving chunks
  exchange,     // rows on the way from rank to rank
};
inline constexpr std::array<std::string_view, 6> kPurposes = {"parameters",  "gradients", "optimizer",
                                                              "activations", "buffers",   "exchange"};

/// Bytes by Purpose.
struct Holdings {
  std::array<int64_t, kPurposes.size()> bytes{};

  [[nodiscard]] int64_t total() const;
  int64_t& operator[](Purpose purpose) { return bytes[static_cast<size_t>(purpose)]; }
  int64_t operator[](Purpose purpose) const { return bytes[static_cast<size_t>(purpose)]; }
};

/// What is assumed where no plan can know it.
enum class MemoryCase {
  typical,  // choices fall on experts as those of routers that have learnt little yet, where
            // StepShape::skew does not say; gradients leave as fast as backward makes them
  worst,    // choices fall in whatever way takes most memory, and gradients leave a block late,
            // and AdamW on an accelerator's host goes on until the micro-batch holds most
};

class Ledger {
 public:
  void add(Purpose purpose, int64_t bytes) {
    now_[purpose] += bytes;
    total_ += bytes;
    if (total_ <= most_) return;
    most_ = total_;
    peak_ = now_;
  }
  /// What was held when the total was highest.
  [[nodiscard]] const Holdings& peak() const { return peak_; }

 private:
  Holdings now_, peak_;
  int64_t total_ = 0, most_ = 0;
};

/// Memory that is held for as long as a copy of this lives.
class Block {
 public:
  Block() = default;
  Block(Ledger& ledger, Purpose purpose, int64_t bytes)
      : held_(std::make_shared<const Held>(ledger, purpose, bytes)) {}

  [[nodiscard]] bool empty() const { return !held_; }

 private:
  struct Held {
    Ledger& ledger;
    Purpose purpose;
    int64_t bytes;
    Held(Ledger& l, Purpose p, int64_t b) : ledger(l), purpose(p), bytes(b) { ledger.add(purpose, bytes); }
    ~Held() { ledger.add(purpose, -bytes); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
  };
  std::shared_ptr<const Held> held_;
};

}  // namespace chorus::inline layout
