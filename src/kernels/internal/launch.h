// Starts kernels of ours (kernels/internal/team.h) on a device: on CUDA where this build has them, or on a device of
// the tests.
//
//   Launch on("combine rows", rows.device());
//   on.teams(tokens, CombineRow<float>{.rows = on.reads<float>(rows), .out = on.writes<float>(out)});
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include "kernels/device_of_tests.h"

#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// Whether kernels of ours run there.
bool runs_kernels(at::Device device);

/// Launches on CUDA a body that kernels/device/cuda.cu lists. Returns null, or why it could not be started.
template <class Body>
const char* launch_on_cuda(const Body& body, int64_t pieces, void* stream);

class Launch {
 public:
  Launch(const char* kernel, at::Device device);

  /// The elements of a contiguous tensor, for a body that reads or writes them; null where it is undefined.
  template <class T>
  const T* reads(const at::Tensor& x) const {
    return static_cast<const T*>(open(x, false));
  }
  template <class T>
  T* writes(const at::Tensor& x) const {
    return static_cast<T*>(open(x, true));
  }

  /// body(team, piece) for pieces 0 .. pieces - 1, in any order and beside each other.
  template <class Body>
  void teams(int64_t pieces, const Body& body) const {
    if (pieces == 0) return;
    const c10::DeviceGuard there(device_);  // threads of a rank need not have made it theirs
#ifdef CHORUS_CUDA_KERNELS
    if (!tests_) {
      check(launch_on_cuda(body, pieces, stream()));
      return;
    }
#endif
    tests_->run(kernel_, device_, [&] {
      HostTeam team;
      for (int64_t piece = 0; piece < pieces; ++piece) body(team, piece);
    });
  }
  /// body(squad, row) for rows [0, count).
  template <class Body>
  void rows(int64_t count, const Body& body) const {
    teams((count + EachRow<Body>::kPiece - 1) / EachRow<Body>::kPiece,
          EachRow<Body>{.body = body, .count = count});
  }
  /// body(i) for i in [0, count).
  template <class Body>
  void each(int64_t count, const Body& body) const {
    teams((count + Each<Body>::kPiece - 1) / Each<Body>::kPiece, Each<Body>{.body = body, .count = count});
  }

 private:
  [[nodiscard]] void* open(const at::Tensor& x, bool writes) const;
  [[nodiscard]] void* stream() const;
  void check(const char* error) const;  // Error unless it is null

  const char* kernel_;
  at::Device device_;
  DeviceOfTests* tests_;
};

}  // namespace chorus::inline kernels
