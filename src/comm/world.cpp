#include "chorus/comm/world.h"

#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

#include <mpi.h>

#include "chorus/base/error.h"
#include "chorus/base/log.h"

#include "comm/channel.h"

namespace chorus {

namespace {

constexpr double kTimeout = 600;  // seconds

/// Set by mpirun (Open MPI's, MPICH's, Intel's) and srun for each process they start.
bool started_with_others() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_NTASKS"}) {
    const char* value = std::getenv(variable);
    if (value && std::string_view(value) != "1") return true;
  }
  return false;
}

bool joined() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

Group join() {
  if (!started_with_others()) return {};
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_MULTIPLE)
    throw Error("this MPI library does not let several threads communicate (MPI_THREAD_MULTIPLE)");
  MPI_Comm copy = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &copy);
  return Group(std::make_unique<Channel>(copy, "world", kTimeout));
}

}  // namespace

World::World() : group_(join()) {
  if (group_.rank() > 0) console().mute();
}

World::~World() {
  if (std::uncaught_exceptions() > 0 || !joined()) return;
  group_ = Group();
  MPI_Finalize();
}

void first_alone(Group& group, std::string_view what, const std::function<void()>& work) {
  if (group.rank() == 0) work();
  group.barrier(what);
  if (group.rank() > 0) work();
}

void agree(Group& group, std::string_view what, std::string_view text) {
  const std::vector<std::string> texts = group.gather_text(text);
  for (size_t r = 1; r < texts.size(); ++r) {
    if (texts[r] != texts[0])
      throw UserError("rank {} has {} other than rank 0's: {} instead of {}", r, what, texts[r], texts[0]);
  }
}

std::string before_last_words() {
  int size = 1;
  if (!joined()) return {};
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 1) return {};
  const int rank = world_rank();
  if (rank > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1000 + 20 * rank));
  return fmt::format("rank {}: ", rank);
}

void end_all(int exit_code) {
  if (joined()) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace chorus
