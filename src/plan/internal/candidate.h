// What forms and the search of layouts share.
#pragma once

#include <vector>

#include "plan/forms.h"

namespace chorus::inline plan {

/// `job` with its memory and time worked out.
Candidate evaluate(std::string name, const Job& job, const Cluster& cluster);

/// The divisors of n, in rising order.
std::vector<int> divisors(int n);

}  // namespace chorus::inline plan
