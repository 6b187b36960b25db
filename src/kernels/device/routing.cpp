#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/device_routing.h"
#include "kernels/internal/launch.h"

namespace chorus::inline kernels {

Routing DeviceBackend::route(const at::Tensor& given, const ActiveRows& active, const RoutingOptions& options,
                             RandomKey key) const {
  if (options.sentence_capacity > 0) return Backend::route(given, active, options, key);
  const at::Tensor probabilities = given.to(at::kFloat).contiguous();
  const int64_t rows = probabilities.size(0), experts = probabilities.size(1), k = options.top_k;
  const at::TensorOptions whole = probabilities.options().dtype(at::kLong);
  Routing routing = {.tokens = active.among(rows),
                     .experts = at::empty({rows, k}, whole),
                     .kept = at::empty({rows, k}, whole)};
  routing.capacity = expert_capacity(options.capacity_factor, k, routing.tokens, experts);
  at::Tensor precedence;  // undefined where all choices fit: a token chooses an expert once at most
  if (routing.capacity < routing.tokens) precedence = at::empty({rows, k}, whole);
  const at::Device device = probabilities.device();
  const Launch choose("choose experts", device);
  choose.teams(rows, ChooseExperts{.probabilities = choose.reads<float>(probabilities),
                                   .active = choose.reads<bool>(active.flags),
                                   .rows = rows,
                                   .experts = experts,
                                   .k = k,
                                   .selection = options.selection,
                                   .key = key,
                                   .chosen = choose.writes<int64_t>(routing.experts),
                                   .kept = choose.writes<int64_t>(routing.kept),
                                   .precedence = choose.writes<uint64_t>(precedence)});
  if (!precedence.defined() && !options.wants_assigned) return routing;
  routing.assigned = at::empty({experts}, whole);
  const Launch keep("keep choices", device);
  keep.teams(experts, KeepChoices{.chosen = keep.reads<int64_t>(routing.experts),
                                  .precedence = keep.reads<uint64_t>(precedence),
                                  .slots = rows * k,
                                  .capacity = precedence.defined() ? routing.capacity : rows * k,
                                  .kept = keep.writes<int64_t>(routing.kept),
                                  .assigned = keep.writes<int64_t>(routing.assigned)});
  return routing;
}

ExpertOrder DeviceBackend::sort_by_expert(const at::Tensor& given, int64_t experts, int64_t most) const {
  const at::Tensor kept = given.contiguous();
  ExpertOrder order = {.ends = at::empty({experts}, kept.options().dtype(at::kInt)),
                       .slot = at::empty_like(kept),
                       .token = at::empty({most}, kept.options()),
                       .choice = at::empty({most}, kept.options())};
  const Launch place("place rows", kept.device());
  place.teams(experts, PlaceRows{.kept = place.reads<int64_t>(kept),
                                 .slots = kept.numel(),
                                 .k = kept.size(1),
                                 .experts = experts,
                                 .most = most,
                                 .slot_of = place.writes<int64_t>(order.slot),
                                 .token = place.writes<int64_t>(order.token),
                                 .choice = place.writes<int64_t>(order.choice),
                                 .ends = place.writes<int32_t>(order.ends)});
  return order;
}

namespace {

GateChoices choices_of(const Launch& on, const at::Tensor& probabilities, const Routing& routing,
                       GateNormalization normalization) {
  return {.probabilities = on.reads<float>(probabilities),
          .chosen = on.reads<int64_t>(routing.experts),
          .kept = on.reads<int64_t>(routing.kept),
          .experts = probabilities.size(1),
          .k = routing.experts.size(1),
          .normalization = normalization};
}

bool takes(const at::Tensor& probabilities) {
  return probabilities.scalar_type() == at::kFloat && probabilities.is_contiguous();
}

}  // namespace

at::Tensor DeviceBackend::gates(const at::Tensor& probabilities, const Routing& routing,
                                GateNormalization normalization) const {
  if (!takes(probabilities)) return Backend::gates(probabilities, routing, normalization);
  at::Tensor gate = at::empty(routing.experts.sizes(), probabilities.options());
  const Launch on("gates", probabilities.device());
  on.each(probabilities.size(0), GateRow{.choices = choices_of(on, probabilities, routing, normalization),
                                         .gate = on.writes<float>(gate)});
  return gate;
}

at::Tensor DeviceBackend::router_backward(const at::Tensor& probabilities, const Routing& routing,
                                          GateNormalization normalization, const at::Tensor& grad_gates,
                                          const ActiveRows& active, const RouterLosses& losses) const {
  if (!takes(probabilities))
    return Backend::router_backward(probabilities, routing, normalization, grad_gates, active, losses);
  const auto tokens = static_cast<double>(std::max<int64_t>(routing.tokens, 1));
  const auto experts = static_cast<double>(probabilities.size(1)),
             k = static_cast<double>(routing.experts.size(1));
  at::Tensor out = at::empty_like(probabilities);
  const at::Tensor grad = grad_gates.contiguous();
  const Launch on("router backward", probabilities.device());
  on.teams(probabilities.size(0),
           RouterRow{.choices = choices_of(on, probabilities, routing, normalization),
                     .grad_gate = on.reads<float>(grad),
                     .active = on.reads<bool>(active.flags),
                     .assigned = on.reads<int64_t>(routing.assigned),
                     .log_partition = losses.z > 0 ? on.reads<float>(losses.log_partition) : nullptr,
                     .balance = static_cast<float>(losses.balance * experts / (k * tokens) / tokens),
                     .z = static_cast<float>(2 * losses.z / tokens),
                     .out = on.writes<float>(out)});
  return out;
}

}  // namespace chorus::inline kernels
