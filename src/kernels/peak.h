// What the processor can do in a second, measured: the limits that kernels are held against, and what decides
// between vectors of 256 and of 512 bits, which some processors take in halves.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace chorus::inline kernels {

struct Peak {
  std::string_view arithmetic;  // "fp32, AVX2"
  double operations = 0;        // per second: a multiplication and an addition are two
};

/// One core's, for each instruction set that it has; each takes some `seconds`. On the calling thread.
std::vector<Peak> measure_peaks(double seconds);

/// Bytes per second that `threads` threads move together: large arrays, past the caches.
struct MemoryRates {
  double read = 0, write = 0;
  double copy = 0;  // read and written together
};
/// Measures on arrays of `bytes` per thread, the best of some passes.
MemoryRates measure_memory(int64_t bytes, int threads);

/// Whether 512 bits are worth two times 256. Measured once, in less than a millisecond, on the first call. False
/// without AVX-512.
bool wide_vectors_pay();

}  // namespace chorus::inline kernels
