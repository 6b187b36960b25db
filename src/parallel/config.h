// How a run is spread over ranks.
#pragma once

#include <cstdint>

#include "config/options.h"

namespace chorus::inline parallel {

struct ParallelConfig {
  int64_t ep = 1;    // ranks over which the experts of a layer are spread
  int64_t etp = 1;   // ranks over which each expert is cut
  int64_t tp = 1;    // ranks over which the dense layers are cut; they share their micro-batches
  int64_t zero = 0;  // ZeRO stage: how much of a weight's state is spread over the ranks that share it
  int64_t exchange_chunks = 1;  // of a micro-batch's tokens: one travels while experts compute another
  double timeout = 600;         // seconds that a rank waits for others
};

void describe(Schema& schema, ParallelConfig& config);

}  // namespace chorus::inline parallel
