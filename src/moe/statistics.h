// How many tokens the experts were given: per layer, expert and language.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline moe {

/// Choices, and those of them that were dropped, by the tenth in which their tokens stand. It shows that
/// selection by position drops those that come late, and that random selection does not (2109.10465, section
/// 3.1).
struct DropsByPlace {
  static constexpr int64_t kTenths = 10;
  std::array<int64_t, kTenths> choices = {}, dropped = {};
};

/// What one call of the layer leaves to be counted: on its device, for which nobody has waited yet.
struct UncountedCall {
  at::Tensor choices;  // int64 [2, N, k]: Routing's experts and kept
  at::Tensor sums;     // fp64 [E + 2]: of probabilities, for each expert; of p log p; of logsumexp^2
  at::Tensor groups;   // int32 [N] on the host; undefined: not counted
  int64_t tokens = 0, sentence_length = 1, group_count = 0;
};

/// Sums over the micro-batches seen since the last reset, for one MoE layer with E experts and G token groups
/// (languages); complete after count_calls().
struct MoeStatistics {
  int64_t tokens = 0;   // routed tokens (padding excluded)
  int64_t choices = 0;  // tokens times k
  int64_t dropped = 0;  // choices that found their expert full
  int64_t micro_batches = 0;
  double entropy = 0;             // sum over tokens of the entropy of the router's distribution, in nats
  double balance_loss = 0;        // sum over micro-batches; 1 each when balanced
  double z_loss = 0;              // sum over micro-batches of mean(logsumexp^2)
  std::vector<int64_t> assigned;  // [E]    choices before dropping
  std::vector<int64_t> by_group;  // [G, E] the same for each group
  DropsByPlace in_batch;          // among the tokens of the micro-batch, without padding
  DropsByPlace in_sentence;       // among the tokens of the sentence
  std::vector<UncountedCall> uncounted;
};

/// Adds what calls have left to be counted; waits for the device.
void count_calls(std::span<MoeStatistics> layers);

}  // namespace chorus::inline moe
