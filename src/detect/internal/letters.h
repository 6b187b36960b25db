// Text as detectors look at it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline detect {

/// Returns the first 64 KiB, with a space for each control character and each ill-formed byte.
std::string plain_text(std::string_view text);

/// A bucket of n-grams, and how often they occur.
struct BucketCount {
  uint32_t bucket = 0, count = 0;
};
/// Counts the n-grams of text as plain_text() gives it, buckets in ascending order; `buckets` is a power of two.
std::vector<BucketCount> count_ngrams(std::string_view text, size_t buckets);

/// Returns the weight of each count: 1 / sqrt(their sum).
double count_scale(const std::vector<BucketCount>& counts);

}  // namespace chorus::inline detect
