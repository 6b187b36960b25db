// For tests: short names of tiers, and what a run held in them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "memory/config.h"

namespace chorus {

inline constexpr Tier kDevice = Tier::device, kHost = Tier::host, kNvme = Tier::nvme;

/// The most of `kind` in a run's records.
inline int64_t peak(const std::filesystem::path& run, const char* kind) {
  std::ifstream file(run / "metrics.jsonl");
  int64_t most = 0;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    if (record["kind"] == "train") most = std::max(most, record["memory"][kind].get<int64_t>());
  }
  return most;
}

}  // namespace chorus
