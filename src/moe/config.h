// The mixture-of-experts layer's options.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/options.h"
#include "kernels/gates.h"

namespace chorus::inline moe {

/// Which of every n blocks has an MoE layer.
enum class SparseBlock {
  last,    // NLLB-MoE
  second,  // Switch in transformers; for n = 1, all
};

/// Of encoder_every and decoder_every; as config.json may have.
inline constexpr int64_t kMostEvery = 1024;

struct MoeConfig {
  int64_t experts = 0;        // in each MoE layer; 0: a dense model
  int64_t encoder_every = 2;  // of every n encoder blocks, one has an MoE layer; 0: none
  int64_t decoder_every = 2;
  SparseBlock sparse_block = SparseBlock::last;
  int64_t top_k = 1;
  // Capacity is ceil(factor k T / E) for T tokens that are not padding; 0: dropless.
  double capacity_factor = 1.0;
  double evaluation_capacity_factor = 0;
  // Above 0: an expert takes at most so many tokens of a sentence, the first ones, in training and in
  // evaluation, as transformers' Switch; 0: the factors above decide.
  int64_t sentence_capacity = 0;
  TokenSelection selection = TokenSelection::random;  // in training; evaluation drops by position
  GateNormalization gate_normalization = GateNormalization::none;
  double jitter = 0.01;        // the router sees x (1 + jitter u), u uniform in [-1, 1), in training
  double balance_loss = 0.01;  // coefficient of E sum_e f_e P_e
  double z_loss = 0;           // coefficient of mean(logsumexp(logits)^2)
  // Probability that an update leaves out the experts of all layers, so that no token is sent to another rank
  // (2205.14336, its gate-expert-drop).
  double gating_dropout = 0;
  double expert_output_dropout =
      0;  // probability that what an expert gives for a token is masked (NLLB's EOM)
};

/// Whether what the model predicts says anything about its routers: with one choice per token and gates that sum to 1
/// every gate is 1, and only the balance and z-losses train them.
inline bool learns_routing(const MoeConfig& config) {
  return config.top_k > 1 || config.gate_normalization == GateNormalization::none;
}

/// How run files and config.json spell them.
extern const std::vector<std::pair<std::string, GateNormalization>> kGateNormalizations;

void describe(Schema& schema, MoeConfig& config);

}  // namespace chorus::inline moe
