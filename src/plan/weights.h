// The shadow of train/optimizer.cpp and memory/arrays.cpp: where weights, gradients and moments lie, and what
// of them comes and goes.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "chorus/model/division.h"

#include "plan/ledger.h"

namespace chorus {

struct Ledgers {
  Ledger device, host, nvme;
  Ledger& of(Tier tier);
};

/// Of memory/arrays.h.
class ArraysShadow {
 public:
  ArraysShadow() = default;
  /// `times`: of how many like it in all the cuts are one.
  ArraysShadow(Ledgers& ledgers, Purpose purpose, Tier tier, int64_t count, Arrays::Cuts cuts,
               int64_t element_bytes, double times);

  void prefetch(int64_t chunk);
  Block load(int64_t chunk);
  Block blank(int64_t chunk);
  void store(int64_t chunk, Block values);
  void finish();

 private:
  [[nodiscard]] int64_t size(int64_t chunk) const { return cuts_[chunk + 1] - cuts_[chunk]; }
  [[nodiscard]] int64_t bytes_of(int64_t chunk) const;
  [[nodiscard]] Block memory_of(int64_t chunk) const {
    return {ledgers_->host, Purpose::buffers, bytes_of(chunk)};
  }
  void drop_written(int64_t chunk);

  Ledgers* ledgers_ = nullptr;
  bool on_disk_ = false;
  int64_t count_ = 0, element_bytes_ = 0;
  Arrays::Cuts cuts_ = {0};
  Block whole_;
  std::map<int64_t, Block> reading_, writing_;
  int64_t being_written_ = 0;
};

class WeightsShadow {
 public:
  WeightsShadow(const Job& job, int rank, Ledgers& ledgers);

  void before(size_t block, bool backward);
  void after(size_t block, bool backward);
  void last_micro_batch() { last_ = true; }
  void begin_update();
  void norm_and_update();

 private:
  struct Shard {
    int64_t elements = 0, kept = 0;  // of the bucket, and of this rank's part
    int64_t value_bytes = 4;         // of an element
    bool expert = false, shared = false, values_go = false, gradients_go = false, has_master = false;
    bool rests = false;  // all of it is frozen
    bool started = false, summed = false;
    Block values, gradients;     // whole, on the device
    Block moving;                // what a sum over ranks takes
    bool leaving = false;        // gradients that wait to leave,
    bool leaves_slowly = false;  // still there while backward of the next block is at its highest
    ArraysShadow value, gradient, state;
    Arrays::Cuts cuts;           // of values and gradients
    int64_t unpacked_bytes = 0;  // of a weight's state where it is packed
    [[nodiscard]] int64_t chunks() const { return std::ssize(cuts) - 1; }
    [[nodiscard]] bool in_parts() const { return kept < elements; }
    void finish_writing();
  };
  struct Chunk {
    Shard& shard;
    int64_t number;
    [[nodiscard]] int64_t size() const { return shard.cuts[number + 1] - shard.cuts[number]; }
  };
  [[nodiscard]] static std::vector<Chunk> chunks_of(Shard& shard);
  void gather(Shard& shard);
  void reduce(Shard& shard);
  void settle(Shard& shard);  // what leaves has left
  template <class Prefetch, class Work>
  void for_update(const Prefetch& prefetch, const Work& work);

  Ledgers& ledgers_;
  bool keeps_pace_;  // what takes gradients away, with backward
  std::vector<Shard> shards_;
  Block summing_dense_, summing_experts_;  // likewise, where gradients stay
  std::vector<std::vector<size_t>> of_block_;
  bool last_ = false;
};

}  // namespace chorus
