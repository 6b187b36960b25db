// The rates of this machine, for the planner's times.
#pragma once

#include <filesystem>

#include "comm/group.h"
#include "plan/time.h"

namespace chorus::inline plan {

struct MeasureOptions {
  at::ScalarType compute = at::kFloat;
  std::filesystem::path folder = ".";       // on the disk of the nvme tier
  int64_t disk_bytes = int64_t{1} << 30;    // written and read there
  int64_t memory_bytes = int64_t{1} << 28;  // copied in memory
};

/// All ranks of `group` measure at once, so that each gets its share; takes some seconds. What several ranks
/// on one host send each other counts as `link`; `network` is that of ranks on different hosts, where there
/// are any. UserError where the folder has no room.
Machine measure_machine(Group& group, const MeasureOptions& options);

}  // namespace chorus::inline plan
