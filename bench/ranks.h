// The ranks that chorus_bench runs on, when mpirun starts it: what of the library lays work out over them is
// used in ranks.cpp alone.
#pragma once

#include "parallel/mesh.h"
#include "work.h"

namespace chorus::bench {

/// All of them; a group of one without mpirun.
Group& ranks();

/// ep, zero: 1 and 0 where not said.
Parallel parallel_of(const Json& options, int64_t experts);

}  // namespace chorus::bench
