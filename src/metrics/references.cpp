#include "metrics/references.h"

#include "chorus/base/error.h"

namespace chorus::metrics {

void check_lines(size_t hypotheses, const References& references) {
  if (hypotheses == 0) throw Error("there is no hypothesis to score");
  if (references.empty()) throw Error("there is no reference to score against");
  for (const auto& lines : references) {
    if (lines.size() != hypotheses)
      throw Error("{} hypotheses and {} references cannot be compared: each needs one", hypotheses,
                  lines.size());
  }
}

}  // namespace chorus::metrics
