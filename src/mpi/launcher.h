// What started this process as one of several on its host: Open MPI's mpirun, or its daemon.
//
// Told to end (SIGTERM, Ctrl-C), mpirun passes SIGTERM on and kills its processes a second later, whatever
// they are doing; its parameter odls_base_sigkill_timeout makes that longer, and puts off SIGTERM as long. So
// that a checkpoint can be written in between, it is stopped (SIGSTOP) until that is done.
#pragma once

#include <atomic>

#include <sys/types.h>

namespace chorus::inline mpi {

/// Its process; 0: there is none, or it is of another kind.
pid_t launcher();

/// Tells all other ranks that this one was told to end, and whether all say the same within `seconds`, or
/// until `stop`. Where one doesn't it is dead: mpirun ends the others because of that, and they cannot save
/// anything.
bool all_are_told(double seconds, const std::atomic<bool>& stop);

/// Stops `launcher` for `seconds`; after keep_launcher_held() until release_launcher(). It goes on earlier
/// when this process is gone. A process of its own sees to all that, since calls of MPI may wait for the
/// launcher (they report dead peers through it). Once; nothing happens where that process cannot be started.
void hold_launcher(pid_t launcher, int seconds);
void keep_launcher_held();
/// Lets it go on; it may then kill this process at once. Called before what needs it: ending MPI.
void release_launcher();

}  // namespace chorus::inline mpi
