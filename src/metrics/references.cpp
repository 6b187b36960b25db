#include "metrics/internal/references.h"

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline metrics {

void check_lines(size_t hypotheses, const References& references) {
  if (hypotheses == 0) throw Error("there is no hypothesis to score");
  if (references.empty()) throw Error("there is no reference to score against");
  for (const auto& lines : references) {
    if (lines.size() != hypotheses)
      throw Error("{} and {} cannot be compared: each needs one",
                  counted(hypotheses, "hypothesis", "hypotheses"), counted(lines.size(), "reference"));
  }
}

}  // namespace chorus::inline metrics
