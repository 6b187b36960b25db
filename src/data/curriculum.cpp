#include "data/curriculum.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline data {
namespace {

struct NewWeight {
  std::string_view name;
  double weight = 0;
};

NewWeight parse_weight(std::string_view text, const std::string& where) {
  const size_t equals = text.rfind('=');
  NewWeight result = {.name = text.substr(0, equals)};
  const std::string_view number = equals == text.npos ? "" : text.substr(equals + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), result.weight);
  if (error != std::errc() || end != number.data() + number.size() || !(result.weight >= 0) ||
      !std::isfinite(result.weight)) {
    throw UserError("{}: '{}' is not NAME=WEIGHT, with a weight from 0 on", where, text);
  }
  return result;
}

void change_weights(std::span<const DataSet::Part> parts, const NewWeight& change, const std::string& where,
                    std::vector<double>& weights) {
  bool found = false;
  std::vector<std::string> names;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (std::find(names.begin(), names.end(), parts[i].name) == names.end()) names.push_back(parts[i].name);
    if (parts[i].name != change.name) continue;
    weights[i] = change.weight;
    found = true;
  }
  if (!found) {
    throw UserError("{}: no source or task is named '{}'; there are {}{}", where, change.name,
                    join(names, ", "), did_you_mean(change.name, names));
  }
}

}  // namespace

std::vector<Phase> plan_phases(std::span<const CurriculumConfig> curriculum,
                               std::span<const DataSet::Part> parts) {
  std::vector<Phase> phases(1);
  for (const DataSet::Part& part : parts) phases[0].weights.push_back(part.weight);
  for (size_t i = 0; i < curriculum.size(); ++i) {
    const std::string where = fmt::format("data.curriculum[{}]", i);
    Phase phase = {.update = curriculum[i].update, .weights = phases.back().weights};
    if (phase.update <= phases.back().update) {
      throw UserError("{}: `update` = {} must be more than {}, where the phase before it begins", where,
                      phase.update, phases.back().update);
    }
    for (const std::string& text : curriculum[i].weights)
      change_weights(parts, parse_weight(text, where), where, phase.weights);
    phases.push_back(std::move(phase));
  }
  for (const Phase& phase : phases) {
    if (!parts.empty() && std::ranges::all_of(phase.weights, [](double weight) { return weight == 0; }))
      throw UserError("all weights are 0 from update {} on: nothing is left to train on", phase.update);
  }
  return phases;
}

void check_curriculum(const DataConfig& config) {
  std::vector<DataSet::Part> parts;
  parts.reserve(config.train.size() + config.denoise.size());
  for (size_t i = 0; i < config.train.size(); ++i)
    parts.push_back({.name = curriculum_name(config.train[i], i), .weight = config.train[i].weight});
  for (const DenoiseConfig& task : config.denoise)
    parts.push_back({.name = task.name, .weight = task.weight});
  static_cast<void>(plan_phases(config.curriculum, parts));
}

}  // namespace chorus::inline data
