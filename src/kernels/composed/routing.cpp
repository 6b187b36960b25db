// Routing without a wait of the host: every shape is known before, and what depends on the numbers is sorted.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/composed.h"

namespace chorus::inline kernels {

namespace {

/// How a flat tensor is sorted, equal elements in the order they have.
struct Sorted {
  at::Tensor values, places;  // values[i] stood at places[i]
};

Sorted sorted(const at::Tensor& x, bool descending = false) {
  auto [values, places] = at::sort(x, true, 0, descending);
  return {values, places};
}

/// [N, k] -> [k N]: all first choices, then all second ones.
at::Tensor by_choice(const at::Tensor& x) {
  return x.t().reshape(-1);
}

/// The choices that find a place, where an expert (of the micro-batch, or of each sentence) takes `capacity`: bool [N,
/// k]. Choices of -1 find one or not.
at::Tensor find_places(const at::Tensor& probabilities, const at::Tensor& chosen, int64_t capacity,
                       const RoutingOptions& options, RandomKey key) {
  const int64_t rows = probabilities.size(0), experts = probabilities.size(1);
  const bool by_sentence = options.sentence_capacity > 0;
  const at::Tensor row = at::arange(rows, chosen.options()).unsqueeze(1);
  at::Tensor queue = at::where(chosen < 0, std::numeric_limits<int64_t>::max(), chosen);
  if (by_sentence)
    queue = at::where(chosen < 0, queue, row.floor_divide(options.sentence_length) * experts + chosen);
  queue = by_choice(queue);
  at::Tensor order;  // of precedence; undefined: as they stand
  if (!by_sentence && options.selection != TokenSelection::position) {
    const at::Tensor index = chosen.clamp_min(0);
    const auto priority = [&] {
      if (options.selection == TokenSelection::random) return uniform_numbers(key, row * experts + index);
      const at::Tensor later =
          at::arange(options.top_k - 1, -1, -1, probabilities.options());  // batch_priority()
      return probabilities.gather(1, index.narrow(1, 0, 1)) + later;
    };
    order = sorted(by_choice(priority()), true).places;
    queue = queue.index_select(0, order);
  }
  const Sorted queues = sorted(queue);
  const at::Tensor before =  // in its expert's queue
      at::arange(queue.numel(), queue.options()) - at::searchsorted(queues.values, queues.values);
  const at::Tensor places = order.defined() ? order.index_select(0, queues.places) : queues.places;
  const at::Tensor fits = before < capacity;
  return at::zeros_like(fits).scatter_(0, places, fits).view({options.top_k, rows}).t();
}

}  // namespace

Routing Backend::route(const at::Tensor& given, const ActiveRows& active, const RoutingOptions& options,
                       RandomKey key) const {
  const at::Tensor probabilities = given.to(at::kFloat);
  const int64_t rows = probabilities.size(0), experts = probabilities.size(1), k = options.top_k;
  at::Tensor chosen = std::get<1>(at::topk(ranking(probabilities), k, 1));
  if (active.flags.defined()) chosen = at::where(active.flags.unsqueeze(1), chosen, -1);
  const at::Tensor flat = chosen.reshape(-1);
  Routing routing = {.capacity = options.sentence_capacity,
                     .tokens = active.among(rows),
                     .experts = chosen,
                     .kept = chosen,
                     .assigned = at::zeros({experts + 1}, flat.options())
                                     .scatter_add_(0, at::where(flat < 0, experts, flat), at::ones_like(flat))
                                     .narrow(0, 0, experts)};
  if (options.sentence_capacity == 0) {
    routing.capacity = expert_capacity(options.capacity_factor, k, routing.tokens, experts);
    if (routing.capacity >= routing.tokens) return routing;  // a token chooses an expert once at most
  }
  routing.kept =
      at::where(find_places(probabilities, chosen, routing.capacity, options, key), chosen, -1).contiguous();
  return routing;
}

ExpertOrder Backend::sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t most) const {
  const at::Tensor flat = kept.reshape(-1);
  const Sorted order = sorted(at::where(flat < 0, experts, flat));
  const at::Tensor rows = at::arange(flat.numel(), flat.options());
  const at::Tensor slot = at::zeros_like(flat).scatter_(0, order.places, rows);
  return {.ends = at::searchsorted(order.values, at::arange(experts, flat.options()), true, true),
          .slot = at::where(flat < 0, -1, slot).view(kept.sizes()),
          .token = order.places.narrow(0, 0, most).floor_divide(kept.size(1)),
          .choice = order.places.narrow(0, 0, most)};
}

}  // namespace chorus::inline kernels
