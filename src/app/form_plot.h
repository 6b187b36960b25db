// The largest model of each parallel form as a picture.
#pragma once

#include <string>
#include <vector>

#include "plan/forms.h"

namespace chorus::inline app {

/// SVG: one bar per form, on a logarithmic axis of parameters.
std::string form_plot(const std::vector<Candidate>& forms, const Cluster& cluster);

}  // namespace chorus::inline app
