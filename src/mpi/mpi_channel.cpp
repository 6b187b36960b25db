#include "mpi/internal/mpi_channel.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <exception>
#include <numeric>
#include <thread>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/failure.h"
#include "kernels/device.h"

#include "mpi/internal/nccl.h"

namespace chorus::inline mpi {

namespace {

constexpr size_t kLargest = size_t{1} << 30;  // bytes of one message: MPI counts in int
constexpr int kTags = 1 << 15;                // MPI guarantees as many

void check(int result, std::string_view what) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text = {};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  throw Error("{}: MPI says: {}", what, std::string_view(text.data(), static_cast<size_t>(length)));
}

/// The smaller the longer it has lasted already: at first what one waits for is a memory copy away.
void rest(double waited) {
  if (waited < 50e-6) return;
  if (waited < 5e-3) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(waited < 1 ? 100 : 2000));
  }
}

}  // namespace

/// What ranks that wait tell each other when one of them has waited too long: in which operation they are.
class MpiChannel::RollCall {
 public:
  RollCall(const MpiChannel& channel, std::string_view what)
      : channel_(channel), own_({.operation = channel.operations_}), others_(channel.size_) {
    std::memcpy(own_.what.data(), what.data(), std::min(what.size(), own_.what.size() - 1));
    for (Place& place : others_) {
      place.operation = -1;
    }
  }

  /// Reads what others say, and tells them once where this one is if one of them asked, or `ask`.
  void look(bool ask) {
    int there = 1;
    while (true) {
      MPI_Status status;
      check(MPI_Iprobe(MPI_ANY_SOURCE, 0, channel_.watch_, &there, &status), "roll call");
      if (!there) break;
      Place place;
      check(
          MPI_Recv(&place, sizeof place, MPI_BYTE, status.MPI_SOURCE, 0, channel_.watch_, MPI_STATUS_IGNORE),
          "roll call");
      others_[status.MPI_SOURCE] = place;
      ask |= place.operation == own_.operation;
    }
    if (ask && !told_) {
      told_ = true;
      for (int r = 0; r < channel_.size_; ++r) {
        if (r == channel_.rank_) continue;
        MPI_Request request;  // small enough to leave at once
        check(MPI_Isend(&own_, sizeof own_, MPI_BYTE, r, 0, channel_.watch_, &request), "roll call");
        check(MPI_Request_free(&request), "roll call");
      }
    }
  }

  /// "rank 2": those that say nothing; where all do, "rank 2 (last seen in all_reduce)": those elsewhere.
  [[nodiscard]] std::string missing() const {
    std::vector<std::string> silent, elsewhere;
    for (int r = 0; r < channel_.size_; ++r) {
      const Place& place = others_[r];
      if (r == channel_.rank_ || place.operation == own_.operation) continue;
      if (place.operation < 0) {
        silent.push_back(fmt::format("rank {}", r));
      } else {
        elsewhere.push_back(fmt::format("rank {} (last seen in {})", r, place.what.data()));
      }
    }
    return fmt::format("{}", fmt::join(silent.empty() ? elsewhere : silent, ", "));
  }

 private:
  struct Place {
    int64_t operation = 0;
    std::array<char, 120> what = {};
  };
  const MpiChannel& channel_;
  Place own_;
  std::vector<Place> others_;
  bool told_ = false;
};

MpiChannel::MpiChannel(MPI_Comm communicator, std::string name, double timeout)
    : Channel(std::move(name)), communicator_(communicator), watch_(MPI_COMM_NULL), timeout_(timeout) {
  check(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_dup(communicator_, &watch_), "MPI_Comm_dup");
  check(MPI_Comm_rank(communicator_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(communicator_, &size_), "MPI_Comm_size");
}

MpiChannel::~MpiChannel() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) return;
  MPI_Comm_free(&watch_);
  MPI_Comm_free(&communicator_);
}

std::unique_ptr<Channel> MpiChannel::subset(std::span<const int> ranks, std::string name) const {
  MPI_Group all = MPI_GROUP_NULL, chosen = MPI_GROUP_NULL;
  MPI_Comm communicator = MPI_COMM_NULL;
  check(MPI_Comm_group(communicator_, &all), "MPI_Comm_group");
  check(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &chosen), "MPI_Group_incl");
  check(MPI_Comm_create_group(communicator_, chosen, 0, &communicator), "MPI_Comm_create_group");
  MPI_Group_free(&chosen);
  MPI_Group_free(&all);
  return std::make_unique<MpiChannel>(communicator, std::move(name), timeout_);
}

void MpiChannel::exchange(at::Device device, std::string_view what, std::span<const Piece> send,
                          std::span<const Piece> receive) {
  if (!failure_.empty()) throw Error("{}", failure_);
  try {
    if (is_host(device)) {
      exchange_on_host(what, send, receive);
    } else if (is_nvidia(device)) {
      exchange_on_gpu(device, what, send, receive);
    } else {
      exchange_by_host(device, what, send, receive);
    }
  } catch (const std::exception& error) {
    failure_ = error.what();
    end_by_hook();
    throw;
  }
}

void MpiChannel::exchange_by_host(at::Device device, std::string_view what, std::span<const Piece> send,
                                  std::span<const Piece> receive) {
  const auto bytes_of = [&](const Piece& piece) {
    return at::for_blob(piece.data, {static_cast<int64_t>(piece.bytes)})
        .options(at::TensorOptions(at::kByte).device(device))
        .target_device(device)
        .make_tensor();
  };
  std::vector<at::Tensor> sent, received;
  std::vector<Piece> out, in;
  for (int r = 0; r < size_; ++r) {
    const bool again = r > 0 && send[r].data == send[r - 1].data && send[r].bytes == send[r - 1].bytes;
    sent.push_back(again ? sent.back() : bytes_of(send[r]).to(at::kCPU));
    received.push_back(at::empty({static_cast<int64_t>(receive[r].bytes)}, at::kByte));
    out.push_back({static_cast<char*>(sent[r].mutable_data_ptr()), send[r].bytes});
    in.push_back({static_cast<char*>(received[r].mutable_data_ptr()), receive[r].bytes});
  }
  exchange_on_host(what, out, in);
  for (int r = 0; r < size_; ++r) bytes_of(receive[r]).copy_(received[r]);
}

void MpiChannel::exchange_on_host(std::string_view what, std::span<const Piece> send,
                                  std::span<const Piece> receive) {
  const int tag = static_cast<int>(operations_++ % kTags);
  std::vector<MPI_Request> requests;
  std::vector<size_t> expected;  // bytes of each request, which come first for what is received
  const auto post = [&] {
    for (int step = 1; step < size_; ++step) {
      const int from = (rank_ + size_ - step) % size_;
      for (size_t at = 0; at < receive[from].bytes; at += kLargest) {
        const size_t bytes = std::min(kLargest, receive[from].bytes - at);
        expected.push_back(bytes);
        check(MPI_Irecv(receive[from].data + at, static_cast<int>(bytes), MPI_BYTE, from, tag, communicator_,
                        &requests.emplace_back(MPI_REQUEST_NULL)),
              what);
      }
    }
    for (int step = 1; step < size_; ++step) {
      const int to = (rank_ + step) % size_;
      for (size_t at = 0; at < send[to].bytes; at += kLargest) {
        const size_t bytes = std::min(kLargest, send[to].bytes - at);
        check(MPI_Isend(send[to].data + at, static_cast<int>(bytes), MPI_BYTE, to, tag, communicator_,
                        &requests.emplace_back(MPI_REQUEST_NULL)),
              what);
      }
      bytes_sent_ += static_cast<int64_t>(send[to].bytes);
    }
  };
  std::vector<MPI_Status> statuses;
  const auto done = [&] {
    int all = 0;
    const int result = MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all, statuses.data());
    if (result == MPI_ERR_IN_STATUS) {
      const auto failed = std::ranges::find_if(statuses, [](const MPI_Status& s) {
        return s.MPI_ERROR != MPI_SUCCESS && s.MPI_ERROR != MPI_ERR_PENDING;
      });
      check(failed == statuses.end() ? result : failed->MPI_ERROR,
            fmt::format("{} in group {}", what, name_));
    }
    check(result, what);
    return all != 0;
  };
  try {
    post();
    if (send[rank_].bytes > 0 && send[rank_].data != receive[rank_].data)
      std::memcpy(receive[rank_].data, send[rank_].data, send[rank_].bytes);
    statuses.resize(requests.size());
    wait(what, done);
  } catch (...) {  // what comes too late must not be written to memory that the caller takes back
    for (size_t i = 0; i < expected.size(); ++i) {
      if (requests[i] == MPI_REQUEST_NULL) continue;
      MPI_Cancel(&requests[i]);
      MPI_Request_free(&requests[i]);
    }
    throw;
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    int bytes = 0;
    check(MPI_Get_count(&statuses[i], MPI_BYTE, &bytes), what);
    if (std::cmp_not_equal(bytes, expected[i])) {
      throw Error("{} in group {}: rank {} sent {} bytes where rank {} expected {}", what, name_,
                  statuses[i].MPI_SOURCE, bytes, rank_, expected[i]);
    }
  }
}

void MpiChannel::exchange_on_gpu(at::Device gpu, std::string_view what, std::span<const Piece> send,
                                 std::span<const Piece> receive) {
  if (!nccl_) {
    std::string id = rank_ == 0 ? Nccl::new_id() : std::string(Nccl::kIdBytes, '\0');
    Piece whole = {id.data(), id.size()};
    std::vector<Piece> out(size_), in(size_);
    if (rank_ == 0) std::ranges::fill(out, whole);
    in[0] = whole;
    exchange_on_host("NCCL's start", out, in);
    nccl_ = std::make_unique<Nccl>(id, rank_, size_, gpu);
    wait("NCCL's start", [&] { return nccl_->done(); });
  }
  ++operations_;
  nccl_->start(send, receive);
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) bytes_sent_ += static_cast<int64_t>(send[r].bytes);
  }
  wait(what, [&] { return nccl_->done(); });
}

void MpiChannel::wait(std::string_view what, const std::function<bool()>& done) {
  const double began = steady_seconds(), asks = timeout_ - std::min(5.0, timeout_ / 2);
  RollCall roll_call(*this, what);
  while (!done()) {
    const double waited = steady_seconds() - began;
    rest(waited);
    if (waited > 0.1) roll_call.look(waited > asks);
    if (waited > timeout_) {
      const std::string missing = roll_call.missing();
      throw Error("{} in group {} has waited {:.0f} s (parallel.timeout) {}", what, name_, waited,
                  missing.empty() ? "though all ranks are there: the network between them may be gone"
                                  : fmt::format("for {}: dead, hanging, or doing something else", missing));
    }
  }
}

}  // namespace chorus::inline mpi
