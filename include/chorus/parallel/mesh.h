// The mesh: which rank holds what. A pure function of the number of ranks and the degrees.
//
//   world = dp                     dense parameters: every rank holds them, and works on micro-batches of its
//   own world = edp x ep               experts: rank r holds part r mod ep of each layer's; the ranks with
//   the same part
//                                  (edp of them) share its gradients
//   ZeRO 0  weights, gradients and optimizer state are whole on every rank of dp (of an expert: edp)
//        1  optimizer state is in parts          2  gradients too          3  weights too
#pragma once

#include <string>
#include <vector>

#include "chorus/comm/group.h"
#include "chorus/parallel/config.h"

namespace chorus {

struct Mesh {
  int world = 1;
  int ep = 1;
  int zero = 0;

  [[nodiscard]] int edp() const { return world / ep; }
  [[nodiscard]] int ep_index(int rank) const { return rank % ep; }
  [[nodiscard]] int edp_index(int rank) const { return rank / ep; }
};

/// UserError saying which numbers would work. `experts`: of a layer; 0: a dense model.
Mesh make_mesh(const ParallelConfig& config, int world, int64_t experts);

/// For people: which rank holds which experts, and what is in parts; nothing for one rank.
std::vector<std::string> describe(const Mesh& mesh, int64_t experts);

/// The groups that a rank is in. Every rank makes them at the same time.
class Parallel {
 public:
  /// This process alone.
  Parallel() = default;
  /// `world` must outlive it.
  Parallel(Group& world, const Mesh& mesh);

  [[nodiscard]] const Mesh& mesh() const { return mesh_; }
  [[nodiscard]] int rank() const { return rank_; }

  // dp, edp: given work to do later, by the optimizer alone.
  Group dp;   // the holders of the dense parameters: all ranks
  Group edp;  // the holders of this rank's experts
  Group ep;   // the holders of all experts together, one of each part, in the order of the parts

  /// The first of `experts` that this rank holds, of experts / ep.
  [[nodiscard]] int64_t first_expert(int64_t experts) const { return experts / mesh_.ep * ep.rank(); }
  [[nodiscard]] int64_t expert_count(int64_t experts) const { return experts / mesh_.ep; }

 private:
  Mesh mesh_;
  int rank_ = 0;
};

}  // namespace chorus
