#include "mpi/world.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <system_error>
#include <thread>

#include <ATen/Parallel.h>
#include <mpi.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/ranks.h"
#include "kernels/device.h"
#include "mpi/launcher.h"

#include "mpi/internal/mpi_channel.h"

namespace chorus::inline mpi {

namespace {

constexpr double kTimeout = 600;  // seconds

// What MPI_COMM_WORLD itself is used for: a rank that fails says so to those above it, one that was told to
// end to all.
constexpr int kFailing = 0, kToldToEnd = 1;
constexpr auto kHearing = std::chrono::seconds(1);   // for how long it listens to those below
constexpr auto kSilence = std::chrono::seconds(10);  // and then leaves it to them to end all

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

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

void start_mpi() {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_MULTIPLE)
    throw Error("this MPI library does not let several threads communicate (MPI_THREAD_MULTIPLE)");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
}

Group join() {
  if (!started_with_others()) return {};
  start_mpi();
  MPI_Comm copy = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &copy);
  Group group(std::make_unique<MpiChannel>(copy, "world", kTimeout));
  const std::vector<std::string> names = group.gather_text(host_name());
  std::vector<int> hosts;
  hosts.reserve(names.size());
  for (const std::string& name : names) {
    hosts.push_back(static_cast<int>(std::ranges::find(names, name) - names.begin()));
  }
  group.set_hosts(std::move(hosts));
  return group;
}

}  // namespace

World::World() : group_(join()) {
  if (group_.rank() > 0) console().mute();
  std::error_code ignored;  // a host may not have it, and need not while all paths are absolute
  folder_before_ = std::filesystem::current_path(ignored);
  const std::string folder = group_.broadcast_text(folder_before_.string());
  std::filesystem::current_path(folder, ignored);
}

World::~World() {
  std::error_code ignored;
  std::filesystem::current_path(folder_before_, ignored);
  if (std::uncaught_exceptions() > 0 || !joined()) return;
  release_launcher();
  group_ = Group();
  MPI_Finalize();
}

void set_threads(int64_t threads, Group& group) {
  const std::string own = cores();
  const std::vector<std::string> texts = group.gather_text(host_name() + " " + own);
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  if (threads > 0 || threads_are_set()) return;
  std::vector<std::string_view> here;
  for (const std::string& text : texts) {
    const size_t space = text.find(' ');
    if (text.substr(0, space) == host_name()) here.push_back(std::string_view(text).substr(space + 1));
  }
  const int share = share_of_cores(own, here, cpu_quota());
  if (share != at::get_num_threads()) at::set_num_threads(share);
}

at::Device own_device(const std::string& name, Group& group) {
  const at::Device own = device_of_rank(name, group.rank_here(), group.ranks_here());
  check_same_on_ranks(group, "a device",
                      c10::DeviceTypeName(own.type(), true));  // of "auto" each host makes what it has
  return own;
}

bool all_are_told(double seconds, const std::atomic<bool>& stop) {
  if (!joined()) return true;
  int size = 0, left = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int rank = world_rank();
  for (int other = 0; other < size; ++other) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (other != rank &&
        MPI_Isend(nullptr, 0, MPI_BYTE, other, kToldToEnd, MPI_COMM_WORLD, &request) == MPI_SUCCESS)
      MPI_Request_free(&request);
  }
  const double began = steady_seconds();
  for (left = size - 1; left > 0 && !stop;) {
    int heard = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, kToldToEnd, MPI_COMM_WORLD, &heard, MPI_STATUS_IGNORE);
    if (heard) {
      MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, kToldToEnd, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      --left;
    } else if (steady_seconds() - began > seconds) {
      return false;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return left == 0;
}

std::string before_last_words() {
  int initialized = 0, size = 1;
  MPI_Initialized(&initialized);
  // A mistake in the command line comes before the command has joined the others.
  if (!initialized && started_with_others()) start_mpi();
  if (!joined()) return {};
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 1) return {};
  const int rank = world_rank();
  for (int above = rank + 1; above < size; ++above) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Isend(nullptr, 0, MPI_BYTE, above, kFailing, MPI_COMM_WORLD, &request) == MPI_SUCCESS)
      MPI_Request_free(&request);
  }
  const auto began = std::chrono::steady_clock::now();
  for (int heard = 0; rank > 0 && std::chrono::steady_clock::now() - began < kHearing;) {
    MPI_Iprobe(MPI_ANY_SOURCE, kFailing, MPI_COMM_WORLD, &heard, MPI_STATUS_IGNORE);
    std::this_thread::sleep_for(heard ? kSilence : std::chrono::milliseconds(10));
  }
  return fmt::format("rank {}: ", rank);
}

void end_all(int exit_code) {
  release_launcher();
  if (joined()) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace chorus::inline mpi
