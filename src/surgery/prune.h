// Pruning: fewer experts in each MoE layer; those stay that some text needs most.
//
// An expert's score is one of
//
//   utilization  share of tokens that have it among their k (Z-code M3, 2109.10465)
//   importance   top1 exp(conf): share of tokens whose first choice it is, times the exponential of the mean
//                probability it then has (Koishekenov et al., 2212.09811)
//   gate         sum of its gates over the tokens, per token
//   random       drawn at random: what the others must beat
//
// and scores are divided by their sum in a layer. The router keeps the rows of the experts that stay, so that
// its softmax is over these: where the gates sum to 1, tokens that chose only experts that stay come out as
// before; where they do not (gate_normalization = none), gates grow by the probability that was cut.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "surgery/refit.h"
#include "surgery/usage.h"

namespace chorus::inline surgery {

enum class PruneBy { utilization, importance, gate, random };
extern const std::vector<std::pair<std::string, PruneBy>> kPruneBy;

/// What becomes of an expert that does not stay.
enum class PruneMethod {
  drop,
  // It goes into the one that stays whose row of the router is most like its own (by cosine), both weighted
  // by the tokens that chose them, with its hidden units in the order in which they are most like the
  // other's: the assignment with the largest sum of inner products of their weights (as MC-SMoE, 2310.01334).
  // Rows of the router are averaged likewise.
  merge,
};
extern const std::vector<std::pair<std::string, PruneMethod>> kPruneMethods;

struct PruneOptions {
  double keep = 0.25;  // share of the experts that stay: of each layer, or, with `global`, of all
  // As many in each layer as it takes for their scores to reach a threshold, the same for all layers, which
  // follows from `keep` (2212.09811).
  bool global = false;
  // Fewest experts of each layer that stay, whatever `keep` says; 0: the k that a token chooses. Below k, a
  // token of the new model chooses so many.
  int64_t least = 0;
  PruneBy by = PruneBy::utilization;
  PruneMethod method = PruneMethod::drop;
  uint64_t seed = 1;              // of random scores
  QuantizationConfig types = {};  // of the new model's weights; none: as they are
};

/// [MoE layer][expert], each layer's sum 1. `counts`: the experts of each layer; `usage`: of each layer, or
/// empty for random scores.
std::vector<std::vector<double>> expert_scores(const std::vector<int64_t>& counts,
                                               std::span<const ExpertUsage> usage,
                                               const PruneOptions& options);

/// The experts of each layer that stay, in order; of equal ones the first. `least` is at least 1.
std::vector<std::vector<int64_t>> choose_experts(const std::vector<std::vector<double>>& scores,
                                                 const PruneOptions& options);

struct PruneReport {
  struct Layer {
    std::string name;              // "encoder.layers.1"
    std::vector<double> scores;    // of each expert
    std::vector<int64_t> kept;     // in order
    std::vector<int64_t> becomes;  // of each expert: the new expert it is, or is part of; -1: dropped
    // Of the new experts, E' of them: the tokens of the text that chose one of those that each was made of, and the
    // same for each of G languages. Empty without text.
    std::vector<int64_t> assigned;     // [E']
    std::vector<int64_t> by_language;  // [G, E']
  };
  std::vector<Layer> layers;
  std::vector<std::string> languages;         // the vocabulary's
  int64_t bytes_before = 0, bytes_after = 0;  // of the weights
};

/// What is to be added to the experts of a pruned model that lies in a folder (surgery/refit.h).
using Refit = std::function<std::vector<std::vector<OutputCorrection>>(const std::filesystem::path& pruned)>;

/// UserError, which calls the model `name`, where prune_model() would refuse such a model: a dense one, and a quantized
/// one whose experts would be merged or fitted. A caller with long work to do before it calls this first.
void check_prunable(const ModelConfig& config, const PruneOptions& options, bool refit,
                    const std::string& name);

/// Writes the pruned model (see surgery/models.h). `usage` as above; with random scores merging needs none
/// either: all experts then weigh the same. A model none of whose layers loses an expert is a copy. `refit`, where
/// there is one, is asked once about the model that it would be without; that one is gone when it has answered.
/// `progress`, where there is one, hears after each merged expert how many are, of how many.
PruneReport prune_model(const std::filesystem::path& model, std::span<const ExpertUsage> usage,
                        const PruneOptions& options, const std::filesystem::path& out,
                        const Refit& refit = {},
                        const std::function<void(int64_t merged, int64_t total)>& progress = {});

/// Returns text for people: of each layer how many stay, which, and their share of the scores.
std::string to_text(const PruneReport& report);
/// Returns all of it for programs, the counts as `chorus assess --json` has them, for read_expert_use() of the new
/// model.
nlohmann::json to_json(const PruneReport& report);

}  // namespace chorus::inline surgery
