// The processes that mpirun or srun started together.
#pragma once

#include <filesystem>
#include <string_view>

#include <c10/core/Device.h>

#include "comm/group.h"

namespace chorus::inline mpi {

/// Joins the others for as long as it lives; at most one per process. Alone unless the environment says that
/// this process was started as one of several. All go to rank 0's working directory where it is there, so
/// that a relative path means the same everywhere, and back at the end. Where an exception passes, it leaves
/// the others waiting: end_all() is then the way out.
class World {
 public:
  World();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  [[nodiscard]] Group& group() { return group_; }

 private:
  Group group_;
  std::filesystem::path folder_before_;
};

/// Sets the threads to compute with: `threads`; where that is 0, OMP_NUM_THREADS; where that isn't set, this rank's
/// share of the cores and the CPU quota of its host (base/cores.h).
void set_threads(int64_t threads, Group& group);

/// Returns the device of its host that this rank computes on, of the kind that is named (kernels/device.h). All ranks
/// call it together. UserError where a host has fewer than ranks, or ranks would compute on different kinds.
at::Device own_device(const std::string& name, Group& group);

/// Leaves it to a lower rank to print why it fails, if one fails within the same second, so that what all would say
/// is said once. For main, when it is about to print. Returns "" where there is one process, else "rank 3: ".
std::string before_last_words();

/// Ends all processes with that exit code. Returns where there is only this one.
void end_all(int exit_code);

}  // namespace chorus::inline mpi
