// A run as the page's script reads it (src/report/page).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "report/report.h"

#include "report/internal/run_history.h"
#include "report/internal/translations.h"

namespace chorus::inline report {

/// Curves, validations, experts and languages; of `runs` runs that share a page, which bounds its size.
nlohmann::json history_json(const RunHistory& history, size_t runs);

/// Names, defaults and values by run, those first that differ from the default or between runs; null where a run
/// does not have the option.
nlohmann::json settings_json(std::span<const RunToReport> runs);

nlohmann::json comparisons_json(std::span<const Comparison> comparisons);

/// Lines of each direction, with the translations of all runs that have them; null of others. `kept` is by run,
/// null for none.
nlohmann::json samples_json(const std::vector<const KeptTranslations*>& kept);

}  // namespace chorus::inline report
