#include "layout/ledger.h"

#include <numeric>

namespace chorus::inline layout {

int64_t Holdings::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

}  // namespace chorus::inline layout
