// What a training run will hold, tier by tier, before any of it is there: one rank's update is gone through
// with blocks of memory that only have a size, in the order in which the executor, the layers and the
// optimizer allocate and free them. The peak is then read off as it is off the run (memory/usage.h).
//
// Left out: what does not grow with the model or the text (vocabulary, token stores' pages, MPI's own
// buffers).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "chorus/data/padded_shape.h"
#include "chorus/kernels/cpu.h"
#include "chorus/memory/config.h"
#include "chorus/model/config.h"
#include "chorus/optim/config.h"
#include "chorus/parallel/mesh.h"

namespace chorus {

/// What memory is held for.
enum class Purpose {
  parameters,   // the weights that the model computes with, and parts of them
  gradients,    // of weights
  optimizer,    // moments and masters
  activations,  // what forward leaves for backward
  buffers,      // what an operation needs while it runs: logits, gradients by activations, chunks on the move
  exchange,     // rows on the way from rank to rank
};
inline constexpr std::array<std::string_view, 6> kPurposes = {"parameters",  "gradients", "optimizer",
                                                              "activations", "buffers",   "exchange"};

/// Bytes by Purpose.
struct Holdings {
  std::array<int64_t, kPurposes.size()> bytes{};

  [[nodiscard]] int64_t total() const;
  int64_t& operator[](Purpose purpose) { return bytes[static_cast<size_t>(purpose)]; }
  int64_t operator[](Purpose purpose) const { return bytes[static_cast<size_t>(purpose)]; }
};

/// What is taken for granted of that which no plan knows.
enum class MemoryCase {
  typical,  // choices fall on experts as those of routers that have learnt little yet (plan/routing.h), where
            // Job::skew does not say; gradients leave as fast as backward makes them
  worst,    // choices fall in whatever way takes most memory, and gradients leave a block late
};

/// A run as far as its memory is concerned.
struct Job {
  ModelConfig model;  // with its vocabulary
  at::ScalarType compute = at::kFloat;
  Isa isa = Isa::avx512_bf16;  // processors without bf16 arithmetic multiply fp32 copies
  int64_t threads = 1;         // of a rank
  Mesh mesh;
  MemoryConfig memory;
  StateForm expert_state = StateForm::fp32;  // of moments of experts
  bool recompute = false;
  int64_t micro_batches = 1;  // of an update; the replicas (Mesh::dp) take turns
  PaddedShape batch;          // the largest
  MemoryCase memory_case = MemoryCase::typical;
  // Choices that go to the experts of this rank, of the mean over the ranks of ep, in each sparse layer,
  // where that is known. A capacity factor bounds it.
  std::vector<double> skew;
  std::vector<bool> frozen;  // by parameter, in the order of the catalogue; empty: none

  /// Micro-batches of the busiest replica, an update.
  [[nodiscard]] int64_t rounds() const { return (micro_batches + mesh.dp() - 1) / mesh.dp(); }
};

/// At the moment when the tier held most.
struct MemoryPlan {
  Holdings device, host, nvme;
};
/// Of one rank, at its second update: the first has written all there is on disk.
MemoryPlan plan_memory(const Job& job, int rank = 0);

}  // namespace chorus
