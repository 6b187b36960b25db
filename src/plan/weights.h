// The shadow of train/optimizer.cpp and memory/arrays.cpp: where weights, gradients and moments lie, and what
// of them comes and goes.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "chorus/model/buckets.h"

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
  ArraysShadow(Ledgers& ledgers, Purpose purpose, Tier tier, int64_t count, int64_t elements,
               int64_t element_bytes);

  [[nodiscard]] int64_t chunks() const;
  void prefetch(int64_t chunk);
  Block load(int64_t chunk);
  Block blank(int64_t chunk);
  void store(int64_t chunk, Block values);
  void finish() { writing_.clear(); }
  void copy_out();

 private:
  [[nodiscard]] Block memory_of(int64_t chunk) const;

  Ledgers* ledgers_ = nullptr;
  bool on_disk_ = false;
  int64_t count_ = 0, elements_ = 0, element_bytes_ = 0;
  Block whole_;
  std::map<int64_t, Block> reading_, writing_;
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
    bool shared = false, values_go = false, gradients_go = false, has_master = false;
    bool started = false, summed = false;
    Block values, gradients;     // whole, on the device
    bool leaving = false;        // gradients that wait to leave,
    bool leaves_slowly = false;  // for the disk
    ArraysShadow value, gradient, state;
    [[nodiscard]] bool in_parts() const { return kept < elements; }
    void finish_writing();
  };
  void gather(Shard& shard);
  void reduce(Shard& shard);
  void settle(Shard& shard);  // what leaves has left
  template <class Prefetch, class Work>
  void for_chunks(const Prefetch& prefetch, const Work& work);

  Ledgers& ledgers_;
  std::vector<Shard> shards_;
  std::vector<std::vector<size_t>> of_block_;
  bool last_ = false;
};

}  // namespace chorus
