// The mesh: which parts of the model each rank holds. A pure function of the number of ranks and the degrees.
//
//   world = dp x tp          dense parameters: rank r has part r mod tp of each, and the micro-batches of
//                            replica r div tp; the dp ranks with the same part share its gradients
//   world = edp x ep x etp   experts: each layer's are spread over ep, and each is cut over etp; the edp
//                            ranks with the same part of the same experts share its gradients
//   ZeRO 0  weights, gradients and optimizer state are whole on every rank of dp (of an expert: edp)
//        1  optimizer state is in parts          2  gradients too          3  weights too
//
// The two rows are two views of the same ranks, and neither asks anything of the other.
#pragma once

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "comm/group.h"
#include "parallel/config.h"

namespace chorus::inline parallel {

struct Mesh {
  int world = 1;
  int tp = 1;
  int ep = 1;
  int etp = 1;
  int zero = 0;
  int64_t exchange_chunks = 1;  // of a micro-batch's tokens, exchanged while experts compute others

  [[nodiscard]] int dp() const { return world / tp; }
  [[nodiscard]] int edp() const { return world / (ep * etp); }
  // Where a rank stands along each.
  [[nodiscard]] int tp_index(int rank) const { return rank % tp; }
  [[nodiscard]] int dp_index(int rank) const { return rank / tp; }
  [[nodiscard]] int etp_index(int rank) const { return rank % etp; }
  [[nodiscard]] int ep_index(int rank) const { return rank / etp % ep; }
  [[nodiscard]] int edp_index(int rank) const { return rank / (ep * etp); }
  /// Returns the number of the rank's lockstep block: lcm(tp, ep etp) ranks in a row, the smallest block that holds
  /// whole groups of tp and whole groups of ep x etp. Ranks of two blocks never wait for each other within a layer.
  [[nodiscard]] int lockstep_index(int rank) const { return rank / std::lcm(tp, ep * etp); }
};

/// A rank of a mesh.
struct Place {
  Mesh mesh;
  int rank = 0;
};

/// The numbers of a model that a mesh has to divide.
struct Divisible {
  int64_t experts = 0;  // of a layer; 0: a dense model
  int64_t heads = 1;    // of attention
  int64_t ffn = 1;      // width of a feed-forward layer
};

/// Makes the mesh for `world` ranks. UserError saying which numbers would work.
Mesh make_mesh(const ParallelConfig& config, int world, const Divisible& model);

/// Describes for people which rank holds what, and what is cut into parts; empty for one rank.
std::vector<std::string> summary(const Mesh& mesh, int64_t experts);

/// Part `index` of `parts` nearly equal ones of [0, n).
struct Stretch {
  int64_t first = 0, count = 0;
};
Stretch part_of(int64_t n, int index, int parts);

/// The groups that a rank is in. Every rank makes them at the same time.
class Parallel {
 public:
  /// This process alone.
  Parallel() = default;
  /// `world` must outlive it.
  Parallel(Group& world, const Mesh& mesh);

  [[nodiscard]] const Place& place() const { return place_; }
  [[nodiscard]] const Mesh& mesh() const { return place_.mesh; }
  /// Whether this rank's weights are the whole model.
  [[nodiscard]] bool holds_everything() const;
  /// Whether an MoE layer needs other ranks: all of them then have to run it together.
  [[nodiscard]] bool shares_experts() const { return ep.size() > 1 || etp.size() > 1 || tp.size() > 1; }
  /// Bytes sent to other ranks so far, by the name of the group; not those of `lockstep`, which are few.
  [[nodiscard]] std::map<std::string, int64_t> bytes_sent() const;

  // dp, edp: only the optimizer gives them work, which they do in the background.
  Group dp;   // the holders of the same part of the dense parameters
  Group edp;  // the holders of the same part of the same experts
  Group tp;   // the holders of the other parts of the dense parameters, who work on the same micro-batch
  Group ep;   // the holders of all experts together, one of each part, in the order of the parts
  Group etp;  // the holders of the other parts of the same experts
  // The ranks of one lockstep_index(), which tp, ep and etp together make wait for each other, where these are more
  // than the ranks of ep and etp; else this rank alone.
  Group lockstep;

  /// Returns the first of `experts` that this rank holds, of experts / ep.
  [[nodiscard]] int64_t first_expert(int64_t experts) const { return experts / mesh().ep * ep.rank(); }
  [[nodiscard]] int64_t expert_count(int64_t experts) const { return experts / mesh().ep; }

 private:
  Place place_;
};

}  // namespace chorus::inline parallel
