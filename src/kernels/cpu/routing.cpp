#include "kernels/routing.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

/// The k most probable experts of one row by repeated search: k is small.
void choose(const float* row, int64_t experts, int64_t top_k, int64_t* out) {
  for (int64_t j = 0; j < top_k; ++j) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      const bool taken = std::find(out, out + j, e) != out + j;
      if (!taken && (best < 0 || row[e] > row[best])) {
        best = e;
      }
    }
    out[j] = best;
  }
}

/// One choice competing for a place at an expert.
struct Candidate {
  int64_t slot;    // row * k + choice
  int64_t order;   // choice * N + row: first choices first, then by position
  float priority;  // higher is kept
};

/// Marks as dropped (-1 in kept) the choices beyond the capacity of their expert.
void drop_overflow(const float* probabilities, int64_t rows, int64_t experts, const RoutingOptions& options,
                   RandomKey key, Routing& routing) {
  const int64_t k = options.top_k;
  auto* kept = routing.kept.mutable_data_ptr<int64_t>();
  const auto* const first_choice = routing.experts.const_data_ptr<int64_t>();
  const auto* const assigned = routing.assigned.const_data_ptr<int64_t>();
  std::vector<std::vector<Candidate>> candidates(experts);
  for (int64_t e = 0; e < experts; ++e) {
    if (assigned[e] > routing.capacity) candidates[e].reserve(assigned[e]);
  }
  for (int64_t slot = 0; slot < rows * k; ++slot) {
    const int64_t e = kept[slot];
    if (e < 0 || assigned[e] <= routing.capacity) {
      continue;
    }
    const int64_t row = slot / k;
    float priority = 0;
    if (options.selection == TokenSelection::probability) {
      priority = batch_priority(probabilities[row * experts + first_choice[row * k]], slot % k, k);
    } else if (options.selection == TokenSelection::random) {
      priority = key.uniform(static_cast<uint64_t>(row * experts + e));
    }
    candidates[e].push_back({slot, slot % k * rows + row, priority});
  }
  for (auto& list : candidates) {
    if (list.empty()) {
      continue;
    }
    // Ties, and all of them under selection by position, go to the lower order.
    std::nth_element(list.begin(), list.begin() + routing.capacity, list.end(),
                     [](const Candidate& a, const Candidate& b) {
                       return a.priority != b.priority ? a.priority > b.priority : a.order < b.order;
                     });
    for (size_t i = routing.capacity; i < list.size(); ++i) {
      kept[list[i].slot] = -1;
    }
  }
}

/// Drops what exceeds the capacity where that is each sentence's own.
void drop_overflow_of_sentences(int64_t rows, int64_t experts, const RoutingOptions& options,
                                Routing& routing) {
  const int64_t k = options.top_k, length = options.sentence_length;
  auto* kept = routing.kept.mutable_data_ptr<int64_t>();
  std::vector<int64_t> taken(experts);
  for (int64_t first = 0; first < rows; first += length) {
    std::ranges::fill(taken, 0);
    for (int64_t choice = 0; choice < k; ++choice) {
      for (int64_t row = first; row < std::min(first + length, rows); ++row) {
        int64_t& e = kept[row * k + choice];
        if (e >= 0 && ++taken[e] > options.sentence_capacity) e = -1;
      }
    }
  }
}

}  // namespace

Routing HostBackend::route(const at::Tensor& given, const ActiveRows& active, const RoutingOptions& options,
                           RandomKey key) const {
  const at::Tensor probabilities = given.to(at::kFloat).contiguous();
  const int64_t rows = probabilities.size(0), experts = probabilities.size(1), k = options.top_k;
  const auto* p = probabilities.const_data_ptr<float>();
  const bool* const flags = active.flags.defined() ? active.flags.const_data_ptr<bool>() : nullptr;
  Routing routing = {.tokens = active.among(rows),
                     .experts = at::full({rows, k}, -1, at::kLong),
                     .kept = {},
                     .assigned = at::zeros({experts}, at::kLong)};
  auto* const chosen = routing.experts.mutable_data_ptr<int64_t>();
  auto* const assigned = routing.assigned.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    if (flags && !flags[row]) continue;
    choose(p + row * experts, experts, k, chosen + row * k);
    for (int64_t j = 0; j < k; ++j) ++assigned[chosen[row * k + j]];
  }
  routing.kept = routing.experts.clone();
  if (options.sentence_capacity > 0) {
    routing.capacity = options.sentence_capacity;
    drop_overflow_of_sentences(rows, experts, options, routing);
  } else {
    routing.capacity = expert_capacity(options.capacity_factor, k, routing.tokens, experts);
    drop_overflow(p, rows, experts, options, key, routing);
  }
  return routing;
}

}  // namespace chorus::inline kernels
