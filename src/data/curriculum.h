// Weights that change while a run goes on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/config.h"
#include "data/dataset.h"

namespace chorus::inline data {

/// From update `update` to that of the next phase, examples are drawn from part i in proportion to
/// weights[i].
struct Phase {
  int64_t update = 0;
  std::vector<double> weights;  // of each part
};

/// Returns the phases of a curriculum. The first begins at 0 with the weights of the parts. UserError on a name that
/// no part has, a weight that is none, phases that do not follow one another, and a phase in which nothing has a
/// weight.
std::vector<Phase> plan_phases(std::span<const CurriculumConfig> curriculum,
                               std::span<const DataSet::Part> parts);

/// Throws the same errors, before there are parts.
void check_curriculum(const DataConfig& config);

}  // namespace chorus::inline data
