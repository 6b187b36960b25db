#include "chorus/moe/router.h"

#include <limits>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

namespace chorus {

namespace {

bool is_active(const at::Tensor& active, const bool* flags, int64_t row) {
  return !active.defined() || flags[row];
}

const bool* flags_of(const at::Tensor& active) {
  return active.defined() ? active.const_data_ptr<bool>() : nullptr;
}

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
  std::vector<std::vector<Candidate>> candidates(experts);
  for (int64_t e = 0; e < experts; ++e) {
    if (routing.assigned[e] > routing.capacity) {
      candidates[e].reserve(routing.assigned[e]);
    }
  }
  for (int64_t slot = 0; slot < rows * k; ++slot) {
    const int64_t e = kept[slot];
    if (e < 0 || routing.assigned[e] <= routing.capacity) {
      continue;
    }
    const int64_t row = slot / k;
    float priority = 0;
    if (options.selection == TokenSelection::probability) {
      priority = probabilities[row * experts + e];
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
      ++routing.dropped;
    }
  }
}

/// The same where capacity counts in each sentence by itself.
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
        if (e >= 0 && ++taken[e] > options.sentence_capacity) {
          e = -1;
          ++routing.dropped;
        }
      }
    }
  }
}

struct GateParts {
  at::Tensor index;    // int64 [N, k]  experts, 0 in the place of none
  at::Tensor kept;     // [N, k]  1 where kept
  at::Tensor members;  // [N, k]  1 where the choice counts in the sum that normalises
  at::Tensor chosen;   // [N, k]  probabilities of the choices
  at::Tensor sum;      // [N, 1]  what the gates are divided by; undefined when not normalised
  at::Tensor moves;    // [N, 1]  1 where that depends on the probabilities, 0 where it is the least there is
};

GateParts gate_parts(const at::Tensor& probabilities, const Routing& routing, GateNormalization kind) {
  const at::Device device = probabilities.device();
  GateParts parts;
  parts.index = routing.experts.clamp_min(0).to(device);
  parts.kept = routing.kept.ge(0).to(device).to(probabilities.scalar_type());
  parts.members = kind == GateNormalization::before_drop
                      ? routing.experts.ge(0).to(device).to(probabilities.scalar_type())
                      : parts.kept;
  parts.chosen = probabilities.gather(1, parts.index);
  if (kind != GateNormalization::none) {
    constexpr double kLeast = std::numeric_limits<float>::epsilon();
    parts.sum = (parts.chosen * parts.members).sum(1, true);
    parts.moves = parts.sum.ge(kLeast).to(probabilities.scalar_type());
    parts.sum.clamp_min_(kLeast);
  }
  return parts;
}

}  // namespace

int64_t expert_capacity(double factor, int64_t top_k, int64_t tokens, int64_t experts) {
  if (factor == 0) {
    return tokens;
  }
  const double share = factor * static_cast<double>(top_k * tokens) / static_cast<double>(experts);
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share)));
}

Routing route(const at::Tensor& probabilities, const at::Tensor& active, const RoutingOptions& options,
              RandomKey key) {
  const int64_t rows = probabilities.size(0), experts = probabilities.size(1), k = options.top_k;
  const auto* p = probabilities.const_data_ptr<float>();
  const bool* flags = flags_of(active);
  Routing routing;
  routing.experts = at::full({rows, k}, -1, at::kLong);
  routing.assigned.assign(experts, 0);
  auto* chosen = routing.experts.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    if (!is_active(active, flags, row)) {
      continue;
    }
    ++routing.tokens;
    choose(p + row * experts, experts, k, chosen + row * k);
    for (int64_t j = 0; j < k; ++j) {
      ++routing.assigned[chosen[row * k + j]];
    }
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

at::Tensor gates(const at::Tensor& probabilities, const Routing& routing, GateNormalization normalization) {
  const GateParts parts = gate_parts(probabilities, routing, normalization);
  at::Tensor result = parts.chosen * parts.kept;
  return parts.sum.defined() ? result.div_(parts.sum) : result;
}

at::Tensor gates_backward(const at::Tensor& probabilities, const Routing& routing,
                          GateNormalization normalization, const at::Tensor& grad_gates) {
  const GateParts parts = gate_parts(probabilities, routing, normalization);
  at::Tensor grad_chosen = grad_gates * parts.kept;
  if (parts.sum.defined()) {
    const at::Tensor gate = parts.chosen * parts.kept / parts.sum;
    const at::Tensor grad_sum = (grad_chosen * gate).sum(1, true) * parts.moves;
    grad_chosen = (grad_chosen - grad_sum) * parts.members / parts.sum;
  }
  // scatter_add: rows of padding all point at expert 0, with a gradient of zero.
  return at::zeros_like(probabilities).scatter_add_(1, parts.index, grad_chosen);
}

std::vector<double> balance_loss_gradient(const Routing& routing) {
  const auto experts = static_cast<double>(routing.assigned.size());
  const auto tokens = static_cast<double>(std::max<int64_t>(routing.tokens, 1));
  const auto choices = tokens * static_cast<double>(routing.experts.size(1));
  std::vector<double> gradient;
  for (const int64_t assigned : routing.assigned) {
    gradient.push_back(experts * static_cast<double>(assigned) / choices / tokens);
  }
  return gradient;
}

}  // namespace chorus
