// SIGINT and SIGTERM: the first asks, the second ends the process.
#pragma once

#include <atomic>
#include <csignal>
#include <optional>
#include <thread>

#include "comm/group.h"
#include "train/trainer.h"

namespace chorus::inline train {

/// While one lives, SIGINT and SIGTERM are noted instead of killing; another one, more than a second later,
/// ends the process at once with code 130 or 143. Where mpirun passed it on, mpirun is held
/// (mpi/launcher.h). When it ends, the signals do again what they did before. One within another does nothing. For one
/// thread.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  /// Returns the signal that was noted; 0: none.
  [[nodiscard]] static int signal();
  /// Returns how a run ends when one of the ranks has noted a signal; none: none has. Called by all ranks.
  [[nodiscard]] static std::optional<Ending> ending(Group& group);

 private:
  struct sigaction int_before_ = {}, term_before_ = {};
  std::atomic<bool> leaving_ = false;
  std::thread holder_;  // waits for the launcher's signal
};

}  // namespace chorus::inline train
