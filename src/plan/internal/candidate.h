// What forms and the search of layouts share.
#pragma once

#include <vector>

#include "plan/forms.h"

namespace chorus::inline plan {

/// `job` worked out.
Candidate evaluate(std::string name, const Job& job, const Cluster& cluster);

/// Of n, in rising order.
std::vector<int> divisors(int n);

}  // namespace chorus::inline plan
