// Memory that only has a size.
#pragma once

#include <memory>

#include "chorus/memory/usage.h"
#include "chorus/plan/memory.h"

namespace chorus {

class Ledger {
 public:
  void add(Purpose purpose, int64_t bytes) {
    now_[purpose] += bytes;
    total_ += bytes;
    if (total_ <= most_) return;
    most_ = total_;
    peak_ = now_;
  }
  /// What was held when most was.
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
      : held_(std::make_shared<const Held>(ledger, purpose, allocated_bytes(bytes))) {}

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

}  // namespace chorus
