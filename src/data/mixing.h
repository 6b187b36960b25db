// In which order examples are drawn: a pure function of (seed, epoch, position).
//
// An epoch has N = the number of all examples. Direction d, with n_d examples in parts of a weight
// above 0, and mean weight w_d of these, has probability p_d ~ w_d n_d^(1/T) (T = 1: as the data are; T = 5 in the
// paper; large T: all directions alike), shared over its parts by weight x examples. A denoising task's language is a
// direction too. A part gets round(p N) draws an epoch, at least one unless its weight is 0, and cycles through a keyed
// permutation of its examples, a new one each cycle and going on where the last epoch stopped, so that its examples are
// used evenly. A keyed permutation of the epoch's positions interleaves the parts.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"
#include "data/dataset.h"

namespace chorus::inline data {

struct Draw {
  int64_t part = 0;     // index into DataSet::parts()
  int64_t example = 0;  // of that part
};

class Mixing {
 public:
  /// UserError if temperature < 1 or there is no part.
  Mixing(const std::vector<DataSet::Part>& parts, double temperature, uint64_t seed);

  [[nodiscard]] int64_t draws_per_epoch() const {
    return first_.back();
  }  // N (or the number of parts, if larger)
  [[nodiscard]] int64_t draws(int64_t part) const { return first_[part + 1] - first_[part]; }
  [[nodiscard]] Draw draw(int64_t epoch, int64_t position) const;  // 0 <= position < draws_per_epoch()

 private:
  RandomKey key_;
  std::vector<int64_t> examples_;  // of each part
  std::vector<int64_t> first_;     // slot of each part's first draw; then the total
};

}  // namespace chorus::inline data
