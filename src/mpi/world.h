// The processes that mpirun or srun started together.
#pragma once

#include <filesystem>
#include <functional>
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

/// Runs `work`, which does not use the group, on every rank, and comes back when it is done on all. However
/// long that takes: ranks tell each other that they live, so the time-out counts from the last sign of life
/// of one that is dead or stopped. Where it throws on a rank, that rank throws, and the others wait to be
/// ended.
void side_by_side(Group& group, std::string_view what, const std::function<void()>& work);

/// Runs `work` on rank 0 while the others wait, then on all others, as side_by_side(): where it makes files
/// that they find, and where a mistake should be told once. A rank whose work throws ends all (see
/// before_last_words).
void first_alone(Group& group, std::string_view what, const std::function<void()>& work);

/// Error unless `text` is the same on all ranks; it names a rank that differs, and `what`.
void agree(Group& group, std::string_view what, std::string_view text);

/// Threads to compute with: `threads`; where that is 0, OMP_NUM_THREADS; where that isn't set, this rank's
/// share of the cores and the CPU quota of its host (base/cores.h).
void set_threads(int64_t threads, Group& group);

/// The device of its host that this rank computes on, of the kind that is named (kernels/device.h). All ranks call
/// it together. UserError where a host has fewer than ranks, or ranks would compute on different kinds.
at::Device own_device(const std::string& name, Group& group);

/// For main, when it is about to print why it fails: leaves it to a rank below where one fails within the
/// same second, so that what all would say is said once. Returns "" where there is one process, else "rank 3:
/// ".
std::string before_last_words();

/// Ends all processes with that exit code. Comes back where there is only this one.
void end_all(int exit_code);

}  // namespace chorus::inline mpi
