// What every metric does with its references before it counts.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace chorus::inline metrics {

/// references[r][i] belongs to hypothesis i.
using References = std::vector<std::span<const std::string>>;

inline References one_reference(std::span<const std::string> references) {
  return {references};
}
inline References several_references(std::span<const std::vector<std::string>> references) {
  return {references.begin(), references.end()};
}

/// Error when there is no line or no reference, or not as many lines in each.
void check_lines(size_t hypotheses, const References& references);

}  // namespace chorus::inline metrics
