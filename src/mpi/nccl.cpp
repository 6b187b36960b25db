#include "mpi/internal/nccl.h"

#include "base/error.h"
#include "mpi/libraries.h"

#ifdef CHORUS_NCCL

#include <optional>

#include <c10/core/Event.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include "comm/channel.h"

namespace chorus::inline mpi {

struct Nccl::State {
  int rank;
  at::Device device;
  c10::cuda::CUDAStream stream;  // beside the one that computes
  ncclComm_t communicator = nullptr;
  bool sending = false;                // started, and not yet all on the stream
  std::optional<c10::Event> end = {};  // of what was started, once it is on the stream
};

namespace {

/// The communicator does not block: what it is still busy with is no error.
void check(ncclResult_t result, ncclComm_t communicator = nullptr) {
  if (result != ncclSuccess && result != ncclInProgress)
    throw Error("NCCL says: {}: {}", ncclGetErrorString(result), ncclGetLastError(communicator));
}

}  // namespace

std::string Nccl::new_id() {
  ncclUniqueId id;
  check(ncclGetUniqueId(&id));
  return {id.internal, sizeof id.internal};
}

Nccl::Nccl(std::string_view id, int rank, int size, at::Device device)
    : state_(std::make_unique<State>(State{
          .rank = rank, .device = device, .stream = c10::cuda::getStreamFromPool(true, device.index())})) {
  const c10::cuda::CUDAGuard guard(device);
  ncclUniqueId shared;
  id.copy(shared.internal, sizeof shared.internal);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // so that whoever waits can say for whom
  check(ncclCommInitRankConfig(&state_->communicator, size, shared, rank, &config));
}

Nccl::~Nccl() {
  ncclCommDestroy(state_->communicator);  // nothing is under way here: every start() was waited for
}

void Nccl::start(std::span<const Piece> send, std::span<const Piece> receive) {
  State& s = *state_;
  const c10::cuda::CUDAGuard guard(s.device);
  c10::Event begin(s.device.type());
  begin.record(c10::cuda::getCurrentCUDAStream(s.device.index()));
  begin.block(s.stream);
  check(ncclGroupStart());
  for (int r = 0; r < static_cast<int>(send.size()); ++r) {
    if (r == s.rank && send[r].data == receive[r].data) continue;
    if (send[r].bytes > 0)
      check(ncclSend(send[r].data, send[r].bytes, ncclChar, r, s.communicator, s.stream.stream()));
    if (receive[r].bytes > 0)
      check(ncclRecv(receive[r].data, receive[r].bytes, ncclChar, r, s.communicator, s.stream.stream()));
  }
  check(ncclGroupEnd());
  s.sending = true;
}

bool Nccl::done() {
  State& s = *state_;
  const c10::cuda::CUDAGuard guard(s.device);
  ncclResult_t state = ncclSuccess;
  check(ncclCommGetAsyncError(s.communicator, &state), s.communicator);
  check(state, s.communicator);
  if (state == ncclInProgress) return false;
  if (s.sending) {
    s.end.emplace(s.device.type()).record(s.stream);
    s.sending = false;
  }
  return !s.end || s.end->query();
}

std::string nccl_library() {
  int version = 0;  // 22705 is 2.27.5
  check(ncclGetVersion(&version));
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace chorus::inline mpi

#else

namespace chorus::inline mpi {

struct Nccl::State {};

std::string Nccl::new_id() {
  throw Error(
      "ranks exchange what lies on GPUs through NCCL, which this chorus was built without: see "
      "docs/building.md");
}

Nccl::Nccl(std::string_view, int, int, at::Device) {
  new_id();
}
Nccl::~Nccl() = default;
void Nccl::start(std::span<const Piece>, std::span<const Piece>) {}
bool Nccl::done() {
  return true;
}

std::string nccl_library() {
  return "";
}

}  // namespace chorus::inline mpi

#endif
