// Bodies of a device's kernels (kernels/internal/team.h): what kernels/routing.h, gates.h and rows.h say of routing.
#pragma once

#include "base/random.h"
#include "kernels/gates.h"

#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// Piece: a row. Chooses its experts, and says which choice an expert prefers: the greater `precedence`.
struct ChooseExperts {
  const float* probabilities;  // [N, E]
  const bool* active;          // [N]; null: all are
  int64_t rows, experts, k;
  TokenSelection selection;
  RandomKey key;
  int64_t *chosen, *kept;  // [N, k]
  uint64_t* precedence;    // [N, k]; null: no expert is asked to prefer

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const bool is_token = !active || active[row];
    // Experts as whole numbers, no two alike: the most probable, and of equal ones the first, is the greatest. The next
    // one is the greatest below the last.
    uint64_t last = ~uint64_t{0};
    float surest = 0;  // the probability of the first
    for (int64_t j = 0; j < k; ++j) {
      uint64_t best = 0;
      if (is_token) {
        for_lanes(team, experts, [&](int64_t e) {
          const uint64_t mine = uint64_t{ordered_bits(probabilities[row * experts + e])} << 32 |
                                (0xFFFFFFFFU - static_cast<uint32_t>(e));
          if (mine < last && mine > best) best = mine;
        });
      }
      best = last = team.max(best);
      if (team.lane() != 0) continue;
      const int64_t slot = row * k + j,
                    e = is_token ? int64_t{0xFFFFFFFFU - static_cast<uint32_t>(best)} : -1;
      chosen[slot] = kept[slot] = e;
      if (j == 0 && is_token) surest = probabilities[row * experts + e];
      if (precedence && is_token)
        precedence[slot] = uint64_t{priority(row, e, batch_priority(surest, j, k))} << 32 |
                           (0xFFFFFFFFU - static_cast<uint32_t>(j * rows + row));
    }
  }

 private:
  [[nodiscard]] CHORUS_DEVICE uint32_t priority(int64_t row, int64_t e, float by_probability) const {
    if (selection == TokenSelection::probability) return ordered_bits(by_probability);
    if (selection == TokenSelection::random)
      return ordered_bits(key.uniform(static_cast<uint64_t>(row * experts + e)));
    return 0;
  }
};

/// Piece: an expert. Counts its choices, and drops those that it does not prefer.
struct KeepChoices {
  const int64_t* chosen;       // [slots]
  const uint64_t* precedence;  // [slots], of which no two are alike; null: all fit
  int64_t slots, capacity;
  int64_t *kept, *assigned;  // [slots], [E]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t e) const {
    int64_t own = 0;
    for_lanes(team, slots, [&](int64_t slot) { own += chosen[slot] == e ? 1 : 0; });
    own = team.sum(own);
    if (team.lane() == 0) assigned[e] = own;
    if (own <= capacity) return;
    const uint64_t least = least_kept(team, e);
    for_lanes(team, slots, [&](int64_t slot) {
      if (chosen[slot] == e && precedence[slot] < least) kept[slot] = -1;
    });
  }

 private:
  /// The precedence of the last choice that finds a place, byte by byte from the highest.
  template <class Team>
  CHORUS_DEVICE uint64_t least_kept(Team& team, int64_t e) const {
    uint64_t prefix = 0, known = 0;
    int64_t places = capacity;
    for (int shift = 56; shift >= 0; shift -= 8) {
      team.clear_bins();
      for_lanes(team, slots, [&](int64_t slot) {
        if (chosen[slot] == e && (precedence[slot] & known) == prefix)
          team.add(static_cast<int64_t>(precedence[slot] >> shift & 0xFF));
      });
      team.sync();
      int64_t byte = 255;
      for (; byte > 0 && team.bin(byte) < places; --byte) places -= team.bin(byte);
      prefix |= static_cast<uint64_t>(byte) << shift;
      known |= uint64_t{0xFF} << shift;
      team.sync();
    }
    return prefix;
  }
};

/// Piece: an expert. Its kept choices get consecutive rows, behind those of the experts before it.
struct PlaceRows {
  const int64_t* kept;  // [slots]
  int64_t slots, k, experts, most;
  int64_t *slot_of, *token, *choice;  // [slots], [most], [most]
  int32_t* ends;                      // [E]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t e) const {
    int64_t next = 0;
    for_lanes(team, slots, [&](int64_t slot) {
      next += kept[slot] >= 0 && kept[slot] < e ? 1 : 0;
      if (e == 0 && kept[slot] < 0) slot_of[slot] = -1;
    });
    next = team.sum(next);
    for (int64_t first = 0; first < slots; first += team.lanes()) {
      const int64_t slot = first + team.lane();
      const bool own = slot < slots && kept[slot] == e;
      int64_t all = 0;
      const int64_t row = next + team.before(own ? 1 : 0, all);
      if (own) {
        slot_of[slot] = row;
        token[row] = slot / k;
        choice[row] = slot;
      }
      next += all;
    }
    if (team.lane() == 0) ends[e] = static_cast<int32_t>(next);
    if (e == experts - 1)
      for_lanes(team, most - next, [&](int64_t i) { token[next + i] = choice[next + i] = 0; });
  }
};

/// What gates are divided by, and whether that depends on the probabilities.
struct GateSum {
  float sum = 1;
  bool moves = false;
};

/// A row's choices and their probabilities.
struct GateChoices {
  const float* probabilities;    // [N, E]
  const int64_t *chosen, *kept;  // [N, k]
  int64_t experts, k;
  GateNormalization normalization;

  [[nodiscard]] CHORUS_DEVICE float probability(int64_t row, int64_t slot) const {
    return chosen[slot] < 0 ? 0 : probabilities[row * experts + chosen[slot]];
  }
  /// Whether a choice is in the sum.
  [[nodiscard]] CHORUS_DEVICE bool counts(int64_t slot) const {
    return normalization == GateNormalization::before_drop ? chosen[slot] >= 0 : kept[slot] >= 0;
  }
  [[nodiscard]] CHORUS_DEVICE GateSum sum(int64_t row) const {
    constexpr float kLeast = 1.1920929e-07F;  // epsilon
    if (normalization == GateNormalization::none) return {};
    float sum = 0;
    for (int64_t slot = row * k; slot < (row + 1) * k; ++slot)
      sum += counts(slot) ? probability(row, slot) : 0;
    return {.sum = sum < kLeast ? kLeast : sum, .moves = sum >= kLeast};
  }
};

/// Element: a row.
struct GateRow {
  GateChoices choices;
  float* gate;  // [N, k]

  CHORUS_DEVICE void operator()(int64_t row) const {
    const float sum = choices.sum(row).sum;
    for (int64_t slot = row * choices.k; slot < (row + 1) * choices.k; ++slot)
      gate[slot] = choices.kept[slot] < 0 ? 0 : choices.probability(row, slot) / sum;
  }
};

/// Piece: a row. Computes the gradient w.r.t. its logits from that w.r.t. its gates.
struct RouterRow {
  GateChoices choices;
  const float* grad_gate;      // [N, k]
  const bool* active;          // [N]; null: all are
  const int64_t* assigned;     // [E]
  const float* log_partition;  // [N]; null without z
  float balance;               // times an expert's `assigned`: that loss's gradient w.r.t. its probability
  float z;
  float* out;  // [N, E]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t experts = choices.experts, k = choices.k;
    const GateSum sum = choices.sum(row);
    float mean = 0;  // of the gradients w.r.t. the gates, weighted by the gates
    if (sum.moves) {
      for (int64_t slot = row * k; slot < (row + 1) * k; ++slot)
        if (choices.kept[slot] >= 0) mean += grad_gate[slot] * choices.probability(row, slot) / sum.sum;
    }
    const bool is_token = !active || active[row];
    const float* const p = choices.probabilities + row * experts;
    const auto by_probability = [&](int64_t e) {
      float grad = is_token ? balance * static_cast<float>(assigned[e]) : 0;
      for (int64_t slot = row * k; slot < (row + 1) * k; ++slot) {
        if (choices.chosen[slot] != e) continue;
        const float by_gate = choices.kept[slot] < 0 ? 0 : grad_gate[slot];
        if (choices.normalization == GateNormalization::none) {
          grad += by_gate;
        } else if (choices.counts(slot)) {
          grad += (by_gate - mean) / sum.sum;
        }
      }
      return grad;
    };
    float dot = 0;
    for_lanes(team, experts, [&](int64_t e) { dot += by_probability(e) * p[e]; });
    dot = team.sum(dot);
    const float by_partition = log_partition && is_token ? z * log_partition[row] : 0;
    for_lanes(team, experts,
              [&](int64_t e) { out[row * experts + e] = p[e] * (by_probability(e) - dot + by_partition); });
  }
};

}  // namespace chorus::inline kernels
