// train.freeze: which parameters stay as they are.
#pragma once

#include <string>
#include <vector>

#include "layout/catalogue.h"

namespace chorus::inline state {

/// Returns for each parameter whether one of `patterns` names it: "embedding" (with the output layer), "router",
/// "expert", "dense" (all but experts), or a pattern of ParameterSpec::name with * for any text. UserError on one
/// that names nothing, and when nothing is left to train.
std::vector<bool> frozen_parameters(const Catalogue& catalogue, const std::vector<std::string>& patterns);

}  // namespace chorus::inline state
