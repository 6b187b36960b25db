// What `chorus plan --failures` adds: the share of the time that trains, on hosts that fail.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "plan/failures.h"
#include "plan/forms.h"

namespace chorus::inline app {

struct GoodputArguments {
  std::string failures, save, restart = "2min";
};

void add_goodput_arguments(CLI::App& command, GoodputArguments& arguments);

/// Returns what failures cost on as many hosts as are planned, and on 4, 16 and 64 times as many, if an update takes
/// as long there. Empty without --failures.
std::vector<Failures> failures_of(const GoodputArguments& arguments, const Candidate& planned,
                                  const Cluster& cluster);

void print_goodput(const std::vector<Failures>& list);
nlohmann::json to_json(const Failures& failures);

}  // namespace chorus::inline app
